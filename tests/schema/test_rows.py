"""What is accepted as a value of a typed topic, and how the others are refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

import attrs
import msgspec
import numpy as np
import pytest

from streamhouse.errors import InvalidRecordError
from streamhouse.schema.assemble import dicts
from streamhouse.schema.declare import declared
from streamhouse.schema.rows import RowDecoder
from streamhouse.schema.shred import shred

T = TypeVar("T")

EAST = dt.timezone(dt.timedelta(hours=14))

LARGEST_FLOAT = math.nextafter(3.4028235677973366e38, 0)

SCHEMA = declared(
    {
        "user": "VARCHAR NOT NULL",
        "amount": "DECIMAL(6,2)",
        "count": "SMALLINT",
        "big": "UBIGINT",
        "ratio": "FLOAT",
        "at": "TIMESTAMPTZ",
        "local": "TIMESTAMP",
        "inner": "STRUCT(x INTEGER, y DECIMAL(3,1)[])",
        "map": "MAP(VARCHAR, UBIGINT)",
    }
)


class Color(enum.Enum):
    RED = "red"


class Inner(msgspec.Struct):
    x: int | None = None


class Payment(msgspec.Struct, omit_defaults=True):
    user: Color
    amount: Decimal
    inner: Inner | None = None
    count: int | None = None


@dataclasses.dataclass
class Plain:
    user: str
    count: int


class Limits(msgspec.Struct, omit_defaults=True, tag="limits", rename={"per_day": "perDay"}):
    per_day: int = 5
    tags: list[str] = []


@dataclasses.dataclass
class Holder:
    limits: Limits


class Account(msgspec.Struct, omit_defaults=True):
    user: str
    limit: int | None = 5
    color: Color = Color.RED
    own: Limits = msgspec.field(default_factory=Limits)
    several: list[Limits] = []
    named: dict[str, Limits] = {}


class Keeper(msgspec.Struct):
    holder: Holder | None = None
    unset: int | msgspec.UnsetType = msgspec.UNSET


class Base(msgspec.Struct):
    n: int = 1


class Derived(Base, omit_defaults=True):
    m: int = 7


@attrs.define
class Owner:
    limits: Limits
    _own: int = 1


class Pair(msgspec.Struct, array_like=True, tag="pair"):
    limits: Limits


class Box(msgspec.Struct, Generic[T]):
    content: T


class Lasting(msgspec.Struct):
    d: Annotated[dt.timedelta, msgspec.Meta(extra={"type": "VARCHAR"})]


class Sides(msgspec.Struct):
    color: Color
    kind: Literal["a", "b"] = "a"


def stored(value: Any) -> dict[str, Any]:
    decoder = RowDecoder(SCHEMA)
    (record,) = dicts(SCHEMA, shred(SCHEMA, decoder.unpack([decoder.pack(value)])), 0, 1)
    assert record is not None
    return {name: entry for name, entry in record.items() if entry is not None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"user": "a"}, {"user": "a"}),
        (b'{"user": "a", "amount": 1.005}', {"user": "a", "amount": Decimal("1.01")}),
        ('{"user": "a", "amount": "-7"}', {"user": "a", "amount": Decimal("-7.00")}),
        (bytearray(b'{"user": "a"}'), {"user": "a"}),
        ({"user": "a", "amount": 99.99}, {"user": "a", "amount": Decimal("99.99")}),
        ({"user": "a", "amount": 3}, {"user": "a", "amount": Decimal("3.00")}),
        (Payment(Color.RED, Decimal("1.5")), {"user": "red", "amount": Decimal("1.50")}),
        (
            Payment(Color.RED, Decimal(1), Inner(4)),
            {"user": "red", "amount": Decimal("1.00"), "inner": {"x": 4, "y": None}},
        ),
        (Plain("a", 3), {"user": "a", "count": 3}),
        (
            {"user": "a", "count": np.int16(3), "ratio": np.float64(0.5)},
            {"user": "a", "count": 3, "ratio": 0.5},
        ),
        ({"user": "a", "ratio": float("inf")}, {"user": "a", "ratio": float("inf")}),
        (
            b'{"user": "a", "at": "2024-01-01T00:00:00+01:00"}',
            {"user": "a", "at": dt.datetime(2023, 12, 31, 23, tzinfo=dt.UTC)},
        ),
        ({"user": "a", "big": 2**64 - 1}, {"user": "a", "big": 2**64 - 1}),
        ({"user": Color.RED, "count": 1}, {"user": "red", "count": 1}),
        ({"user": "a", "inner": Inner(1)}, {"user": "a", "inner": {"x": 1, "y": None}}),
        ({"user": "a", "ratio": LARGEST_FLOAT}, {"user": "a", "ratio": float(np.float32(LARGEST_FLOAT))}),
    ],
)
def test_accepted(value: Any, expected: dict[str, Any]) -> None:
    assert stored(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "missing required field `user`"),
        ({"user": None}, "^field user: Expected `str`, got `null`"),
        ({"user": 5}, "^field user: Expected `str`, got `int`"),
        ({"user": "a", "cuont": 1}, "unknown field `cuont`; did you mean 'count'"),
        ({"user": "a", "count": 40_000}, "^field count: Expected `int` <= 32767"),
        ({"user": "a", "count": 1.5}, "^field count"),
        ({"user": "a", "count": "1"}, "^field count"),
        ({"user": "a", "amount": Decimal("12345.6")}, r"^field amount: 12345.6 does not fit DECIMAL\(6,2\)"),
        ({"user": "a", "amount": Decimal("9999.999")}, "^field amount"),
        ({"user": "a", "amount": Decimal("NaN")}, "^field amount: NaN"),
        (b'{"user": "a", "amount": 1e999999999}', "^field amount"),
        ({"user": "a", "ratio": 1e300}, "^field ratio: 1e"),
        (
            {"user": "a", "ratio": math.nextafter(LARGEST_FLOAT, math.inf)},
            "^field ratio: 3.4028235677973366e",
        ),
        ({"user": dt.timedelta(1)}, "^field user: Expected `str`"),
        ({"user": Color.RED, "count": "1"}, "^field count"),
        ({"user": "a", "big": 2**64}, "^field big"),
        ({"user": "a", "big": -1}, "^field big: Expected `int` >= 0"),
        ({"user": "a", "at": dt.datetime(2024, 1, 1)}, "^field at: .*timezone"),
        ({"user": "a", "local": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)}, "^field local: .*timezone"),
        ({"user": "a", "inner": {"x": "1"}}, "^field inner.x: Expected `int"),
        ({"user": "a", "inner": {"z": 1}}, "^field inner: Object contains unknown field `z`"),
        ({"user": "a", "inner": {"y": [Decimal(1), Decimal(100)]}}, r"^field inner.y\[\]: 100"),
        ({"user": "a", "map": {"k": 2**64}}, "^field map.value"),
        ({"user": "a", "map": {1: 1}}, "^field"),
        ({"user": "\ud800"}, "^field user: the value cannot be stored"),
        ({"user": "a", "at": dt.datetime.min.replace(tzinfo=EAST)}, "^field at: the value cannot be stored"),
        ({"user": object()}, "^field user"),
        ({"user": "a", "count": np.int64(70_000)}, "^field count"),
        (b"[1]", "does not fit the schema: Expected `object`"),
        (b"nonsense", "no JSON"),
        (5, "type int has no fields"),
        ([1], "type list has no fields"),
        (object(), "cannot be stored"),
    ],
)
def test_refused_with_the_name_of_the_field(value: Any, message: str) -> None:
    with pytest.raises(InvalidRecordError, match=message):
        RowDecoder(SCHEMA).pack(value)


def read_back(schema: Any, value: Any) -> Any:
    schema = declared(schema)
    decoder = RowDecoder(schema)
    return dicts(schema, shred(schema, decoder.unpack([decoder.pack(value)])), 0, 1)[0]


def test_what_a_struct_leaves_out_of_json_is_stored() -> None:
    limits = {"perDay": 5, "tags": [], "type": "limits"}
    account = Account("ann", 5, Color.RED, Limits(), [Limits(6, ["x"]), Limits()], {"k": Limits()})
    full = {
        "user": "ann",
        "limit": 5,
        "color": "red",
        "own": limits,
        "several": [limits | {"perDay": 6, "tags": ["x"]}, limits],
        "named": {"k": limits},
    }
    assert read_back(Account, account) == full
    assert read_back(Account, Account("ann", 5)) == full | {"several": [], "named": {}}
    assert read_back(Account, {"user": "ann", "several": [Limits()]})["several"] == [limits]
    types = {"holder": declared(Keeper).types["holder"], "unset": "BIGINT"}
    assert read_back(types, Keeper(Holder(Limits()))) == {"holder": {"limits": limits}, "unset": None}
    assert read_back(Account, {"user": "ann"})["limit"] is None


def event(kind: Any) -> Any:
    """A Struct with a field of that type."""
    return msgspec.defstruct("Event", [("field", kind)])


@pytest.mark.parametrize("kind", [Any, object, list, Holder | list | Owner, tuple[Limits, int], Pair])
@pytest.mark.parametrize("holder", [Holder, Owner, lambda limits: [limits], Pair])
def test_defaults_are_stored_whatever_the_class_says(kind: Any, holder: Any) -> None:
    limits = {"perDay": 5, "tags": [], "type": "limits"}
    value = event(kind)(holder(Limits()))
    expected: Any = {Holder: {"limits": limits}, Owner: {"limits": limits}, Pair: ["pair", limits]}
    assert read_back({"field": "JSON"}, value) == {"field": expected.get(holder, [limits])}
    assert read_back({"field": "JSON"}, {"field": value.field}) == {"field": expected.get(holder, [limits])}


def test_defaults_of_subclasses_are_stored() -> None:
    types = {"field": "STRUCT(n INT, m INT)"}
    assert read_back(types, event(Base)(Derived())) == {"field": {"n": 1, "m": 7}}
    boxed = event(Box[Base])(Box(Derived()))
    assert read_back({"field": "JSON"}, boxed) == {"field": {"content": {"n": 1, "m": 7}}}

    class Late(Sides, omit_defaults=True):
        pass

    kind = event(Sides)
    types = {"field": "STRUCT(color VARCHAR, kind VARCHAR)"}
    for value in (Sides(Color.RED), Late(Color.RED)):
        assert read_back(types, kind(value)) == {"field": {"color": "red", "kind": "a"}}


def test_json_keeps_defaults_of_objects_that_compare_as_they_like() -> None:
    class Odd(msgspec.Struct, omit_defaults=True, eq=False):
        n: int = 7

        def __eq__(self, other: object) -> bool:
            return bool(self.n == other.n)  # type: ignore[attr-defined]

    assert read_back({"field": "JSON"}, {"field": [Odd()]}) == {"field": [{"n": 7}]}


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["x"] = value
    return value


@pytest.mark.parametrize("type_", ["JSON", "INT[]"])
@pytest.mark.parametrize(
    "other", [np.array([1, 2]), msgspec.Raw(b"{bad"), cycle(), object(), np.datetime64("12000-01-01")]
)
def test_what_is_wrong_is_not_hidden_by_another_field(type_: str, other: Any) -> None:
    decoder = RowDecoder(declared({"q": "INT", "p": type_}))
    with pytest.raises(InvalidRecordError, match=r"^field q: Expected `int \| null`, got `str`"):
        decoder.pack({"q": "bad", "p": other})
    with pytest.raises(InvalidRecordError, match="unknown field `r`"):
        decoder.pack({"q": 1, "r": other})


def test_what_numpy_has_in_dicts() -> None:
    types = {"n": "INT[]", "at": "TIMESTAMP", "day": "DATE"}
    at = np.datetime64("1969-12-31T23:59:59.999999999")
    assert read_back(types, {"n": np.array([1, 2]), "at": at, "day": np.datetime64("2024-01-01")}) == {
        "n": [1, 2],
        "at": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999),
        "day": dt.date(2024, 1, 1),
    }


def test_time_spans_of_classes_are_text() -> None:
    assert read_back(Lasting, Lasting(dt.timedelta(seconds=90))) == {"d": "PT90S"}
    with pytest.raises(InvalidRecordError, match=r"^field d: Expected `str`"):
        read_back(Lasting, {"d": dt.timedelta(seconds=90)})


def test_members_of_enums_are_their_values_in_dicts_too() -> None:
    assert read_back(Sides, {"color": Color.RED, "kind": "b"}) == {"color": "red", "kind": "b"}
    assert read_back({"all": "VARCHAR[]"}, {"all": [Color.RED, "blue"]}) == {"all": ["red", "blue"]}


def test_a_field_of_type_json_takes_anything_that_is_json() -> None:
    schema = declared({"any": "JSON"})
    decoder = RowDecoder(schema)
    values: list[Any] = [1, "x", [None, 1.5], {"a": {"b": 1}}, None, True, "", []]
    column = shred(schema, decoder.unpack([decoder.pack({"any": value}) for value in values]))
    assert dicts(schema, column, 0, len(values)) == [{"any": value} for value in values]
    for bad in ({1, object()}, object()):
        with pytest.raises(InvalidRecordError, match="cannot be stored"):
            decoder.pack({"any": bad})
