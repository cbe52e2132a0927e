"""Upkeep in the background: it starts when there is something to do, and troubles nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

import streamhouse
from streamhouse.errors import StoreUnavailableError
from streamhouse.format import names
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import WrappedStore
from streamhouse.upkeep import worker
from tests.upkeep.conftest import Opener
from tests.upkeep.helpers import rows, state_of, write


@pytest.fixture
def runtime() -> SystemRuntime:
    return SystemRuntime()


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("streamhouse-upkeep")]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_there_is_no_thread_before_there_is_something_to_do(open_log: Opener) -> None:
    log = open_log(upkeep=True)
    log.create_topic("t")
    write(log, [b"x"] * 10)
    assert threads() == []
    write(log, [b"x"] * 60)
    assert threads() == ["streamhouse-upkeep"]
    log.close()
    assert threads() == []


def test_a_topic_whose_records_expire_is_something_to_do(open_log: Opener) -> None:
    log = open_log(upkeep=True)
    log.create_topic("t", retention_ms=1000)
    assert threads() == ["streamhouse-upkeep"]
    log.close()
    log = open_log(upkeep=True)
    assert threads() == ["streamhouse-upkeep"]


def test_it_can_be_turned_off(open_log: Opener) -> None:
    log = open_log(upkeep=False, upkeep_seconds=0.01)
    log.create_topic("t", retention_ms=0)
    write(log, [b"x"] * 100)
    assert threads() == []
    assert len(rows(log)) == 100


def test_small_blocks_are_put_together_in_the_background(open_log: Opener) -> None:
    log = open_log(upkeep=True, upkeep_seconds=0.01)
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(200)])
    wait_until(lambda: len(state_of(log).base_offsets) < 64)
    assert rows(log) == [(n, None, b"%d" % n) for n in range(200)]


def test_keys_are_compacted_and_old_records_go_in_the_background(open_log: Opener) -> None:
    log = open_log(upkeep=True, upkeep_seconds=0.01)
    log.create_topic("c", cleanup_policy="compact")
    log.create_topic("t", retention_ms=0)
    write(log, [b"%d" % n for n in range(100)], keys=[b"k"] * 100, topic="c")
    write(log, [b"x"] * 10)
    wait_until(lambda: rows(log, "c") == [(99, b"k", b"99")])
    wait_until(lambda: log.topic("t").partitions[0].log_start == 10)


class Failing(WrappedStore):
    """Refuses to store segments so many times."""

    def __init__(self, store: MemoryStore, error: Exception) -> None:
        super().__init__(store)
        self.error = error
        self.left = 3

    def put(self, name: str, data: object) -> None:
        if name.startswith(names.SEGMENTS) and self.left:
            self.left -= 1
            raise self.error
        super().put(name, data)


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), MemoryError(), ZeroDivisionError()])
def test_what_fails_is_tried_again_and_nobody_hears_of_it(open_log: Opener, error: Exception) -> None:
    store = Failing(open_log.store, error)
    log = open_log(store, upkeep=True, upkeep_seconds=0.01)
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(200)])
    wait_until(lambda: len(state_of(log).base_offsets) < 64)
    assert store.left == 0
    assert rows(log) == [(n, None, b"%d" % n) for n in range(200)]


def test_closing_does_not_wait_for_the_end_of_the_work(open_log: Opener) -> None:
    reading, go_on = threading.Event(), threading.Event()

    class Slow(WrappedStore):
        def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
            if threading.current_thread().name == "streamhouse-upkeep":
                reading.set()
                go_on.wait(30)
            return super().get(name, start, end)

    log = open_log(Slow(open_log.store), upkeep=True, upkeep_seconds=0.01)
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(200)])
    assert reading.wait(30)
    closing = threading.Thread(target=log.close)
    closing.start()
    wait_until(log._worker._stop.is_set)
    go_on.set()
    closing.join(30)
    assert not closing.is_alive()
    assert threads() == []
    again = open_log()
    assert len(state_of(again).base_offsets) == 200  # it stopped in the middle of its work
    assert rows(again) == [(n, None, b"%d" % n) for n in range(200)]


def test_garbage_is_collected_when_its_hour_is_over(
    open_log: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_COLLECT_AFTER_SECONDS", 0.01)
    collected: list[object] = []
    log = open_log(upkeep=True, upkeep_seconds=0.01)
    collect = log._upkeep.collect
    monkeypatch.setattr(log._upkeep, "collect", lambda: collected.append(collect()))
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(200)])
    wait_until(lambda: len(state_of(log).base_offsets) < 64 and len(collected) >= 3)
    settled = len(log._commits.state.topics)
    assert settled == 1


def test_two_processes_share_the_work(open_log: Opener) -> None:
    one, other = (open_log(upkeep=True, upkeep_seconds=0.01) for _ in range(2))
    one.create_topic("t", partitions=4)
    for number in range(4):
        write(one if number % 2 else other, [b"%d" % n for n in range(100)], partition=number)
        other.topic("t")
    for number in range(4):
        wait_until(lambda number=number: len(state_of(one, number=number).base_offsets) < 64)
        found = rows(one, partitions=[number])
        assert found == [(n, None, b"%d" % n) for n in range(100)]


def test_importing_and_opening_do_not_wait_for_it(open_log: Opener) -> None:
    log = open_log(upkeep=True)
    assert isinstance(log, streamhouse.Log)
    assert log._worker._thread is None
