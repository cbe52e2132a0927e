"""What can be asked of a log."""

from __future__ import annotations

import _thread
import datetime as dt
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import nanoarrow as na
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import streamhouse
from streamhouse.errors import (
    ClosedError,
    ForkedError,
    HistoryGoneError,
    InvalidPositionError,
    QueryError,
    TopicNotFoundError,
)
from tests.sql.conftest import BEGIN_MS, Cold

BEGIN = dt.datetime.fromtimestamp(BEGIN_MS / 1000, tz=dt.UTC)


def test_all_columns(shop: streamhouse.Log) -> None:
    result = shop.sql("select * from users where offset = 1")
    assert result.columns == ["topic", "partition", "offset", "timestamp", "key", "value", "headers"]
    assert result.types == [
        "VARCHAR",
        "INTEGER",
        "BIGINT",
        "TIMESTAMP WITH TIME ZONE",
        "VARCHAR",
        "VARCHAR",
        'STRUCT("name" VARCHAR, "value" VARCHAR)[]',
    ]
    headers = [{"name": "source", "value": "test"}]
    assert result.fetchall() == [("users", 0, 1, BEGIN, "u1", '{"name":"Bob"}', headers)]


def test_an_empty_topic(log: streamhouse.Log) -> None:
    log.create_topic("empty", partitions=2)
    assert log.sql("select * from empty").fetchall() == []
    assert log.sql("select count(*), max(offset), min(timestamp) from empty").fetchall() == [(0, None, None)]


@pytest.mark.parametrize(
    ("query", "values", "parameters", "expected"),
    [
        ("select key from orders where offset = ? and partition = ?", (1, 2), {}, [("k5",)]),
        ("select key from orders where offset = $2 and partition = $1", (2, 1), {}, [("k5",)]),
        ("select key from orders where offset = $at and partition = $in", (), {"at": 1, "in": 2}, [("k5",)]),
        ("select $text || key from users limit 1", (), {"text": "'; drop"}, [("'; dropu0",)]),
        ("select $day::date", (), {"day": dt.date(2026, 1, 2)}, [(dt.date(2026, 1, 2),)]),
        ("select key from users where timestamp = $t limit 1", (), {"t": BEGIN}, [("u0",)]),
    ],
)
def test_parameters(
    shop: streamhouse.Log,
    query: str,
    values: tuple[object, ...],
    parameters: dict[str, object],
    expected: list[object],
) -> None:
    result = shop.sql(query, *values, **parameters)
    assert result.fetchall() == expected
    assert list(result) == expected


def test_a_missing_parameter(shop: streamhouse.Log) -> None:
    with pytest.raises(QueryError, match="1"):
        shop.sql("select key from orders where offset = ?").fetchall()


# --- fields of values ----------------------------------------------------------------------------------


def test_fields(shop: streamhouse.Log) -> None:
    query = (
        "select value->>'user' as user, sum((value->>'amount')::int) from orders group by user order by user"
    )
    assert shop.sql(query).fetchall() == [("u0", 18), ("u1", 22), ("u2", 26)]


def test_nested_fields(log: streamhouse.Log) -> None:
    log.create_topic("deep")
    with log.producer() as producer:
        producer.send("deep", {"a": {"b": [10, {"c": "x"}]}}).result()
    query = "select value->'a'->'b'->1->>'c', value->>'$.a.b[0]', value->'a'->>'b', value->>'none' from deep"
    assert log.sql(query).fetchall() == [("x", "10", '[10,{"c":"x"}]', None)]


def test_values_that_are_no_json_have_no_fields(log: streamhouse.Log) -> None:
    log.create_topic("mixed")
    with log.producer() as producer:
        for value in ({"n": 1}, b"no JSON", b"\xff\xfe", None, b"", {"n": 2}):
            producer.send("mixed", value)
    assert log.sql("select value->>'n' from mixed").fetchall() == [("1",), *4 * [(None,)], ("2",)]
    assert log.sql("select sum((value->>'n')::int) from mixed").fetchall() == [(3,)]
    assert log.sql("select count(*) from mixed where value->>'n' is not null").fetchall() == [(2,)]


