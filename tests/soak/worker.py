"""What one process of a soak does: write or read, and write down what it was told."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import streamhouse
from streamhouse.testing.history import (
    Attempt,
    Moved,
    Observed,
    Outcome,
    Polled,
    Sent,
    encode_operation,
)

TOPIC = "soak"
PARTITIONS = 3
_SETTINGS = {"snapshot_commits": 50, "inline_bytes_max": 4_000, "delivery_timeout_seconds": 60.0}


class Notes:
    """A history file that survives the death of its writer at any moment."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def write(self, *operations: Any) -> None:
        """Append, in one system call each."""
        for operation in operations:
            os.write(self._file, encode_operation(operation))


def open_log(url: str, options: dict[str, Any] | None, **settings: Any) -> streamhouse.Log:
    """The log under test."""
    return streamhouse.Log(url, storage_options=options, **{**_SETTINGS, **settings})


def produce(
    url: str, options: dict[str, Any] | None, name: str, path: str, seconds: float, linger: float | None
) -> None:
    """Write for some seconds, in all the ways there are."""
    dice = random.Random(name)
    notes = Notes(path)
    number = 0
    with open_log(url, options, linger_seconds=linger) as log:
        log.create_topic(TOPIC, partitions=PARTITIONS, exist_ok=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with log.producer() as producer:
                producer_name = f"{name}/{number}"
                for _ in range(dice.randrange(1, 50)):
                    count = dice.choice((1, 1, 1, 5, 40))
                    values = [f"{name}:{number + i}" for i in range(count)]
                    number += count
                    partition = dice.randrange(PARTITIONS)
                    if dice.random() < 0.5:
                        _send_batch(producer, producer_name, notes, partition, values, dice)
                    else:
                        _send_each(producer, producer_name, notes, partition, values)
                    if time.monotonic() >= end:
                        break
            if dice.random() < 0.05:
                log.upkeep()


def _send_each(producer: Any, name: str, notes: Notes, partition: int, values: list[str]) -> None:
    attempts = [Attempt(TOPIC, partition, value) for value in values]
    notes.write(*(Sent(name, (attempt,), "unknown") for attempt in attempts))
    deliveries = [producer.send(TOPIC, value, key=value, partition=partition) for value in values]
    for attempt, delivery in zip(attempts, deliveries, strict=True):
        stored = delivery.result()
        notes.write(Sent(name, (attempt._replace(offset=stored.offset),), "ok"))


def _send_batch(
    producer: Any, name: str, notes: Notes, partition: int, values: list[str], dice: random.Random
) -> None:
    attempts = tuple(Attempt(TOPIC, partition, value) for value in values)
    notes.write(Sent(name, attempts, "unknown"))
    padded = [value.encode() + b" " * dice.randrange(0, 300) for value in values]
    stored = producer.send_many(TOPIC, padded, partition=partition).result()
    offsets = stored.partitions[partition]
    outcome: Outcome = "ok"
    done = tuple(a._replace(offset=o) for a, o in zip(attempts, offsets, strict=True))
    notes.write(Sent(name, done, outcome))


def consume(url: str, options: dict[str, Any] | None, name: str, path: str, seconds: float) -> None:
    """Read from the beginning and on."""
    notes = Notes(path)
    with open_log(url, options) as log:
        log.create_topic(TOPIC, partitions=PARTITIONS, exist_ok=True)
        with log.consumer(TOPIC, start="earliest") as consumer:
            notes.write(Moved(name, tuple((TOPIC, number, 0) for number in range(PARTITIONS))))
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                records = consumer.poll(timeout=0.2)
                if records:
                    notes.write(Polled(name, tuple(map(_observed, records))))


def read_all(url: str, options: dict[str, Any] | None) -> Polled:
    """Everything that the log holds, as a fresh process sees it."""
    with open_log(url, options) as log:
        return Polled("final", tuple(_observed(record) for record in log.read(TOPIC)))


def _observed(record: streamhouse.Record[Any, Any]) -> Observed:
    return Observed(record.topic, record.partition, record.offset, record.value.decode().rstrip())
