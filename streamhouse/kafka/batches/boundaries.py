"""Where records begin.

Each says where the next one does, so they must be walked through one by one: the only loop over records that
is left, hence written to take 80 ns a record.

Records of one size, which many producers send, are not walked through: if the same length stands at every
``size`` bytes, the records are there.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import repeat
from typing import Any, Final

import numpy as np

from streamhouse.kafka.batches.few import read_int32
from streamhouse.kafka.batches.varints import Bytes, Integers

_WALK: Final = 1_024  # records after which equal sizes are looked for again
_RUN_MIN: Final = 32
_TRIED: Final = 4


def record_starts(body: bytes, data: Bytes, position: int, count: int) -> Integers | None:
    """The positions of some records, and of the end of the last.

    Args:
        body: The records.
        data: The same.
        position: Where the first one begins.
        count: How many to find; at least one.

    Returns:
        ``count + 1`` positions. ``None``: they do not lie in there.
    """
    pieces = [np.array([position], np.int64)]
    try:
        while count:
            piece = _equal_sizes(body, data, position, count)
            if piece is None:
                piece = _walk(body, position, min(count, _WALK))
            pieces.append(piece)
            count -= len(piece)
            position = int(piece[-1])
    except (IndexError, ValueError):
        return None
    return np.concatenate(pieces) if position <= len(body) else None


def _equal_sizes(body: bytes, data: Bytes, position: int, count: int) -> Integers | None:
    """Where records end that are of one size, if a good many are."""
    low, high = body[position], body[position + 1]
    size = _sizes()[low][high]
    if size is None:
        return None
    most = min(count, (len(body) - position) // size)
    if most < _RUN_MIN or any(body[position + size * ahead] != low for ahead in range(1, _TRIED)):
        return None
    stop = position + size * most
    same = (data[position:stop:size] == low) & (data[position + 1 : stop : size] == high)
    alike = int(same.argmin()) or most
    return position + size * np.arange(1, alike + 1) if alike >= _RUN_MIN else None


def _walk(body: bytes, position: int, count: int) -> Integers:
    sizes, start = _sizes(), position
    try:
        ends = [position := position + sizes[body[position]][body[position + 1]] for _ in repeat(None, count)]
    except TypeError:
        ends, position = [], start
        for _ in repeat(None, count):
            length, position = read_int32(body, position)
            position += length
            ends.append(position)
    return np.fromiter(ends, np.int64, count)


@lru_cache(maxsize=1)
def _sizes() -> list[list[Any]]:
    """Bytes of a record, by its first and its second byte; ``None``: its length has more than two."""
    short = [[low // 2 + 1] * 256 for low in range(128)]
    none: list[Any] = [None] * 128
    return short + [[low // 2 + (high << 6) + 2 for high in range(128)] + none for low in range(128)]
