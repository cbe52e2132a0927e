"""Members of a group as bits of a number: member 0 is the first by id.

Sets of members then are compared, joined and searched by single operations, always in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

TopicPartitionId: TypeAlias = tuple[int, int]
"""Topic id and partition number."""

Assignment: TypeAlias = dict[TopicPartitionId, str]
"""Partition -> member."""


def readers_of_topics(
    subscriptions: Sequence[Sequence[int]], partition_counts: Mapping[int, int]
) -> dict[int, int]:
    """Topic id -> the members that read it; ascending, only topics that exist and have partitions."""
    alike: dict[tuple[int, ...], int] = {}  # most members of a group subscribe to the same
    for member, subscription in enumerate(subscriptions):
        topics = tuple(subscription)
        alike[topics] = alike.get(topics, 0) | 1 << member
    readers: dict[int, int] = {}
    for topics, members in alike.items():
        for topic in topics:
            readers[topic] = readers.get(topic, 0) | members
    return {topic: readers[topic] for topic in sorted(readers) if partition_counts.get(topic, 0) > 0}


def each(members: int) -> Iterator[int]:
    """The numbers of the members, ascending."""
    while members:
        yield first(members)
        members &= members - 1


def first(members: int) -> int:
    """The lowest number of a member; there must be one."""
    return (members & -members).bit_length() - 1
