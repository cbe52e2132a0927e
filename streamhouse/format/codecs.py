"""How a single buffer of a block is packed. The numbers are stored: never reuse one.

=== ======== ======================================================================================
 0  none     as it is
 1  lz4      one LZ4 block, no size in front
 2  stride   offsets of values that are all equally long: only the length is kept (16-byte keys)
 3  planes   integers whose upper bytes are all equal: those once, the others split into planes
 4  lz4      the same, the planes compressed
    planes
=== ======== ======================================================================================

Offsets and timestamps hardly compress as they lie, since neighbours differ in their lowest byte.
Cut into planes (all lowest bytes, then all second bytes, ...) the upper planes are runs. Slices
with a step do that at memory speed; deltas would need a sum over Python integers on every read.
Codec 3 with no plane left over is a constant: a batch sent in one millisecond stores one timestamp.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import lz4.block

from streamhouse.format import lz4blocks
from streamhouse.format.columns import Buffer
from streamhouse.format.integers import OFFSET_BYTES, stride_offsets

Packed: TypeAlias = tuple[int, bytes, Buffer]
"""Codec, its parameters, the stored bytes."""

NONE: Final = 0
LZ4: Final = 1
STRIDE: Final = 2
PLANES: Final = 3
LZ4_PLANES: Final = 4

_LZ4_INPUT_BYTES_MIN: Final = 32  # below, the result is never smaller
_LZ4_RATIO_MAX: Final = 255  # one more byte of a length adds at most 255 bytes of output
_ITEMS_MIN: Final = 8  # below, parameters cost as much as the plain integers


class UnknownCodecError(ValueError):
    """A codec number of a later version."""


def pack_bytes(raw: Buffer) -> Packed:
    """LZ4, unless that does not make it smaller."""
    if len(raw) >= _LZ4_INPUT_BYTES_MIN:
        packed = lz4.block.compress(raw, store_size=False)
        if len(packed) < len(raw):
            return LZ4, b"", packed
    return NONE, b"", raw


def pack_integers(raw: Buffer, width: int, low: int, high: int) -> Packed:
    """Little-endian integers of ``width`` bytes that all lie between ``low`` and ``high``."""
    if len(raw) < _ITEMS_MIN * width:
        return NONE, b"", raw
    differing = (low ^ high).bit_length() if (low < 0) == (high < 0) else 8 * width
    planes = (differing + 7) // 8
    params = bytes((planes,)) + bytes(raw[:width])
    stored = b"".join([bytes(raw[index::width]) for index in range(planes)])
    codec, _, packed = pack_bytes(stored)
    return (LZ4_PLANES if codec == LZ4 else PLANES), params, packed


def pack_offsets(raw: Buffer) -> Packed:
    """int32 offsets that begin with 0 and never fall."""
    count = len(raw) // OFFSET_BYTES - 1
    last = int.from_bytes(raw[-OFFSET_BYTES:], "little")
    if count >= _ITEMS_MIN and last % count == 0 and raw == stride_offsets(last // count, count):
        return STRIDE, (last // count).to_bytes(OFFSET_BYTES, "little"), b""
    return pack_integers(raw, OFFSET_BYTES, 0, last)


def unpack(codec: int, params: bytes, stored: Buffer, raw_bytes: int) -> bytes:
    """Exactly ``raw_bytes`` bytes.

    Raises:
        UnknownCodecError: Written by a later version.
        ValueError: The stored bytes do not give what they should.
    """
    if codec == NONE:
        raw = bytes(stored)  # a copy: a view would keep the whole object alive in the cache
    elif codec == LZ4:
        raw = _decompress(stored, raw_bytes)
    elif codec == STRIDE:
        raw = _unpack_stride(params, stored, raw_bytes)
    elif codec in (PLANES, LZ4_PLANES):
        raw = _unpack_planes(params, stored, raw_bytes, compressed=codec == LZ4_PLANES)
    else:
        raise UnknownCodecError(f"a buffer is packed with the unknown codec {codec}")
    if len(raw) != raw_bytes:
        raise ValueError(f"a buffer unpacks to {len(raw)} bytes, not {raw_bytes}")
    return raw


def _decompress(stored: Buffer, raw_bytes: int) -> bytes:
    if raw_bytes > _LZ4_RATIO_MAX * len(stored):
        raise ValueError(f"{len(stored)} bytes of LZ4 cannot hold {raw_bytes}")
    return lz4blocks.decompress(stored, raw_bytes)


def _unpack_stride(params: bytes, stored: Buffer, raw_bytes: int) -> bytes:
    count = raw_bytes // OFFSET_BYTES - 1
    width = int.from_bytes(params, "little")
    if stored or len(params) != OFFSET_BYTES or count < 1 or width * count >= 1 << 31:
        raise ValueError(f"{count} offsets of stride {width} cannot be")
    return stride_offsets(width, count)


def _unpack_planes(params: bytes, stored: Buffer, raw_bytes: int, *, compressed: bool) -> bytes:
    width = len(params) - 1
    planes = params[0] if params else 0
    if width not in (4, 8) or planes > width or raw_bytes % width:
        raise ValueError(f"{planes} planes of integers of {width} bytes cannot be")
    items = raw_bytes // width
    low = _decompress(stored, planes * items) if compressed else stored
    if len(low) != planes * items:
        raise ValueError(f"{planes} planes of {items} items take {len(low)} bytes")
    if not planes:
        return params[1:] * items
    raw = bytearray(params[1:] * items)
    for index in range(planes):
        raw[index::width] = low[index * items : (index + 1) * items]
    return bytes(raw)
