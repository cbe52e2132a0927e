"""Upkeep on a store that fails at random: it comes to nothing, or to what it should, and costs no record."""

from __future__ import annotations

import random

import pytest

import streamhouse
from streamhouse.errors import CorruptionError, StreamhouseError
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.stores import FaultKind, FaultyStore
from streamhouse.verify import verify_store
from tests.upkeep.helpers import rows, write

RATES: dict[FaultKind, float] = {
    "unavailable": 0.02,
    "lost-answer": 0.03,
    "full": 0.02,
    "unknown": 0.02,
    "late": 0.02,
    "flip": 0.05,
    "truncate": 0.02,
    "stale": 0.1,
}


@pytest.mark.parametrize("seed", range(12))
def test_upkeep_on_a_store_that_fails_at_random(seed: int) -> None:
    dice = random.Random(seed)
    runtime = ManualRuntime(seed)
    store = MemoryStore(runtime)
    kept: list[bytes] = []
    latest: dict[bytes, bytes] = {}
    failed = done = 0
    for turn in range(8):
        with open_log(store, runtime) as log:
            if not turn:
                log.create_topic("t")
                log.create_topic("keys", cleanup_policy="compact")
            values = [runtime.random_bytes(dice.choice((10, 700))) for _ in range(20)]
            keys = [b"%d" % dice.randrange(8) for _ in values]
            write(log, values)
            write(log, values, keys=keys, topic="keys", at_once=3)
            kept += values
            latest.update(zip(keys, values, strict=True))
        faulty = FaultyStore(store, seed=seed * 100 + turn, rates=RATES)
        try:
            with open_log(faulty, runtime) as log:
                report = log.upkeep()
                done += report.segments_written
        except (StreamhouseError, CorruptionError):
            failed += 1
        faulty.land()
        with open_log(store, runtime) as log:
            assert [value for _, _, value in rows(log)] == kept
            assert {key: value for _, key, value in rows(log, "keys")} == latest
        assert verify_store(store).damage == []
        runtime.advance(dice.choice((10, 700, 4000)))
    assert failed + done
    with open_log(store, runtime) as log:
        runtime.advance(4000)
        for _ in range(6):
            report = log.upkeep()
            runtime.advance(4000)
        assert report.skipped == []
        topics = [log.topic(name).partitions[0].info() for name in ("t", "keys")]
    assert [topic.blocks for topic in topics] == [1, 1]
    left = sum(info.size for info in store.list("seg/"))
    assert left < 1.2 * sum(topic.stored_bytes for topic in topics) + 1000


def open_log(store: object, runtime: ManualRuntime) -> streamhouse.Log:
    return streamhouse.Log(store, runtime=runtime, upkeep=False, delivery_timeout_seconds=86_400.0)  # type: ignore[arg-type]
