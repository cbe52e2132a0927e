"""DataFrames, Arrow tables and capsules go into typed topics, and come out as the records they hold."""

from __future__ import annotations

import datetime as dt
import io
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import duckdb
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamhouse
from streamhouse.errors import InvalidRecordError, RecordTooLargeError
from streamhouse.schema.arrow import arrow_array, struct_type
from streamhouse.schema.assemble import dicts, stored_values
from streamhouse.schema.frames import chunks_of
from streamhouse.schema.model import Schema
from tests.schema.strategies import records_of, same, schemas
from tests.schema.test_columns import Records, shredded

with_full_records = schemas.flatmap(
    lambda schema: st.tuples(
        st.just(schema), records_of(schema).map(lambda rows: [row for row in rows if row is not None])
    )
)


class Exported:
    """Arrow data that can be read once."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __arrow_c_array__(self, requested: object = None) -> Any:
        return self._array.__arrow_c_array__(requested)


@pytest.fixture
def log() -> Iterator[streamhouse.Log]:
    with streamhouse.Log("memory://") as log:
        yield log


def values(log: streamhouse.Log, topic: str = "trades") -> list[Any]:
    return [record.value for record in log.read(topic)]


@given(with_full_records)
@settings(max_examples=60, deadline=None)
def test_columns_of_any_type(drawn: tuple[Schema, Records]) -> None:
    schema, records = drawn
    column = shredded(schema, records)
    array = arrow_array(column, struct_type(schema.fields), 0, column.count)
    chunks = chunks_of(schema, Exported(array))
    found = [row for chunk in chunks for row in dicts(schema, chunk.value, 0, chunk.value.count)]
    assert same(found, records)
    for chunk in chunks:
        for field, child, sent in zip(schema.fields, chunk.value.children, column.children, strict=True):
            kept = [value for value in stored_values(child, field.type) or () if value is not None]
            if child.bounds is not None:
                assert (min(kept), max(kept)) == child.bounds
            else:
                assert sent.bounds is None or field.type.kind == "decimal"


FRAMES = [
    pd.DataFrame({"symbol": ["A", "B", None], "amount": [1.5, 2.0, None], "n": [1, 2, None]}),
    pl.DataFrame({"symbol": ["A", "B", None], "amount": [1.5, 2.0, None], "n": [1, 2, None]}),
    pa.table({"symbol": ["A", "B", None], "amount": [1.5, 2.0, None], "n": [1, 2, None]}),
    pa.table({"symbol": ["A", "B", None], "amount": [1.5, 2.0, None], "n": [1, 2, None]}).to_reader(),
    pa.record_batch({"symbol": ["A", "B", None], "amount": [1.5, 2.0, None], "n": [1, 2, None]}),
    pa.table(
        {"symbol": ["A", "B", None], "amount": [1.5, 2.0, None], "n": [1, 2, None]}
    ).__arrow_c_stream__(),
    duckdb.sql(
        "select * from (values ('A', 1.5, 1), ('B', 2.0, 2), (null, null, null)) t(symbol, amount, n)"
    ),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_every_kind_of_frame(log: streamhouse.Log, frame: Any) -> None:
    log.create_topic(
        "trades", schema={"n": "SMALLINT", "symbol": "VARCHAR", "amount": "DECIMAL(18,2)", "x": "DATE"}
    )
    with log.producer() as producer:
        result = producer.send_many("trades", frame, timestamps=7, headers={"a": "b"}).result()
    assert result.partitions == {0: range(3)}
    assert values(log) == [
        {"n": 1, "symbol": "A", "amount": Decimal("1.50"), "x": None},
        {"n": 2, "symbol": "B", "amount": Decimal("2.00"), "x": None},
        {"n": None, "symbol": None, "amount": None, "x": None},
    ]
    assert {(record.timestamp, record.headers) for record in log.read("trades")} == {(7, (("a", b"b"),))}


def test_keys_and_timestamps_from_columns(log: streamhouse.Log) -> None:
    log.create_topic("trades", partitions=4, schema={"symbol": "VARCHAR", "n": "BIGINT"})
    log.create_topic("plain", partitions=4)
    begin = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    count = 500
    frame = pl.DataFrame(
        {
            "symbol": [f"s{n % 50}" for n in range(count)],
            "n": range(count),
            "at": [begin + dt.timedelta(seconds=n) for n in range(count)],
            "id": [f"k{n}".encode() for n in range(count)],
        }
    )
    with log.producer() as producer:
        with pytest.raises(InvalidRecordError, match="column 'id' that is no field"):
            producer.send_many("trades", frame, keys="symbol", timestamps="at")
        sent = producer.send_many("trades", frame.drop("id"), keys="symbol", timestamps="at").result()
        assert sent.count == count
        for n in range(count):
            producer.send("plain", b"", key=f"s{n % 50}")
        producer.flush()
        expected = {record.key: record.partition for record in log.read("plain")}
        found = list(log.read("trades"))
        assert {record.key: record.partition for record in found} == expected
        assert sorted(record.value["n"] for record in found) == list(range(count))
        for record in found:
            assert record.key == record.value["symbol"].encode()
            assert record.time == begin + dt.timedelta(seconds=record.value["n"])
        producer.send_many("trades", frame.drop("at"), keys="id", partition=2).result()
        producer.send_many("trades", frame.select("n"), keys=[str(n) for n in range(count)]).result()
    assert len(list(log.read("trades"))) == 3 * count


def test_in_transactions(log: streamhouse.Log) -> None:
    log.create_topic("trades", partitions=3, schema={"n": "BIGINT"})
    frame = pl.DataFrame({"n": range(10)})
    with log.producer() as producer:
        with producer.transaction() as tx:
            tx.send("trades", {"n": -1})
            sent = tx.send_many("trades", frame)
            tx.send_many("trades", frame.with_columns(k=pl.col("n").cast(pl.String)), keys="k")
            tx.send_many("trades", frame.clear())
        assert sent.result().count == 10
        tx = producer.transaction()
        tx.send_many("trades", frame)
        tx.abort()
    assert sorted(value["n"] for value in values(log)) == sorted([-1, *range(10), *range(10)])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"symbol": ["A"], "amuont": [1]},
            "column 'amuont' that is no field of the schema; did you mean 'amount'",
        ),
        ({"amount": [1]}, "field symbol: the frame has no such column"),
        ({"symbol": ["A", None]}, "field symbol: the column has a null"),
        ({"symbol": [1]}, "field symbol: a column of BIGINT does not become VARCHAR"),
        (
            {"symbol": ["A"], "amount": ["1"]},
            r"field amount: a column of VARCHAR does not become DECIMAL\(6,2\)",
        ),
        ({"symbol": ["A"], "amount": [1e6]}, "field amount: Conversion Error"),
        ({"symbol": ["A"], "n": [300]}, "field n: Conversion Error"),
        ({"symbol": ["A"], "n": [1.5]}, "field n: the column has numbers that are not whole"),
        ({"symbol": ["A"], "at": [dt.datetime(2024, 1, 1)]}, "field at: .*give the times a zone"),
        ({"symbol": ["A"], "inner": [{"x": 1, "z": 2}]}, "field inner: a column of STRUCT"),
        ({"symbol": ["A"], "tags": [[None]]}, "field tags"),
        ({"symbol": ["A"], "sizes": [[1.5]]}, r"field sizes: a column of DOUBLE\[\] does not become BIGINT"),
        ({"symbol": ["A"], "inner": [{"x": 1.5}]}, "field inner: a column of STRUCT"),
    ],
)
def test_frames_that_do_not_fit(log: streamhouse.Log, columns: dict[str, Any], message: str) -> None:
    types = {
        "symbol": "VARCHAR NOT NULL",
        "amount": "DECIMAL(6,2)",
        "n": "TINYINT",
        "at": "TIMESTAMPTZ",
        "inner": "STRUCT(x INTEGER, y VARCHAR)",
        "tags": "MAP(VARCHAR, INTEGER)",
        "sizes": "BIGINT[]",
    }
    log.create_topic("trades", schema=types)
    with log.producer() as producer, pytest.raises(InvalidRecordError, match=message):
        producer.send_many("trades", pl.DataFrame(columns))
    assert values(log) == []


def test_other_refusals(log: streamhouse.Log) -> None:
    log.create_topic("plain")
    log.create_topic("trades", schema={"n": "BIGINT", "text": "VARCHAR"})
    frame = pl.DataFrame({"n": [1, 2]})
    with log.producer() as producer:
        with pytest.raises(InvalidRecordError, match="'plain' has no schema"):
            producer.send_many("plain", frame)
        with pytest.raises(InvalidRecordError, match="keys='m' is no column of the frame"):
            producer.send_many("trades", frame, keys="m")
        with pytest.raises(InvalidRecordError, match="keys are text or bytes"):
            producer.send_many("trades", frame, keys="n")
        with pytest.raises(InvalidRecordError, match="1 keys for 2 values"):
            producer.send_many("trades", frame, keys=["a"])
        with pytest.raises(InvalidRecordError, match="timestamps='text' is a column of VARCHAR"):
            producer.send_many("trades", pl.DataFrame({"text": ["a"]}), timestamps="text")
        with pytest.raises(InvalidRecordError, match="has a null"):
            producer.send_many("trades", pl.DataFrame({"n": [1, None]}), timestamps="n")
        assert producer.send_many("trades", frame.clear()).result().count == 0


SHAPES = [("{}", "{}", ""), ("{}[]", "[{}]", r"\[\]"), ("STRUCT(x {})", "{{'x': {}}}", r"\.x")]


@pytest.mark.parametrize(("declared", "literal", "path"), SHAPES)
@pytest.mark.parametrize(
    ("type_", "first", "last", "beyond"),
    [
        ("DATE", "0001-01-01", "9999-12-31", ["0001-12-31 (BC)", "10000-01-01", "infinity", "-infinity"]),
        ("TIME", "00:00:00", "23:59:59.999999", ["24:00:00"]),
        ("TIMESTAMP", "0001-01-01", "9999-12-31 23:59:59.999999", ["10000-01-01", "-infinity"]),
        ("TIMESTAMP_MS", "0001-01-01", "9999-12-31 23:59:59.999", ["10000-01-01", "infinity"]),
        ("TIMESTAMP_S", "0001-01-01", "9999-12-31 23:59:59", ["10000-01-01", "infinity"]),
        (
            "TIMESTAMPTZ",
            "0001-01-01 00:00:00Z",
            "9999-12-31 23:59:59.999999Z",
            ["10000-01-01 00:00:00Z", "infinity"],
        ),
    ],
)
def test_times_that_python_has_not(
    log: streamhouse.Log,
    type_: str,
    first: str,
    last: str,
    beyond: list[str],
    declared: str,
    literal: str,
    path: str,
) -> None:
    log.create_topic("trades", schema={"moment": declared.format(type_)})

    def frame(connection: duckdb.DuckDBPyConnection, *texts: str) -> Any:
        rows = [f"({literal.format(f'{text!r}::{type_}')})" for text in texts]
        return connection.sql(f"from (values {', '.join([*rows, '(null)'])}) t(moment)")

    with log.producer() as producer, duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for text in beyond:
            with pytest.raises(InvalidRecordError, match=f"^field moment{path}: the column has a"):
                producer.send_many("trades", frame(connection, first, text, last))
        producer.send_many("trades", frame(connection, first, last)).result()
        sent = frame(connection, first, last).arrow().read_all()
    assert log.sql("select moment from trades").arrow().equals(sent)
    assert len(values(log)) == 3


@pytest.mark.parametrize(("declared", "literal", "path"), SHAPES)
def test_decimals_with_too_many_digits(log: streamhouse.Log, declared: str, literal: str, path: str) -> None:
    """DuckDB's HUGEINT is a decimal of 38 digits in Arrow, but can have 39."""
    log.create_topic("trades", schema={"n": declared.format("DECIMAL(38,0)")})
    with log.producer() as producer, duckdb.connect() as connection:
        for number in (10**38 - 1, 1 - 10**38):
            query = f"select {literal.format(f'{number}::hugeint')} as n"
            producer.send_many("trades", connection.sql(query)).result()
        for number in (10**38, -(10**38), 2**127 - 1, -(2**127)):
            query = f"select {literal.format(f'({number})::hugeint')} as n"
            with pytest.raises(
                InvalidRecordError, match=rf"^field n{path}: {number}e-0 does not fit DECIMAL"
            ):
                producer.send_many("trades", connection.sql(query))
    assert len(values(log)) == 2


