"""Polls through asyncio that are cancelled, or get in each other's way: nothing is passed over."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamhouse import TopicPartition, aio
from streamhouse.errors import InvalidInputError

COUNT = 10
VALUES = [f"r{number}" for number in range(COUNT)]


@pytest.fixture
async def log() -> AsyncIterator[aio.Log]:
    async with asyncio.timeout(60), await aio.open("memory://") as log:
        await log.create_topic("orders")
        async with await log.producer() as producer:
            await (await producer.send_many("orders", VALUES))
        yield log


class Gate:
    """Holds a poll up when it gets its partitions: after it began, before it fetches records."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, _partitions: list[TopicPartition]) -> None:
        self.reached.set()
        assert self.open.wait(30)


async def first(consumer: aio.Consumer) -> Any:
    return await anext(aiter(consumer))


ASKING = {
    "poll": lambda consumer: consumer.poll(timeout=None),
    "batches": lambda consumer: consumer.poll_batches(timeout=None),
    "loop": first,
}


async def cancelled(log: aio.Log, how: str, **options: Any) -> aio.Consumer:
    """A consumer that fetches records for one who was cancelled meanwhile."""
    gate = Gate()
    consumer = await log.consumer("orders", group="g", value="str", on_assign=gate, **options)
    asked = asyncio.create_task(ASKING[how](consumer))
    await asyncio.to_thread(gate.reached.wait)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    gate.open.set()
    return consumer


async def go_on(log: aio.Log, consumer: aio.Consumer, what: str) -> list[str]:
    """Do something with it; the records that came."""
    match what:
        case "commit":
            await consumer.commit()
        case "commit_async":
            await (await consumer.commit_async())
        case "transaction":
            async with await log.producer() as producer, producer.transaction() as tx:
                await tx.commit_offsets(consumer)
        case "position":
            assert consumer.position("orders", 0) == 0
        case "poll":
            return [record.value for record in await consumer.poll(max_records=4)]
        case "batches":
            return [value for batch in await consumer.poll_batches() for value in batch.values("str")]
        case "loop":
            return [(await first(consumer)).value]
        case "loop, poll":
            return [(await first(consumer)).value, *await go_on(log, consumer, "poll")]
        case "seek":
            await consumer.seek("orders", 0, 7)
            return VALUES[:7] + await go_on(log, consumer, "poll")
        case "pause":
            consumer.pause()
            assert await consumer.poll(timeout=0) == []
    return []


WHAT = ["commit", "commit_async", "transaction", "position", "poll", "batches", "loop", "loop, poll"]


@pytest.mark.parametrize("auto_commit", [True, False])
@pytest.mark.parametrize("what", [*WHAT, "seek", "pause", "nothing"])
@pytest.mark.parametrize("how", ASKING)
async def test_what_was_fetched_for_nobody_comes_again(
    log: aio.Log, how: str, what: str, auto_commit: bool
) -> None:
    consumer = await cancelled(log, how, auto_commit=auto_commit)
    came = await go_on(log, consumer, what)
    assert came == VALUES[: len(came)]
    if not auto_commit:
        await consumer.commit()
    await consumer.close()
    async with await log.consumer("orders", group="g", value="str") as successor:
        assert came + [record.value for record in await successor.poll(timeout=0)] == VALUES


@pytest.mark.parametrize("how", ASKING)
async def test_a_log_that_closes_commits_nothing_of_it(how: str, tmp_path: Path) -> None:
    async with await aio.open(str(tmp_path)) as closing:
        await closing.create_topic("orders")
        async with await closing.producer() as producer:
            await (await producer.send_many("orders", VALUES))
        consumer = await cancelled(closing, how)
    assert repr(consumer.blocking) == "Consumer(closed)"
    async with (
        await aio.open(str(tmp_path)) as reopened,
        await reopened.consumer("orders", group="g") as successor,
    ):
        assert len(await successor.poll()) == COUNT


async def test_a_poll_without_end_that_was_cancelled_holds_up_no_other(log: aio.Log) -> None:
    async with await log.consumer("orders", start="latest") as consumer:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await consumer.poll(timeout=None)
        assert await consumer.poll(timeout=0) == []


@pytest.mark.parametrize("sought", [True, False])
async def test_the_next_poll_raises_what_a_cancelled_one_would_have_unless_sent_elsewhere(
    log: aio.Log, sought: bool
) -> None:
    def fail(partitions: list[TopicPartition]) -> None:
        gate(partitions)
        raise LookupError

    gate = Gate()
    consumer = await log.consumer("orders", group="g", on_assign=fail)
    asked = asyncio.create_task(consumer.poll())
    await asyncio.to_thread(gate.reached.wait)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    gate.open.set()
    if sought:
        await consumer.seek("orders", 0, 0)
    else:
        with pytest.raises(LookupError):
            await consumer.poll()
    assert len(await consumer.poll()) == COUNT
    await consumer.close()


async def test_tasks_share_out_the_records(log: aio.Log) -> None:
    async with await log.consumer("orders", value="str") as consumer:

        async def poll() -> list[str]:
            return [record.value for record in await consumer.poll(max_records=2)]

        found = await asyncio.gather(*(poll() for _ in range(5)))
    assert Counter(value for values in found for value in values) == Counter(VALUES)


async def test_a_group_that_changes_in_between_makes_no_empty_poll(log: aio.Log) -> None:
    async with await log.consumer("orders", group="g", value="str") as consumer:
        offer = consumer.blocking._offer_records
        stops = iter([True, False])

        def offer_and_stop(*args: Any) -> Any:
            offered = offer(*args)
            if next(stops):
                consumer.blocking._reading.stop()  # as on the commit thread
            return offered

        consumer.blocking._offer_records = offer_and_stop  # type: ignore[method-assign]
        assert [record.value for record in await consumer.poll(timeout=None)] == VALUES


async def test_wrong_arguments_are_refused_and_change_nothing(log: aio.Log) -> None:
    async with await log.consumer("orders") as consumer:
        for options in ({"timeout": "a"}, {"max_records": 0}):
            with pytest.raises(InvalidInputError, match=next(iter(options))):
                await consumer.poll(**options)  # type: ignore[arg-type]
        assert len(await consumer.poll()) == COUNT
