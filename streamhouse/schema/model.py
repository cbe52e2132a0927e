"""A schema: the fields of a value and their types, and the text in which a topic's settings keep it.

Types are those of DuckDB that have an Arrow layout and a plain meaning in Python and in JSON. The text is
compact JSON, one per version; whoever reads the log needs no DuckDB to understand it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from streamhouse.errors import InvalidSchemaError, UnsupportedFormatError

DECIMAL_DIGITS_MAX: Final = 38
FIELDS_MAX: Final = 2_000
DEPTH_MAX: Final = 32


class Type(msgspec.Struct, array_like=True, frozen=True, omit_defaults=True):
    """A type.

    Attributes:
        kind: One of :data:`SCALARS`, or ``decimal``, ``list``, ``map`` or ``struct``.
        precision: Digits of a decimal.
        scale: Of these, digits after the point.
        fields: The item of a list; key and value of a map; the fields of a struct.
    """

    kind: str
    precision: int = 0
    scale: int = 0
    fields: tuple[Field, ...] = ()

    def __str__(self) -> str:
        return self.sql

    @property
    def sql(self) -> str:
        """The type in DuckDB's words."""
        if self.kind == "decimal":
            return f"DECIMAL({self.precision},{self.scale})"
        if self.kind == "list":
            return f"{self.fields[0].type.sql}[]"
        if self.kind == "map":
            return f"MAP({self.fields[0].type.sql}, {self.fields[1].type.sql})"
        if self.kind == "struct":
            inner = ", ".join(f"{quoted(field.name)} {field.type.sql}" for field in self.fields)
            return f"STRUCT({inner})"
        return SCALARS[self.kind].sql

    @property
    def arrow(self) -> str:
        """Its format string in Arrow's C data interface."""
        if self.kind == "decimal":
            return f"d:{self.precision},{self.scale}"
        return _NESTED.get(self.kind) or SCALARS[self.kind].arrow


class Field(msgspec.Struct, array_like=True, frozen=True):
    """A field.

    Attributes:
        name: Its name.
        type: Its type.
        optional: Whether it may be null, or missing.
    """

    name: str
    type: Type
    optional: bool

    def __str__(self) -> str:
        return f"{self.name} {self.type}{'' if self.optional else ' NOT NULL'}"


class Schema(msgspec.Struct, frozen=True):
    """What the values of a topic are.

    Attributes:
        fields: In the order of the columns.
    """

    fields: tuple[Field, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.fields))

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def types(self) -> dict[str, str]:
        """The type of each field in DuckDB's words, as ``create_topic`` takes them."""
        return {field.name: field.type.sql + ("" if field.optional else " NOT NULL") for field in self.fields}

    @property
    def text(self) -> str:
        """How settings keep it."""
        return msgspec.json.encode(self.fields).decode()


class Scalar(msgspec.Struct, frozen=True):
    """What is to be known of a plain type.

    Attributes:
        sql: DuckDB's name.
        arrow: Arrow format string.
        width: Bytes of each value; 0: bits, -1: of any length.
    """

    sql: str
    arrow: str
    width: int


SCALARS: Final = {
    "boolean": Scalar("BOOLEAN", "b", 0),
    "tinyint": Scalar("TINYINT", "c", 1),
    "smallint": Scalar("SMALLINT", "s", 2),
    "integer": Scalar("INTEGER", "i", 4),
    "bigint": Scalar("BIGINT", "l", 8),
    "utinyint": Scalar("UTINYINT", "C", 1),
    "usmallint": Scalar("USMALLINT", "S", 2),
    "uinteger": Scalar("UINTEGER", "I", 4),
    "ubigint": Scalar("UBIGINT", "L", 8),
    "float": Scalar("FLOAT", "f", 4),
    "double": Scalar("DOUBLE", "g", 8),
    "varchar": Scalar("VARCHAR", "u", -1),
    "blob": Scalar("BLOB", "z", -1),
    "date": Scalar("DATE", "tdD", 4),
    "time": Scalar("TIME", "ttu", 8),
    "timestamp_s": Scalar("TIMESTAMP_S", "tss:", 8),
    "timestamp_ms": Scalar("TIMESTAMP_MS", "tsm:", 8),
    "timestamp": Scalar("TIMESTAMP", "tsu:", 8),
    "timestamptz": Scalar("TIMESTAMP WITH TIME ZONE", "tsu:UTC", 8),
    "uuid": Scalar("UUID", "w:16", 16),
    "json": Scalar("JSON", "u", -1),
}
INTEGERS: Final = {
    "tinyint": (-(1 << 7), (1 << 7) - 1),
    "smallint": (-(1 << 15), (1 << 15) - 1),
    "integer": (-(1 << 31), (1 << 31) - 1),
    "bigint": (-(1 << 63), (1 << 63) - 1),
    "utinyint": (0, (1 << 8) - 1),
    "usmallint": (0, (1 << 16) - 1),
    "uinteger": (0, (1 << 32) - 1),
    "ubigint": (0, (1 << 64) - 1),
}
"""The smallest and the largest number of each integer type."""

