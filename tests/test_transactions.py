"""Transactions on real logs: all of it or nothing, whatever happens in between."""

from __future__ import annotations

import gc
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamhouse
from streamhouse.errors import (
    BufferFullError,
    ClosedError,
    DeliveryTimeoutError,
    InvalidInputError,
    InvalidRecordError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    ProducerFencedError,
    StoreDurabilityError,
    StoreFullError,
    TopicNotFoundError,
    TransactionError,
)
from streamhouse.format import names
from streamhouse.producer import Producer
from streamhouse.records import OffsetAndMetadata
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.s3server import FakeS3Server
from streamhouse.testing.stores import FaultyStore
from tests.test_producer import interruptions


@pytest.fixture
def log() -> Iterator[streamhouse.Log]:
    with streamhouse.Log("memory://") as log:
        make_topics(log)
        yield log
        assert log._batcher.memory.used == 0


@pytest.fixture
def producer(log: streamhouse.Log) -> Iterator[Producer]:
    with log.producer() as producer:
        yield producer


@pytest.fixture(params=["dir", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    if request.param == "dir":
        yield str(tmp_path / "log"), None
    else:
        with FakeS3Server() as server:
            yield server.url, server.storage_options


def make_topics(log: streamhouse.Log) -> None:
    log.create_topic("one")
    log.create_topic("two")
    log.create_topic("three", partitions=3)


def values(log: streamhouse.Log, topic: str = "one") -> list[Any]:
    return [record.value for record in log.read(topic)]


def segments(log: streamhouse.Log) -> list[str]:
    return [info.name for info in log._store.list(names.SEGMENTS)]


def committed(log: streamhouse.Log, group: str) -> dict[tuple[int, int], int]:
    log._commits.refresh()
    with log._commits.lock:
        state = log._commits.state.groups.get(group)
        return {} if state is None else {place: found.offset for place, found in state.offsets.items()}


# --- what becomes visible ----------------------------------------------------------------------------


def test_everything_is_there_after_the_block_and_nothing_before(
    log: streamhouse.Log, producer: Producer
) -> None:
    with producer.transaction() as tx:
        first = tx.send("one", b"a", key=b"k", headers={"h": b"1"}, timestamp=7)
        many = tx.send_many("three", [b"%d" % n for n in range(100)], keys=[b"%d" % n for n in range(100)])
        last = tx.send("two", {"json": True}, partition=0)
        tx.commit_offsets(group="g", offsets={("three", 1): 0, ("one", 0): (0, "note")})
        assert tx.open
        assert not first.done()
        assert values(log) == values(log, "two") == values(log, "three") == []
        assert committed(log, "g") == {}
    assert first.result() == ("one", 0, 0, 7)
    assert last.result().offset == 0
    assert sum(map(len, many.result().partitions.values())) == 100
    (record,) = log.read("one")
    assert (record.key, record.value, record.headers) == (b"k", b"a", (("h", b"1"),))
    assert values(log, "two") == [b'{"json":true}']
    assert sorted(values(log, "three"), key=int) == [b"%d" % n for n in range(100)]
    ids = {name: log.topic(name).id for name in ("one", "three")}
    assert committed(log, "g") == {(ids["three"], 1): 0, (ids["one"], 0): 0}
    assert tx.result.count == 102
    assert tx.result.offsets["one", 0] == range(1)
    assert tx.result.offsets["three", 1] == many.result().partitions[1]
    assert repr(tx) == "<Transaction, committed>"


def test_a_reader_sees_all_of_a_transaction_or_nothing(tmp_path: Path) -> None:
    stop = threading.Event()
    torn: list[tuple[int, int]] = []
    looks = 0

    def look() -> None:
        nonlocal looks
        with streamhouse.Log(tmp_path / "log") as mine:
            orders, payments = mine.topic("one").partitions[0], mine.topic("two").partitions[0]
            while not stop.is_set():
                # Whichever came first would show as more of it than of the other, looked at later.
                before, after = orders.high_watermark, payments.high_watermark
                if before > after:
                    torn.append((before, after))
                before, after = payments.high_watermark, orders.high_watermark
                if before > after:
                    torn.append((before, after))
                looks += 1

    with streamhouse.Log(tmp_path / "log") as log:
        make_topics(log)
        thread = threading.Thread(target=look)
        thread.start()
        with log.producer() as producer:
            while looks < 300:
                with producer.transaction() as tx:
                    for n in range(3):
                        tx.send("one", b"%d" % n)
                        tx.send("two", b"%d" % n)
        stop.set()
        thread.join()
    assert torn == []


def test_sends_to_one_partition_keep_their_order_and_know_their_offsets(log: streamhouse.Log) -> None:
    dice = random.Random(3)
    with log.producer() as producer:
        deliveries = []
        expected: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        for _ in range(3):
            with producer.transaction() as tx:
                for _ in range(200):
                    partition = dice.randrange(3)
                    count = dice.choice((0, 1, 1, 30))
                    payload = [b"%d" % dice.getrandbits(60) for _ in range(count)]
                    if count == 1:
                        deliveries.append((tx.send("three", payload[0], partition=partition), payload))
                    else:
                        deliveries.append((tx.send_many("three", payload, partition=partition), payload))
                    expected[partition] += payload
    for partition, wanted in expected.items():
        assert [r.value for r in log.read("three", partitions=[partition])] == wanted
    for delivery, payload in deliveries:
        stored = delivery.result()
        if isinstance(stored, streamhouse.RecordMetadata):
            assert expected[stored.partition][stored.offset] == payload[0]
        elif payload:
            ((partition, offsets),) = stored.partitions.items()
            assert expected[partition][offsets.start : offsets.stop] == payload
        else:
            assert stored.partitions == {}


def test_what_was_sent_outside_comes_before(log: streamhouse.Log, producer: Producer) -> None:
    producer.send("one", b"before")
    with producer.transaction() as tx:
        tx.send("one", b"inside")
        producer.send("one", b"meanwhile")
    producer.send("one", b"after").result()
    assert values(log) == [b"before", b"meanwhile", b"inside", b"after"]


_STEP = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(["one", "three"]), st.integers(0, 2)),
    st.tuples(st.just("many"), st.sampled_from(["one", "three"]), st.integers(0, 2)),
    st.tuples(st.just("outside"), st.sampled_from(["one", "three"]), st.integers(0, 2)),
    st.sampled_from([("commit", "", 0), ("abort", "", 0)]),
)


