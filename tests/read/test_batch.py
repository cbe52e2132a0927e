import datetime as dt
from array import array
from typing import Any

import duckdb
import msgspec
import nanoarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.errors import DeserializationError
from streamhouse.format.columns import Columns, columns_from_lists
from streamhouse.read.batch import RecordBatch
from streamhouse.read.deserializers import list_deserializer
from streamhouse.records import Record
from tests.format.strategies import Rows, columns_of, rows, spelled_out

BASE = 1000


def with_gaps(columns: Columns, gap: int) -> Columns:
    deltas = array("q", range(0, columns.count * gap, gap)).tobytes()
    return msgspec.structs.replace(columns, deltas=deltas)


@st.composite
def windows(draw: st.DrawFn) -> tuple[RecordBatch, list[Record[Any, Any]]]:
    """A window of a block, and the records it should give."""
    lists: Rows = draw(rows())
    columns = columns_of(lists)
    start = draw(st.integers(0, columns.count - 1))
    stop = draw(st.integers(start + 1, columns.count))
    gap = draw(st.sampled_from([1, 3]))
    keys, values, stamps, headers = spelled_out(lists)
    expected = [
        Record("orders", 2, BASE + gap * i, stamps[i], keys[i], values[i], headers[i])
        for i in range(start, stop)
    ]
    columns = with_gaps(columns, gap) if gap > 1 else columns
    return RecordBatch("orders", 2, BASE, columns, start, stop), expected


@given(windows())
def test_a_batch_gives_its_records(window: tuple[RecordBatch, list[Record[Any, Any]]]) -> None:
    batch, expected = window
    assert batch.records() == list(batch) == expected
    assert len(batch) == len(expected)
    assert list(batch.offsets) == [record.offset for record in expected]
    assert batch.timestamps == [record.timestamp for record in expected]
    assert batch.keys() == [record.key for record in expected]
    assert batch.values() == [record.value for record in expected]
    assert batch.headers() == [record.headers for record in expected]
    assert (batch.first_offset, batch.last_offset) == (expected[0].offset, expected[-1].offset)
    payload = [len(r.key or b"") + len(r.value or b"") for r in expected]
    assert batch.payload_bytes == sum(payload)


@given(windows(), st.integers(BASE - 5, BASE + 130))
def test_before_keeps_what_lies_below(
    window: tuple[RecordBatch, list[Record[Any, Any]]], offset: int
) -> None:
    batch, expected = window
    assert batch.before(offset).records() == [r for r in expected if r.offset < offset]


@given(windows())
def test_arrow_sees_the_same_records(window: tuple[RecordBatch, list[Record[Any, Any]]]) -> None:
    batch, expected = window
    array_ = nanoarrow.Array(nanoarrow.c_array(batch))
    stream = nanoarrow.Array(batch)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    for found in (array_, stream):
        assert len(found) == len(expected)
        columns = [list(found.child(index).iter_py()) for index in (0, 1, 2, 4, 5, 6)]
        topics, partitions, offsets, keys, values, headers = columns
        assert set(topics) == {"orders"}
        assert set(partitions) == {2}
        assert offsets == [record.offset for record in expected]
        assert keys == [record.key for record in expected]
        assert values == [record.value for record in expected]
        assert [tuple((h["name"], h["value"]) for h in each) for each in headers] == [
            record.headers for record in expected
        ]
    in_range = [r for r in expected if -62_135_596_800_000 <= r.timestamp < 10**14]  # from the year 1 on
    if len(in_range) == len(expected):
        stamps = list(stream.child(3).iter_py())
        assert stamps == [epoch + dt.timedelta(milliseconds=r.timestamp) for r in expected]


