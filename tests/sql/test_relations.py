"""What the names in a query mean: topics, then the session's own tables and views, then variables."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import streamhouse
from streamhouse.errors import QueryError, TopicNotFoundError

# --- variables ------------------------------------------------------------------------------------------


class Opened:
    """Something that looks like a DataFrame and counts who looks at it."""

    def __init__(self) -> None:
        self.times = 0

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        self.times += 1
        return pa.table({"a": [1]}).__arrow_c_stream__(requested_schema)


def test_a_variable_that_is_called_like_a_column_is_left_alone(shop: streamhouse.Log) -> None:
    total = Opened()
    assert shop.sql("select count(*) as total from orders total").fetchall() == [(12,)]
    assert total.times == 0
    assert shop.sql("from total").fetchall() == [(1,)]
    assert total.times > 0


def test_results_of_the_same_name_do_not_make_a_chain(shop: streamhouse.Log) -> None:
    total = None
    for _ in range(200):
        total = shop.sql("select count(value) as total from orders")
    assert total is not None
    assert total.fetchall() == [(12,)]


def test_a_table_of_the_session_comes_before_a_variable(shop: streamhouse.Log) -> None:
    shop.sql("create table stock as select 1 as a")
    stock = pl.DataFrame({"a": [99]})
    assert len(stock) == 1
    assert shop.sql("from stock").fetchall() == [(1,)]
    shop.sql("insert into stock values (3)")
    assert shop.sql("from stock").fetchall() == [(1,), (3,)]
    shop.sql("drop table stock")
    assert shop.sql("from stock").fetchall() == [(99,)]


def test_a_temporary_table_may_have_the_name_of_a_variable(shop: streamhouse.Log) -> None:
    for _ in range(2):
        tmp = shop.sql("create temp table tmp as select 1 as a; from tmp")
        assert tmp.fetchall() == [(1,)]


def test_a_view_of_a_variable_means_that_of_who_asks(shop: streamhouse.Log) -> None:
    def create() -> None:
        df = pl.DataFrame({"a": [1]})
        assert len(df) == 1
        shop.sql("create view of_df as from df")

    create()
    with pytest.raises(TopicNotFoundError, match="no topic, table or variable 'df'"):
        shop.sql("from of_df")
    df = pl.DataFrame({"a": [2]})
    assert len(df) == 1
    assert shop.sql("from of_df").fetchall() == [(2,)]


def test_variables_that_differ_in_case_only(shop: streamhouse.Log) -> None:
    Vip, vip = pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})  # noqa: N806 - that is the point
    with pytest.raises(QueryError, match='cannot tell the variables "Vip" and "vip" apart'):
        shop.sql("from Vip union all from vip")
    assert shop.sql("from Vip").fetchall() == [(len(Vip),)]
    assert shop.sql("from vip").fetchall() == [(len(vip) + 1,)]


def test_variables_that_are_no_relations(shop: streamhouse.Log) -> None:
    lazy, rows, frame = pl.LazyFrame({"a": [1]}), [{"a": 1}], pl.DataFrame
    for name, message in (
        ("lazy", r"is a LazyFrame, neither a DataFrame nor an Arrow object: collect\(\) it first"),
        ("rows", "is a list, neither"),
        ("frame", "is a type, neither"),
    ):
        with pytest.raises(TopicNotFoundError, match=message):
            shop.sql(f"from {name}")
    assert len((lazy, rows, frame)) == 3


def test_variables_in_later_statements(shop: streamhouse.Log) -> None:
    df = pl.DataFrame({"a": [1, 2]})
    assert len(df) == 2
    shop.sql("create table kept (a int)")
    assert shop.sql("insert into kept values (0); insert into kept from df; from kept").fetchall() == [
        (0,),
        (1,),
        (2,),
    ]
    assert shop.sql("select count(*) from kept").fetchall() == [(3,)]


# --- views and macros -----------------------------------------------------------------------------------


def test_each_statement_of_several_runs_once(shop: streamhouse.Log) -> None:
    shop.sql("create view some_orders as from orders; create view some_users as from users")
    shop.sql("create table done (a int)")
    query = "insert into done values (1); select * from some_orders, some_users"
    assert len(shop.sql(query).fetchall()) == 36
    assert shop.sql("from done").fetchall() == [(1,)]
    shop.sql("insert into done values (2); select max(value)->>(select 'user') from orders")
    assert shop.sql("from done").fetchall() == [(1,), (2,)]


def test_a_statement_that_fails_undoes_its_transaction(shop: streamhouse.Log) -> None:
    shop.sql("create table done (a int)")
    with pytest.raises(TopicNotFoundError, match="'nothing'"):
        shop.sql("begin; insert into done values (1); from nothing; commit")
    assert shop.sql("from done").fetchall() == []
    shop.sql("create view some_orders as from orders")
    query = "begin; insert into done values (1); create temp table t as from some_orders; commit; from t"
    assert len(shop.sql(query).fetchall()) == 12
    assert shop.sql("from done").fetchall() == [(1,)]


def test_all_statements_see_one_commit(shop: streamhouse.Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a topic that only turns out to be wanted when the first statements have run."""
    shop.sql("create view some_users as from users")
    moment_of = shop._sql._usual._moment_of
    asked = []

    def moment_later(commit: int) -> Any:
        asked.append(commit)
        with shop.producer() as producer:
            producer.send("users", {"name": "late"}).result()
        return moment_of(commit)

    monkeypatch.setattr(shop._sql._usual, "_moment_of", moment_later)
    result = shop.sql("create temp table t as from orders; select count(*) from some_users")
    assert result.fetchall() == [(3,)]
    assert asked == [result.commit]
    assert shop.sql("select count(*) from users").fetchall() == [(4,)]


def test_views_of_many_topics(log: streamhouse.Log) -> None:
    for number in range(25):
        log.create_topic(f"t{number}")
        log.sql(f"create view v{number} as select {number} as n, count(*) as c from t{number}")
    assert len(log.sql(" union all ".join(f"from v{number}" for number in range(25))).fetchall()) == 25


def test_a_view_over_views(shop: streamhouse.Log) -> None:
    shop.sql("create view a as from orders; create view b as from a; create view c as from b, users")
    assert len(shop.sql("from c").fetchall()) == 36
    shop.sql("create macro totals() as table select count(*) as n from b")
    assert shop.sql("from totals()").fetchall() == [(12,)]


def test_fields_of_aggregates_in_a_transaction(shop: streamhouse.Log) -> None:
    """Where a statement that is refused could not be tried again."""
    shop.sql("begin; create table kept as select max(value)->>'user' as user from orders; commit")
    assert shop.sql("from kept").fetchall() == [("u2",)]
    shop.sql("begin; insert into kept select min(value)->>'user' from orders; select 1; commit")
    assert len(shop.sql("from kept").fetchall()) == 2
    with pytest.raises(QueryError, match="UNNEST not supported here"):
        shop.sql("begin; select 1 from orders where unnest([value]) = 'x'; commit")


def test_a_result_with_columns_of_one_name_is_a_relation(shop: streamhouse.Log) -> None:
    twice = shop.sql("select key, value, key from orders where key < 'k10' order by all")
    assert pa.schema(twice) == pa.table(twice).schema
    assert pa.schema(twice).names == ["key", "value", "key"]
    assert shop.sql("select count(*) from twice").fetchall() == [(len(twice.fetchall()),)]
