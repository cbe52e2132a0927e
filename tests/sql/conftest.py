"""Logs to query: two topics that belong together, in memory; and one on a directory, cold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import streamhouse
from streamhouse.sql.stats import QueryStats

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

    def run(self, query: str, *values: Any) -> Read:
        """Run a query and count what it asks of the store."""
        before = self.log.stats().counts
        result = self.log.sql(query, *values)
        rows = result.fetchall()
        asked = self.log.stats().counts.since(before)
        return Read(rows, result.stats, asked.gets - 1, asked.bytes_read)  # one asks for a newer commit


class Read(NamedTuple):
    """What a query gave, and what it read."""

    rows: list[tuple[Any, ...]]
    stats: QueryStats
    gets: int
    bytes: int


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
        yield Cold(log)