@pytest.mark.parametrize("shape", ["VARCHAR", "VARCHAR[]", "STRUCT(x VARCHAR)", "MAP(VARCHAR, VARCHAR)"])
@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", "ü".encode()[:1]])
def test_text_that_is_no_utf8(log: streamhouse.Log, shape: str, bad: bytes) -> None:
    log.create_topic("trades", schema={"text": shape})

    def column(texts: list[bytes | None]) -> pa.Array:
        text = pa.array(texts, pa.binary()).view(pa.string())
        offsets = pa.array(range(len(texts) + 1), pa.int32())
        if shape == "VARCHAR[]":
            return pa.ListArray.from_arrays(offsets, text)
        if shape.startswith("MAP"):
            return pa.MapArray.from_arrays(offsets, pa.array(["k"] * len(texts)), text)
        return text if shape == "VARCHAR" else pa.StructArray.from_arrays([text], ["x"])

    good = [b"a", None, "ü".encode(), b"z"]
    with log.producer() as producer:
        # neither the smallest nor the largest, and no longer wrong once it stands before the next
        for texts in ([b"a", None, b"b" + bad, b"\xbcz", b"z"], [b"a", bad]):
            with pytest.raises(InvalidRecordError, match=r"^field text.*no UTF-8"):
                producer.send_many("trades", pa.table({"text": column(texts)}))
        producer.send_many("trades", pa.table({"text": column(good)})).result()
    assert len(values(log)) == 4
    assert log.sql("select text from trades").arrow()["text"].to_pylist() == column(good).to_pylist()


