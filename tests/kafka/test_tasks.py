"""Turns are taken in order, whoever is slow or gives up."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from streamhouse.kafka.tasks import Turns, ended


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["goes", "goes", "gives up"])), max_size=10))
def test_turns(plan: list[tuple[int, str]]) -> None:
    async def run() -> list[int]:
        turns = Turns()
        order: list[int] = []

        async def one(number: int, steps: int, how: str) -> None:
            turn = turns.take()
            try:
                for _ in range(steps):
                    await asyncio.sleep(0)
                if how == "gives up":
                    return
                await turn.come()
                order.append(number)
            finally:
                turn.pass_on()

        tasks = [asyncio.create_task(one(number, *each)) for number, each in enumerate(plan)]
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        return order

    assert asyncio.run(run()) == [number for number, (_, how) in enumerate(plan) if how == "goes"]


async def test_one_that_is_cancelled_holds_nobody_up() -> None:
    turns = Turns()
    first, second, third = turns.take(), turns.take(), turns.take()

    async def come() -> None:
        try:
            await second.come()
        finally:
            second.pass_on()

    task = asyncio.create_task(come())
    await asyncio.sleep(0)
    await ended(task)  # type: ignore[arg-type]
    waiting = asyncio.create_task(third.come())
    await asyncio.sleep(0.01)
    assert not waiting.done()  # the first one has not passed on
    first.pass_on()
    await asyncio.wait_for(waiting, 5)


async def test_who_came_back_from_a_wait_just_then_is_cancelled_again() -> None:
    done = asyncio.Event()

    async def work() -> None:
        with suppress(asyncio.CancelledError):  # as `wait_for` does when both come at once
            await asyncio.sleep(60)
        await asyncio.sleep(60)
        done.set()

    task = asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0)
    await ended(task)
    assert task.cancelled()
    assert not done.is_set()
