"""Some thousand damaged requests; ``python -m tests.soak kafka_fuzz`` sends a million."""

from __future__ import annotations

import logging
import threading

import pytest

import streamhouse
from streamhouse.kafka import Gateway
from tests.kafka.hostile.corpus import kind_of, load
from tests.kafka.hostile.fuzzing import Fuzzer, GoodClient

FRAMES = 4_000


def test_the_corpus_has_what_clients_send() -> None:
    kinds = {kind_of(frame) for frame in load()}
    assert len({key for key, _ in kinds}) > 25
    assert len(kinds) > 35


def test_damaged_requests_hurt_nobody(
    log: streamhouse.Log, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    good = GoodClient(gateway.bootstrap)
    fuzzer = Fuzzer(gateway.port, load(), seed=7)
    threads = []
    for _ in range(2):
        sending = threading.Thread(target=fuzzer.run, args=(FRAMES // 2,))
        sending.start()
        while sending.is_alive():
            good.work()
        sending.join()
        threads.append(threading.active_count())
    good.work()
    good.close()
    assert fuzzer.outcomes["answered"] > FRAMES / 10
    assert fuzzer.outcomes["closed"] > FRAMES / 100
    assert good.received == good.sent > 20
    assert not [record for record in caplog.records if record.exc_info], caplog.text
    assert threads[1] <= threads[0]  # those that wait for work are there after the first half
    assert [record.value for record in log.read(GoodClient.topic)] == [b"%d" % n for n in range(good.sent)]