@pytest.mark.parametrize(
    ("expression", "users"),
    [
        ("arg_max(value, offset)->>'user'", [None]),
        ("min_by(value, offset)->>'user'", ["a"]),
        ("list(value)[2]->'user'->>'$'", ["b"]),
        ("lag(value) over (order by offset)->>'user'", [None, "a", "b"]),
        ("unnest([value])->>'user'", ["a", "b", None]),
        ("value->>(select 'user')", ["a", "b", None]),
    ],
)
def test_fields_of_what_is_computed(log: streamhouse.Log, expression: str, users: list[str | None]) -> None:
    log.create_topic("mixed")
    with log.producer() as producer:
        producer.send_many("mixed", [b'{"user": "a"}', b'{"user": "b"}', b"no JSON"]).result()
    result = log.sql(f"select {expression} as user from mixed")
    rows = [(user,) for user in users]
    assert result.fetchall() == list(result) == result.fetchmany(5) == rows
    assert result.pl().rows() == rows
    assert "mixed" in str(result.explain())
    assert log.sql(f"create table kept as from mixed; select {expression} from kept").fetchall() == rows


def test_bytes_are_shown_escaped_and_can_be_had_raw(log: streamhouse.Log) -> None:
    log.create_topic("bin")
    values = [b"plain", b"\x00\xffA\\", "grün".encode(), None, b""]
    with log.producer() as producer:
        producer.send_many(
            "bin", values, keys=[b"\xfe", b"k", None, b"", b"k"], headers={"h": b"\x80"}
        ).result()
    shown = log.sql("select value, key, headers[1].value from bin").fetchall()
    assert [row[0] for row in shown] == ["plain", r"\x00\xFFA\x5C", "grün", None, ""]
    assert [row[1] for row in shown] == [r"\xFE", "k", None, "", "k"]
    assert shown[0][2] == r"\x80"
    raw = log.sql("select value, key, headers[1].value from raw.bin")
    assert raw.types == ["BLOB", "BLOB", "BLOB"]
    assert [row[0] for row in raw.fetchall()] == values
    both = "select a.value, b.value from bin a join raw.bin b using (partition, offset) where a.key = 'k'"
    assert sorted(log.sql(both).fetchall()) == [("", b""), (r"\x00\xFFA\x5C", b"\x00\xffA\\")]


def test_headers_by_name(shop: streamhouse.Log) -> None:
    query = "select header(headers, 'source'), header(headers, 'none') from users limit 1"
    assert shop.sql(query).fetchall() == [("test", None)]


# --- more than one relation ----------------------------------------------------------------------------


def test_joins(shop: streamhouse.Log) -> None:
    query = """
        select u.value->>'name', count(*)
        from orders o join users u on o.value->>'user' = u.key
        group by all order by all
    """
    assert shop.sql(query).fetchall() == [("Ada", 4), ("Bob", 4), ("Cyd", 4)]


def test_a_topic_joined_with_itself(shop: streamhouse.Log) -> None:
    query = (
        "select count(*) from orders a join orders b on a.offset = b.offset + 1 and a.partition = b.partition"
    )
    result = shop.sql(query)
    assert result.fetchall() == [(9,)]
    assert len(result.stats.scans) == 2


def test_common_table_expressions(shop: streamhouse.Log) -> None:
    query = """
        with recursive
        spent as (select value->>'user' as user, (value->>'amount')::int as amount from orders),
        users as (select distinct user from spent),
        steps(n) as (select 1 union all select n + 1 from steps where n < 3)
        select count(*), (select count(*) from users), (select max(n) from steps) from spent
    """
    assert shop.sql(query).fetchall() == [(12, 3, 3)]  # `users` is the expression, not the topic


def test_windows_and_asof_joins(shop: streamhouse.Log) -> None:
    query = """
        select key, sum((value->>'amount')::int) over (partition by partition order by offset)
        from orders qualify row_number() over (partition by partition order by offset desc) = 1 order by key
    """
    assert shop.sql(query).fetchall() == [("k10", 22), ("k11", 26), ("k9", 18)]
    query = """
        with late as (select timestamp + interval 2500 millisecond as at, key from users where key = 'u0')
        select o.key from late asof join orders o on late.at >= o.timestamp
    """
    assert shop.sql(query).fetchall() == [("k2",)]


def test_unions_views_and_macros(shop: streamhouse.Log) -> None:
    shop.sql("create view big as select * from orders where (value->>'amount')::int > 8")
    shop.sql("create view bigger as select * from big where (value->>'amount')::int > 9")
    shop.sql("create macro amount(v) as (v->>'amount')::int")
    assert shop.sql("select sum(amount(value)) from bigger").fetchall() == [(21,)]
    assert shop.sql("select topic from users union select topic from big order by 1").fetchall() == [
        ("orders",),
        ("users",),
    ]


