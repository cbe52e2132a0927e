"""Schemas proposed from JSON data."""

from __future__ import annotations

import json
from typing import Any

import pytest

import streamhouse
from streamhouse.errors import InvalidInputError, InvalidSchemaError
from streamhouse.schema.infer import inferred


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
    with pytest.raises(InvalidSchemaError, match='field a"b: a name has no quotation marks'):
        types_of({'a"b': "x"})
    assert types_of({"m": {f"k{n}": n for n in range(300)}}) == {"m": "JSON"}
    assert types_of({"m": {"a": 1, "A": 2}}) == {"m": "JSON"}


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
