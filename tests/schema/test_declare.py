"""Schemas as users write them, and how settings keep them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from streamhouse.errors import InvalidSchemaError, UnsupportedFormatError
from streamhouse.schema.declare import declared
from streamhouse.schema.model import SCALARS, Field, Schema, Type, load
from streamhouse.schema.rows import RowDecoder

EVERY_TYPE = {kind: scalar.sql for kind, scalar in SCALARS.items()} | {
    "amount": "DECIMAL(18,2)",
    "tags": "VARCHAR[]",
    "matrix": "DOUBLE[][]",
    "prices": "MAP(VARCHAR, DECIMAL(10,4))",
    "place": 'STRUCT("no space" INTEGER, inner_ STRUCT(x DATE, y TIMESTAMP[]))',
    "must": "BIGINT NOT NULL",
}


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Place(msgspec.Struct):
    lat: float
    lon: float | None


class Trade(msgspec.Struct, rename={"symbol": "sym"}):
    symbol: str
    amount: Annotated[Decimal, msgspec.Meta(extra={"type": "DECIMAL(18,2)"})]
    at: dt.datetime
    local: Annotated[dt.datetime, msgspec.Meta(tz=False)]
    day: dt.date
    clock: dt.time
    id: uuid.UUID
    blob: bytes
    side: Side
    kind: Literal["a", "b"]
    tags: list[str]
    counts: dict[str, int]
    anything: Any
    place: Place | None
    fee: Decimal = Decimal(0)
    note: str | None = None
    ratio: int | float = 0


def test_types_in_duckdbs_words() -> None:
    schema = declared(EVERY_TYPE)
    assert len(schema) == len(EVERY_TYPE)
    for (name, wanted), field in zip(EVERY_TYPE.items(), schema.fields, strict=True):
        assert field.name == name
        assert field.optional == (name != "must")
        assert schema.types[name] == wanted.replace("inner_", '"inner_"').replace("(x ", '("x" ').replace(
            " y ", ' "y" '
        )
    assert declared(schema.types) == schema
    assert load(schema.text) == schema


@pytest.mark.parametrize(
    "text",
    ["BIGINT NOT  NULL", "bigint not null", " BIGINT\tNOT\nNULL \n", "BIGINT NOT NULL", "INT8 Not Null"],
)
def test_not_null_however_it_is_written(text: str) -> None:
    assert declared({"a": text}).types == {"a": "BIGINT NOT NULL"}


def test_fields_whose_names_are_words_of_json_schemas() -> None:
    types = {"$schema": "VARCHAR", "$ref": "BIGINT", "type": "VARCHAR", "anyOf": "JSON", "properties": "JSON"}
    assert declared(types).types == types


def test_a_struct() -> None:
    assert declared(Trade).types == {
        "sym": "VARCHAR NOT NULL",
        "amount": "DECIMAL(18,2) NOT NULL",
        "at": "TIMESTAMP WITH TIME ZONE NOT NULL",
        "local": "TIMESTAMP NOT NULL",
        "day": "DATE NOT NULL",
        "clock": "TIME NOT NULL",
        "id": "UUID NOT NULL",
        "blob": "BLOB NOT NULL",
        "side": "VARCHAR NOT NULL",
        "kind": "VARCHAR NOT NULL",
        "tags": "VARCHAR[] NOT NULL",
        "counts": "MAP(VARCHAR, BIGINT) NOT NULL",
        "anything": "JSON",
        "place": 'STRUCT("lat" DOUBLE, "lon" DOUBLE)',
        "fee": "DECIMAL(38,9)",
        "note": "VARCHAR",
        "ratio": "DOUBLE",
    }


def test_other_classes() -> None:
    @dataclasses.dataclass
    class Point:
        x: int
        y: float = 0.0

    class Pair(TypedDict, total=False):
        a: str

    assert declared(Point).types == {"x": "BIGINT NOT NULL", "y": "DOUBLE"}
    assert declared(Pair).types == {"a": "VARCHAR"}


def test_a_json_schema() -> None:
    schema = declared(
        {
            "$defs": {"place": {"type": "object", "properties": {"lat": {"type": "number"}}}},
            "type": "object",
            "required": ["id", "level"],
            "properties": {
                "id": {"type": "integer"},
                "name": {"type": ["string", "null"]},
                "at": {"type": "string", "format": "date-time"},
                "level": {"enum": ["low", "high"]},
                "place": {"$ref": "#/$defs/place"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                "free": {},
                "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
                "either": {"oneOf": [{"type": "boolean"}, {"type": "string"}]},
            },
        }
    )
    assert schema.types == {
        "id": "BIGINT NOT NULL",
        "name": "VARCHAR",
        "at": "TIMESTAMP WITH TIME ZONE",
        "level": "VARCHAR NOT NULL",
        "place": 'STRUCT("lat" DOUBLE)',
        "tags": "VARCHAR[]",
        "counts": "MAP(VARCHAR, BIGINT)",
        "free": "JSON",
        "maybe": "BOOLEAN",
        "either": "JSON",
    }


def test_the_json_schema_of_a_struct_says_the_same() -> None:
    class Order(msgspec.Struct):
        id: int
        when: Annotated[dt.datetime, msgspec.Meta(tz=True)]
        places: list[Place]
        home: Place | None = None

    assert declared(msgspec.json.schema(Order)) == declared(Order)


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (
            {"type": "object", "properties": {"x": TEXT}, "anyOf": [{"required": ["x"]}, {}]},
            'STRUCT("x" VARCHAR)',
        ),
        (
            {"properties": {"x": TEXT}, "allOf": [{"if": {}, "then": {"required": ["x"]}}]},
            'STRUCT("x" VARCHAR)',
        ),
        (
            {"properties": {"x": TEXT}, "oneOf": [{"properties": {"x": {"const": "a"}}}]},
            'STRUCT("x" VARCHAR)',
        ),
        ({"properties": {"x": TEXT}, "oneOf": [{"properties": {"y": TEXT}}]}, "JSON"),
        ({"properties": {"x": TEXT}, "then": {"properties": {"y": TEXT}}}, "JSON"),
        ({"properties": {"x": TEXT}, "allOf": [{"$ref": "#/$defs/a%20b"}]}, "JSON"),
        ({"type": "string", "allOf": [{"minLength": 1}]}, "VARCHAR"),
        ({"type": ["string", "null"], "anyOf": [{"format": "uri"}, {"maxLength": 0}]}, "VARCHAR"),
        ({"type": "object", "additionalProperties": TEXT, "anyOf": [{}, {}]}, "MAP(VARCHAR, VARCHAR)"),
        ({"type": "object", "allOf": [{"$ref": "#/$defs/a%20b"}]}, 'STRUCT("z" BOOLEAN)'),
        ({"title": "T", "allOf": [{"$ref": "#/$defs/a~1b"}]}, "BIGINT"),
        ({"enum": [1, 2.5, None]}, "DOUBLE"),
        ({"properties": {"x": TEXT}, "anyOf": [{"properties": 5}, True]}, 'STRUCT("x" VARCHAR)'),
    ],
)
def test_constraints_beside_types_in_json_schemas(node: Any, expected: str) -> None:
    definitions = {
        "a b": {"properties": {"z": {"type": "boolean"}}},
        "a/b": {"type": "integer"},
    }
    assert declared({"$defs": definitions, "properties": {"p": node}}).types == {"p": expected}


def test_json_schemas_of_combinators_only() -> None:
    inner = {"properties": {"a": {"type": "integer"}}}
    for combinator in ("anyOf", "oneOf", "allOf"):
        assert declared({combinator: [inner]}).types == {"a": "BIGINT"}
        with pytest.raises(InvalidSchemaError, match="leaves open"):
            declared({combinator: [inner, {"properties": {"b": TEXT}}]})


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"type": 5}, "a type is text or a list of texts, not 5"),
        ({"type": [5]}, "a type is text"),
        ({"type": None}, "a type is text"),
        ({"type": "string", "format": ["x"]}, "a format is text"),
        ({"enum": 5}, "enum is a list, not 5"),
        ({"anyOf": 5}, "anyOf is a list, not 5"),
        ({"allOf": 5}, "allOf is a list"),
        ({"properties": {"x": {}}, "oneOf": 5}, "oneOf is a list"),
        ({"anyOf": [{"properties": 5}, {"type": "null"}]}, "properties are an object"),
        ({"properties": {"x": {}}, "required": None}, "required is a list, not None"),
        ({"properties": 5}, "properties are an object"),
        ({"type": "object", "properties": None}, "properties are an object"),
        ({"$ref": "#foo"}, "only references such as"),
        ({"$ref": "other.json#/a"}, "only references such as"),
        ({"$ref": "#"}, "refers to itself"),
    ],
)
def test_json_schemas_that_are_none(node: Any, message: str) -> None:
    with pytest.raises(InvalidSchemaError, match=f"^field p[^:]*: .*{message}"):
        declared({"properties": {"p": node}})
    with pytest.raises(InvalidSchemaError):
        declared({"$schema": "https://json-schema.org/draft/2020-12/schema", **node})


class Endless(msgspec.Struct):
    inner: Endless | None = None


class Several(msgspec.Struct):
    value: int | str


class Untyped(msgspec.Struct):
    value: Annotated[int, msgspec.Meta(extra={"type": 5})]


class MaybeRaw(msgspec.Struct):
    raw: msgspec.Raw | None


class Pause(msgspec.Struct):
    span: dt.timedelta


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, "at least one field"),
        ({"a": "BLAH"}, "field a: .*BLAH"),
        ({"a": "HUGEINT"}, r"use DECIMAL\(38,0\)"),
        ({"a": "TIMESTAMP_NS"}, "microseconds"),
        ({"a": "STRUCT(x INTERVAL)"}, "field a.x: INTERVAL cannot be stored"),
        ({"a": "INTEGER[3]"}, "a list"),
        ({"a": "ENUM('x', 'y')"}, "use VARCHAR"),
        ({"a": "MAP(DATE, INTEGER)"}, "field a: the keys of a MAP"),
        ({"a": 5}, "field a: a type is text"),
        ({5: "INTEGER"}, "no name"),
        ({"": "INTEGER"}, "no name"),
        ({"a\nb": "INTEGER"}, "no name"),
        ({'a"b': "INTEGER"}, "'a\"b' is no name for a field: .* without quotation marks"),
        ({"a\\b": "INTEGER"}, "no name for a field"),
        ({"a": 'STRUCT("x""y" INTEGER)[]'}, r"a\.item\.'x\"y' is no name"),
        (Schema((Field('a"b', Type("bigint"), True),)), "is no name"),
        ({"a": "STRUCT(x INTEGER)[][]", "b": 'STRUCT("x""y" INTEGER)[][]'}, "is no name"),
        (Schema(2 * (Field("a", Type("bigint"), True),)), "a and a are the same"),
        ({"a": "\ud800"}, "field a"),
        ({"a": "BIGINT DEFAULT 1"}, "field a: 'BIGINT DEFAULT 1' has more than a type"),
        ({"a": "BIGINT NOT NULL DEFAULT 1"}, "more than a type"),
        ({"a": "BIGINT PRIMARY KEY NOT NULL"}, "more than a type"),
        ({"a": "BIGINT CHECK (a > 1)"}, "more than a type"),
        ({"a": "BIGINT, b BIGINT"}, "more than a type"),
        ({"a": "INTEGER", "A": "INTEGER"}, "a and A are the same"),
        ({"a" * i: "INTEGER" for i in range(1, 2100)}, "at most 2,000"),
        ({"a": "INTEGER" + 40 * "[]"}, "more than 32 deep"),
        (Endless, "no end"),
        (Several, "field value has several types"),
        (Pause, "field span"),
        (Untyped, "field value: a type is text"),
        (MaybeRaw, "field raw: use msgspec.Raw alone"),
        ({"type": "object"}, "does not describe an object"),
        ({"properties": {"a": {"$ref": "#/nowhere"}}}, "has no #/nowhere"),
        ({"properties": {"a": {"type": "blob"}}}, "unknown type 'blob'"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "refers to itself"),
        (int, "a schema is"),
        ("a INTEGER", "a schema is"),
    ],
)
def test_what_cannot_be_a_schema(schema: Any, message: str) -> None:
    with pytest.raises(InvalidSchemaError, match=message):
        declared(schema)


def test_names_that_were_allowed_once_are_still_read() -> None:
    schema = load('[["a\\"b",["bigint"],true]]')
    assert schema.types == {'a"b': "BIGINT"}
    with pytest.raises(InvalidSchemaError, match="records of this schema cannot be made"):
        RowDecoder(schema)


def test_text_of_a_newer_version() -> None:
    with pytest.raises(UnsupportedFormatError, match="upgrade"):
        load('[["a",["quaternion"],true]]')
    with pytest.raises(UnsupportedFormatError, match="upgrade"):
        load("[")
