"""A query that is asked again is not looked at again; nobody can tell, except by the time it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nanoarrow as na
import pytest

import streamhouse
from streamhouse.errors import QueryError, TopicNotFoundError
from streamhouse.sql.known import Known, KnownQueries
from streamhouse.sql.query import Run
from streamhouse.sql.session import SqlSession

QUERIES = (
    "select key, length(value) as long from orders order by all",
    "select count(*), max(offset), min(timestamp) from orders where partition <> 1",
    "select u.key, count(*) from orders o join users u on u.key = o.value->>'user' group by all order by all",
    "with big as (from orders where (value->>'amount')::int > 3) select count(*) over () from big",
)


@pytest.fixture
def session(shop: streamhouse.Log) -> Iterator[SqlSession]:
    with shop.sql_session() as session:
        yield session


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts for which DuckDB was asked what they mean."""
    texts: list[str] = []
    bind = Run.bind

    def noted(run: Run) -> Any:
        texts.append(run._query.text)
        return bind(run)

    monkeypatch.setattr(Run, "bind", noted)
    return texts


def send(shop: streamhouse.Log, topic: str = "orders") -> None:
    with shop.producer() as producer:
        producer.send(topic, {"user": "new", "amount": 100}, key="k").result()


@pytest.mark.parametrize("query", QUERIES)
def test_asked_again_it_gives_the_same_in_every_form(
    session: SqlSession, bound: list[str], query: str
) -> None:
    first = session.sql(query)
    rows = first.fetchall()
    bound.clear()
    for _ in range(2):
        again = session.sql(query)
        assert (again.columns, again.types) == (first.columns, first.types)
        assert again.fetchall() == list(again) == rows
        assert [scan.columns for scan in again.stats.scans] == [scan.columns for scan in first.stats.scans]
        assert again.commit == first.commit
    assert bound == []
    assert session.sql(query).df().equals(first.df())
    assert session.sql(query).pl().equals(first.pl())
    assert session.sql(query).arrow().equals(first.arrow())
    assert session.sql(query)._repr_html_() == first._repr_html_()
    assert repr(session.sql(query)) == repr(first)
    assert sum(len(array) for array in na.c_array_stream(session.sql(query))) == len(rows)
    assert session.sql(query).fetchnumpy().keys() == first.fetchnumpy().keys()
    assert "orders" in session.sql(query).explain()


def test_each_time_it_sees_what_is_there_then(shop: streamhouse.Log, session: SqlSession) -> None:
    for expected in range(12, 16):
        for query in ("select count(*) from orders", "select count(key) from orders"):
            assert session.sql(query).fetchall() == [(expected,)]
        send(shop)


def test_what_needs_no_record_reads_none_again(session: SqlSession, bound: list[str]) -> None:
    for _ in range(3):
        result = session.sql("select count(*), max(offset) from orders")
        assert result.fetchall() == [(12, 3)]
        assert result.stats.blocks_read == 0
        assert result.df().shape == (1, 2)
    assert result.columns == ["count_star()", 'max("offset")']


@pytest.mark.parametrize(
    "changes",
    [
        (
            "create table extra as select 1 as a",
            "drop table extra; create table extra as select 'x' as a, 2 as b",
        ),
        ("create view extra as select 1 as a", "create or replace view extra as select 'x' as a, 2 as b"),
        ("create table extra as select 1 as a", "alter table extra add column b int; update extra set b = 2"),
    ],
)
def test_what_a_statement_changes_is_looked_up_again(session: SqlSession, changes: tuple[str, str]) -> None:
    query = "select extra.*, count(value) as n from orders, extra group by all"
    session.sql(changes[0])
    assert session.sql(query).fetchall() == session.sql(query).fetchall() == [(1, 12)]
    session.sql(changes[1])
    for _ in range(2):
        result = session.sql(query)
        assert result.columns == ["a", "b", "n"]
        assert [row[1:] for row in result.fetchall()] == [(2, 12)]


