"""Blocks as Arrow arrays, by wrapping their buffers. Imported on first use: nanoarrow costs 30 ms.

Windows are expressed as the ``offset`` of each column, which every Arrow reader honours (an offset on the
struct around them is overlooked by some). Contents are validated in full, which costs
nanoseconds per record: Arrow readers are native code that trusts the offsets it is given. Lists cannot
be validated as such; their offsets are tried on bytes of as many entries.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from itertools import repeat
from operator import add
from typing import Any, Final

import nanoarrow as na
from nanoarrow.c_array_stream import CArrayStream

from streamhouse.format.columns import ArrowColumn, BinaryColumn, Columns, HeaderColumns
from streamhouse.format.integers import (
    OFFSET_BYTES,
    int64_range,
    int64s,
    stride_offsets,
)
from streamhouse.schema.arrow import arrow_array, arrow_type, struct_type
from streamhouse.schema.model import Schema

# Made once: building a schema costs more than wrapping a column.
TEXT: Final = na.c_schema(na.string())
BYTES: Final = na.c_schema(na.binary())
INT32: Final = na.c_schema(na.int32())
INT64: Final = na.c_schema(na.int64())
TIME: Final = na.c_schema(na.timestamp("ms", "UTC"))
_HEADER: Final = na.c_schema(na.struct({"name": TEXT, "value": BYTES}))
_TEXT_HEADER: Final = na.c_schema(na.struct({"name": TEXT, "value": TEXT}))
HEADERS: Final = na.c_schema(na.list_(_HEADER))
TEXT_HEADERS: Final = na.c_schema(na.list_(_TEXT_HEADER))


@lru_cache(maxsize=64)
def batch_schema(schema: Schema | None) -> Any:
    """The Arrow schema of a batch, of a typed topic or another one."""
    value = BYTES if schema is None else arrow_type(struct_type(schema.fields))
    columns = {
        "topic": TEXT,
        "partition": INT32,
        "offset": INT64,
        "timestamp": TIME,
        "key": BYTES,
        "value": value,
        "headers": HEADERS,
    }
    return na.c_schema(na.struct(columns))


def batch_array(
    topic: str,
    partition: int,
    base_offset: int,
    columns: Columns,
    start: int,
    stop: int,
    schema: Schema | None = None,
) -> Any:
    """The records ``start`` to ``stop`` of a block as one struct array."""
    count = stop - start
    name = topic.encode()
    value = columns.value
    if isinstance(value, ArrowColumn):
        assert schema is not None
        values = arrow_array(value, struct_type(schema.fields), start, stop)
    else:
        values = binary_array(BYTES, value, count, start)
    children = [
        array_of(TEXT, count, [None, stride_offsets(len(name), count), name * count]),
        array_of(INT32, count, [None, partition.to_bytes(4, "little") * count]),
        array_of(INT64, count, [None, offset_buffer(base_offset, columns, start, stop)]),
        array_of(TIME, count, [None, columns.timestamps], start),
        binary_array(BYTES, columns.key, count, start),
        values,
        headers_array(columns.headers, count, start),
    ]
    return array_of(batch_schema(schema), count, [None], children=children)


def stream(arrays: list[Any], schema: Schema | None = None) -> Any:
    """Struct arrays of batches as one stream."""
    return CArrayStream.from_c_arrays(arrays, batch_schema(schema), move=False)


def offset_buffer(base_offset: int, columns: Columns, start: int, stop: int) -> bytes:
    """The offsets of the records ``start`` to ``stop`` as int64."""
    if columns.deltas is None:
        return int64_range(base_offset + start, base_offset + stop)
    deltas = int64s(columns.deltas)[start:stop]
    return array("q", map(add, deltas, repeat(base_offset))).tobytes()


def headers_array(headers: HeaderColumns | None, count: int, start: int, *, text: bool = False) -> Any:
    """The headers of ``count`` records; with ``text``, whoever calls has made the values UTF-8."""
    if headers is None:
        none = BinaryColumn(None, bytes(OFFSET_BYTES), b"")
        headers, start = HeaderColumns(bytes(OFFSET_BYTES * (count + 1)), none, none), 0
    entries = len(headers.names.offsets) // OFFSET_BYTES - 1
    array_of(BYTES, count, [None, headers.offsets, bytes(entries)], start)
    names = binary_array(TEXT, headers.names, entries)
    values = binary_array(TEXT if text else BYTES, headers.values, entries)
    pairs = array_of(_TEXT_HEADER if text else _HEADER, entries, [None], children=[names, values])
    kind = TEXT_HEADERS if text else HEADERS
    return array_of(kind, count, [None, headers.offsets], start, children=[pairs])


def binary_array(kind: Any, column: BinaryColumn, count: int, start: int = 0) -> Any:
    """``count`` entries of a column from ``start`` on, as bytes or, where they are UTF-8, as text."""
    return array_of(kind, count, [column.validity, column.offsets, column.data], start)


def array_of(kind: Any, count: int, buffers: list[bytes | None], start: int = 0, children: Any = ()) -> Any:
    """An array out of its buffers, after these were found sound."""
    return na.c_array_from_buffers(
        kind,
        count,
        buffers,
        offset=start,
        children=children,
        validation_level="none" if children else "full",  # nanoarrow cannot look into children
        move=True,
    )