@settings(max_examples=60)
@given(st.lists(_STEP, max_size=40), st.booleans())
def test_any_sequence_of_calls_is_as_in_a_plain_model(steps: list[tuple[str, str, int]], named: bool) -> None:
    model: dict[tuple[str, int], list[bytes]] = {}
    staged: list[tuple[tuple[str, int], list[bytes]]] = []
    with streamhouse.Log("memory://") as log:
        make_topics(log)
        with log.producer(transactional_id="n" if named else None) as producer, log.producer() as other:
            tx = producer.transaction()
            for number, (what, topic, partition) in enumerate(steps):
                place = topic, partition if topic == "three" else 0
                payload = [b"%d" % number] * (5 if what == "many" else 1)
                if what == "send":
                    tx.send(topic, payload[0], partition=place[1])
                    staged.append((place, payload))
                elif what == "many":
                    tx.send_many(topic, payload, partition=place[1])
                    staged.append((place, payload))
                elif what == "outside":
                    other.send(topic, payload[0], partition=place[1]).result()
                    model.setdefault(place, []).extend(payload)
                else:
                    if what == "commit":
                        tx.commit()
                        for where, sent in staged:
                            model.setdefault(where, []).extend(sent)
                    else:
                        tx.abort()
                    staged = []
                    tx = producer.transaction()
            for place, wanted in model.items():
                assert [r.value for r in log.read(place[0], partitions=[place[1]])] == wanted
        assert log._batcher.memory.used == 0


# --- giving up ---------------------------------------------------------------------------------------


def test_an_exception_aborts_and_goes_on(log: streamhouse.Log, producer: Producer) -> None:
    tx = producer.transaction()
    delivery = tx.send("one", b"x")
    many = tx.send_many("three", [b"y"] * 10)
    tx.commit_offsets(group="g", offsets={("one", 0): 0})
    with pytest.raises(ZeroDivisionError), tx:
        raise ZeroDivisionError
    assert repr(tx) == "<Transaction, aborted>"
    for outcome in (delivery, many):
        with pytest.raises(TransactionError, match="aborted"):
            outcome.result()
    with pytest.raises(TransactionError, match="aborted"):
        _ = tx.result
    tx.abort()
    assert log._batcher.memory.used == 0
    with producer.transaction() as tx:
        tx.send("one", b"next")
    assert values(log) == [b"next"]
    assert values(log, "three") == []
    assert committed(log, "g") == {}


