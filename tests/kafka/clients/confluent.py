"""Producers and consumers of confluent-kafka, set up for tests: quick, and with nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from tests.kafka.clients.samples import SAMPLES, Sample, until


def new_producer(bootstrap: str, **settings: Any) -> Producer:
    return Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "log_level": 0, **settings})


@contextmanager
def new_consumer(bootstrap: str, group: str = "nobody", **settings: Any) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
            **settings,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def send(producer: Producer, topic: str, samples: Sequence[Sample] = SAMPLES, partition: int = 0) -> None:
    """Send, and see to it that everything is acknowledged."""
    errors: list[Any] = []
    for key, value, headers, timestamp in samples:
        producer.produce(
            topic,
            value,
            key,
            partition,
            headers=list(headers),
            timestamp=timestamp,
            on_delivery=lambda error, _message: errors.append(error),
        )
    assert producer.flush(20) == 0
    for error in errors:
        if error is not None:
            raise KafkaException(error)
    assert len(errors) == len(samples)


def sample_of(message: Message) -> Sample:
    assert message.error() is None, message.error()
    headers = tuple((name, value) for name, value in message.headers() or ())
    return Sample(message.key(), message.value(), headers, message.timestamp()[1])


def take(consumer: Consumer, count: int, seconds: float = 20.0) -> list[Message]:
    """Exactly so many messages."""
    messages: list[Message] = []

    def enough() -> bool:
        messages.extend(consumer.consume(max(1, count - len(messages)), timeout=0.1))
        return len(messages) >= count

    until(enough, seconds)
    for message in messages:
        if message.error() is not None:
            raise KafkaException(message.error())
    return messages


def read(bootstrap: str, topic: str, count: int, partition: int = 0, **settings: Any) -> list[Sample]:
    """The first records of a partition."""
    with new_consumer(bootstrap, **settings) as consumer:
        consumer.assign([TopicPartition(topic, partition, 0)])
        return [sample_of(message) for message in take(consumer, count)]
