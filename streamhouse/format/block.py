"""A block: the columns of some records of one partition, compressed, checked and self-describing.

::

    0   4  magic "SHBL"
    4   4  crc32 of everything after it, the lengths and the header included
    8   2  version of this layout
    10  2  reserved, 0
    12  4  bytes in the header
    16  8  bytes in the whole block
    24     header: msgpack, see BlockHeader
           the buffers of all columns, one after the other, in the order of the header

The header lists columns by name and Arrow type, and for each buffer how it is packed, its stored
and its raw size. A reader takes the columns it knows by name and steps over the others, so typed
value columns need no new version; a packing it does not know, in a column it needs, it refuses.

The lengths lie under the checksum too. Without that a flipped bit in a length would make a reader
allocate or read nonsense before it noticed. For the same reason raw sizes are bounded *before*
anything is allocated: a few stored bytes must not ask for gigabytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Sequence
from typing import Annotated, Final

import msgspec

from streamhouse.errors import CorruptionError, UnsupportedFormatError
from streamhouse.format import codecs
from streamhouse.format.columns import BinaryColumn, Buffer, Columns, HeaderColumns
from streamhouse.format.integers import INT64_BYTES, OFFSET_BYTES, bitmap_bytes, int64s

BLOCK_RECORDS_MAX: Final = 1 << 20  # bounds what a block of nothing but equal values expands to
BLOCK_RAW_BYTES_MAX: Final = (1 << 31) - 1  # buffers have 32-bit offsets

_MAGIC: Final = b"SHBL"
_VERSION: Final = 1
_PREAMBLE: Final = struct.Struct("<4sIHHIQ")
_CHECKED_FROM: Final = 8  # magic and checksum come before


class EncodedBlock(msgspec.Struct, frozen=True):
    """A block ready to be stored.

    Attributes:
        buffers: The stored bytes, in pieces, so that nobody copies them before the write.
        size: Their total.
        count: Number of records.
        raw_bytes: Keys, values and headers as the user sent them.
        timestamp_min: Smallest timestamp, milliseconds since 1970.
        timestamp_max: Largest timestamp.
        columns: What was encoded; a reader in the same process needs no decoding.
    """

    buffers: tuple[Buffer, ...]
    size: int
    count: int
    raw_bytes: int
    timestamp_min: int
    timestamp_max: int
    columns: Columns

    @property
    def data(self) -> bytes:
        """The stored bytes in one piece (a copy)."""
        return b"".join(self.buffers)


def encode_block(
    columns: Columns,
    packed_values: codecs.Packed | None = None,
    packed_keys: codecs.Packed | None = None,
) -> EncodedBlock:
    """Compress and frame columns.

    Args:
        columns: What to store.
        packed_values: ``codecs.pack_bytes(columns.value.data)``, by far the dearest part, when
            another thread did it beforehand.
        packed_keys: Likewise for ``columns.key.data``.

    Raises:
        ValueError: More than ``BLOCK_RECORDS_MAX`` records, or none.
    """
    if not 0 < columns.count <= BLOCK_RECORDS_MAX:
        raise ValueError(f"a block holds 1 to {BLOCK_RECORDS_MAX} records, not {columns.count}")
    packed: list[Buffer] = []
    header = _header_encoder.encode(
        BlockHeader(
            columns.count,
            columns.timestamp_min,
            columns.timestamp_max,
            _pack(columns, packed_keys, packed_values, packed),
        )
    )
    size = _PREAMBLE.size + len(header) + sum(map(len, packed))
    preamble = _PREAMBLE.pack(_MAGIC, 0, _VERSION, 0, len(header), size)[_CHECKED_FROM:]
    checksum = zlib.crc32(preamble)
    for buffer in (header, *packed):
        checksum = zlib.crc32(buffer, checksum)
    front = b"".join((_MAGIC, checksum.to_bytes(4, "little"), preamble, header))
    return EncodedBlock(
        buffers=(front, *packed),
        size=size,
        count=columns.count,
        raw_bytes=columns.payload_bytes,
        timestamp_min=columns.timestamp_min,
        timestamp_max=columns.timestamp_max,
        columns=columns,
    )


def decode_block(data: Buffer, where: str, only: Collection[str] | None = None) -> Columns:
    """Check and decompress a block. Every buffer of the result owns its memory.

    Args:
        data: Exactly the bytes of one block.
        where: Object and position, for messages.
        only: Which of ``timestamp``, ``key``, ``value`` and ``headers`` to decompress; the buffers of the
            others are left empty. All by default.

    Raises:
        CorruptionError: The bytes are not what was written.
        UnsupportedFormatError: They are, but by a newer StreamHouse.
    """
    view = memoryview(data).cast("B")
    header, position = _checked_header(view, where)
    if header.count > BLOCK_RECORDS_MAX:
        raise CorruptionError(f"{where}: a block of {header.count} records cannot be")
    found: dict[str, list[tuple[BufferHeader, memoryview]]] = {}
    raw_bytes = 0
    for column in header.columns:
        pieces = found.setdefault(column.name, [])
        for buffer in column.buffers:
            pieces.append((buffer, view[position : position + buffer.stored]))
            position += buffer.stored
            if column.name in _KNOWN:
                raw_bytes += buffer.raw
    if position != len(view):
        raise CorruptionError(f"{where}: the buffers end at byte {position} of {len(view)}")
    if raw_bytes > BLOCK_RAW_BYTES_MAX:
        raise CorruptionError(f"{where}: a block of {raw_bytes} bytes cannot be")
    try:
        return _Unpacker(found).columns(header, _ALL if only is None else only)
    except codecs.UnknownCodecError as error:
        raise UnsupportedFormatError(
            f"{where}: {error}; it was written by a newer StreamHouse, upgrade this one"
        ) from None
    except ValueError as error:
        raise CorruptionError(f"{where}: {error}") from None


class BufferHeader(msgspec.Struct, array_like=True, frozen=True):
    """How one buffer is stored. 0 raw bytes in the place of a bitmap mean that nothing is null."""

    codec: int
    stored: Annotated[int, msgspec.Meta(ge=0)]
    raw: Annotated[int, msgspec.Meta(ge=0)]
    params: bytes = b""


class ColumnHeader(msgspec.Struct, array_like=True, frozen=True):
    """A column: its name, its type as an Arrow format string, its buffers in Arrow's order."""

    name: str
    type: str
    buffers: list[BufferHeader]


