"""Reading and sending through asyncio, where it is other than without."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import pytest

from streamhouse import Record, aio
from streamhouse.errors import DeserializationError


@pytest.fixture
async def log() -> AsyncIterator[aio.Log]:
    async with await aio.open("memory://") as log:
        await log.create_topic("numbers")
        yield log


async def send(log: aio.Log, values: list[str]) -> None:
    async with await log.producer() as producer:
        await (await producer.send_many("numbers", values))


async def gather(records: AsyncIterable[Record[Any, Any]], found: list[Any]) -> None:
    async for record in records:
        found.append(record.value)  # noqa: PERF401 - what came before an error counts


async def test_a_read_gives_the_records_before_a_bad_one_and_then_the_error(log: aio.Log) -> None:
    await send(log, ["1", "2", "x", "4"])
    found: list[Any] = []
    with pytest.raises(DeserializationError):
        await gather(log.read("numbers", value="json"), found)
    assert found == [1, 2]


async def test_so_does_a_consumers_loop(log: aio.Log) -> None:
    await send(log, ["1", "2", "x", "4"])
    found: list[Any] = []
    async with await log.consumer("numbers", value="json") as consumer:
        with pytest.raises(DeserializationError):
            await gather(consumer, found)
        await consumer.seek("numbers", 0, 3)
        assert [record.value for record in await consumer.poll()] == [4]
    assert found == [1, 2]


async def test_a_read_of_many_records_comes_to_an_end(log: aio.Log) -> None:
    await send(log, [str(number) for number in range(1500)])
    assert [record.value async for record in log.read("numbers", value="json")] == list(range(1500))
    assert [record.offset async for record in log.read("numbers", start=1000, until=1000)] == []