def test_one_that_duckdb_fails_on_takes_no_other_with_it(log: streamhouse.Log) -> None:
    """It refuses everything on a database in which it found a defect of its own."""
    log.create_topic("numbers", schema={"n": "BIGINT"})
    log.create_topic("odd", schema={"n": "JSON"})
    too_large = pa.Array.from_buffers(pa.decimal128(38, 0), 1, [None, pa.py_buffer(bytes(15) + b"\x80")])

    def send_numbers() -> None:
        with log.producer() as producer:
            for n in range(40):
                producer.send_many("numbers", pl.DataFrame({"n": [n]})).result()

    def send_odd() -> None:
        with log.producer() as producer:
            for _ in range(10):
                with pytest.raises(InvalidRecordError, match="the frame cannot be read: INTERNAL"):
                    producer.send_many("odd", pa.table({"n": too_large}))

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(send_numbers), pool.submit(send_odd), pool.submit(send_numbers)]:
            done.result()
    assert sorted(value["n"] for value in values(log, "numbers")) == sorted([*range(40), *range(40)])
    assert values(log, "odd") == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_in_a_forked_child() -> None:
    program = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of fork with threads
import polars, streamhouse

def send():
    with streamhouse.Log("memory://") as log, log.producer() as producer:
        log.create_topic("trades", schema={"n": "BIGINT"})
        return producer.send_many("trades", polars.DataFrame({"n": range(200_000)})).result().count