def test_after_its_end_it_refuses(log: streamhouse.Log, producer: Producer) -> None:
    with producer.transaction() as tx:
        tx.send("one", b"x")
        assert tx.commit().count == 1
    for use in _uses(tx):
        with pytest.raises(TransactionError, match="was committed"):
            use()
    with pytest.raises(TransactionError, match="cannot be aborted any more"):
        tx.abort()
    with producer.transaction() as tx:
        tx.abort()
    for use in _uses(tx):
        with pytest.raises(TransactionError, match="was aborted"):
            use()
    assert values(log) == [b"x"]


def _uses(tx: streamhouse.Transaction) -> list[Callable[[], object]]:
    return [
        lambda: tx.send("one", b""),
        lambda: tx.send_many("one", [b""]),
        lambda: tx.commit_offsets(group="g", offsets={}),
        tx.commit,
    ]


def test_one_at_a_time(producer: Producer) -> None:
    with producer.transaction(), pytest.raises(TransactionError, match="open transaction"):
        producer.transaction()
    with producer.transaction() as tx:
        pass
    assert tx.result.count == 0
    assert tx.result.offsets == {}


def test_waiting_for_a_delivery_inside_is_refused_at_once(producer: Producer) -> None:
    with producer.transaction() as tx:
        delivery = tx.send("one", b"x")
        many = tx.send_many("one", [b"x"])
        for wait in (delivery.result, delivery.exception, many.result, many.exception):
            with pytest.raises(TransactionError, match="ask then, not inside it"):
                wait()
        called: list[bool] = []
        delivery.add_done_callback(lambda done: called.append(done.done()))
        assert called == []
    assert called == [True]
    assert delivery.exception() is None


def test_bad_input_is_refused_and_the_rest_goes_on(log: streamhouse.Log, producer: Producer) -> None:
    with producer.transaction() as tx:
        tx.send("one", b"good")
        with pytest.raises(InvalidRecordError):
            tx.send("one", b"", headers=7)  # type: ignore[arg-type]
        with pytest.raises(TopicNotFoundError, match="did you mean 'one'"):
            tx.send("ome", b"")
        with pytest.raises(PartitionNotFoundError):
            tx.send_many("three", [b""], partition=3)
        with pytest.raises(InvalidRecordError):
            tx.send_many("one", [b"fine", 5.5j])
        for arguments in (
            {},
            {"group": "g"},
            {"consumer": object()},
            {"group": "", "offsets": {}},
            {"group": "g", "offsets": {("one", 0): -1}},
            {"group": "g", "offsets": {("one", 0): True}},
            {"group": "g", "offsets": {("one", 0): (1, 2)}},
            {"group": "g", "consumer": object(), "offsets": {}},
            {"group": "g", "offsets": {"one": 5}},
            {"group": "g", "offsets": {("one", False): 0}},
            {"group": "g", "offsets": {("one", 0.0): 0}},
            {"group": "g", "offsets": {("one", 0): (1,)}},
            {"group": "g", "offsets": {("one", 0): (1, "a", "b")}},
            {"group": "g", "offsets": [("one", 0)]},
            {"group": "g", "offsets": {("one", 0): (0, "x" * 5000)}},
            {"group": "g", "offsets": {("one", 0): (0, "\ud800")}},
            {"group": "g" * 256, "offsets": {("one", 0): 0}},
            {"group": "\ud800", "offsets": {("one", 0): 0}},
        ):
            with pytest.raises(InvalidInputError):
                tx.commit_offsets(**arguments)
        for beyond in (1, 1 << 62, 1 << 70):
            with pytest.raises(OffsetOutOfRangeError, match="ends at offset 0"):
                tx.commit_offsets(group="g", offsets={("one", 0): beyond})
        with pytest.raises(PartitionNotFoundError):
            tx.commit_offsets(group="g", offsets={("one", 1): 0})
    assert values(log) == [b"good"]
    assert list(log.groups) == []
    for bad in (0, -1, 901, True, "9"):
        with pytest.raises(InvalidInputError, match="transaction_timeout"):
            producer.transaction(transaction_timeout=bad)  # type: ignore[arg-type]


