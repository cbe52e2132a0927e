"""What may become of a schema."""

from __future__ import annotations

import pytest

from streamhouse.errors import IncompatibleSchemaError
from streamhouse.schema.declare import declared
from streamhouse.schema.evolution import check_evolution

OLD = {
    "a": "INTEGER NOT NULL",
    "b": "DECIMAL(10,2)",
    "c": "STRUCT(x FLOAT, y DATE[])",
    "d": "MAP(VARCHAR, TINYINT)",
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"a": "INTEGER"},
        {"a": "BIGINT NOT NULL"},
        {"a": "DOUBLE"},
        {"a": "DECIMAL(12,2)"},
        {"b": "DECIMAL(12,4)"},
        {"c": "STRUCT(y TIMESTAMP[], x DOUBLE, z VARCHAR)"},
        {"d": "MAP(VARCHAR, BIGINT)"},
        {"e": "VARCHAR"},
    ],
)
def test_allowed(change: dict[str, str]) -> None:
    check_evolution(declared(OLD), declared(OLD | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": "SMALLINT NOT NULL"}, "field a is INTEGER, and SMALLINT does not hold"),
        ({"a": "FLOAT"}, "FLOAT does not hold"),
        ({"a": "UBIGINT"}, "UBIGINT does not hold"),
        ({"a": "DECIMAL(11,2)"}, r"DECIMAL\(11,2\) does not hold"),
        ({"b": "DECIMAL(12,1)"}, "field b"),
        ({"b": "DECIMAL(11,4)"}, "field b"),
        ({"b": "DECIMAL(10,2) NOT NULL"}, "field b is required now"),
        ({"c": "STRUCT(x FLOAT)"}, "field c.y is missing"),
        ({"c": "STRUCT(x FLOAT, y VARCHAR[])"}, "field c.y.item is DATE"),
        ({"c": "VARCHAR"}, "field c"),
        ({"d": "MAP(BIGINT, TINYINT)"}, "field d.key"),
        ({"e": "VARCHAR NOT NULL"}, "field e is new and required"),
    ],
)
def test_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(IncompatibleSchemaError, match=message):
        check_evolution(declared(OLD), declared(OLD | change))


def test_all_problems_are_named() -> None:
    with pytest.raises(IncompatibleSchemaError, match=r"field x .*; field a is missing.*another topic"):
        check_evolution(declared({"a": "INTEGER"}), declared({"x": "INTEGER NOT NULL"}))
