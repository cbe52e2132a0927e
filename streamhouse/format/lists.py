"""The way back: a window of a block's columns as lists, for those who want records one by one.

Everything here is ``map`` over C functions. The trick that makes it fast is ``BytesIO.read``:
called with one length after the other it cuts a blob at a third of the cost of slicing.
"""

from __future__ import annotations

import io
from itertools import islice, pairwise, repeat
from operator import sub
from typing import Final

from streamhouse.format.columns import BinaryColumn, Columns, HeaderColumns
from streamhouse.format.integers import (
    OFFSET_BYTES,
    int32s,
    int64s,
    stride_offsets,
    unpack_bitmap,
)
from streamhouse.records import Headers

_MAPPED_COUNT_MIN: Final = 8  # below, setting up costs more than it saves


def binary_list(column: BinaryColumn, start: int, stop: int) -> list[bytes | None]:
    """The entries ``start`` to ``stop`` of a column."""
    count = stop - start
    if column.validity is None:
        return _cut(column, start, stop)  # type: ignore[return-value]
    if not column.data and column.validity.count(0) == len(column.validity):
        return [None] * count
    flags = unpack_bitmap(column.validity, start, stop)
    pairs = zip(_cut(column, start, stop), flags, strict=True)
    return [value if valid else None for value, valid in pairs]


def timestamp_list(columns: Columns, start: int, stop: int) -> list[int]:
    """The timestamps ``start`` to ``stop``."""
    if columns.timestamp_min == columns.timestamp_max:
        return [columns.timestamp_min] * (stop - start)
    return int64s(columns.timestamps)[start:stop].tolist()


def header_list(headers: HeaderColumns, start: int, stop: int) -> list[Headers]:
    """The headers of the records ``start`` to ``stop``."""
    offsets = int32s(headers.offsets)[start : stop + 1]
    first, last = offsets[0], offsets[-1]
    names = map(str, _cut(headers.names, first, last), repeat("utf-8"))
    entries = zip(names, binary_list(headers.values, first, last), strict=True)
    return list(map(tuple, map(islice, repeat(entries), map(sub, offsets[1:], offsets))))


def _cut(column: BinaryColumn, start: int, stop: int) -> list[bytes]:
    count = stop - start
    offsets = int32s(column.offsets)[start : stop + 1]
    if count < _MAPPED_COUNT_MIN:
        return [column.data[begin:end] for begin, end in pairwise(offsets)]
    blob = io.BytesIO(column.data)
    blob.seek(offsets[0])
    width, uneven = divmod(offsets[-1] - offsets[0], count)
    if not uneven and offsets[0] == start * width:
        window = slice(start * OFFSET_BYTES, (stop + 1) * OFFSET_BYTES)
        if column.offsets[window] == stride_offsets(width, stop)[window]:
            return list(map(blob.read, repeat(width, count)))
    return list(map(blob.read, map(sub, offsets[1:], offsets)))