def test_macros(session: SqlSession) -> None:
    query = "select twice(length(key)) as t from orders limit 1"
    session.sql("create macro twice(x) as 2 * x")
    assert session.sql(query).types == session.sql(query).types == ["BIGINT"]
    session.sql("create or replace macro twice(x) as [x, x]")
    assert session.sql(query).types == ["BIGINT[]"]
    session.sql("drop macro twice")
    with pytest.raises(QueryError, match="twice"):
        session.sql(query)


def test_topics_that_come_go_and_change(shop: streamhouse.Log, session: SqlSession) -> None:
    query = "select * from shapes"
    shop.create_topic("shapes", schema={"a": "INTEGER"})
    assert "a" in session.sql(query).columns
    assert "a" in session.sql(query).columns
    shop.alter_topic("shapes", schema={"a": "INTEGER", "b": "VARCHAR"})
    assert session.sql(query).columns[-2:] == ["a", "b"]
    shop.delete_topic("shapes")
    with pytest.raises(TopicNotFoundError):
        session.sql(query)
    shop.create_topic("shapes")
    assert "a" not in session.sql(query).columns
    assert session.sql(query).fetchall() == []


def test_files_change_without_a_statement(session: SqlSession, tmp_path: Path) -> None:
    file = tmp_path / "extra.csv"
    for query in (
        f"select e.*, count(value) as n from orders, '{file}' e group by all",
        f"select e.*, count(value) as n from orders, read_csv('{file}') e group by all",
    ):
        file.write_text("a\n1\n")
        assert session.sql(query).columns == session.sql(query).columns == ["a", "n"]
        file.write_text("a,b\n1,2\n")
        assert session.sql(query).columns == ["a", "b", "n"]
        assert session.sql(query).fetchall() == [(1, 2, 12)]


def test_the_columns_of_a_pivot_come_out_of_the_data(shop: streamhouse.Log, session: SqlSession) -> None:
    query = "pivot (select value->>'user' as user from orders) on user using count(*)"
    before = session.sql(query).columns
    assert session.sql(query).columns == before
    send(shop)
    assert sorted(session.sql(query).columns) == sorted([*before, "new"])


def test_types_of_parameters_count(session: SqlSession) -> None:
    query = "select ? as given, count(value) as n from orders"
    for value, kind in ((1, "INTEGER"), ("x", "VARCHAR"), (1 << 40, "BIGINT"), (1, "INTEGER")):
        result = session.sql(query, value)
        assert result.types[0] == kind
        assert result.fetchall() == [(value, 12)]


def test_operators_that_one_query_needs_are_set_up_each_time(session: SqlSession, bound: list[str]) -> None:
    query = "select (select value from orders order by all limit 1)->>'user', count(value) from orders"
    first = session.sql(query).fetchall()
    bound.clear()
    assert session.sql(query).fetchall() == first
    assert bound == [query]


def test_blocks_are_ruled_out_again(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path / "log", cache_bytes_max=0, upkeep=False) as log:
        log.create_topic("typed", schema={"n": "BIGINT", "s": "VARCHAR"})
        with log.producer() as producer:
            for first in range(0, 80_000, 20_000):
                rows = [{"n": number, "s": f"{number:040}"} for number in range(first, first + 20_000)]
                producer.send_many("typed", rows).result()
        found = []
        for _ in range(3):
            result = log.sql("select count(s) from typed where n < 100")
            assert result.fetchall() == [(100,)]
            found.append([(scan.blocks_read, scan.conditions) for scan in result.stats.scans])
        assert found[0] == found[1] == found[2]


def test_what_was_found_out_before_a_change_is_not_kept() -> None:
    known, key = Known(["a"], ["INTEGER"], "q", False, frozenset()), ("q", (("orders", None, False),))
    queries = KnownQueries()
    changes = queries.changes
    queries.forget()
    queries.keep(key, known, changes)
    assert queries.find(key) is None
    queries.keep(key, known, queries.changes)
    assert queries.find(key) is known
    assert queries.find(None) is None
    queries.forget()
    assert queries.find(key) is None


def test_not_all_are_kept() -> None:
    queries = KnownQueries()
    for number in range(1000):
        text = str(number)
        known = Known([], [], text, False, frozenset())
        queries.keep((text, ()), known, queries.changes)
        queries.find(("0", ()))
    assert len(queries._kept) == 256
    assert queries.find(("0", ())) is not None
