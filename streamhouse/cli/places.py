"""Partitions as arguments: ``orders`` means all of a topic, ``orders:3`` one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import typer

from streamhouse.errors import PartitionNotFoundError
from streamhouse.records import TopicPartition
from streamhouse.topic import Topic


def parse_place(text: str, what: str) -> tuple[str, int | None]:
    """A topic, and the partition if one was named.

    Args:
        text: What was given.
        what: For what, to be named in an error.

    Raises:
        typer.BadParameter: It is neither ``TOPIC`` nor ``TOPIC:PARTITION``.
    """
    found = re.fullmatch(r"([^:]+)(?::(\d+))?", text)
    if found is None:
        raise typer.BadParameter(f"{what} takes TOPIC or TOPIC:PARTITION, not {text!r}")
    return found[1], None if found[2] is None else int(found[2])


def parse_offset(text: str) -> tuple[TopicPartition, int]:
    """A partition and an offset in it.

    Raises:
        typer.BadParameter: It is not ``TOPIC:PARTITION=OFFSET``.
    """
    found = re.fullmatch(r"([^:]+):(\d+)=(\d+)", text)
    if found is None:
        raise typer.BadParameter(f"an offset is written TOPIC:PARTITION=OFFSET, not {text!r}")
    return TopicPartition(found[1], int(found[2])), int(found[3])


def check_partition(topic: Topic, number: int | None) -> None:
    """Refuse a partition that the topic does not have.

    Raises:
        PartitionNotFoundError: It does not.
    """
    count = len(topic.partitions)
    if number is not None and not 0 <= number < count:
        raise PartitionNotFoundError(f"topic {topic.name!r} has partitions 0 to {count - 1}, not {number}")


def is_among(place: TopicPartition, wanted: Sequence[tuple[str, int | None]]) -> bool:
    """Whether a partition is one of those that were named; all are where nothing was."""
    named = {(place.topic, None), (place.topic, place.partition)}
    return not wanted or not named.isdisjoint(wanted)
