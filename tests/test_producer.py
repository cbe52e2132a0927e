"""The producer on real logs: what is sent is stored once, in order, in the right partition."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import itertools
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import streamhouse
from streamhouse.errors import (
    ClosedError,
    ForkedError,
    InvalidInputError,
    InvalidRecordError,
    InvalidSettingError,
    InvalidTopicNameError,
    PartitionNotFoundError,
    RecordTooLargeError,
    TopicNotFoundError,
)
from streamhouse.producer import BatchDelivery, Delivery, Producer
from streamhouse.testing.clock import ManualRuntime
from streamhouse.write.partitioner import partition_for_key


@pytest.fixture
def log() -> Iterator[streamhouse.Log]:
    with streamhouse.Log("memory://") as log:
        log.create_topic("one")
        log.create_topic("three", partitions=3)
        yield log


@pytest.fixture
def producer(log: streamhouse.Log) -> Iterator[Producer]:
    with log.producer() as producer:
        yield producer


def values(log: streamhouse.Log, topic: str = "one") -> list[Any]:
    return [record.value for record in log.read(topic)]


# --- one by one --------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_sent(log: streamhouse.Log, producer: Producer) -> None:
    headers = [("trace", b"1"), ("trace", None), ("ä", "ö")]
    stored = producer.send("one", b"v", key=b"k", headers=headers, timestamp=123).result()
    assert stored == ("one", 0, 0, 123)
    (record,) = log.read("one")
    assert (record.key, record.value, record.timestamp) == (b"k", b"v", 123)
    assert record.headers == (("trace", b"1"), ("trace", None), ("ä", "ö".encode()))


def test_null_and_empty_are_kept_apart(log: streamhouse.Log, producer: Producer) -> None:
    pairs = [(None, None), (b"", b""), (b"k", None), (None, b"v"), (b"", None), (None, b"")]
    for key, value in pairs:
        producer.send("one", value, key=key)
    producer.send_many("one", [value for _, value in pairs], keys=[key for key, _ in pairs])
    producer.flush()
    assert [(record.key, record.value) for record in log.read("one")] == pairs * 2


def test_what_values_and_keys_may_be(log: streamhouse.Log, producer: Producer) -> None:
    changing = bytearray(b"before")
    for value in ["ä", changing, memoryview(b"view"), {"a": 1}, [1, 2]]:
        producer.send("one", value, key="ö")
    changing[:] = b"after!"
    producer.flush()
    assert values(log) == ["ä".encode(), b"before", b"view", b'{"a":1}', b"[1,2]"]
    assert {record.key for record in log.read("one")} == {"ö".encode()}


def test_own_serializers(log: streamhouse.Log) -> None:
    with log.producer(key_serializer=lambda key: b"%d" % key, value_serializer="json") as producer:
        producer.send("one", 1.5, key=7)
        producer.send_many("one", [True, None, "x"], keys=[8, None, 9])
    assert [(record.key, record.value) for record in log.read("one")] == [
        (b"7", b"1.5"),
        (b"8", b"true"),
        (None, None),
        (b"9", b'"x"'),
    ]
    with pytest.raises(InvalidSettingError, match="value_serializer"):
        log.producer(value_serializer="jsn")


def test_keys_decide_partitions_as_in_kafka(log: streamhouse.Log, producer: Producer) -> None:
    keys = [b"%d" % number for number in range(100)] + [b""]
    sent = [producer.send("three", key, key=key) for key in keys]
    many = producer.send_many("three", keys, keys=keys)
    assert [one.result().partition for one in sent] == [partition_for_key(key, 3) for key in keys]
    assert sum(map(len, many.result().partitions.values())) == len(keys)
    for record in log.read("three"):
        assert record.partition == partition_for_key(record.value, 3)


def test_every_delivery_knows_its_offset(log: streamhouse.Log, producer: Producer) -> None:
    sent = [producer.send("three", b"%d" % i, key=b"%d" % (i % 50)) for i in range(2000)]
    producer.flush()
    where = {(r.partition, r.offset): r for r in log.read("three")}
    assert len(where) == 2000
    for i, delivery in enumerate(sent):
        stored = delivery.result()
        record = where[stored.partition, stored.offset]
        assert (record.value, record.timestamp) == (b"%d" % i, stored.timestamp)


def test_records_without_a_key_share_a_partition_for_a_batch(log: streamhouse.Log) -> None:
    with log.producer() as producer:
        seen = set()
        for _ in range(50):
            batch = [producer.send("three", b"") for _ in range(10)]
            producer.flush()
            partitions = {delivery.result().partition for delivery in batch}
            assert len(partitions) == 1
            seen |= partitions
    assert seen == {0, 1, 2}


def test_a_chosen_partition_and_timestamp(log: streamhouse.Log, producer: Producer) -> None:
    when = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    first = producer.send("three", b"a", key=b"k", partition=2, timestamp=when)
    second = producer.send("three", b"b", key=b"k", partition=0, timestamp=1)
    third = producer.send("three", b"c", key=b"k")
    many = producer.send_many("three", [b"d", b"e"], keys=[b"k", b"l"], partition=1, timestamps=when)
    assert first.result()[1:] == (2, 0, 1577836800000)
    assert second.result()[1:] == (0, 0, 1)
    assert third.result().partition == partition_for_key(b"k", 3)
    assert len(many.result().partitions[1]) == 2
    assert {record.timestamp for record in log.read("three", partitions=[1])} >= {1577836800000}


def test_default_timestamps_are_now_and_never_run_back(log: streamhouse.Log, producer: Producer) -> None:
    started = time.time_ns() // 1_000_000
    stamps = []
    for pause in (0, 0.002, 0.01, 0.03, 0):
        time.sleep(pause)
        before = time.time_ns() // 1_000_000
        delivery = producer.send("one", b"")
        producer.send("one", b"")
        stamps.append((before, delivery))
    for before, delivery in stamps:
        assert before - 25 <= delivery.result().timestamp <= time.time_ns() // 1_000_000
    found = [record.timestamp for record in log.read("one")]
    assert found == sorted(found)
    assert found[0] >= started


def test_the_clock_is_the_runtimes() -> None:
    runtime = ManualRuntime(time_ms=5000)
    with streamhouse.Log("memory://", runtime=runtime) as log, log.producer() as producer:
        log.create_topic("one")
        assert producer.send("one", b"").result().timestamp == 5000
        runtime.advance(1)
        assert producer.send("one", b"").result().timestamp == 6000
        assert producer.send_many("one", [b""]).result().count == 1
        assert [record.timestamp for record in log.read("one")] == [5000, 6000, 6000]


def test_large_records(log: streamhouse.Log) -> None:
    large = random.Random(1).randbytes(3_000_000)
    with log.producer() as producer:
        for value in (large, b"small", large[:200_000], b""):
            producer.send("one", value)
    assert values(log) == [large, b"small", large[:200_000], b""]


# --- many at once ------------------------------------------------------------------------------------


def test_send_many(log: streamhouse.Log, producer: Producer) -> None:
    delivery = producer.send_many(
        "one",
        ["a", None, {"b": 1}],
        keys=["k", None, b""],
        headers=[{"h": "1"}, None, [("x", None)]],
        timestamps=[1, dt.datetime(1970, 1, 1, tzinfo=dt.UTC), 3],
    )
    assert delivery.result() == streamhouse.producer.BatchMetadata("one", 3, {0: range(3)})
    assert len(delivery) == 3
    assert [(r.key, r.value, r.headers, r.timestamp) for r in log.read("one")] == [
        (b"k", b"a", (("h", b"1"),), 1),
        (None, None, (), 0),
        (b"", b'{"b":1}', (("x", None),), 3),
    ]


def test_send_many_takes_any_iterable(log: streamhouse.Log, producer: Producer) -> None:
    producer.send_many("one", (str(i) for i in range(3)), keys=iter("abc"), headers={"h": "x"})
    producer.flush()
    assert [(r.key, r.value, r.headers) for r in log.read("one")] == [
        (b"a", b"0", (("h", b"x"),)),
        (b"b", b"1", (("h", b"x"),)),
        (b"c", b"2", (("h", b"x"),)),
    ]


def test_send_many_of_nothing(log: streamhouse.Log, producer: Producer) -> None:
    delivery = producer.send_many("one", [])
    assert delivery.done()
    assert delivery.result() == streamhouse.producer.BatchMetadata("one", 0, {})
    assert len(delivery) == 0
    assert values(log) == []


def test_a_large_batch_keeps_order_in_every_partition(log: streamhouse.Log, producer: Producer) -> None:
    dice = random.Random(3)
    keys = [b"%d" % dice.randrange(1000) for _ in range(30_000)]
    sent = [b"%d " % i + dice.randbytes(dice.randrange(200)) for i in range(30_000)]
    metadata = producer.send_many("three", sent, keys=keys).result()
    assert metadata.count == 30_000
    for partition, offsets in metadata.partitions.items():
        records = list(log.read("three", partitions=[partition]))
        mine = [i for i in range(30_000) if partition_for_key(keys[i], 3) == partition]
        assert [(r.key, r.value) for r in records] == [(keys[i], sent[i]) for i in mine]
        assert [r.offset for r in records] == list(offsets)


def test_send_and_send_many_keep_the_order_of_the_calls(log: streamhouse.Log) -> None:
    with log.producer() as producer:
        expected = []
        for i in range(200):
            producer.send("one", b"s%d" % i)
            producer.send_many("one", [b"m%d" % i, b"n%d" % i])
            expected += [b"s%d" % i, b"m%d" % i, b"n%d" % i]
            if i % 50 == 0:
                producer.send("one", b"x" * 200_000)  # compressed in the pool, so ready later
                expected.append(b"x" * 200_000)
    assert values(log) == expected


def test_a_batch_is_one_commit(log: streamhouse.Log) -> None:
    with log.producer() as producer:
        producer.send_many("three", [b"%d" % i for i in range(5000)], keys=[b"%d" % i for i in range(5000)])
        # Whoever sees one of its records sees all of them, in every partition.
        deadline = time.monotonic() + 10
        while not (seen := values(log, "three")):
            assert time.monotonic() < deadline
        assert len(seen) == 5000


def bad_batches() -> dict[str, tuple[type[Exception], dict[str, Any]]]:
    good = [b"a", b"b", b"c"]
    return {
        "value": (InvalidRecordError, {"values": [b"a", 5, b"c"]}),
        "json": (InvalidRecordError, {"values": [b"a", {"a": object()}, b"c"]}),
        "key": (InvalidRecordError, {"values": good, "keys": ["a", "b", 1.5]}),
        "fewer keys": (InvalidRecordError, {"values": good, "keys": ["a", "b"]}),
        "keys a text": (InvalidRecordError, {"values": good, "keys": "abc"}),
        "values a text": (InvalidRecordError, {"values": "abc"}),
        "values a dict": (InvalidRecordError, {"values": {"a": 1}}),
        "values a number": (InvalidRecordError, {"values": 5}),
        "headers": (InvalidRecordError, {"values": good, "headers": [{}, {"a": 1}, {}]}),
        "fewer headers": (InvalidRecordError, {"values": good, "headers": [{}]}),
        "timestamp": (InvalidRecordError, {"values": good, "timestamps": [1, 2, "3"]}),
        "one timestamp": (InvalidRecordError, {"values": good, "timestamps": 1.5}),
        "fewer timestamps": (InvalidRecordError, {"values": good, "timestamps": [1, 2]}),
        "partition": (PartitionNotFoundError, {"values": good, "partition": 3}),
        "partition type": (InvalidRecordError, {"values": good, "partition": "0"}),
        "too large": (RecordTooLargeError, {"values": [b"a", b"x" * 2001, b"c"]}),
        "too large with key": (RecordTooLargeError, {"values": [b"x" * 1500] * 2, "keys": [b"", b"k" * 501]}),
        "too large with headers": (
            RecordTooLargeError,
            {"values": good, "headers": [{}, {"h": b"x" * 2000}, {}]},
        ),
    }


@pytest.mark.parametrize("name", bad_batches())
def test_a_bad_record_spoils_the_whole_batch_and_nothing_else(name: str) -> None:
    error, arguments = bad_batches()[name]
    with streamhouse.Log("memory://", record_bytes_max=2000) as log:
        log.create_topic("three", partitions=3)
        with log.producer() as producer:
            producer.send("three", b"before")
            with pytest.raises(error):
                producer.send_many("three", **arguments)
            producer.send_many("three", [b"after", b"x" * 2000])
        assert sorted(values(log, "three")) == [b"after", b"before", b"x" * 2000]


def test_messages_say_which_record(log: streamhouse.Log, producer: Producer) -> None:
    with pytest.raises(InvalidRecordError, match=r"^values\[1\]: a value of type set cannot be stored"):
        producer.send_many("one", [b"", {1}])
    with streamhouse.Log("memory://", record_bytes_max=10) as small, small.producer() as careful:
        small.create_topic("one")
        with pytest.raises(RecordTooLargeError, match=r"^values\[2\]: a record of 11 bytes exceeds"):
            careful.send_many("one", [b"", None, b"1234567890"], keys=["", None, "k"])


# --- bad input, one by one ---------------------------------------------------------------------------

BAD_RECORDS: list[tuple[type[Exception], dict[str, Any]]] = [
    (InvalidRecordError, {"value": 5}),
    (InvalidRecordError, {"value": {"a": object()}}),
    (InvalidRecordError, {"value": "\ud800"}),
    (InvalidRecordError, {"key": {"a": 1}}),
    (InvalidRecordError, {"headers": {"a": 1}}),
    (InvalidRecordError, {"headers": "ab"}),
    (InvalidRecordError, {"timestamp": "now"}),
    (InvalidRecordError, {"timestamp": dt.datetime(2020, 1, 1)}),  # noqa: DTZ001
    (InvalidRecordError, {"partition": True}),
    (PartitionNotFoundError, {"partition": 1}),
    (PartitionNotFoundError, {"partition": -1}),
    (RecordTooLargeError, {"value": b"x" * 1001}),
    (RecordTooLargeError, {"value": b"x" * 900, "key": b"k" * 101}),
    (RecordTooLargeError, {"value": b"x" * 900, "headers": {"k": b"v" * 100}}),
    (TopicNotFoundError, {"topic": "onne"}),
    (InvalidTopicNameError, {"topic": None}),
    (InvalidTopicNameError, {"topic": ["one"]}),
]


@pytest.mark.parametrize("position", range(len(BAD_RECORDS)))
@pytest.mark.parametrize("open_batch", [False, True])
def test_bad_input_raises_in_send_and_leaves_nothing(position: int, open_batch: bool) -> None:
    error, arguments = BAD_RECORDS[position]
    with streamhouse.Log("memory://", record_bytes_max=1000) as log:
        log.create_topic("one")
        with log.producer() as producer:
            if open_batch:
                producer.send("one", b"before")
            with pytest.raises(error):
                producer.send(**{"topic": "one", **arguments})
            producer.send("one", b"x" * 1000)
        assert values(log) == [b"before"] * open_batch + [b"x" * 1000]


def test_a_misspelt_topic_gets_a_hint(producer: Producer) -> None:
    with pytest.raises(TopicNotFoundError, match="no topic 'tree'; did you mean 'three'"):
        producer.send("tree", b"")


def test_a_topic_made_by_somebody_else_is_found(tmp_path: Path) -> None:
    with (
        streamhouse.Log(str(tmp_path)) as mine,
        streamhouse.Log(str(tmp_path)) as other,
        mine.producer() as producer,
    ):
        with pytest.raises(TopicNotFoundError):
            producer.send("new", b"")
        other.create_topic("new")
        assert producer.send("new", b"").result().offset == 0


def test_a_topic_deleted_and_made_anew(log: streamhouse.Log, producer: Producer) -> None:
    producer.send("one", b"old").result()
    log.delete_topic("one")
    with pytest.raises(TopicNotFoundError, match="deleted"):
        producer.send("one", b"lost").result()
    with pytest.raises(TopicNotFoundError):
        producer.send("one", b"")
    log.create_topic("one", partitions=2)
    assert producer.send("one", b"new", partition=1).result()[1:3] == (1, 0)
    assert values(log) == [b"new"]


# --- deliveries --------------------------------------------------------------------------------------


def test_a_delivery(producer: Producer) -> None:
    delivery = producer.send("one", b"")
    assert isinstance(delivery, Delivery)
    assert delivery.exception(timeout=10) is None
    assert delivery.done()
    assert repr(delivery) == "<Delivery to 'one', durable>"
    many = producer.send_many("one", [b"", b""])
    assert isinstance(many, BatchDelivery)
    assert many.exception(timeout=10) is None
    assert many.done()
    assert repr(many) == "<BatchDelivery of 2 to 'one', durable>"


def test_callbacks(producer: Producer) -> None:
    called: list[object] = []
    delivery = producer.send("one", b"")
    delivery.add_done_callback(called.append)
    many = producer.send_many("one", [b""])
    many.add_done_callback(called.append)
    producer.flush()
    many.result()
    assert called == [delivery, many]
    delivery.add_done_callback(called.append)  # known already: called at once
    assert called == [delivery, many, delivery]


def test_a_callback_that_fails_hurts_nobody(producer: Producer, caplog: pytest.LogCaptureFixture) -> None:
    producer.send("one", b"").add_done_callback(lambda _: 1 // 0)
    producer.flush()
    producer.send("one", b"").result()
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_a_callback_that_wants_to_end_everything_hurts_nobody(
    producer: Producer, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    def end(_: object) -> None:
        raise error

    delivery = producer.send("one", b"")
    delivery.add_done_callback(end)
    many = producer.send_many("one", [b""])
    many.add_done_callback(end)
    assert many.result(timeout=30).count == 1
    producer.flush()
    assert producer.send("one", b"").result(timeout=30).offset == 2
    assert error.__name__ in caplog.text


def _commit_a_transaction(log: streamhouse.Log, producer: Producer) -> None:
    with producer.transaction() as tx:
        tx.send("one", b"")


def _fill_the_memory(log: streamhouse.Log, producer: Producer) -> None:
    for _ in range(100):
        producer.send("three", b"x" * 10_000)


_WAITING: dict[str, Callable[[streamhouse.Log, Producer], object]] = {
    "create_topic": lambda log, _: log.create_topic("new"),
    "delete_topic": lambda log, _: log.delete_topic("three"),
    "upkeep": lambda log, _: log.upkeep(),
    "close": lambda log, _: log.close(),
    "named producer": lambda log, _: log.producer(transactional_id="n"),
    "transaction": _commit_a_transaction,
    "flush": lambda log, _: log.flush(),
    "full memory": _fill_the_memory,
}


@pytest.mark.parametrize("what", _WAITING)
def test_a_callback_that_would_wait_for_its_own_thread_is_told(what: str) -> None:
    with streamhouse.Log("memory://", buffer_bytes_max=128 << 10, delivery_timeout_seconds=20) as log:
        log.create_topic("one")
        log.create_topic("three", partitions=3)
        with log.producer() as producer:
            refused = threading.Event()

            def call(_: object) -> None:
                producer.send("three", b"pending")
                with pytest.raises(InvalidInputError, match="hand it to another thread"):
                    _WAITING[what](log, producer)
                refused.set()

            producer.send("one", b"").add_done_callback(call)
            assert refused.wait(30)
            producer.flush(timeout=30)
            log.create_topic("later")


@pytest.mark.parametrize(
    "wait",
    [
        lambda producer: producer.send("three", b"").result(timeout=30),
        lambda producer: producer.send("three", b"").exception(timeout=30),
        lambda producer: producer.send_many("three", [b""]).result(timeout=30),
        lambda producer: (producer.send("three", b""), producer.close()),
    ],
)
def test_a_callback_may_not_wait_for_other_deliveries(
    log: streamhouse.Log, wait: Callable[[Producer], object]
) -> None:
    with log.producer() as producer:
        refused = threading.Event()

        def call(_: object) -> None:
            with pytest.raises(InvalidInputError, match="hand it to another thread"):
                wait(producer)
            refused.set()

        producer.send("one", b"").add_done_callback(call)
        assert refused.wait(30)
        producer.flush(timeout=30)
        producer.send("one", b"").result(timeout=30)


def test_a_callback_may_ask_for_what_is_known_and_close_what_is_empty(log: streamhouse.Log) -> None:
    done = threading.Event()
    producer = log.producer()

    def call(delivery: Delivery) -> None:
        assert delivery.result().offset == 0
        producer.flush()
        producer.close()
        done.set()

    producer.send("one", b"").add_done_callback(call)
    assert done.wait(30)


def test_deliveries_and_their_callbacks_leave_no_garbage(producer: Producer) -> None:
    import weakref

    class Token:
        pass

    token = Token()
    gone = weakref.ref(token)
    delivery = producer.send("one", b"")
    delivery.add_done_callback(lambda _, token=token: None)  # type: ignore[misc]
    delivery.result()
    batch = weakref.ref(delivery._batch)
    del delivery, token
    producer.flush()
    deadline = time.monotonic() + 5
    while (gone() or batch()) and time.monotonic() < deadline:
        producer.send("one", b"").result()  # idle threads still remember what they did last
        gc.collect()
    assert gone() is None
    assert batch() is None


async def test_await(producer: Producer) -> None:
    assert (await producer.send("one", b"")).offset == 0
    assert (await producer.send_many("one", [b"", b""])).partitions == {0: range(1, 3)}
    delivery = producer.send("one", b"")
    delivery.result()
    assert (await delivery).offset == 3  # known already


async def test_tasks_that_await_share_a_batch(log: streamhouse.Log, producer: Producer) -> None:
    async def send(number: int) -> int:
        return (await producer.send("one", b"%d" % number)).offset

    offsets = await asyncio.gather(*map(send, range(500)))
    assert offsets == list(range(500))
    assert log._catalog.partition(log.topic("one").id, 0).blocks <= 5


async def test_a_cancelled_await_leaves_the_delivery_alone(producer: Producer) -> None:
    delivery = producer.send("one", b"")
    task = asyncio.ensure_future(_awaiting(delivery))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await delivery).offset == 0


async def _awaiting(delivery: Delivery) -> object:
    return await delivery


# --- many threads, Ctrl-C, fork, forgetting ----------------------------------------------------------


def test_threads_share_a_producer(log: streamhouse.Log) -> None:
    each, count = 4000, 6
    deliveries: dict[int, list[Delivery]] = {}

    def work(thread: int) -> None:
        mine = [producer.send("three", b"%d %d" % (thread, i), key=b"%d" % i) for i in range(each)]
        deliveries[thread] = mine

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # as many races as possible
    try:
        with log.producer() as producer:
            threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    stored = {(r.partition, r.offset): r.value for r in log.read("three")}
    assert len(stored) == each * count
    places = set()
    for number, mine in deliveries.items():
        last = {0: -1, 1: -1, 2: -1}
        for i, delivery in enumerate(mine):
            _, partition, offset, _ = delivery.result()
            assert stored[partition, offset] == b"%d %d" % (number, i)
            assert offset > last[partition]
            last[partition] = offset
            places.add((partition, offset))
    assert len(places) == each * count


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals between threads")
def test_ctrl_c_at_any_moment_loses_and_doubles_nothing(log: streamhouse.Log) -> None:
    sent: dict[bytes, Delivery | BatchDelivery] = {}
    numbers = itertools.count(1)
    deadline = time.monotonic() + 4

    def send(producer: Producer) -> None:
        while time.monotonic() < deadline:
            number = next(numbers)
            value = b"%d" % number
            if number % 300 == 0:
                sent[value] = producer.send_many("three", [value] * 2000, partition=1)
            elif number % 70 == 0:
                producer.send("three", value, partition=0).result()
            else:
                sent[value] = producer.send("three", value, partition=0)

    with log.producer() as producer, interruptions() as interrupted:
        while time.monotonic() < deadline:
            with suppress(KeyboardInterrupt):
                interrupted.during(send, producer)
        producer.flush(timeout=30)
        assert interrupted.count > 50
    stored = [record.value for record in log.read("three", partitions=[0])]
    assert len(set(stored)) == len(stored)
    assert sorted(stored, key=int) == stored
    bulk = [record.value for record in log.read("three", partitions=[1])]
    for value, delivery in sent.items():
        if isinstance(delivery, Delivery):
            assert stored[delivery.result().offset] == value
        else:
            offsets = delivery.result().partitions[1]
            assert bulk[offsets.start : offsets.stop] == [value] * 2000
    assert set(Counter(bulk).values()) <= {2000}
    assert log._batcher.memory.used == 0


class Interrupter:
    """While it calls something, the main thread gets a KeyboardInterrupt after a random while."""

    def __init__(self) -> None:
        self.count = 0
        self._dice = random.Random(5)
        self._armed = False
        self._go = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run)

    def during(self, function: Callable[..., None], *args: object) -> None:
        self._armed = True  # first: the shot may come while this thread waits for a processor
        self._go.set()
        function(*args)
        self._armed = False

    def handle(self, *_: object) -> None:
        if self._armed:
            self._armed = False
            self.count += 1
            raise KeyboardInterrupt

    def _run(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while self._go.wait() and not self._over:
            self._go.clear()
            time.sleep(self._dice.uniform(0.0002, 0.02))
            signal.pthread_kill(main, signal.SIGUSR1)

    def stop(self) -> None:
        self._over = True
        self._go.set()
        self._thread.join()


@contextmanager
def interruptions() -> Iterator[Interrupter]:
    interrupter = Interrupter()
    before = signal.signal(signal.SIGUSR1, interrupter.handle)
    interrupter._thread.start()
    gc.collect()
    gc.disable()  # an exception in a finalizer would be swallowed, and pytest would complain
    try:
        yield interrupter
    finally:
        gc.enable()
        interrupter.stop()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_producer_refuses_in_a_forked_child(log: streamhouse.Log) -> None:
    with log.producer() as producer:
        delivery = producer.send("one", b"mine")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: that is the point
            child = os.fork()
        if child == 0:
            os._exit(_refused(producer, delivery))
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    assert values(log) == [b"mine"]


def _refused(producer: Producer, delivery: Delivery) -> int:
    attempts: list[Callable[[], object]] = [
        lambda: producer.send("one", b"child's"),
        lambda: producer.send_many("one", [b"child's"]),
        producer.flush,
        producer.__enter__,
        delivery.result,
    ]
    for attempt in attempts:
        try:
            attempt()
        except ForkedError:
            continue
        except BaseException:  # noqa: BLE001
            return 2
        return 1
    producer.close()  # leaving a with block is fine
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        producer.__del__()
    return 0


def test_a_forgotten_producer_warns_and_still_writes(log: streamhouse.Log) -> None:
    producer = log.producer()
    delivery = producer.send("one", b"sent")
    with pytest.warns(ResourceWarning, match="a producer was never closed"):
        del producer
    deadline = time.monotonic() + 10
    while not delivery.done():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert values(log) == [b"sent"]


def test_a_producer_that_failed_to_come_up_does_not_warn(log: streamhouse.Log) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidSettingError):
            log.producer(key_serializer=5)
        gc.collect()


@pytest.mark.parametrize("timeout", ["x", -1, float("nan")])
def test_what_is_no_time_to_wait_is_refused_and_closes_nothing(log: streamhouse.Log, timeout: Any) -> None:
    producer = log.producer()
    for call in (producer.flush, producer.close, log.close):
        with pytest.raises(InvalidInputError, match="timeout"):
            call(timeout)
    producer.send("one", b"sent").result()
    producer.close()


def test_closed(log: streamhouse.Log) -> None:
    producer = log.producer()
    assert repr(producer) == "<Producer>"
    delivery = producer.send("one", b"last words")
    producer.close()
    assert delivery.done()
    producer.close()
    assert repr(producer) == "<Producer, closed>"
    for attempt in (
        lambda: producer.send("one", b""),
        lambda: producer.send_many("one", [b""]),
        producer.flush,
        producer.__enter__,
    ):
        with pytest.raises(ClosedError, match="closed"):
            attempt()
    assert delivery.result().offset == 0
    assert values(log) == [b"last words"]


def test_closing_the_log_closes_producers_first() -> None:
    log = streamhouse.Log("memory://named-for-closing")
    log.create_topic("one")
    producer = log.producer()
    delivery = producer.send("one", b"x")
    log.close()
    assert delivery.result().offset == 0
    with pytest.raises(ClosedError):
        producer.send("one", b"")


def test_no_thread_is_left_behind() -> None:
    before = set(threading.enumerate())
    with streamhouse.Log("memory://") as log, log.producer() as producer:
        log.create_topic("one")
        producer.send_many("one", [random.Random(1).randbytes(1000)] * 1000)
        producer.send("one", b"")
    assert set(threading.enumerate()) == before


def test_the_memory_is_bounded(tmp_path: Path) -> None:
    with streamhouse.Log(str(tmp_path), buffer_bytes_max=100_000) as log:
        log.create_topic("three", partitions=3)
        with log.producer() as producer:
            most = 0
            for i in range(20_000):
                producer.send("three", b"%d" % i, key=b"%d" % i)
                most = max(most, log._batcher.memory.used)
            assert 0 < most <= 100_000
            producer.send_many("three", [b"x" * 100] * 5000).result()  # larger, but alone
        assert len(values(log, "three")) == 25_000