def test_what_a_transaction_has_committed_is_not_taken_back(log: streamhouse.Log) -> None:
    """By an automatic commit, which knows only of what was asked for since."""
    with log.producer() as producer:
        producer.send_many("one", [b"%d" % number for number in range(10)]).result()
        with log.consumer("one", group="g", auto_commit_interval=0.01) as consumer:
            consumer.poll(timeout=5, max_records=10)
            with producer.transaction() as tx:
                tx.commit_offsets(consumer)
            time.sleep(0.1)
            assert log.groups["g"].offsets["one", 0].offset == 10
            consumer.close(finished=False)
        assert log.groups["g"].offsets["one", 0].offset == 10


def test_offsets_may_come_with_a_note_and_of_numpy(log: streamhouse.Log, producer: Producer) -> None:
    with producer.transaction() as tx:
        place = "three", np.int64(2)
        tx.commit_offsets(group=np.str_("g"), offsets={place: (np.int64(0), np.str_("note"))})
        tx.commit_offsets(group="h", offsets={("one", 0): OffsetAndMetadata(0, "theirs", 7)})
    assert log.groups["g"].offsets["three", 2].metadata == "note"
    assert log.groups["h"].offsets["one", 0].metadata == "theirs"


def test_a_bad_transaction_fails_nobody_else(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path / "log", linger_seconds=0.5) as log:
        make_topics(log)
        with log.producer() as good, log.producer() as bad:

            def spoil(group: str, offset: Any) -> None:
                with bad.transaction() as tx:
                    tx.send("one", b"bad")
                    tx.commit_offsets(group=group, offsets={("two", 0): offset})

            deliveries = [good.send("one", b"%d" % n) for n in range(3)]
            for group, offset in (("\ud800", 0), ("g", 1 << 70), ("g", (0, "\ud800"))):
                with pytest.raises((InvalidInputError, OffsetOutOfRangeError)):
                    spoil(group, offset)
            assert [delivery.result().offset for delivery in deliveries] == [0, 1, 2]
        assert values(log) == [b"0", b"1", b"2"]


def test_a_consumer_without_a_group_has_no_offsets_to_commit(
    log: streamhouse.Log, producer: Producer
) -> None:
    with (
        log.consumer("one") as consumer,
        pytest.raises(TransactionError, match="group"),
        producer.transaction() as tx,
    ):
        tx.commit_offsets(consumer)


def test_a_transaction_does_not_span_two_logs(tmp_path: Path) -> None:
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    with streamhouse.Log(here) as log, streamhouse.Log(there) as other, streamhouse.Log(here) as same:
        for each in (log, other):
            make_topics(each)
        with (
            other.consumer("one", group="g") as theirs,
            same.consumer("one", group="g") as ours,
            log.producer() as producer,
        ):
            theirs.poll(timeout=0)
            ours.poll(timeout=0)
            with producer.transaction() as tx:
                for offsets in (None, {("one", 0): 0}):
                    with pytest.raises(InvalidInputError, match="does not span two"):
                        tx.commit_offsets(theirs, offsets=offsets)
                tx.commit_offsets(ours)
        assert log.groups["g"].offsets["one", 0].offset == 0
        assert list(other.groups["g"].offsets) == [("one", 0)]  # by the consumer's own commit


def test_closing_the_producer_or_the_log_aborts() -> None:
    with streamhouse.Log("memory://") as log:
        make_topics(log)
        producer = log.producer()
        tx = producer.transaction()
        tx.send("one", b"x")
        producer.close()
        with pytest.raises(TransactionError, match="aborted"):
            tx.commit()
        with pytest.raises(ClosedError):
            producer.transaction()
        assert values(log) == []
        producer = log.producer()
        tx = producer.transaction()
        tx.send("one", b"x")
    with pytest.raises(TransactionError, match="aborted"):
        tx.commit()


def test_it_may_not_be_open_for_too_long() -> None:
    runtime = ManualRuntime()
    with streamhouse.Log(MemoryStore(runtime), runtime=runtime) as log:
        make_topics(log)
        with log.producer() as producer:
            for use in range(4):
                tx = producer.transaction(transaction_timeout=60)
                tx.send("one", b"x")
                runtime.advance(61)
                with pytest.raises(TransactionError, match="more than 60 s"):
                    _uses(tx)[use]()
                assert not tx.open
            tx = producer.transaction()
            tx.send("one", b"x")
            with pytest.raises(TransactionError, match="more than 900 s"), tx:
                runtime.advance(901)
            assert log._batcher.memory.used == 0
        assert values(log) == []


