"""What tests of group members have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from streamhouse import Consumer, Log, TopicPartition
from streamhouse.format.operations import LeaveGroup

QUIET = {"auto_commit_interval": 3600.0}


KEPT: list[Consumer[Any, Any]] = []


def member(log: Log, **options: Any) -> Consumer[Any, Any]:
    """A member of group "g" that is closed with the log."""
    KEPT.append(log.consumer("orders", group="g", **options))
    return KEPT[-1]


def send(log: Log, count: int, topic: str = "orders", first: int = 0) -> None:
    """Values ``first`` to ``first + count - 1``, in turn to all partitions."""
    partitions = len(log.topic(topic).partitions)
    with log.producer() as producer:
        for number in range(first, first + count):
            producer.send(topic, str(number), partition=number % partitions)


def drain(*consumers: Consumer[Any, Any], quiet: int = 3) -> list[Any]:
    """Everything that comes, until nothing came some times in a row."""
    records: list[Any] = []
    silent = 0
    while silent < quiet:
        taken = [record for consumer in consumers for record in consumer.poll(timeout=0)]
        records += taken
        silent = 0 if taken else silent + 1
    return records


def until(condition: Callable[[], Any], *consumers: Consumer[Any, Any]) -> None:
    """Poll until something is so."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "never came true"
        for consumer in consumers:
            consumer.poll(timeout=0)
        time.sleep(0.005)


def numbers(consumer: Consumer[Any, Any]) -> set[int]:
    return {partition for _, partition in consumer.assignment}


def offsets(log: Log, group: str = "g") -> dict[int, int]:
    """Committed offsets by partition of the topic "orders"."""
    return {place.partition: found.offset for place, found in log.groups[group].offsets.items()}


class Callbacks:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, set[int]]] = []

    @property
    def options(self) -> dict[str, Any]:
        return {f"on_{what}": self._note(what) for what in ("assign", "revoke", "lost")}

    def _note(self, what: str) -> Callable[[list[TopicPartition]], None]:
        def note(partitions: list[TopicPartition]) -> None:
            assert all(isinstance(each, TopicPartition) for each in partitions)
            self.told.append((what, {each.partition for each in partitions}))

        return note


def expel(log: Log, consumer: Consumer[Any, Any]) -> None:
    """What others do with a member that they find dead."""
    log._commits.propose(LeaveGroup("g", consumer.member_id or ""))


def expel_all(log: Log) -> None:
    for member in log.groups["g"].members:
        log._commits.propose(LeaveGroup("g", member.id))
