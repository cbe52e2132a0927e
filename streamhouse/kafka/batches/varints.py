"""Zigzag varints of whole columns: one field of many records at once.

Positions past the end read the last byte over and over instead of raising: a record that reaches beyond its
end is found out by where its last field ends, which costs one comparison for all.

Most integers of a record take one byte or two, so there are short ways for these: of a batch of a hundred
records, each numpy call takes a hundredth of the time. Whether bytes are all below 128, ``isascii`` tells.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from streamhouse.kafka.batches.layout import INT32_VARINT_BYTES_MAX

Bytes: TypeAlias = npt.NDArray[np.uint8]
Integers: TypeAlias = npt.NDArray[np.int64]
Raw: TypeAlias = npt.NDArray[np.uint64]
"""Zigzag: twice the number, or for negative ones twice what it is below -1, plus one."""

_TWO_BYTES: Final = 1 << 14
_DECODED: Final = np.array([raw >> 1 ^ -(raw & 1) for raw in range(_TWO_BYTES)], np.int64)
# The first byte has 128 too much where there is a second one.
_SECOND: Final = np.arange(128, dtype=np.int64) * 128 - 128


class MalformedError(ValueError):
    """One of many records is malformed; the message does not know which."""


def read_varints(data: Bytes, at: Integers, bytes_max: int) -> tuple[Integers, Integers]:
    """The integers at some positions, and the positions after them.

    Args:
        data: What they lie in.
        at: Where each begins; not negative.
        bytes_max: How long one can be: 5 bytes for 32 bits, 10 for 64.

    Raises:
        MalformedError: One is longer, or has more bits.
    """
    first = data.take(at, mode="clip")
    after = at + 1
    if first.tobytes().isascii():
        return _DECODED.take(first), after
    second = data.take(after, mode="clip")
    long = first >> 7
    after += long
    numbers = _DECODED.take(_SECOND.take(second, mode="clip") * long + first, mode="clip")
    both = first & second
    if not both.tobytes().isascii():
        longer = np.flatnonzero(both > 127)
        numbers[longer], after[longer] = _read_long(data, at[longer], bytes_max)
    return numbers, after


def _read_long(data: Bytes, at: Integers, bytes_max: int) -> tuple[Integers, Integers]:
    """Of any width: byte by byte, those that go on."""
    raw = np.zeros(len(at), np.uint64)
    after = at.copy()
    rows = np.arange(len(at))
    for place in range(bytes_max):
        byte = data.take(after[rows], mode="clip").astype(np.uint64)
        raw[rows] |= (byte & np.uint64(127)) << np.uint64(7 * place)
        after[rows] += 1
        if place == bytes_max - 1:
            bits = 4 if bytes_max == INT32_VARINT_BYTES_MAX else 1  # that are left for the last byte
            if (byte >> np.uint64(bits)).any():
                raise MalformedError("an integer is larger than can be")
        rows = rows[byte > 127]
        if not rows.size:
            break
    return (raw >> np.uint64(1) ^ -(raw & np.uint64(1))).view(np.int64), after


def zigzag(numbers: Integers) -> Raw:
    """Numbers as they are written: small ones of either sign become small."""
    return (numbers << 1 ^ numbers >> 63).view(np.uint64)


def widths(raw: Raw) -> Integers:
    """How many bytes each is written with."""
    sizes = np.ones(len(raw), np.int64)
    most = int(raw.max(initial=0))
    bits = 7
    while most >> bits:
        sizes += raw >= np.uint64(1 << bits)
        bits += 7
    return sizes


def write_varints(out: Bytes, at: Integers, raw: Raw, sizes: Integers) -> None:
    """Write integers to positions.

    Args:
        out: What they are written to.
        at: Where each begins.
        raw: The integers.
        sizes: Their widths.
    """
    widest = int(sizes.max(initial=1))
    if widest <= 2:
        out[at] = raw | (sizes - 1 << 7).view(np.uint64)
        if widest == 2:
            (long,) = (sizes - 1).nonzero()
            out[at.take(long) + 1] = raw.take(long) >> np.uint64(7)
        return
    while at.size:
        more = raw > 127
        out[at] = raw & np.uint64(127) | more.astype(np.uint64) << np.uint64(7)
        rows = np.flatnonzero(more)
        at, raw = at[rows] + 1, raw[rows] >> np.uint64(7)
