"""Arrow arrays that came from outside as columns of our own, and what has to hold for these."""

from __future__ import annotations

from typing import Any, Final

from streamhouse.errors import InvalidRecordError
from streamhouse.format.arrays import cut_array, layout_of
from streamhouse.format.columns import ArrowColumn
from streamhouse.format.integers import OFFSET_BYTES, bitmap, bitmap_bytes, last_offset, unpack_bitmap
from streamhouse.schema.model import Field, Type


def column_of(name: str, type_: Type, array: Any) -> ArrowColumn:
    """A nanoarrow array as a column of our own.

    Args:
        name: Of the column.
        type_: What DuckDB cast the array to.
        array: It may be cut out of a longer one.
    """
    length, offset = array.length, array.offset
    count = offset + length
    layout, width = layout_of(type_.arrow)
    first, *rest = [
        memoryview(buffer).cast("B") if memoryview(buffer) else b"" for buffer in array.view().buffers
    ]
    validity = _validity(bytes(first), count) if array.null_count and len(first) else None
    buffers: tuple[bytes, ...] = ()
    children: tuple[ArrowColumn, ...] = ()
    if layout == "bits":
        buffers = (_bits(array, bytes(rest[0]), count),)
    elif layout == "fixed":
        buffers = (bytes(rest[0][: width * count]),)
    elif layout == "struct":
        children = tuple(
            column_of(field.name, field.type, array.child(index)) for index, field in enumerate(type_.fields)
        )
    else:
        offsets = bytes(rest[0][: OFFSET_BYTES * (count + 1)]) or bytes(OFFSET_BYTES)
        buffers = (offsets,)
        if layout == "binary":
            buffers += (bytes(rest[1][: last_offset(offsets)]),)
        elif type_.kind == "list":
            item = type_.fields[0]
            children = (column_of(item.name, item.type, array.child(0)),)
        else:
            children = (column_of("entries", Type("struct", fields=type_.fields), array.child(0)),)
    column = ArrowColumn(name, type_.arrow, count, validity, buffers, children)
    return cut_array(column, offset, count) if offset else column


def _validity(buffer: bytes, count: int) -> bytes | None:
    flags = unpack_bitmap(buffer, 0, count)
    return bitmap(flags) if 0 in flags else None


def _bits(array: Any, buffer: bytes, count: int) -> bytes:
    if array.schema.format == "c":  # DuckDB has a byte for each
        return bitmap(buffer[:count].translate(_ONE_IF_ANY))
    return buffer[: bitmap_bytes(count)]


def check_required(path: str, field: Field, column: ArrowColumn, within: bytes | None) -> None:
    """See that there is no null where none may be, nulls of what is around it excepted."""
    if not field.optional and column.validity is not None:
        missing = ~int.from_bytes(column.validity, "little") & ((1 << column.count) - 1)
        if missing & (missing if within is None else int.from_bytes(within, "little")):
            raise InvalidRecordError(f"field {path}: the column has a null, and it is required")
    if field.type.kind == "struct":
        for inner, child in zip(field.type.fields, column.children, strict=True):
            check_required(f"{path}.{inner.name}", inner, child, column.validity)
    elif field.type.kind == "list":
        check_required(f"{path}[]", field.type.fields[0], column.children[0], None)
    elif field.type.kind == "map":
        for inner, child in zip(field.type.fields, column.children[0].children, strict=True):
            check_required(f"{path}.{inner.name}", inner, child, None)


_ONE_IF_ANY: Final = b"\0" + b"\1" * 255
