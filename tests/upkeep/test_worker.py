"""Upkeep in the background: it starts when there is something to do, and troubles nobody."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

import streamhouse
from streamhouse.commits.state import PartitionState
from streamhouse.errors import StoreFullError, StoreUnavailableError
from streamhouse.format import names
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.stores import FaultyStore, WrappedStore
from streamhouse.upkeep import worker
from streamhouse.upkeep.report import Tally, UpkeepStats
from streamhouse.verify import verify_store
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


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), StoreFullError("no space left")])
def test_what_the_store_refuses_is_logged_and_tried_again(
    open_log: Opener, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing(open_log.store, error)
    log = open_log(store, upkeep=True, upkeep_seconds=0.01)
    log.create_topic("t")
    assert log.stats().upkeep == UpkeepStats()
    write(log, [b"%d" % n for n in range(200)])
    wait_until(lambda: len(state_of(log).base_offsets) < 64)
    assert store.left == 0
    assert rows(log) == [(n, None, b"%d" % n) for n in range(200)]
    wait_until(lambda: log.stats().upkeep.failures == 0)
    stats = log.stats().upkeep
    assert stats.last_error == f"{type(error).__name__}: {error}"
    assert abs(stats.last_error_ms - time.time() * 1000) < 60_000
    assert stats.running
    assert stats.blocks_before >= 64
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 3
    assert all(str(error) in record.getMessage() and record.exc_info is None for record in told)


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("a fault")])
def test_what_fails_in_one_partition_does_not_hold_up_the_others(
    open_log: Opener, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log(Failing(open_log.store, error), upkeep=True, upkeep_seconds=0.01)
    log.create_topic("t", partitions=5)
    for number in range(5):
        write(log, [b"%d" % n for n in range(100)], partition=number, at_once=2)
        write(log, [b"%d" % n for n in range(100)], partition=number)
    wait_until(lambda: sum(len(state_of(log, number=number).base_offsets) < 64 for number in range(5)) == 2)
    wait_until(lambda: all(state_of(log, number=number).claim is None for number in range(5)))
    assert len(rows(log)) == 1000
    assert any(
        type(error).__name__ in record.getMessage() + str(record.exc_info) for record in caplog.records
    )


def test_it_is_tried_again_after_an_hour(open_log: Opener) -> None:
    clock = ManualRuntime()
    log = open_log(Failing(open_log.store, MemoryError()), runtime=clock)
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(200)])
    for failures in range(3):
        tally = Tally()
        log._upkeep.usual(lambda _: None, tally)
        assert tally.skipped == ["partition 0 of 't': MemoryError"], failures
        log._upkeep.usual(lambda _: None, Tally())  # at once: it is left alone
        clock.advance(3601)
    log._upkeep.usual(lambda _: None, Tally())
    assert len(state_of(log).base_offsets) == 1


def test_a_fault_in_upkeep_that_was_asked_for_is_raised(open_log: Opener) -> None:
    log = open_log(Failing(open_log.store, ZeroDivisionError()))
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(10)])
    with pytest.raises(ZeroDivisionError):
        log.upkeep()
    log.create_topic("next")  # the claim is given back without waiting for it
    assert state_of(log).claim is None


@pytest.fixture
def open_by_hand() -> Iterator[Opener]:
    """Where the test moves the clock."""
    runtime = ManualRuntime()
    opener = Opener(MemoryStore(runtime), runtime)
    yield opener
    for log in opener.opened:
        log.close()


@pytest.mark.parametrize(
    ("operation", "prefix", "skip"),
    [
        ("put", names.SEGMENTS, 0),
        ("put", names.SEGMENTS, 5),
        ("put_if_absent", names.LOG, 0),
        ("put_if_absent", names.LOG, 1),
        ("put_if_absent", names.LOG, 2),
        ("put_if_absent", names.LOG, 5),
    ],
)
def test_a_full_disk_changes_nothing(open_by_hand: Opener, operation: str, prefix: str, skip: int) -> None:
    """Whether the segment, the commit that would refer to it, or the claim finds no room."""
    open_log = open_by_hand
    log = open_log()
    log.create_topic("t", cleanup_policy="compact")
    log.create_topic("u", partitions=20)
    write(log, [b"%d" % n for n in range(100)], keys=[b"k"] * 100)
    for number in range(20):
        write(log, [b"1", b"2"], topic="u", partition=number)
    log.close()
    before = sorted(info.name for info in open_log.store.list(""))
    store = FaultyStore(open_log.store)
    store.script(operation, "full", prefix=prefix, skip=skip)
    log = open_log(store)
    with suppress(StoreFullError):  # nobody waits for the commit that gives a claim back
        log.upkeep()
    assert store.injected["full"] == 1
    assert set(before) <= {info.name for info in store.list("")}
    assert [offset for offset, _, _ in rows(log, "t")][-1] == 99
    assert len(rows(log, "u")) == 40
    claims = [each.claim for each in partitions_of(log) if each.claim]
    # A claim that could not be given back is taken over ten minutes later.
    assert len(claims) <= (16 if operation == "put_if_absent" else 0)
    open_log.runtime.advance(700)
    log.close()
    assert verify_store(open_log.store).damage == []
    log = open_log()
    assert log.upkeep().skipped == []
    assert rows(log, "t") == [(99, b"k", b"99")]


def partitions_of(log: streamhouse.Log) -> list[PartitionState]:
    log.create_topic(f"x{log._commits.state.seq}")  # claims are given back without waiting for it
    return [each for topic in log._commits.state.topics.values() for each in topic.partitions.values()]


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


class Racing(SystemRuntime):
    """An hour takes a second."""

    def monotonic(self) -> float:
        return super().monotonic() * 3600

    def time_ms(self) -> int:
        return int(self.monotonic() * 1000)


def test_the_background_gives_way_to_who_asks(open_log: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """It rests for as long as it works. Who calls for upkeep does not want to wait for all that."""
    resting, go_on = threading.Event(), threading.Event()
    log = open_log(upkeep=True, upkeep_seconds=0.01)

    def rest(seconds: float) -> None:
        if seconds:
            resting.set()
            assert go_on.wait(30)

    monkeypatch.setattr(log._worker, "_rest", rest)
    log.create_topic("t", partitions=8)
    for number in range(8):
        write(log, [b"%d" % n for n in range(100)], partition=number)
    assert resting.wait(30)
    reports: list[streamhouse.UpkeepReport] = []
    asking = threading.Thread(target=lambda: reports.append(log.upkeep()))
    asking.start()
    wait_until(lambda: bool(log._upkeep._asking))
    go_on.set()
    asking.join(30)
    (report,) = reports
    assert report.skipped == []
    assert report.segments_written >= 6  # the background had just begun
    assert all(len(state_of(log, number=number).base_offsets) <= 2 for number in range(8))
    assert log._upkeep._asking == set()
    assert log.stats().upkeep.last_error is None


_HANGING = """
import sys, threading
import msgspec
import streamhouse
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import WrappedStore

