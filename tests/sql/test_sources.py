"""What we rely on in DuckDB's Python package though it is private there; and that we can do without."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from duckdb._sources.arrow import ArrowScanSource

import streamhouse
from streamhouse.sql import sources
from streamhouse.sql.plan import COLUMNS
from streamhouse.sql.predicates import understood


def test_the_class_and_the_method_are_there() -> None:
    assert sources.PUSHDOWN
    assert issubclass(sources.Slot, ArrowScanSource)
    with duckdb.connect() as connection:
        assert callable(connection._register_arrow_source)


def offered(shop: streamhouse.Log, monkeypatch: pytest.MonkeyPatch, query: str) -> list[tuple[Any, bool]]:
    """The conditions that DuckDB offers, and whether we take them."""
    seen: list[tuple[Any, bool]] = []

    def accepts(_self: object, predicate: Any) -> bool:
        seen.append((predicate, understood(predicate)))
        return seen[-1][1]

    monkeypatch.setattr(sources.TopicSource, "accepts", accepts)
    shop.sql(query).fetchall()
    return seen


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("partition = 1", True),
        ("partition <> 1", True),
        ("partition in (0, 2)", True),
        ("topic = 'orders'", True),
        ("topic in ('orders', 'x')", True),
        ("offset between 1 and 2", True),
        ("offset > 1 and offset < 3", True),
        ("offset = 1 or offset = 3", True),
        ("offset not in (1, 2)", True),
        ("timestamp >= '2026-09-21 14:13:25+00'", True),
        ("timestamp < timestamptz '2026-09-21 14:13:25.0001+00' or partition = 2", True),
        ("offset = 1 or timestamp < '2026-01-01'", False),
        ("offset % 2 = 0", False),
        ("key = 'k1'", False),
        ("offset = 1 or key = 'k1'", False),
        ("topic like 'ord%'", False),
        ("length(value) > 3", False),
        ("value is not null", False),
    ],
)
def test_conditions_that_are_taken(
    shop: streamhouse.Log, monkeypatch: pytest.MonkeyPatch, condition: str, taken: bool
) -> None:
    seen = offered(shop, monkeypatch, f"select value from orders where {condition}")
    assert any(accepted for _, accepted in seen) == taken, seen


@pytest.mark.parametrize(
    ("query", "scans"),
    [
        ("select value from orders", 1),
        ("select count(*) from orders where offset > $least", 1),
        ("select o.value from orders o left join (select distinct key from orders) k on k.key = o.key", 2),
        ("with w as not materialized (from orders) select x.key from w x join w y using (key)", 1),
        ("from orders where key in (select key from orders where false)", 2),
    ],
)
def test_rows_are_asked_for_once_for_each_scan_that_is_written(
    shop: streamhouse.Log, monkeypatch: pytest.MonkeyPatch, query: str, scans: int
) -> None:
    """Also for those that are left out in the end; and before any filter is offered."""
    seen: list[str] = []
    monkeypatch.setattr(sources.TopicSource, "rows", lambda _self: seen.append("rows") or 12)
    monkeypatch.setattr(sources.TopicSource, "accepts", lambda _self, _: bool(seen.append("accepts")))
    result = shop.sql(query, **({"least": 1} if "$least" in query else {}))
    for run in (result.fetchall, result.df, result.arrow):
        seen.clear()
        run()
        assert seen[:scans] == ["rows"] * scans
        assert "rows" not in seen[scans:]


def test_only_needed_columns_are_asked_for(shop: streamhouse.Log) -> None:
    result = shop.sql("select max(length(key)) from orders where offset < 3")
    result.fetchall()
    assert result.stats.scans[0].columns == ("key",)
    assert result.stats.scans[0].conditions == ('"offset" < 3',)


QUERIES = (
    "select * from orders order by partition, offset",
    "select key from orders where offset = 1 and partition = 2",
    "select count(*), max(offset), min(timestamp) from orders where partition in (0, 1)",
    "select u.key, o.key from orders o join users u on o.value->>'user' = u.key order by all",
    "select count(*) from orders where timestamp >= '2026-09-21 14:13:25+00' or offset > 2",
)


@pytest.mark.parametrize("query", QUERIES)
def test_without_pushdown_the_rows_are_the_same(
    shop: streamhouse.Log, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    expected = shop.sql(query).fetchall()
    monkeypatch.setattr(sources, "PUSHDOWN", False)
    result = shop.sql(query)
    assert result.fetchall() == expected
    assert list(result) == expected


@pytest.mark.parametrize("query", QUERIES)
def test_when_nothing_is_taken_the_rows_are_the_same(
    shop: streamhouse.Log, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    expected = shop.sql(query).fetchall()
    monkeypatch.setattr(sources.TopicSource, "accepts", lambda _self, _predicate: False)
    assert shop.sql(query).fetchall() == expected


def test_the_schema_says_what_arrives(shop: streamhouse.Log) -> None:
    assert tuple(shop.sql("from orders").columns) == COLUMNS


def test_an_error_of_a_scan_is_raised_as_it_was(tmp_path: Any) -> None:
    with streamhouse.Log(tmp_path / "log", upkeep=False) as log:
        log.create_topic("t")
        with log.producer() as producer:
            producer.send("t", b"x" * 100).result()
    (damaged,) = [
        path
        for path in (tmp_path / "log" / "log").iterdir()
        if b"xxx" in path.read_bytes() or path.stat().st_size > 200
    ][-1:]
    data = bytearray(damaged.read_bytes())
    data[-10] ^= 1
    damaged.write_bytes(data)
    with streamhouse.Log(tmp_path / "log", upkeep=False) as log:
        with pytest.raises(streamhouse.errors.CorruptionError, match="offsets 0 to 0 of partition 0 of 't'"):
            log.sql("select value from t").fetchall()
        with pytest.raises(streamhouse.errors.CorruptionError, match="offsets 0 to 0"):
            list(log.sql("select value from t"))
