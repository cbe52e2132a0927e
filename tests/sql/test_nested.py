"""A result as a relation of another query."""

from __future__ import annotations

from collections.abc import Iterator

import nanoarrow as na
import pyarrow as pa
import pytest

import streamhouse
from streamhouse.errors import ClosedError, StoreAccessError
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import FaultyStore

BLOCKS = 10
TYPES = """
    select 1::tinyint a, 'x' b, [1] c, {'a': 1, 'b': ['x']} d, 1::hugeint e, interval 1 day f,
        1::decimal(10, 2) g, now() h, uuid() i, '{}'::json j, map {1: 2} k, 'x'::blob l,
        'a'::enum('a', 'b') m, date '2026-01-01' n
"""


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore(SystemRuntime()))


@pytest.fixture
def events(store: FaultyStore) -> Iterator[streamhouse.Log]:
    """A topic of ten blocks, of which none stays in memory."""
    settings = {"cache_bytes_max": 0, "block_bytes_target": 65_536, "inline_bytes_max": 0}
    with streamhouse.Log(store, upkeep=False, **settings) as log:
        log.create_topic("events")
        with log.producer() as producer:
            producer.send_many("events", [b"a" * 65_536] * BLOCKS).result()
        yield log


def gets(log: streamhouse.Log) -> int:
    return log.stats().counts.gets


def test_it_runs_once_and_not_merely_to_ask(events: streamhouse.Log) -> None:
    r = events.sql("select value from events")
    before = gets(events)
    result = events.sql("select count(value) as n from r")
    asked = gets(events)
    assert asked == before + 1  # for a newer commit
    assert result.columns == ["n"]
    assert result.fetchall() == [(BLOCKS,)]
    once = gets(events) - asked
    list(r)
    assert gets(events) - asked == 2 * once
    assert (result.stats.blocks_read, r.stats.blocks_read) == (0, BLOCKS)


def test_to_ask_for_its_columns_is_no_pass(events: streamhouse.Log) -> None:
    r = events.sql("select value from events")
    before, stats = gets(events), r.stats
    assert pa.schema(r) == pa.schema([("value", pa.string())])
    assert na.c_schema(r).n_children == 1
    assert (gets(events), r.stats) == (before, stats)
    assert ("select value from events", "ready") in events.sql(
        "select query, state from streamhouse.queries"
    ).fetchall()


@pytest.mark.parametrize(
    "query",
    [
        "select * from orders order by key limit 3",
        "select value->>'user' as user, count(*) from orders group by all",
        "select sum(count(*)) over () from orders group by value->>'user'",
        "select value->>'user' from orders where (select max(value->>'user') from users) is null",
        "create or replace table t as from orders",
        "show tables",
        TYPES,
        "select 1 where false",
    ],
)
def test_its_schema_is_that_of_its_stream(shop: streamhouse.Log, query: str) -> None:
    r = shop.sql(query)
    schema = pa.schema(r)
    assert schema == pa.table(r).schema
    assert len(shop.sql("from r").fetchall()) == len(r.fetchall())


def test_what_is_held_can_be_asked_too(shop: streamhouse.Log) -> None:
    with shop.sql_session(restricted=True) as session:
        r = session.sql("select key from orders order by key limit 2")
        assert pa.schema(r).names == ["key"]
        assert shop.sql("from r").fetchall() == [("k0",), ("k1",)]


def test_each_of_its_uses_is_a_run(shop: streamhouse.Log) -> None:
    each = shop.sql("select partition from orders")
    result = shop.sql("select count(*) from each a join each b using (partition)")
    assert each.stats.blocks_read == 0
    assert result.fetchall() == result.fetchall() == [(48,)]
    assert list(result) == [(48,)]


def test_a_closed_one_says_so(shop: streamhouse.Log) -> None:
    r = shop.sql("select 1 as n")
    result = shop.sql("from r")
    r.close()
    with pytest.raises(ClosedError, match="the result was closed"):
        result.fetchall()
    with pytest.raises(ClosedError, match="the result was closed"):
        shop.sql("from r")


def test_what_it_raises_is_what_the_query_raises(events: streamhouse.Log, store: FaultyStore) -> None:
    r = events.sql("select value from events")
    result = events.sql("select max(value) from r")
    store.script("get", "denied", prefix="lane/", times=None)
    with pytest.raises(StoreAccessError):
        result.fetchall()
    assert [scan.topic for scan in r.stats.scans] == ["events"]
