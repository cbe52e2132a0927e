"""A group as it stands at one moment: who is in there, what they have, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streamhouse.commits.groups import GroupState, OffsetState
from streamhouse.commits.state import PartitionState, State
from streamhouse.errors import GroupNotFoundError, nearest
from streamhouse.format.operations import ClassicMember
from streamhouse.groups.classic import assigned_partitions, subscribed_topics
from streamhouse.groups.offsets import as_offset
from streamhouse.records import OffsetAndMetadata, TopicPartition


class GroupMember(msgspec.Struct, frozen=True):
    """A member of a group.

    Attributes:
        id: Its name, new for each time it joins.
        process: The ``Log`` object that it belongs to; members of one have the same. Empty: it is a Kafka
            client of the classic protocol.
        instance: The ``instance_id`` of a static member, else ``None``.
        session_timeout: After so many seconds without a sign of life it is taken out.
        topics: What it subscribes to.
        assignment: The partitions that it works on.
        coming: Partitions that are meant for it and that their present owners have yet to give back.
    """

    id: str
    process: str
    instance: str | None
    session_timeout: float
    topics: tuple[str, ...]
    assignment: tuple[TopicPartition, ...]
    coming: tuple[TopicPartition, ...] = ()


class GroupDescription(msgspec.Struct, frozen=True):
    """A group at one moment.

    Attributes:
        name: Its name.
        state: ``"stable"``, ``"rebalancing"`` or ``"empty"``.
        assignor: How partitions are dealt out; empty when the group never had members.
        generation: Grows with every change of the assignment.
        members: In the order in which they joined.
        offsets: How far it has come, by partition.
        lag: How many offsets lie between that and the end, by partition; all that there is where nothing
            was committed yet, and 0 where a Kafka client committed what lies beyond the end. It has all
            partitions of the topics that members subscribe to.
    """

    name: str
    state: str
    assignor: str
    generation: int
    members: tuple[GroupMember, ...]
    offsets: dict[TopicPartition, OffsetAndMetadata]
    lag: dict[TopicPartition, int]


def describe(state: State, name: str) -> GroupDescription:
    """Everything about a group. Call it with the lock of the state.

    Raises:
        GroupNotFoundError: There is no such group.
    """
    group = find_group(state, name)
    classic = group.classic if group.has_classic_members else None
    members = members_of(state, group)
    offsets = {
        TopicPartition(state.topics[topic].name, partition): as_offset(found)
        for (topic, partition), found in sorted(group.offsets.items())
        if topic in state.topics
    }
    return GroupDescription(
        name,
        state_name(group),
        group.assignor if classic is None else classic.protocol,
        group.generation if classic is None else classic.generation,
        members,
        offsets,
        _lag(state, group, members),
    )


def find_group(state: State, name: str) -> GroupState:
    """The group of that name.

    Raises:
        GroupNotFoundError: There is none; the message has the nearest match.
    """
    group = state.groups.get(name)
    if group is None:
        raise GroupNotFoundError(f"no group {name!r}{nearest(str(name), state.groups)}")
    return group


def state_name(group: GroupState) -> str:
    """``"stable"``, ``"rebalancing"`` or ``"empty"``."""
    if not group.inhabited:
        return "empty"
    classic = group.classic
    if group.members or classic is None:
        return "stable" if group.settled else "rebalancing"
    return "stable" if all(member.assignment for member in classic.members) else "rebalancing"


def members_of(state: State, group: GroupState) -> tuple[GroupMember, ...]:
    """The members of a group, of whichever kind."""
    if group.has_classic_members and group.classic is not None:
        return tuple(_classic_member(member, group.classic.protocol) for member in group.classic.members)
    return tuple(_member(state, group, id_) for id_ in group.members)


def owners_of(state: State, group: GroupState) -> dict[TopicPartition, str]:
    """Who has the partitions of a group: ids of members of whichever kind."""
    return {place: member.id for member in members_of(state, group) for place in member.assignment}


def lag_of(partition: PartitionState | None, committed: OffsetState | None) -> int:
    """How many offsets are left: all that there are if nothing was committed, none beyond the end."""
    if partition is None:
        return 0
    start = partition.log_start if committed is None else max(partition.log_start, committed.offset)
    return max(0, partition.high_watermark - start)


def _classic_member(member: ClassicMember, protocol: str) -> GroupMember:
    return GroupMember(
        member.id,
        "",
        member.instance or None,
        member.session_ms / 1000,
        subscribed_topics(_subscription(member, protocol)),
        assigned_partitions(member.assignment),
    )


def _subscription(member: ClassicMember, protocol: str) -> bytes:
    """What it says with the protocol agreed on; with any while there is none: its topics are the same."""
    protocols = dict(member.protocols)
    return protocols.get(protocol, next(iter(protocols.values()), b""))


def _member(state: State, group: GroupState, id_: str) -> GroupMember:
    member = group.members[id_]
    owned = set(group.owned(id_))
    coming = [place for place, owner in group.target.items() if owner == id_ and place not in owned]
    return GroupMember(
        id_,
        member.process,
        member.instance or None,
        member.session_ms / 1000,
        tuple(sorted(state.topics[topic].name for topic in member.topics if topic in state.topics)),
        tuple(sorted(TopicPartition(state.topics[t].name, p) for t, p in owned if t in state.topics)),
        tuple(sorted(TopicPartition(state.topics[t].name, p) for t, p in coming if t in state.topics)),
    )


def _lag(state: State, group: GroupState, members: Iterable[GroupMember]) -> dict[TopicPartition, int]:
    places = {place for place in group.offsets if place[0] in state.topics}
    for name in {name for member in members for name in member.topics}:
        id_ = state.topic_ids.get(name)
        if id_ is not None:
            places.update((id_, partition) for partition in range(state.topics[id_].partition_count))
    return {
        TopicPartition(state.topics[id_].name, partition): lag_of(
            state.topics[id_].partitions.get(partition), group.offsets.get((id_, partition))
        )
        for id_, partition in sorted(places)
    }