def test_a_topic_that_was_deleted_and_made_anew(log: streamhouse.Log, producer: Producer) -> None:
    with producer.transaction() as tx:
        tx.send("one", b"old")
    log.delete_topic("one")
    log.create_topic("one", partitions=2)
    tx = producer.transaction()
    tx.send("two", b"lost")
    with pytest.raises(TopicNotFoundError), tx:
        tx.send("one", b"lost")
    with producer.transaction() as tx:
        tx.send("one", b"new", partition=1)
        tx.send("two", b"new")
    assert values(log) == values(log, "two") == [b"new"]


# --- fencing -----------------------------------------------------------------------------------------


def test_a_newer_producer_of_the_name_fences_the_older(log: streamhouse.Log) -> None:
    old = log.producer(transactional_id="billing")
    with old.transaction() as tx:
        tx.send("one", b"old")
    tx = old.transaction()
    tx.send("one", b"zombie")
    new = log.producer(transactional_id="billing")
    assert new.transactional_id == "billing"
    with pytest.raises(ProducerFencedError, match="'billing'"):
        tx.commit()
    uses: list[Callable[[], object]] = [
        old.transaction,
        lambda: old.send("one", b""),
        lambda: old.send_many("one", [b""]),
    ]
    for use in uses:
        with pytest.raises(ProducerFencedError, match="this one must stop"):
            use()
    with new.transaction() as tx:
        tx.send("one", b"new")
    assert values(log) == [b"old", b"new"]
    old.close()


def test_the_log_fences_what_the_old_process_does_not_know_of(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path / "log") as log, streamhouse.Log(tmp_path / "log") as other:
        make_topics(log)
        with log.producer(transactional_id="n") as old, other.producer(transactional_id="n") as new:
            with new.transaction() as tx:
                tx.send("one", b"new")
            tx = old.transaction()  # this process has not read on
            tx.send("one", b"old")
            with pytest.raises(ProducerFencedError):
                tx.commit()
            with pytest.raises(ProducerFencedError):
                old.transaction()
        assert values(other) == [b"new"]


def test_a_named_producer_sends_in_transactions_only(log: streamhouse.Log) -> None:
    with log.producer(transactional_id="n") as producer:
        for use in (lambda: producer.send("one", b""), lambda: producer.send_many("one", [b""])):
            with pytest.raises(TransactionError, match="in transactions only"):
                use()
    for name in ("", 5, "x" * 250, "\ud800"):
        with pytest.raises(InvalidInputError, match="transactional_id"):
            log.producer(transactional_id=name)  # type: ignore[arg-type]


# --- when the store fails ----------------------------------------------------------------------------


@contextmanager
def faulty_log(**settings: Any) -> Iterator[tuple[FaultyStore, streamhouse.Log]]:
    store = FaultyStore(MemoryStore(streamhouse.log.SystemRuntime()))
    with streamhouse.Log(store, **settings) as log:
        make_topics(log)
        yield store, log


def recover(store: FaultyStore, log: streamhouse.Log) -> None:
    """Let the store work again, and wait until the log has noticed: it pauses between tries."""
    store._script.clear()
    while True:
        with suppress(DeliveryTimeoutError):
            log.create_topic("probe", exist_ok=True)
            return


def test_a_store_that_refuses_leaves_nothing() -> None:
    with faulty_log() as (store, log), log.producer() as producer:
        store.script("put_if_absent", "full", prefix=names.LOG)
        with pytest.raises(StoreFullError), producer.transaction() as tx:
            delivery = tx.send("one", b"x")
        assert repr(tx) == "<Transaction, failed>"
        assert isinstance(delivery.exception(), StoreFullError)
        with producer.transaction() as tx:
            tx.send("one", b"y")
        assert values(log) == [b"y"]
        assert log._batcher.memory.used == 0