def test_several_statements(shop: streamhouse.Log) -> None:
    result = shop.sql("create temp table t as select key from orders; select count(*) from t")
    assert result.fetchall() == [(12,)]


NAMES = {"u0": "Ada", "u1": "Bob"}


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"id": NAMES.keys(), "name": NAMES.values()}),
        pl.DataFrame({"id": list(NAMES.keys()), "name": list(NAMES.values())}),
        pa.table({"id": list(NAMES.keys()), "name": list(NAMES.values())}),
        na.Array(pa.table({"id": list(NAMES.keys()), "name": list(NAMES.values())})),
    ],
    ids=["pandas", "polars", "pyarrow", "nanoarrow"],
)
def test_local_tables(shop: streamhouse.Log, table: object) -> None:
    people = table
    query = """
        select name, count(*) from orders join people on id = value->>'user' group by name order by name
    """
    result = shop.sql(query)
    assert result.fetchall() == [("Ada", 4), ("Bob", 4)]
    del people
    assert list(result) == [("Ada", 4), ("Bob", 4)]


people_of_the_module = pa.table({"id": ["u0"]})


def test_tables_of_the_module(shop: streamhouse.Log) -> None:
    assert shop.sql("select id from people_of_the_module").fetchall() == [("u0",)]


def test_a_topic_comes_before_a_variable(shop: streamhouse.Log) -> None:
    users = pa.table({"id": ["mine"]})
    assert users.num_rows == 1
    assert shop.sql("select count(*) from users").fetchall() == [(3,)]


def test_an_earlier_statement_that_gives_rows(shop: streamhouse.Log) -> None:
    for rows in (1, 100_000):  # few are there at once, many come as they are asked for
        result = shop.sql(f"select value from orders; from range({rows}); select count(*) from users")
        assert (result.fetchall(), list(result), result.pl().rows()) == ([(3,)], [(3,)], [(3,)])
    with pytest.raises(QueryError, match="late"):
        shop.sql("select if(range < 90_000, range, error('late')) from range(100_000); select 1")


