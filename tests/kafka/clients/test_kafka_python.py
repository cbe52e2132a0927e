"""Records, groups and transactions by way of kafka-python."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from tests.kafka.clients.kafka_python import (
    SENDABLE,
    new_consumer,
    new_producer,
    read,
    send,
    take,
)
from tests.kafka.clients.members import member_process
from tests.kafka.clients.samples import CODECS, NOW_MS, SAMPLES, Sample, store, stored, until

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka.errors
    from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
    from kafka.structs import OffsetAndMetadata

# It reads its files in an old way, some of them on a thread of its own and late, where a warning that is an
# error would stop it without a word; and it leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore")

_QUICK = {"session_timeout_ms": 1500, "heartbeat_interval_ms": 100}


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    """Collect the sockets of connections that failed: the client leaves them lying about."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize("codec", CODECS)
def test_records_in_and_out(log: streamhouse.Log, gateway: Gateway, codec: str) -> None:
    log.create_topic("t")
    with new_producer(gateway.bootstrap, compression_type=None if codec == "none" else codec) as producer:
        assert send(producer, "t") == list(range(len(SENDABLE)))
    assert stored(log, "t") == list(SENDABLE)
    assert read(gateway.bootstrap, "t", len(SENDABLE)) == list(SENDABLE)