class BlockHeader(msgspec.Struct, array_like=True, frozen=True):
    """What a block says of itself."""

    count: Annotated[int, msgspec.Meta(ge=1)]
    timestamp_min: int
    timestamp_max: int
    columns: list[ColumnHeader]


_header_encoder: Final = msgspec.msgpack.Encoder()
_header_decoder: Final = msgspec.msgpack.Decoder(BlockHeader)

_TIMESTAMP: Final = "timestamp"
_KEY: Final = "key"
_VALUE: Final = "value"
_DELTA: Final = "delta"
_HEADERS: Final = "headers"
_HEADER_NAME: Final = "headers.name"
_HEADER_VALUE: Final = "headers.value"
_ALL: Final = frozenset((_TIMESTAMP, _KEY, _VALUE, _HEADERS))
_LEFT_OUT: Final = BinaryColumn(None, b"", b"")
_KNOWN: Final = frozenset((_TIMESTAMP, _KEY, _VALUE, _DELTA, _HEADERS, _HEADER_NAME, _HEADER_VALUE))


def _checked_header(view: memoryview, where: str) -> tuple[BlockHeader, int]:
    """The header, after the checksum was found right, and where the buffers begin."""
    if len(view) < _PREAMBLE.size:
        raise CorruptionError(f"{where}: {len(view)} bytes are too few for a block")
    magic, checksum, version, _, header_bytes, size = _PREAMBLE.unpack_from(view)
    if magic != _MAGIC:
        raise CorruptionError(f"{where}: no block begins here")
    if size != len(view):
        raise CorruptionError(f"{where}: the block is {len(view)} bytes long, it says {size}")
    if zlib.crc32(view[_CHECKED_FROM:]) != checksum:
        raise CorruptionError(f"{where}: the checksum of the block is wrong")
    if version > _VERSION:
        raise UnsupportedFormatError(
            f"{where}: block layout {version} is newer than {_VERSION}; upgrade StreamHouse"
        )
    end = _PREAMBLE.size + header_bytes
    try:
        return _header_decoder.decode(view[_PREAMBLE.size : end]), end
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptionError(f"{where}: the header of the block is unreadable: {error}") from None


