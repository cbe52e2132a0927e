"""How groups change: the part of the fold that deals with membership and committed offsets."""

from __future__ import annotations

from streamhouse.commits.fold_entries import refuse_fallen
from streamhouse.commits.groups import GroupState, MemberState, OffsetState
from streamhouse.commits.guards import Guards
from streamhouse.commits.state import State
from streamhouse.commits.verdicts import ACCEPTED, Code, Verdict
from streamhouse.format.operations import (
    CommitOffsets,
    DeleteGroup,
    JoinGroup,
    KeepClassicGroup,
    LeaveGroup,
    ReleasePartitions,
)


def join_group(state: State, seq: int, operation: JoinGroup) -> Verdict:
    """Take a member in, or note that it subscribes to something else."""
    group = state.groups.get(operation.group)
    if operation.again and (group is None or operation.member not in group.members):
        return Verdict(Code.UNKNOWN_MEMBER)
    if group is None:
        group = state.groups[operation.group] = GroupState()
    member = MemberState(
        operation.member, operation.process, operation.instance, operation.session_ms, operation.topics
    )
    if group.has_classic_members:
        return Verdict(Code.OTHER_PROTOCOL)
    before = group.members.get(member.id) or group.static_member(member.instance)
    others = [present for present in group.members.values() if present is not before]
    if others and group.assignor != operation.assignor:
        return Verdict(Code.OTHER_ASSIGNOR)
    same = before is not None and before.topics == member.topics and group.assignor == operation.assignor
    group.assignor = operation.assignor
    if before is not None:
        group.rename(before.id, member)
    else:
        group.members[member.id] = member
    group.changed_seq = seq
    if not same:
        group.rebalance(partition_counts(state))
    return Verdict(Code.ACCEPTED, (group.generation, group.fingerprint))


def leave_group(state: State, seq: int, operation: LeaveGroup) -> Verdict:
    """Let a member go, and deal out what it had."""
    group = state.groups.get(operation.group)
    if group is None or operation.member not in group.members:
        return Verdict(Code.UNKNOWN_MEMBER)
    del group.members[operation.member]
    group.changed_seq = seq
    group.rebalance(partition_counts(state))
    return Verdict(Code.ACCEPTED, (group.generation, group.fingerprint))


def release_partitions(state: State, seq: int, operation: ReleasePartitions) -> Verdict:
    """Free partitions that a member has stopped working on."""
    group = state.groups.get(operation.group)
    if group is None or operation.member not in group.members:
        return Verdict(Code.UNKNOWN_MEMBER)
    group.release(operation.member, operation.partitions)
    group.changed_seq = seq
    return ACCEPTED


def keep_classic_group(state: State, seq: int, guards: Guards, operation: KeepClassicGroup) -> Verdict:
    """Note the members of a classic group, or that somebody else coordinates it from here on."""
    group = state.groups.get(operation.group)
    present = "" if group is None else group.coordinator
    if present not in {operation.coordinator, operation.instead_of} and guards.coordinator:
        return Verdict(Code.STALE)
    if group is not None and group.members:
        return Verdict(Code.OTHER_PROTOCOL)
    if group is None:
        group = state.groups[operation.group] = GroupState()
    group.coordinator = operation.coordinator
    if operation.content is not None:
        group.classic = operation.content
    group.changed_seq = seq
    return ACCEPTED


def delete_group(state: State, operation: DeleteGroup) -> Verdict:
    """Forget a group."""
    group = state.groups.get(operation.group)
    if group is None:
        return Verdict(Code.UNKNOWN_GROUP)
    if group.inhabited:
        return Verdict(Code.GROUP_NOT_EMPTY)
    del state.groups[operation.group]
    return ACCEPTED


def refuse_offsets(state: State, operation: CommitOffsets, guards: Guards) -> Verdict | None:
    """Why offsets must not be committed, if so. A stale member cannot move a group's offsets."""
    return refuse_fallen(state, operation.standing, guards) or _refuse_strangers(state, operation, guards)


def _refuse_strangers(state: State, operation: CommitOffsets, guards: Guards) -> Verdict | None:
    group = state.groups.get(operation.group)
    if not guards.owner:
        group = None
    elif operation.coordinator:
        if (group is None or group.coordinator != operation.coordinator) and guards.coordinator:
            return Verdict(Code.STALE)
    elif operation.member:
        if group is None or operation.member not in group.members:
            return Verdict(Code.UNKNOWN_MEMBER)
    elif group is not None and group.inhabited:
        return Verdict(Code.GROUP_NOT_EMPTY)
    for entry in operation.offsets:
        topic = state.topics.get(entry.topic)
        if topic is None:
            return Verdict(Code.UNKNOWN_TOPIC)
        if not 0 <= entry.partition < topic.partition_count:
            return Verdict(Code.UNKNOWN_PARTITION)
        if group is not None and operation.member and not operation.coordinator:
            owner, since = group.owners.get((entry.topic, entry.partition), ("", 0))
            if owner != operation.member or since > operation.generation:
                return Verdict(Code.NOT_OWNED)
    return None


def commit_offsets(state: State, time_ms: int, operation: CommitOffsets) -> None:
    """Note offsets that were not refused."""
    group = state.groups.get(operation.group)
    if group is None:
        group = state.groups[operation.group] = GroupState()
    for entry in operation.offsets:
        name = entry.topic, entry.partition
        if entry.offset < 0:
            group.offsets.pop(name, None)
        else:
            group.offsets[name] = OffsetState(entry.offset, entry.metadata, time_ms)


def topic_changed(state: State, seq: int, topic: int) -> None:
    """Deal out anew in every group that subscribes to a topic whose partitions are others now."""
    for group in state.groups.values():
        if topic not in state.topics:
            group.forget_topic(topic)
        if any(topic in member.topics for member in group.members.values()):
            group.rebalance(partition_counts(state))
            group.changed_seq = seq


def partition_counts(state: State) -> dict[int, int]:
    """Partitions of each topic that there is."""
    return {topic.id: topic.partition_count for topic in state.topics.values()}