assert send() == 200_000
child = os.fork()
assert send() == 200_000
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_at_the_same_time(log: streamhouse.Log) -> None:
    """Frames that are converted at once do not see each other's columns."""
    fields = [f"n{index}" for index in range(4)]
    for name in fields:
        log.create_topic(name, schema={name: "BIGINT NOT NULL"})

    def send(name: str) -> int:
        with log.producer() as producer:
            sent = [producer.send_many(name, pl.DataFrame({name: range(1000)})) for _ in range(25)]
            return sum(each.result().count for each in sent)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(send, fields)) == [25_000] * 4
    for name in fields:
        assert log.sql(f"select count(*), sum({name}) from {name}").fetchall() == [(25_000, 25 * 499_500)]


def test_limits(tmp_path: Any) -> None:
    with streamhouse.Log(tmp_path, record_bytes_max=1000, buffer_bytes_max=65536) as log:
        log.create_topic("trades", schema={"text": "VARCHAR"})
        with log.producer() as producer:
            with pytest.raises(RecordTooLargeError, match="record_bytes_max"):
                producer.send_many("trades", pl.DataFrame({"text": ["x" * 1001]}))
            producer.send_many("trades", pl.DataFrame({"text": ["x" * 900] * 1000})).result()
        assert len(values(log)) == 1000


def test_what_else_becomes_a_field(log: streamhouse.Log) -> None:
    log.create_topic(
        "trades",
        schema={
            "id": "UUID",
            "any": "JSON",
            "side": "VARCHAR",
            "at": "TIMESTAMP",
            "list": "FLOAT[]",
            "big": "BIGINT",
        },
    )
    frame = pd.DataFrame(
        {
            "id": [str(uuid.UUID(int=7))],
            "any": [{"a": [1]}],
            "side": pd.Categorical(["buy"]),
            "at": np.array(["2024-01-01T00:00:00.123456400"], dtype="datetime64[ns]"),
            "list": [[1, 2]],
            "big": np.array([5.0]),
        }
    )
    with log.producer() as producer:
        producer.send_many("trades", frame).result()
    assert values(log) == [
        {
            "id": uuid.UUID(int=7),
            "any": {"a": [1]},
            "side": "buy",
            "at": dt.datetime(2024, 1, 1, 0, 0, 0, 123456),
            "list": [1.0, 2.0],
            "big": 5,
        }
    ]


def test_large_frames_become_large_blocks(tmp_path: Any) -> None:
    count = 300_000
    with streamhouse.Log(tmp_path) as log:
        log.create_topic("trades", schema={"n": "BIGINT", "x": "DOUBLE"})
        frame = pl.DataFrame({"n": range(count), "x": np.arange(count) / 2})
        with log.producer() as producer:
            assert producer.send_many("trades", frame).result().count == count
        with log.consumer("trades") as consumer:
            batches = consumer.poll_batches(timeout=5)
            assert len(batches[0]) > 100_000
        assert sum(value["n"] for value in values(log)) == count * (count - 1) // 2


class Point(msgspec.Struct, omit_defaults=True):
    x: int = 7


def objects(usual: Any, odd: Any) -> pd.Series:
    """A column in which DuckDB's usual sample of 1,000 finds nothing odd."""
    column = pd.Series([usual] * 5000, dtype=object)
    column[4321] = odd
    return column


ZONE = dt.timezone(dt.timedelta(hours=5))
NAIVE, AWARE = dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=ZONE)
BEFORE = dt.datetime(1969, 12, 31, 23, 59, 59, 999_999)
NAN = float("nan")


@pytest.mark.parametrize(
    ("type_", "usual", "odd", "stored"),
    [
        ("DECIMAL(18,4)", Decimal("1.0"), Decimal("1.2345"), Decimal("1.2345")),
        ("DECIMAL(38,0)", Decimal(1), Decimal(10) ** 30, Decimal(10) ** 30),
        ("DECIMAL(38,2)", 1, 2**70, Decimal(2**70)),
        ("DECIMAL(18,2)", 1.5, Decimal("1234567890123456.78"), Decimal("1234567890123456.78")),
        ("DOUBLE", 1, 1.5, 1.5),
        ("BIGINT", float("nan"), 2**60 + 1, 2**60 + 1),
        ("BIGINT", pd.NA, np.int64(7), 7),
        ("TIMESTAMPTZ", AWARE, pd.Timestamp("2024-01-02T00:00:00.123456789", tz="UTC"), None),
        ("STRUCT(x DOUBLE)", {"x": 1}, {"x": 1.5}, {"x": 1.5}),
        ("BIGINT[]", [1], np.array([2, 3]), [2, 3]),
        ("STRUCT(x BIGINT[])", None, {"x": np.array([2, 3])}, {"x": [2, 3]}),
        ("JSON", {"x": 1}, {"z": "q"}, {"z": "q"}),
        ("JSON", [1, "a"], [None, {"b": 1}], [None, {"b": 1}]),
        ("JSON", None, "text", "text"),
        ("VARCHAR", None, "text", "text"),
        ("BLOB", b"a", b"b", b"b"),
        ("UUID", str(uuid.UUID(int=1)), uuid.UUID(int=2), uuid.UUID(int=2)),
        ("TIME", dt.time(1), "02:00:00", dt.time(2)),
    ],
)
def test_objects_of_pandas_keep_what_they_are(
    log: streamhouse.Log, type_: str, usual: Any, odd: Any, stored: Any
) -> None:
    log.create_topic("trades", schema={"v": type_, "n": "BIGINT"})
    frame = pd.DataFrame({"v": objects(usual, odd), "n": range(5000)})
    with log.producer() as producer:
        producer.send_many("trades", frame).result()
        producer.send_many("trades", frame[["v"]]).result()
    found = values(log)
    if stored is None:
        stored = dt.datetime(2024, 1, 2, 0, 0, 0, 123456, tzinfo=dt.UTC)
    assert found[4321] == {"v": stored, "n": 4321}
    assert found[5000 + 4321] == {"v": stored, "n": None}
    assert found[4320]["v"] == (None if pd.api.types.is_scalar(usual) and pd.isna(usual) else found[0]["v"])


