"""Arrow arrays that came from outside as columns of our own, and what has to hold for these.

DuckDB has values that Python has not (times beyond the year 9999, infinite ones, 24:00), and does not look
into what an Arrow array says is text, JSON or a decimal. Records with such could be stored, but not be read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, Final

from streamhouse.errors import InvalidRecordError
from streamhouse.format.arrays import cut_array, layout_of
from streamhouse.format.columns import ArrowColumn
from streamhouse.format.integers import OFFSET_BYTES, bitmap, bitmap_bytes, int32s, last_offset, unpack_bitmap
from streamhouse.schema.jsonfields import check_json_column
from streamhouse.schema.model import Field, Type
from streamhouse.schema.shred import NUMBER


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
    for inner_path, inner, child in _within(path, field.type, column):
        check_required(inner_path, inner, child, column.validity if field.type.kind == "struct" else None)


def check_text(path: str, type_: Type, column: ArrowColumn) -> None:
    """See that what is said to be text or JSON is that, also within lists, maps and structs.

    Raises:
        InvalidRecordError: It is not.
    """
    if type_.kind == "json":
        check_json_column(path, column)
    elif type_.kind == "varchar" and not column.buffers[1].isascii():
        _check_utf8(path, *column.buffers)
    for inner_path, inner, child in _within(path, type_, column):
        check_text(inner_path, inner.type, child)


def _check_utf8(path: str, offsets: bytes, data: bytes) -> None:
    try:
        str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRecordError(f"field {path}: the column has text that is no UTF-8: {error}") from None
    byte_at = (data + b"\0").__getitem__
    if bytes(map(byte_at, int32s(offsets))).translate(None, _NOT_WITHIN_CHARACTERS):
        raise InvalidRecordError(f"field {path}: the column has text that is no UTF-8: a character is cut")


def ranged_within(path: str, type_: Type, column: ArrowColumn) -> Iterator[tuple[str, Type, ArrowColumn]]:
    """The columns of :data:`RANGED` types in lists, maps and structs, with their paths and types."""
    for inner_path, inner, child in _within(path, type_, column):
        if inner.type.kind in RANGED:
            yield inner_path, inner.type, child
        yield from ranged_within(inner_path, inner.type, child)


def check_range(path: str, type_: Type, low: int, high: int) -> None:
    """See that decimals have no more digits than they should, and that Python has these dates or times.

    Args:
        path: Of the field.
        type_: A :data:`RANGED` one.
        low: The smallest of the numbers in the column.
        high: The largest.

    Raises:
        InvalidRecordError: There are others.
    """
    most = 10**type_.precision - 1
    least, most = _TIMES.get(type_.kind, (-most, most))
    if least <= low <= high <= most:
        return
    number = low if low < least else high
    if type_.kind == "decimal":
        raise InvalidRecordError(f"field {path}: {number}e-{type_.scale} does not fit {type_}")
    what = "a time of a day" if type_.kind == "time" else "within the years 1 to 9999"
    raise InvalidRecordError(
        f"field {path}: the column has a {type_} that is not {what} ({number} as a number)"
    )


def _within(path: str, type_: Type, column: ArrowColumn) -> Iterator[tuple[str, Field, ArrowColumn]]:
    if type_.kind == "struct":
        for inner, child in zip(type_.fields, column.children, strict=True):
            yield f"{path}.{inner.name}", inner, child
    elif type_.kind == "list":
        yield f"{path}[]", type_.fields[0], column.children[0]
    elif type_.kind == "map":
        for inner, child in zip(type_.fields, column.children[0].children, strict=True):
            yield f"{path}.{inner.name}", inner, child


_NOT_WITHIN_CHARACTERS: Final = bytes((*range(0x80), *range(0xC0, 0x100)))
_ONE_IF_ANY: Final = b"\0" + b"\1" * 255
_DATETIMES: Final = (dt.datetime.min, dt.datetime.max)  # noqa: DTZ901 - without zone as the values are
_LIMITS: Final[dict[str, Sequence[Any]]] = {
    "date": (dt.date.min, dt.date.max),
    "time": (dt.time.min, dt.time.max),
    "timestamptz": [each.replace(tzinfo=dt.UTC) for each in _DATETIMES],
}
_TIMES: Final = {kind: tuple(map(number, _LIMITS.get(kind, _DATETIMES))) for kind, number in NUMBER.items()}
RANGED: Final = frozenset(("decimal", *_TIMES))
"""Kinds of types whose numbers are not all values of theirs."""
