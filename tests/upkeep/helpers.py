"""What the tests of upkeep say often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamhouse
from streamhouse.commits.state import PartitionState


def write(
    log: streamhouse.Log,
    values: Sequence[bytes | None],
    *,
    keys: Sequence[bytes] | None = None,
    topic: str = "t",
    partition: int = 0,
    at_once: int = 1,
) -> None:
    """Write records, so many in each commit."""
    with log.producer() as producer:
        for start in range(0, len(values), at_once):
            window = slice(start, start + at_once)
            producer.send_many(
                topic, values[window], keys=None if keys is None else keys[window], partition=partition
            ).result(10)


def rows(log: streamhouse.Log, topic: str = "t", **options: Any) -> list[tuple[int, bytes, bytes]]:
    """Offset, key and value of each record."""
    return [(r.offset, r.key, r.value) for r in log.read(topic, **options)]


def state_of(log: streamhouse.Log, topic: str = "t", number: int = 0) -> PartitionState:
    """The blocks of a partition."""
    state = log._commits.state
    return state.topics[state.topic_ids[topic]].partitions[number]
