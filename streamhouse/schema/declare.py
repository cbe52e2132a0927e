"""What users pass as ``schema=``: a msgspec Struct, types in DuckDB's words, or a JSON schema."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.errors import InvalidSchemaError
from streamhouse.schema.jsonschema import schema_of_json_schema
from streamhouse.schema.model import SCALARS, Field, Schema, Type, checked
from streamhouse.schema.pythontypes import schema_of_class

SchemaInput: TypeAlias = "type | Mapping[str, Any] | Schema"
"""A msgspec Struct, dataclass or TypedDict; names with DuckDB's types; a JSON schema; or a Schema."""

_NOT_NULL: Final = re.compile(r"\bNOT\s+NULL\s*$", re.IGNORECASE)


def declared(schema: SchemaInput) -> Schema:
    """The schema that a user means.

    Raises:
        InvalidSchemaError: It cannot be understood, or has a type that cannot be stored.
    """
    if isinstance(schema, Schema):
        return checked(schema.fields)
    if isinstance(schema, type) and (
        issubclass(schema, msgspec.Struct) or dataclasses.is_dataclass(schema) or typing.is_typeddict(schema)
    ):
        return schema_of_class(schema, type_of_sql)
    if isinstance(schema, Mapping):
        if _is_json_schema(schema):
            return schema_of_json_schema(schema)
        return checked([_field(name, wanted) for name, wanted in schema.items()])
    raise InvalidSchemaError(
        f"a schema is a msgspec Struct, a dict of DuckDB types such as {{'amount': 'DECIMAL(18,2)'}}, or a"
        f" JSON schema, not {schema!r}"
    )


def type_of_sql(path: str, text: str) -> Type:
    """The type that DuckDB understands by a text.

    Args:
        path: The field, for messages.
        text: Such as ``STRUCT(a INTEGER, b DECIMAL(10,2)[])``.

    Raises:
        InvalidSchemaError: DuckDB does not know it, it cannot be stored, or more than a type is there.
    """
    plain = _BY_NAME.get(text.strip().upper())
    if plain is not None:
        return plain
    import duckdb

    try:
        parsed = duckdb.sqltype(text)
    except (duckdb.Error, TypeError) as error:  # of a lone surrogate
        raise InvalidSchemaError(f"field {path}: {str(error).splitlines()[0]}") from None
    try:
        # What may stand behind the type of a column, and would be dropped here, may not in a struct.
        alone = len(duckdb.sqltype(f"STRUCT(x {text})").children) == 1
    except duckdb.Error:
        alone = False
    if not alone:
        raise InvalidSchemaError(f"field {path}: {text!r} has more than a type; only NOT NULL may follow one")
    return _type(path, parsed)


def _type(path: str, parsed: Any) -> Type:
    kind = "json" if str(parsed) == "JSON" else _ALIASES.get(parsed.id, parsed.id)
    if kind in SCALARS:
        return Type(kind)
    if kind == "decimal":
        digits = dict(parsed.children)
        return Type(kind, digits["precision"], digits["scale"])
    if kind == "struct":
        inner = [Field(name, _type(f"{path}.{name}", child), True) for name, child in parsed.children]
        return Type(kind, fields=tuple(inner))
    if kind == "list":
        ((_, item),) = parsed.children
        return Type(kind, fields=(Field("item", _type(f"{path}.item", item), True),))
    if kind == "map":
        (_, key), (_, value) = parsed.children
        fields = (
            Field("key", _type(f"{path}.key", key), False),
            Field("value", _type(f"{path}.value", value), True),
        )
        return Type(kind, fields=fields)
    instead = _INSTEAD.get(kind, "another type")
    raise InvalidSchemaError(f"field {path}: {parsed} cannot be stored; use {instead}")


def _field(name: Any, wanted: Any) -> Field:
    if not isinstance(name, str):
        raise InvalidSchemaError(f"{name!r} is no name for a field: use text")
    if not isinstance(wanted, str) and type(wanted).__name__ != "DuckDBPyType":
        raise InvalidSchemaError(f"field {name}: a type is text such as 'BIGINT', not {wanted!r}")
    text, required = _NOT_NULL.subn("", str(wanted))
    return Field(name, type_of_sql(name, text.strip()), not required)


def _is_json_schema(schema: Mapping[str, Any]) -> bool:
    """Whether its names are those of JSON schemas. They may be those of fields: then they have types."""
    if schema.get("type") == "object" or isinstance(schema.get("properties"), Mapping):
        return True
    if any(isinstance(schema.get(name), list | tuple) for name in ("anyOf", "oneOf", "allOf")):
        return True
    addresses = [schema.get(name) for name in ("$schema", "$ref")]
    return any(isinstance(each, str) and ("#" in each or "/" in each) for each in addresses)


_BY_NAME: Final = {
    **{scalar.sql: Type(kind) for kind, scalar in SCALARS.items()},
    "TIMESTAMPTZ": Type("timestamptz"),
}
_ALIASES: Final = {"timestamp with time zone": "timestamptz"}
_INSTEAD: Final = {
    "hugeint": "DECIMAL(38,0)",
    "uhugeint": "DECIMAL(38,0)",
    "bignum": "DECIMAL(38,0)",
    "enum": "VARCHAR",
    "array": "a list, such as DOUBLE[]",
    "interval": "BIGINT, with the unit in its name",
    "timestamp_ns": "TIMESTAMP, which has microseconds, or BIGINT",
    "time_ns": "TIME, which has microseconds, or BIGINT",
    "time with time zone": "TIME",
    "union": "JSON",
    "variant": "JSON",
    "bit": "BLOB",
}
