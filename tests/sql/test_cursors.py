"""Cursors that queries hand on: the next query finds its topics there, and nothing else of the one before."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import nanoarrow as na
import pytest

import streamhouse
from streamhouse.errors import ClosedError, QueryError
from streamhouse.sql.session import SqlSession

COUNT = "select count(value) from orders"


@pytest.fixture
def session(shop: streamhouse.Log) -> Iterator[SqlSession]:
    with shop.sql_session() as session:
        yield session


def connections(session: SqlSession) -> int:
    ((count,),) = session.sql("from duckdb_connection_count()").fetchall()
    return int(count)


def registered(session: SqlSession, query: str) -> list[str]:
    """What is registered on the cursor that a query runs on."""
    rows = session.sql(
        f"select view_name from duckdb_views() where temporary and not internal and ({query}) is not null"
    ).fetchall()
    return sorted(name for (name,) in rows)


def send(shop: streamhouse.Log, topic: str = "orders") -> None:
    with shop.producer() as producer:
        producer.send(topic, {"user": "new", "amount": 100}).result()


def test_queries_over_the_same_topics_take_turns_on_one_cursor(session: SqlSession) -> None:
    session.sql(COUNT).fetchall()
    before = connections(session)
    for _ in range(20):
        assert session.sql(COUNT).fetchall() == [(12,)]
        assert session.sql(
            "select max(amount) from (select (value->>'amount')::int amount from orders)"
        ).df().shape == (1, 1)
    assert connections(session) == before


def test_each_query_sees_the_topic_as_it_is_then(shop: streamhouse.Log, session: SqlSession) -> None:
    for expected in range(12, 20):
        assert session.sql(COUNT).fetchall() == [(expected,)]
        send(shop)


def test_a_result_that_is_still_held_keeps_its_own_cursor(shop: streamhouse.Log, session: SqlSession) -> None:
    old = session.sql(COUNT)
    assert old.fetchall() == [(12,)]
    send(shop)
    assert session.sql(COUNT).fetchall() == [(13,)]
    assert old.fetchall() == [(12,)]


def test_what_streams_is_not_disturbed(session: SqlSession) -> None:
    rows = iter(session.sql("select value from orders"))
    first = next(rows)
    stream = na.c_array_stream(session.sql("select value from orders"))
    for _ in range(5):
        assert session.sql(COUNT).fetchall() == [(12,)]
    assert len([first, *rows]) == 12
    assert sum(len(array) for array in stream) == 12


def test_a_query_finds_only_its_own_topics(session: SqlSession) -> None:
    both = "select count(*) from orders o join users u on u.key = o.value->>'user'"
    assert registered(session, both) == ["orders", "users"]
    assert registered(session, COUNT) == ["orders"]
    assert registered(session, both) == ["orders", "users"]
    assert registered(session, COUNT) == ["orders"]


def test_a_topic_that_was_made_anew(shop: streamhouse.Log, session: SqlSession) -> None:
    shop.create_topic("items", schema={"size": "BIGINT"})
    with shop.producer() as producer:
        producer.send("items", {"size": 3}).result()
    assert session.sql("select sum(size) from items").fetchall() == [(3,)]
    shop.delete_topic("items")
    shop.create_topic("items", schema={"size": "VARCHAR"})
    with shop.producer() as producer:
        producer.send("items", {"size": "large"}).result()
    assert session.sql("select max(size) from items").fetchall() == [("large",)]


def test_what_fails_or_changes_the_cursor_is_not_handed_on(session: SqlSession) -> None:
    with pytest.raises(QueryError, match="broken"):
        session.sql("select error('broken') from orders").fetchall()
    assert session.sql(COUNT).fetchall() == [(12,)]
    seeded = "select random() from orders limit 3"
    session.sql("select setseed(0.5) from orders limit 1").fetchall()
    first = session.sql(seeded).fetchall()
    session.sql("select setseed(0.5) from orders limit 1").fetchall()
    assert session.sql(seeded).fetchall() != first


def test_a_pass_that_gets_no_cursor(shop: streamhouse.Log) -> None:
    session = shop.sql_session()
    result = session.sql(COUNT)
    session.close()
    for work in (result.explain, lambda: list(result)):
        with pytest.raises(ClosedError):
            work()
    gc.collect()  # a finalizer that raises would be told of here


def test_many_threads(shop: streamhouse.Log, session: SqlSession) -> None:
    found: list[object] = []

    def ask(query: str, expected: int) -> None:
        for _ in range(30):
            rows = session.sql(query).fetchall()
            if rows != [(expected,)]:
                found.append(rows)

    queries = [(COUNT, 12), ("select count(key) from users", 3), (f"{COUNT} where partition = 1", 4)] * 3
    threads = [threading.Thread(target=ask, args=each) for each in queries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not found
