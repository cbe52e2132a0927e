"""Typed columns as Arrow arrays, by wrapping their buffers. Imported on first use, as nanoarrow is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import nanoarrow as na

from streamhouse.format.arrays import layout_of
from streamhouse.format.columns import ArrowColumn
from streamhouse.format.integers import bitmap, unpack_bitmap
from streamhouse.schema.model import Field, Type


@lru_cache(maxsize=1024)
def arrow_type(type_: Type) -> Any:
    """The nanoarrow schema of a type."""
    inner = type_.fields
    if type_.kind == "decimal":
        made = na.decimal128(type_.precision, type_.scale)
    elif type_.kind == "list":
        made = na.list_(arrow_type(inner[0].type))
    elif type_.kind == "map":
        made = na.map_(arrow_type(inner[0].type), arrow_type(inner[1].type))
    elif type_.kind == "struct":
        made = na.struct({field.name: arrow_type(field.type) for field in inner})
    else:
        made = _TYPES[type_.kind]
    return na.c_schema(made)


def arrow_array(column: ArrowColumn, type_: Type, start: int, stop: int) -> Any:
    """The entries ``start`` to ``stop`` of a column as a nanoarrow array.

    Args:
        column: One that conforms to the type.
        type_: The type.
        start: First entry.
        stop: The entry after the last.
    """
    kind = arrow_type(type_)
    count = stop - start
    layout, _ = layout_of(column.type)
    if layout == "struct":
        children = [
            arrow_array(child, field.type, start, stop)
            for child, field in zip(column.children, type_.fields, strict=True)
        ]
        return _array(kind, count, [_cut(column.validity, start, stop)], 0, children)
    if layout == "list":
        offsets = column.buffers[0]
        entries = column.children[0]
        # Lists cannot be validated as such; their offsets are tried on bytes of as many entries.
        _array(_BYTES, column.count, [None, offsets, bytes(entries.count)], 0)
        inner = struct_type(type_.fields) if type_.kind == "map" else type_.fields[0].type
        child = arrow_array(entries, inner, 0, entries.count)
        return _array(kind, count, [column.validity, offsets], start, [child])
    if layout == "binary" and type_.kind != "json":
        return _array(kind, count, [column.validity, *column.buffers], start)
    if layout == "binary":
        _array(_TEXT, column.count, [column.validity, *column.buffers], 0)
    return _array(kind, count, [column.validity, *column.buffers], start)


def struct_type(fields: Sequence[Field]) -> Type:
    """A struct of these fields."""
    return Type("struct", fields=tuple(fields))


def _array(
    kind: Any, count: int, buffers: list[bytes | None], start: int, children: Sequence[Any] = ()
) -> Any:
    return na.c_array_from_buffers(
        kind,
        count,
        buffers,
        offset=start,
        children=children,
        validation_level="none" if children else "full",  # nanoarrow cannot look into children
        move=True,
    )


def _cut(validity: bytes | None, start: int, stop: int) -> bytes | None:
    if validity is None or not start:
        return validity
    return bitmap(unpack_bitmap(validity, start, stop))


_BYTES: Final = na.c_schema(na.binary())
_TEXT: Final = na.c_schema(na.string())
_TYPES: Final[Mapping[str, Any]] = {
    "boolean": na.bool_(),
    "tinyint": na.int8(),
    "smallint": na.int16(),
    "integer": na.int32(),
    "bigint": na.int64(),
    "utinyint": na.uint8(),
    "usmallint": na.uint16(),
    "uinteger": na.uint32(),
    "ubigint": na.uint64(),
    "float": na.float32(),
    "double": na.float64(),
    "varchar": na.string(),
    "blob": na.binary(),
    "date": na.date32(),
    "time": na.time64("us"),
    "timestamp_s": na.timestamp("s"),
    "timestamp_ms": na.timestamp("ms"),
    "timestamp": na.timestamp("us"),
    "timestamptz": na.timestamp("us", "UTC"),
    "uuid": na.extension_type(na.fixed_size_binary(16), "arrow.uuid", b""),
    "json": na.extension_type(na.string(), "arrow.json", b""),
}
