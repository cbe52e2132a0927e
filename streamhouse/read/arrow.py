"""Blocks as Arrow arrays, by wrapping their buffers. Imported on first use: nanoarrow costs 30 ms.

Windows are expressed as the ``offset`` of each column, which every Arrow reader honours (an offset on the
struct around them is overlooked by some). Contents are validated in full, which costs
nanoseconds per record: Arrow readers are native code that trusts the offsets it is given. Lists cannot
be validated as such; their offsets are tried on bytes of as many entries.
"""

from __future__ import annotations

from array import array
from itertools import repeat
from operator import add
from typing import Any, Final

import nanoarrow as na
from nanoarrow.c_array_stream import CArrayStream

from streamhouse.format.columns import BinaryColumn, Columns, HeaderColumns
from streamhouse.format.integers import (
    OFFSET_BYTES,
    int64_range,
    int64s,
    stride_offsets,
)

# Made once: building a schema costs more than wrapping a column.
_TEXT: Final = na.c_schema(na.string())
_BYTES: Final = na.c_schema(na.binary())
_INT32: Final = na.c_schema(na.int32())
_INT64: Final = na.c_schema(na.int64())
_TIME: Final = na.c_schema(na.timestamp("ms", "UTC"))
_HEADER: Final = na.c_schema(na.struct({"name": _TEXT, "value": _BYTES}))
_HEADERS: Final = na.c_schema(na.list_(_HEADER))

BATCH_SCHEMA: Final = na.c_schema(
    na.struct(
        {
            "topic": _TEXT,
            "partition": _INT32,
            "offset": _INT64,
            "timestamp": _TIME,
            "key": _BYTES,
            "value": _BYTES,
            "headers": _HEADERS,
        }
    )
)


def batch_array(topic: str, partition: int, base_offset: int, columns: Columns, start: int, stop: int) -> Any:
    """The records ``start`` to ``stop`` of a block as one struct array."""
    count = stop - start
    name = topic.encode()
    children = [
        _array(_TEXT, count, [None, stride_offsets(len(name), count), name * count]),
        _array(_INT32, count, [None, partition.to_bytes(4, "little") * count]),
        _array(_INT64, count, [None, _offsets(base_offset, columns, start, stop)]),
        _array(_TIME, count, [None, columns.timestamps], start),
        _binary(_BYTES, columns.key, count, start),
        _binary(_BYTES, columns.value, count, start),
        _headers(columns.headers, count, start),
    ]
    return _array(BATCH_SCHEMA, count, [None], children=children)


def stream(arrays: list[Any]) -> Any:
    """Struct arrays as one stream."""
    return CArrayStream.from_c_arrays(arrays, BATCH_SCHEMA, move=False)


def _offsets(base_offset: int, columns: Columns, start: int, stop: int) -> bytes:
    if columns.deltas is None:
        return int64_range(base_offset + start, base_offset + stop)
    deltas = int64s(columns.deltas)[start:stop]
    return array("q", map(add, deltas, repeat(base_offset))).tobytes()


def _headers(headers: HeaderColumns | None, count: int, start: int) -> Any:
    if headers is None:
        none = BinaryColumn(None, bytes(OFFSET_BYTES), b"")
        headers, start = HeaderColumns(bytes(OFFSET_BYTES * (count + 1)), none, none), 0
    entries = len(headers.names.offsets) // OFFSET_BYTES - 1
    _array(_BYTES, count, [None, headers.offsets, bytes(entries)], start)
    names = _binary(_TEXT, headers.names, entries)
    values = _binary(_BYTES, headers.values, entries)
    pairs = _array(_HEADER, entries, [None], children=[names, values])
    return _array(_HEADERS, count, [None, headers.offsets], start, children=[pairs])


def _binary(kind: Any, column: BinaryColumn, count: int, start: int = 0) -> Any:
    return _array(kind, count, [column.validity, column.offsets, column.data], start)


def _array(kind: Any, count: int, buffers: list[bytes | None], start: int = 0, children: Any = ()) -> Any:
    return na.c_array_from_buffers(
        kind,
        count,
        buffers,
        offset=start,
        children=children,
        validation_level="none" if children else "full",  # nanoarrow cannot look into children
        move=True,
    )
