"""Blocks put together and taken apart again, as compaction does, without a loop over records.

Joining blobs is ``join``. Offsets of the second block on must be raised by what lies before them, which
Python can do for a whole buffer at once: seen as one long integer, a buffer of numbers is raised by adding
``1, 1, 1, ...`` times the amount. No digit runs over into the next, since offsets stay below 2**31 and
deltas below 2**63.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import compress

from streamhouse.format.arrays import cut_array, join_arrays, join_offsets, pick_array, same_shape
from streamhouse.format.columns import (
    ArrowColumn,
    BinaryColumn,
    Columns,
    HeaderColumns,
    binary_column,
    header_columns,
    null_column,
)
from streamhouse.format.integers import (
    INT64_BYTES,
    OFFSET_BYTES,
    bitmap,
    int32s,
    int64_range,
    int64s,
    last_offset,
    raised,
    unpack_bitmap,
)
from streamhouse.format.lists import binary_list, header_list


def joinable(one: Columns, other: Columns) -> bool:
    """Whether two blocks can be joined: values of both are bytes, or structs of the same fields."""
    mine, theirs = one.value, other.value
    if isinstance(mine, ArrowColumn) and isinstance(theirs, ArrowColumn):
        return same_shape(mine, theirs)
    return isinstance(mine, BinaryColumn) and isinstance(theirs, BinaryColumn)


def join_columns(parts: Sequence[tuple[int, Columns]]) -> Columns:
    """One block out of several.

    Args:
        parts: At least one, in order of offset, all of them joinable: the base offset of a block, and its
            records.

    Returns:
        The records of all. Their deltas count from the first base offset.
    """
    blocks = [columns for _, columns in parts]
    return Columns(
        count=sum([block.count for block in blocks]),
        timestamps=b"".join([block.timestamps for block in blocks]),
        timestamp_min=min([block.timestamp_min for block in blocks]),
        timestamp_max=max([block.timestamp_max for block in blocks]),
        key=_join_binary([(block.count, block.key) for block in blocks]),
        value=_join_values(blocks),
        headers=_join_headers(blocks),
        deltas=_join_deltas(parts),
    )


def cut_columns(columns: Columns, start: int, stop: int) -> Columns:
    """The records at the places ``start`` to ``stop``; there is at least one.

    Their deltas count from the first of them. What can be said in two ways, such as that nothing is null, is
    said in the shorter one, so that equal records make equal columns.
    """
    window = slice(start * INT64_BYTES, stop * INT64_BYTES)
    timestamps = columns.timestamps[window]
    if columns.timestamp_min == columns.timestamp_max:
        low = high = columns.timestamp_min
    else:
        low, high = min(int64s(timestamps)), max(int64s(timestamps))
    return Columns(
        count=stop - start,
        timestamps=timestamps,
        timestamp_min=low,
        timestamp_max=high,
        key=_cut_binary(columns.key, start, stop),
        value=_cut_value(columns.value, start, stop),
        headers=None if columns.headers is None else _cut_headers(columns.headers, start, stop),
        deltas=None if columns.deltas is None else _cut_deltas(columns.deltas[window]),
    )


def pick_columns(base_offset: int, columns: Columns, flags: bytes) -> tuple[int, Columns]:
    """The records whose flag is 1, of one byte each, of which there is at least one.

    Args:
        base_offset: Of the block.
        columns: The block.
        flags: 0 or 1 per record.

    Returns:
        The offset of the first of them, from which their deltas count, and the records.
    """
    stamps = array("q", compress(int64s(columns.timestamps), flags))
    if columns.deltas is None:
        places = array("q", compress(range(columns.count), flags))
    else:
        places = array("q", compress(int64s(columns.deltas), flags))
    picked = Columns(
        count=len(stamps),
        timestamps=stamps.tobytes(),
        timestamp_min=min(stamps),
        timestamp_max=max(stamps),
        key=_pick_binary(columns.key, columns.count, flags),
        value=_pick_value(columns.value, columns.count, flags),
        headers=None if columns.headers is None else _pick_headers(columns, flags),
        deltas=_cut_deltas(places.tobytes()),
    )
    return base_offset + places[0], picked


def _join_values(blocks: Sequence[Columns]) -> BinaryColumn | ArrowColumn:
    values = [block.value for block in blocks]
    if isinstance(values[0], ArrowColumn):
        return join_arrays([value for value in values if isinstance(value, ArrowColumn)])
    return _join_binary(
        [(block.count, block.value) for block in blocks if isinstance(block.value, BinaryColumn)]
    )


def _cut_value(value: BinaryColumn | ArrowColumn, start: int, stop: int) -> BinaryColumn | ArrowColumn:
    if isinstance(value, ArrowColumn):
        return cut_array(value, start, stop)
    return _cut_binary(value, start, stop)


def _pick_value(value: BinaryColumn | ArrowColumn, count: int, flags: bytes) -> BinaryColumn | ArrowColumn:
    return pick_array(value, flags) if isinstance(value, ArrowColumn) else _pick_binary(value, count, flags)


def _pick_binary(column: BinaryColumn, count: int, flags: bytes) -> BinaryColumn:
    return binary_column(list(compress(binary_list(column, 0, count), flags)))


def _pick_headers(columns: Columns, flags: bytes) -> HeaderColumns | None:
    assert columns.headers is not None
    return header_columns(list(compress(header_list(columns.headers, 0, columns.count), flags)))


def _join_binary(parts: Sequence[tuple[int, BinaryColumn]]) -> BinaryColumn:
    if len(parts) == 1:
        return parts[0][1]
    data = b"".join([column.data for _, column in parts])
    if not data and all(_all_null(column) for _, column in parts):
        return null_column(sum([count for count, _ in parts]))
    validity = None
    if any(column.validity is not None for _, column in parts):
        validity = bitmap(b"".join([_flags(column, count) for count, column in parts]))
    return BinaryColumn(validity, join_offsets([column.offsets for _, column in parts]), data)


def _join_headers(blocks: Sequence[Columns]) -> HeaderColumns | None:
    if all(block.headers is None for block in blocks):
        return None
    offsets = []
    names: list[tuple[int, BinaryColumn]] = []
    values: list[tuple[int, BinaryColumn]] = []
    for block in blocks:
        if block.headers is None:
            offsets.append(bytes(OFFSET_BYTES * (block.count + 1)))
            continue
        offsets.append(block.headers.offsets)
        entries = last_offset(block.headers.offsets)
        names.append((entries, block.headers.names))
        values.append((entries, block.headers.values))
    return HeaderColumns(join_offsets(offsets), _join_binary(names), _join_binary(values))


def _join_deltas(parts: Sequence[tuple[int, Columns]]) -> bytes | None:
    first = parts[0][0]
    expected = first
    for base, columns in parts:
        if columns.deltas is not None or base != expected:
            break
        expected = base + columns.count
    else:
        return None
    return b"".join([_deltas_from(first, base, columns) for base, columns in parts])


def _deltas_from(first: int, base: int, columns: Columns) -> bytes:
    if columns.deltas is None:
        return int64_range(base - first, base - first + columns.count)
    return raised(columns.deltas, base - first, INT64_BYTES)


def _cut_binary(column: BinaryColumn, start: int, stop: int) -> BinaryColumn:
    window = column.offsets[start * OFFSET_BYTES : (stop + 1) * OFFSET_BYTES]
    ends = int32s(window)
    first, last = ends[0], ends[-1]
    validity = None
    if column.validity is not None:
        flags = unpack_bitmap(column.validity, start, stop)
        validity = bitmap(flags) if 0 in flags else None
    return BinaryColumn(validity, raised(window, -first, OFFSET_BYTES), column.data[first:last])


def _cut_headers(headers: HeaderColumns, start: int, stop: int) -> HeaderColumns | None:
    window = headers.offsets[start * OFFSET_BYTES : (stop + 1) * OFFSET_BYTES]
    ends = int32s(window)
    first, last = ends[0], ends[-1]
    if first == last:
        return None
    return HeaderColumns(
        raised(window, -first, OFFSET_BYTES),
        _cut_binary(headers.names, first, last),
        _cut_binary(headers.values, first, last),
    )


def _cut_deltas(deltas: bytes) -> bytes | None:
    numbers = int64s(deltas)
    first, last = numbers[0], numbers[-1]
    if last - first == len(numbers) - 1:
        return None
    return raised(deltas, -first, INT64_BYTES)


def _all_null(column: BinaryColumn) -> bool:
    return column.validity is not None and column.validity.count(0) == len(column.validity)


def _flags(column: BinaryColumn, count: int) -> bytes:
    return b"\1" * count if column.validity is None else unpack_bitmap(column.validity, 0, count)
