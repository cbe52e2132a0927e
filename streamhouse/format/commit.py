"""Commits: what is proposed to the log, encoded so that the same bytes fit any slot.

A *flush* is what one agent wants to have written at one time: operations, and the blocks they refer
to. Flushes of an agent are numbered from 0 without gaps. A *commit* carries one or more flushes: its
author's own, with the blocks inline, or, in a cut, flushes of several agents whose blocks wait in
lanes. Nothing in a commit depends on the slot it lands in: offsets, topic ids and verdicts are computed
by the fold, so a writer that loses the race for slot N proposes the same flushes at N + 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamhouse.config import TopicSettings
from streamhouse.errors import CorruptionError, UnsupportedFormatError
from streamhouse.format.container import Buffer, Front, Kind, pack


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
    """Change a topic: more partitions (0 leaves them), other settings (``None`` leaves them)."""

    topic: int
    partitions: int
    settings: TopicSettings | None


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


class InitProducer(msgspec.Struct, array_like=True, tag=11, frozen=True):
    """Take over a named producer: the epoch goes up, and older incarnations are fenced.

    Attributes:
        transactional_id: The name.
        producer: The identity that it has from now on, drawn by the incarnation.
        again: Only if it has that identity already: an incarnation that wants to be sure that nothing
            which it began is still to come, but not to take the name from a newer one.
    """

    transactional_id: str
    producer: int
    again: bool = False


class OffsetEntry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The next offset that a group wants of a partition; -1 forgets what was committed."""

    topic: int
    partition: int
    offset: int
    metadata: str = ""


class CommitOffsets(msgspec.Struct, array_like=True, tag=12, frozen=True):
    """Note how far a group has come, all entries or none.

    A member names itself and the generation in which it got its partitions. Without a member the group
    must be empty: that is an administrator, or a consumer with a fixed assignment.
    """

    group: str
    member: str
    generation: int
    offsets: tuple[OffsetEntry, ...]


class Transaction(msgspec.Struct, array_like=True, tag=13, frozen=True):
    """Appends and offsets of groups that become visible together or not at all.

    ``transactional_id`` is empty for a producer without a name, which nothing can fence.
    """

    transactional_id: str
    producer: int
    epoch: int
    appends: tuple[Append, ...]
    offsets: tuple[CommitOffsets, ...]


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
    """

    group: str
    member: str
    process: str
    instance: str
    assignor: str
    session_ms: int
    topics: tuple[int, ...]


class LeaveGroup(msgspec.Struct, array_like=True, tag=15, frozen=True):
    """End a membership: by the member itself, or by another that found it dead."""

    group: str
    member: str


class ReleasePartitions(msgspec.Struct, array_like=True, tag=16, frozen=True):
    """A member has stopped working on partitions that are meant for others now."""

    group: str
    member: str
    partitions: tuple[tuple[int, int], ...]


class DeleteGroup(msgspec.Struct, array_like=True, tag=17, frozen=True):
    """Forget a group that has no members, and its offsets."""

    group: str


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
)


class BlockEntry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where one block lies.

    Attributes:
        part: Object of the lane (0 when inline); -1 - i means segment ``i`` of the flush.
        position: Bytes from the start of that object's body.
        length: Bytes.
        count: Records in it.
        timestamp_min: Smallest record timestamp, milliseconds.
        timestamp_max: Largest record timestamp, milliseconds.
        raw_bytes: Size before compression.
    """

    part: int
    position: int
    length: int
    count: int
    timestamp_min: int
    timestamp_max: int
    raw_bytes: int


class Segment(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An object that was uploaded before anybody knew the flush that would refer to it.

    Its uploader has a lane of its own in the state: when that is sealed, or has come past ``number``,
    the segment may be gone and whatever refers to it is refused.

    Attributes:
        agent: The uploader.
        number: Its uploads are numbered from 0.
        body_start: Where the body begins in the object.
    """

    agent: str
    number: int
    body_start: int


class Flush(msgspec.Struct, array_like=True, frozen=True):
    """What one agent proposes at one time.

    ``body_starts`` gives, per lane object, where its body begins; empty means that the blocks are
    in the commit itself, or in one of the ``segments``.
    """

    agent: str
    number: int
    operations: tuple[Operation, ...]
    blocks: tuple[BlockEntry, ...]
    body_starts: tuple[int, ...] = ()
    segments: tuple[Segment, ...] = ()

    @property
    def inline(self) -> bool:
        """Whether the blocks travel in the commit."""
        return not self.body_starts


class Commit(msgspec.Struct, array_like=True, frozen=True):
    """The index of a commit object.

    Attributes:
        nonce: 16 random bytes that tell this commit from every other one.
        agent: The author.
        time_ms: The author's wall clock.
        witness_seq: A commit that the author has folded ...
        witness_hash: ... and its state hash there.
        flushes: In the order in which the fold takes them.
    """

    nonce: bytes
    agent: str
    time_ms: int
    witness_seq: int
    witness_hash: bytes
    flushes: tuple[Flush, ...]


class LanePart(msgspec.Struct, array_like=True, frozen=True):
    """The index of a lane object; part 0, which is written last, also holds the flush."""

    agent: str
    number: int
    part: int
    flush: Flush | None = None


class SegmentIndex(msgspec.Struct, array_like=True, frozen=True):
    """The index of a segment: who wrote it, and the blocks it holds."""

    agent: str
    number: int
    blocks: tuple[BlockEntry, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode_commit = msgspec.msgpack.Decoder(Commit).decode
_decode_lane = msgspec.msgpack.Decoder(LanePart).decode
_decode_segment = msgspec.msgpack.Decoder(SegmentIndex).decode


def pack_commit(commit: Commit, blocks: Sequence[Buffer] = ()) -> list[Buffer]:
    """The buffers of a commit object."""
    return pack(Kind.COMMIT, _encode(commit), blocks)


def decode_commit(index: bytes, where: str) -> Commit:
    """Decode the (already verified) index of a commit.

    Raises:
        UnsupportedFormatError: It holds an operation that this version does not know.
    """
    try:
        return _decode_commit(index)
    except msgspec.DecodeError as error:
        # The checksum held, so these are the bytes that were written: by a newer version.
        raise _newer(where, error) from error


def pack_lane(part: LanePart, blocks: Sequence[Buffer]) -> list[Buffer]:
    """The buffers of a lane object."""
    return pack(Kind.LANE, _encode(part), blocks)


def decode_lane(front: Front, expected: LanePart, where: str) -> LanePart:
    """Decode the index of a lane object and check that it is the one that was asked for."""
    try:
        lane = _decode_lane(front.index)
    except msgspec.DecodeError as error:
        raise _newer(where, error) from error
    if (lane.agent, lane.number, lane.part) != (expected.agent, expected.number, expected.part):
        raise CorruptionError(f"{where}: holds part {lane.part} of flush {lane.number} of {lane.agent}")
    return lane


def pack_segment(index: SegmentIndex, blocks: Sequence[Buffer]) -> list[Buffer]:
    """The buffers of a segment."""
    return pack(Kind.SEGMENT, _encode(index), blocks)


def decode_segment(front: Front, agent: str, number: int, where: str) -> SegmentIndex:
    """Decode the index of a segment and check that it is the one that was asked for."""
    try:
        index = _decode_segment(front.index)
    except msgspec.DecodeError as error:
        raise _newer(where, error) from error
    if (index.agent, index.number) != (agent, number):
        raise CorruptionError(f"{where}: holds segment {index.number} of {index.agent}")
    return index


def _newer(where: str, error: Exception) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"{where} holds something this StreamHouse does not know ({error}); upgrade it"
    )
