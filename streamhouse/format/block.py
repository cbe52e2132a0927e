"""A block: the columns of some records of one partition, compressed, checked and self-describing.

::

    0   4  magic "SHBL"
    4   4  crc32 of everything after it, the lengths and the header included
    8   2  version of this layout: 1, or 2 when values are typed
    10  2  reserved, 0
    12  4  bytes in the header
    16  8  bytes in the whole block
    24     header: msgpack, see BlockHeader
           version 2: crc32 of bytes 8 up to here
           the buffers of all columns, one after the other, in the order of the header

The header lists columns by name and Arrow type, and for each buffer how it is packed, its stored
and its raw size. A reader takes the columns it knows by name and steps over the others; a packing it
does not know, in a column it needs, it refuses.

Where values are typed, ``value`` is a struct. The columns of its fields follow it, each with its own fields
after it, named by their path. Such a block may be large while a query wants one field of twenty. So
its header and each of its columns have a checksum of their own, and can be read without the rest
(:mod:`streamhouse.format.partial`).

The lengths lie under the checksum too. Without that a flipped bit in a length would make a reader
allocate or read nonsense before it noticed. For the same reason raw sizes are bounded *before*
anything is allocated: a few stored bytes must not ask for gigabytes.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from streamhouse.errors import CorruptionError
from streamhouse.format import codecs
from streamhouse.format.blockheader import BlockHeader, checked_header, pack_front
from streamhouse.format.columns import ArrowColumn, Buffer, Columns
from streamhouse.format.packing import Packer
from streamhouse.format.unpacking import ALL, BLOCK_RAW_BYTES_MAX, BLOCK_RECORDS_MAX, Piece, unpack_columns

__all__ = ["BLOCK_RAW_BYTES_MAX", "BLOCK_RECORDS_MAX", "EncodedBlock", "decode_block", "encode_block"]


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
    listed = Packer(packed).columns(columns, packed_keys, packed_values)
    header = BlockHeader(columns.count, columns.timestamp_min, columns.timestamp_max, listed)
    front = pack_front(header, packed, typed=isinstance(columns.value, ArrowColumn))
    return EncodedBlock(
        buffers=(front.data, *packed),
        size=front.size,
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
            others are left empty. ``value.<name>`` is one field of a typed value. All by default.

    Raises:
        CorruptionError: The bytes are not what was written.
        UnsupportedFormatError: They are, but by a newer StreamHouse.
    """
    view = memoryview(data).cast("B")
    header, position = checked_header(view, where)
    pieces: list[Piece] = []
    for column in header.columns:
        buffers = []
        for buffer in column.buffers:
            buffers.append(view[position : position + buffer.stored])
            position += buffer.stored
        pieces.append(Piece(column, buffers))
    if position != len(view):
        raise CorruptionError(f"{where}: the buffers end at byte {position} of {len(view)}")
    return unpack_columns(header, pieces, where, ALL if only is None else only)
