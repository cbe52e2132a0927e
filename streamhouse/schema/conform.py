"""Columns of an older schema as the present one has them: narrow types widened, missing fields null."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from streamhouse.errors import CorruptionError
from streamhouse.format.columns import ArrowColumn, Bound
from streamhouse.schema.assemble import CODES, int128s
from streamhouse.schema.model import Field, Schema, Type
from streamhouse.schema.shred import known_bounds, null_column_of


def conform(schema: Schema, column: ArrowColumn) -> ArrowColumn:
    """A struct column as a schema has it; the very column if it is that already.

    Raises:
        CorruptionError: It has types that cannot become those of the schema, which evolution rules out.
    """
    return _struct(schema.fields, column)


def conform_field(field: Field, column: ArrowColumn, count: int) -> ArrowColumn:
    """Likewise for one field of a struct column, which may lack it."""
    child = column.child(field.name)
    return null_column_of(field.name, field.type, count) if child is None else _typed(field.type, child)


def _struct(fields: Sequence[Field], column: ArrowColumn) -> ArrowColumn:
    children = tuple([conform_field(field, column, column.count) for field in fields])
    return _with_children(column, children)


def _typed(type_: Type, column: ArrowColumn) -> ArrowColumn:
    if type_.kind == "struct" and column.type == "+s":
        return _struct(type_.fields, column)
    if type_.kind == "list" and column.type == "+l":
        return _with_children(column, (_typed(type_.fields[0].type, column.children[0]),))
    if type_.kind == "map" and column.type == "+m":
        return _with_children(column, (_struct(type_.fields, column.children[0]),))
    if column.type == type_.arrow:
        return column
    return _widened(type_, column)


def _with_children(column: ArrowColumn, children: tuple[ArrowColumn, ...]) -> ArrowColumn:
    mine = column.children
    if len(mine) == len(children) and all(a is b for a, b in zip(mine, children, strict=True)):
        return column
    return msgspec.structs.replace(column, children=children)


def conform_bounds(type_: Type, old: str, bounds: tuple[Bound, Bound] | None) -> tuple[Bound, Bound] | None:
    """Bounds of a column as a type has them.

    Args:
        type_: The type.
        old: What the column is, as an Arrow format string.
        bounds: Those that were noted with it.

    Raises:
        CorruptionError: The column cannot be read as that type, which evolution rules out.
    """
    if bounds is None or old == type_.arrow:
        return bounds
    low, high = (value * _factor(type_, old) for value in bounds)
    return known_bounds(low, high) if type_.kind not in _FLOATS else (float(low), float(high))


def _widened(type_: Type, column: ArrowColumn) -> ArrowColumn:
    old, factor = column.type, _factor(type_, column.type)
    (buffer,) = column.buffers
    bounds = conform_bounds(type_, old, column.bounds)
    same = old.startswith("d:") and factor == 1
    made = buffer if same else _scaled(type_, _numbers(old, buffer), factor)
    return ArrowColumn(column.name, type_.arrow, column.count, column.validity, (made,), (), bounds)


def _factor(type_: Type, old: str) -> int:
    """What the numbers of a column have to be multiplied by, to be in the unit of a wider type."""
    new = type_.kind
    if old in _UNITS and new in _UNITS_PER_DAY:
        factor, rest = divmod(_UNITS_PER_DAY[new], _UNITS[old])
        if not rest:
            return factor
    elif new == "decimal":
        scale = int(old.split(",")[1]) if old.startswith("d:") else 0
        if (old.startswith("d:") or old in _NUMBERS) and scale <= type_.scale:
            return int(10 ** (type_.scale - scale))
    elif old in _NUMBERS and new in CODES:
        return 1
    raise CorruptionError(f"a column of {old} cannot be read as {type_}")


def _numbers(old: str, buffer: bytes) -> Sequence[Any]:
    if old.startswith("d:"):
        return int128s(buffer)
    return memoryview(buffer).cast(CODES[_KINDS[old]])


def _scaled(type_: Type, numbers: Sequence[Any], factor: int) -> bytes:
    if type_.kind == "decimal":
        return b"".join([(number * factor).to_bytes(16, "little", signed=True) for number in numbers])
    code = CODES[type_.kind]
    if factor == 1:
        return array(code, numbers).tobytes()
    return array(code, [number * factor for number in numbers]).tobytes()


_FLOATS: Final = frozenset(("float", "double"))
_NUMBERS: Final = frozenset("cCsSiIlLfg")
_KINDS: Final = {
    "c": "tinyint",
    "C": "utinyint",
    "s": "smallint",
    "S": "usmallint",
    "i": "integer",
    "I": "uinteger",
    "l": "bigint",
    "L": "ubigint",
    "f": "float",
    "g": "double",
    "tdD": "date",
    "tss:": "timestamp_s",
    "tsm:": "timestamp_ms",
    "tsu:": "timestamp",
}
_DAY: Final = 86_400
_UNITS: Final = {"tdD": 1, "tss:": _DAY, "tsm:": _DAY * 1_000, "tsu:": _DAY * 1_000_000}
_UNITS_PER_DAY: Final = {
    "timestamp_s": _DAY,
    "timestamp_ms": _DAY * 1_000,
    "timestamp": _DAY * 1_000_000,
}
