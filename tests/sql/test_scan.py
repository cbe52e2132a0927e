"""How blocks are fetched for a scan: together where they lie together, ahead of need, and checked."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import closing, contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

import pytest

import streamhouse
from streamhouse.errors import ClosedError, CorruptionError, ObjectNotFoundError
from streamhouse.format.columns import Columns
from streamhouse.read.reader import BlockReader
from streamhouse.runtime import SystemRuntime
from streamhouse.sql.scan import TopicScan, Workers
from streamhouse.sql.snapshot import view_of
from streamhouse.sql.stats import ScanNotes
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import FaultyStore, SlowStore

COUNT = 60_000
PADS = random.Random(1).randbytes(40 * 1000).hex()  # hardly compresses, so that blocks go ahead of the commit
VALUES = [
    [f"{partition} {number} {PADS[80 * (number % 1000) :][:80]}" for number in range(COUNT)]
    for partition in range(2)
]


def slow(inner: Any) -> SlowStore:
    return SlowStore(inner, put_seconds=0, get_seconds=0.005, list_seconds=0)


class Away:
    """A log on a store that counts as remote, with blocks of 64 KiB, most of them one behind the other."""

    def __init__(self) -> None:
        self.memory = MemoryStore(SystemRuntime())
        with streamhouse.Log(slow(self.memory), upkeep=False, block_bytes_target=65_536) as log:
            log.create_topic("t", partitions=2)
            with log.producer() as producer:
                for partition in range(2):
                    producer.send_many("t", VALUES[partition], partition=partition).result()
            self.blocks = log.sql("select count(*) from streamhouse.segments").fetchall()[0][0]
        self.faulty = FaultyStore(self.memory)

    def open(self, **settings: Any) -> streamhouse.Log:
        return streamhouse.Log(slow(self.faulty), upkeep=False, **settings)


@pytest.fixture
def away() -> Away:
    return Away()


SUM = "select count(*), sum(length(value)), min(value), max(value) from t"


def expected() -> list[tuple[Any, ...]]:
    values = [*VALUES[0], *VALUES[1]]
    return [(len(values), sum(map(len, values)), min(values), max(values))]


def test_blocks_that_lie_together_are_fetched_together(away: Away) -> None:
    assert away.blocks > 150
    with away.open() as log:
        before = log.stats().counts
        result = log.sql(SUM)
        assert result.fetchall() == expected()
        asked = log.stats().counts.since(before)
        (scan,) = result.stats.scans
        assert scan.blocks_read == away.blocks
        assert scan.bytes_read == scan.bytes_stored == asked.bytes_read
        assert asked.gets < away.blocks / 20


def test_what_is_in_memory_is_not_fetched_again(away: Away) -> None:
    with away.open() as log:
        log.sql("select value from t where partition = 0 and offset = 30000").fetchall()
        result = log.sql(SUM)
        assert result.fetchall() == expected()
        assert result.stats.scans[0].blocks_cached == 1
        assert result.stats.blocks_read == away.blocks - 1


def test_parts_of_a_topic(away: Away) -> None:
    with away.open() as log:
        query = """
            select count(value), min(offset), max(offset) from t
            where partition = 1 and offset >= ? and offset < ?
        """
        assert log.sql(query, 10_001, 50_002).fetchall() == [(40_001, 10_001, 50_001)]
        found = log.sql("select offset from t where partition = 0 and value like '0 4%' order by 1 limit 3")
        assert found.fetchall() == [(4,), (40,), (41,)]


def test_a_bit_flipped_on_the_way_is_fetched_again(away: Away) -> None:
    with away.open() as log:
        log.sql("select 1 from t limit 0").fetchall()
        away.faulty.script("get", "flip", prefix="lane/", times=2)
        assert log.sql(SUM).fetchall() == expected()
        assert away.faulty.injected["flip"] == 2
        away.faulty.script("get", "truncate", prefix="lane/", times=1)
        assert log.sql(SUM).fetchall() == expected()


def test_damage_is_named_by_block(away: Away) -> None:
    name = max(away.memory.list("lane/"), key=lambda info: info.size).name
    data = bytearray(away.memory.get(name))
    data[len(data) // 2] ^= 1
    away.memory.delete_many([name])
    away.memory.put(name, [bytes(data)])
    damage = rf"{name} at byte \d+, offsets \d+ to \d+ of partition \d of 't'"
    with away.open() as log, pytest.raises(CorruptionError, match=damage):
        log.sql(SUM).fetchall()


def test_loss_is_named(away: Away) -> None:
    name = max(away.memory.list("lane/"), key=lambda info: info.size).name
    away.memory.delete_many([name])
    with away.open() as log, pytest.raises(ObjectNotFoundError, match=f"{name} is gone"):
        log.sql(SUM).fetchall()


def test_who_needs_little_fetches_little(away: Away) -> None:
    with away.open() as log:
        before = log.stats().counts
        for number, _row in enumerate(log.sql("select value from t where partition = 0")):
            if number == 10:
                break
        asked = log.stats().counts.since(before)
        assert asked.gets <= 20


# --- who decodes ---------------------------------------------------------------------------------------


@contextmanager
def busy_workers(log: streamhouse.Log) -> Iterator[Workers]:
    """Workers whose only thread has something else to do."""
    workers, over = Workers(log._inside.reader, 1, 0), threading.Event()
    workers.submit(over.wait)
    try:
        yield workers
    finally:
        over.set()
        workers.close()


def scan_of(log: streamhouse.Log, workers: Workers) -> TopicScan:
    state = log._inside.commits.state
    topic = view_of(state, state.topics[state.topic_ids["t"]])
    notes = ScanNotes("t", ["value"], [], 0, 0)
    return TopicScan(workers, topic, ["value"], [], raw=False, notes=notes, stopped=lambda: False)


def test_who_waits_for_a_block_that_nobody_has_begun_decodes_it(away: Away) -> None:
    with away.open() as log, busy_workers(log) as workers:
        arrays = list(scan_of(log, workers).arrays())
    assert sum(len(array) for array in arrays) == 2 * COUNT


def test_nobody_waits_for_who_is_held_up_where_he_submits(away: Away) -> None:
    """The garbage collector may run there, and what it frees wait for another scan."""
    asked: SimpleQueue[bool] = SimpleQueue()
    submitted: SimpleQueue[Future[int]] = SimpleQueue()
    others: list[Future[int]] = []

    def submit_too() -> None:
        while asked.get():
            submitted.put(workers.submit(int))

    def held_up(phase: str, _info: object) -> None:
        if phase == "start" and threading.current_thread() is threading.main_thread():
            asked.put(True)
            with suppress(Empty):
                others.append(submitted.get(timeout=5))

    with away.open() as log, closing(Workers(log._inside.reader, 1, 0)) as workers:
        thread = threading.Thread(target=submit_too)
        thread.start()
        usual = gc.get_threshold()
        gc.callbacks.append(held_up)
        gc.set_threshold(1)
        try:
            own = workers.submit(int, 7)
        finally:
            gc.set_threshold(*usual)
            gc.callbacks.remove(held_up)
            asked.put(False)
            thread.join()
        assert (own.result(), {other.result() for other in others}) == (7, {0})
        assert submitted.empty()


@pytest.mark.parametrize("threads", [1, 3])
def test_workers_end(away: Away, threads: int) -> None:
    with away.open() as log:
        known = set(threading.enumerate())
        workers, begun, over = Workers(log._inside.reader, threads, 0), threading.Event(), threading.Event()
        under_way = workers.submit(lambda: begun.set() or over.wait())
        begun.wait()
        rest = [workers.submit(over.wait) for _ in range(10)]
        assert len(set(threading.enumerate()) - known) == threads
        closing_thread = threading.Thread(target=workers.close)
        closing_thread.start()
        with pytest.raises(CancelledError):
            rest[-1].result()
        assert not under_way.done()
        over.set()
        closing_thread.join()
        assert under_way.result()
        assert all(future.done() for future in rest)
        assert not set(threading.enumerate()) - known
        with pytest.raises(ClosedError, match="the log is closed"):
            workers.submit(over.wait)
        workers.close()


def test_workers_end_that_nobody_refers_to(away: Away) -> None:
    with away.open() as log:
        workers = Workers(log._inside.reader, 2, 0)
        threads = [workers.submit(threading.current_thread).result() for _ in range(2)]
        del workers
        gc.collect()
        for thread in threads:
            thread.join()


def test_what_fails_on_a_worker_fails_for_who_waits(away: Away) -> None:
    with away.open() as log, closing(Workers(log._inside.reader, 1, 0)) as workers:
        failed = workers.submit(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            failed.result()
        assert workers.submit(int, 7).result() == 7


class CountingWorkers(Workers):
    """Counts what was begun."""

    begun = 0

    def submit(self, function: Any, *args: Any) -> Future[Any]:
        self.begun += 1
        return super().submit(function, *args)


@pytest.mark.parametrize(
    ("request_bytes", "at_first", "later"),
    [(1_000_000, 4, 8), (100_000, 4, 6), (1_000, 0, 0)],
    ids=["bounded by number", "bounded by size", "bounded by the size of one block"],
)
def test_more_is_read_ahead_for_who_goes_on(
    away: Away, request_bytes: int, at_first: int, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamhouse.sql.scan._runs", lambda scans, _: ([scan] for scan in scans))
    with away.open() as log, closing(CountingWorkers(log._inside.reader, 2, request_bytes)) as workers:
        records = 0
        for taken, array in enumerate(scan_of(log, workers).arrays(), 1):
            records += len(array)
            ahead = workers.begun - taken
            assert ahead == min(at_first + taken - 1, later, away.blocks - taken)
    assert records == 2 * COUNT


def test_who_waits_for_the_network_asks_for_nothing_himself(
    away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking: set[int] = set()
    read = TopicScan._read

    def noting(scan: TopicScan, *args: Any) -> Iterable[Any]:
        asking.add(threading.get_ident())
        return read(scan, *args)

    monkeypatch.setattr(TopicScan, "_read", noting)
    with away.open() as log, closing(Workers(log._inside.reader, 1, 100_000)) as workers:
        assert sum(map(len, scan_of(log, workers).arrays())) == 2 * COUNT
    assert len(asking) == 1
    assert threading.get_ident() not in asking


def test_what_was_compressed_well_is_decoded_when_it_is_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = BlockReader._decoded

    def noting(reader: BlockReader, *args: Any) -> Columns:
        columns = decode(reader, *args)
        decoded.append(columns.nbytes)
        return columns

    store = slow(MemoryStore(SystemRuntime()))
    with streamhouse.Log(store, upkeep=False, cache_bytes_max=0, block_bytes_target=65_536) as log:
        log.create_topic("t")
        with log.producer() as producer:
            producer.send_many("t", [b"a" * 1000] * 20_000).result()
        ((blocks, stored),) = log.sql(
            "select count(*), sum(stored_bytes) from streamhouse.segments"
        ).fetchall()
        assert stored < blocks * 1000
        monkeypatch.setattr(BlockReader, "_decoded", noting)
        with closing(CountingWorkers(log._inside.reader, 2, 50_000)) as workers:
            workers.decoded_ahead = 10 * 65_536
            lengths = []
            for array in scan_of(log, workers).arrays():
                if not lengths:
                    time.sleep(0.3)
                lengths.append(len(array))
                assert len(decoded) - len(lengths) <= 10 + 2 * 2
            assert workers.begun < blocks / 20  # but all of it was fetched together
    assert sum(lengths) == 20_000
    assert len(lengths) == len(decoded) == blocks


def test_damage_matters_when_its_turn_comes(away: Away) -> None:
    with away.open() as log:
        refs = log._inside.catalog.blocks(log.topic("t").id, 0, 0, 3)
        data = bytearray(away.memory.get(refs[2].object_name))
        data[refs[2].position + refs[2].length // 2] ^= 1
        away.memory.delete_many([refs[2].object_name])
        away.memory.put(refs[2].object_name, [bytes(data)])
        with busy_workers(log) as workers:
            arrays = scan_of(log, workers).arrays()
            assert [len(next(arrays)) for _ in range(2)] == [ref.records for ref in refs[:2]]
            with pytest.raises(CorruptionError):
                next(arrays)


@pytest.mark.parametrize("request_bytes", [0, 50_000])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_scan_of_a_log_that_is_closed(away: Away, request_bytes: int, *, at_the_end: bool) -> None:
    with away.open() as log:
        workers = CountingWorkers(log._inside.reader, 1, request_bytes)
        arrays = scan_of(log, workers).arrays()
        next(arrays)
        while at_the_end and workers.begun < away.blocks:
            next(arrays)
        workers.close()
    with pytest.raises(ClosedError, match="the log is closed"):
        list(arrays)
