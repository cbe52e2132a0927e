"""Transactions and process through asyncio, when things are cancelled, fail, or do not fit."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

import streamhouse
from streamhouse import Output, Record, aio
from streamhouse.errors import BufferFullError, InvalidRecordError, TransactionError


@pytest.fixture
async def log() -> AsyncIterator[aio.Log]:
    async with await aio.open("memory://", buffer_bytes_max=256 << 10) as log:
        await log.create_topic("in", partitions=2)
        await log.create_topic("out")
        yield log


async def feed(log: aio.Log, count: int = 10) -> None:
    async with await log.producer() as producer:
        for number in range(count):
            await producer.send("in", str(number), partition=number % 2)


async def values(log: aio.Log, topic: str = "out") -> list[str]:
    return [record.value async for record in log.read(topic, value="str")]


async def committed(log: aio.Log) -> int:
    described = await (await log.group("g")).describe()
    return sum(offset for offset, _, _ in described.offsets.values())


# --- transactions ------------------------------------------------------------------------------------


async def test_a_delivery_cannot_be_awaited_inside(log: aio.Log) -> None:
    async with await log.producer() as producer, producer.transaction() as tx:
        delivery = await tx.send("out", "a")
        many = await tx.send_many("out", ["b"])
        with pytest.raises(TransactionError, match="ask then, not inside it"):
            await delivery
        with pytest.raises(TransactionError, match="ask then, not inside it"):
            await many


async def test_it_may_end_in_the_block(log: aio.Log) -> None:
    async with await log.producer() as producer:
        async with producer.transaction() as tx:
            await tx.send("out", "a")
            assert (await tx.commit()).count == 1
        assert "committed" in repr(tx)
        async with producer.transaction() as tx:
            await tx.send("out", "b")
            await tx.abort()
        with pytest.raises(TransactionError, match="aborted"):
            _ = tx.result
    assert await values(log) == ["a"]


async def test_before_it_has_begun_it_refuses(log: aio.Log) -> None:
    async with await log.producer() as producer:
        tx = producer.transaction()
        assert "not begun" in repr(tx)
        for use in (tx.send("out", ""), tx.commit(), tx.abort(), tx.commit_offsets(group="g", offsets={})):
            with pytest.raises(TransactionError, match="async with"):
                await use
        with pytest.raises(TransactionError, match="async with"):
            _ = tx.result


async def test_a_cancellation_aborts(log: aio.Log) -> None:
    sent = asyncio.Event()

    async def work(producer: aio.Producer) -> None:
        async with producer.transaction() as tx:
            await tx.send("out", "a")
            sent.set()
            await asyncio.sleep(3600)

    async with await log.producer() as producer:
        task = asyncio.create_task(work(producer))
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with producer.transaction() as tx:
            await tx.send("out", "b")
    assert await values(log) == ["b"]


async def test_a_cancellation_while_it_begins_leaves_none_open(
    log: aio.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins, goes_on = threading.Event(), threading.Event()
    begin = streamhouse.Producer.transaction

    def begin_slowly(self: streamhouse.Producer, **options: Any) -> Any:
        begins.set()
        assert goes_on.wait(30)
        return begin(self, **options)

    async with await log.producer() as producer:
        monkeypatch.setattr(streamhouse.Producer, "transaction", begin_slowly)
        task = asyncio.create_task(producer.transaction().__aenter__())
        await asyncio.to_thread(begins.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        goes_on.set()
        await persist(producer, "a")
    assert await values(log) == ["a"]


async def persist(producer: aio.Producer, value: str) -> None:
    """Send in a transaction; what was cancelled before may be under way for a moment."""
    for _ in range(1000):
        try:
            async with producer.transaction() as tx:
                await tx.send("out", value)
                await tx.send("in", value)
            return
        except TransactionError:
            await asyncio.sleep(0.01)
    raise AssertionError("there is a transaction open for ever")


@pytest.mark.parametrize("name", [None, "n"])
async def test_a_cancellation_while_it_commits_leaves_all_or_nothing(log: aio.Log, name: str | None) -> None:
    async def work(number: int) -> None:
        async with producer.transaction() as tx:
            await tx.send("out", str(number))
            await tx.send("in", str(number))

    async with await log.producer(transactional_id=name) as producer:
        for number in range(30):
            task = asyncio.create_task(work(number))
            await asyncio.sleep(number * 0.0002)
            task.cancel()
            await asyncio.wait([task])
        await persist(producer, "last")
    there = await values(log)
    assert sorted(there) == sorted(await values(log, "in"))
    assert max(Counter(there).values()) == 1


@pytest.mark.parametrize("fails", [True, False])
async def test_a_cancellation_before_it_ends_aborts(log: aio.Log, fails: bool) -> None:
    """All threads are busy, so that nobody has begun to commit yet."""
    goes_on = threading.Event()
    entered = asyncio.Event()

    async def work() -> None:
        async with producer.transaction() as tx:
            await tx.send("out", "a")
            for _ in range(aio._THREADS):
                log._threads.submit(goes_on.wait, 30)
            entered.set()
            if fails:
                raise ValueError

    async with await log.producer() as producer:
        task = asyncio.create_task(work())
        await entered.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        goes_on.set()
        await persist(producer, "b")
    assert await values(log) == ["b"]


async def test_it_may_be_larger_than_memory(log: aio.Log) -> None:
    async with await log.producer() as producer, producer.transaction() as tx:
        sent = 0
        with suppress(BufferFullError):  # which says when it would have to wait
            while sent < 300:
                await tx.send("out", f"{sent:04}" + "x" * 4000, timeout=0)
                sent += 1
        for number in range(sent, 300):
            await tx.send("out", f"{number:04}" + "x" * 4000)
        await tx.send_many("out", [f"{number:04}" + "y" * 4000 for number in range(300, 400)])
        with pytest.raises(InvalidRecordError):
            await tx.send("out", object())
    assert 10 < sent < 100
    assert [int(value[:4]) for value in await values(log)] == list(range(400))


async def test_a_consumers_offsets_go_with_it(log: aio.Log) -> None:
    await feed(log)
    async with (
        await log.producer(transactional_id="p") as producer,
        await log.consumer("in", group="g", auto_commit=False) as consumer,
    ):
        done = 0
        while done < 10:
            records = await consumer.poll(timeout=0.1)
            async with producer.transaction() as tx:
                for record in records:
                    await tx.send("out", record.value)
                await tx.commit_offsets(consumer)
            done += len(records)
            assert await committed(log) == done
    assert sorted(map(int, await values(log))) == list(range(10))


# --- consume, transform, produce ---------------------------------------------------------------------


def plain(record: Record[Any, str]) -> Output:
    return Output("out", record.value)


async def coroutine(record: Record[Any, str]) -> Output:
    await asyncio.sleep(0)
    return plain(record)


async def generator(record: Record[Any, str]) -> AsyncIterator[Output]:
    await asyncio.sleep(0)
    yield plain(record)


@pytest.mark.parametrize("function", [plain, coroutine, generator, lambda record: coroutine(record)])
async def test_every_record_once(log: aio.Log, function: Any) -> None:
    await feed(log)
    async with (
        await log.producer(transactional_id="p") as producer,
        await log.consumer("in", group="g", value="str") as consumer,
    ):
        assert await log.process(consumer, producer, function, until="end") == 10
    assert Counter(await values(log)) == Counter(map(str, range(10)))
    assert await committed(log) == 10


async def test_an_error_of_a_coroutine_undoes_the_transaction(log: aio.Log) -> None:
    await feed(log)
    fails = True

    async def fail_once(record: Record[Any, str]) -> Output:
        nonlocal fails
        if fails and record.value == "5":
            fails = False
            raise ZeroDivisionError
        return plain(record)

    async with (
        await log.producer(transactional_id="p") as producer,
        await log.consumer("in", group="g", value="str") as consumer,
    ):
        with pytest.raises(ZeroDivisionError):
            await log.process(consumer, producer, fail_once, until="end")
        assert await values(log) == []
        assert await log.process(consumer, producer, fail_once, until="end") == 10
    assert Counter(await values(log)) == Counter(map(str, range(10)))


@pytest.mark.parametrize("how", ["cancel", "event"])
async def test_it_stops_between_transactions(log: aio.Log, how: str) -> None:
    await feed(log)
    stop, busy = asyncio.Event(), asyncio.Event()

    async def work(record: Record[Any, str]) -> Output:
        busy.set()
        return plain(record)

    async with (
        await log.producer(transactional_id="p") as producer,
        await log.consumer("in", group="g", value="str") as consumer,
    ):
        task = asyncio.create_task(log.process(consumer, producer, work, batch_seconds=1e-9, stop=stop))
        await busy.wait()
        if how == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            stop.set()
            assert await task == len(await values(log))
        done = await committed(log)
        assert done == len(await values(log))
        assert await log.process(consumer, producer, plain, until="end") == 10 - done
    assert Counter(await values(log)) == Counter(map(str, range(10)))


async def test_a_poll_that_was_cancelled_takes_nothing_from_it(log: aio.Log) -> None:
    async with (
        await log.producer(transactional_id="p") as producer,
        await log.consumer("in", group="g", value="str") as consumer,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await consumer.poll(timeout=3600)
        await feed(log)  # which the poll that is still under way fetches
        assert await log.process(consumer, producer, plain, until="end") == 10
    assert Counter(await values(log)) == Counter(map(str, range(10)))
