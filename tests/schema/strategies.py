"""Schemas of any types, and values that fit them."""

from __future__ import annotations

import datetime as dt
import decimal
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import strategies as st

from streamhouse.schema.model import INTEGERS, KEY_KINDS, SCALARS, Field, Schema, Type, checked

_EXACT = decimal.Context(prec=60)
plain_types = st.one_of(
    st.sampled_from(sorted(SCALARS)).map(Type),
    st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: Type("decimal", p, s))),
)
_names = st.one_of(
    st.sampled_from(["a", "b.c", "we ird", "key", "ü"]), st.text("xyz", min_size=1, max_size=4)
)


def _fields(inner: st.SearchStrategy[Type], most: int) -> st.SearchStrategy[tuple[Field, ...]]:
    field = st.builds(Field, _names, inner, st.booleans())
    return st.lists(field, min_size=1, max_size=most, unique_by=lambda f: f.name.casefold()).map(tuple)


def _nested(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    item = st.builds(Field, st.just("item"), inner, st.booleans())
    key = st.sampled_from(sorted(KEY_KINDS)).map(lambda kind: Field("key", Type(kind), False))
    value = st.builds(Field, st.just("value"), inner, st.booleans())
    return st.one_of(
        item.map(lambda field: Type("list", fields=(field,))),
        st.tuples(key, value).map(lambda pair: Type("map", fields=pair)),
        _fields(inner, 3).map(lambda fields: Type("struct", fields=fields)),
    )


types = st.recursive(plain_types, _nested, max_leaves=4)
schemas = _fields(types, 5).map(checked)

_naive = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
_json = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**60), 2**60),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)
_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "float": st.floats(width=32),
    "double": st.floats(),
    "varchar": st.text(max_size=12),
    "blob": st.binary(max_size=12),
    "date": st.dates(),
    "time": st.times(),
    "timestamp_s": _naive.map(lambda value: value.replace(microsecond=0)),
    "timestamp_ms": _naive.map(lambda value: value.replace(microsecond=value.microsecond // 1000 * 1000)),
    "timestamp": _naive,
    "timestamptz": _naive.map(lambda value: value.replace(tzinfo=dt.UTC)),
    "uuid": st.uuids(),
    "json": st.one_of(_json.filter(lambda value: value is not None)),
}


def values_of(type_: Type) -> st.SearchStrategy[Any]:
    """Values of a type."""
    if type_.kind in INTEGERS:
        return st.integers(*INTEGERS[type_.kind])
    if type_.kind == "decimal":
        most = 10**type_.precision - 1
        return st.integers(-most, most).map(lambda n: Decimal(n).scaleb(-type_.scale, _EXACT))
    if type_.kind == "list":
        return st.lists(field_values(type_.fields[0]), max_size=3)
    if type_.kind == "map":
        key, value = type_.fields
        return st.dictionaries(values_of(key.type), field_values(value), max_size=3)
    if type_.kind == "struct":
        return st.fixed_dictionaries({field.name: field_values(field) for field in type_.fields})
    return _PLAIN[type_.kind]


def field_values(field: Field) -> st.SearchStrategy[Any]:
    """Values of a field, nulls included where it may have them."""
    values = values_of(field.type)
    return st.one_of(values, st.none()) if field.optional else values


def records_of(schema: Schema, max_size: int = 12) -> st.SearchStrategy[list[dict[str, Any] | None]]:
    """Values of a typed topic, tombstones included."""
    record = values_of(Type("struct", fields=schema.fields))
    return st.lists(st.one_of(record, record, record, st.none()), min_size=1, max_size=max_size)


with_records = schemas.flatmap(lambda schema: st.tuples(st.just(schema), records_of(schema)))


def same(one: Any, other: Any) -> bool:
    """Equality under which NaN is itself, and 1.0 is not 1."""
    return msgspec.msgpack.encode(_spelled(one)) == msgspec.msgpack.encode(_spelled(other))


def _spelled(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted(([_spelled(key), _spelled(inner)] for key, inner in value.items()), key=lambda e: e[0])
    if isinstance(value, list):
        return [_spelled(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return str(value)
    return value
