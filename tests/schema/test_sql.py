"""Fields of typed topics as columns in SQL, of which only those are read that a query needs."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import streamhouse
from streamhouse.errors import CorruptionError, ObjectNotFoundError, QueryError

COUNT = 200_000


@pytest.fixture
def log() -> Iterator[streamhouse.Log]:
    with streamhouse.Log("memory://") as log:
        yield log


def wide(count: int = COUNT) -> pl.DataFrame:
    dice = np.random.default_rng(1)
    columns: dict[str, Any] = {f"x{n}": dice.random(count) for n in range(10)}
    return pl.DataFrame({"n": range(count), "name": [f"name-{n % 100}" for n in range(count)], **columns})


WIDE = {"n": "BIGINT", "name": "VARCHAR"} | {f"x{n}": "DOUBLE" for n in range(10)}


def test_fields_are_columns(log: streamhouse.Log) -> None:
    log.create_topic(
        "trades",
        schema={
            "symbol": "VARCHAR",
            "amount": "DECIMAL(18,2)",
            "timestamp": "TIMESTAMPTZ",
            "Key": "INTEGER",
            "tags": "VARCHAR[]",
            "place": "STRUCT(x DOUBLE)",
            "free": "JSON",
        },
    )
    at = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    with log.producer() as producer:
        producer.send(
            "trades",
            {
                "symbol": "A",
                "amount": "1.5",
                "timestamp": at,
                "Key": 3,
                "tags": ["x", "y"],
                "place": {"x": 1},
                "free": {"deep": [1]},
            },
            key="k",
        )
        producer.send("trades", None, key="k")
        producer.send("trades", {"symbol": "B", "amount": 2}).result()
    relation = log.sql("select * from trades")
    usual = ["topic", "partition", "offset", "timestamp", "key", "value", "headers"]
    fields = ["symbol", "amount", "value_timestamp", "value_Key", "tags", "place", "free"]
    assert relation.columns == usual + fields
    query = """select "offset", symbol, amount, value_timestamp, "value_Key", tags[2], place.x,
               free->>'$.deep[0]' from trades order by 1"""
    assert log.sql(query).fetchall() == [
        (0, "A", Decimal("1.50"), at, 3, "y", 1.0, "1"),
        (1, None, None, None, None, None, None, None),
        (2, "B", Decimal("2.00"), None, None, None, None, None),
    ]
    assert log.sql("select sum(amount), count(*), count(symbol) from trades").fetchall() == [
        (Decimal("3.50"), 3, 2)
    ]
    assert log.sql("select symbol from trades where amount > 1.6").fetchall() == [("B",)]
    assert log.sql("select value->>'symbol' from trades where symbol = 'A'").fetchall() == [("A",)]
    assert (
        log.sql('select value from raw.trades where "offset" = 2')
        .fetchall()[0][0]
        .startswith(b'{"symbol":"B"')
    )
    with pytest.raises(QueryError, match="amuont"):
        log.sql("select amuont from trades").fetchall()


def test_only_needed_columns_are_read(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path, cache_bytes_max=0) as log:
        log.create_topic("wide", schema=WIDE)
        frame = wide()
        with log.producer() as producer:
            producer.send_many("wide", frame).result()
        result = log.sql("select sum(x3) from wide")
        assert result.fetchall()[0][0] == pytest.approx(frame["x3"].sum())
        (scan,) = result.stats.scans
        assert scan.bytes_read < scan.bytes_stored / 8
        again = log.sql("select sum(x3) from wide")
        again.fetchall()
        assert again.stats.bytes_read < scan.bytes_read  # headers are known by now
        both = log.sql('select sum(x3), sum(x4), max(name), min("offset") from wide')
        assert both.fetchall()[0][2:] == ("name-99", 0)
        assert log.sql("select count(*) from wide where n between 5 and 14").fetchall() == [(10,)]
        some = 'select count(*), sum(n) from wide where "offset" >= 150000 and "offset" < 150010'
        assert log.sql(some).fetchall() == [(10, sum(range(150_000, 150_010)))]


def test_damage_and_loss_are_noticed_in_parts_too(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path, cache_bytes_max=0) as log:
        log.create_topic("wide", schema=WIDE)
        with log.producer() as producer:
            producer.send_many("wide", wide(20_000)).result()
        path = max(
            (path for path in tmp_path.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
        )
        data = bytearray(path.read_bytes())
        expected = log.sql("select sum(x5) from wide").fetchall()
        found = 0
        for position in range(0, len(data), len(data) // 60):
            damaged = data[:]
            damaged[position] ^= 4
            path.write_bytes(damaged)
            try:
                assert log.sql("select sum(x5) from wide").fetchall() == expected
            except CorruptionError:
                found += 1
        assert 0 < found < 30
        path.unlink()
        with pytest.raises(ObjectNotFoundError, match="gone"):
            log.sql("select sum(x5) from wide").fetchall()


@pytest.mark.parametrize("compacted", [False, True])
def test_the_same_answers_as_a_table(compacted: bool) -> None:
    """Through changes of the schema, several partitions, tombstones, and before and after compaction."""
    dice = random.Random(7)
    with streamhouse.Log("memory://") as log:
        log.create_topic("t", partitions=3, schema={"a": "INTEGER", "b": "VARCHAR", "c": "DECIMAL(9,2)"})
        rows: list[dict[str, Any] | None] = []
        with log.producer() as producer:
            for number in range(40):
                if number == 20:
                    wider = {"a": "BIGINT", "b": "VARCHAR", "c": "DECIMAL(12,4)", "d": "DATE"}
                    log.alter_topic("t", schema=wider)
                batch = [_row(dice, late=number >= 20) for _ in range(dice.randrange(1, 30))]
                producer.send_many("t", batch, keys=[str(dice.randrange(50)) for _ in batch]).result()
                rows.extend(batch)
        if compacted:
            log.upkeep()
        table = duckdb.connect()
        table.execute("create table t (a bigint, b varchar, c decimal(12,4), d date)")
        values = [tuple(row.get(name) for name in "abcd") if row else (None,) * 4 for row in rows]
        table.executemany("insert into t values (?, ?, ?, ?)", values)
        for query in (
            "select count(*), count(a), sum(a), min(c), max(c), max(d) from t",
            "select b, sum(c), count(*) from t group by b order by b nulls last",
            "select a, b, c, d from t where a > 50 and b is not null order by all",
            "select d, count(*) from t where d >= '2024-01-10' group by d order by d",
            "select a from t where c is null order by a nulls first limit 7",
            "select x.a, count(*) from t x join t y using (a) where y.b = 'x' group by 1 order by 1",
        ):
            assert log.sql(query).fetchall() == table.execute(query).fetchall(), query


def _row(dice: random.Random, *, late: bool) -> dict[str, Any] | None:
    if dice.random() < 0.1:
        return None
    row: dict[str, Any] = {"a": dice.randrange(100), "b": dice.choice(["x", "y", None])}
    if dice.random() < 0.8:
        row["c"] = Decimal(dice.randrange(10_000)).scaleb(-2)
    if late and dice.random() < 0.8:
        row["d"] = dt.date(2024, 1, dice.randrange(1, 29))
    return row