def test_the_arrow_types_are_those_promised() -> None:
    batch = RecordBatch("t", 0, 0, columns_from_lists(None, [b"v"], 0, None), 0, 1)
    schema = nanoarrow.Schema(batch)
    assert [(field.name, field.type.name) for field in schema.fields] == [
        ("topic", "STRING"),
        ("partition", "INT32"),
        ("offset", "INT64"),
        ("timestamp", "TIMESTAMP"),
        ("key", "BINARY"),
        ("value", "BINARY"),
        ("headers", "LIST"),
    ]
    assert (schema.field(3).unit.name, schema.field(3).timezone) == ("MILLI", "UTC")


@given(windows())
def test_duckdb_sees_the_same_records(window: tuple[RecordBatch, list[Record[Any, Any]]]) -> None:
    batch, expected = window
    with duckdb.connect() as connection:
        connection.register("records", batch)
        found = connection.execute(
            'select topic, partition, "offset", key, value,'
            " [h.name for h in headers], [h.value for h in headers] from records"
        ).fetchall()
    assert found == [
        (r.topic, r.partition, r.offset, r.key, r.value, *map(list, zip(*r.headers, strict=True)))
        if r.headers
        else (r.topic, r.partition, r.offset, r.key, r.value, [], [])
        for r in expected
    ]


def test_arrow_refuses_offsets_that_point_outside() -> None:
    columns = columns_from_lists(None, [b"abc", b"def"], 0, [(), (("n", b"v"),)])
    beyond = array("i", [0, 3, 400]).tobytes()
    value = msgspec.structs.replace(columns.value, offsets=beyond)
    headers = msgspec.structs.replace(columns.headers, offsets=beyond)
    for bad in (
        msgspec.structs.replace(columns, value=value),
        msgspec.structs.replace(columns, headers=headers),
    ):
        with pytest.raises(Exception, match="400"):
            nanoarrow.c_array(RecordBatch("t", 0, 0, bad, 0, 2))


def test_deserializers_apply_to_records_keys_and_values() -> None:
    columns = columns_from_lists([b"k", None], [b'{"a": 1}', b"[2]"], 0, None)
    key, value = list_deserializer("str"), list_deserializer("json")
    batch = RecordBatch("t", 0, 0, columns, 0, 2, key, value)
    assert batch.keys() == ["k", None]
    assert batch.values() == [{"a": 1}, [2]]
    assert [(r.key, r.value) for r in batch.records()] == [("k", {"a": 1}), (None, [2])]
    assert batch.values("bytes") == [b'{"a": 1}', b"[2]"]
    assert batch.records("bytes", "str")[0].value == '{"a": 1}'
    assert batch.before(1).values() == [{"a": 1}]


@pytest.mark.parametrize("gap", [1, 7])
def test_a_refused_value_says_where_it_is(gap: int) -> None:
    columns = columns_from_lists(None, [b"1", b"2", b"not json", b"4"], 0, None)
    columns = with_gaps(columns, gap)
    batch = RecordBatch("orders", 3, BASE, columns, 1, 4, value=list_deserializer("json"))
    with pytest.raises(DeserializationError, match=r"value at offset .* of 'orders'.*b'not json'") as caught:
        batch.records()
    error = caught.value
    assert (error.topic, error.partition, error.offset) == ("orders", 3, BASE + 2 * gap)
    assert [r.value for r in batch.before(error.offset)] == [2]


def test_a_long_refused_value_is_cut_in_the_message() -> None:
    batch = RecordBatch("t", 0, 0, columns_from_lists(None, [b"x" * 10_000], 0, None), 0, 1)
    with pytest.raises(DeserializationError) as caught:
        batch.values("json")
    assert len(str(caught.value)) < 400


def test_the_repr_says_what_it_is() -> None:
    batch = RecordBatch("t", 1, 10, columns_from_lists(None, [b"v"] * 3, 0, None), 0, 3)
    assert repr(batch) == "RecordBatch('t', partition=1, offsets 10 to 12, 3 records)"
    assert repr(batch.before(0)) == "RecordBatch('t', partition=1, 0 records)"
