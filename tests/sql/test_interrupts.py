"""Queries that are ended: by Ctrl-C, from another thread, by closing what they use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import polars as pl
import pytest

import streamhouse
from streamhouse.errors import ClosedError, QueryError, QueryLimitError
from streamhouse.runtime import SystemRuntime
from streamhouse.sql.query import Run
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import FaultyStore, SlowStore

ENDLESS = "select count(*) from orders a, range(1_000_000_000) b where hash(a.value) % 7 = b.range % 3"
SHAPES = ["fetchall", "df", "pl", "arrow", "show", "__repr__", "_repr_html_", "explain", "fetchone"]

PROGRAM = """
import os, signal, sys, threading, time
import numpy, pandas, polars, pyarrow
import streamhouse

works = {
    "create": lambda log, result: log.sql("create table t as " + result._query.text),
    "iterate": lambda log, result: list(result),
    **{name: lambda log, result, name=name: getattr(result, name)() for name in sys.argv[2:]},
}
with streamhouse.Log("memory://") as log:
    log.create_topic("orders")
    with log.producer() as producer:
        producer.send_many("orders", ["a", "b"]).result()
    for name, work in works.items():
        result = log.sql(sys.argv[1])
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            work(log, result)
        except KeyboardInterrupt:
            print(name, "ended")
    print(log.sql("select count(*) from orders").fetchall())