def times(*texts: str, unit: str = "ns") -> Any:
    return np.array(texts, dtype=f"datetime64[{unit}]")


@pytest.mark.parametrize(
    ("type_", "cell", "stored"),
    [
        ("TIMESTAMP[]", [pd.NaT, pd.Timestamp(NAIVE)], [None, NAIVE]),
        ("TIMESTAMPTZ[]", [pd.NaT, pd.Timestamp(AWARE)], [None, AWARE]),
        ("STRUCT(a INT)", {"a": pd.NA}, {"a": None}),
        ("STRUCT(a INT, b VARCHAR)", {"a": NAN, "b": NAN}, {"a": None, "b": None}),
        ("DOUBLE[]", [NAN, 1.0], [None, 1.0]),
        ("DOUBLE[]", np.array([NAN, 1.0]), [None, 1.0]),
        ("DOUBLE[][]", np.array([[NAN], [1.0]]), [[None], [1.0]]),
        ("DECIMAL(4,1)[]", [Decimal("NaN"), Decimal(1)], [None, Decimal("1.0")]),
        ("MAP(VARCHAR, FLOAT)", {"a": NAN, "b": 1.0}, {"a": None, "b": 1.0}),
        ("JSON", [pd.NA, pd.NaT, 1], [None, None, 1]),
        ("TIMESTAMP", dt.date(2024, 1, 1), NAIVE),
        ("TIMESTAMP_S", dt.date(2024, 1, 1), NAIVE),
        ("TIMESTAMP", np.datetime64("2024-01-01"), NAIVE),
        ("TIMESTAMP", np.datetime64("1969-12-31T23:59:59.999999999"), BEFORE),
        ("TIMESTAMP[]", times("1969-12-31T23:59:59.999999999", "NaT"), [BEFORE, None]),
        ("TIMESTAMP[]", times("2024-01-01", unit="s"), [NAIVE]),
        ("TIMESTAMP[]", times("2024-01-01", unit="D"), [NAIVE]),
        ("DATE[]", times("2024-01-01", unit="D"), [dt.date(2024, 1, 1)]),
        ("BIGINT", 1.0, 1),
        ("BIGINT", Decimal("1.00"), 1),
        ("UBIGINT", Decimal(2**64 - 1), 2**64 - 1),
        ("BIGINT[]", np.array([1.0, NAN]), [1, None]),
        ("STRUCT(x INT)", Point(), {"x": 7}),
        ("STRUCT(x INT)[]", np.array([Point()], dtype=object), [{"x": 7}]),
        ("JSON", {"p": Point()}, {"p": {"x": 7}}),
    ],
)
def test_what_pandas_has_for_the_values_of_a_type(
    log: streamhouse.Log, type_: str, cell: Any, stored: Any
) -> None:
    log.create_topic("trades", schema={"v": type_})
    with log.producer() as producer:
        producer.send_many("trades", pd.DataFrame({"v": pd.Series([None, cell], dtype=object)})).result()
    assert values(log) == [{"v": None}, {"v": stored}]


def test_nulls_in_the_lists_of_parquet(log: streamhouse.Log) -> None:
    lists = {"n": [[1, None]], "x": [[1.5, None]], "at": [[NAIVE, None]]}
    file = io.BytesIO()
    pq.write_table(pa.table(lists), file)
    file.seek(0)
    log.create_topic("trades", schema={"n": "BIGINT[]", "x": "DOUBLE[]", "at": "TIMESTAMP[]"})
    with log.producer() as producer:
        producer.send_many("trades", pd.read_parquet(file)).result()
    assert values(log) == [{name: cells[0] for name, cells in lists.items()}]


