import contextlib
import datetime as dt
import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.consumer import Consumer
from streamhouse.errors import (
    ClosedError,
    CorruptionError,
    DeserializationError,
    ForkedError,
    InvalidInputError,
    InvalidPositionError,
    InvalidSettingError,
    NotAssignedError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    StoreUnavailableError,
    TopicNotFoundError,
)
from streamhouse.read import turns
from streamhouse.records import Record, TopicPartition
from tests.read.minilog import MiniLog, numbered


@pytest.fixture
def log() -> Iterator[MiniLog]:
    log = MiniLog()
    yield log
    log.close()


@pytest.fixture
def topic(log: MiniLog) -> TopicInfo:
    """Three blocks of ten in partition 0, one of five in partition 1, none in partition 2."""
    topic = log.topic(partitions=3)
    for first in (0, 10, 20):
        log.append(topic, 0, numbered(first, 10), timestamps=list(range(first, first + 10)))
    log.append(topic, 1, numbered(100, 5))
    return topic


def drain(consumer: Consumer, max_records: int = 500) -> list[Record[Any, Any]]:
    records: list[Record[Any, Any]] = []
    while chunk := consumer.poll(timeout=0, max_records=max_records):
        assert len(chunk) <= max_records
        records.extend(chunk)
    return records


def offsets(records: list[Record[Any, Any]], partition: int = 0) -> list[int]:
    return [record.offset for record in records if record.partition == partition]


# --- poll ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_records", [1, 4, 10, 500])
def test_poll_gives_every_record_once_and_in_order(log: MiniLog, topic: TopicInfo, max_records: int) -> None:
    records = drain(log.consumer("orders"), max_records)
    assert offsets(records, 0) == list(range(30))
    assert offsets(records, 1) == list(range(5))
    assert len(records) == 35


def test_poll_at_the_end_gives_an_empty_list(log: MiniLog, topic: TopicInfo) -> None:
    assert log.consumer("orders", start="latest").poll(timeout=0) == []
    assert log.consumer("orders", start="latest").poll(timeout=0.05) == []


