"""Producers and consumers of kafka-python, set up for tests: quick, and with nothing left behind."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.kafka.clients.samples import SAMPLES, Sample, until

with warnings.catch_warnings():  # it reads its files in an old way
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

# It refuses to send records of nothing, and headers without a value.
SENDABLE: Sequence[Sample] = tuple(
    sample
    for sample in SAMPLES
    if (sample.key, sample.value) != (None, None) and all(value is not None for _, value in sample.headers)
)


@contextmanager
def new_producer(bootstrap: str, **settings: Any) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(bootstrap_servers=bootstrap, metrics_enabled=False, **settings)
    try:
        yield producer
    finally:
        producer.close(5)


@contextmanager
def new_consumer(bootstrap: str, *topics: str, **settings: Any) -> Iterator[KafkaConsumer]:
    consumer = KafkaConsumer(
        *topics,
        bootstrap_servers=bootstrap,
        metrics_enabled=False,
        **{
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "fetch_max_wait_ms": 50,
            "retry_backoff_ms": 20,
            **settings,
        },
    )
    for topic in topics:  # its sticky assignors never get over a first assignment that was empty
        consumer.partitions_for_topic(topic)
    try:
        yield consumer
    finally:
        consumer.close(autocommit=False)


def send(
    producer: KafkaProducer, topic: str, samples: Sequence[Sample] = SENDABLE, partition: int = 0
) -> list[int]:
    """Send, and see to it that everything is acknowledged; the offsets."""
    futures = [
        producer.send(topic, value, key, list(headers), partition, timestamp)
        for key, value, headers, timestamp in samples
    ]
    producer.flush(20)
    return [future.get(20).offset for future in futures]


def sample_of(record: Any) -> Sample:
    return Sample(record.key, record.value, tuple(map(tuple, record.headers)), record.timestamp)


def take(consumer: KafkaConsumer, count: int, seconds: float = 20.0) -> list[Any]:
    """Exactly so many records."""
    records: list[Any] = []

    def enough() -> bool:
        for found in consumer.poll(100, max_records=max(1, count - len(records))).values():
            records.extend(found)
        return len(records) >= count

    until(enough, seconds)
    assert len(records) == count
    return records


def read(bootstrap: str, topic: str, count: int, partition: int = 0, **settings: Any) -> list[Sample]:
    """The first records of a partition."""
    with new_consumer(bootstrap, **settings) as consumer:
        consumer.assign([TopicPartition(topic, partition)])
        return [sample_of(record) for record in take(consumer, count)]