@pytest.mark.parametrize("named", [False, True])
def test_after_an_unknown_outcome_the_producer_goes_on(named: bool) -> None:
    with faulty_log(delivery_timeout_seconds=0.2) as (store, log):
        with log.producer(transactional_id="n" if named else None) as producer:
            with producer.transaction() as tx:
                tx.send("one", b"0")
            store.script("put_if_absent", "unavailable", prefix=names.LOG, times=None)
            tx = producer.transaction()
            delivery = tx.send("one", b"1")
            with pytest.raises(DeliveryTimeoutError, match="unknown"), tx:
                tx.send("two", b"1")
            assert repr(tx) == "<Transaction, unknown>"
            assert isinstance(delivery.exception(), DeliveryTimeoutError)
            assert not producer.settled
            if named:
                with pytest.raises(DeliveryTimeoutError):
                    producer.transaction()
            recover(store, log)
            with pytest.raises(TransactionError, match="unknown"):
                tx.send("one", b"")
            producer.settle()
            settled = values(log), values(log, "two")
            assert settled in (([b"0", b"1"], [b"1"]), ([b"0"], []))
            with producer.transaction() as tx:
                tx.send("one", b"2")
            after = values(log)[:-1], values(log, "two")
            assert after in ((settled,) if named else (([b"0", b"1"], [b"1"]), ([b"0"], [])))
            assert values(log)[-1] == b"2"
        assert log._batcher.memory.used == 0


def test_a_transaction_that_lands_late_is_fenced(tmp_path: Path) -> None:
    """The one whose answer got lost, and the one that takes its name over."""
    store = MemoryStore(streamhouse.log.SystemRuntime())
    faulty = FaultyStore(store)
    with streamhouse.Log(faulty, delivery_timeout_seconds=0.2) as log, streamhouse.Log(store) as other:
        make_topics(log)
        producer = log.producer(transactional_id="n")
        faulty.script("put_if_absent", "unavailable", prefix=names.LOG, times=None)
        with pytest.raises(DeliveryTimeoutError), producer.transaction() as tx:
            tx.send("one", b"late")
        with other.producer(transactional_id="n") as heir:
            faulty._script.clear()  # the first process still tries, and now gets it into the log
            with heir.transaction() as tx:
                tx.send("one", b"heir")
            recover(faulty, log)
            with pytest.raises(ProducerFencedError):
                producer.settle()
            with heir.transaction() as tx:  # which has not lost its name by that
                tx.send("two", b"heir")
            assert values(other) == [b"heir"]
        producer.close()


def test_an_object_that_may_not_last_means_that_nobody_knows() -> None:
    with faulty_log() as (store, log), log.producer() as producer:
        store.script("put_if_absent", "not-durable", prefix=names.LOG)
        with pytest.raises(StoreDurabilityError), producer.transaction() as tx:
            tx.send("one", b"x")
        assert repr(tx) == "<Transaction, unknown>"


# --- larger than memory ------------------------------------------------------------------------------


def test_a_transaction_may_be_far_larger_than_memory(place: tuple[str, dict[str, Any] | None]) -> None:
    url, options = place
    bound = 256 << 10
    with streamhouse.Log(url, storage_options=options, buffer_bytes_max=bound) as log:
        make_topics(log)
        with log.producer() as producer:
            most = 0
            dice = random.Random(1)
            with producer.transaction() as tx:
                for n in range(400):
                    tx.send("one", b"%06d" % n + dice.randbytes(4000), timestamp=n)
                    if n % 100 == 50:
                        tx.send_many(
                            "three", [b"%06d" % n + dice.randbytes(900) for _ in range(600)], partition=1
                        )
                    most = max(most, log._batcher.memory.used)
                assert len(segments(log)) > 5
                assert values(log) == values(log, "three") == []
            assert 0 < most <= bound
            assert tx.result.offsets["one", 0] == range(400)
            assert log._batcher.memory.used == 0
        assert [int(value[:6]) for value in values(log)] == list(range(400))
        assert [int(value[:6]) for value in values(log, "three")] == [
            n for n in range(50, 400, 100) for _ in range(600)
        ]
    with streamhouse.Log(url, storage_options=options) as log:
        assert len(values(log)) == 400


