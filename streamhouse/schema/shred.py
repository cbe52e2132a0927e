"""Rows to typed columns: each field as one buffer, without a loop in Python where C has one.

Nulls hold a zero. Of plain fields at the top the smallest and largest value are noted, so that a query can
pass over blocks; not of text beyond a few bytes, nor where NaN makes the order doubtful.
"""

from __future__ import annotations

import datetime as dt
import math
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, chain, repeat
from operator import attrgetter, is_not
from typing import Any, Final

import msgspec

from streamhouse.format.arrays import null_array
from streamhouse.format.columns import ArrowColumn, Bound, binary_column
from streamhouse.format.integers import bitmap
from streamhouse.schema.assemble import CODES, stored_values
from streamhouse.schema.model import INTEGERS, Field, Schema, Type
from streamhouse.schema.rows import unscaled
from streamhouse.schema.rowtypes import attribute

BOUND_BYTES_MAX: Final = 64
VALUE: Final = "value"
ENTRIES: Final = "entries"

_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - without zone as the values are
_EPOCH_UTC: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EPOCH_DAY: Final = dt.date(1970, 1, 1).toordinal()
_DECIMAL_BYTES: Final = 16
_INT64: Final = (-(1 << 63), (1 << 63) - 1)


def shred(schema: Schema, rows: Sequence[Any]) -> ArrowColumn:
    """The rows of :class:`~streamhouse.schema.rows.RowDecoder` as one struct column.

    Args:
        schema: Theirs.
        rows: Rows, and ``None`` for tombstones.
    """
    column = _column(VALUE, Type("struct", fields=schema.fields), rows)
    children = tuple(
        [_with_bounds(child, field) for child, field in zip(column.children, schema.fields, strict=True)]
    )
    return msgspec.structs.replace(column, children=children)


def null_column_of(name: str, type_: Type, count: int) -> ArrowColumn:
    """A column of nulls only."""
    if type_.kind == "struct":
        children = [null_column_of(field.name, field.type, count) for field in type_.fields]
    elif type_.kind == "list":
        children = [_empty(type_.fields[0])]
    elif type_.kind == "map":
        children = [_entries(type_, [_empty(field) for field in type_.fields], 0)]
    else:
        children = []
    return null_array(name, type_.arrow, count, children)


def known_bounds(low: Any, high: Any) -> tuple[Bound, Bound] | None:
    """Bounds as they are stored, if they can be."""
    if isinstance(low, bytes):
        return (low, high) if max(len(low), len(high)) <= BOUND_BYTES_MAX else None
    if isinstance(low, float):
        return None if math.isnan(low) or math.isnan(high) else (low, high)
    return (low, high) if _INT64[0] <= low and high <= _INT64[1] else None


def _column(name: str, type_: Type, values: Sequence[Any]) -> ArrowColumn:
    count = len(values)
    flags = bytes(map(is_not, values, repeat(None)))
    nulls = flags.count(0)
    if nulls == count and count:
        return null_column_of(name, type_, count)
    validity = bitmap(flags) if nulls else None
    if type_.kind == "struct":
        getters = _getters(len(type_.fields))
        children = [
            _column(field.name, field.type, _parts(get, values, nulls))
            for field, get in zip(type_.fields, getters, strict=True)
        ]
        return ArrowColumn(name, type_.arrow, count, validity, (), tuple(children))
    if type_.kind == "list":
        full = [() if value is None else value for value in values] if nulls else values
        offsets = array("i", accumulate(map(len, full), initial=0)).tobytes()
        item = type_.fields[0]
        children = [_column(item.name, item.type, list(chain.from_iterable(full)))]
        return ArrowColumn(name, type_.arrow, count, validity, (offsets,), tuple(children))
    if type_.kind == "map":
        maps = [{} if value is None else value for value in values] if nulls else values
        offsets = array("i", accumulate(map(len, maps), initial=0)).tobytes()
        key, value = type_.fields
        keys = _column(key.name, key.type, list(chain.from_iterable(maps)))
        items = _column(value.name, value.type, list(chain.from_iterable(map(dict.values, maps))))
        entries = _entries(type_, [keys, items], keys.count)
        return ArrowColumn(name, type_.arrow, count, validity, (offsets,), (entries,))
    return ArrowColumn(name, type_.arrow, count, validity, _plain(type_, values, nulls))


