"""Records by way of confluent-kafka (librdkafka), in and out."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from tests.kafka.clients.confluent import new_consumer, new_producer, read, sample_of, send, take
from tests.kafka.clients.samples import CODECS, NOW_MS, SAMPLES, Sample, store, stored


@pytest.mark.parametrize("codec", CODECS)
def test_records_in_and_out(log: streamhouse.Log, gateway: Gateway, codec: str) -> None:
    log.create_topic("t")
    send(new_producer(gateway.bootstrap, **{"compression.type": codec}), "t")
    assert stored(log, "t") == list(SAMPLES)
    assert read(gateway.bootstrap, "t", len(SAMPLES)) == list(SAMPLES)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_batches_are_compressed_as_the_topic_says(log: streamhouse.Log, gateway: Gateway, codec: str) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": gateway.bootstrap})
    admin.create_topics([NewTopic("t", 1, config={"compression.type": codec})])["t"].result(10)
    store(log, "t")
    assert read(gateway.bootstrap, "t", len(SAMPLES)) == list(SAMPLES)


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acknowledgements(log: streamhouse.Log, gateway: Gateway, acks: str) -> None:
    log.create_topic("t")
    send(new_producer(gateway.bootstrap, acks=acks), "t")
    # acks=0 is answered by nobody, so wait for the records instead
    assert read(gateway.bootstrap, "t", len(SAMPLES)) == list(SAMPLES)
    assert stored(log, "t") == list(SAMPLES)


def test_what_the_native_api_wrote(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    store(log, "t")
    assert read(gateway.bootstrap, "t", len(SAMPLES)) == list(SAMPLES)


def test_sql_over_what_clients_wrote(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=3)
    producer = new_producer(gateway.bootstrap, **{"compression.type": "zstd"})
    for partition in range(3):
        orders = [Sample(b"k", json.dumps({"amount": n}).encode()) for n in range(partition * 100)]
        send(producer, "t", orders, partition)
    query = "select partition, count(*), sum((value->>'amount')::int) from t group by 1 order by 1"
    assert log.sql(query).fetchall() == [(1, 100, 4950), (2, 200, 19900)]


def test_times_of_storing(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", timestamp_type="append")
    times = []
    producer = new_producer(gateway.bootstrap)
    producer.produce("t", b"v", timestamp=1, on_delivery=lambda _, message: times.append(message.timestamp()))
    assert producer.flush(10) == 0
    (record,) = log.read("t")
    assert record.timestamp > NOW_MS
    assert [time for _, time in times] == [record.timestamp]
    with new_consumer(gateway.bootstrap) as consumer:
        consumer.assign([TopicPartition("t", 0, 0)])
        (message,) = take(consumer, 1)
    assert message.timestamp()[1] == record.timestamp


def test_partitions_seek_and_ends(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=3)
    producer = new_producer(gateway.bootstrap)
    for partition in range(3):
        samples = [Sample(None, b"%d" % n, timestamp=NOW_MS + n) for n in range(10 * (partition + 1))]
        send(producer, "t", samples, partition)
    with new_consumer(gateway.bootstrap) as consumer:
        ends = [consumer.get_watermark_offsets(TopicPartition("t", n), 10) for n in range(3)]
        assert ends == [(0, 10), (0, 20), (0, 30)]
        consumer.assign([TopicPartition("t", n, OFFSET_BEGINNING) for n in range(3)])
        assert len(take(consumer, 60)) == 60
        consumer.seek(TopicPartition("t", 2, 28))
        assert [message.value() for message in take(consumer, 2)] == [b"28", b"29"]
        consumer.seek(TopicPartition("t", 0, 3))
        assert [message.offset() for message in take(consumer, 7)] == list(range(3, 10))
        wanted = [TopicPartition("t", n, NOW_MS + 15) for n in range(3)]
        assert [found.offset for found in consumer.offsets_for_times(wanted, 10)] == [OFFSET_END, 15, 15]


def test_an_offset_that_is_not_there(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    store(log, "t")
    log.delete_records("t", {0: 3})
    with new_consumer(gateway.bootstrap) as consumer:  # auto.offset.reset=earliest
        consumer.assign([TopicPartition("t", 0, 1)])
        assert take(consumer, 1)[0].offset() == 3
    with new_consumer(gateway.bootstrap, **{"auto.offset.reset": "error"}) as consumer:
        consumer.assign([TopicPartition("t", 0, 1000)])
        with pytest.raises(KafkaException) as caught:
            take(consumer, 1)
        assert caught.value.args[0].code() == KafkaError._AUTO_OFFSET_RESET


def test_big_records(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    big = [Sample(b"k%d" % n, bytes([n]) * 3_000_000) for n in range(3)]
    producer = new_producer(gateway.bootstrap, **{"message.max.bytes": 4_000_000})
    send(producer, "t", big)
    small = {"max.partition.fetch.bytes": 1000, "fetch.max.bytes": 4_000_000, "message.max.bytes": 4_000_000}
    assert read(gateway.bootstrap, "t", 3, **small) == big  # larger than it asks for, but whole


def test_batches_that_are_too_large(log: streamhouse.Log) -> None:
    log.create_topic("t")
    with streamhouse.kafka.serve(log, port=0, batch_bytes_max=100_000) as gateway:
        producer = new_producer(gateway.bootstrap)
        send(producer, "t", [Sample(b"k", b"x" * 99_000)])
        with pytest.raises(KafkaException) as caught:
            send(producer, "t", [Sample(b"k", b"x" * 101_000)])
        assert caught.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
        packed = new_producer(gateway.bootstrap, **{"compression.type": "gzip"})
        send(packed, "t", [Sample(b"k", b"x" * 500_000)])  # it is the size on the way that counts
    assert [len(value) for _, value, *_ in stored(log, "t")] == [99_000, 500_000]


def test_compacted_topics_need_keys(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", cleanup_policy="compact")
    producer = new_producer(gateway.bootstrap)
    with pytest.raises(KafkaException) as caught:
        send(producer, "t", [Sample(None, b"v")])
    assert caught.value.args[0].code() == KafkaError.INVALID_RECORD
    send(producer, "t", [Sample(b"", b"an empty key is one"), Sample(b"k", None)])
    assert stored(log, "t") == [Sample(b"", b"an empty key is one"), Sample(b"k", None)]


def test_typed_topics(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("orders", schema={"user": "varchar", "amount": "double"})
    good = [json.dumps({"user": f"u{n}", "amount": n / 2}).encode() for n in range(100)]
    producer = new_producer(gateway.bootstrap)
    send(producer, "orders", [Sample(b"k", value) for value in good])
    with pytest.raises(KafkaException) as caught:
        send(producer, "orders", [Sample(b"k", good[0]), Sample(b"k", b'{"user": "u", "amount": "much"}')])
    assert caught.value.args[0].code() == KafkaError.INVALID_RECORD
    assert log.sql("select count(*), sum(amount) from orders").fetchall() == [(100, 2475.0)]
    with log.producer() as native:
        native.send("orders", {"user": "n", "amount": 1.0}).result()
    found = read(gateway.bootstrap, "orders", 101)
    assert [json.loads(value or b"") for _, value, *_ in found] == [
        *map(json.loads, good),
        {"user": "n", "amount": 1.0},
    ]


def test_topics_are_made_when_asked_for(log: streamhouse.Log) -> None:
    with streamhouse.kafka.serve(log, port=0, default_partitions=4) as gateway:
        send(new_producer(gateway.bootstrap), "new")
    assert len(log.topic("new").partitions) == 4


def test_unknown_topics_are_an_error_where_they_are_not_made(log: streamhouse.Log) -> None:
    with streamhouse.kafka.serve(log, port=0, auto_create_topics=False) as gateway:
        producer = new_producer(gateway.bootstrap, **{"topic.metadata.propagation.max.ms": 100})
        with pytest.raises(KafkaException) as caught:
            send(producer, "new", [Sample(b"k", b"v")])
        assert caught.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert not list(log.topics)


def test_a_topic_made_anew_under_its_name(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    producer = new_producer(gateway.bootstrap, **{"topic.metadata.refresh.interval.ms": 200})
    send(producer, "t", [Sample(b"k", b"old")])
    with new_consumer(gateway.bootstrap, **{"topic.metadata.refresh.interval.ms": 200}) as consumer:
        consumer.assign([TopicPartition("t", 0, 0)])
        assert sample_of(take(consumer, 1)[0]).value == b"old"
        log.delete_topic("t")
        log.create_topic("t")
        send(new_producer(gateway.bootstrap), "t", [Sample(b"k", b"new")])
        assert read(gateway.bootstrap, "t", 1) == [Sample(b"k", b"new")]