@pytest.mark.parametrize(
    ("type_", "cell", "message"),
    [
        ("TIMESTAMP[]", times("12000-01-01", unit="s"), "the value cannot be stored: .* years 1 to 9999"),
        ("TIMESTAMP", np.datetime64("-0001-01-01"), "the value cannot be stored: .* years 1 to 9999"),
        ("JSON", [np.datetime64("12000-01-01")], "the value cannot be stored: .* years 1 to 9999"),
        ("BIGINT[]", [np.timedelta64(1, "s")], "the value cannot be stored: .* time spans"),
        ("BIGINT", np.sin, "the value cannot be stored: a ufunc is no value"),
        ("BIGINT", Decimal("1.5"), "Expected `int"),
        ("BIGINT", Decimal("1E+999999"), "Expected `int"),
        ("BIGINT", 2.0**70, "Expected `int"),
        ("BIGINT", float("inf"), "Expected `int"),
        ("TIMESTAMPTZ", dt.date(2024, 1, 1), "Expected `datetime"),
        ("DATE", NAIVE, "Expected `date"),
    ],
)
def test_objects_of_pandas_are_refused_with_the_name_of_the_field(
    log: streamhouse.Log, type_: str, cell: Any, message: str
) -> None:
    log.create_topic("trades", schema={"v": type_, "w": "JSON"})
    frame = pd.DataFrame({"v": pd.Series([None, cell], dtype=object), "w": [{}, {}]})
    with (
        log.producer() as producer,
        pytest.raises(InvalidRecordError, match=rf"^values\[1\]: field v: {message}"),
    ):
        producer.send_many("trades", frame)
    assert values(log) == []


@pytest.mark.parametrize(
    ("type_", "usual", "odd"),
    [
        ("BIGINT", 1, 1.7),
        ("BIGINT", 1, 2**70),
        ("BIGINT", 1, True),
        ("BIGINT[]", [1], np.array(["2024-01-01"], dtype="datetime64[ns]")),
        ("TIMESTAMP", NAIVE, AWARE),
        ("TIMESTAMPTZ", AWARE, NAIVE),
        ("TIME", dt.time(1), dt.time(1, tzinfo=dt.UTC)),
        ("STRUCT(x BIGINT)", {"x": 1}, {"x": 1.5}),
        ("VARCHAR[]", ["a"], [1, "b"]),
        ("JSON", 1, float("inf")),
        ("JSON", 1, object()),
    ],
)
def test_objects_of_pandas_that_do_not_fit(log: streamhouse.Log, type_: str, usual: Any, odd: Any) -> None:
    log.create_topic("trades", schema={"v": type_})
    frame = pd.DataFrame({"v": objects(usual, odd)})
    with log.producer() as producer, pytest.raises(InvalidRecordError, match=r"^values\[4321\]: "):
        producer.send_many("trades", frame)
    assert values(log) == []


@pytest.mark.parametrize(
    ("type_", "usual", "odd", "message"),
    [
        ("VARCHAR", "a", {"a": 1}, "^field v: the column has a dict, which is no VARCHAR"),
        ("VARCHAR", "a", b"x", "^field v: the column has a bytes, which is no VARCHAR"),
        ("VARCHAR", "a", 1.5, "^field v: the column has a float, which is no VARCHAR"),
        ("BLOB", b"a", "x", "^field v: the column has a str, which is no BLOB"),
        ("VARCHAR", "a", 7, "^keys='k': the column has a int, which is no text or bytes"),
    ],
)
def test_text_among_the_objects_of_pandas(
    log: streamhouse.Log, type_: str, usual: Any, odd: Any, message: str
) -> None:
    log.create_topic("trades", schema={"v": type_})
    keys = "k" if "keys" in message else None
    frame = pd.DataFrame({keys or "v": objects(usual, odd)})
    with log.producer() as producer, pytest.raises(InvalidRecordError, match=message):
        producer.send_many("trades", frame, keys=keys)
    assert values(log) == []