def test_a_caller_without_variables(shop: streamhouse.Log, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    _thread.start_new_thread(shop.sql, ("create table made as select 1 as n",))  # called by C, not by Python
    made = "select count(*) from duckdb_tables() where table_name = 'made'"
    while not raised and shop.sql(made).fetchall() == [(0,)]:
        time.sleep(0.01)
    assert not raised


def test_a_session_does_not_see_variables(shop: streamhouse.Log) -> None:
    mine = pa.table({"id": ["mine"]})
    assert mine.num_rows == 1
    with shop.sql_session() as session, pytest.raises(TopicNotFoundError, match="mine"):
        session.sql("from mine")


def test_record_batches_are_tables(shop: streamhouse.Log) -> None:
    with shop.consumer("users") as consumer:
        (batch,) = consumer.poll_batches(timeout=5)
    assert len(batch) == 3
    assert shop.sql("select count(*) from batch").fetchall() == [(3,)]


# --- names ---------------------------------------------------------------------------------------------


def test_parameters_by_order_and_by_name(shop: streamhouse.Log) -> None:
    with pytest.raises(QueryError, match="not both in one query"):
        shop.sql("select ?, $x", 1, x=2)
    with shop.sql_session() as session, pytest.raises(QueryError, match="not both in one query"):
        session.sql("select ?", 1, x=2)


def test_spaces_of_any_kind(shop: streamhouse.Log) -> None:
    assert shop.sql("select count(*) \u2003 from orders \u00a0").fetchall() == [(12,)]


def test_what_stands_behind_a_statement(shop: streamhouse.Log) -> None:
    result = shop.sql("select 1 as a; -- one")
    assert "1" in repr(result)
    assert "1" in result._repr_html_()
    with shop.sql_session(restricted=True) as session:
        assert session.sql("select 1; /* one */ ;").fetchall() == [(1,)]


def test_names_that_need_quotes(log: streamhouse.Log) -> None:
    for name in ("my-topic", "a.b", "Order", "select"):
        log.create_topic(name)
        with log.producer() as producer:
            producer.send(name, name).result()
        assert log.sql(f'select value from "{name}"').fetchall() == [(name,)]
    assert log.sql('select value from "ORDER"').fetchall() == [("Order",)]
    with pytest.raises(QueryError, match='has to be quoted: "my-topic"'):
        log.sql("select value from my-topic")


def test_topics_that_differ_in_case_only(log: streamhouse.Log) -> None:
    for name in ("Twin", "twin"):
        log.create_topic(name)
        with log.producer() as producer:
            producer.send(name, name).result()
    assert log.sql("select value from Twin").fetchall() == [("Twin",)]
    assert log.sql("select value from twin").fetchall() == [("twin",)]
    for query in ("from TWIN", 'from "Twin" a, "twin" b'):
        with pytest.raises(QueryError, match='cannot tell the topics "Twin" and "twin" apart'):
            log.sql(query)


@pytest.mark.parametrize(
    "query",
    [
        "select offset from users where offset >= 1 order by offset limit 1 offset 1",
        'select "offset" from users where "offset" >= 1 order by "offset" limit 1 offset 1',
        "select u.offset from users u where u.offset >= 1 order by u.offset limit 1 offset 1",
        "select max(offset) /* offset */ from users -- offset",
        "from users select offset order by 1 offset 2",
        "select case offset when 2 then offset else -offset end as offset from users order by 1 desc limit 1",
        "select 2*offset - 2 from users where case when offset > 0 then 3 % offset /* 3 */ end = 1",
        "select distinct on (offset) offset from users order by offset desc limit 1",
        "select struct_pack(offset := offset).offset from users where 1 < offset",
        "create temp table t as select offset from users; update t set offset=2; select max(1*offset) from t",
    ],
)
def test_offset_needs_no_quotes(shop: streamhouse.Log, query: str) -> None:
    """Though the word is reserved."""
    assert shop.sql(query).fetchall() == [(2,)]


def test_a_parameter_may_have_the_name_of_the_column(shop: streamhouse.Log) -> None:
    query = "select offset from users where offset = $offset and 1*offset = $offset"
    assert shop.sql(query, offset=2).fetchall() == [(2,)]


def test_a_clause_without_an_operand_is_still_none(shop: streamhouse.Log) -> None:
    for query in ("from users limit 1 offset", "select offset from users limit 1 offset, 2"):
        with pytest.raises(QueryError, match="syntax error"):
            shop.sql(query)


# --- errors --------------------------------------------------------------------------------------------


def test_an_unknown_topic(shop: streamhouse.Log) -> None:
    with pytest.raises(
        TopicNotFoundError, match="no topic, table or variable 'order'; did you mean 'orders'"
    ):
        shop.sql('select * from users, "order"')
    with pytest.raises(TopicNotFoundError, match=r"'streamhouse\.topics'"):
        shop.sql("from streamhouse.topic")
    with pytest.raises(TopicNotFoundError, match=r"'nothing_like_it'$"):
        shop.sql("from nothing_like_it")


@pytest.mark.parametrize(
    ("query", "name"),
    [("from orders.of.may", "orders.of.may"), ("from memory.main.users", "users")],
)
def test_a_topic_in_a_schema(shop: streamhouse.Log, query: str, name: str) -> None:
    shop.create_topic("orders.of.may")
    with pytest.raises(TopicNotFoundError, match=f'a topic is in no schema: write "{name}"'):
        shop.sql(query)


@pytest.mark.parametrize("query", [None, 5, b"select 1", "select '\ud800'"])
def test_what_is_no_query(shop: streamhouse.Log, query: object) -> None:
    with pytest.raises(QueryError, match=r"a query is a text, not|the query is no Unicode text"):
        shop.sql(query)  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", [True, 1.5, "yesterday", dt.date(2024, 5, 1)])
def test_what_is_no_moment(shop: streamhouse.Log, moment: object) -> None:
    with pytest.raises(InvalidPositionError, match="neither the number of a commit nor a datetime"):
        shop.sql("from orders", as_of=moment)  # type: ignore[arg-type]


def test_what_is_dropped_comes_again(shop: streamhouse.Log) -> None:
    queries = ("select count(*) from raw.users", "select count(*) from streamhouse.topics")
    before = [shop.sql(query).fetchall() for query in queries]
    for drop in ("drop schema raw cascade; drop schema streamhouse cascade", "drop view raw.users"):
        shop.sql(drop)
        assert [shop.sql(query).fetchall() for query in queries] == before


def test_a_topic_comes_before_a_table(shop: streamhouse.Log) -> None:
    shop.sql("create table users as select 42 as x")
    shop.sql("create view orders as select 42 as x")
    assert shop.sql("select count(key) from users").fetchall() == [(3,)]
    assert shop.sql("select count(key) from orders").fetchall() == [(12,)]


def test_a_topic_that_is_deleted_while_it_is_read(cold: Cold) -> None:
    log = cold.log
    result = log.sql("select value from events")
    rows = iter(result)
    next(rows)
    log.delete_topic("events")
    log.create_topic("events", schema={"n": "BIGINT"})
    assert len(list(rows)) == 1999
    assert len(result.fetchall()) == 2000
    assert log.sql("select n from events").fetchall() == []
    assert log.sql("select count(value) from events", as_of=result.commit).fetchall() == [(2000,)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select from", "Parser Error: syntax error"),
        ("select colour from orders", 'column "colour" not found'),
        ("select no_function(value) from orders", "no_function"),
        ("", "the query is empty"),
        ("-- nothing", "the query is empty"),
        ("select 'x'::int", "Could not convert string 'x'"),
    ],
)
def test_what_duckdb_says_is_passed_on(shop: streamhouse.Log, query: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        shop.sql(query).fetchall()


# --- one commit ----------------------------------------------------------------------------------------


def test_a_result_sees_one_commit(shop: streamhouse.Log) -> None:
    result = shop.sql("select count(*) from users")
    assert result.fetchall() == [(3,)]
    with shop.producer() as producer:
        producer.send("users", {"name": "Dan"}, key="u3").result()
    assert result.fetchall() == [(3,)]
    assert list(result) == [(3,)]
    assert shop.sql("select count(*) from users").fetchall() == [(4,)]
    shop.delete_topic("users")
    assert list(result) == [(3,)]


def test_earlier_commits(shop: streamhouse.Log) -> None:
    before = shop.sql("select 1").commit
    with shop.producer() as producer:
        producer.send("users", {"name": "Dan"}, key="u3").result()
    shop.alter_topic("users", partitions=4)
    count = "select count(*) from users"
    assert shop.sql(count).fetchall() == [(4,)]
    then = shop.sql(count, as_of=before)
    assert (then.commit, then.fetchall()) == (before, [(3,)])
    partitions = "select partitions from streamhouse.topics where topic = 'users'"
    assert shop.sql(partitions, as_of=before).fetchall() == [(1,)]
    assert shop.sql(partitions).fetchall() == [(4,)]
    with pytest.raises(TopicNotFoundError, match="users"):
        shop.sql(count, as_of=1)
    with pytest.raises(InvalidPositionError, match="there is no commit 99"):
        shop.sql(count, as_of=99)


def test_earlier_times() -> None:
    from streamhouse.testing.clock import ManualRuntime

    runtime = ManualRuntime()
    with streamhouse.Log("memory://", runtime=runtime, upkeep=False) as log:
        log.create_topic("t")
        with log.producer() as producer:
            for _ in range(3):
                runtime.advance(3600)
                producer.send("t", "x").result(10)
        now = dt.datetime.fromtimestamp(runtime.time_ms() / 1000, tz=dt.UTC)
        count = "select count(*) from t"
        for hours, expected in ((0, 3), (1, 2), (2, 1), (2.5, 0)):
            when = now - dt.timedelta(hours=hours)
            assert log.sql(count, as_of=when).fetchall() == [(expected,)]
        with pytest.raises(TopicNotFoundError):
            log.sql(count, as_of=now - dt.timedelta(days=1))
        with pytest.raises(InvalidPositionError, match="no time zone"):
            log.sql(count, as_of=now.replace(tzinfo=None))


def test_history_that_is_gone() -> None:
    from streamhouse.testing.clock import ManualRuntime

    runtime = ManualRuntime()
    with streamhouse.Log("memory://", runtime=runtime, upkeep=False, snapshot_commits=10) as log:
        log.create_topic("t")
        with log.producer() as producer:
            for _ in range(4):
                for _ in range(40):
                    producer.send("t", "x").result(10)
                log.upkeep()
                runtime.advance(3 * 3600)
        with pytest.raises(HistoryGoneError, match="as of commit 2 cannot be had any more"):
            log.sql("select 1", as_of=2)


# --- threads, sessions, closing ------------------------------------------------------------------------


def test_many_threads(shop: streamhouse.Log) -> None:
    found: list[list[tuple[int, int]]] = []

    def work(number: int) -> None:
        for _ in range(10):
            query = "select $n, sum((value->>'amount')::int) from orders where partition = $n"
            found.append(shop.sql(query, n=number).fetchall())

    threads = [threading.Thread(target=work, args=(number % 3,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(20 * [[(0, 18)], [(1, 22)], [(2, 26)]])


def test_sessions_are_apart(shop: streamhouse.Log) -> None:
    with shop.sql_session() as one, shop.sql_session() as two:
        one.sql("create table mine as select 1 as n")
        two.sql("create table mine as select 2 as n")
        assert one.sql("from mine").fetchall() == [(1,)]
        assert two.sql("from mine").fetchall() == [(2,)]
        with pytest.raises(TopicNotFoundError):
            shop.sql("from mine")


def test_a_session_for_some_topics(shop: streamhouse.Log) -> None:
    with shop.sql_session(topics=["users"]) as session:
        assert session.sql("select count(*) from users").fetchall() == [(3,)]
        with pytest.raises(TopicNotFoundError):
            session.sql("from orders")
        with pytest.raises(TopicNotFoundError):
            session.sql("from raw.orders")
    with pytest.raises(TopicNotFoundError, match="did you mean 'users'"):
        shop.sql_session(topics=["user"])


def test_a_closed_session(shop: streamhouse.Log) -> None:
    session = shop.sql_session()
    result = session.sql("select 1 as n")
    assert repr(session) == "SqlSession(open)"
    session.close()
    session.close()
    assert repr(session) == "SqlSession(closed)"
    with pytest.raises(ClosedError, match="the session is closed"):
        session.sql("select 1")
    with pytest.raises((ClosedError, QueryError), match="closed"):
        list(result)


def test_closing_a_log_ends_its_queries(cold: object, tmp_path: object) -> None:
    log = cold.log  # type: ignore[attr-defined]
    rows = iter(log.sql("select value from events"))
    next(rows)
    session = log.sql_session()
    log.close()
    with pytest.raises(ClosedError, match="log is closed"):
        log.sql("select 1")
    with pytest.raises(ClosedError, match="session is closed"):
        session.sql("select 1")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("streamhouse-sql")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_after_a_fork(shop: streamhouse.Log) -> None:
    session = shop.sql_session()
    result = session.sql("select count(value) from orders")
    restricted = shop.sql_session(restricted=True)
    held = restricted.sql("select count(value) from orders")
    calls: list[Callable[[], Any]] = [
        *(lambda: session.sql("select 1"), result.fetchall, result.df, result.explain, result._repr_html_),
        *(lambda: next(iter(result)), lambda: pa.table(result), held.fetchall),
    ]
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # where it waits for a thread that is not there
        refused = 0
        for call in calls:
            with suppress(ForkedError):
                call()
                continue
            refused += 1
        result.close()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == len(calls)
    assert session.sql("select 1").fetchall() == [(1,)]
    assert result.fetchall() == held.fetchall() == [(12,)]


def test_a_defect_of_duckdb_ends_one_query_and_not_the_session(shop: streamhouse.Log) -> None:
    too_large = pa.Array.from_buffers(pa.decimal128(38, 0), 1, [None, pa.py_buffer(bytes(15) + b"\x80")])
    frame = pa.table({"n": too_large})
    shop.sql("create table mine as select 1 as x")
    with pytest.raises(QueryError, match="a defect of DuckDB") as raised:
        shop.sql("select to_json(n) from frame").fetchall()
    assert "Stack Trace" not in str(raised.value)
    assert len(frame) == 1  # found by its name
    assert shop.sql("select count(*) from orders").fetchall() == [(len(list(shop.read("orders"))),)]
    with pytest.raises(TopicNotFoundError, match="mine"):
        shop.sql("from mine")


def test_show_tables_has_the_topics(shop: streamhouse.Log) -> None:
    shop.sql("create table mine as select 1 as x; create view open_orders as from orders")
    for query in ("show tables", "SHOW TABLES;", " show "):
        assert shop.sql(query).fetchall() == [("mine",), ("open_orders",), ("orders",), ("users",)]
    with shop.sql_session(restricted=True, topics=["users"]) as session:
        assert session.sql("show tables").fetchall() == [("users",)]
