"""Operations: what may be proposed to the log. The fold decides what becomes of each.

They stand in commits for ever, so a tag is never used twice, and new fields go to the end and have a default.
"""

from __future__ import annotations

import msgspec

from streamhouse.config import TopicSettings


class AppendPart(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Records for one partition: ``block_count`` blocks of the flush from ``first_block`` on.

    ``sequence`` numbers the first record among all that this producer sent to the partition.
    """

    partition: int
    sequence: int
    first_block: int
    block_count: int


class Append(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """Add records to partitions of one topic, all of them or none.

    ``producer`` is an identity for the sequence check, or -1 for none.
    """

    topic: int
    producer: int
    epoch: int
    parts: tuple[AppendPart, ...]


class CreateTopic(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """Make a topic; the fold gives it an id."""

    name: str
    partitions: int
    settings: TopicSettings = TopicSettings()


class DeleteTopic(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """Remove a topic and all its records."""

    topic: int


class SealLane(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """Refuse all flushes of an agent from here on, so that what it left behind can be collected."""

    agent: str


class Snapshotted(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """A durable snapshot of the state at commit ``seq`` exists, and hashed to ``state_hash``."""

    seq: int
    state_hash: bytes


class AlterTopic(msgspec.Struct, array_like=True, tag=6, frozen=True):
    """Change a topic: more partitions (0 leaves them), other settings (``None`` leaves them).

    Settings are those of ``before`` with something changed in them: when the topic has others by now, nothing
    happens, and whoever asked for it makes the change anew in those. ``None``: whatever it has.
    """

    topic: int
    partitions: int
    settings: TopicSettings | None
    before: TopicSettings | None = None


class Trim(msgspec.Struct, array_like=True, tag=7, frozen=True):
    """Remove the records of partitions before an offset: pairs of partition and new log start."""

    topic: int
    parts: tuple[tuple[int, int], ...]


class ClaimCompaction(msgspec.Struct, array_like=True, tag=8, frozen=True):
    """Announce that ``worker`` rewrites a partition, so that nobody else does the same work.

    ``instead_of`` is the commit of the claim that is taken over because its worker fell silent, or 0.
    """

    topic: int
    partition: int
    worker: str
    instead_of: int


class Replace(msgspec.Struct, array_like=True, tag=9, frozen=True):
    """Put other blocks in the place of those that hold the offsets from ``first`` up to ``stop``.

    Attributes:
        topic: The topic.
        partition: The partition.
        first: Base offset of the first block to go.
        stop: Offset after the last one's.
        sources: Fingerprint of the references to go; when they are others by now, nothing happens.
        bases: Base offset of each new block; offsets in between are gaps.
        first_block: The new blocks are those of the flush from here on, one per base.
    """

    topic: int
    partition: int
    first: int
    stop: int
    sources: int
    bases: tuple[int, ...]
    first_block: int


class Cleaned(msgspec.Struct, array_like=True, tag=10, frozen=True):
    """Below ``offset`` each key has at most one record left; also gives back the worker's claim.

    With an offset of 0 it only gives back the claim.
    """

    topic: int
    partition: int
    worker: str
    offset: int


class Standing(msgspec.Struct, array_like=True, frozen=True):
    """What a process is in the log: an entry that it has set, and that nobody has changed or removed since.

    What it proposes on the strength of that has no effect once it is taken for dead, however late it lands.
    It must have set the entry by comparison: of two that one commit sets, each whatever was there, both would
    have the same version.

    Attributes:
        name: The entry.
        version: The commit that set it.
    """

    name: str
    version: int


class InitProducer(msgspec.Struct, array_like=True, tag=11, frozen=True):
    """Take over a named producer: the epoch goes up, and older incarnations are fenced.

    Attributes:
        transactional_id: The name.
        producer: The identity that it has from now on, drawn by the incarnation.
        again: Only if it has that identity already: an incarnation that wants to be sure that nothing
            which it began is still to come, but not to take the name from a newer one.
        instead_of: Only if it has that identity and that epoch; ``None``: whatever it has.
        timeout_ms: How long a transaction that comes bit by bit may be open before anybody may end it; 0: for
            ever.
        standing: Only while the proposer is this; ``None``: whatever it is.
    """

    transactional_id: str
    producer: int
    again: bool = False
    instead_of: tuple[int, int] | None = None
    timeout_ms: int = 0
    standing: Standing | None = None


class OffsetEntry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The next offset that a group wants of a partition; -1 forgets what was committed."""

    topic: int
    partition: int
    offset: int
    metadata: str = ""


class CommitOffsets(msgspec.Struct, array_like=True, tag=12, frozen=True):
    """Note how far a group has come, all entries or none.

    A member names itself and the generation in which it got its partitions. Without a member the group
    must be empty: that is an administrator, or a consumer with a fixed assignment. The ``coordinator`` of a
    classic group speaks for its members, and has seen to it that they may. Who speaks for others says by what
    ``standing``.
    """

    group: str
    member: str
    generation: int
    offsets: tuple[OffsetEntry, ...]
    coordinator: str = ""
    standing: Standing | None = None


class Transaction(msgspec.Struct, array_like=True, tag=13, frozen=True):
    """Appends and offsets of groups that become visible together or not at all.

    ``transactional_id`` is empty for a producer without a name, which nothing can fence.
    """

    transactional_id: str
    producer: int
    epoch: int
    appends: tuple[Append, ...]
    offsets: tuple[CommitOffsets, ...]


class AddToTransaction(msgspec.Struct, array_like=True, tag=18, frozen=True):
    """Add to the open transaction of a named producer, or open one. Nobody sees any of it before its end.

    For producers whose transactions come bit by bit, by way of whichever process. The sequences of the
    records count from here on, whatever becomes of the transaction.

    Attributes:
        transactional_id: The name.
        producer: Its identity ...
        epoch: ... and its epoch; others are fenced.
        appends: Records.
        offsets: Offsets of groups.
        number: How many transactions the producer has ended in that epoch. A piece of an earlier one that
            lands late has no effect.
        standing: Only while the proposer is this; ``None``: whatever it is.
    """

    transactional_id: str
    producer: int
    epoch: int
    appends: tuple[Append, ...]
    offsets: tuple[CommitOffsets, ...]
    number: int
    standing: Standing | None = None


class EndTransaction(msgspec.Struct, array_like=True, tag=19, frozen=True):
    """End the open transaction of a named producer: all of it becomes visible here, or nothing ever.

    Attributes:
        transactional_id: The name.
        producer: Its identity ...
        epoch: ... and its epoch; others are fenced.
        number: Which one, as in :class:`AddToTransaction`.
        commit: Whether it becomes visible.
        fence: The name gets the next epoch, so that the producer hears of it.
        standing: Only while the proposer is this; ``None``: whatever it is.
    """

    transactional_id: str
    producer: int
    epoch: int
    number: int
    commit: bool
    fence: bool = False
    standing: Standing | None = None


class JoinGroup(msgspec.Struct, array_like=True, tag=14, frozen=True):
    """Become a member of a group, or change what one subscribes to.

    Attributes:
        group: Its name.
        member: A random name that no other member ever had.
        process: Whose heartbeat speaks for the member.
        instance: Name of a static member, who may return under another member name; or empty.
        assignor: How partitions are dealt out; the members of a group agree on it.
        session_ms: After that long without a heartbeat the member is taken for dead.
        topics: What it subscribes to.
        again: Only if it is a member: one that was thrown out meanwhile must not come back under a name by
            which it believes to have partitions.
        standing: Only while the proposer is this; ``None``: whatever it is.
    """

    group: str
    member: str
    process: str
    instance: str
    assignor: str
    session_ms: int
    topics: tuple[int, ...]
    again: bool = False
    standing: Standing | None = None


class LeaveGroup(msgspec.Struct, array_like=True, tag=15, frozen=True):
    """End a membership: by the member itself, or by another that found it dead.

    Who speaks for members of others says by what ``standing``.
    """

    group: str
    member: str
    standing: Standing | None = None


class ReleasePartitions(msgspec.Struct, array_like=True, tag=16, frozen=True):
    """A member has stopped working on partitions that are meant for others now.

    Who speaks for members of others says by what ``standing``.
    """

    group: str
    member: str
    partitions: tuple[tuple[int, int], ...]
    standing: Standing | None = None


class DeleteGroup(msgspec.Struct, array_like=True, tag=17, frozen=True):
    """Forget a group that has no members, and its offsets."""

    group: str


class ClassicMember(msgspec.Struct, array_like=True, frozen=True):
    """A member of a classic group; the texts and bytes are its client's.

    Attributes:
        id: Its name.
        instance: Name of a static member, or empty.
        client_id: What the client calls itself.
        host: Where it is.
        session_ms: After that long without a heartbeat it is taken for dead.
        rebalance_ms: How long it may take to join again.
        protocols: How it could get its partitions: names of assignors, each with its subscription.
        assignment: What it got.
    """

    id: str
    instance: str
    client_id: str
    host: str
    session_ms: int
    rebalance_ms: int
    protocols: tuple[tuple[str, bytes], ...]
    assignment: bytes


class ClassicGroup(msgspec.Struct, array_like=True, frozen=True):
    """The members of a group who deal partitions out among themselves, as in Kafka's older protocol.

    Attributes:
        generation: Grows with every rebalance.
        protocol_type: ``consumer``, or what other programs form groups for.
        protocol: The assignor they agreed on; empty while they have not.
        leader: The member that deals out.
        members: All of them, in the order in which they joined.
    """

    generation: int
    protocol_type: str
    protocol: str
    leader: str
    members: tuple[ClassicMember, ...]


class KeepClassicGroup(msgspec.Struct, array_like=True, tag=20, frozen=True):
    """Note how things stand in a classic group. One coordinator at a time does so.

    Attributes:
        group: Its name.
        coordinator: A random name of whoever coordinates it from here on.
        instead_of: The one that did before; when it is another one by now, nothing happens.
        content: The members; ``None``: as noted before, when only the coordinator changes.
    """

    group: str
    coordinator: str
    instead_of: str
    content: ClassicGroup | None


class SetEntry(msgspec.Struct, array_like=True, tag=21, frozen=True):
    """Note a small value under a name, for whoever has to remember something in the log.

    Attributes:
        name: The name; its beginning says whose it is.
        value: The value; ``None`` removes it.
        version: Only if this commit set it last (0: if there is none); -1: whatever there is.
    """

    name: str
    value: bytes | None
    version: int


Operation = (
    Append
    | CreateTopic
    | DeleteTopic
    | SealLane
    | Snapshotted
    | AlterTopic
    | Trim
    | ClaimCompaction
    | Replace
    | Cleaned
    | InitProducer
    | CommitOffsets
    | Transaction
    | JoinGroup
    | LeaveGroup
    | ReleasePartitions
    | DeleteGroup
    | AddToTransaction
    | EndTransaction
    | KeepClassicGroup
    | SetEntry
)