def _plain(type_: Type, values: Sequence[Any], nulls: int) -> tuple[bytes, ...]:
    kind = type_.kind
    if kind == "varchar":
        texts = [value or "" for value in values] if nulls else values
        column = binary_column(list(map(str.encode, texts)))
        return column.offsets, column.data
    if kind in {"blob", "json"}:
        column = binary_column([value or b"" for value in values] if nulls else list(values))
        return column.offsets, column.data
    if kind == "boolean":
        return (bitmap(bytes(map(bool, values))),)
    if kind in _ARRAYS:
        full = [0 if value is None else value for value in values] if nulls else values
        return (array(CODES[kind], full).tobytes(),)
    if kind == "uuid":
        return (b"".join([_NO_UUID if value is None else value.bytes for value in values]),)
    if kind == "decimal":
        return (b"".join([_decimal_bytes(type_, value) for value in values]),)
    number = NUMBER[kind]
    return (array(CODES[kind], [0 if value is None else number(value) for value in values]).tobytes(),)


def _with_bounds(column: ArrowColumn, field: Field) -> ArrowColumn:
    """The column with the smallest and the largest of its values, if those can be told."""
    return msgspec.structs.replace(column, bounds=bounds_of(column, field.type))


def bounds_of(column: ArrowColumn, type_: Type) -> tuple[Bound, Bound] | None:
    """Between which values those of a plain column lie; ``None``: there are none, or it is not kept."""
    values = stored_values(column, type_)
    if values is None:
        return None
    present = [value for value in values if value is not None] if column.validity is not None else values
    if not present or (isinstance(present[0], float) and math.isnan(sum(present))):
        return None
    return known_bounds(min(present), max(present))


def _parts(get: Callable[[Any], Any], values: Sequence[Any], nulls: int) -> list[Any]:
    if nulls:
        return [None if value is None else get(value) for value in values]
    return list(map(get, values))


def _entries(type_: Type, children: Sequence[ArrowColumn], count: int) -> ArrowColumn:
    inner = Type("struct", fields=type_.fields)
    return ArrowColumn(ENTRIES, inner.arrow, count, None, (), tuple(children))


def _empty(field: Field) -> ArrowColumn:
    return msgspec.structs.replace(null_column_of(field.name, field.type, 0), validity=None)


def _decimal_bytes(type_: Type, value: Any) -> bytes:
    if value is None:
        return _NO_DECIMAL
    return unscaled(type_, value).to_bytes(_DECIMAL_BYTES, "little", signed=True)


def _getters(count: int) -> list[Callable[[Any], Any]]:
    return [attrgetter(attribute(index)) for index in range(count)]


def _time_number(value: dt.time) -> int:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 1_000_000 + value.microsecond


def _since(epoch: dt.datetime, unit: dt.timedelta) -> Callable[[dt.datetime], int]:
    return lambda value: (value - epoch) // unit


NUMBER: Final[dict[str, Callable[[Any], int]]] = {
    "date": lambda value: value.toordinal() - _EPOCH_DAY,
    "time": _time_number,
    "timestamp_s": _since(_EPOCH, dt.timedelta(seconds=1)),
    "timestamp_ms": _since(_EPOCH, dt.timedelta(milliseconds=1)),
    "timestamp": _since(_EPOCH, dt.timedelta(microseconds=1)),
    "timestamptz": _since(_EPOCH_UTC, dt.timedelta(microseconds=1)),
}
_NO_UUID: Final = bytes(16)
_NO_DECIMAL: Final = bytes(_DECIMAL_BYTES)
_ARRAYS: Final = frozenset((*INTEGERS, "float", "double"))
