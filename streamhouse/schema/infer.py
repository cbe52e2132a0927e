"""A schema proposed from JSON values: what DuckDB finds in them, in types that can be stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from streamhouse.errors import InvalidRecordError, InvalidSchemaError
from streamhouse.schema import database
from streamhouse.schema.jsonfields import check_json_text
from streamhouse.schema.model import DEPTH_MAX, Field, Schema, Type, checked, quoted
from streamhouse.schema.rows import RowDecoder

_FIELDS_MAX: Final = 200  # an object with more names is a map rather than a struct


def inferred(values: Sequence[str]) -> Schema:
    """The schema that values have in common. All of its fields are optional.

    Whole numbers become BIGINT, others DOUBLE; text becomes a time, a date or a UUID where all of it reads as
    one; what differs in type from value to value becomes JSON, as does what no other type holds. Values that
    are no JSON objects, or too deep to be stored, are passed over; all others fit the schema.

    Raises:
        InvalidSchemaError: None of them is a JSON object, there are too many fields, or names of fields
            cannot be used.
    """
    objects = [value for value in values if _is_object(value)]
    with database.cursor(alone=True) as connection:
        connection.execute(
            "create temp table objects as select v::json v from (select unnest($1::varchar[]) v)", [objects]
        )
        ((structure,),) = connection.execute("select json_group_structure(v) from objects").fetchall()
        found = json.loads(structure) if structure else None
        if not isinstance(found, dict) or not found:
            raise InvalidSchemaError(f"none of {len(values):,} values is a JSON object with fields")
        checked([Field(name, _JSON, True) for name in found])
        proposals = {name: _proposals(connection, name, kind) for name, kind in found.items()}
    return _fitting(proposals, objects)


def _is_object(value: str) -> bool:
    try:
        text = value.encode()
        check_json_text("value", text)
    except (InvalidRecordError, UnicodeEncodeError):
        return False
    return text.lstrip()[:1] == b"{"


def _proposals(connection: Any, name: str, found: Any) -> list[Type]:
    """The types that a field may have: each takes what those before it do, and the last one everything."""
    refined = _refined(connection, name) if found == "VARCHAR" else None
    proposed = [_type(found, kinds, 1) for kinds in (_KINDS, _LARGE)]
    return [*([refined] if refined else []), *proposed, _JSON]


def _fitting(proposals: Mapping[str, list[Type]], objects: Sequence[str]) -> Schema:
    """The schema of the first type of each field that takes all values. Those before it are removed."""
    schema = _schema(proposals)
    decoder = RowDecoder(schema)
    for value in objects:
        text = value.encode()
        try:
            decoder.pack(text)
        except InvalidRecordError:
            for name, part in msgspec.json.decode(text).items():
                while len(proposals[name]) > 1 and not _fits(name, proposals[name][0], part):
                    del proposals[name][0]
            schema = _schema(proposals)
            decoder = RowDecoder(schema)
    return schema


def _schema(proposals: Mapping[str, list[Type]]) -> Schema:
    return checked([Field(name, types[0], True) for name, types in proposals.items()])


def _fits(name: str, type_: Type, value: Any) -> bool:
    try:
        RowDecoder(checked([Field(name, type_, True)])).pack(msgspec.json.encode({name: value}))
    except InvalidRecordError:
        return False
    return True


def _type(found: Any, kinds: Mapping[str, Type], depth: int) -> Type:
    if not isinstance(found, list | dict):
        return kinds.get(found, _JSON)
    if depth == DEPTH_MAX:
        return _JSON
    if isinstance(found, list):
        return Type("list", fields=(Field("item", _type(found[0], kinds, depth + 1), True),))
    if len(found) > _FIELDS_MAX:
        return _JSON
    fields = tuple(Field(name, _type(kind, kinds, depth + 1), True) for name, kind in found.items())
    try:
        checked(fields)
    except InvalidSchemaError:
        return _JSON
    return Type("struct", fields=fields)


def _refined(connection: Any, name: str) -> Type | None:
    """The first of some types that all texts of a field have."""
    columns = ", ".join(
        f"bool_and(regexp_full_match(x, '{pattern}') and try_cast(x as {kind}) is not null)"
        for kind, pattern in _TEXTS.items()
    )
    query = f"select {columns} from (select json_extract_string(v, $1) x from objects) where x is not null"  # noqa: S608
    (found,) = connection.execute(query, [f"$.{quoted(name)}"]).fetchall()
    return next((Type(kind) for kind, all_ in zip(_TEXTS, found, strict=True) if all_), None)


_JSON: Final = Type("json")
_KINDS: Final = {
    "BOOLEAN": Type("boolean"),
    "BIGINT": Type("bigint"),
    "UBIGINT": Type("bigint"),
    "HUGEINT": Type("bigint"),
    "DOUBLE": Type("double"),
    "VARCHAR": Type("varchar"),
}
_LARGE: Final = {**_KINDS, "UBIGINT": Type("ubigint"), "HUGEINT": Type("decimal", 38, 0)}
_DATE: Final = r"\d{4}-\d{2}-\d{2}"
_CLOCK: Final = r"[T ]\d{2}:\d{2}:\d{2}(\.\d+)?"
_TEXTS: Final = {
    "timestamptz": rf"{_DATE}{_CLOCK}(Z|[+-]\d{{2}}:\d{{2}})",
    "timestamp": rf"{_DATE}{_CLOCK}",
    "date": _DATE,
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}
