"""Records, groups and transactions by way of aiokafka, which speaks old versions of many requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiokafka.admin
import aiokafka.errors
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.structs import OffsetAndMetadata

import streamhouse
from streamhouse.kafka import Gateway
from tests.kafka.clients.samples import CODECS, NOW_MS, SAMPLES, Sample, store, stored

_QUICK = {"session_timeout_ms": 1500, "heartbeat_interval_ms": 100}


@asynccontextmanager
async def new_producer(gateway: Gateway, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=gateway.bootstrap, **settings)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def new_consumer(gateway: Gateway, *topics: str, **settings: Any) -> AsyncIterator[AIOKafkaConsumer]:
    given = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "fetch_max_wait_ms": 50}
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=gateway.bootstrap, **given | settings)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def send(
    producer: AIOKafkaProducer, topic: str, samples: Sequence[Sample] = SAMPLES, partition: int = 0
) -> list[int]:
    """Send, and see to it that everything is acknowledged; the offsets."""
    futures = [
        await producer.send(topic, value, key, partition, timestamp, list(headers))
        for key, value, headers, timestamp in samples
    ]
    return [metadata.offset for metadata in await asyncio.gather(*futures)]


def sample_of(record: Any) -> Sample:
    return Sample(record.key, record.value, tuple(record.headers), record.timestamp)


async def take(consumer: AIOKafkaConsumer, count: int, seconds: float = 20.0) -> list[Any]:
    """Exactly so many records."""
    async with asyncio.timeout(seconds):
        return [await consumer.getone() for _ in range(count)]


async def read(gateway: Gateway, topic: str, count: int, **settings: Any) -> list[Sample]:
    """The first records of a partition."""
    async with new_consumer(gateway, **settings) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        return [sample_of(record) for record in await take(consumer, count)]


@pytest.mark.parametrize("codec", CODECS)
async def test_records_in_and_out(log: streamhouse.Log, gateway: Gateway, codec: str) -> None:
    log.create_topic("t")
    samples = [sample for sample in SAMPLES if (sample.key, sample.value) != (None, None)]  # it refuses that
    async with new_producer(gateway, compression_type=None if codec == "none" else codec) as producer:
        assert await send(producer, "t", samples) == list(range(len(samples)))
    assert stored(log, "t") == samples
    assert await read(gateway, "t", len(samples)) == samples


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_batches_are_compressed_as_the_topic_says(
    log: streamhouse.Log, gateway: Gateway, codec: str
) -> None:
    admin = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=gateway.bootstrap)
    await admin.start()
    try:
        topic = aiokafka.admin.NewTopic("t", 1, 1, topic_configs={"compression.type": codec})
        await admin.create_topics([topic])
    finally:
        await admin.close()
    store(log, "t")
    assert await read(gateway, "t", len(SAMPLES)) == list(SAMPLES)


@pytest.mark.parametrize("acks", [0, 1, "all"])
async def test_acknowledgements(log: streamhouse.Log, gateway: Gateway, acks: int | str) -> None:
    log.create_topic("t")
    async with new_producer(gateway, acks=acks) as producer:
        for n in range(10):
            await producer.send("t", b"%d" % n)
        await producer.flush()
        assert [sample.value for sample in await read(gateway, "t", 10)] == [b"%d" % n for n in range(10)]


async def test_times_of_storing(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", timestamp_type="append")
    async with new_producer(gateway) as producer:
        metadata = await producer.send_and_wait("t", b"v", timestamp_ms=1)
    (record,) = log.read("t")
    assert metadata.timestamp == record.timestamp > NOW_MS
    async with new_consumer(gateway, "t") as consumer:
        (found,) = await take(consumer, 1)
    assert (found.timestamp, found.timestamp_type) == (record.timestamp, 1)


async def test_partitions_seek_and_ends(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=2)
    places = [TopicPartition("t", n) for n in range(2)]
    async with new_producer(gateway) as producer:
        for n in range(2):
            samples = [Sample(None, b"%d" % i, timestamp=NOW_MS + i) for i in range(10 * (n + 1))]
            await send(producer, "t", samples, n)
    async with new_consumer(gateway) as consumer:
        consumer.assign(places)
        assert await consumer.beginning_offsets(places) == dict.fromkeys(places, 0)
        assert await consumer.end_offsets(places) == {places[0]: 10, places[1]: 20}
        assert len(await take(consumer, 30)) == 30
        consumer.seek(places[1], 18)
        assert [record.value for record in await take(consumer, 2)] == [b"18", b"19"]
        found = await consumer.offsets_for_times(dict.fromkeys(places, NOW_MS + 15))
    assert (found[places[0]], found[places[1]].offset) == (None, 15)


async def test_big_records(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    big = [Sample(b"k%d" % n, bytes([n]) * 3_000_000) for n in range(2)]
    async with new_producer(gateway, max_request_size=4_000_000) as producer:
        await send(producer, "t", big)
    assert await read(gateway, "t", 2, max_partition_fetch_bytes=1000) == big


async def test_records_that_are_refused(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("orders", schema={"amount": "double"})
    log.create_topic("compacted", cleanup_policy="compact")
    async with new_producer(gateway) as producer:
        with pytest.raises(aiokafka.errors.KafkaError):  # it has no word for INVALID_RECORD
            await producer.send_and_wait("orders", b'{"amount": "much"}')
        with pytest.raises(aiokafka.errors.KafkaError):
            await producer.send_and_wait("compacted", b"no key")
        await producer.send_and_wait("orders", b'{"amount": 1.5}')
    assert [sample.value for sample in await read(gateway, "orders", 1)] == [b'{"amount":1.5}']
    assert stored(log, "compacted") == []


async def test_an_idempotent_producer(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    async with new_producer(gateway, enable_idempotence=True) as producer:
        assert await send(producer, "t", [Sample(None, b"%d" % n) for n in range(500)]) == list(range(500))
    assert [record.value for record in log.read("t")] == [b"%d" % n for n in range(500)]


# --- groups ------------------------------------------------------------------------------------------------


async def _settle(*consumers: AIOKafkaConsumer, counts: list[int]) -> None:
    for _ in range(1000):
        if sorted(len(consumer.assignment()) for consumer in consumers) == counts:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to pass")


async def test_members_come_and_go(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=4)
    async with new_consumer(gateway, "t", group_id="g", **_QUICK) as first:
        await _settle(first, counts=[4])
        async with new_consumer(gateway, "t", group_id="g", **_QUICK) as second:
            await _settle(first, second, counts=[2, 2])
            assert not first.assignment() & second.assignment()
        await _settle(first, counts=[4])


async def test_offsets_are_kept_with_their_metadata(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    store(log, "t", [Sample(None, b"%d" % n) for n in range(10)])
    place = TopicPartition("t", 0)
    async with new_consumer(gateway, "t", group_id="g") as consumer:
        assert await consumer.committed(place) is None
        await take(consumer, 4)
        await consumer.commit({place: (4, "so far")})
        assert await consumer.committed(place) == 4
    assert log.groups["g"].lag == {("t", 0): 6}
    async with new_consumer(gateway, "t", group_id="g") as consumer:
        assert [record.offset for record in await take(consumer, 6)] == list(range(4, 10))
        await consumer.commit()
    assert log.groups["g"].lag == {("t", 0): 0}


async def test_subscriptions_by_pattern(log: streamhouse.Log, gateway: Gateway) -> None:
    for name in ("a-1", "a-2", "b-a-1"):
        log.create_topic(name)
        store(log, name, [Sample(None, name.encode())])
    async with new_consumer(gateway, group_id="g", metadata_max_age_ms=300) as consumer:
        consumer.subscribe(pattern="^a-.*")
        assert sorted(record.value for record in await take(consumer, 2)) == [b"a-1", b"a-2"]
        await consumer.commit()
        log.create_topic("a-3")
        store(log, "a-3", [Sample(None, b"a-3")])
        assert (await take(consumer, 1))[0].value == b"a-3"


class _Told(ConsumerRebalanceListener):
    def __init__(self) -> None:
        self.assigned: list[int] = []

    def on_partitions_revoked(self, revoked: object) -> None:
        pass

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.assigned.append(len(assigned))


async def test_a_static_member_comes_back_to_its_place(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=2)
    settings = {"group_id": "g", "session_timeout_ms": 10_000, "heartbeat_interval_ms": 100}
    async with new_consumer(gateway, **settings, group_instance_id="stays") as other:
        told = _Told()
        other.subscribe(["t"], listener=told)
        async with new_consumer(gateway, "t", **settings, group_instance_id="goes") as first:
            await _settle(first, other, counts=[1, 1])
            mine = first.assignment()
        before = list(told.assigned)
        async with new_consumer(gateway, "t", **settings, group_instance_id="goes") as again:
            await _settle(again, other, counts=[1, 1])
            assert again.assignment() == mine
        assert told.assigned == before  # it never heard of it


# --- transactions ------------------------------------------------------------------------------------------


async def test_transactions(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    log.create_topic("source")
    place = TopicPartition("source", 0)
    async with (
        new_producer(gateway, transactional_id="x") as producer,
        new_consumer(gateway, "t", isolation_level="read_committed") as committed,
        new_consumer(gateway, "t", isolation_level="read_uncommitted") as uncommitted,
    ):
        await producer.begin_transaction()
        await producer.send_and_wait("t", b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait("t", b"kept")
            await producer.send_offsets_to_transaction({place: OffsetAndMetadata(7, "m")}, "g")
            assert stored(log, "t") == []
            assert await committed.getmany(timeout_ms=100) == {}
            assert await uncommitted.getmany(timeout_ms=100) == {}
        for consumer in (committed, uncommitted):
            assert [record.value for record in await take(consumer, 1)] == [b"kept"]
        async with new_consumer(gateway, group_id="g") as reader:
            assert await reader.committed(place) == 7


async def test_a_zombie_is_fenced(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    async with new_producer(gateway, transactional_id="x") as zombie:
        await zombie.begin_transaction()
        await zombie.send_and_wait("t", b"of the past")
        async with new_producer(gateway, transactional_id="x") as successor:
            with pytest.raises(aiokafka.errors.ProducerFenced):
                await zombie.commit_transaction()
            async with successor.transaction():
                await successor.send_and_wait("t", b"of the present")
    assert [record.value for record in log.read("t")] == [b"of the present"]
