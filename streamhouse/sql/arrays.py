"""Blocks as Arrow arrays of the columns that a query wants. Imported on first use, as nanoarrow is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress, repeat
from operator import ge, le
from typing import Any, Final

import nanoarrow as na

from streamhouse.format.arrays import cut_array, pick_array
from streamhouse.format.columns import (
    ArrowColumn,
    BinaryColumn,
    Columns,
    binary_column,
    columns_from_lists,
    null_column,
)
from streamhouse.format.integers import int64_range, int64s, stride_offsets
from streamhouse.format.lists import binary_list, header_list
from streamhouse.read.arrow import (
    BYTES,
    HEADERS,
    INT32,
    INT64,
    TEXT,
    TEXT_HEADERS,
    TIME,
    array_of,
    binary_array,
    headers_array,
    offset_buffer,
)
from streamhouse.read.window import offset_at, place
from streamhouse.schema.arrow import arrow_array, arrow_type
from streamhouse.schema.assemble import json_values
from streamhouse.schema.conform import conform, conform_field
from streamhouse.schema.model import Schema
from streamhouse.sql.fields import columns_of
from streamhouse.sql.intervals import Intervals
from streamhouse.sql.plan import COLUMNS, BlockScan
from streamhouse.sql.text import text_column, text_headers
from streamhouse.sql.times import shown_times

_RUNS_MAX: Final = 32  # an array costs some 50 us, copying a record 1 us
_ROWS_KNOWN_MAX: Final = 1 << 17  # in one array
_RUN: Final = re.compile(rb"\x01+")
_COMMON: Final = (TEXT, INT32, INT64, TIME)


@lru_cache(maxsize=256)
def schema_of(columns: tuple[str, ...], schema: Schema | None, *, raw: bool) -> Any:
    """The Arrow schema of some columns of a topic.

    Args:
        columns: Names out of ``plan.COLUMNS``, or of fields.
        schema: Of a typed topic.
        raw: Keys, values and header values as BLOB instead of text.
    """
    fields = columns_of(schema, COLUMNS)
    own = (BYTES, BYTES, HEADERS) if raw else (TEXT, TEXT, TEXT_HEADERS)
    types = dict(zip(COLUMNS, (*_COMMON, *own), strict=True))
    types |= {name: arrow_type(fields[name].type) for name in columns if name in fields}
    return na.c_schema(na.struct({name: types[name] for name in columns}))


class Wrapper:
    """Makes the arrays of one scan of a topic.

    Args:
        topic: Its name.
        columns: What the query wants, in its order.
        schema: Of a typed topic, whose values appear as JSON.
        raw: See :func:`schema_of`.
    """

    def __init__(self, topic: str, columns: Sequence[str], schema: Schema | None, *, raw: bool) -> None:
        self._fields = columns_of(schema, COLUMNS)
        self.schema = schema_of(tuple(columns), schema, raw=raw)
        self._topic = topic
        self._name = topic.encode()
        self._names = self._name
        self._columns = columns
        self._value_schema = schema
        self._raw = raw

    def unread(self, scans: Iterable[BlockScan]) -> Iterator[Any]:
        """The arrays of blocks that need not be read, as few as possible."""
        for partition, first, count in _joined(scans, apart="offset" in self._columns):
            children = [self._known(column, partition, first, count) for column in self._columns]
            yield self._struct(count, children)

    def read(self, scan: BlockScan, block: Columns) -> Iterator[Any]:
        """The arrays of a decoded block."""
        base = scan.ref.base_offset
        for first, last in scan.offsets:
            start, stop = place(block, base, first), place(block, base, last + 1)
            if scan.times.everything or _all_within(block, scan.times):
                yield from self._window(scan, block, start, stop)
            else:
                yield from self._in_time(scan, block, start, stop)

    def _in_time(self, scan: BlockScan, block: Columns, start: int, stop: int) -> Iterator[Any]:
        flags = _flags(block, start, stop, scan.times)
        runs = [(start + found.start(), start + found.end()) for found in _RUN.finditer(flags)]
        if len(runs) <= _RUNS_MAX:
            for begin, end in runs:
                yield from self._window(scan, block, begin, end)
        else:
            picked = _picked(scan, block, start, stop, flags)
            yield from self._window(scan, picked, 0, picked.count)

    def _window(self, scan: BlockScan, block: Columns, start: int, stop: int) -> Iterator[Any]:
        if start < stop:
            children = [self._child(column, scan, block, start, stop) for column in self._columns]
            yield self._struct(stop - start, children)

    def _child(self, column: str, scan: BlockScan, block: Columns, start: int, stop: int) -> Any:
        count = stop - start
        if column == "topic":
            return self._topics(count)
        if column == "partition":
            return _numbers(scan.partition, count)
        if column == "offset":
            return array_of(INT64, count, [None, offset_buffer(scan.ref.base_offset, block, start, stop)])
        if column == "timestamp":
            return array_of(TIME, count, [None, shown_times(block)], start)
        if column == "headers":
            headers = block.headers
            if headers is not None and not self._raw:
                headers = text_headers(headers)
            return headers_array(headers, count, start, text=not self._raw)
        value = block.key if column == "key" else block.value
        if column in self._fields:
            field = self._fields[column]
            assert isinstance(value, ArrowColumn)
            return arrow_array(conform_field(field, value, block.count), field.type, start, stop)
        if isinstance(value, ArrowColumn):
            return self._bytes(self._json(value, start, stop), 0, count)
        return self._bytes(value, start, stop)

    def _json(self, value: ArrowColumn, start: int, stop: int) -> BinaryColumn:
        schema = self._value_schema
        assert schema is not None
        return binary_column(json_values(schema, conform(schema, value), start, stop))

    def _bytes(self, column: BinaryColumn, start: int, stop: int) -> Any:
        if self._raw:
            return binary_array(BYTES, column, stop - start, start)
        text, begin = text_column(column, start, stop)
        return binary_array(TEXT, text, stop - start, begin)

    def _known(self, column: str, partition: int, first: int, count: int) -> Any:
        if column == "topic":
            return self._topics(count)
        if column == "partition":
            return _numbers(partition, count)
        return array_of(INT64, count, [None, int64_range(first, first + count)])

    def _topics(self, count: int) -> Any:
        wanted = len(self._name) * count
        if len(self._names) < wanted:
            self._names = self._name * count  # kept: most blocks have about the same number of records
        return array_of(TEXT, count, [None, stride_offsets(len(self._name), count), self._names[:wanted]])

    def _struct(self, count: int, children: list[Any]) -> Any:
        return array_of(self.schema, count, [None], children=children)


def _joined(scans: Iterable[BlockScan], *, apart: bool) -> Iterator[tuple[int, int, int]]:
    """What is known of blocks as runs: the partition, the first offset, and how many records.

    Args:
        scans: The blocks.
        apart: Whether offsets matter, so that a run ends where they have a gap.
    """
    partition = first = count = 0
    for scan in scans:
        for low, last in scan.offsets:
            whole = (low, last + 1) == (scan.ref.base_offset, scan.ref.next_offset)
            more = scan.ref.records if whole else last + 1 - low
            follows = scan.partition == partition and not (apart and low != first + count)
            if count and (not follows or count + more > _ROWS_KNOWN_MAX):
                yield partition, first, count
                count = 0
            if not count:
                partition, first = scan.partition, low
            count += more
    if count:
        yield partition, first, count


def _numbers(number: int, count: int) -> Any:
    return array_of(INT32, count, [None, number.to_bytes(4, "little") * count])


def _all_within(block: Columns, times: Intervals) -> bool:
    return times.covers(block.timestamp_min, block.timestamp_max)


def _flags(block: Columns, start: int, stop: int, times: Intervals) -> bytes:
    """A byte of 0 or 1 per record: whether its timestamp is one of those."""
    stamps = int64s(block.timestamps)[start:stop].tolist()
    total = 0
    for first, last in times.spans:
        late = bytes(map(ge, stamps, repeat(first)))
        early = bytes(map(le, stamps, repeat(last)))
        total |= int.from_bytes(late, "little") & int.from_bytes(early, "little")
    return total.to_bytes(stop - start, "little")


def _picked(scan: BlockScan, block: Columns, start: int, stop: int, flags: bytes) -> Columns:
    """The flagged records as columns of their own, with deltas that keep their offsets."""

    def pick(column: str, values: Any, missing: Any) -> list[Any]:
        return list(compress(values(), flags)) if column in scan.stored else [missing] * flags.count(1)

    base = scan.ref.base_offset
    places = list(compress(range(start, stop), flags))
    deltas = [offset_at(block, base, index) - base for index in places]
    headers = block.headers
    value = block.value if isinstance(block.value, BinaryColumn) else null_column(block.count)
    picked = columns_from_lists(
        pick("key", lambda: binary_list(block.key, start, stop), None),
        pick("value", lambda: binary_list(value, start, stop), None),
        list(compress(int64s(block.timestamps)[start:stop], flags)),
        None if headers is None else pick("headers", lambda: header_list(headers, start, stop), ()),
    )
    stored = b"".join(delta.to_bytes(8, "little") for delta in deltas)
    return Columns(
        picked.count,
        picked.timestamps,
        picked.timestamp_min,
        picked.timestamp_max,
        picked.key,
        _picked_value(block.value, start, stop, flags) or picked.value,
        picked.headers,
        stored,
    )


def _picked_value(
    value: BinaryColumn | ArrowColumn, start: int, stop: int, flags: bytes
) -> ArrowColumn | None:
    return pick_array(cut_array(value, start, stop), flags) if isinstance(value, ArrowColumn) else None