hangs = threading.Event()

class Hanging(WrappedStore):
    @property
    def capabilities(self):
        return msgspec.structs.replace(super().capabilities, remote=sys.argv[1] == "remote")

    def get(self, name, start=0, end=None):
        if threading.current_thread().name.startswith("streamhouse-upkeep"):
            hangs.set()
            threading.Event().wait()
        return super().get(name, start, end)

log = streamhouse.Log(Hanging(MemoryStore(SystemRuntime())), upkeep_seconds=0.01, linger_seconds=0)
log.create_topic("t")
with log.producer() as producer:
    for number in range(200):
        producer.send("t", b"x").result()
assert hangs.wait(30)
if sys.argv[2] == "close":
    log.close(timeout=0.5)
else:
    raise SystemExit  # the log is closed on the way out
"""


@pytest.mark.parametrize("store", ["local", "remote"])
@pytest.mark.parametrize("ending", ["close", "exit"])
def test_it_never_keeps_the_process_alive(store: str, ending: str) -> None:
    """Not even while the store does not answer."""
    command = [sys.executable, "-W", "error", "-c", _HANGING, store, ending]
    subprocess.run(command, check=True, timeout=30)


def test_garbage_is_collected_when_its_hour_is_over(
    open_log: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_REST_SECONDS_MAX", 0.01)
    runtime = Racing()
    store = MemoryStore(runtime)
    log = open_log(
        store, runtime=runtime, upkeep=True, upkeep_seconds=0.01, delivery_timeout_seconds=86_400.0
    )
    log.create_topic("t")
    log.create_topic("gone")
    write(log, [b"%d" % n for n in range(200)], topic="gone")
    write(log, [b"%d" % n for n in range(200)])
    log.delete_topic("gone")
    wait_until(lambda: log.stats().upkeep.objects_deleted > 300)
    assert len(store.list("")) < 120
    assert len(store.list(names.SEGMENTS)) <= 2
    assert rows(log) == [(n, None, b"%d" % n) for n in range(200)]
    assert log.stats().upkeep.bytes_deleted > 0


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
