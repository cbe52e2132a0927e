"""Typed columns back to Python values, a window of records at a time."""

from __future__ import annotations

import datetime as dt
import decimal
import struct
import uuid
from collections.abc import Callable, Sequence
from itertools import islice, repeat
from operator import sub
from typing import Any, Final, Literal

import msgspec

from streamhouse.format.columns import ArrowColumn
from streamhouse.format.integers import int32s, unpack_bitmap
from streamhouse.format.lists import binary_list
from streamhouse.schema.model import Field, Schema, Type

_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - without zone as the values are
_EPOCH_UTC: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EPOCH_DAY: Final = dt.date(1970, 1, 1).toordinal()


def dicts(schema: Schema, column: ArrowColumn, start: int, stop: int) -> list[dict[str, Any] | None]:
    """The records ``start`` to ``stop`` as dicts of Python values; ``None`` for tombstones.

    Args:
        schema: The one the column conforms to.
        column: A struct.
        start: First record.
        stop: The record after the last.
    """
    return _Assembler(_from_json).structs(schema.fields, column, start, stop)


def json_values(schema: Schema, column: ArrowColumn, start: int, stop: int) -> list[bytes | None]:
    """Likewise as JSON: decimals are numbers, times ISO 8601, bytes base64, and NaN is null."""
    rows = _Assembler(msgspec.Raw).structs(schema.fields, column, start, stop)
    return [None if row is None else _to_json(row) for row in rows]


def stored_values(column: ArrowColumn, type_: Type) -> Sequence[Any] | None:
    """The values of a plain column as numbers in its unit, or as bytes, with ``None`` for nulls.

    ``None`` in place of them: of this type no order is kept.
    """
    values: Sequence[Any]
    if type_.kind == "varchar":
        values = binary_list(column.entries(), 0, column.count)
    elif type_.kind == "decimal":
        values = int128s(column.buffers[0])
    elif type_.kind in CODES:
        values = memoryview(column.buffers[0]).cast(CODES[type_.kind]).tolist()
    else:
        return None
    if column.validity is None:
        return values
    return _with_nulls(values, unpack_bitmap(column.validity, 0, column.count))


def int128s(buffer: bytes) -> list[int]:
    """Little-endian integers of 16 bytes each."""
    if not buffer:
        return []
    halves = memoryview(buffer)
    low, high = halves.cast("Q")[0::2], halves.cast("q")[1::2]
    return [(upper << 64) | lower for upper, lower in zip(high, low, strict=True)]