def test_aborting_deletes_what_was_uploaded(place: tuple[str, dict[str, Any] | None]) -> None:
    url, options = place
    with streamhouse.Log(url, storage_options=options, buffer_bytes_max=128 << 10) as log:
        make_topics(log)
        with log.producer() as producer:
            tx = producer.transaction()
            tx.send_many("three", [random.Random(1).randbytes(10_000)] * 40)
            assert segments(log)
            with pytest.raises(KeyError), tx:
                raise KeyError
            assert segments(log) == []
            assert log._batcher.memory.used == 0
            with producer.transaction() as tx:  # with the same uploader
                tx.send_many("three", [b"%05d" % n * 2000 for n in range(40)], partition=2)
            assert segments(log)
        assert [int(value[:5]) for value in values(log, "three")] == list(range(40))


def test_a_refused_transaction_deletes_what_was_uploaded_and_an_unknown_one_does_not() -> None:
    with faulty_log(buffer_bytes_max=128 << 10) as (store, log), log.producer() as producer:
        store.script("put_if_absent", "full", prefix=names.LOG)
        with pytest.raises(StoreFullError), producer.transaction() as tx:
            tx.send_many("one", [b"%d" % n * 5000 for n in range(100)])
        assert segments(log) == []
    with faulty_log(buffer_bytes_max=128 << 10, delivery_timeout_seconds=0.2) as (store, log):
        with log.producer() as producer:
            store.script("put_if_absent", "unavailable", prefix=names.LOG, times=None)
            with pytest.raises(DeliveryTimeoutError), producer.transaction() as tx:
                tx.send_many("one", [b"%03d" % n * 5000 for n in range(100)])
            before = segments(log)
            assert before
            recover(store, log)
            with producer.transaction() as tx:
                tx.send_many("one", [b"%03d" % n * 5000 for n in range(100, 200)])
            assert set(before) < set(segments(log))
        numbers = [int(value[:3]) for value in values(log)]
        assert numbers in (list(range(200)), list(range(100, 200)))


def test_an_upload_that_fails_for_a_while_is_repeated() -> None:
    with faulty_log(buffer_bytes_max=128 << 10) as (store, log), log.producer() as producer:
        store.script("put", "unavailable", prefix=names.SEGMENTS, times=2)
        store.script("put", "lost-answer", prefix=names.SEGMENTS, times=1)
        with producer.transaction() as tx:
            tx.send_many("one", [b"%03d" % n * 5000 for n in range(100)])
        assert store.injected["unavailable"] == 2
        assert [int(value[:3]) for value in values(log)] == list(range(100))


def test_an_upload_that_is_refused_ends_the_transaction() -> None:
    with faulty_log(buffer_bytes_max=128 << 10) as (store, log), log.producer() as producer:
        store.script("put", "full", prefix=names.SEGMENTS)
        with producer.transaction() as tx:
            tx.send("one", b"first")
            with pytest.raises(StoreFullError):
                tx.send_many("one", [b"%03d" % n * 5000 for n in range(100)])
            with pytest.raises(TransactionError, match=r"cut short \(StoreFullError\)"):
                tx.send("one", b"")
            assert not tx.open
        assert values(log) == []
        assert segments(log) == []
        assert log._batcher.memory.used == 0


def test_open_transactions_give_their_memory_to_whoever_needs_it(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path / "log", buffer_bytes_max=256 << 10) as log:
        make_topics(log)
        producers = [log.producer() for _ in range(8)]
        transactions = [producer.transaction() for producer in producers]
        for _ in range(20):  # one thread: waiting for another transaction would be for ever
            for number, tx in enumerate(transactions):
                tx.send("three", b"%d" % number * 6000, partition=number % 3)
        assert log._batcher.memory.used <= 256 << 10
        with log.producer() as plain:
            for _ in range(50):
                plain.send("one", b"x" * 20_000)
        for tx in transactions:
            tx.commit()
        assert len(values(log)) == 50
        assert Counter(int(value[:1]) for value in values(log, "three")) == dict.fromkeys(range(8), 20)
        for producer in producers:
            producer.close()


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_a_forgotten_transaction_gives_its_memory_back(size: int) -> None:
    with streamhouse.Log("memory://", buffer_bytes_max=1 << 20) as log:
        make_topics(log)
        for _ in range(3):
            producer = log.producer()
            delivery = producer.transaction().send("one", random.Random(1).randbytes(size))
            producer._outbox.close(None)
            del producer
            gc.collect()
        with log.producer() as producer:
            producer.send("one", b"y" * 500_000, timeout=30)
        assert values(log) == [b"y" * 500_000]
        assert log._batcher.memory.used == 0
        with pytest.raises(TransactionError, match="once its transaction is committed"):
            delivery.result()


