"""Consumer groups in the state: members, who owns which partition, and how far the group has come.

There is no coordinator. The fold itself deals the partitions out when a member joins or leaves, so every
process sees the same assignment at the same commit. A partition changes hands in two steps: the *target*
says who shall have it, the *owner* is who may work on it, and an owner stays one until it has released
the partition, has left, or was found dead. So no partition ever has two owners.

The assignors that Kafka calls eager make everybody stop: each member releases all it has before anybody is
given anything of the new generation. With ``cooperative-sticky`` only partitions that move are released
(KIP-429).

In a *classic* group the members deal out among themselves, as Kafka's older clients do. Somebody coordinates
them, and keeps here what the next coordinator has to know. A group is one or the other while it has members.
"""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import msgspec

from streamhouse.assignors import EAGER, TopicPartitionId, assign
from streamhouse.format.operations import ClassicGroup


class MemberState(msgspec.Struct, array_like=True, frozen=True):
    """A member of a group; see :class:`~streamhouse.format.operations.JoinGroup`."""

    id: str
    process: str
    instance: str
    session_ms: int
    topics: tuple[int, ...]


class OffsetState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A committed offset: the next one wanted, what the committer noted with it, and when."""

    offset: int
    metadata: str
    time_ms: int


class GroupState:
    """One group.

    Attributes:
        generation: Grows with every change of the assignment.
        changed_seq: The commit that last changed anything but offsets.
        assignor: How partitions are dealt out; empty while the group never had members.
        members: By id, in the order in which they joined.
        target: Who shall have a partition.
        owners: Who has it, and since which generation.
        offsets: How far the group has come.
        classic: The members who deal out among themselves; ``None`` while there never were any.
        coordinator: Who coordinates those.
    """

    __slots__ = (
        "assignor",
        "changed_seq",
        "classic",
        "coordinator",
        "generation",
        "members",
        "offsets",
        "owners",
        "target",
    )

    def __init__(self) -> None:
        self.generation = 0
        self.changed_seq = 0
        self.assignor = ""
        self.members: dict[str, MemberState] = {}
        self.target: dict[TopicPartitionId, str] = {}
        self.owners: dict[TopicPartitionId, tuple[str, int]] = {}
        self.offsets: dict[TopicPartitionId, OffsetState] = {}
        self.classic: ClassicGroup | None = None
        self.coordinator = ""

    @property
    def inhabited(self) -> bool:
        """Whether it has members, of whichever kind."""
        return bool(self.members) or self.has_classic_members

    @property
    def has_classic_members(self) -> bool:
        """Whether its members deal out among themselves."""
        return self.classic is not None and bool(self.classic.members)

    @property
    def eager(self) -> bool:
        """Whether all partitions stop in a rebalance."""
        return self.assignor in EAGER

    def static_member(self, instance: str) -> MemberState | None:
        """The member with that instance name."""
        return next((m for m in self.members.values() if instance and m.instance == instance), None)

    def owned(self, member: str) -> list[TopicPartitionId]:
        """What a member may work on."""
        return sorted(name for name, (owner, _) in self.owners.items() if owner == member)

    def to_release(self, member: str) -> list[TopicPartitionId]:
        """What a member has to give back before the rebalance can end."""
        return [name for name in self.owned(member) if self._must_go(name)]

    @property
    def settled(self) -> bool:
        """Whether everybody has what is meant for them."""
        return len(self.owners) == len(self.target) and not any(map(self._must_go, self.owners))

    def rebalance(self, partition_counts: Mapping[int, int]) -> None:
        """Deal the partitions out anew, to the members there are now."""
        self.generation += 1
        for name, (owner, _) in list(self.owners.items()):
            topic, partition = name
            if owner not in self.members or partition >= partition_counts.get(topic, 0):
                del self.owners[name]
        subscriptions = {member.id: member.topics for member in self.members.values()}
        owned = {name: owner for name, (owner, _) in self.owners.items()}
        self.target = assign(self.assignor, subscriptions, partition_counts, owned) if subscriptions else {}
        self._settle()

    def release(self, member: str, partitions: tuple[TopicPartitionId, ...]) -> None:
        """Take partitions away from a member that has stopped working on them."""
        for name in partitions:
            if self.owners.get(name, ("", 0))[0] == member:
                del self.owners[name]
        self._settle()

    def rename(self, old: str, member: MemberState) -> None:
        """Let a static member that returned take the place of what it was before."""
        self.members = {
            (member.id if id_ == old else id_): (member if id_ == old else present)
            for id_, present in self.members.items()
        }
        self.target = {name: member.id if owner == old else owner for name, owner in self.target.items()}
        self.owners = {
            name: (member.id if owner == old else owner, since)
            for name, (owner, since) in self.owners.items()
        }

    def forget_topic(self, topic: int) -> None:
        """Drop the offsets in a topic that was deleted."""
        for name in [name for name in self.offsets if name[0] == topic]:
            del self.offsets[name]

    @property
    def fingerprint(self) -> int:
        """A number on which all who dealt out the same agree."""
        return crc32(msgspec.msgpack.encode(sorted(self.target.items())))

    def _must_go(self, name: TopicPartitionId) -> bool:
        owner, since = self.owners[name]
        return since < self.generation if self.eager else self.target.get(name) != owner

    def _settle(self) -> None:
        """Give what is free to those who shall have it."""
        if self.eager and any(map(self._must_go, self.owners)):
            return  # somebody has not stopped yet
        for name, member in self.target.items():
            self.owners.setdefault(name, (member, self.generation))
