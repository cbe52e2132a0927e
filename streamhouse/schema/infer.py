"""A schema proposed from JSON values: what DuckDB finds in them, in types that can be stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streamhouse.errors import InvalidSchemaError
from streamhouse.schema import database
from streamhouse.schema.model import Field, Schema, Type, checked, quoted

_FIELDS_MAX: Final = 200  # an object with more names is a map rather than a struct


def inferred(values: Sequence[str]) -> Schema:
    """The schema that values have in common. All of its fields are optional.

    Whole numbers become BIGINT, others DOUBLE; text becomes a time, a date or a UUID where all of it reads as
    one; what differs in type from value to value becomes JSON. Values that are no JSON objects are passed
    over.

    Raises:
        InvalidSchemaError: None of them is a JSON object, or names of fields cannot be used.
    """
    with database.cursor(alone=True) as connection:
        connection.execute(
            "create temp table objects as select v::json v from (select unnest($1::varchar[]) v)"
            " where json_valid(v) and json_type(v) = 'OBJECT'",
            [list(values)],
        )
        ((structure,),) = connection.execute("select json_group_structure(v) from objects").fetchall()
        found = json.loads(structure) if structure else None
        if not isinstance(found, dict) or not found:
            raise InvalidSchemaError(f"none of {len(values):,} values is a JSON object with fields")
        refined = {
            name: _refined(connection, name, _TESTS[kind])
            for name, kind in found.items()
            if isinstance(kind, str) and kind in _TESTS and '"' not in name
        }
    return checked([Field(name, refined.get(name) or _type(kind), True) for name, kind in found.items()])


def _type(found: Any) -> Type:
    if isinstance(found, list):
        return Type("list", fields=(Field("item", _type(found[0]), True),))
    if isinstance(found, dict):
        return _struct(found)
    return Type(_KINDS.get(found, "json"))


def _struct(found: Mapping[str, Any]) -> Type:
    fields = tuple(Field(name, _type(kind), True) for name, kind in found.items())
    if len(fields) > _FIELDS_MAX:
        return Type("json")
    try:
        checked(fields)
    except InvalidSchemaError:
        return Type("json")
    return Type("struct", fields=fields)


def _refined(connection: Any, name: str, tests: Mapping[str, str]) -> Type | None:
    """The first of some types that all values of a field have."""
    columns = ", ".join(
        f"bool_and(regexp_full_match(x, '{pattern}') and try_cast(x as {kind}) is not null)"
        for kind, pattern in tests.items()
    )
    query = f"select {columns} from (select json_extract_string(v, $1) x from objects) where x is not null"  # noqa: S608
    (found,) = connection.execute(query, [f"$.{quoted(name)}"]).fetchall()
    return next((Type(kind) for kind, all_ in zip(tests, found, strict=True) if all_), None)


_KINDS: Final = {
    "BOOLEAN": "boolean",
    "BIGINT": "bigint",
    "UBIGINT": "bigint",
    "HUGEINT": "bigint",
    "DOUBLE": "double",
    "VARCHAR": "varchar",
}
_DATE: Final = r"\d{4}-\d{2}-\d{2}"
_CLOCK: Final = r"[T ]\d{2}:\d{2}:\d{2}(\.\d+)?"
_TEXTS: Final = {
    "timestamptz": rf"{_DATE}{_CLOCK}(Z|[+-]\d{{2}}:\d{{2}})",
    "timestamp": rf"{_DATE}{_CLOCK}",
    "date": _DATE,
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}
_TESTS: Final = {"VARCHAR": _TEXTS, "UBIGINT": {"bigint": r"\d+", "ubigint": r"\d+"}}
