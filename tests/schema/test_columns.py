"""Values of any schema become columns, blocks, and values again."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import uuid
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamhouse.errors import CorruptionError
from streamhouse.format.arrays import cut_array, join_arrays, lengths_max, pick_array, same_shape
from streamhouse.format.block import decode_block, encode_block
from streamhouse.format.columns import ArrowColumn, Columns, columns_from_lists
from streamhouse.format.joins import cut_columns, join_columns, joinable, pick_columns
from streamhouse.format.partial import BlockIndex, read_index
from streamhouse.schema.assemble import dicts, json_values, stored_values
from streamhouse.schema.conform import conform
from streamhouse.schema.declare import declared
from streamhouse.schema.model import Schema
from streamhouse.schema.rows import RowDecoder
from streamhouse.schema.shred import null_column_of, shred
from tests.format.strategies import as_stored
from tests.schema.strategies import records_of, same, schemas, with_records
from tests.schema.test_declare import EVERY_TYPE

Records = list[dict[str, Any] | None]


def shredded(schema: Schema, records: Records) -> ArrowColumn:
    decoder = RowDecoder(schema)
    return shred(schema, decoder.unpack([decoder.pack(record) for record in records]))


def columns_of(schema: Schema, records: Records) -> Columns:
    columns = columns_from_lists(None, [None] * len(records), 7, None)
    return msgspec.structs.replace(columns, value=shredded(schema, records))


def given_back(schema: Schema, column: Any) -> Records:
    assert isinstance(column, ArrowColumn)
    return dicts(schema, column, 0, column.count)


def indexed(data: bytes) -> BlockIndex:
    needed = read_index(data[:10], len(data), "here")
    assert isinstance(needed, int)
    needed = read_index(data[:needed], len(data), "here")
    assert isinstance(needed, int)
    index = read_index(data[:needed], len(data), "here")
    assert isinstance(index, BlockIndex)
    return index


@given(with_records)
@settings(max_examples=100, deadline=None)
def test_records_become_columns_and_records_again(drawn: tuple[Schema, Records]) -> None:
    schema, records = drawn
    columns = columns_of(schema, records)
    assert same(given_back(schema, columns.value), records)
    decoded = decode_block(encode_block(columns).data, "here")
    assert decoded == as_stored(columns)
    assert conform(schema, decoded.value) is decoded.value


@given(with_records, st.data())
@settings(max_examples=60, deadline=None)
def test_cutting_joining_and_picking(drawn: tuple[Schema, Records], data: st.DataObject) -> None:
    schema, records = drawn
    column = shredded(schema, records)
    start = data.draw(st.integers(0, len(records)))
    stop = data.draw(st.integers(start, len(records)))
    cut = cut_array(column, start, stop)
    assert same(given_back(schema, cut), records[start:stop])
    assert same(dicts(schema, column, start, stop), records[start:stop])
    joined = join_arrays([cut_array(column, 0, start), cut, cut_array(column, stop, len(records))])
    assert same(given_back(schema, joined), records)
    flags = data.draw(
        st.binary(min_size=len(records), max_size=len(records)).map(lambda b: bytes(x & 1 for x in b))
    )
    picked = [record for record, flag in zip(records, flags, strict=True) if flag]
    assert same(given_back(schema, pick_array(column, flags)), picked)


@given(with_records)
@settings(max_examples=50, deadline=None)
def test_columns_of_blocks(drawn: tuple[Schema, Records]) -> None:
    schema, records = drawn
    columns = columns_of(schema, records)
    assert joinable(columns, columns)
    joined = join_columns([(0, columns), (len(records) + 3, columns)])
    assert same(given_back(schema, joined.value), records * 2)
    count = columns.count
    assert cut_columns(joined, count, 2 * count) == cut_columns(columns, 0, count)
    base, last = pick_columns(100, joined, bytes(joined.count - 1) + b"\1")
    assert base == 100 + 2 * count + 2
    assert same(given_back(schema, last.value), records[-1:])
    assert last.deltas is None


@given(with_records)
@settings(max_examples=50, deadline=None)
def test_a_block_is_read_in_parts(drawn: tuple[Schema, Records]) -> None:
    schema, records = drawn
    columns = columns_of(schema, records)
    data = encode_block(columns).data
    index = indexed(data)
    assert index.count == columns.count
    assert isinstance(columns.value, ArrowColumn)
    for only in [{f"value.{field.name}"} for field in schema.fields] + [
        {"value"},
        {"timestamp"},
        {"key", "timestamp"},
    ]:
        spans = index.spans(only)
        assert all(start < stop for start, stop in spans)
        part = index.decode({start: data[start:stop] for start, stop in spans}, only)
        assert part == decode_block(data, "here", only)
        (name,) = only if len(only) == 1 else ("",)
        if name.startswith("value."):
            assert isinstance(part.value, ArrowColumn)
            assert part.value.children == (columns.value.child(name.removeprefix("value.")),)
    assert index.field("nowhere") is None
    for field, child in zip(schema.fields, columns.value.children, strict=True):
        header = index.field(field.name)
        assert header is not None
        assert (header.type, header.bounds) == (field.type.arrow, child.bounds)


@given(with_records)
@settings(max_examples=60, deadline=None)
def test_bounds_enclose_all_values(drawn: tuple[Schema, Records]) -> None:
    schema, records = drawn
    column = shredded(schema, records + records)
    for field, child in zip(schema.fields, column.children, strict=True):
        values = [value for value in stored_values(child, field.type) or () if value is not None]
        assert values or child.bounds is None
        if child.bounds is not None:
            assert (min(values), max(values)) == child.bounds


@given(schemas, st.integers(0, 5))
def test_nulls_of_any_type(schema: Schema, count: int) -> None:
    for field in schema.fields:
        column = null_column_of(field.name, field.type, count)
        struct = ArrowColumn("value", "+s", count, None, (), (column,))
        assert given_back(Schema((field,)), struct) == [{field.name: None}] * count


@pytest.fixture(scope="module")
def every() -> tuple[Schema, Records]:
    schema = declared(EVERY_TYPE)
    record: dict[str, Any] = {
        "boolean": True,
        "float": 1.5,
        "double": math.pi,
        "varchar": "x",
        "blob": b"\xff",
        "date": dt.date(2024, 2, 29),
        "time": dt.time(1, 2, 3, 4),
        "timestamp_s": dt.datetime(1969, 12, 31),
        "timestamp_ms": dt.datetime(2024, 1, 1, 0, 0, 0, 1000),
        "timestamp": dt.datetime(2024, 1, 1, 0, 0, 0, 1),
        "timestamptz": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        "uuid": uuid.UUID(int=5),
        "json": {"any": [1, None]},
        "amount": Decimal("-12.34"),
        "tags": ["a", None],
        "matrix": [[1.0], []],
        "prices": {"x": Decimal("1.5")},
        "place": {"no space": 1, "inner_": {"x": dt.date(1, 1, 1), "y": []}},
        "must": 5,
    }
    record |= {
        field.name: 7 for field in schema.fields if field.name.endswith("int") or field.name == "integer"
    }
    return schema, [record, None, {"must": 6}]


def test_json_values(every: tuple[Schema, Records]) -> None:
    schema, records = every
    first, second, third = json_values(schema, shredded(schema, records), 0, 3)
    assert second is None
    assert first is not None
    read = json.loads(first)
    assert read["amount"] == -12.34
    assert b'"amount":-12.34' in first
    assert base64.b64decode(read["blob"]) == b"\xff"
    assert read["timestamptz"] == "2023-12-31T22:00:00Z"
    assert read["json"] == {"any": [1, None]}
    assert json.loads(third or b"") == dict.fromkeys(EVERY_TYPE) | {"must": 6}
    decoder = RowDecoder(schema)
    again = shred(schema, decoder.unpack([decoder.pack(value) for value in (first, second, third)]))
    assert again == shredded(schema, records)  # JSON has all there is to a value


def test_every_flipped_bit_is_noticed(every: tuple[Schema, Records]) -> None:
    schema, records = every
    columns = columns_of(schema, records * 4)
    data = encode_block(columns).data
    index = indexed(data)
    spans = index.spans({"value.amount", "timestamp"})
    front = min(start for start, _ in index.spans({"timestamp", "key", "value"}))
    for position in range(0, len(data), 11):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(CorruptionError):
            decode_block(bytes(damaged), "here")
        if 8 <= position < front:
            with pytest.raises(CorruptionError):
                read_index(bytes(damaged[:front]), len(data), "here")
        for start, stop in spans:
            if start <= position < stop:
                parts = {a: bytes(damaged[a:b]) for a, b in spans}
                with pytest.raises(CorruptionError, match="checksum of column"):
                    index.decode(parts, {"value.amount", "timestamp"})


def test_reading_through_a_later_schema() -> None:
    old = declared(
        {
            "small": "SMALLINT NOT NULL",
            "count": "INTEGER",
            "amount": "DECIMAL(10,2)",
            "ratio": "FLOAT",
            "day": "DATE",
            "at": "TIMESTAMP_S",
            "inner": "STRUCT(a TINYINT)",
            "list": "SMALLINT[]",
            "map": "MAP(INTEGER, FLOAT)",
        }
    )
    new = declared(
        {
            "new": "STRUCT(x INTEGER, y VARCHAR[], z MAP(VARCHAR, DATE))",
            "small": "DOUBLE",
            "count": "DECIMAL(12,2)",
            "amount": "DECIMAL(20,4)",
            "ratio": "DOUBLE",
            "day": "TIMESTAMP",
            "at": "TIMESTAMP_MS",
            "inner": "STRUCT(b VARCHAR, a BIGINT)",
            "list": "BIGINT[]",
            "map": "MAP(BIGINT, DOUBLE)",
        }
    )
    column = shredded(
        old,
        [
            {
                "small": -3,
                "count": 4,
                "amount": Decimal("1.25"),
                "ratio": 0.5,
                "day": dt.date(2024, 1, 2),
                "at": dt.datetime(2024, 1, 2, 3, 4, 5),
                "inner": {"a": 1},
                "list": [1, None],
                "map": {3: 0.5},
            },
            None,
            {"small": 1},
        ],
    )
    read = conform(new, column)
    first, second, third = given_back(new, read)
    assert first == {
        "new": None,
        "small": -3.0,
        "count": Decimal("4.00"),
        "amount": Decimal("1.2500"),
        "ratio": 0.5,
        "day": dt.datetime(2024, 1, 2),
        "at": dt.datetime(2024, 1, 2, 3, 4, 5),
        "inner": {"b": None, "a": 1},
        "list": [1, None],
        "map": {3: 0.5},
    }
    assert second is None
    assert third == dict.fromkeys(first) | {"small": 1.0}
    bounds = {child.name: child.bounds for child in read.children}
    assert bounds["small"] == (-3.0, 1.0)
    assert bounds["count"] == (400, 400)
    assert bounds["amount"] == (12500, 12500)
    assert not same_shape(read, column)


def test_types_that_evolution_rules_out() -> None:
    column = shredded(declared({"a": "VARCHAR"}), [{"a": "x"}])
    with pytest.raises(CorruptionError, match="cannot be read as BIGINT"):
        conform(declared({"a": "BIGINT"}), column)


@given(records_of(declared({"a": "VARCHAR", "b": "INTEGER[]", "c": "BOOLEAN"})))
def test_no_entry_is_longer_than_the_longest(records: Records) -> None:
    schema = declared({"a": "VARCHAR", "b": "INTEGER[]", "c": "BOOLEAN"})
    longest = lengths_max(shredded(schema, records))
    for record in records:
        if record is not None:
            assert len((record["a"] or "").encode()) + 4 * len(record["b"] or ()) <= longest