class _Assembler:
    """Makes lists of values.

    Args:
        json: What becomes of the text of a field of type JSON.
    """

    def __init__(self, json: Callable[[bytes], Any]) -> None:
        self._json = json

    def structs(
        self, fields: Sequence[Field], column: ArrowColumn, start: int, stop: int
    ) -> list[dict[str, Any] | None]:
        """The entries of a struct column as dicts."""
        names = [field.name for field in fields]
        lists = [
            self.values(field.type, child, start, stop)
            for field, child in zip(fields, column.children, strict=True)
        ]
        made: list[dict[str, Any]] = list(map(dict, map(zip, repeat(names), zip(*lists, strict=True))))
        return self._nulled(column, start, stop, made)

    def values(self, type_: Type, column: ArrowColumn, start: int, stop: int) -> list[Any]:
        """The entries of a column of any type."""
        if type_.kind == "struct":
            return self.structs(type_.fields, column, start, stop)
        if type_.kind in {"list", "map"}:
            made = self._collections(type_, column, start, stop)
        else:
            made = self._plain(type_, column, start, stop)
        return self._nulled(column, start, stop, made)

    def _collections(self, type_: Type, column: ArrowColumn, start: int, stop: int) -> list[Any]:
        offsets = int32s(column.buffers[0])[start : stop + 1]
        first, last = offsets[0], offsets[-1]
        inner = column.children[0]
        if type_.kind == "list":
            items = iter(self.values(type_.fields[0].type, inner, first, last))
            return list(map(list, map(islice, repeat(items), map(sub, offsets[1:], offsets))))
        keys, values = (
            self.values(field.type, child, first, last)
            for field, child in zip(type_.fields, inner.children, strict=True)
        )
        pairs = zip(keys, values, strict=True)
        return list(map(dict, map(islice, repeat(pairs), map(sub, offsets[1:], offsets))))

    def _plain(self, type_: Type, column: ArrowColumn, start: int, stop: int) -> list[Any]:
        kind = type_.kind
        if kind in {"varchar", "blob", "json"}:
            blobs: list[Any] = binary_list(column.entries(), start, stop)
            if kind == "blob":
                return blobs
            if kind == "varchar":
                return list(map(str, blobs, repeat("utf-8")))
            if column.validity is None:
                return list(map(self._json, blobs))
            return [self._json(blob) if blob else None for blob in blobs]
        (buffer,) = column.buffers
        if kind == "boolean":
            return list(map(bool, unpack_bitmap(buffer, start, stop)))
        if kind == "uuid":
            return [
                uuid.UUID(bytes=each) for (each,) in struct.iter_unpack("16s", buffer[16 * start : 16 * stop])
            ]
        if kind == "decimal":
            scale = -type_.scale
            return [
                _EXACT.scaleb(decimal.Decimal(each), scale)
                for each in int128s(buffer[16 * start : 16 * stop])
            ]
        numbers = memoryview(buffer).cast(CODES[kind])[start:stop].tolist()
        value = _VALUE.get(kind)
        if value is None:
            return numbers
        if column.validity is None:
            return list(map(value, numbers))
        flags = unpack_bitmap(column.validity, start, stop)  # what lies in the place of a null may be no time
        return [value(number) if flag else None for number, flag in zip(numbers, flags, strict=True)]

    def _nulled(self, column: ArrowColumn, start: int, stop: int, values: list[Any]) -> list[Any]:
        if column.validity is None:
            return values
        return _with_nulls(values, unpack_bitmap(column.validity, start, stop))


def _with_nulls(values: Sequence[Any], flags: bytes) -> list[Any]:
    return [value if flag else None for value, flag in zip(values, flags, strict=True)]


def _time(number: int) -> dt.time:
    seconds, micros = divmod(number, 1_000_000)
    minutes, second = divmod(seconds, 60)
    return dt.time(minutes // 60, minutes % 60, second, micros)


def _after(epoch: dt.datetime, unit: str) -> Callable[[int], dt.datetime]:
    if unit == "microseconds":
        return lambda number: epoch + dt.timedelta(0, 0, number)
    return lambda number: epoch + dt.timedelta(**{unit: number})


_EXACT: Final = decimal.Context(prec=60, traps=[])
_from_json: Final = msgspec.json.Decoder().decode
_to_json: Final = msgspec.json.Encoder(decimal_format="number").encode
CODES: Final[dict[str, Literal["b", "B", "h", "H", "i", "I", "q", "Q", "f", "d"]]] = {
    "tinyint": "b",
    "utinyint": "B",
    "smallint": "h",
    "usmallint": "H",
    "integer": "i",
    "uinteger": "I",
    "bigint": "q",
    "ubigint": "Q",
    "float": "f",
    "double": "d",
    "date": "i",
    "time": "q",
    "timestamp_s": "q",
    "timestamp_ms": "q",
    "timestamp": "q",
    "timestamptz": "q",
}
"""Of numbers, the type code that arrays and memoryviews know them by."""

_VALUE: Final[dict[str, Callable[[int], Any]]] = {
    "date": lambda number: dt.date.fromordinal(number + _EPOCH_DAY),
    "time": _time,
    "timestamp_s": _after(_EPOCH, "seconds"),
    "timestamp_ms": _after(_EPOCH, "milliseconds"),
    "timestamp": _after(_EPOCH, "microseconds"),
    "timestamptz": _after(_EPOCH_UTC, "microseconds"),
}