def _pack(
    columns: Columns,
    packed_keys: codecs.Packed | None,
    packed_values: codecs.Packed | None,
    out: list[Buffer],
) -> list[ColumnHeader]:
    """Append the packed buffers to ``out`` and say what they are."""

    def fixed(buffer: Buffer, width: int, low: int, high: int) -> BufferHeader:
        return store(len(buffer), codecs.pack_integers(buffer, width, low, high))

    def offsets(buffer: Buffer) -> BufferHeader:
        return store(len(buffer), codecs.pack_offsets(buffer))

    def plain(buffer: Buffer, packed: codecs.Packed | None = None) -> BufferHeader:
        return store(len(buffer), packed or codecs.pack_bytes(buffer))

    def store(raw: int, packed: codecs.Packed) -> BufferHeader:
        codec, params, stored = packed
        if stored:
            out.append(stored)
        return BufferHeader(codec, len(stored), raw, params)

    def binary(
        name: str, kind: str, column: BinaryColumn, packed: codecs.Packed | None = None
    ) -> ColumnHeader:
        validity = plain(column.validity or b"")
        buffers = [validity, offsets(column.offsets), plain(column.data, packed)]
        return ColumnHeader(name, kind, buffers)

    low, high = columns.timestamp_min, columns.timestamp_max
    packed = [
        ColumnHeader(_TIMESTAMP, "tsm:UTC", [fixed(columns.timestamps, INT64_BYTES, low, high)]),
        binary(_KEY, "z", columns.key, packed_keys),
        binary(_VALUE, "z", columns.value, packed_values),
    ]
    if columns.deltas is not None:
        last = int64s(columns.deltas)[-1]
        packed.append(ColumnHeader(_DELTA, "l", [fixed(columns.deltas, INT64_BYTES, 0, last)]))
    if columns.headers is not None:
        packed.append(ColumnHeader(_HEADERS, "+l", [offsets(columns.headers.offsets)]))
        packed.append(binary(_HEADER_NAME, "u", columns.headers.names))
        packed.append(binary(_HEADER_VALUE, "z", columns.headers.values))
    return packed


class _Unpacker:
    """Columns out of packed buffers. Raises ValueError for whatever does not fit together."""

    def __init__(self, found: dict[str, list[tuple[BufferHeader, memoryview]]]) -> None:
        self._found = found

    def columns(self, header: BlockHeader, only: Collection[str]) -> Columns:
        count = header.count
        return Columns(
            count=count,
            timestamps=self._fixed(_TIMESTAMP, INT64_BYTES * count) if _TIMESTAMP in only else b"",
            timestamp_min=header.timestamp_min,
            timestamp_max=header.timestamp_max,
            key=self._binary(_KEY, count) if _KEY in only else _LEFT_OUT,
            value=self._binary(_VALUE, count) if _VALUE in only else _LEFT_OUT,
            headers=self._headers(count) if _HEADERS in self._found and _HEADERS in only else None,
            deltas=self._fixed(_DELTA, INT64_BYTES * count) if _DELTA in self._found else None,
        )

    def _headers(self, count: int) -> HeaderColumns:
        offsets = self._fixed(_HEADERS, OFFSET_BYTES * (count + 1))
        entries = _last_offset(_HEADERS, offsets)
        names, values = self._binary(_HEADER_NAME, entries), self._binary(_HEADER_VALUE, entries)
        return HeaderColumns(offsets, names, values)

    def _binary(self, name: str, count: int) -> BinaryColumn:
        validity, offsets, data = self._buffers(name, 3)
        bits = _unpack(name, validity, bitmap_bytes(count)) if validity[0].raw else None
        positions = _unpack(name, offsets, OFFSET_BYTES * (count + 1))
        return BinaryColumn(bits, positions, _unpack(name, data, _last_offset(name, positions)))

    def _fixed(self, name: str, raw_bytes: int) -> bytes:
        return _unpack(name, self._buffers(name, 1)[0], raw_bytes)

    def _buffers(self, name: str, count: int) -> Sequence[tuple[BufferHeader, memoryview]]:
        buffers = self._found.get(name, ())
        if len(buffers) != count:
            raise ValueError(f"column {name!r} has {len(buffers)} buffers, not {count}")
        return buffers


def _unpack(name: str, packed: tuple[BufferHeader, memoryview], raw_bytes: int) -> bytes:
    header, stored = packed
    if header.raw != raw_bytes:
        raise ValueError(f"a buffer of column {name!r} has {header.raw} bytes, not {raw_bytes}")
    return codecs.unpack(header.codec, header.params, stored, raw_bytes)


def _last_offset(name: str, offsets: bytes) -> int:
    first = int.from_bytes(offsets[:OFFSET_BYTES], "little", signed=True)
    last = int.from_bytes(offsets[-OFFSET_BYTES:], "little", signed=True)
    if first != 0 or last < 0:
        raise ValueError(f"the offsets of column {name!r} run from {first} to {last}")
    return last
