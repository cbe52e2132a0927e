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

from streamhouse.errors import CorruptionError, UnsupportedFormatError
from streamhouse.format.container import Buffer, Front, Kind, pack
from streamhouse.format.operations import Operation


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