def test_poll_wakes_up_for_a_new_record(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", start="latest")
    timer = threading.Timer(0.05, lambda: log.append(topic, 2, [b"new"]))
    timer.start()
    (record,) = consumer.poll(timeout=30)
    timer.join()
    assert (record.partition, record.value) == (2, b"new")


def test_partitions_take_turns(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders")
    seen = [consumer.poll(timeout=0, max_records=5)[0].partition for _ in range(3)]
    assert seen == [0, 1, 0]
    for first in (5, 10, 15):
        log.append(topic, 1, numbered(first, 5))
    chunks = [consumer.poll(timeout=0, max_records=5) for _ in range(6)]
    assert [chunk[0].partition for chunk in chunks] == [1, 0, 1, 0, 1, 0]


def test_a_poll_is_bounded_in_bytes(log: MiniLog, topic: TopicInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "CHUNK_BYTES", 8)
    assert len(log.consumer("orders").poll(timeout=0)) == 8  # values of one byte
    monkeypatch.setattr(turns, "CHUNK_BYTES", 1)
    assert len(drain(log.consumer("orders"))) == 35  # slowly, but all


def test_several_topics_are_read(log: MiniLog, topic: TopicInfo) -> None:
    log.append(log.topic("refunds"), values=[b"refund"])
    consumer = log.consumer("orders", "refunds")
    assert {record.topic for record in drain(consumer)} == {"orders", "refunds"}
    one = Consumer(log.catalog, log.reader, log.runtime, "refunds")
    assert len(drain(one)) == 1
    one.close()


def test_some_partitions_are_read(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", partitions=[1, 2])
    assert consumer.assignment == [TopicPartition("orders", 1), TopicPartition("orders", 2)]
    assert len(drain(consumer)) == 5


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("earliest", 0),
        (7, 7),
        ({0: 12}, 12),
        (dt.datetime(1970, 1, 1, 0, 0, 0, 21_000, tzinfo=dt.UTC), 21),
    ],
)
def test_it_starts_where_it_is_told(log: MiniLog, topic: TopicInfo, start: Any, first: int) -> None:
    consumer = log.consumer("orders", partitions=[0], start=start)
    assert consumer.position("orders", 0) == first
    assert offsets(drain(consumer)) == list(range(first, 30))


def test_latest_is_the_end_at_the_time_it_was_made(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", start="latest")
    log.append(topic, 0, [b"new"])
    assert [record.value for record in drain(consumer)] == [b"new"]


def test_keys_and_values_are_deserialized(log: MiniLog) -> None:
    topic = log.topic()
    log.append(topic, values=[b'{"a": 1}', None], keys=["grün".encode(), None])
    records = drain(log.consumer("orders", key="str", value="json"))
    assert [(r.key, r.value) for r in records] == [("grün", {"a": 1}), (None, None)]


# --- batches ------------------------------------------------------------------------------------------


def test_batches_are_blocks(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", value=int)
    rounds = [consumer.poll_batches(timeout=0) for _ in range(4)]
    assert [[len(batch) for batch in batches] for batches in rounds] == [[10, 5], [10], [10], []]
    assert rounds[0][1].values() == list(range(100, 105))


def test_batches_may_be_limited(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders")
    assert [len(batch) for batch in consumer.poll_batches(timeout=0, max_records=12)] == [10, 2]
    rest = [batch for _ in range(9) for batch in consumer.poll_batches(timeout=0)]
    assert sum(map(len, rest)) == 23


# --- iteration ----------------------------------------------------------------------------------------


def test_iteration_goes_on_where_polls_ended_and_the_reverse(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", partitions=[0])
    assert len(consumer.poll(max_records=3)) == 3
    assert [record.offset for record in islice(consumer, 4)] == [3, 4, 5, 6]
    assert consumer.position("orders", 0) == 7
    assert offsets(consumer.poll(max_records=2)) == [7, 8]
    assert offsets(list(islice(consumer, 21))) == list(range(9, 30))


def test_the_position_follows_the_loop(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders")
    seen = {0: 0, 1: 0, 2: 0}
    for record in islice(consumer, 35):
        seen[record.partition] += 1
        assert [consumer.position("orders", number) for number in range(3)] == list(seen.values())
        assert consumer.lag("orders") == 35 - sum(seen.values())


def test_seek_within_a_loop_acts_at_once(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", partitions=[0])
    visited = []
    for record in consumer:
        visited.append(record.offset)
        if record.offset == 2:
            consumer.seek("orders", 0, 27)
        if record.offset == 29:
            break
    assert visited == [0, 1, 2, 27, 28, 29]


def test_pause_within_a_loop_acts_at_once_and_loses_nothing(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders")
    visited: list[tuple[int, int]] = []
    for record in consumer:
        visited.append((record.partition, record.offset))
        if visited[-1] == (0, 4):
            consumer.pause([("orders", 0)])
        if visited[-1] == (1, 4):
            consumer.resume()
        if len(visited) == 35:
            break
    zero, one = [(0, n) for n in range(30)], [(1, n) for n in range(5)]
    assert visited == zero[:5] + one + zero[5:]


def test_two_loops_share_out_the_records(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", partitions=[0])
    first, second = iter(consumer), iter(consumer)
    turns = [next(first), next(second), next(first), next(first), next(second)]
    assert offsets(turns) == [0, 1, 2, 3, 4]


def test_iteration_waits_for_more(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", start="latest")
    timer = threading.Timer(0.05, lambda: log.append(topic, 1, [b"late"]))
    timer.start()
    assert next(iter(consumer)).value == b"late"
    timer.join()


@pytest.mark.parametrize("read", [lambda c: next(iter(c)), lambda c: c.poll(timeout=None)])
def test_ctrl_c_gets_through_to_one_that_waits(
    log: MiniLog, topic: TopicInfo, read: Callable[[Consumer], Any]
) -> None:
    consumer = log.consumer("orders", start="latest")
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        read(consumer)
    timer.join()
    log.append(topic, 0, [b"after"])
    assert consumer.poll(timeout=5)[0].value == b"after"


def test_ctrl_c_in_a_deserializer_loses_nothing(log: MiniLog, topic: TopicInfo) -> None:
    interrupts = iter([b"3", b"14"])
    due = [next(interrupts)]

    def decode(data: bytes) -> bytes:
        if data == due[0]:
            due[0] = next(interrupts, b"")
            raise KeyboardInterrupt
        return data

    consumer = log.consumer("orders", partitions=[0], value=decode)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            consumer.poll(timeout=0)
    assert offsets(drain(consumer)) == list(range(30))


# --- positions and assignment -------------------------------------------------------------------------


def test_seek_goes_anywhere_there_is(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", partitions=[0])
    places: list[tuple[Any, int]] = [(25, 25), ("earliest", 0), ("latest", 30), (30, 30)]
    for position, offset in places:
        consumer.seek("orders", 0, position)
        assert consumer.position("orders", 0) == offset
        assert offsets(drain(consumer)) == list(range(offset, 30))


@pytest.mark.parametrize("offset", [31, 10**9])
def test_seek_out_of_range_changes_nothing(log: MiniLog, topic: TopicInfo, offset: int) -> None:
    consumer = log.consumer("orders", partitions=[0], start=4)
    with pytest.raises(OffsetOutOfRangeError):
        consumer.seek("orders", 0, offset)
    with pytest.raises(InvalidPositionError):
        consumer.seek("orders", 0, "somewhere")
    assert consumer.position("orders", 0) == 4


def test_lag_is_what_is_left(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders")
    assert (consumer.lag(), consumer.lag("orders", 0), consumer.lag(partition=1)) == (35, 30, 5)
    consumer.poll(max_records=12)
    assert consumer.lag() == 23
    drain(consumer)
    assert consumer.lag() == 0
    log.append(topic, 2, numbered(0, 2))
    assert (consumer.lag(), consumer.lag("orders", 2)) == (2, 2)


def test_assign_keeps_the_positions_of_what_stays(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", partitions=[0])
    consumer.poll(max_records=7)
    consumer.pause()
    consumer.assign([("orders", 1), ("orders", 0)], start="latest")
    assert consumer.assignment == [("orders", 1), ("orders", 0)]
    assert consumer.position("orders", 0) == 7
    assert consumer.position("orders", 1) == 5
    assert consumer.paused == [("orders", 0)]
    consumer.assign([("orders", 1)])
    assert consumer.paused == []
    consumer.assign([("orders", 0)])
    assert consumer.position("orders", 0) == 0  # it had left


def test_assign_is_all_or_nothing(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", partitions=[0])
    with pytest.raises(PartitionNotFoundError):
        consumer.assign([("orders", 1), ("orders", 7)])
    with pytest.raises(TopicNotFoundError):
        consumer.assign([("orders", 1), ("other", 0)])
    assert consumer.assignment == [("orders", 0)]


def test_a_consumer_may_begin_with_nothing(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer()
    with pytest.raises(NotAssignedError, match="assign some"):
        consumer.poll(timeout=0)
    consumer.assign([("orders", 1)])
    assert len(drain(consumer)) == 5


def test_paused_partitions_wait(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders")
    consumer.pause([("orders", 0)])
    assert consumer.paused == [("orders", 0)]
    assert {record.partition for record in drain(consumer)} == {1}
    consumer.pause()
    assert consumer.poll(timeout=0) == []
    consumer.resume([("orders", 0)])
    assert offsets(drain(consumer)) == list(range(30))


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.seek("orders", 1, 0),
        lambda c: c.position("orders", 1),
        lambda c: c.pause([("orders", 1)]),
        lambda c: c.resume([("orders", 1)]),
        lambda c: c.lag("orders", 1),
        lambda c: c.lag("other"),
    ],
)
def test_what_is_not_read_cannot_be_asked_about(
    log: MiniLog, topic: TopicInfo, ask: Callable[[Consumer], Any]
) -> None:
    with pytest.raises(NotAssignedError, match="does not read"):
        ask(log.consumer("orders", partitions=[0]))


# --- wrong arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topics", "options", "error"),
    [
        (["order"], {}, TopicNotFoundError),
        (["orders"], {"partitions": [5]}, PartitionNotFoundError),
        (["orders"], {"partitions": 0}, InvalidInputError),
        (["orders"], {"start": 31}, OffsetOutOfRangeError),
        (["orders"], {"start": "newest"}, InvalidPositionError),
        (["orders"], {"start": {0: 1}}, InvalidPositionError),
        (["orders"], {"value": "jsn"}, InvalidSettingError),
        (["orders"], {"key": 7}, InvalidSettingError),
    ],
)
def test_a_consumer_that_makes_no_sense_is_not_made(
    log: MiniLog, topic: TopicInfo, topics: list[str], options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        log.consumer(*topics, **options)


@pytest.mark.parametrize(
    "poll",
    [
        lambda c: c.poll(max_records=0),
        lambda c: c.poll(max_records=2.5),
        lambda c: c.poll(max_records=True),
        lambda c: c.poll(timeout=-1),
        lambda c: c.poll(timeout=float("nan")),
        lambda c: c.poll(timeout="a"),
        lambda c: c.poll_batches(max_records=0),
    ],
)
def test_a_poll_that_makes_no_sense_is_refused(
    log: MiniLog, topic: TopicInfo, poll: Callable[[Consumer], Any]
) -> None:
    with pytest.raises(InvalidInputError):
        poll(log.consumer("orders"))


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.assign([("orders",)]),
        lambda c: c.assign([("orders", 0, 1)]),
        lambda c: c.assign([(0, "orders")]),
        lambda c: c.assign(7),
        lambda c: c.pause([("orders",)]),
        lambda c: c.resume("orders"),
        lambda c: c.close("x"),
        lambda c: c.close(-1),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    log: MiniLog, topic: TopicInfo, call: Callable[[Consumer], Any]
) -> None:
    consumer = log.consumer("orders")
    with pytest.raises(InvalidInputError):
        call(consumer)
    assert len(drain(consumer)) == 35


# --- trouble ------------------------------------------------------------------------------------------


def test_records_before_a_bad_one_come_first_and_seek_gets_past_it(log: MiniLog) -> None:
    topic = log.topic(partitions=2)
    log.append(topic, 0, [b"0", b"1", b"bad", b"3"])
    consumer = log.consumer("orders", value="json")
    assert offsets(consumer.poll(timeout=0)) == [0, 1]
    for _ in range(2):
        with pytest.raises(DeserializationError) as caught:
            consumer.poll(timeout=0)
    assert consumer.position("orders", 0) == 2
    log.append(topic, 1, [b"7"])
    assert [record.partition for record in consumer.poll(timeout=0)] == [1]  # it holds up no other
    consumer.seek(caught.value.topic, caught.value.partition, caught.value.offset + 1)
    assert offsets(drain(consumer)) == [3]


def test_damage_is_raised_again_and_again_and_holds_up_no_other(log: MiniLog, topic: TopicInfo) -> None:
    log.damage(log.refs(topic)[1])
    consumer = log.consumer("orders")

    def damaged() -> None:
        with pytest.raises(CorruptionError, match="offsets 10 to 19 of partition 0 of 'orders'"):
            consumer.poll(timeout=0)

    assert offsets(consumer.poll(timeout=0), 0) == list(range(10))
    damaged()
    assert offsets(consumer.poll(timeout=0), 1) == list(range(5))
    damaged()
    damaged()
    assert [consumer.position("orders", number) for number in (0, 1)] == [10, 5]
    consumer.seek("orders", 0, 20)
    assert offsets(drain(consumer)) == list(range(20, 30))


@pytest.mark.parametrize("read", [lambda c: c.poll(timeout=0), lambda c: c.poll_batches(timeout=0)])
def test_a_failing_store_is_raised_and_nothing_is_passed_over(
    log: MiniLog, topic: TopicInfo, read: Callable[[Consumer], Any]
) -> None:
    def fail(_data: bytes) -> bytes:
        raise StoreUnavailableError("no network")

    consumer = log.consumer("orders")
    log.watched.tamper = fail
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            read(consumer)
    log.watched.tamper = bytes
    assert len(drain(consumer)) == 35


def test_a_deleted_topic_is_missed_at_the_next_poll(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders")
    consumer.poll(max_records=1)
    log.catalog.delete_topic(topic)
    log.topic(partitions=3)  # one of the same name is another topic
    for ask in (
        lambda: consumer.poll(timeout=0),
        consumer.lag,
        lambda: consumer.seek("orders", 0, "earliest"),
    ):
        with pytest.raises(TopicNotFoundError, match="'orders' was deleted"):
            ask()


def test_topics_that_are_not_deleted_go_on(log: MiniLog, topic: TopicInfo) -> None:
    log.append(log.topic("refunds"), values=[b"refund"])
    consumer = log.consumer("orders", "refunds")
    log.catalog.delete_topic(topic)
    with pytest.raises(TopicNotFoundError):
        consumer.poll(timeout=0)
    outcomes = []
    for _ in range(4):
        with contextlib.suppress(TopicNotFoundError):
            outcomes += [record.value for record in consumer.poll(timeout=0)]
    assert outcomes == [b"refund"]


# --- the end ------------------------------------------------------------------------------------------


def test_closed_is_closed(log: MiniLog, topic: TopicInfo) -> None:
    with log.consumer("orders") as consumer:
        assert consumer.poll()
    consumer.close()
    for call in (
        consumer.poll,
        consumer.poll_batches,
        lambda: next(iter(consumer)),
        lambda: consumer.seek("orders", 0, 0),
        lambda: consumer.position("orders", 0),
        consumer.lag,
        consumer.pause,
        consumer.resume,
        lambda: consumer.assign([]),
        consumer.__enter__,
    ):
        with pytest.raises(ClosedError):
            call()
    assert repr(consumer) == "Consumer(closed)"


def test_closing_ends_a_loop(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders")
    records = iter(consumer)
    next(records)
    consumer.close()
    with pytest.raises(ClosedError):
        next(records)


def test_closing_wakes_one_that_waits(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", start="latest")
    timer = threading.Timer(0.05, consumer.close)
    timer.start()
    with pytest.raises(ClosedError):
        consumer.poll(timeout=None)
    timer.join()


def test_other_threads_get_through_to_one_that_waits(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders", start="latest")
    timer = threading.Timer(0.05, consumer.seek, ("orders", 0, 28))
    timer.start()
    assert offsets(consumer.poll(timeout=30)) == [28, 29]
    timer.join()


def test_threads_that_share_a_consumer_share_out_the_records(log: MiniLog) -> None:
    topic = log.topic(partitions=2)
    for first in range(0, 2000, 100):
        log.append(topic, first // 100 % 2, numbered(first, 100))
    consumer = log.consumer("orders")
    seen: list[bytes] = []

    def work() -> None:
        while chunk := consumer.poll(timeout=0, max_records=7):
            seen.extend(record.value for record in chunk)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(seen, key=int) == numbered(0, 2000)


def test_it_follows_other_processes_from_the_first_poll_until_it_is_closed(
    log: MiniLog, topic: TopicInfo
) -> None:
    followers = [0]
    follow = log.commits.follow

    def count(change: int) -> None:
        followers[0] += change
        follow(change)

    log.commits.follow = count
    consumer = log.consumer("orders")
    assert followers == [0]
    consumer.poll(timeout=0)
    consumer.poll(timeout=0)
    assert followers == [1]
    consumer.close()
    consumer.close()
    assert followers == [0]


def test_a_forgotten_close_warns(log: MiniLog, topic: TopicInfo) -> None:
    consumer = Consumer(log.catalog, log.reader, log.runtime, ["orders"])
    consumer.poll(timeout=0)
    warns = pytest.warns(ResourceWarning, match=r"Consumer\(3 partitions\) was never closed")
    with warns:
        del consumer
        gc.collect()


def test_one_that_could_not_be_made_warns_nobody(log: MiniLog, topic: TopicInfo) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(TopicNotFoundError):
            Consumer(log.catalog, log.reader, log.runtime, ["missing"])
        gc.collect()
    assert [str(each.message) for each in caught] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_fork_it_refuses(log: MiniLog, topic: TopicInfo) -> None:
    consumer = log.consumer("orders")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is the point
        with consumer._lock:  # held by the parent at the moment of the fork
            child = os.fork()
    if child == 0:
        refused = 0
        for call in (consumer.poll, consumer.lag, lambda: consumer.seek("orders", 0, 0)):
            try:
                call()
            except ForkedError:
                refused += 1
        consumer.close()
        os._exit(refused)
    deadline = time.monotonic() + 30
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(done[1]) == 3
    assert len(drain(consumer)) == 35


# --- anything in any order ----------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Reads, seeks, pauses and writes in any order, against plain lists."""

    @initialize()
    def open(self) -> None:
        self.log = MiniLog(prefetch_blocks=2)
        self.topic = self.log.topic(partitions=2)
        self.written: list[list[bytes]] = [[], []]
        self.positions = [0, 0]
        self.paused: set[int] = set()
        self.consumer = self.log.consumer("orders")
        self.loop = iter(self.consumer)

    def teardown(self) -> None:
        self.log.close()

    @rule(partition=st.integers(0, 1), count=st.integers(1, 12))
    def write(self, partition: int, count: int) -> None:
        values = numbered(len(self.written[partition]), count)
        self.log.append(self.topic, partition, values)
        self.written[partition] += values

    @rule(max_records=st.integers(1, 20))
    def poll(self, max_records: int) -> None:
        records = self.consumer.poll(timeout=0, max_records=max_records)
        assert len(records) == min(max_records, self.readable())
        self.see(records)

    @rule(max_records=st.one_of(st.none(), st.integers(1, 20)))
    def poll_batches(self, max_records: int | None) -> None:
        batches = self.consumer.poll_batches(timeout=0, max_records=max_records)
        assert bool(batches) == bool(self.readable())
        for batch in batches:
            self.see(batch.records())

    @rule(count=st.integers(1, 20))
    def iterate(self, count: int) -> None:
        for _ in range(min(count, self.readable())):
            self.see([next(self.loop)])

    @rule(count=st.integers(1, 5))
    def iterate_afresh(self, count: int) -> None:
        self.see(list(islice(self.consumer, min(count, self.readable()))))

    @rule(partition=st.integers(0, 1), data=st.data())
    def seek(self, partition: int, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, len(self.written[partition])))
        self.consumer.seek("orders", partition, offset)
        self.positions[partition] = offset

    @rule(partition=st.integers(0, 1))
    def pause(self, partition: int) -> None:
        self.consumer.pause([("orders", partition)])
        self.paused.add(partition)

    @rule()
    def resume(self) -> None:
        self.consumer.resume()
        self.paused.clear()

    @invariant()
    def positions_are_right(self) -> None:
        if hasattr(self, "consumer"):
            found = [self.consumer.position("orders", number) for number in (0, 1)]
            assert found == self.positions

    def readable(self) -> int:
        return sum(
            len(self.written[number]) - self.positions[number]
            for number in (0, 1)
            if number not in self.paused
        )

    def see(self, records: list[Record[Any, Any]]) -> None:
        for record in records:
            assert record.partition not in self.paused
            assert record.offset == self.positions[record.partition]
            assert record.value == self.written[record.partition][record.offset]
            self.positions[record.partition] += 1


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
