"""SQL and exports with asyncio: the same answers, and a loop that goes on meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

import streamhouse.aio
from streamhouse.errors import InvalidInputError, QueryError, QueryRefusedError, TopicNotFoundError

LONG = "select sum(a.range * b.range) from range(100000) a, range(100000) b"


@pytest.fixture
async def log() -> AsyncIterator[streamhouse.aio.Log]:
    async with await streamhouse.aio.open("memory://") as log:
        await log.create_topic("orders", partitions=2)
        async with await log.producer() as producer:
            batch = await producer.send_many("orders", [{"n": number} for number in range(5000)])
            await batch
        yield log


async def test_rows(log: streamhouse.aio.Log) -> None:
    result = await log.sql("select (value->>'n')::int as n from orders where n >= ? order by n", 4997)
    assert (result.columns, result.types) == (["n"], ["INTEGER"])
    assert await result.fetchall() == [(4997,), (4998,), (4999,)]
    assert [row async for row in result] == [(4997,), (4998,), (4999,)]
    assert await result.fetchone() == (4997,)
    assert await result.fetchmany(5) == [(4998,), (4999,)]
    assert (await result.df())["n"].tolist() == [4997, 4998, 4999]
    assert (await result.pl())["n"].to_list() == [4997, 4998, 4999]
    assert (await result.arrow()).num_rows == 3
    assert (await result.fetchnumpy())["n"].tolist() == [4997, 4998, 4999]
    assert "orders: " in await result.explain()
    assert result.stats.commit == result.commit
    assert pl.DataFrame(result.blocking).height == 3
    await result.close()


async def test_variables_of_the_caller(log: streamhouse.aio.Log) -> None:
    wanted = pl.DataFrame({"n": [3, 4711]})
    query = "select count(*) from orders join wanted on (value->>'n')::int = wanted.n"
    assert await (await log.sql(query)).fetchall() == [(2,)]
    assert await (await asyncio.create_task(asyncio.wait_for(log.sql(query), 30))).fetchall() == [(2,)]
    assert wanted.height == 2


async def test_as_of(log: streamhouse.aio.Log) -> None:
    before = (await log.sql("select 1")).commit
    async with await log.producer() as producer:
        await (await producer.send("orders", {"n": -1}))
    count = "select count(*) from orders"
    assert await (await log.sql(count, as_of=before)).fetchall() == [(5000,)]
    assert await (await log.sql(count)).fetchall() == [(5001,)]


async def test_errors(log: streamhouse.aio.Log) -> None:
    with pytest.raises(TopicNotFoundError, match="did you mean 'orders'"):
        await log.sql("from oders")
    result = await log.sql("select 'x' || value::int from orders")
    with pytest.raises(QueryError, match="Could not convert"):
        await result.fetchall()


async def test_who_stops_reading_reads_no_further(log: streamhouse.aio.Log) -> None:
    result = await log.sql("select range from range(100000000)")
    async for (number,) in result:
        if number == 5000:
            break
    assert await (await log.sql("select count(*) from orders")).fetchall() == [(5000,)]


async def test_the_loop_goes_on_and_a_cancelled_query_ends(log: streamhouse.aio.Log) -> None:
    result = await log.sql(LONG)
    waiting = asyncio.create_task(result.fetchall())
    ticks = 0
    begun = time.monotonic()
    while time.monotonic() - begun < 0.3:
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 3
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 20)
    assert await (await log.sql("select 1")).fetchall() == [(1,)]
    states = await (await log.sql("select state from streamhouse.queries where query = ?", LONG)).fetchall()
    assert states == [("failed",)]


async def test_a_session(log: streamhouse.aio.Log) -> None:
    async with await log.sql_session(restricted=True, topics=["orders"]) as session:
        assert await (await session.sql("select count(*) from orders")).fetchall() == [(5000,)]
        with pytest.raises(QueryRefusedError):
            await session.sql("copy (select 1) to 'x.csv'")
    assert "closed" in repr(session)


async def test_topics(log: streamhouse.aio.Log, tmp_path: Path) -> None:
    topic = await log.topic("orders")
    assert (topic.name, len(topic.partitions), topic.schema) == ("orders", 2, None)
    assert (await topic.infer_schema()).types == {"n": "BIGINT"}
    altered = await topic.alter(partitions=3)
    assert len(altered.partitions) == 3
    assert (await log.topics())["orders"].id == topic.id == topic.blocking.id
    assert topic.settings.retention_ms is None
    assert topic.created == altered.created
    assert "orders" in repr(topic)
    assert "orders" in topic._repr_html_()
    done = await topic.to_parquet(tmp_path, select="(value->>'n')::int as n")
    assert (done.records, len(done.files)) == (5000, 1)
    assert duckdb.sql(f"select sum(n) from '{tmp_path}/*.parquet'").fetchall() == [(4999 * 2500,)]
    with pytest.raises(InvalidInputError):
        await topic.to_parquet(tmp_path)