def test_whoever_does_not_want_to_wait_is_told(log: streamhouse.Log) -> None:
    with streamhouse.Log("memory://", buffer_bytes_max=64 << 10) as log:
        make_topics(log)
        with log.producer() as producer, producer.transaction() as tx:
            sent = 0
            with suppress(BufferFullError):
                while sent < 1000:
                    tx.send("one", b"x" * 1000, timeout=0)
                    sent += 1
            assert 10 < sent < 100
            with pytest.raises(BufferFullError):
                tx.send_many("one", [b"x" * 1000] * 100, timeout=0)
            tx.send("one", b"x" * 1000)
        assert len(values(log)) == sent + 1


# --- interruption and death --------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals between threads")
@pytest.mark.parametrize("named", [False, True])
def test_ctrl_c_at_any_moment_leaves_all_or_nothing(named: bool, tmp_path: Path) -> None:
    begun: dict[int, Any] = {}
    deadline = time.monotonic() + 3

    def work(producer: Producer) -> None:
        while time.monotonic() < deadline:
            number = len(begun)
            tx = producer._transaction
            if tx is not None and tx.open:  # Ctrl-C came before the block was entered
                tx.abort()
            with producer.transaction() as tx:
                begun[number] = tx
                for _ in range(number % 30):
                    tx.send("one", b"%d" % number)
                tx.send_many("three", [b"%d" % number] * (number % 7 * 100 + 1), partition=1)
                tx.send("one", b"%d" % number)

    with streamhouse.Log(tmp_path / "log", buffer_bytes_max=128 << 10, durability="os") as log:
        make_topics(log)
        with log.producer(transactional_id="n" if named else None) as producer:
            with interruptions() as interrupted:
                while time.monotonic() < deadline:
                    with suppress(KeyboardInterrupt):
                        interrupted.during(work, producer)
            producer.settle()
            with producer.transaction() as tx:
                tx.send("one", b"-1")
            assert interrupted.count > 20
            while any(tx._phase == "committing" for tx in begun.values()):
                time.sleep(0.001)  # one that was interrupted: without a name, nothing else waits for it
        one, three = Counter(map(int, values(log))), Counter(map(int, values(log, "three")))
        for number, tx in begun.items():
            there = one[number] == number % 30 + 1 and three[number] == number % 7 * 100 + 1
            gone = one[number] == three[number] == 0
            assert there or gone, (number, tx, one[number], three[number])
            if tx._phase == "committed":
                assert there
            elif tx._phase in {"aborted", "failed"}:
                assert gone
        assert not gc.garbage


_WRITER = """
import itertools, random, sys, streamhouse
url, named, seed = sys.argv[1], sys.argv[2] == "named", int(sys.argv[3])
dice = random.Random(seed)
with streamhouse.Log(url, buffer_bytes_max=128 << 10, durability="os") as log:
    with log.producer(transactional_id="writer" if named else None) as producer:
        for number in itertools.count():
            with producer.transaction() as tx:
                size = dice.choice((1, 10, 100, 2000))
                name = b"%d-%d-%d " % (seed, number, size)
                tx.send("one", name)
                tx.send_many("three", [name + dice.randbytes(100)] * size, partition=0)
                for _ in range(5):
                    tx.send("two", name)
            if number == 0:
                print("working", flush=True)
"""


@pytest.mark.parametrize("named", ["named", "unnamed"])
def test_a_killed_process_leaves_all_or_nothing(named: str, tmp_path: Path) -> None:
    dice = random.Random(named)
    url = str(tmp_path / "log")
    with streamhouse.Log(url) as log:
        make_topics(log)
    for seed in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, url, named, str(seed)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        time.sleep(dice.uniform(0, 0.1))
        process.kill()
        process.communicate()
    with streamhouse.Log(url) as log:
        one = Counter(value.split()[0] for value in values(log))
        two = Counter(value.split()[0] for value in values(log, "two"))
        three = Counter(value.split(b" ")[0] for value in values(log, "three"))
    assert set(one.values()) == {1}
    assert set(one) == set(two) == set(three)
    assert set(two.values()) == {5}
    assert all(count == int(name.split(b"-")[2]) for name, count in three.items())
