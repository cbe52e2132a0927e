"""Who reads which partition: the assignors of consumer groups.

The fold of the commit log calls :func:`assign`, so every process has to come to the same answer: the module
is pure, and whatever could depend on the order of a mapping or on a string's hash is sorted first.

* ``range`` lays the partitions of each topic out in order and cuts them into one run per subscribed member,
  as Kafka's ``RangeAssignor`` does. Partition 3 of two topics with equal counts has one reader, so
  joins of equally partitioned topics work; many small topics all burden the first members.
* ``round-robin`` deals all partitions in turn, passing over members that are not subscribed, as Kafka's
  ``RoundRobinAssignor`` does.
* ``sticky`` (KIP-54, Kafka's ``StickyAssignor``) and ``cooperative-sticky`` (KIP-429) balance, and leave what
  need not move with whom it is. They compute the same; they differ in who has to stop during a rebalance.

What the two sticky ones guarantee, whatever the subscriptions: the balance of KIP-54, that is no member has
two partitions or more above another one that could take one of them; and an assignment that is balanced and
complete stays as it is. Members that subscribe to the same topics, and share none with others, differ by one
partition at most, and no assignment that is as even moves fewer. Where subscriptions overlap in part, there
are several balances. Partitions without an owner then fill the gaps first, and the fullest member gives to
the emptiest that can take; that is rarely a move more than needed, but to find the least is a min-cost flow,
too slow for the fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from streamhouse.assignors.members import Assignment, TopicPartitionId, readers_of_topics
from streamhouse.assignors.stateless import contiguous_ranges, round_robin
from streamhouse.assignors.sticky import sticky
from streamhouse.errors import InvalidInputError, nearest

__all__ = ["ASSIGNORS", "EAGER", "TopicPartitionId", "assign"]

ASSIGNORS: Final[tuple[str, ...]] = ("cooperative-sticky", "sticky", "range", "round-robin")
EAGER: Final[frozenset[str]] = frozenset({"sticky", "range", "round-robin"})  # all partitions stop


def assign(
    assignor: str,
    members: Mapping[str, Sequence[int]],
    partition_counts: Mapping[int, int],
    owned: Mapping[TopicPartitionId, str],
) -> Assignment:
    """Who shall have which partition.

    Args:
        assignor: One of ``ASSIGNORS``.
        members: Member id -> the ids of the topics it subscribes to.
        partition_counts: Topic id -> number of partitions; topics that are missing here do not exist.
        owned: Who has what now. It may name members or partitions that are gone.

    Returns:
        Partition -> member, in the order of the partitions. Those nobody subscribes to are left out.

    Raises:
        InvalidInputError: There is no such assignor; the message has the nearest match.

    Example:
        >>> assign("range", {"a": [1], "b": [1]}, {1: 3}, owned={})
        {(1, 0): 'a', (1, 1): 'a', (1, 2): 'b'}
        >>> assign("sticky", {"a": [1], "b": [1]}, {1: 3}, owned={(1, 0): "b", (1, 1): "b", (1, 2): "b"})
        {(1, 0): 'b', (1, 1): 'b', (1, 2): 'a'}
    """
    if assignor not in ASSIGNORS:
        hint = nearest(assignor, ASSIGNORS)
        raise InvalidInputError(f"unknown assignor {assignor!r}{hint}; known are {', '.join(ASSIGNORS)}")
    names = sorted(members)
    topics = readers_of_topics([members[name] for name in names], partition_counts)
    if assignor == "range":
        return contiguous_ranges(names, topics, partition_counts)
    if assignor == "round-robin":
        return round_robin(names, topics, partition_counts)
    return sticky(names, topics, partition_counts, owned)