def test_objects_of_pandas_beside_keys_and_times(log: streamhouse.Log) -> None:
    log.create_topic("trades", schema={"k": "VARCHAR", "v": "JSON", "at": "TIMESTAMPTZ"})
    count = 1500
    at = pd.Series([AWARE] * count, dtype=object)
    frame = pd.DataFrame({"k": pd.Series(["a"] * count, dtype=object), "v": [{"n": 1}] * count, "at": at})
    with log.producer() as producer:
        producer.send_many("trades", frame, keys="k", timestamps="at").result()
    first, *_, last = list(log.read("trades"))
    assert first.value == last.value == {"k": "a", "v": {"n": 1}, "at": AWARE}
    assert (last.key, last.time) == (b"a", AWARE)


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        (
            "TIMESTAMP",
            {
                "2024-01-01T10:00:00": dt.datetime(2024, 1, 1, 10),
                "2024-01-01 10:00:00.5": dt.datetime(2024, 1, 1, 10, 0, 0, 500_000),
            },
            ["2024-01-01T10:00:00+05:00", "2024-01-01T10:00:00Z", "2024-01-01", "2024-01-01 10:00"],
        ),
        (
            "TIMESTAMP_S",
            {"1969-12-31T10:00:00.6": dt.datetime(1969, 12, 31, 10)},
            ["2024-01-01T10:00:00+05:00", "infinity", "epoch"],
        ),
        (
            "TIMESTAMP_MS",
            {"1969-12-31T10:00:00.0016": dt.datetime(1969, 12, 31, 10, 0, 0, 1000)},
            ["2024-01-01T10:00:00.000 UTC", "2024-02-30T10:00:00"],
        ),
        (
            "TIMESTAMPTZ",
            {
                "2024-01-01T10:00:00+05:00": dt.datetime(2024, 1, 1, 5, tzinfo=dt.UTC),
                "2024-01-01 10:00:00Z": dt.datetime(2024, 1, 1, 10, tzinfo=dt.UTC),
                "2024-01-01 10:00:00.1234569-0130": dt.datetime(2024, 1, 1, 11, 30, 0, 123456, tzinfo=dt.UTC),
            },
            ["2024-01-01T10:00:00", "2024-01-01", "2024-01-01T10:00:00 Europe/Berlin"],
        ),
        ("DATE", {"2024-01-01": dt.date(2024, 1, 1)}, ["2024-01-01T23:00:00", "2024-1-1", "infinity"]),
        (
            "TIME",
            {"12:00:00.1234569": dt.time(12, 0, 0, 123456), "00:00:00": dt.time(0)},
            ["12:00:00+05", "12:00:00Z", "2024-01-01T12:00:00", "24:00:00", "12:00"],
        ),
    ],
)
def test_text_that_is_a_time(log: streamhouse.Log, type_: str, good: dict[str, Any], bad: list[str]) -> None:
    log.create_topic("trades", schema={"at": type_, "list": f"{type_}[]"})
    with log.producer() as producer:
        for text in bad:
            with pytest.raises(InvalidRecordError, match=r"^field at: "):
                producer.send_many("trades", pl.DataFrame({"at": [None, next(iter(good)), text]}))
        with pytest.raises(InvalidRecordError, match=r"^field list: a column of VARCHAR\[\] does not become"):
            producer.send_many("trades", pl.DataFrame({"list": [list(good)]}))
        producer.send_many("trades", pl.DataFrame({"at": [None, *good]})).result()
    assert [value["at"] for value in values(log)] == [None, *good.values()]


NS = 1_000_000_000
MOMENTS = [
    -1,
    1,
    600_000_000,
    NS - 1,
    -NS + 400_000_000,
    1_704_067_199_999_999_999,
    2**63 - 2,  # the last before infinity
    -(2**62),
    None,
]


