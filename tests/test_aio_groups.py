"""Groups through asyncio: the same names on the same engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import streamhouse.aio
from streamhouse.errors import GroupNotFoundError, InvalidInputError, OffsetOutOfRangeError


@pytest.fixture
async def log() -> AsyncIterator[streamhouse.aio.Log]:
    async with await streamhouse.aio.open("memory://") as log:
        await log.create_topic("orders", partitions=2)
        async with await log.producer() as producer:
            for partition in range(2):
                await (await producer.send_many("orders", ["value"] * 10, partition=partition))
        yield log


async def committed(log: streamhouse.aio.Log) -> int:
    described = await (await log.group("g")).describe()
    return sum(offset for offset, _, _ in described.offsets.values())


async def test_a_loop_and_what_it_commits(log: streamhouse.aio.Log) -> None:
    async with await log.consumer("orders", group="g") as consumer:
        count = 0
        async for _ in consumer:
            count += 1
            if count == 7:
                break
        assert consumer.group == "g"
        assert consumer.member_id
        assert consumer.generation == 1
        assert len(consumer.assignment) == 2
    assert await committed(log) == 7


async def test_an_exception_leaves_out_the_record_in_hand(log: streamhouse.aio.Log) -> None:
    async def fail() -> None:
        async with await log.consumer("orders", group="g") as consumer:
            count = 0
            async for _ in consumer:
                count += 1
                if count == 7:
                    raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await committed(log) == 6


async def test_a_cancelled_loop_leaves_out_the_record_in_hand(log: streamhouse.aio.Log) -> None:
    busy = asyncio.Event()

    async def work() -> None:
        count = 0
        async with await log.consumer("orders", group="g") as consumer:
            async for _ in consumer:
                count += 1
                if count == 7:
                    busy.set()
                    await asyncio.sleep(3600)

    task = asyncio.create_task(work())
    await busy.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await committed(log) == 6


async def test_members_share_out_and_commit_by_hand(log: streamhouse.aio.Log) -> None:
    revoked: list[Any] = []
    one = await log.consumer("orders", group="g", auto_commit=False, on_revoke=revoked.extend)
    two = await log.consumer("orders", group="g", auto_commit=False)
    while not (one.assignment and two.assignment):
        await one.poll(timeout=0.01)
        await two.poll(timeout=0.01)
    assert len(revoked) == 1
    (mine,) = one.assignment
    await one.commit({mine: 3}, metadata="note")
    await (await one.commit_async({mine: (4, "other")}))
    found = await one.committed(*mine)
    assert found is not None
    assert found[:2] == (4, "other")
    await one.close()
    await two.close()
    groups = await log.groups()
    assert list(groups) == ["g"]
    assert await groups["g"].reset("latest", dry_run=True) != {}
    await groups["g"].commit({mine: 2})
    assert await committed(log) == 2
    await groups["g"].delete()
    with pytest.raises(GroupNotFoundError):
        await log.group("g")


async def test_callbacks_commit_by_way_of_the_blocking_consumer(log: streamhouse.aio.Log) -> None:
    consumer = await log.consumer(
        "orders",
        group="g",
        auto_commit=False,
        on_revoke=lambda partitions: consumer.blocking.commit(dict.fromkeys(partitions, 2)),
    )
    await consumer.poll()
    await consumer.close()
    assert await committed(log) == 4


async def test_a_coroutine_function_is_no_callback(log: streamhouse.aio.Log) -> None:
    async def callback(_partitions: list[Any]) -> None: ...

    with pytest.raises(InvalidInputError, match="on_lost must be a plain function"):
        await log.consumer("orders", group="g", on_lost=callback)


async def test_a_poll_that_failed_does_not_fail_for_ever(log: streamhouse.aio.Log) -> None:
    await log.create_topic("refunds")
    async with await log.consumer("refunds", group="h", reset="error") as consumer:
        await consumer.poll(timeout=0)
        async with await log.producer() as producer:
            await (await producer.send_many("refunds", ["value"] * 10))
        await log.delete_records("refunds", {0: 6})
        with pytest.raises(OffsetOutOfRangeError):
            await consumer.poll()
        await consumer.seek("refunds", 0, 8)
        assert [record.offset for record in await consumer.poll()] == [8, 9]
