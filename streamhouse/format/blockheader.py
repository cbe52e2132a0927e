"""What a block says of itself: the preamble, and the header with a list of its columns.

See ``block.py`` for how they lie.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import msgspec

from streamhouse.errors import CorruptionError, UnsupportedFormatError
from streamhouse.format.checksum import crc32
from streamhouse.format.columns import Bound, Buffer

TIMESTAMP: Final = "timestamp"
KEY: Final = "key"
VALUE: Final = "value"
DELTA: Final = "delta"
HEADERS: Final = "headers"
HEADER_NAME: Final = "headers.name"
HEADER_VALUE: Final = "headers.value"
FIELD: Final = f"{VALUE}."
"""In front of the names of the fields of a typed value."""

BINARY: Final = "z"
TEXT: Final = "u"
"""Of keys and values: each is known to be UTF-8, so that who reads them as text need not look."""
STRUCT: Final = "+s"

_MAGIC: Final = b"SHBL"
_UNTYPED: Final = 1
_TYPED: Final = 2
_PREAMBLE: Final = struct.Struct("<4sIHHIQ")
_CHECKED_FROM: Final = 8  # magic and checksum come before
_CHECKSUM_BYTES: Final = 4


class BufferHeader(msgspec.Struct, array_like=True, frozen=True):
    """How one buffer is stored. 0 raw bytes in the place of a bitmap mean that nothing is null."""

    codec: int
    stored: Annotated[int, msgspec.Meta(ge=0)]
    raw: Annotated[int, msgspec.Meta(ge=0)]
    params: bytes = b""


class UntypedHeader(msgspec.Struct, array_like=True, frozen=True):
    """A column: its name, its type as an Arrow format string, its buffers in Arrow's order."""

    name: str
    type: str
    buffers: list[BufferHeader]


class ColumnHeader(UntypedHeader, array_like=True, frozen=True):
    """A column of a block with typed values.

    Attributes:
        checksum: CRC-32 of its stored buffers.
        children: How many of the columns after it, each with those that belong to it, are its fields.
        bounds: Between which values its values lie, where that is known.
    """

    checksum: int = 0
    children: Annotated[int, msgspec.Meta(ge=0)] = 0
    bounds: tuple[Bound, Bound] | None = None

    @property
    def untyped(self) -> UntypedHeader:
        """As blocks without types have it."""
        return UntypedHeader(self.name, self.type, self.buffers)


class BlockHeader(msgspec.Struct, array_like=True, frozen=True):
    """What a block says of itself."""

    count: Annotated[int, msgspec.Meta(ge=1)]
    timestamp_min: int
    timestamp_max: int
    columns: list[ColumnHeader]


class Front(NamedTuple):
    """What comes before the buffers of a block."""

    data: bytes
    size: int


def pack_front(header: BlockHeader, buffers: Sequence[Buffer], *, typed: bool) -> Front:
    """Preamble and header of a block.

    Args:
        header: What it says of itself.
        buffers: The stored buffers of all columns, in order.
        typed: Whether its values are.

    Returns:
        The bytes before the buffers, and the size of the block.
    """
    columns = header.columns if typed else [column.untyped for column in header.columns]
    packed = _header_encoder.encode((header.count, header.timestamp_min, header.timestamp_max, columns))
    size = _PREAMBLE.size + len(packed) + sum(map(len, buffers)) + (_CHECKSUM_BYTES if typed else 0)
    version = _TYPED if typed else _UNTYPED
    front = _PREAMBLE.pack(_MAGIC, 0, version, 0, len(packed), size)[_CHECKED_FROM:] + packed
    if typed:
        front += crc32(front).to_bytes(_CHECKSUM_BYTES, "little")
    checksum = crc32(front)
    for buffer in buffers:
        checksum = crc32(buffer, checksum)
    return Front(b"".join((_MAGIC, checksum.to_bytes(_CHECKSUM_BYTES, "little"), front)), size)


def checked_header(view: memoryview, where: str) -> tuple[BlockHeader, int]:
    """The header of a whole block, after its checksum was found right, and where the buffers begin.

    Raises:
        CorruptionError: The bytes are not what was written.
        UnsupportedFormatError: They are, but by a newer StreamHouse.
    """
    if len(view) < _PREAMBLE.size:
        raise CorruptionError(f"{where}: {len(view)} bytes are too few for a block")
    magic, checksum, version, _, header_bytes, size = _PREAMBLE.unpack_from(view)
    if magic != _MAGIC:
        raise CorruptionError(f"{where}: no block begins here")
    if size != len(view):
        raise CorruptionError(f"{where}: the block is {len(view)} bytes long, it says {size}")
    if crc32(view[_CHECKED_FROM:]) != checksum:
        raise CorruptionError(f"{where}: the checksum of the block is wrong")
    _check_version(version, where)
    end = _PREAMBLE.size + header_bytes
    header = _decode_header(view[_PREAMBLE.size : end], where)
    return header, end + (_CHECKSUM_BYTES if version == _TYPED else 0)


def read_header(front: memoryview, where: str) -> tuple[BlockHeader, int] | int:
    """The header of a typed block out of its first bytes, checked, and where the buffers begin.

    Args:
        front: As many bytes as there are at hand.
        where: Object and position, for messages.

    Returns:
        How many bytes are needed, when those are too few; 0: the block is not typed.

    Raises:
        CorruptionError: The bytes are not what was written.
        UnsupportedFormatError: They are, but by a newer StreamHouse.
    """
    if len(front) < _PREAMBLE.size:
        return _PREAMBLE.size
    magic, _, version, _, header_bytes, size = _PREAMBLE.unpack_from(front)
    if magic != _MAGIC:
        raise CorruptionError(f"{where}: no block begins here")
    if version == _UNTYPED:
        return 0
    _check_version(version, where)
    end = _PREAMBLE.size + header_bytes
    if end + _CHECKSUM_BYTES > size:
        raise CorruptionError(f"{where}: a header of {header_bytes} bytes is longer than its block")
    if end + _CHECKSUM_BYTES > len(front):
        return int(end + _CHECKSUM_BYTES)
    checksum = int.from_bytes(front[end : end + _CHECKSUM_BYTES], "little")
    if crc32(front[_CHECKED_FROM:end]) != checksum:
        raise CorruptionError(f"{where}: the checksum of the block's header is wrong")
    return _decode_header(front[_PREAMBLE.size : end], where), end + _CHECKSUM_BYTES


def _check_version(version: int, where: str) -> None:
    if version > _TYPED:
        raise UnsupportedFormatError(
            f"{where}: block layout {version} is newer than {_TYPED}; upgrade StreamHouse"
        )


def _decode_header(data: memoryview, where: str) -> BlockHeader:
    try:
        return _header_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptionError(f"{where}: the header of the block is unreadable: {error}") from None


_header_encoder: Final = msgspec.msgpack.Encoder()
_header_decoder: Final = msgspec.msgpack.Decoder(BlockHeader)
