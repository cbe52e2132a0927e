"""Members of groups in processes of their own, so that they can die without a word.

``python -m tests.kafka.clients.members CLIENT BOOTSTRAP GROUP TOPIC [NAME=VALUE ...]`` joins, and prints how
many partitions it has whenever that changes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[3]


@contextmanager
def member_process(client: str, bootstrap: str, group: str, topic: str, **settings: Any) -> Iterator[Member]:
    """A member that is killed in the end, if not before."""
    named = [f"{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", __spec__.name, client, bootstrap, group, topic, *named]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Member(process)
        finally:
            process.kill()


class Member:
    """Seen from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def wait_for(self, partitions: int) -> None:
        """Wait until it has so many partitions."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if int(line) == partitions:
                return
        raise AssertionError("the member ended")

    def kill(self) -> None:
        """Let it die without a word."""
        self._process.kill()
        self._process.wait(10)


def _confluent(bootstrap: str, group: str, topic: str, settings: dict[str, str]) -> None:
    from confluent_kafka import Consumer

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, **settings})
    consumer.subscribe([topic])
    while True:
        consumer.poll(0.05)
        _say(len(consumer.assignment()))


def _kafka_python(bootstrap: str, group: str, topic: str, settings: dict[str, str]) -> None:
    from kafka import KafkaConsumer

    values = {name: int(value) if value.isdigit() else value for name, value in settings.items()}
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, **values)
    while True:
        consumer.poll(500)  # long enough to get through a rebalance on a busy machine
        _say(len(consumer.assignment()))


_said = -1


def _say(count: int) -> None:
    global _said
    if count != _said:
        _said = count
        print(count, flush=True)


if __name__ == "__main__":
    _, client, *where = sys.argv
    values = dict(each.split("=", 1) for each in where[3:])
    {"confluent": _confluent, "kafka_python": _kafka_python}[client](*where[:3], values)
