"""Buffers of integers and bits, made and read without a Python loop per item.

Buffers lie in memory as Arrow wants them, little-endian, and are stored like that. Offsets counting
up are built out of byte planes: filling an array from ``range`` would cost more per block than
decompressing it.
"""

from __future__ import annotations

import sys
from array import array
from functools import lru_cache
from typing import Final

OFFSET_BYTES: Final = 4
INT64_BYTES: Final = 8

# On a big-endian machine buffers would be stored reversed.
assert sys.byteorder == "little", "StreamHouse needs a little-endian machine"
assert array("i").itemsize == OFFSET_BYTES
assert array("q").itemsize == INT64_BYTES


def int32s(buffer: bytes) -> memoryview:
    """The buffer as a sequence of int32, without a copy."""
    return memoryview(buffer).cast("i")


def int64s(buffer: bytes) -> memoryview:
    """The buffer as a sequence of int64, without a copy."""
    return memoryview(buffer).cast("q")


def int64_range(start: int, stop: int) -> bytes:
    """``start, start + 1, ... stop - 1`` as int64; for numbers that are not negative."""
    pieces = []
    while start < stop:
        page, low = divmod(start, _PAGE_ITEMS)
        high = min(_PAGE_ITEMS, low + stop - start)
        piece = bytearray((page * _PAGE_ITEMS).to_bytes(INT64_BYTES, "little") * (high - low))
        piece[0::INT64_BYTES] = _LOW_BYTES[low:high]
        piece[1::INT64_BYTES] = _SECOND_BYTES[low:high]
        pieces.append(piece)
        start += high - low
    return b"".join(pieces)


def stride_offsets(width: int, count: int) -> bytes:
    """``0, width, 2 * width, ... count * width`` as int32."""
    if width == 0:
        return bytes(OFFSET_BYTES * (count + 1))
    items = 1 << count.bit_length()
    if not _TABLE_ITEMS_MIN <= items <= _TABLE_ITEMS_MAX or items * width >= 1 << 31:
        return array("i", range(0, width * count + 1, width)).tobytes()
    return _stride_table(width, items)[: OFFSET_BYTES * (count + 1)]


def bitmap(flags: bytes) -> bytes:
    """Pack bytes of 0 and 1 into bits, least significant first."""
    digits = flags[::-1].translate(_DIGITS)  # base 2 puts the first flag last
    return int(digits or b"0", 2).to_bytes(bitmap_bytes(len(flags)), "little")


def unpack_bitmap(bits: bytes, start: int, stop: int) -> bytes:
    """The bits ``start`` to ``stop`` as bytes of 0 and 1; the reverse of :func:`bitmap`."""
    first = start // 8
    number = int.from_bytes(bits[first : bitmap_bytes(stop)], "little") >> (start - 8 * first)
    # The bit above the wanted ones keeps the leading zeros; it comes last and is cut off.
    width = stop - start
    digits = f"{number & ((1 << width) - 1) | 1 << width:b}"
    return digits[:0:-1].encode().translate(_FLAGS)


def bitmap_bytes(count: int) -> int:
    """Size of a bitmap for ``count`` entries."""
    return (count + 7) // 8


def raised(buffer: bytes, by: int, width: int) -> bytes:
    """Every number in the buffer plus ``by``; none of them is or becomes negative."""
    if not by:
        return buffer
    ones = int.from_bytes(_ONE[width] * (len(buffer) // width), "little")
    return (int.from_bytes(buffer, "little") + by * ones).to_bytes(len(buffer), "little")


def differences(offsets: bytes) -> memoryview:
    """By how much each int32 is more than the one before; none is less.

    As one subtraction of two large numbers: since no difference is negative, none borrows from the next.
    """
    number = int.from_bytes(offsets[OFFSET_BYTES:], "little") - int.from_bytes(
        offsets[:-OFFSET_BYTES], "little"
    )
    return int32s(number.to_bytes(len(offsets) - OFFSET_BYTES, "little"))


def last_offset(offsets: bytes) -> int:
    """The last of int32 offsets that are none negative."""
    return int.from_bytes(offsets[-OFFSET_BYTES:], "little")


_ONE: Final = {width: (1).to_bytes(width, "little") for width in (OFFSET_BYTES, INT64_BYTES)}

_PAGE_ITEMS: Final = 1 << 16
_LOW_BYTES: Final = bytes(range(256)) * 256
_SECOND_BYTES: Final = b"".join(bytes((high,)) * 256 for high in range(256))

_TABLE_ITEMS_MIN: Final = 16  # single records of any length would push out what is worth keeping
_TABLE_ITEMS_MAX: Final = 1 << 16

_DIGITS: Final = bytes.maketrans(b"\0\1", b"01")
_FLAGS: Final = bytes.maketrans(b"01", b"\0\1")


@lru_cache(maxsize=16)  # keys of one length come block after block
def _stride_table(width: int, items: int) -> bytes:
    return array("i", range(0, width * items, width)).tobytes()
