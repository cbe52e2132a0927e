"""What a field of type JSON takes: all that can be read again, and nothing else."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamhouse
from streamhouse.errors import InvalidRecordError
from streamhouse.limits import JSON_DEPTH_MAX
from streamhouse.schema.assemble import dicts
from streamhouse.schema.declare import declared
from streamhouse.schema.model import Field, Type, checked
from streamhouse.schema.rows import RowDecoder
from streamhouse.schema.shred import shred

SCHEMA = declared({"any": "JSON"})
REQUIRED = Field("any", Type("json"), False)
INFINITE, NAN = float("inf"), float("nan")


class Color(enum.Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: float


@dataclasses.dataclass
class Plain:
    x: float


def read_back(value: Any) -> Any:
    decoder = RowDecoder(SCHEMA)
    (record,) = dicts(SCHEMA, shred(SCHEMA, decoder.unpack([decoder.pack(value)])), 0, 1)
    assert record is not None
    return record["any"]


def nested(depth: int, innermost: Any = None) -> Any:
    value: Any = [] if innermost is None else [innermost]
    for level in range(depth - 1):
        value = [value] if level % 2 else {"a": value}
    return value


_plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters(), max_size=4),  # lone surrogates, too
    st.binary(max_size=4),
    st.decimals(),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=14))])),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from(
        [Color.RED, object(), np.float64(1), msgspec.UNSET, msgspec.Raw(b"{"), msgspec.msgpack.Ext(1, b"")]
    ),
    st.builds(Point, st.floats()),
    st.builds(Plain, st.floats()),
)
_keys = st.one_of(
    st.text(max_size=2), st.integers(), st.floats(), st.none(), st.booleans(), st.tuples(st.integers())
)
anything = st.recursive(
    _plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(_keys, st.binary(max_size=2), st.uuids()), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(anything)
@settings(max_examples=1000, deadline=None)
def test_whatever_is_accepted_can_be_read(value: Any) -> None:
    try:
        found = read_back({"any": value})
    except InvalidRecordError as error:
        assert str(error).startswith("field any: ")  # noqa: PT017 - most values are not refused
    else:
        json.dumps(found, allow_nan=False)
        assert not has_other_numbers(value)


def has_other_numbers(value: Any) -> bool:
    """Whether there is NaN or an infinity in it."""
    if isinstance(value, dict):
        return any(map(has_other_numbers, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_other_numbers, value))
    if isinstance(value, Point | Plain):
        return has_other_numbers(value.x)
    return isinstance(value, float | Decimal) and not math.isfinite(value)


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(_json)
@settings(max_examples=500, deadline=None)
def test_json_comes_back_as_it_was_or_is_refused(value: Any) -> None:
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        with pytest.raises(InvalidRecordError, match=r"^field any: (nan|-?inf) is no number in JSON"):
            read_back({"any": value})
    else:
        assert read_back({"any": value}) == value
        assert read_back(f'{{"any": {text}}}'.encode()) == value


@pytest.mark.parametrize(
    "value",
    [
        INFINITE,
        -INFINITE,
        NAN,
        [1, [NAN]],
        {"a": {"b": INFINITE}},
        (NAN,),
        {NAN},
        frozenset([-INFINITE]),
        Point(NAN),
        [Plain(-INFINITE)],
        [NAN, msgspec.Raw(b"null")],
    ],
    ids=lambda value: str(value).partition(" object at ")[0],
)
@pytest.mark.parametrize(
    ("type_", "wrapped", "path"),
    [
        ("JSON", lambda value: value, "any"),
        ("JSON[]", lambda value: [1, value], r"any\[\]"),
        ("STRUCT(x JSON)", lambda value: {"x": value}, "any.x"),
        ("MAP(VARCHAR, JSON)", lambda value: {"k": value}, "any.value"),
    ],
)
def test_numbers_that_json_has_not(type_: str, wrapped: Callable[[Any], Any], path: str, value: Any) -> None:
    decoder = RowDecoder(declared({"n": "BIGINT", "any": type_}))
    with pytest.raises(InvalidRecordError, match=rf"^field {path}: (nan|-?inf) is no number in JSON$"):
        decoder.pack({"n": 1, "any": wrapped(value)})


def test_numbers_in_text_that_are_too_large() -> None:
    for text in (b'{"any": {"x": [1e999]}}', '{"any": -1e999}', bytearray(b'{"any": 1e999}')):
        with pytest.raises(InvalidRecordError, match=r"^field any.*: Number out of range"):
            RowDecoder(SCHEMA).pack(text)
    with pytest.raises(InvalidRecordError, match="no JSON"):
        RowDecoder(SCHEMA).pack(b'{"any": NaN}')


def test_decimals_are_numbers() -> None:
    decoder = RowDecoder(SCHEMA)
    (row,) = decoder.unpack([decoder.pack({"any": {"x": Decimal("1.50"), "y": [Decimal(10) ** 20, 0]}})])
    (column,) = shred(SCHEMA, [row]).children
    assert column.buffers[-1] == b'{"x":1.50,"y":[100000000000000000000,0]}'
    assert read_back({"any": Point(Decimal("0.25"))}) == {"x": 0.25}  # type: ignore[arg-type]
    for bad in ("NaN", "-Infinity", "1E+400"):
        with pytest.raises(InvalidRecordError, match="field any: "):
            decoder.pack({"any": [Decimal(bad)]})


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_integers_of_any_size(number: int) -> None:
    for value in ({"any": [number]}, b'{"any": [%d]}' % number, f'{{"any": [{number}]}}'):
        assert read_back(value) == [number]


def test_json_that_was_encoded_already() -> None:
    class Event(msgspec.Struct):
        any: msgspec.Raw

    raw = msgspec.Raw(b' {"x": [1, null]}')
    for value in ({"any": raw}, Event(raw), {"any": {"x": msgspec.Raw(b"[1, null]")}}):
        assert read_back(value) == {"x": [1, None]}
    assert read_back({"any": msgspec.Raw(b"null")}) is None
    for bad in (b"{", b"NaN", b"1e999", b'"\xff"', b"[" * 5_000):
        with pytest.raises(InvalidRecordError, match="field any: "):
            read_back({"any": msgspec.Raw(bad)})


@pytest.mark.parametrize(
    ("schema", "value", "path"),
    [
        ({"any": "JSON NOT NULL"}, {"any": None}, "any"),
        ({"any": "JSON NOT NULL"}, b'{"any": null}', "any"),
        ({"any": "JSON NOT NULL"}, '{"any": null}', "any"),
        ({"any": "JSON NOT NULL"}, {"any": msgspec.Raw(b" null ")}, "any"),
        ([Field("in", Type("struct", fields=(REQUIRED,)), False)], {"in": {"any": None}}, "in.any"),
        ([Field("in", Type("list", fields=(REQUIRED,)), False)], {"in": [1, None]}, r"in\[\]"),
    ],
)
def test_required_json(schema: Any, value: Any, path: str) -> None:
    decoder = RowDecoder(declared(schema) if isinstance(schema, dict) else checked(schema))
    with pytest.raises(InvalidRecordError, match=f"^field {path}: Expected JSON, got `null`"):
        decoder.pack(value)


def as_dict(value: Any) -> Any:
    return {"any": value}


def as_text(value: Any) -> Any:
    return json.dumps({"any": value})


def as_bytes(value: Any) -> Any:
    return as_text(value).encode()


@pytest.mark.parametrize("make", [as_dict, as_text, as_bytes])
@pytest.mark.parametrize("innermost", [None, 1])
def test_depth(make: Callable[[Any], Any], innermost: Any) -> None:
    deepest = nested(JSON_DEPTH_MAX, innermost)
    assert read_back(make(deepest)) == deepest
    with pytest.raises(InvalidRecordError, match=rf"^field any: .* more than {JSON_DEPTH_MAX} deep"):
        read_back(make([deepest]))
    wide = [[0]] * 10 * JSON_DEPTH_MAX
    assert read_back(make(wide)) == wide


def test_far_too_deep() -> None:
    deep = nested(100_000)
    text = b"[" * 100_000 + b"]" * 100_000
    for value in ({"any": deep}, b'{"any":' + text + b"}", {"any": [Plain(deep)]}):
        with pytest.raises(InvalidRecordError, match="deep"):
            RowDecoder(SCHEMA).pack(value)


BAD_TEXTS = [
    *[b"{garbage", b"", b"NaN", b'{"a": Infinity}', b"[1,]", b"1e999", b"[1] 2", b'"\\ud800"', b'"\xff"'],
    json.dumps(nested(JSON_DEPTH_MAX + 1)).encode(),
    b"[" * 5_000,
]


@pytest.mark.parametrize("bad", BAD_TEXTS, ids=lambda text: repr(text)[:12])
@pytest.mark.parametrize("within", [False, True])
def test_columns_of_arrow_that_only_say_they_are_json(bad: bytes, within: bool) -> None:
    """DuckDB believes them."""
    texts = pa.array([b"[1]", None, bad, b"{}"], pa.binary()).view(pa.string())
    field = pa.field("any", texts.type, metadata={"ARROW:extension:name": "arrow.json"})
    if within:
        texts = pa.StructArray.from_arrays([texts], fields=[field.with_name("x")])
        field = pa.field("any", texts.type)
    table = pa.table([texts], schema=pa.schema([field]))
    with streamhouse.Log("memory://") as log:
        log.create_topic("topic", schema={"any": "STRUCT(x JSON)" if within else "JSON"})
        with log.producer() as producer:
            path = r"any\.x" if within else "any"
            with pytest.raises(InvalidRecordError, match=f"^field {path}: .*(is no JSON|100 deep)"):
                producer.send_many("topic", table)
            producer.send_many("topic", table.slice(0, 2)).result()
        found = [record.value["any"] for record in log.read("topic")]
        assert found == ([{"x": [1]}, {"x": None}] if within else [[1], None])


@pytest.mark.parametrize("number", [NAN, INFINITE])
def test_columns_that_become_json(number: float) -> None:
    with streamhouse.Log("memory://") as log:
        log.create_topic("topic", schema=SCHEMA.types)
        with log.producer() as producer:
            for values in ([1.5, number], [[1.5], [number]], [{"a": 1.5}, {"a": number}]):
                with pytest.raises(InvalidRecordError, match=r"^field any: .* is no JSON"):
                    producer.send_many("topic", pl.DataFrame({"any": values}))
                producer.send_many("topic", pl.DataFrame({"any": values[:1]})).result()
        assert [record.value["any"] for record in log.read("topic")] == [1.5, [1.5], {"a": 1.5}]


def test_json_of_relations_and_of_results_stays_json() -> None:
    import duckdb

    query = """select '{"a": [1]}'::json as "any", 'text' as note"""
    with streamhouse.Log("memory://") as log:
        log.create_topic("topic", schema={"any": "JSON", "note": "JSON"})
        with log.producer() as producer, duckdb.connect() as connection:
            producer.send_many("topic", connection.sql(query)).result()
            producer.send_many("topic", log.sql(query)).result()
            producer.send_many("topic", log.sql('select "any", note from topic')).result()
        assert [record.value for record in log.read("topic")] == [{"any": {"a": [1]}, "note": "text"}] * 4


def test_one_bad_record_takes_no_other_with_it() -> None:
    with streamhouse.Log("memory://") as log:
        log.create_topic("dead")
        log.create_topic("topic", schema=SCHEMA.types)
        log.create_topic("lenient", schema=SCHEMA.types, dead_letter="dead")
        with log.producer() as producer:
            for bad in (NAN, {(1, 2): 3}, msgspec.Raw(b"{"), nested(2_000), uuid):
                producer.send("topic", {"any": 1})
                with pytest.raises(InvalidRecordError, match=r"^field any: |nested too deeply"):
                    producer.send("topic", {"any": bad})
                with pytest.raises(InvalidRecordError, match=r"field any: |nested too deeply"):
                    producer.send_many("topic", [{"any": 2}, {"any": bad}])
            producer.send("lenient", {"any": {"x": NAN}})
            producer.send("lenient", {"any": Decimal(1)})
            producer.flush()
        assert [record.value["any"] for record in log.read("topic")] == [1] * 5
        assert [record.value["any"] for record in log.read("lenient")] == [1]
        (letter,) = log.read("dead")
        assert dict(letter.headers)["error"] == b"field any: nan is no number in JSON"
