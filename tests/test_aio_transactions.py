"""Transactions and process, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import streamhouse.aio
from streamhouse.errors import ProducerFencedError, TransactionError


@pytest.fixture
async def log() -> AsyncIterator[streamhouse.aio.Log]:
    async with await streamhouse.aio.open("memory://", linger_seconds=0.001) as log:
        await log.create_topic("in", partitions=2)
        await log.create_topic("out")
        yield log


async def values(log: streamhouse.aio.Log, topic: str = "out") -> list[object]:
    return [record.value async for record in log.read(topic, value="json")]


async def test_a_log_tells_what_it_is(log: streamhouse.aio.Log) -> None:
    assert log.url == "memory://"
    assert log.settings.linger_seconds == 0.001


async def test_all_or_nothing(log: streamhouse.aio.Log) -> None:
    async with await log.producer() as producer:
        tx = producer.transaction()
        assert not tx.open
        async with tx:
            assert tx.open
            sent = await tx.send("out", {"n": 1})
            await tx.send_many("in", [{"n": 2}, {"n": 3}], partition=1)
            await tx.commit_offsets(group="g", offsets={("in", 0): 0})
            assert await values(log) == []
        assert not tx.open
        assert (await sent).offset == 0
        assert tx.result.count == 3
        with pytest.raises(ZeroDivisionError):
            await change_of_mind(producer)
        assert await values(log) == [{"n": 1}]
        assert (await (await log.group("g")).describe()).offsets[("in", 0)].offset == 0


async def change_of_mind(producer: streamhouse.aio.Producer) -> None:
    async with producer.transaction() as tx:
        await tx.send("out", {"n": 4})
        raise ZeroDivisionError


async def test_a_name_fences_and_settles(log: streamhouse.aio.Log) -> None:
    async with (
        await log.producer(transactional_id="n") as old,
        await log.producer(transactional_id="n") as new,
    ):
        assert (new.transactional_id, new.settled) == ("n", True)
        await new.settle()
        with pytest.raises(ProducerFencedError):
            await old.settle()
        with pytest.raises(ProducerFencedError):
            async with old.transaction() as tx:
                await tx.send("out", {"n": 1})
        with pytest.raises(TransactionError, match="in transactions only"):
            await new.send("out", {"n": 1})
    assert await values(log) == []


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
async def test_process(log: streamhouse.aio.Log, kind: str) -> None:
    def double(record: streamhouse.Record[bytes, dict[str, int]]) -> tuple[str, dict[str, int]]:
        return "out", {"n": 2 * record.value["n"]}

    async def slow_double(record: streamhouse.Record[bytes, dict[str, int]]) -> tuple[str, dict[str, int]]:
        await asyncio.sleep(0)
        return double(record)

    async with await log.producer() as producer:
        await (
            await producer.send_many("in", [{"n": n} for n in range(20)], keys=[str(n) for n in range(20)])
        )
    consumer = await log.consumer("in", group="g", value="json")
    async with consumer, await log.producer(transactional_id="n") as producer:
        function = double if kind == "function" else slow_double
        assert await log.process(consumer, producer, function, until="end") == 20
        endless = asyncio.create_task(log.process(consumer, producer, function))
        async with await log.producer() as feed:
            await (await feed.send("in", {"n": 50}))
        async with await log.consumer("out", start={0: 20}) as results:
            assert len(await results.poll(timeout=30)) == 1
        endless.cancel()
        with pytest.raises(asyncio.CancelledError):
            await endless
    assert sorted(value["n"] for value in await values(log)) == [*range(0, 40, 2), 100]