"""


def test_a_restricted_query_leaves_nothing_that_is_in_the_way_of_the_end() -> None:
    program = (
        "import streamhouse; log = streamhouse.Log('memory://');"
        "print(log.sql_session(restricted=True).sql('select 1').fetchall()); log.close()"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=50, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"[(1,)]\n", b"")


@pytest.mark.parametrize("query", ["create table t as select 1", "select count(value) from orders"])
def test_closing_when_a_statement_has_just_run(
    shop: streamhouse.Log, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = Run.bind

    def bind_and_close(run: Run) -> object:
        bound = bind(run)
        shop.close()
        return bound

    monkeypatch.setattr(Run, "bind", bind_and_close)
    result = shop.sql(query)
    with pytest.raises(ClosedError):
        result.fetchall()


def test_ctrl_c_ends_every_kind_of_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ENDLESS, *SHAPES],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    expected = [f"{name} ended" for name in ("create", "iterate", *SHAPES)]
    assert done.stdout.splitlines() == [*expected, "[(2,)]"]


def run_on_a_thread(work: object) -> tuple[threading.Thread, list[BaseException]]:
    raised: list[BaseException] = []

    def target() -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    time.sleep(0.3)
    return thread, raised


def raised_when_ended(work: object, end: Callable[[], None]) -> BaseException:
    """What something raises on a thread when it is ended from this one."""
    thread, raised = run_on_a_thread(work)
    assert not raised
    end()
    thread.join(20)
    assert not thread.is_alive()
    return raised[0]


@pytest.mark.parametrize("shape", ["fetchall", "pl", "fetchone"])
def test_from_another_thread(shop: streamhouse.Log, shape: str) -> None:
    assert pl.__version__  # imported by now
    result = shop.sql(ENDLESS)
    assert isinstance(raised_when_ended(getattr(result, shape), result.interrupt), QueryError)


ROWS = "select range n from range(1_000_000_000_000) where range < 1_000_000 or hash(range) = 5"
OVER_RESULTS = ["select count(*) from r", "select count(*) from r a, r b", "create table t as from r"]


@pytest.mark.parametrize("shape", ["fetchall", "pl", "fetchone"])
@pytest.mark.parametrize("query", OVER_RESULTS[:2])
def test_a_query_over_a_result(shop: streamhouse.Log, query: str, shape: str) -> None:
    r = shop.sql(ROWS)
    result = shop.sql(query)
    assert isinstance(raised_when_ended(getattr(result, shape), result.interrupt), QueryError)
    result = shop.sql(query)
    assert isinstance(raised_when_ended(getattr(result, shape), result.close), ClosedError)
    assert next(iter(r)) == (0,)


def test_a_query_over_a_result_over_a_result(shop: streamhouse.Log) -> None:
    r = shop.sql(ROWS)
    r = shop.sql("select n + 1 as n from r")
    result = shop.sql(OVER_RESULTS[0])
    assert isinstance(raised_when_ended(result.fetchall, result.interrupt), QueryError)
    assert next(iter(r)) == (1,)


@pytest.mark.parametrize("query", OVER_RESULTS)
def test_ctrl_c_ends_a_query_over_a_result(shop: streamhouse.Log, query: str) -> None:
    r = shop.sql(ROWS)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        shop.sql(query).fetchall()
    assert next(iter(r)) == (0,)


@pytest.mark.parametrize("what", ["__arrow_c_schema__", "open_stream"])
def test_ctrl_c_while_a_result_is_asked(
    shop: streamhouse.Log, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    r = shop.sql("select 1")

    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(r), what, interrupted)
    with pytest.raises(KeyboardInterrupt):
        shop.sql("from r").fetchall()


def test_rows_begin_anew_after_an_interruption(shop: streamhouse.Log) -> None:
    result = shop.sql("select if(range < 3000, range, error('late')) from range(10_000)")
    with pytest.raises(QueryError, match="late"):
        result.fetchmany(5000)
    with pytest.raises(QueryError, match="late"):
        result.fetchall()
    assert shop.sql("select 1").fetchmany(5) == [(1,)]


def test_closing_a_result_that_is_in_use(shop: streamhouse.Log) -> None:
    result = shop.sql(ENDLESS)
    assert isinstance(raised_when_ended(result.fetchall, result.close), ClosedError)
    with pytest.raises(ClosedError, match="the result was closed"):
        result.fetchall()


@pytest.fixture
def answers() -> threading.Event:
    """Set when who asks for a block is to get it."""
    return threading.Event()


@pytest.fixture(params=[1, 20], ids=["a block", "many blocks"])
def away(answers: threading.Event, request: pytest.FixtureRequest) -> Iterator[streamhouse.Log]:
    silent = FaultyStore(MemoryStore(SystemRuntime()), sleep=answers.wait)
    silent.script("get", "delay", prefix="lane/", times=None, seconds=60)
    store = SlowStore(silent, put_seconds=0, get_seconds=0, list_seconds=0)
    settings = {"cache_bytes_max": 0, "block_bytes_target": 65_536, "inline_bytes_max": 0}
    with streamhouse.Log(store, upkeep=False, **settings) as log:
        log.create_topic("orders")
        with log.producer() as producer:
            producer.send_many("orders", [b"a" * 65_536] * request.param).result()
        assert log.sql("select count(*) from streamhouse.segments").fetchall() == [(request.param,)]
        try:
            yield log
        finally:
            answers.set()


VALUES = "select max(length(value)) from orders"


def test_from_another_thread_while_the_network_is_silent(away: streamhouse.Log) -> None:
    result = away.sql(VALUES)
    raised = raised_when_ended(result.fetchall, result.interrupt)
    assert isinstance(raised, QueryError)
    assert "interrupted" in str(raised).casefold()


def test_ctrl_c_while_the_network_is_silent(away: streamhouse.Log, answers: threading.Event) -> None:
    result = away.sql(VALUES)
    began = time.monotonic()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        result.fetchall()
    assert time.monotonic() - began < 20
    answers.set()
    assert result.fetchall() == [(65_536,)]


def test_a_limit_of_time_while_the_network_is_silent(away: streamhouse.Log) -> None:
    began = time.monotonic()
    with away.sql_session(restricted=True, seconds_max=0.3) as session, pytest.raises(QueryLimitError):
        session.sql(VALUES).fetchall()
    assert time.monotonic() - began < 20


def test_closing_a_result_while_the_network_is_silent(away: streamhouse.Log) -> None:
    result = away.sql(VALUES)
    assert isinstance(raised_when_ended(result.fetchall, result.close), ClosedError)


def test_closing_a_log_whose_queries_run() -> None:
    log = streamhouse.Log("memory://")
    log.create_topic("orders")
    with log.producer() as producer:
        producer.send_many("orders", ["a", "b"]).result()
    session = log.sql_session()
    results = [log.sql(ENDLESS), log.sql(ENDLESS), session.sql(ENDLESS)]
    running = [run_on_a_thread(result.fetchall) for result in results]
    log.close()
    for thread, raised in running:
        thread.join(20)
        assert not thread.is_alive()
        assert isinstance(raised[0], ClosedError)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("streamhouse")]
