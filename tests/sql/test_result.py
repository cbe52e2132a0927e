"""What a result can be turned into."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import duckdb
import nanoarrow as na
import polars as pl
import pyarrow as pa
import pytest

import streamhouse
from streamhouse.errors import ClosedError, MissingExtraError, QueryError, TopicNotFoundError
from streamhouse.sql.result import Result
from streamhouse.sql.session import SqlSession
from tests.sql.conftest import BEGIN_MS

QUERY = "select key, timestamp, value from orders order by timestamp limit 2"
BEGIN = dt.datetime.fromtimestamp(BEGIN_MS / 1000, tz=dt.UTC)
ROWS = [
    ("k0", BEGIN, '{"user":"u0","amount":0}'),
    ("k1", BEGIN + dt.timedelta(seconds=1), '{"user":"u1","amount":1}'),
]


def many_blocks(log: streamhouse.Log) -> None:
    """A topic ``t`` of 40 blocks, of which the cache holds none."""
    log.create_topic("t")
    with log.producer() as producer:
        for _ in range(40):
            producer.send_many("t", [b"1"] * 3000).result()


def test_rows(shop: streamhouse.Log) -> None:
    result = shop.sql(QUERY)
    assert result.columns == ["key", "timestamp", "value"]
    assert result.types == ["VARCHAR", "TIMESTAMP WITH TIME ZONE", "VARCHAR"]
    assert result.fetchall() == ROWS
    assert result.fetchall() == ROWS  # again
    assert list(result) == ROWS
    assert list(result) == ROWS


def test_rows_one_by_one(shop: streamhouse.Log) -> None:
    result = shop.sql("select number from (values (1), (2), (3), (4)) t(number)")
    assert result.fetchone() == (1,)
    assert result.fetchmany(2) == [(2,), (3,)]
    assert result.fetchall() == [(4,)]
    assert result.fetchall() == []
    assert result.fetchone() is None


def test_a_result_larger_than_one_fetch(shop: streamhouse.Log) -> None:
    result = shop.sql("select range from range(10_000)")
    assert [number for (number,) in result] == list(range(10_000))
    first, second = iter(result), iter(result)  # each has a cursor of its own
    assert [next(first), next(second), next(first)] == [(0,), (0,), (1,)]


@pytest.mark.parametrize("restricted", [True, False])
def test_times_have_their_zone(shop: streamhouse.Log, restricted: bool) -> None:
    with shop.sql_session(restricted=restricted) as session:
        assert session.sql(QUERY).fetchall() == ROWS
        assert list(session.sql(QUERY)) == ROWS
        assert session.sql(QUERY).fetchmany(5) == ROWS
        (row,) = session.sql(
            "select null::timestamptz, 1 as a, 2 as a, max(timestamp) from orders"
        ).fetchall()
        assert row == (None, 1, 2, BEGIN + dt.timedelta(seconds=11))


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # DuckDB's own affair with pandas 3
def test_pandas(shop: streamhouse.Log) -> None:
    frame = shop.sql(QUERY).df()
    assert list(frame.columns) == ["key", "timestamp", "value"]
    assert frame["key"].tolist() == ["k0", "k1"]
    assert frame["timestamp"][1] == ROWS[1][1]


def test_polars(shop: streamhouse.Log) -> None:
    frame = shop.sql(QUERY).pl()
    assert frame.columns == ["key", "timestamp", "value"]
    assert frame["timestamp"].to_list() == [row[1] for row in ROWS]


def test_columns_of_one_name(shop: streamhouse.Log) -> None:
    result = shop.sql("select 1 as a, 2 as a, 3 as a_1, 4 as A")
    names = ["a", "a_1", "a_1_1", "A_2"]
    assert (result.pl().columns, result.pl().rows()) == (names, [(1, 2, 3, 4)])
    assert list(result.df().columns) == list(result.fetchnumpy()) == names
    assert result.arrow().column_names == result.columns == ["a", "a", "a_1", "A"]
    empty = shop.sql("select o.key, u.key from orders o, users u where o.offset < 0")
    assert (empty.pl().columns, empty.pl().height) == (["key", "key_1"], 0)


def test_pyarrow(shop: streamhouse.Log) -> None:
    table = shop.sql(QUERY).arrow()
    assert table.column("value").to_pylist() == [row[2] for row in ROWS]


def test_numpy(shop: streamhouse.Log) -> None:
    assert shop.sql(QUERY).fetchnumpy()["key"].tolist() == ["k0", "k1"]


@pytest.mark.parametrize(("method", "library"), [("pl", "polars"), ("arrow", "pyarrow"), ("df", "pandas")])
def test_a_library_that_is_not_there(
    shop: streamhouse.Log, monkeypatch: pytest.MonkeyPatch, method: str, library: str
) -> None:
    result = shop.sql("select 1")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=f"pip install {library}"):
        getattr(result, method)()


def test_the_arrow_capsule(shop: streamhouse.Log) -> None:
    result = shop.sql(QUERY)
    for _ in range(2):
        assert na.Array(result).to_pylist()[0]["key"] == "k0"
    assert duckdb.connect().sql("select count(*) from result").fetchall() == [(2,)]


def test_the_arrow_capsule_streams(shop: streamhouse.Log) -> None:
    stream = na.ArrayStream(shop.sql("select range as n from range(300_000)"))
    counts = [len(batch) for batch in stream]
    assert len(counts) > 1
    assert sum(counts) == 300_000


def test_a_capsule_may_outlive_its_result(shop: streamhouse.Log) -> None:
    stream = na.ArrayStream(shop.sql("select offset from orders"))
    assert sum(len(batch) for batch in stream) == 12


def test_show(shop: streamhouse.Log, capsys: pytest.CaptureFixture[str]) -> None:
    shop.sql("select key, value from orders order by timestamp").show(max_rows=3, max_width=60)
    shown = capsys.readouterr().out
    assert "key" in shown
    assert "k0" in shown
    assert "k5" not in shown


def test_repr(shop: streamhouse.Log) -> None:
    assert "k1" in repr(shop.sql(QUERY))


def test_html(shop: streamhouse.Log) -> None:
    page = shop.sql("select '<b>' as \"a&b\", null as nothing, 1.5::double as number")._repr_html_()
    assert '<td style="text-align:left">&lt;b&gt;</td>' in page
    assert '<td style="text-align:right">1.5</td>' in page
    assert "a&amp;b<br><small>varchar" in page
    assert "<i>null</i>" in page
    assert "<caption>" not in page
    long = shop.sql("select range from range(51)")._repr_html_()
    assert ">49</td>" in long
    assert ">50</td>" not in long
    assert "<caption>the first 50 rows</caption>" in long


def test_statements_that_change_something(shop: streamhouse.Log) -> None:
    result = shop.sql("create table kept as select key from orders")
    assert (result.columns, result.fetchall()) == (["Count"], [(12,)])
    assert repr(result)
    assert result.explain().startswith(f"as of commit {result.commit}")
    assert shop.sql("select count(*) from kept").fetchall() == [(12,)]  # created once, and kept
    inserted = shop.sql("insert into kept values ('x') returning key")
    assert (list(inserted), list(inserted), inserted.pl().rows()) == ([("x",)], [("x",)], [("x",)])
    assert shop.sql("select count(*) from kept").fetchall() == [(13,)]


def test_a_changing_statement_runs_once(shop: streamhouse.Log) -> None:
    shop.sql("create sequence counter")
    result = shop.sql("select nextval('counter')")
    assert result.fetchall() == result.fetchall()
    assert shop.sql("select nextval('counter')").fetchall() == [(2,)]


def test_results_can_be_fed_back(shop: streamhouse.Log) -> None:
    top = shop.sql(  # noqa: F841 - the query below reads it
        "select (value->>'user') as user, sum((value->>'amount')::int) as total from orders group by 1"
    )
    assert shop.sql("select user from top order by total desc limit 1").fetchall() == [("u2",)]


def test_explain(shop: streamhouse.Log) -> None:
    text = shop.sql("select value from orders where partition = 1").explain()
    assert "PYTHON_ARROW_SCAN" in text
    assert 'orders: value where "partition" = ' in text
    assert "1 of 3 blocks" in text or "1 in memory" in text


def test_stats_belong_to_the_last_pass(shop: streamhouse.Log) -> None:
    result = shop.sql("select sum(length(value)) from orders")
    assert result.stats.commit == result.commit
    result.fetchall()
    (scan,) = result.stats.scans
    assert (scan.topic, scan.columns, scan.blocks) == ("orders", ("value",), 3)
    assert scan.blocks_read + scan.blocks_cached == 3
    list(result)
    assert len(result.stats.scans) == 1


def test_stats_are_of_one_pass(log: streamhouse.Log) -> None:
    many_blocks(log)
    result = log.sql("select count(value) from t")
    for work in (result.fetchall, result.fetchall, result.df, lambda: repr(result)):
        work()
        (scan,) = result.stats.scans
        assert scan.blocks_read + scan.blocks_cached == scan.blocks == 40


@pytest.mark.parametrize("restricted", [True, False])
def test_stats_of_rows_that_are_held(log: streamhouse.Log, restricted: bool) -> None:
    many_blocks(log)
    query = "select count(value) from t"
    with log.sql_session(restricted=restricted) as session:
        result = session.sql(query if restricted else f"create table counted as {query}")
        assert result.fetchall() == result.fetchall()
        assert result.stats.blocks_read == 40


def test_an_error_while_rows_are_read(shop: streamhouse.Log) -> None:
    result = shop.sql("select (value->>'user')::int from orders")
    with pytest.raises(QueryError, match=r"Could not convert string 'u[012]' to INT32"):
        result.fetchall()
    with pytest.raises(QueryError, match="Could not convert"):
        list(result)


@pytest.mark.parametrize("method", ["pl", "df", "arrow", "fetchnumpy", "fetchall"])
def test_an_error_after_the_first_rows(shop: streamhouse.Log, method: str) -> None:
    result = shop.sql("select if(range < 150_000, range::varchar, 'oops')::int as n from range(150_001)")
    with pytest.raises(QueryError, match="Could not convert string 'oops'"):
        getattr(result, method)()
    assert result.stats.commit == result.commit


def test_an_error_after_the_first_rows_of_a_stream(shop: streamhouse.Log) -> None:
    query = "select if(range < 150_000, range::varchar, 'oops')::int as n from range(150_001)"
    with pytest.raises(pl.exceptions.ComputeError, match="Could not convert string 'oops'"):
        pl.DataFrame(shop.sql(query))


def test_one_result_from_several_threads(shop: streamhouse.Log) -> None:
    result = shop.sql("select sum((value->>'amount')::int) from orders")
    found: list[object] = []
    threads = [
        threading.Thread(
            target=lambda: found.extend([*result.fetchall(), *result, *result.arrow()[0].to_pylist()])
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count((66,)) == 8
    assert found.count(66) == 4


def test_threads_that_share_the_rows_of_a_result(shop: streamhouse.Log) -> None:
    result = shop.sql("select range from range(100_000)")
    found: list[object] = []
    begin = threading.Barrier(4)

    def take() -> None:
        begin.wait()
        while rows := result.fetchmany(100):
            found.extend(rows)
        found.extend(result.fetchall())

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 100_000


HELD = ["several statements", "a restricted session", "a change"]


@pytest.fixture(params=HELD)
def held(shop: streamhouse.Log, request: pytest.FixtureRequest) -> Iterator[Result]:
    """A result of three rows that is no stream of its own."""
    if request.param == "a restricted session":
        with shop.sql_session(restricted=True) as session:
            yield session.sql("select range as n from range(3)")
    elif request.param == "a change":
        shop.sql("create table kept (n bigint)")
        yield shop.sql("insert into kept from range(3) returning n")
    else:
        yield shop.sql("create temp table q as select range as n from range(3); from q")


def test_arrow_streams_of_what_is_held_keep_nobody_away(shop: streamhouse.Log, held: Result) -> None:
    rows = [(0,), (1,), (2,)]
    reader = pa.RecordBatchReader.from_stream(held)
    assert held.fetchall() == rows
    assert "2" in repr(held)
    assert pa.table(held)["n"].to_pylist() == [0, 1, 2]
    assert shop.sql("select count(*) from (from held union all from held)").fetchall() == [(6,)]
    assert reader.read_all()["n"].to_pylist() == [0, 1, 2]


def test_close_ends_every_pass(shop: streamhouse.Log) -> None:
    result = shop.sql("select range from range(100_000)")
    iterators = [iter(result) for _ in range(3)]
    for each in iterators:
        assert next(each) == (0,)
    result.fetchone()
    result.close()
    result.close()
    for iterator in iterators:
        with pytest.raises(ClosedError, match="the result was closed"):
            for _ in iterator:
                pass
    for work in (result.fetchall, result.fetchone, result.explain, result.pl, lambda: pa.table(result)):
        with pytest.raises(ClosedError, match="the result was closed"):
            work()


def test_close_ends_arrow_streams_over_topics(log: streamhouse.Log) -> None:
    many_blocks(log)
    result = log.sql("select value from t")
    readers = [pa.RecordBatchReader.from_stream(result) for _ in range(3)]
    for reader in readers:
        reader.read_next_batch()
    result.close()
    for reader in readers:
        with pytest.raises(OSError, match="Interrupted"):
            reader.read_all()


@pytest.mark.parametrize(
    "query",
    [
        "from orders",
        "from raw.orders",
        "select count(*) from orders",
        "from streamhouse.topics",
        "select error(value) from orders",
        "from nowhere",
    ],
)
def test_results_that_nobody_refers_to_close(shop: streamhouse.Log, query: str) -> None:
    def ask(session: SqlSession) -> None:
        with contextlib.suppress(QueryError, TopicNotFoundError):
            session.sql(query).fetchall()
        with contextlib.suppress(QueryError, TopicNotFoundError):
            next(iter(session.sql(query)))
        with contextlib.suppress(QueryError, TopicNotFoundError):
            session.sql(query).explain()

    with shop.sql_session() as session:
        ask(session)
        for _ in range(10):
            ask(session)
        gc.collect()
        ((connections,),) = session.sql("from duckdb_connection_count()").fetchall()
        assert connections <= 7  # four of them idle


@pytest.mark.parametrize(
    "column",
    [
        "max(timestamp) - min(timestamp)",
        "[union_value(a := 1)]",
        "map {1: {'a': interval 1 day}}",
        "[interval 1 day]::interval[1]",
    ],
)
def test_types_that_polars_has_not(shop: streamhouse.Log, column: str) -> None:
    result = shop.sql(f"select {column} as odd from orders")
    with pytest.raises(QueryError, match="no type for column 'odd' of"):
        result.pl()
    assert result.arrow().num_rows == len(result.fetchall())


@pytest.mark.parametrize("column", ["{'UNION': 1}", "'UNION'::enum('UNION', 'INTERVAL')", "[1]::int[1]"])
def test_types_that_polars_has_in_spite_of_their_names(shop: streamhouse.Log, column: str) -> None:
    assert shop.sql(f"select {column} as even").pl().height == 1


@pytest.mark.parametrize("count", [2, 100_000])
def test_a_program_that_ends_with_results_open_says_nothing(count: int) -> None:
    program = """
import sys
import streamhouse
log = streamhouse.Log("memory://")
log.create_topic("orders")
producer = log.producer()
producer.send_many("orders", ["a"] * int(sys.argv[1])).result()
result = log.sql("select * from orders")
rows = iter(result)
next(rows)
another = log.sql("select * from orders")
another.fetchone()
"""
    run = subprocess.run(
        [sys.executable, "-c", program, str(count)], capture_output=True, text=True, timeout=60, check=True
    )
    assert (run.stdout, run.stderr) == ("", "")
