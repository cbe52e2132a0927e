"""Which records of a block are meant. Pure: numbers in, numbers out.

Offsets of a block that compaction has thinned out have gaps, so a record's place in the block is its
offset minus the base only while ``deltas`` is ``None``; otherwise it is found by bisection.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import compress, count

from streamhouse.format.columns import ArrowColumn, Columns
from streamhouse.format.integers import int32s, int64s


def window(columns: Columns, base_offset: int, start: int, until: int) -> tuple[int, int]:
    """Places of the records with offsets from ``start`` to ``until``, the latter excluded."""
    return place(columns, base_offset, start), place(columns, base_offset, until)


def place(columns: Columns, base_offset: int, offset: int) -> int:
    """Place of the first record at or after an offset; the number of records if there is none."""
    if columns.deltas is None:
        return min(max(offset - base_offset, 0), columns.count)
    return bisect_left(int64s(columns.deltas), offset - base_offset)


def offset_at(columns: Columns, base_offset: int, index: int) -> int:
    """Offset of the record at a place."""
    return base_offset + (index if columns.deltas is None else int64s(columns.deltas)[index])


def within_bytes(columns: Columns, start: int, stop: int, bytes_max: int) -> int:
    """A ``stop`` no later, so that neither keys nor values exceed a size; never less than one record.

    Typed values have no size of their own; they are taken to be as large as they are on average.
    """
    for column in (columns.key, columns.value):
        if isinstance(column, ArrowColumn):
            stop = min(stop, start + bytes_max * columns.count // max(1, column.nbytes))
            continue
        offsets = int32s(column.offsets)
        stop = min(stop, bisect_right(offsets, offsets[start] + bytes_max, start, stop + 1) - 1)
    return max(stop, start + 1)


def first_at_time(columns: Columns, start: int, timestamp_ms: int) -> int | None:
    """Place of the first record from ``start`` on with that timestamp or a later one.

    Timestamps need not rise, so this is a search, not a bisection.
    """
    if columns.timestamp_max < timestamp_ms:
        return None
    reached = map(timestamp_ms.__le__, int64s(columns.timestamps)[start:])
    return next(compress(count(start), reached), None)
