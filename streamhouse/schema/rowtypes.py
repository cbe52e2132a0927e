"""The Structs that the rows of a schema are: one as users send them, one as they wait for their block."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec

from streamhouse.errors import InvalidSchemaError
from streamhouse.schema.model import INTEGERS, Field, Schema, Type


@lru_cache(maxsize=256)
def row_type(schema: Schema) -> type[msgspec.Struct]:
    """The Struct of a schema. Fields may have any name; :func:`attribute` says what its attributes are.

    Raises:
        InvalidSchemaError: A field has a name that no Struct can have.
    """
    return _struct(schema.fields, Any)


@lru_cache(maxsize=256)
def packed_type(schema: Schema) -> type[msgspec.Struct]:
    """Likewise, with the text of JSON as bytes in the fields of that type."""
    return _struct(schema.fields, bytes)


def attribute(index: int) -> str:
    """What the field with that index is called in its Struct."""
    return f"f{index}"


def _struct(fields: Sequence[Field], json: Any) -> type[msgspec.Struct]:
    declared: list[Any] = []
    for index, field in enumerate(fields):
        python = _python_type(field, json)
        declared.append((attribute(index), python, None) if field.optional else (attribute(index), python))
    names = {attribute(index): field.name for index, field in enumerate(fields)}
    try:
        return msgspec.defstruct("Row", declared, rename=names, forbid_unknown_fields=True, kw_only=True)
    except ValueError as error:
        raise InvalidSchemaError(f"records of this schema cannot be made: {error}") from None


def _python_type(field: Field, json: Any) -> Any:
    python = _required_type(field.type, json)
    return python | None if field.optional and python is not Any else python


def _required_type(type_: Type, json: Any) -> Any:
    if type_.kind in INTEGERS:
        low, high = INTEGERS[type_.kind]
        return Annotated[int, msgspec.Meta(ge=low, le=None if type_.kind == "ubigint" else high)]
    if type_.kind == "list":
        return list[_python_type(type_.fields[0], json)]  # type: ignore[misc]
    if type_.kind == "map":
        key, value = type_.fields
        return dict[_required_type(key.type, json), _python_type(value, json)]  # type: ignore[misc]
    if type_.kind == "struct":
        return _struct(type_.fields, json)
    return json if type_.kind == "json" else _PYTHON[type_.kind]


_PYTHON: Final[dict[str, Any]] = {
    "boolean": bool,
    "float": float,
    "double": float,
    "decimal": decimal.Decimal,
    "varchar": str,
    "blob": bytes,
    "date": dt.date,
    "time": Annotated[dt.time, msgspec.Meta(tz=False)],
    "timestamp_s": Annotated[dt.datetime, msgspec.Meta(tz=False)],
    "timestamp_ms": Annotated[dt.datetime, msgspec.Meta(tz=False)],
    "timestamp": Annotated[dt.datetime, msgspec.Meta(tz=False)],
    "timestamptz": Annotated[dt.datetime, msgspec.Meta(tz=True)],
    "uuid": uuid.UUID,
}
