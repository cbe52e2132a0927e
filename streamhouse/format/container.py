"""The one container format: a preamble, an index, then blocks.

Commits, lane objects, segments, snapshots, roll-ups and boundaries are all containers. The index is in
front, so that whoever wants only metadata fetches the first few kilobytes. All integers are
little-endian::

    offset  size  field
         0     4  magic "SHSE"
         4     1  format version
         5     1  kind of object
         6     2  zero
         8     4  length of the index
        12     4  CRC-32 of the index
        16     8  length of the body
        24     4  CRC-32 of the 24 bytes before
        28     -  index (msgpack), then body

The checksums cover every byte but the body's, whose blocks carry their own. A reader that holds the
whole object also checks its length, so that bytes lost or added at the end are noticed.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from streamhouse import limits
from streamhouse.errors import CorruptionError, UnsupportedFormatError
from streamhouse.format.checksum import crc32

Buffer = bytes | bytearray | memoryview

FORMAT_VERSION: Final = 1
_MAGIC: Final = b"SHSE"
_FIELDS: Final = struct.Struct("<4sBBHIIQ")
_CRC: Final = struct.Struct("<I")
PREAMBLE_BYTES: Final = _FIELDS.size + _CRC.size
FRONT_BYTES_GUESS: Final = 16 * limits.KIB  # a first read of this size holds most indexes


class Kind(enum.IntEnum):
    """What an object is; a container read under the wrong kind is corrupt."""

    COMMIT = 1
    LANE = 2
    SNAPSHOT = 3
    ROLLUP = 4
    BOUNDARY = 5
    SEGMENT = 6


class Front(msgspec.Struct, frozen=True):
    """The verified front of a container.

    Attributes:
        index: The encoded index.
        body_start: Position of the body in the object.
        body_length: Bytes in the body.
    """

    index: bytes
    body_start: int
    body_length: int

    @property
    def size(self) -> int:
        """Bytes in the whole object."""
        return self.body_start + self.body_length


class Truncated(Exception):  # noqa: N818 - not an error yet: a ranged reader asks for more
    """The bytes at hand end before the index does; ``needed`` bytes would hold it."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"{needed} bytes needed")
        self.needed = needed


def pack(kind: Kind, index: bytes, body: Sequence[Buffer] = ()) -> list[Buffer]:
    """The buffers that make up a container."""
    body_length = sum(map(len, body))
    fields = _FIELDS.pack(_MAGIC, FORMAT_VERSION, kind, 0, len(index), crc32(index), body_length)
    return [fields + _CRC.pack(crc32(fields)) + index, *body]


def unpack_front(data: Buffer, kind: Kind, where: str) -> Front:
    """Check and take apart the front of a container of which ``data`` is the beginning.

    Args:
        data: The first bytes of the object; more than the front is fine.
        kind: What the object must be.
        where: Name of the object, for messages.

    Raises:
        Truncated: ``data`` ends before the index does.
        CorruptionError: A checksum or field is wrong.
        UnsupportedFormatError: A newer format version.
    """
    if len(data) < PREAMBLE_BYTES:
        raise Truncated(PREAMBLE_BYTES)
    magic, version, found, zero, index_length, index_crc, body_length = _FIELDS.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _FIELDS.size)
    if magic != _MAGIC:
        raise CorruptionError(f"{where}: not a StreamHouse object (magic {bytes(magic)!r})")
    if crc != crc32(memoryview(data)[: _FIELDS.size]):
        raise CorruptionError(f"{where}: the preamble fails its checksum")
    if version != FORMAT_VERSION:
        raise UnsupportedFormatError(
            f"{where} has format version {version}, this StreamHouse reads {FORMAT_VERSION}; upgrade it"
        )
    if found != kind or zero != 0 or index_length > limits.INDEX_BYTES_MAX:
        raise CorruptionError(f"{where}: expected kind {kind.value} ({kind.name.lower()}), found {found}")
    body_start = PREAMBLE_BYTES + index_length
    if len(data) < body_start:
        raise Truncated(body_start)
    index = bytes(memoryview(data)[PREAMBLE_BYTES:body_start])
    if crc32(index) != index_crc:
        raise CorruptionError(f"{where}: the index fails its checksum")
    return Front(index=index, body_start=body_start, body_length=body_length)


def unpack(data: Buffer, kind: Kind, where: str) -> Front:
    """Like :func:`unpack_front` for a whole object, whose length is checked too."""
    try:
        front = unpack_front(data, kind, where)
    except Truncated as short:
        raise CorruptionError(
            f"{where}: cut off after {len(data)} bytes, at least {short.needed} were written"
        ) from None
    if len(data) != front.size:
        raise CorruptionError(f"{where}: {len(data)} bytes found, {front.size} were written")
    return front
