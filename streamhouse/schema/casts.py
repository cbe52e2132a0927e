"""Which columns of DuckDB mean what a field means, and how they become it.

DuckDB would cast nearly anything. What changes the meaning is refused: text to a number, a time without a
zone to one with. And DuckDB rounds times to a coarser unit, into the next second or year; they are to be cut.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streamhouse.schema.model import INTEGERS, Type, quoted

FRACTIONAL: Final = frozenset(("FLOAT", "DOUBLE", "DECIMAL"))
ZONED: Final = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
"""What times with a zone are called."""

_WHOLE: Final = frozenset(
    (
        *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
    )
)
_TIMES: Final = ("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_SOURCES: Final = {
    "boolean": ("BOOLEAN",),
    "varchar": ("VARCHAR", "ENUM", "JSON"),
    "json": ("JSON",),
    "blob": ("BLOB",),
    "uuid": ("UUID", "VARCHAR"),
    "date": ("DATE",),
    "time": ("TIME", "TIME_NS"),
    "timestamp_s": _TIMES,
    "timestamp_ms": _TIMES,
    "timestamp": _TIMES,
    "timestamptz": ZONED,
}
_NANOSECONDS: Final = {
    "TIME_NS": "TIME",
    "TIMESTAMP_NS": "TIMESTAMP",
    "TIMESTAMPTZ_NS": "TIMESTAMP WITH TIME ZONE",
}
_UNITS: Final = {"timestamp_s": "second", "timestamp_ms": "millisecond"}
_COARSE: Final = {
    "timestamp_s": ("DATE", "TIMESTAMP_S"),
    "timestamp_ms": ("DATE", "TIMESTAMP_S", "TIMESTAMP_MS"),
}


class Text(NamedTuple):
    """Which text is a date or time.

    Attributes:
        pattern: A regular expression.
        meaning: The same in words.
    """

    pattern: str
    meaning: str


_DATE: Final = r"\d{4}-\d{2}-\d{2}"
_TIME: Final = r"\d{2}:\d{2}:\d{2}(\.\d+)?"
_WITHOUT_ZONE: Final = Text(rf"{_DATE}[T ]{_TIME}", "time without a zone, such as 2024-05-01T12:00:00")
TEXTS: Final = {
    "date": Text(_DATE, "date, such as 2024-05-01"),
    "time": Text(_TIME, "time of a day without a zone, such as 12:00:00"),
    "timestamp_s": _WITHOUT_ZONE,
    "timestamp_ms": _WITHOUT_ZONE,
    "timestamp": _WITHOUT_ZONE,
    "timestamptz": Text(
        rf"{_DATE}[T ]{_TIME}(Z|[+-]\d{{2}}:?\d{{2}})", "time with a zone, such as 2024-05-01T12:00:00Z"
    ),
}
"""By kind of type; what else DuckDB takes for one would lose its zone or its time of day."""


def fits(path: str, source: str, target: Type) -> bool:
    """Whether a column of that type means what the field means.

    Args:
        path: Of the field.
        source: What DuckDB calls the type of the column.
        target: The type of the field.
    """
    base = source.split("(", maxsplit=1)[0]
    kind = target.kind
    if source == '"NULL"':
        return True
    if source.endswith("]"):
        if kind != "list":
            return False
        return fits(path, _item(source), target.fields[0].type)
    if kind in {"struct", "map"}:
        return base == kind.upper() and _nested_fits(path, source, target)
    if kind in INTEGERS:
        return base in _WHOLE
    if kind in {"float", "double", "decimal"}:
        return base in _WHOLE or base in FRACTIONAL
    return base in _SOURCES.get(kind, ())


def hint(source: str, target: Type) -> str:
    """What to do about a column that does not fit."""
    if source in _TIMES and target.kind == "timestamptz":
        return ": give the times a zone, such as UTC"
    return ""


def cut(expression: str, source: str, target: Type, depth: int = 0) -> str:
    """An expression with its times cut to the unit that they will have; the same where none is finer.

    Args:
        expression: SQL.
        source: What DuckDB calls its type, which fits.
        target: What it will be cast to.
        depth: In how many lists it lies.
    """
    if target.kind == "list" and source.endswith("]"):
        item = f"item{depth}"
        inner = cut(item, _item(source), target.fields[0].type, depth + 1)
        return expression if inner == item else f"list_transform({expression}, lambda {item}: {inner})"
    if target.kind == "struct" and source != '"NULL"':
        return _cut_struct(expression, source, target, depth)
    if target.kind == "map" and source != '"NULL"':
        theirs = _children(source)["value"]
        values = f"map_values({expression})"
        inner = cut(values, f"{theirs}[]", Type("list", fields=target.fields[1:]), depth)
        return expression if inner == values else f"map(map_keys({expression}), {inner})"
    return _cut_time(expression, source, target)


def _nested_fits(path: str, source: str, target: Type) -> bool:
    theirs = _children(source)
    mine = {field.name: field for field in target.fields}
    return theirs.keys() <= mine.keys() and all(
        fits(f"{path}.{name}", theirs[name], field.type) if name in theirs else field.optional
        for name, field in mine.items()
    )


def _cut_struct(expression: str, source: str, target: Type, depth: int) -> str:
    mine = {field.name: field.type for field in target.fields}
    parts = []
    is_cut = False
    for name, theirs in _children(source).items():
        literal = name.replace("'", "''")
        part = f"struct_extract({expression}, '{literal}')"
        inner = cut(part, theirs, mine[name], depth)
        parts.append(f"{quoted(name)} := {inner}")
        is_cut = is_cut or inner != part
    if not is_cut:
        return expression
    return f"case when {expression} is not null then struct_pack({', '.join(parts)}) end"


def _cut_time(expression: str, source: str, target: Type) -> str:
    rounded = _NANOSECONDS.get(source)
    if rounded is not None:
        # What is not there any more after the cast was rounded up: beyond the last of the nanoseconds, too.
        up = f"coalesce(try_cast({expression}::{rounded} as {source}) > {expression}, true)"
        cast = f"{expression}::{rounded}"
        expression = f"case when {up} then {cast} - to_microseconds(1) else {cast} end"
    unit = _UNITS.get(target.kind)
    if unit is None or source in _COARSE[target.kind] or source == '"NULL"':
        return expression
    return f"date_trunc('{unit}', ({expression})::TIMESTAMP)"


def _children(source: str) -> dict[str, str]:
    """The types within a struct or a map by name, also such as cannot be stored themselves."""
    import duckdb

    return {name: str(child) for name, child in duckdb.sqltype(source).children}


def _item(source: str) -> str:
    return source[: source.rindex("[")]
