"""Schemas proposed from JSON data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamhouse
from streamhouse.errors import InvalidInputError, InvalidSchemaError
from streamhouse.schema.declare import declared
from streamhouse.schema.infer import inferred
from streamhouse.schema.rows import RowDecoder


def types_of(*values: Any) -> dict[str, str]:
    return inferred([value if isinstance(value, str) else json.dumps(value) for value in values]).types


def test_types() -> None:
    found = types_of(
        {
            "whole": 1,
            "signed": -1,
            "real": 1,
            "text": "12",
            "flag": True,
            "at": "2024-01-01T00:00:00Z",
            "local": "2024-01-01 00:00:00.5",
            "day": "2024-02-29",
            "id": "00000000-0000-0000-0000-000000000001",
            "list": [1],
            "empty": [],
            "inner": {"x": "s", "deep": [{"y": 1.5}]},
            "mixed": 1,
            "void": None,
            "large": 2**64 - 1,
            "odd": "2024-02-30",
        },
        {
            "real": 1.5,
            "mixed": "x",
            "list": [2.5],
            "signed": 2,
            "at": "2024-01-01T00:00:00.123+02:00",
            "more": 1,
        },
        "no json",
        "[1]",
    )
    assert found == {
        "whole": "BIGINT",
        "signed": "BIGINT",
        "real": "DOUBLE",
        "text": "VARCHAR",
        "flag": "BOOLEAN",
        "at": "TIMESTAMP WITH TIME ZONE",
        "local": "TIMESTAMP",
        "day": "DATE",
        "id": "UUID",
        "list": "DOUBLE[]",
        "empty": "JSON[]",
        "inner": 'STRUCT("x" VARCHAR, "deep" STRUCT("y" DOUBLE)[])',
        "mixed": "JSON",
        "void": "JSON",
        "large": "UBIGINT",
        "odd": "VARCHAR",
        "more": "BIGINT",
    }


def test_names() -> None:
    assert types_of({"we ird": "2024-01-01", "a.b": 1}) == {"we ird": "DATE", "a.b": "BIGINT"}
    assert types_of({"m": {'a"b': 1}, "n": {"a\\b": 1}}) == {"m": "JSON", "n": "JSON"}
    with pytest.raises(InvalidSchemaError, match="'a\"b' is no name"):
        types_of({'a"b': "x"})
    assert types_of({"m": {f"k{n}": n for n in range(300)}}) == {"m": "JSON"}
    assert types_of({"m": {"a": 1, "A": 2}}) == {"m": "JSON"}


def nested(depth: int, *, lists: bool) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if lists else {"a": value}
    return value


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([2**64 - 1], "UBIGINT"),
        ([-1, 2**63], "DECIMAL(38,0)"),
        ([2**64], "DOUBLE"),
        ([{"b": 2**64 - 1}, {"b": 1, "c": "x"}], 'STRUCT("b" UBIGINT, "c" VARCHAR)'),
        ([[1, 2**64 - 1]], "UBIGINT[]"),
        ([[-1, 2**64 - 1]], "DECIMAL(38,0)[]"),
        (["2024-01-01T00:00:00Z", "2024-01-01T24:00:00Z"], "VARCHAR"),
        (["2024-01-01T24:00:00"], "VARCHAR"),
        (["0000-01-01T00:00:00Z"], "VARCHAR"),
        (["0000-01-01"], "VARCHAR"),
        (["2024-01-01T00:00:00+24:00"], "VARCHAR"),
        ([{"": 1}], "JSON"),
        ([nested(50, lists=True)], "JSON" + 31 * "[]"),
        ([nested(98, lists=False)], None),
    ],
)
def test_what_a_schema_is_proposed_from_fits_it(values: list[Any], type_: str | None) -> None:
    texts = [json.dumps({"x": value, "other": "2024-01-01"}) for value in values]
    schema = declared(inferred(texts).types)
    if type_ is not None:
        assert schema.types == {"x": type_, "other": "DATE"}
    for text in texts:
        RowDecoder(schema).pack(text)


_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**65), 2**65),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["2024-01-01", "2024-01-01T00:00:00", "2024-01-01T24:00:00", "x", ""]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", '"', ""]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "$ref"]), _values, min_size=1), min_size=1, max_size=5
    )
)
@settings(max_examples=30, deadline=None)
def test_whatever_a_schema_is_proposed_from_fits_it(values: list[dict[str, Any]]) -> None:
    texts = list(map(json.dumps, values))
    decoder = RowDecoder(declared(inferred(texts).types))
    for text in texts:
        decoder.pack(text)


def test_values_that_are_passed_over() -> None:
    deep = "[" * 3_000 + "]" * 3_000
    odd = ["{", f'{{"b": {deep}}}', '{"c": NaN}', '{"d": 1,}', '{"e": "\\ud800"}', '{"f": 1e999}', "\ud800"]
    assert types_of('{"a": 1}', *odd) == {"a": "BIGINT"}
    with pytest.raises(InvalidSchemaError, match="none of 7 values"):
        inferred(odd)


def test_names_that_fields_cannot_have() -> None:
    with pytest.raises(InvalidSchemaError, match="'' is no name"):
        types_of({"": 1, "a": "x"})


def test_names_that_json_schemas_have_too() -> None:
    found = types_of({"$ref": "x", "$schema": "y", "type": "object", "properties": {"a": 1}})
    assert declared(found).types == found


@pytest.mark.parametrize("values", [[], ["x"], ["1", "[]"], ["{}"]])
def test_nothing_to_go_by(values: list[str]) -> None:
    with pytest.raises(InvalidSchemaError, match="JSON object"):
        inferred(values)


def test_of_a_topic() -> None:
    values = [{"user": "ann", "amount": 1.5}, {"user": "bob", "at": "2024-01-01T00:00:00Z"}, b"\xff", None]
    with streamhouse.Log("memory://") as log:
        raw = log.create_topic("raw")
        with pytest.raises(InvalidSchemaError):
            raw.infer_schema()
        with log.producer() as producer:
            for value in values:
                producer.send("raw", value)
            producer.flush()
            schema = raw.infer_schema()
            assert schema.types == {"user": "VARCHAR", "amount": "DOUBLE", "at": "TIMESTAMP WITH TIME ZONE"}
            assert raw.infer_schema(records=1).types == {"user": "VARCHAR", "amount": "DOUBLE"}
            typed = log.create_topic("typed", schema=schema)
            assert typed.schema == schema
            for record in log.read("raw"):
                if record.value and record.value[:1] == b"{":
                    producer.send("typed", record.value)
        assert [record.value["user"] for record in log.read("typed")] == ["ann", "bob"]
        assert typed.infer_schema().types["amount"] == "DOUBLE"
        with pytest.raises(InvalidInputError, match="records=0"):
            raw.infer_schema(records=0)