def test_what_the_native_api_wrote(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    store(log, "t")
    assert read(gateway.bootstrap, "t", len(SAMPLES)) == list(SAMPLES)


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_acknowledgements(log: streamhouse.Log, gateway: Gateway, acks: int | str) -> None:
    log.create_topic("t")
    with new_producer(gateway.bootstrap, acks=acks, enable_idempotence=False) as producer:
        send(producer, "t")
        assert read(gateway.bootstrap, "t", len(SENDABLE)) == list(SENDABLE)


def test_times_of_storing(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", timestamp_type="append")
    with new_producer(gateway.bootstrap) as producer:
        metadata = producer.send("t", b"v", timestamp_ms=1).get(10)
    (record,) = log.read("t")
    assert metadata.timestamp == record.timestamp > NOW_MS
    with new_consumer(gateway.bootstrap, "t") as consumer:
        (found,) = take(consumer, 1)
    assert (found.timestamp, found.timestamp_type) == (record.timestamp, 1)


def test_partitions_seek_and_ends(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=3)
    places = [TopicPartition("t", n) for n in range(3)]
    with new_producer(gateway.bootstrap) as producer:
        for n in range(3):
            samples = [Sample(None, b"%d" % i, timestamp=NOW_MS + i) for i in range(10 * (n + 1))]
            send(producer, "t", samples, n)
    with new_consumer(gateway.bootstrap) as consumer:
        assert consumer.partitions_for_topic("t") == {0, 1, 2}
        consumer.assign(places)
        assert consumer.beginning_offsets(places) == dict.fromkeys(places, 0)
        assert consumer.end_offsets(places) == {place: 10 * (n + 1) for n, place in enumerate(places)}
        assert len(take(consumer, 60)) == 60
        consumer.seek(places[2], 28)
        assert [record.value for record in take(consumer, 2)] == [b"28", b"29"]
        consumer.seek(places[0], 3)
        assert [record.offset for record in take(consumer, 7)] == list(range(3, 10))
        consumer.seek_to_end(places[1])
        assert consumer.position(places[1]) == 20
        found = consumer.offsets_for_times(dict.fromkeys(places, NOW_MS + 15))
    assert found[places[0]] is None
    assert [(found[place].offset, found[place].timestamp) for place in places[1:]] == [(15, NOW_MS + 15)] * 2


def test_an_offset_that_is_not_there(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    store(log, "t")
    log.delete_records("t", {0: 3})
    place = TopicPartition("t", 0)
    with new_consumer(gateway.bootstrap) as consumer:
        consumer.assign([place])
        consumer.seek(place, 1)
        assert take(consumer, 1)[0].offset == 3
    with new_consumer(gateway.bootstrap, auto_offset_reset="none") as consumer:
        consumer.assign([place])
        consumer.seek(place, 1000)
        with pytest.raises(kafka.errors.OffsetOutOfRangeError):
            take(consumer, 1)


def test_big_records(log: streamhouse.Log) -> None:
    log.create_topic("t")
    big = [Sample(b"k%d" % n, bytes([n]) * 3_000_000) for n in range(3)]
    with streamhouse.kafka.serve(log, port=0, batch_bytes_max=4_000_000) as gateway:
        with new_producer(gateway.bootstrap, max_request_size=8_000_000) as producer:
            send(producer, "t", big)
            with pytest.raises(kafka.errors.MessageSizeTooLargeError):
                send(producer, "t", [Sample(b"k", b"x" * 4_100_000)])
        assert read(gateway.bootstrap, "t", 3, max_partition_fetch_bytes=1000) == big


def test_bad_records_are_named(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("orders", schema={"user": "varchar", "amount": "double"})
    log.create_topic("compacted", cleanup_policy="compact")
    good = [json.dumps({"user": f"u{n}", "amount": n / 2}).encode() for n in range(10)]
    # An idempotent one fails for good at a record that is refused.
    with new_producer(gateway.bootstrap, linger_ms=50, enable_idempotence=False) as producer:
        send(producer, "orders", [Sample(None, value) for value in good])
        bystander, bad = (producer.send("orders", value) for value in (good[0], b'{"amount": "much"}'))
        with pytest.raises(kafka.errors.InvalidRecordError, match="amount"):
            bad.get(10)
        with pytest.raises(kafka.errors.KafkaError, match="part of a batch"):
            bystander.get(10)
        with pytest.raises(kafka.errors.InvalidRecordError, match="key"):
            producer.send("compacted", b"no key").get(10)
        send(producer, "compacted", [Sample(b"k", b"v"), Sample(b"k", None)])
    found = read(gateway.bootstrap, "orders", 10)
    assert [json.loads(value or b"") for _, value, *_ in found] == [json.loads(value) for value in good]
    assert [sample.value for sample in stored(log, "compacted")] == [b"v", None]


def test_an_idempotent_producer_across_restarts_of_the_gateway(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path) as log:
        log.create_topic("t")
        with ExitStack() as stack:
            first = streamhouse.kafka.serve(log, port=0, broker_session_seconds=0.5)
            producer = stack.enter_context(
                new_producer(first.bootstrap, reconnect_backoff_ms=20, reconnect_backoff_max_ms=50)
            )
            send(producer, "t", [Sample(b"k", b"%d" % n) for n in range(100)])
            port = first.port
            first.close()
            waiting = [producer.send("t", b"%d" % n, b"k", partition=0) for n in range(100, 200)]
            stack.enter_context(streamhouse.kafka.serve(log, port=port))
            assert [future.get(20).offset for future in waiting] == list(range(100, 200))
        assert [record.value for record in log.read("t")] == [b"%d" % n for n in range(200)]


# --- groups ------------------------------------------------------------------------------------------------


def _settle(*consumers: KafkaConsumer, counts: list[int]) -> None:
    """Poll all until they have so many partitions each, the order does not matter."""

    def settled() -> bool:
        for consumer in consumers:
            consumer.poll(100)  # one that is cut off between joining and its partitions joins anew
        return sorted(len(consumer.assignment()) for consumer in consumers) == sorted(counts)

    until(settled)


@pytest.mark.parametrize("assignor", [None, CooperativeStickyAssignor])
def test_members_come_and_go(log: streamhouse.Log, gateway: Gateway, assignor: type | None) -> None:
    log.create_topic("t", partitions=4)
    settings = {"group_id": "g", **_QUICK}
    if assignor is not None:
        settings["partition_assignment_strategy"] = [assignor]
    with new_consumer(gateway.bootstrap, "t", **settings) as first:
        _settle(first, counts=[4])
        with new_consumer(gateway.bootstrap, "t", **settings) as second:
            _settle(first, second, counts=[2, 2])
            assert not first.assignment() & second.assignment()
        _settle(first, counts=[4])


def test_a_member_that_dies_without_a_word(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=4)
    with member_process("kafka_python", gateway.bootstrap, "g", "t", **_QUICK) as dying:
        dying.wait_for(4)
        with new_consumer(gateway.bootstrap, "t", group_id="g", **_QUICK) as consumer:
            _settle(consumer, counts=[2])
            dying.kill()
            _settle(consumer, counts=[4])


def test_offsets_are_kept_with_their_metadata(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    store(log, "t", [Sample(None, b"%d" % n) for n in range(10)])
    place = TopicPartition("t", 0)
    with new_consumer(gateway.bootstrap, "t", group_id="g") as consumer:
        assert consumer.committed(place) is None
        assert len(take(consumer, 4)) == 4
        consumer.commit({place: OffsetAndMetadata(4, "so far", -1)})
        assert consumer.committed(place, metadata=True) == OffsetAndMetadata(4, "so far", -1)
    with new_consumer(gateway.bootstrap, "t", group_id="g") as consumer:
        assert [record.offset for record in take(consumer, 6)] == list(range(4, 10))
        consumer.commit()
    assert log.groups["g"].lag == {("t", 0): 0}


def test_subscriptions_by_pattern(log: streamhouse.Log, gateway: Gateway) -> None:
    for name in ("a-1", "a-2", "b-a-1"):
        log.create_topic(name)
        store(log, name, [Sample(None, name.encode())])
    with new_consumer(gateway.bootstrap, group_id="g") as consumer:
        consumer.subscribe(pattern="^a-.*")
        assert sorted(record.value for record in take(consumer, 2)) == [b"a-1", b"a-2"]


class _Told(ConsumerRebalanceListener):
    def __init__(self) -> None:
        self.assigned: list[int] = []

    def on_partitions_revoked(self, revoked: object) -> None:
        pass

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.assigned.append(len(assigned))


def test_a_static_member_comes_back_to_its_place(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=2)
    settings = {"group_id": "g", "session_timeout_ms": 10_000, "heartbeat_interval_ms": 100}
    with new_consumer(gateway.bootstrap, group_id="g", **_QUICK, group_instance_id="stays") as other:
        told = _Told()
        other.subscribe(["t"], listener=told)
        with new_consumer(gateway.bootstrap, "t", **settings, group_instance_id="goes") as first:
            _settle(first, other, counts=[1, 1])
            mine = first.assignment()
        before = list(told.assigned)
        with new_consumer(gateway.bootstrap, "t", **settings, group_instance_id="goes") as again:
            _settle(again, other, counts=[1, 1])
            assert again.assignment() == mine
        assert told.assigned == before  # it never heard of it


# --- transactions ------------------------------------------------------------------------------------------


def test_transactions(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    log.create_topic("source")
    place = TopicPartition("source", 0)
    with (
        new_producer(gateway.bootstrap, transactional_id="x") as producer,
        new_consumer(gateway.bootstrap, "t", isolation_level="read_committed") as committed,
        new_consumer(gateway.bootstrap, "t", isolation_level="read_uncommitted") as uncommitted,
        new_consumer(gateway.bootstrap, "source", group_id="g") as source,
    ):
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("t", b"aborted").get(10)
        producer.abort_transaction()
        producer.begin_transaction()
        producer.send("t", b"kept").get(10)
        _settle(source, counts=[1])
        producer.send_offsets_to_transaction({place: OffsetAndMetadata(7, "m", -1)}, source.group_metadata())
        assert stored(log, "t") == []
        assert committed.poll(100) == uncommitted.poll(100) == {}
        assert source.committed(place) is None
        producer.commit_transaction()
        for consumer in (committed, uncommitted):
            assert [record.value for record in take(consumer, 1)] == [b"kept"]
        assert source.committed(place, metadata=True).offset == 7


def test_a_zombie_is_fenced(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    with (
        new_producer(gateway.bootstrap, transactional_id="x") as zombie,
        new_producer(gateway.bootstrap, transactional_id="x") as successor,
    ):
        zombie.init_transactions()
        zombie.begin_transaction()
        zombie.send("t", b"of the past").get(10)
        successor.init_transactions()
        with pytest.raises(kafka.errors.KafkaError) as caught:
            zombie.commit_transaction()
        assert isinstance(
            caught.value, (kafka.errors.ProducerFencedError, kafka.errors.InvalidProducerEpochError)
        )
        successor.begin_transaction()
        successor.send("t", b"of the present").get(10)
        successor.commit_transaction()
    assert [record.value for record in log.read("t")] == [b"of the present"]