@pytest.mark.parametrize("type_", ["TIMESTAMP", "TIMESTAMP_MS", "TIMESTAMP_S", "TIMESTAMPTZ"])
@pytest.mark.parametrize(
    ("unit", "shape"),
    [
        *(("ns", shape) for shape in ("{}", "{}[]", "{}[][]")),
        *(("us", shape) for shape in ("{}", "{}[]", "STRUCT(x {})", "MAP(VARCHAR, {})")),
    ],
)
def test_times_are_cut_to_their_unit(log: streamhouse.Log, unit: str, type_: str, shape: str) -> None:
    zone = "UTC" if type_ == "TIMESTAMPTZ" else None
    moments = [None if each is None else each // (1 if unit == "ns" else 1000) for each in MOMENTS]
    column = pa.array(moments, pa.timestamp(unit, zone))
    step = {"TIMESTAMP_MS": 1_000_000, "TIMESTAMP_S": NS}.get(type_, 1000)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC if zone else None)
    expected: list[Any] = [
        None if each is None else epoch + dt.timedelta(microseconds=each // step * step // 1000)
        for each in MOMENTS
    ]
    offsets = pa.array(range(len(moments) + 1), pa.int32())
    for _ in range(shape.count("[]")):
        column = pa.ListArray.from_arrays(offsets, column)
        expected = [[each] for each in expected]
    if shape.startswith("STRUCT"):
        column = pa.StructArray.from_arrays([column], ["x"], mask=pa.array([False] * 8 + [True]))
        expected = [None if each is None else {"x": each} for each in expected]
    if shape.startswith("MAP"):
        column = pa.MapArray.from_arrays(offsets, pa.array(["k"] * len(moments)), column)
        expected = [{"k": each} for each in expected]
    log.create_topic("trades", schema={"at": shape.format(type_)})
    with log.producer() as producer:
        producer.send_many("trades", pa.table({"at": column})).result()
    assert [value["at"] for value in values(log)] == expected


def test_nanoseconds(log: streamhouse.Log) -> None:
    log.create_topic("trades", schema={"at": "TIMESTAMPTZ", "time": "TIME", "times": "TIME[]"})
    at = [-1, 999_999, 1_704_067_199_999_999_999]
    frame = pl.DataFrame(
        {
            "at": pl.Series(at, dtype=pl.Datetime("ns", "UTC")),
            "time": pl.Series([0, 86_399_999_999_999, None], dtype=pl.Time),
            "times": pl.Series([[1999], [], None], dtype=pl.List(pl.Time)),
            "sent": pl.Series(at, dtype=pl.Datetime("ns", "UTC")),
        }
    )
    with log.producer() as producer:
        producer.send_many("trades", frame, timestamps="sent").result()
        with pytest.raises(InvalidRecordError, match=r"^field at: .*: give the times a zone"):
            producer.send_many("trades", pl.DataFrame({"at": pl.Series(at, dtype=pl.Datetime("ns"))}))
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert [value["at"] for value in values(log)] == [
        epoch + dt.timedelta(microseconds=each // 1000) for each in at
    ]
    assert [value["time"] for value in values(log)] == [dt.time(0), dt.time(23, 59, 59, 999_999), None]
    assert [value["times"] for value in values(log)] == [[dt.time(0, 0, 0, 1)], [], None]
    assert [record.timestamp for record in log.read("trades")] == [each // 1_000_000 for each in at]


NS_TIME = pl.Series([1_999], dtype=pl.Time)
NS_TIMES = pl.Series([-1], dtype=pl.Datetime("ns"))


@pytest.mark.parametrize(
    ("type_", "column", "stored"),
    [
        ("STRUCT(a TIME)", pl.DataFrame({"a": NS_TIME}).to_struct(), {"a": dt.time(microsecond=1)}),
        ("STRUCT(a TIMESTAMP)", pl.DataFrame({"a": NS_TIMES}).to_struct(), {"a": BEFORE}),
        ("STRUCT(a TIME)[]", pl.Series([[{"a": dt.time(1)}]]), [{"a": dt.time(1)}]),
        ("STRUCT(a TIME, b BIGINT)", pl.Series([{"a": None, "b": 1}]), {"a": None, "b": 1}),
        ("STRUCT(a STRUCT(x INT), b INT[])", pl.Series([{"a": None, "b": [None]}]), {"a": None, "b": [None]}),
        (
            "MAP(VARCHAR, TIME)",
            pa.array([[("k", 1_999)]], pa.map_(pa.string(), pa.time64("ns"))),
            {"k": dt.time(microsecond=1)},
        ),
        ("MAP(VARCHAR, INT)", pa.array([[("k", None)]], pa.map_(pa.string(), pa.null())), {"k": None}),
    ],
)
def test_what_fits_a_field_fits_it_within_others(
    log: streamhouse.Log, type_: str, column: Any, stored: Any
) -> None:
    log.create_topic("trades", schema={"v": type_})
    frame = pl.DataFrame({"v": column}) if isinstance(column, pl.Series) else pa.table({"v": column})
    with log.producer() as producer:
        producer.send_many("trades", frame).result()
    assert values(log) == [{"v": stored}]


def struct_frames() -> dict[str, Any]:
    """The same records, the second and the last of which are tombstones."""
    children = {
        "a": pa.array([1, 2, 3, 4]),
        "s": pa.array(["x", None, "y", "z"]).dictionary_encode(),
        "l": pa.array([["p"], ["q"], None, []], pa.large_list(pa.string_view())),
        "n": pa.array([{"b": 1}, {"b": 2}, None, {"b": 4}]),
    }
    mask = pa.array([False, True, False, True])
    structs = pa.StructArray.from_arrays(list(children.values()), list(children), mask=mask)
    chunks = pa.chunked_array([structs[:1], structs[1:]])
    plain = pa.StructArray.from_arrays([children["a"].cast(pa.int16())], ["a"], mask=mask)
    return {
        "array": structs,
        "slice": pa.concat_arrays([structs[2:3], structs])[1:],
        "chunks": chunks,
        "polars": pl.Series(
            "v",
            [
                {"a": 1, "s": "x", "l": ["p"], "n": {"b": 1}},
                None,
                {"a": 3, "s": "y", "l": None, "n": None},
                None,
            ],
        ),
        "one field": plain,
    }


@pytest.mark.parametrize("name", struct_frames())
@pytest.mark.parametrize("within", [False, True])
def test_null_structs_are_tombstones(log: streamhouse.Log, name: str, within: bool) -> None:
    frame = struct_frames()[name]
    log.create_topic(
        "trades",
        partitions=2,
        schema={"a": "BIGINT NOT NULL", "s": "VARCHAR", "l": "VARCHAR[]", "n": "STRUCT(b BIGINT)"},
    )
    keys = ["k", "l", "m", "n"]
    with log.producer() as producer:
        if within:
            with producer.transaction() as tx:
                tx.send_many("trades", frame, keys=keys)
        else:
            producer.send_many("trades", frame, keys=keys).result()
    found = {record.key: record.value for record in log.read("trades")}
    nothing = {"s": None, "l": None, "n": None}
    expected = [{"a": 1, "s": "x", "l": ["p"], "n": {"b": 1}}, None, {"a": 3, **nothing, "s": "y"}, None]
    if name == "one field":
        expected = [{"a": 1, **nothing}, None, {"a": 3, **nothing}, None]
    assert [found[key.encode()] for key in keys] == expected
    assert log.sql("select count(*), count(a), sum(a), count(value) from trades").fetchall() == [(4, 2, 4, 2)]


def test_the_values_of_a_batch_go_into_another_topic(log: streamhouse.Log) -> None:
    for name in ("trades", "copies"):
        log.create_topic(name, schema={"a": "BIGINT"})
    with log.producer() as producer:
        producer.send_many("trades", [{"a": 1}, None, {"a": None}]).result()
        with log.consumer("trades", start="earliest") as consumer:
            (batch,) = consumer.poll_batches(timeout=5)
        producer.send_many("copies", pa.table(batch)["value"]).result()
    assert values(log, "copies") == values(log) == [{"a": 1}, None, {"a": None}]
