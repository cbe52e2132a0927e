"""Snapshots, roll-ups, the boundary and the root object.

A snapshot is the folded state at one commit; a roll-up is the indexes of a range of commits without their
blocks. Both only save time: the log could always be folded again from its start while its commits exist.
"""

from __future__ import annotations

from typing import Final, TypeVar

import lz4.block
import msgspec

from streamhouse import limits
from streamhouse.config import TopicSettings
from streamhouse.errors import CorruptionError, NotALogError, UnsupportedFormatError
from streamhouse.format.checksum import crc32
from streamhouse.format.container import FORMAT_VERSION, Buffer, Kind, pack, unpack
from streamhouse.format.operations import ClassicGroup, OffsetEntry

T = TypeVar("T")
_RAW_BYTES_MAX: Final = 16 * limits.GIB


class PartitionImage(msgspec.Struct, array_like=True):
    """One partition; the columns are arrays of int64 as bytes."""

    partition: int
    log_start: int
    high_watermark: int
    cleaned: list[tuple[int, int]]
    claim: tuple[str, int] | None
    base_offsets: bytes
    counts: bytes
    lanes: bytes
    objects: bytes
    positions: bytes
    lengths: bytes
    raw_lengths: bytes
    timestamps: bytes
    timestamp_mins: bytes


class TopicImage(msgspec.Struct, array_like=True):
    """One topic with the partitions that hold something."""

    id: int
    name: str
    partition_count: int
    created_ms: int
    settings: TopicSettings
    partitions: list[PartitionImage]


class ProducerImage(msgspec.Struct, array_like=True):
    """One producer; per (topic, partition) its remembered batches."""

    id: int
    epoch: int
    batches: list[tuple[int, int, list[tuple[int, int, int]]]]


class LaneImage(msgspec.Struct, array_like=True):
    """One lane; the list of them is in order of ordinal."""

    agent: str
    next_number: int
    sealed: bool


class GroupImage(msgspec.Struct, array_like=True):
    """One group: members, who shall have which partition, who has it since when, and offsets.

    Attributes:
        members: Id, process, instance, session time-out and topics of each.
        target: Topic, partition and member.
        owners: Topic, partition, member and generation.
        offsets: Topic, partition, offset, metadata and time.
        classic: Members who deal out among themselves.
        coordinator: Who coordinates those.
    """

    name: str
    generation: int
    changed_seq: int
    assignor: str
    members: list[tuple[str, str, str, int, tuple[int, ...]]]
    target: list[tuple[int, int, str]]
    owners: list[tuple[int, int, str, int]]
    offsets: list[tuple[int, int, int, str, int]]
    classic: ClassicGroup | None
    coordinator: str


class TransactionImage(msgspec.Struct, array_like=True):
    """An open transaction: what was added to it so far.

    Attributes:
        partitions: Topic and partition, with the blocks for it.
        offsets: Groups, each with what was added for it.
    """

    transactional_id: str
    began_ms: int
    partitions: list[tuple[int, PartitionImage]]
    offsets: list[tuple[str, list[OffsetEntry]]]


class StateImage(msgspec.Struct, array_like=True):
    """The whole state."""

    log_id: str
    seq: int
    hashes: list[bytes]
    snapshot_seq: int
    next_topic_id: int
    topics: list[TopicImage]
    producers: list[ProducerImage]
    lanes: list[LaneImage]
    named_producers: list[tuple[str, int, int, int, int]]
    groups: list[GroupImage]
    transactions: list[TransactionImage]
    entries: list[tuple[str, int, bytes]]


class RolledCommit(msgspec.Struct, array_like=True):
    """The index of one commit, and where its body began."""

    seq: int
    body_start: int
    index: bytes


class Boundary(msgspec.Struct, array_like=True):
    """Every slot below ``seq`` may be gone; ``snapshot`` is where to start instead."""

    seq: int
    snapshot: str


