"""Requests that are not quite right."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

from tests.kafka.batches.naive import resealed

_NUMBERS = (-(2**31), -2, -1, 0, 1, 127, 128, 255, 32_767, 65_536, 2**24, 2**31 - 1)
_VERSIONS = (-1, 0, 1, 2, 3, 4, 5, 7, 9, 11, 12, 13, 99, 32_767)
_BATCH_MAGIC_PLACE = 16
_ALL = range(10)
_GENTLE = (0, 1, 1, 9)


def mutated(dice: random.Random, corpus: Sequence[bytes]) -> bytes:
    """A frame of the corpus, damaged once or several times; without its size."""
    out = bytearray(dice.choice(corpus))
    gently = dice.random() < 0.5  # most of the others are no requests any more
    for _ in range(1 if gently else dice.choice((1, 1, 2, 3, 6))):
        _damage(dice, out, corpus, _GENTLE if gently else _ALL)
    if dice.random() < 0.3:
        _reseal(out)
    return bytes(out)


def packed(dice: random.Random, frame: bytes) -> bytes:
    """A frame with its size in front, which may be wrong as well."""
    size = len(frame)
    if dice.random() < 0.02:
        size = dice.choice((*_NUMBERS, size - 1, size + 1, size + 1_000))
    return struct.pack(">i", max(-(2**31), min(2**31 - 1, size))) + frame


def _damage(dice: random.Random, out: bytearray, corpus: Sequence[bytes], ways: Sequence[int]) -> None:
    place = dice.randrange(min(4, len(out)), len(out)) if len(out) > 4 else 0
    match dice.choice(ways):
        case 0:
            if out:
                out[place] ^= 1 << dice.randrange(8)
        case 1:
            out[place : place + 1] = dice.randbytes(1)
        case 2:
            del out[place:]
        case 3:
            del out[place : place + dice.randrange(1, 20)]
        case 4:
            out[place:place] = dice.randbytes(dice.randrange(1, 20))
        case 5:
            out[place : place + 4] = (dice.choice(_NUMBERS) % 2**32).to_bytes(4, "big")
        case 6:
            out[place : place + 2] = (dice.choice(_NUMBERS) % 2**16).to_bytes(2, "big")
        case 7:
            out[place : place + 1] = _varint(dice.choice(_NUMBERS) % 2**35)
        case 8:
            other = dice.choice(corpus)
            start = dice.randrange(len(other))
            out[place : place + dice.choice((0, 8))] = other[start : start + dice.randrange(60)]
        case 9:
            out[2:4] = (dice.choice(_VERSIONS) % 2**16).to_bytes(2, "big")


def _reseal(out: bytearray) -> None:
    """Let the checksum of a batch in it fit again, so that what is behind it is looked at."""
    start = out.find(b"\0\0\0\0\0\0\0\0")
    if start < 0 or len(out) < start + 61 or out[start + _BATCH_MAGIC_PLACE] != 2:
        return
    length = int.from_bytes(out[start + 8 : start + 12], "big") + 12
    batch = bytes(out[start : start + length])
    if len(batch) == length:
        out[start : start + length] = resealed(batch)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))
