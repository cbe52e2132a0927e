"""Fetches do not wait for more than they may be answered with."""

from __future__ import annotations

from typing import Any

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.kafka.protocol import apis
from tests.kafka.wire import Wire
from tests.kafka.world import NONE, Values, World, errors

BATCHES = 4
VALUE_BYTES = 10_000
LONG_MS = 600_000  # longer than the test waits for an answer
MUCH = 1 << 20


@pytest.fixture
def log() -> Any:
    """A topic with some batches in each partition."""
    with streamhouse.Log("memory://") as log:
        log.create_topic("t", partitions=2)
        with log.producer() as producer:
            for number in range(2 * BATCHES):
                producer.send("t", bytes(VALUE_BYTES), partition=number % 2).result()
        yield log


def fetching(*offsets: int, wait: int, least: int, most: int = MUCH, part_most: int = MUCH) -> Values:
    """From these offsets of the first partitions."""
    parts = [
        {"partition": number, "fetch_offset": offset, "partition_max_bytes": part_most}
        for number, offset in enumerate(offsets)
    ]
    topics = [{"topic": "t", "partitions": parts}]
    return {"max_wait": wait, "min_bytes": least, "max_bytes": most, "topics": topics}


def sizes(log: streamhouse.Log, wanted: Values, **settings: Any) -> list[int]:
    """How many batches there are in the answer, by partition."""
    with streamhouse.kafka.serve(log, port=0, **settings) as gateway, Wire(gateway) as wire:
        answer = World(log, gateway, wire).ask(apis.FETCH, 4, wanted)
        assert errors(answer) <= NONE
        return [len(part.records or b"") // VALUE_BYTES for part in answer.responses[0].partitions]


@pytest.mark.parametrize(
    ("limits", "settings", "expected"),
    [
        ({"most": 25_000}, {}, [2, 0]),
        ({}, {"fetch_bytes_max": 65_000}, [4, 2]),
        ({}, {"fetch_bytes_per_second_max": 25_000}, [2, 0]),
        ({"part_most": 25_000}, {}, [2, 2]),
        ({"most": 1}, {}, [1, 0]),
    ],
    ids=["request", "gateway", "quota", "partitions", "nothing"],
)
def test_what_is_all_that_may_be_sent_is_sent(
    log: streamhouse.Log, limits: Any, settings: Any, expected: list[int]
) -> None:
    assert sizes(log, fetching(0, 0, wait=LONG_MS, least=MUCH, **limits), **settings) == expected


def test_other_partitions_are_waited_for(log: streamhouse.Log) -> None:
    """One has more than it may be answered with, another one may bring something yet."""
    wanted = fetching(0, BATCHES, wait=LONG_MS, least=25_000, part_most=25_000)
    with (
        streamhouse.kafka.serve(log, port=0) as gateway,
        Wire(gateway, timeout=0.3) as wire,
        log.producer() as producer,
    ):
        world = World(log, gateway, wire)
        world.send(apis.FETCH, 4, wanted)
        with pytest.raises(TimeoutError):
            wire.receive(apis.FETCH.key, 4)
        producer.send("t", bytes(VALUE_BYTES), partition=1).result()
        wire.socket.settimeout(10.0)
        first, second = wire.receive(apis.FETCH.key, 4).responses[0].partitions
        assert (len(first.records) // VALUE_BYTES, len(second.records) // VALUE_BYTES) == (2, 1)