class Root(msgspec.Struct):
    """What ``root.json`` says.

    Attributes:
        format: Version of the layout.
        log_id: Random name of this log, so that objects of another one are not taken for its own.
        created_ms: When.
        shared: The store passed the probe for create-if-absent; several processes may write.
    """

    format: int
    log_id: str
    created_ms: int
    shared: bool


def _pack(kind: Kind, value: msgspec.Struct) -> list[Buffer]:
    return pack(kind, _compress(msgspec.msgpack.encode(value)))


def pack_snapshot(image: StateImage) -> list[Buffer]:
    """The buffers of a snapshot object."""
    # The image can be larger than an index may be, so it is the body, with a checksum in the index.
    body = _compress(msgspec.msgpack.encode(image))
    return pack(Kind.SNAPSHOT, msgspec.msgpack.encode(crc32(body)), [body])


def unpack_snapshot(data: Buffer, where: str) -> StateImage:
    """Decode and check a snapshot object."""
    front = unpack(data, Kind.SNAPSHOT, where)
    body = memoryview(data)[front.body_start :]
    if msgspec.msgpack.decode(front.index, type=int) != crc32(body):
        raise CorruptionError(f"{where}: the state fails its checksum")
    return _decode(body, StateImage, where)


def pack_rollup(commits: list[RolledCommit]) -> list[Buffer]:
    """The buffers of a roll-up object."""
    return pack(Kind.ROLLUP, _compress(msgspec.msgpack.encode(commits)))


def unpack_rollup(data: Buffer, where: str) -> list[RolledCommit]:
    """Decode and check a roll-up object."""
    return _decode(unpack(data, Kind.ROLLUP, where).index, list[RolledCommit], where)


def pack_boundary(boundary: Boundary) -> list[Buffer]:
    """The buffers of a boundary object."""
    return _pack(Kind.BOUNDARY, boundary)


def unpack_boundary(data: Buffer, where: str) -> Boundary:
    """Decode and check a boundary object."""
    return _decode(unpack(data, Kind.BOUNDARY, where).index, Boundary, where)


def pack_root(root: Root) -> bytes:
    """The text of ``root.json``: one line of JSON with a checksum, for people and programs alike."""
    fields = msgspec.to_builtins(root)
    fields["crc32"] = crc32(msgspec.json.encode(root))
    return msgspec.json.encode(fields) + b"\n"


def unpack_root(data: bytes, where: str) -> Root:
    """Decode and check ``root.json``.

    Raises:
        NotALogError: It is some other JSON, or none.
        UnsupportedFormatError: A newer layout.
        CorruptionError: Its checksum does not hold.
    """
    try:
        version = msgspec.json.decode(data, type=_AnyRoot).format
        if version > FORMAT_VERSION:
            raise UnsupportedFormatError(
                f"{where} has format version {version}, this StreamHouse reads {FORMAT_VERSION}; upgrade it"
            )
        root = msgspec.json.decode(data, type=Root)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotALogError(f"{where} is not the root of a StreamHouse log: {error}") from None
    if pack_root(root) != data:
        raise CorruptionError(f"{where}: fails its checksum")
    return root


class _AnyRoot(msgspec.Struct):
    format: int


def _compress(data: bytes) -> bytes:
    compressed: bytes = lz4.block.compress(data, store_size=False)
    return len(data).to_bytes(8, "little") + compressed


def _decode(data: Buffer, type_: type[T], where: str) -> T:
    size = int.from_bytes(data[:8], "little")
    if size > _RAW_BYTES_MAX:
        raise CorruptionError(f"{where}: claims {size} bytes")
    try:
        raw = lz4.block.decompress(memoryview(data)[8:], uncompressed_size=size)
        return msgspec.msgpack.decode(raw, type=type_)
    except (lz4.block.LZ4BlockError, msgspec.DecodeError) as error:
        raise UnsupportedFormatError(
            f"{where} holds something this StreamHouse does not know ({error}); upgrade it"
        ) from error
