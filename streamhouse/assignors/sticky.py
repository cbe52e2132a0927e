"""Balance the partitions, and leave what need not move with whom it is (KIP-54, KIP-429)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from streamhouse.assignors.loads import Loads
from streamhouse.assignors.members import Assignment, TopicPartitionId, each


def sticky(
    names: Sequence[str],
    topics: Mapping[int, int],
    partition_counts: Mapping[int, int],
    owned: Mapping[TopicPartitionId, str],
) -> Assignment:
    """First the numbers, by pool and member; then which partitions these are."""
    pools = _pools(names, topics, partition_counts, owned)
    loads = Loads([pool.readers for pool in pools], _owned_by_member(pools, len(names)))
    for number, pool in enumerate(pools):
        loads.fill(number, len(pool.free))
    loads.balance()
    owner: Assignment = {}
    for number, pool in enumerate(pools):
        wanted = {member: loads.held[member].get(number, 0) for member in each(pool.readers)}
        owner.update((partition, names[member]) for partition, member in pool.deal(wanted))
    return {partition: owner[partition] for partition in sorted(owner)}


class _Pool:
    """The partitions of all topics that the same members read.

    Attributes:
        readers: The members that may have them.
        owned: Member -> those it has now.
        free: Those that none of the readers has.
    """

    def __init__(self, readers: int) -> None:
        self.readers = readers
        self.owned: dict[int, list[TopicPartitionId]] = {}
        self.free: list[TopicPartitionId] = []

    def deal(self, wanted: Mapping[int, int]) -> Iterator[tuple[TopicPartitionId, int]]:
        """Give each member as many as it shall have, as many as possible of its own."""
        rest = list(self.free)
        for member, mine in self.owned.items():
            keep = wanted[member]
            ordered = mine if keep >= len(mine) else _spread(mine)
            yield from ((partition, member) for partition in ordered[:keep])
            rest += ordered[keep:]
        places = sorted(
            (number, member)
            for member, count in wanted.items()
            for number in range(len(self.owned.get(member, ())), count)
        )
        for partition, (_, member) in zip(sorted(rest), places, strict=True):
            yield partition, member


def _spread(partitions: Sequence[TopicPartitionId]) -> list[TopicPartitionId]:
    """Reordered so that every beginning has of each topic about the same part.

    Who gives partitions away thus gives some of each topic, not all of the one with the most traffic.
    """
    counts: dict[int, int] = {}
    ranks = []
    for partition in partitions:
        ranks.append(counts.get(partition[0], 0))
        counts[partition[0]] = ranks[-1] + 1
    places = [
        ((2 * rank + 1) << 32) // counts[topic] for rank, (topic, _) in zip(ranks, partitions, strict=True)
    ]
    return [partition for _, partition in sorted(zip(places, partitions, strict=True))]


def _pools(
    names: Sequence[str],
    topics: Mapping[int, int],
    partition_counts: Mapping[int, int],
    owned: Mapping[TopicPartitionId, str],
) -> list[_Pool]:
    """The pools, those first whose partitions have the least choice of members."""
    number_of: dict[str | None, int] = {member: number for number, member in enumerate(names)}
    pools: dict[int, _Pool] = {}
    for topic, readers in topics.items():
        if readers not in pools:
            pools[readers] = _Pool(readers)
        pool = pools[readers]
        for partition in range(partition_counts[topic]):
            owner = number_of.get(owned.get((topic, partition)))
            if owner is not None and readers >> owner & 1:
                pool.owned.setdefault(owner, []).append((topic, partition))
            else:
                pool.free.append((topic, partition))
    return sorted(pools.values(), key=lambda pool: pool.readers.bit_count())  # else by first topic


def _owned_by_member(pools: Sequence[_Pool], members: int) -> list[dict[int, int]]:
    owned: list[dict[int, int]] = [{} for _ in range(members)]
    for number, pool in enumerate(pools):
        for member, mine in pool.owned.items():
            owned[member][number] = len(mine)
    return owned
