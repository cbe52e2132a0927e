"""Logs to query: two topics that belong together, in memory; and one on a directory, cold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamhouse

BEGIN_MS = 1_790_000_000_000


@pytest.fixture
def log() -> Iterator[streamhouse.Log]:
    """An empty log in memory."""
    with streamhouse.Log("memory://", upkeep=False) as log:
        yield log


@pytest.fixture
def shop(log: streamhouse.Log) -> streamhouse.Log:
    """``orders``: 12 JSON records in 3 partitions, one second apart; ``users``: 3, keyed."""
    log.create_topic("orders", partitions=3)
    log.create_topic("users")
    with log.producer() as producer:
        for partition in range(3):
            producer.send_many(
                "orders",
                [{"user": f"u{number % 3}", "amount": number} for number in range(partition, 12, 3)],
                keys=[f"k{number}" for number in range(partition, 12, 3)],
                timestamps=[BEGIN_MS + 1000 * number for number in range(partition, 12, 3)],
                partition=partition,
            )
        producer.send_many(
            "users",
            [{"name": name} for name in ("Ada", "Bob", "Cyd")],
            keys=["u0", "u1", "u2"],
            headers={"source": "test"},
            timestamps=BEGIN_MS,
        ).result()
    return log


class Cold:
    """A log in a directory: 20 blocks in each of two partitions, a record a second, nothing in memory."""

    def __init__(self, log: streamhouse.Log) -> None:
        self.log = log

    def requests(self) -> tuple[int, int]:
        """GET requests and bytes so far."""
        counts = self.log.stats().counts
        return counts.gets, counts.bytes_read


@pytest.fixture
def cold(tmp_path: Path) -> Iterator[Cold]:
    with streamhouse.Log(tmp_path / "log", upkeep=False) as log:
        log.create_topic("events", partitions=2)
        with log.producer() as producer:
            for block in range(20):
                for partition in range(2):
                    numbers = range(block * 50, block * 50 + 50)
                    producer.send_many(
                        "events",
                        [json.dumps({"n": number, "pad": "x" * (number % 50)}) for number in numbers],
                        keys=[str(number) for number in numbers],
                        timestamps=[BEGIN_MS + 1000 * number for number in numbers],
                        partition=partition,
                    ).result()
    with streamhouse.Log(tmp_path / "log", upkeep=False) as log:
        log.sql("select 1").fetchall()
        yield Cold(log)