_UNNAMED: Final = frozenset('"\\')  # what msgspec has no names with
KEY_KINDS: Final = frozenset(("varchar", *INTEGERS))
_NESTED: Final = {"list": "+l", "map": "+m", "struct": "+s"}


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def checked(fields: Sequence[Field]) -> Schema:
    """A schema, after everything in it was found sound.

    Raises:
        InvalidSchemaError: It has no field, a bad name, or a type that cannot be.
    """
    schema = _sound(fields)
    _check_names("", fields)
    for path, field, _ in walk(fields):
        if field.type.kind == "struct":
            _check_names(f"{path}.", field.type.fields)
    return schema


def walk(fields: Sequence[Field]) -> Iterator[tuple[str, Field, int]]:
    """Each field, those within it included: its path, itself, and how deep it lies."""
    pending = [(field.name, field, 1) for field in reversed(fields)]
    while pending:
        path, field, depth = pending.pop()
        yield path, field, depth
        inner = field.type.fields
        pending.extend((f"{path}.{child.name}", child, depth + 1) for child in reversed(inner))


@lru_cache(maxsize=256)
def load(text: str) -> Schema:
    """The schema that settings keep as this text.

    Raises:
        UnsupportedFormatError: A newer StreamHouse wrote it.
    """
    try:
        return _sound(_decoder.decode(text))
    except (msgspec.DecodeError, InvalidSchemaError) as error:
        raise UnsupportedFormatError(
            f"the schema {text[:200]} cannot be understood ({error}); upgrade StreamHouse"
        ) from None


def _sound(fields: Sequence[Field]) -> Schema:
    """A schema of types that can be. Names that were allowed once are not a matter of those who read."""
    if not fields:
        raise InvalidSchemaError("a schema needs at least one field")
    count = 0
    for path, field, depth in walk(fields):
        count += 1
        if depth > DEPTH_MAX:
            raise InvalidSchemaError(f"field {path} is nested more than {DEPTH_MAX} deep")
        _check_type(path, field.type)
    if count > FIELDS_MAX:
        raise InvalidSchemaError(f"a schema has at most {FIELDS_MAX:,} fields, not {count:,}")
    return Schema(tuple(fields))


def _check_names(path: str, fields: Sequence[Field]) -> None:
    seen: dict[str, str] = {}
    for field in fields:
        name = field.name
        if type(name) is not str or not name or not name.isprintable() or not _UNNAMED.isdisjoint(name):
            raise InvalidSchemaError(
                f"{path}{name!r} is no name for a field: use printable text without quotation marks and"
                " backslashes"
            )
        other = seen.get(name.casefold())
        if other is not None:
            raise InvalidSchemaError(
                f"the fields {path}{other} and {path}{name} are the same in SQL, which knows no upper and"
                " lower case"
            )
        seen[name.casefold()] = name


def _check_type(path: str, type_: Type) -> None:
    kind, inner = type_.kind, type_.fields
    if kind == "decimal":
        if not (1 <= type_.precision <= DECIMAL_DIGITS_MAX and 0 <= type_.scale <= type_.precision):
            raise InvalidSchemaError(f"field {path}: DECIMAL({type_.precision},{type_.scale}) cannot be")
    elif kind in SCALARS:
        pass
    elif kind not in _NESTED:
        raise InvalidSchemaError(f"field {path}: unknown type {kind!r}")
    elif kind == "struct" and not inner:
        raise InvalidSchemaError(f"field {path}: a STRUCT needs at least one field")
    elif (kind == "list" and len(inner) != 1) or (kind == "map" and len(inner) != 2):
        raise InvalidSchemaError(f"field {path}: a {kind} of {len(inner)} types cannot be")
    elif kind == "map" and (inner[0].type.kind not in KEY_KINDS or inner[0].optional):
        raise InvalidSchemaError(
            f"field {path}: the keys of a MAP are VARCHAR or an integer type here, as JSON has it, not"
            f" {inner[0].type}"
        )


_decoder: Final = msgspec.json.Decoder(tuple[Field, ...])
