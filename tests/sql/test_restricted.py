"""A restricted session serves queries that strangers wrote: it reads topics, and nothing else can be had."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import streamhouse
from streamhouse.errors import (
    InvalidSettingError,
    ObjectNotFoundError,
    QueryError,
    QueryLimitError,
    QueryRefusedError,
    StoreAccessError,
    TopicNotFoundError,
)
from streamhouse.runtime import SystemRuntime
from streamhouse.sql.session import SqlSession
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import FaultyStore

LOOT = pa.table({"secret": [1]})


@pytest.fixture
def session(shop: streamhouse.Log) -> Iterator[SqlSession]:
    with shop.sql_session(restricted=True) as session:
        yield session


@pytest.fixture
def narrow(shop: streamhouse.Log) -> Iterator[SqlSession]:
    with shop.sql_session(restricted=True, topics=["users"]) as session:
        yield session


@pytest.mark.parametrize(
    "query",
    [
        "select * from users",
        "with u as (from users) select key, count(*) over () from u order by key limit 2",
        "select u.key, u.value->>'name' from raw.users r join users u using (offset)",
        "from streamhouse.topics",
        "describe users",
        "summarize users",
        "select 'insert' as \"copy\"",
    ],
)
def test_it_reads(session: SqlSession, query: str) -> None:
    result = session.sql(query)
    rows = result.fetchall()
    assert rows
    assert list(result) == rows
    assert result.pl().height == len(rows)
    assert result._repr_html_()
    assert repr(result)


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to '{file}'",
        "copy users from '{file}'",
        "export database '{file}'",
        "import database '{file}'",
        "attach '{file}' as other",
        "detach memory",
        "install httpfs",
        "load httpfs",
        "load '{file}'",
        "set threads = 9",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "set variable x = 1",
        "reset threads",
        "pragma threads = 9",
        "call pragma_version()",
        "call enable_logging()",
        "use memory",
        "create table t as select 1",
        "create view v as select 1",
        "create macro m() as 1",
        "create secret (type s3)",
        "insert into users values (1)",
        "update users set key = 'x'",
        "delete from users",
        "drop view streamhouse.topics",
        "alter table users add column x int",
        "merge into users using users on true when matched then delete",
        "with gone as (insert into t values (1) returning *) from gone",
        "select nextval('s')",
        "prepare p as select 1",
        "execute p",
        "begin",
        "vacuum",
        "checkpoint",
        "comment on table users is 'x'",
        "pivot users on key",
        "connect",
        "explain analyze create table t as select 1",
        "explain analyze copy (select 1) to '{file}'",
        "select 1; select 2",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from read_blob('/etc/pass*')",
        "select * from read_json('/etc/passwd')",
        "select * from sniff_csv('/etc/passwd')",
        "select * from glob('/*')",
        "select * from 'orders.csv'",
        "select * from parquet_scan('s3://bucket/x')",
        "select * from 'https://example.com/x.parquet'",
        "select * from read_duckdb('{file}')",
        "from enable_logging()",
        "from enable_logging(storage := 'file', storage_path := '{file}')",
        "from enable_profiling('all', save_location := '{file}')",
        "from add_grammar_extension('x')",
        "from duckdb_extensions()",
        "from read_text(['/etc/passwd'])",
        "from glob('/etc/passwd'::variant)",
        "from parquet_metadata('/etc/passwd')",
        "select * from users where exists (from read_text('/etc/passwd'))",
        "describe from read_text('/etc/passwd')",
        "explain select 1",
        "from duckdb_secrets()",
    ],
)
def test_nothing_else_is_done(session: SqlSession, tmp_path: Path, query: str) -> None:
    file = tmp_path / "file"
    with pytest.raises(QueryRefusedError) as caught:
        session.sql(query.format(file=file)).fetchall()
    assert str(caught.value)
    assert not file.exists()
    assert session.sql("select count(*) from duckdb_tables()").fetchall() == [(0,)]


@pytest.mark.parametrize(
    "query",
    [
        "select getenv('HOME')",
        "from arrow_scan()",
        "from python_arrow_scan()",
        "from pandas_scan()",
        "from seq_scan()",
        "from register_external_resource_type('a', 'b', 'c', 'd', 'e', 'f', 'g')",
        "from destroy_external_resource('version', 1)",
        "from duckdb_secrets(redact := false)",
        "from LOOT",
        "from tests_sql_test_restricted.LOOT",
        "from other.main.t",
        "from postgres_scan('host=127.0.0.1', 'public', 't')",
        "from start_ui()",
        "from arrow_scan(1, 2, 3)",
        "from pandas_scan(1)",
    ],
)
def test_what_is_not_there_at_all(session: SqlSession, query: str) -> None:
    with pytest.raises((QueryError, TopicNotFoundError)):
        session.sql(query).fetchall()


def test_it_does_not_tell_where_it_runs(session: SqlSession) -> None:
    home = str(Path.home())
    settings = session.sql("select value from duckdb_settings() where value is not null").fetchall()
    assert not [value for (value,) in settings if home in value]


@pytest.mark.parametrize("query", ["from duckdb_extensions()", "from duckdb_extension_repositories()"])
def test_errors_name_no_files_but_those_of_the_query(session: SqlSession, query: str) -> None:
    with pytest.raises(QueryRefusedError, match=r"Cannot access a directory - .* disabled") as caught:
        session.sql(query).fetchall()
    assert str(Path.home()) not in str(caught.value)
    with pytest.raises(QueryRefusedError, match='"/etc/passwd"'):
        session.sql("from read_text('/etc/passwd')")


@pytest.mark.parametrize(
    "query",
    [
        "select 1" + " + 1" * 2000,
        "select st_point(1, 2)",
        "select string_agg(range, '') from range(100_000_000)",
    ],
)
def test_errors_advise_nothing_that_is_refused(shop: streamhouse.Log, query: str) -> None:
    with shop.sql_session(restricted=True, memory_bytes_max=32 << 20) as session:
        with pytest.raises(QueryError) as caught:
            session.sql(query).fetchall()
        (error,) = session.sql(
            "select error from streamhouse.queries where error is not null and state = 'failed'"
        ).fetchall()
    for advice in ("SET ", "INSTALL", "LOAD"):
        assert advice not in str(caught.value)
        assert advice not in error[0]


def test_errors_do_not_tell_where_the_log_is(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path / "log", upkeep=False, cache_bytes_max=0, inline_bytes_max=0) as log:
        log.create_topic("orders")
        with log.producer() as producer:
            producer.send_many("orders", [b"a" * 1000] * 10).result()
        shutil.rmtree(tmp_path / "log" / "lane")
        with log.sql_session(restricted=True) as session, pytest.raises(ObjectNotFoundError) as caught:
            session.sql("select max(value) from orders")
        assert str(caught.value) == "an object of the log is gone from its store"
        with pytest.raises(ObjectNotFoundError) as caught:
            log.sql("select max(value) from orders").fetchall()
        assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("prefix", ["lane/", ""])
def test_errors_of_the_store_are_told_without_its_words(prefix: str) -> None:
    store = FaultyStore(MemoryStore(SystemRuntime()))
    with streamhouse.Log(store, upkeep=False, cache_bytes_max=0, inline_bytes_max=0) as log:
        log.create_topic("orders")
        with log.producer() as producer:
            producer.send_many("orders", [b"a" * 1000] * 10).result()
        store.script("get", "denied", prefix=prefix, times=None)
        with log.sql_session(restricted=True) as session, pytest.raises(StoreAccessError) as caught:
            session.sql("select max(value) from orders")
    assert str(caught.value) == "the store of the log denies access"
    assert "injected" in str(caught.value.__cause__)


@pytest.mark.parametrize("query", ["select sleep_ms(60_000)", "select pg_sleep(60)"])
def test_sleeping(shop: streamhouse.Log, query: str) -> None:
    session = shop.sql_session(restricted=True, seconds_max=0.3)
    with session, pytest.raises(QueryLimitError, match="longer than this session allows"):
        session.sql(query).fetchall()


@pytest.mark.parametrize(
    "query",
    [
        "from orders",
        "from ORDERS",
        "from raw.orders",
        'from "raw:orders"',
        "from memory.main.orders",
        "from temp.main.orders",
        "from query('from orders')",
        "from query_table('orders')",
        "from query('from ord' || 'ers')",
        "from json_execute_serialized_sql(json_serialize_sql('from orders'))",
        "select (select count(*) from orders) from users",
        "with x as (from orders) from x",
        "from streamhouse.topics",
        "from STREAMHOUSE.segments",
        'from "streamhouse"."topics"',
        'from "streamhouse:topics"',
        "from query('from stream' || 'house.topics')",
    ],
)
def test_topics_that_are_not_for_it(shop: streamhouse.Log, narrow: SqlSession, query: str) -> None:
    assert narrow.sql("select count(*) from users").fetchall() == [(3,)]
    with pytest.raises((QueryRefusedError, TopicNotFoundError)):
        narrow.sql(query).fetchall()


def test_a_hint_names_no_topic_that_is_not_for_it(narrow: SqlSession) -> None:
    with pytest.raises(TopicNotFoundError) as caught:
        narrow.sql("from order_s")
    assert "orders" not in str(caught.value)


# --- limits --------------------------------------------------------------------------------------------


def test_rows(shop: streamhouse.Log) -> None:
    with shop.sql_session(restricted=True, rows_max=10) as session:
        assert len(session.sql("from range(10)").fetchall()) == 10
        for query in ("from range(11)", "from range(1_000_000_000)", "from orders"):
            with pytest.raises(QueryLimitError, match="more than 10 rows; add a limit"):
                session.sql(query)


def test_memory(shop: streamhouse.Log) -> None:
    with shop.sql_session(restricted=True, memory_bytes_max=32 << 20) as session:
        for query in (
            "select list(range) from range(100_000_000)",
            "select max(len(l)) from (select list(range) l from range(100_000_000) group by range % 3)",
            "select string_agg(range::varchar, '') from range(100_000_000)",
        ):
            with pytest.raises(QueryLimitError, match="Out of Memory"):
                session.sql(query).fetchall()
        assert session.sql("select count(*) from orders").fetchall() == [(12,)]


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from range(1_000_000_000) a, range(10_000) b where a.range % 7 = b.range",
        "select max(hash(value || range)) from orders, range(1_000_000_000)",
        "with recursive t(n) as (select 1 union all select n + 1 from t) select max(n) from t",
    ],
)
def test_time(shop: streamhouse.Log, query: str) -> None:
    with shop.sql_session(restricted=True, seconds_max=0.3) as session:
        began = time.monotonic()
        with pytest.raises(QueryLimitError, match="longer than this session allows"):
            session.sql(query).fetchall()
        assert time.monotonic() - began < 10  # 0.3 s; the machine may be busy
        assert session.sql("select count(*) from orders").fetchall() == [(12,)]


def test_a_slow_query_does_not_stop_another(shop: streamhouse.Log) -> None:
    with shop.sql_session(restricted=True, seconds_max=2) as session:
        errors: list[Exception] = []

        def slow() -> None:
            try:
                session.sql("select max(hash(a.range)) from range(1_000_000_000) a, range(100)")
            except QueryLimitError as error:
                errors.append(error)

        thread = threading.Thread(target=slow)
        thread.start()
        assert session.sql("select count(*) from orders").fetchall() == [(12,)]
        thread.join()
        assert len(errors) == 1


@pytest.mark.parametrize("name", ["rows_max", "memory_bytes_max"])
@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "9", 10**30])
def test_impossible_limits(shop: streamhouse.Log, name: str, limit: object) -> None:
    with pytest.raises(InvalidSettingError, match=f"{name} must be a whole number from 1 to .*{limit!r}$"):
        shop.sql_session(restricted=True, **{name: limit})  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 1e10, 10**30, True, "9"])
def test_impossible_limits_of_time(shop: streamhouse.Log, seconds: object) -> None:
    with pytest.raises(InvalidSettingError, match=f"seconds_max must be a number of seconds .*{seconds!r}$"):
        shop.sql_session(restricted=True, seconds_max=seconds)  # type: ignore[arg-type]


def test_the_largest_limits(shop: streamhouse.Log) -> None:
    largest = {"rows_max": 1 << 62, "memory_bytes_max": 1 << 62, "seconds_max": threading.TIMEOUT_MAX}
    with shop.sql_session(restricted=True, **largest) as session:  # type: ignore[arg-type]
        assert session.sql("select count(*) from users").fetchall() != []


@pytest.mark.parametrize("topics", ["users", 1, [1], ["users", None]])
def test_topics_that_are_no_names(shop: streamhouse.Log, topics: object) -> None:
    with pytest.raises(InvalidSettingError, match="topics must be"):
        shop.sql_session(topics=topics)  # type: ignore[arg-type]


def test_topics_may_come_from_anything_that_has_them(shop: streamhouse.Log) -> None:
    with shop.sql_session(topics=(name for name in ["users"])) as session:  # type: ignore[arg-type]
        assert session.sql("show tables").fetchall() == [("users",)]


def test_limits_are_for_restricted_sessions(shop: streamhouse.Log) -> None:
    with pytest.raises(InvalidSettingError, match="rows_max: only a session with restricted=True"):
        shop.sql_session(rows_max=5)


def test_show_tables_of_a_log_with_many_topics(log: streamhouse.Log) -> None:
    names = [f"{'a-long-name-of-a-topic' * 4}-{number}" for number in range(400)]
    for name in names:
        log.create_topic(name)
    with log.sql_session(restricted=True) as session:
        assert session.sql("show tables").fetchall() == [(name,) for name in sorted(names)]
