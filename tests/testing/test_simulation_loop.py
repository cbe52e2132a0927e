"""The simulated event loop: time, processes, and what happens when nothing can go on."""

from __future__ import annotations

import asyncio

import pytest

from streamhouse.testing.simulation.loop import Process, SimLoop, Stuck


def make_loop() -> SimLoop:
    return SimLoop(pytest.fail)


def test_time_passes_without_waiting():
    loop = make_loop()

    async def work() -> float:
        began = loop.time()
        await asyncio.sleep(3600.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10.0):
                await asyncio.Event().wait()
        return loop.time() - began

    assert loop.run(work(), 10_000.0) == 3610.0


def test_nothing_left_to_run():
    async def work() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="nothing is left"):
        make_loop().run(work(), 10.0)


def test_the_time_is_up():
    async def work() -> None:
        await asyncio.sleep(11.0)

    with pytest.raises(Stuck, match="time is up"):
        make_loop().run(work(), 10.0)


def test_a_stopped_process_goes_on_where_it_was_and_a_killed_one_does_not():
    loop = make_loop()
    seen: list[tuple[str, float]] = []

    async def tick(name: str) -> None:
        try:
            while True:
                await asyncio.sleep(1.0)
                seen.append((name, loop.time()))
        finally:
            seen.append((name, -1.0))  # not even clean-up survives a kill

    async def work() -> None:
        began = loop.time()
        one, other = Process("one"), Process("other")
        for process in (one, other):
            start = lambda process=process: loop.create_task(tick(process.name))  # noqa: E731
            loop.call_soon(start, context=process.context)
        await asyncio.sleep(1.5)
        loop.stop_process(one)
        loop.kill_process(other)
        await asyncio.sleep(10.0)
        loop.continue_process(one)
        await asyncio.sleep(1.25)
        seen[:] = [(name, when - began) for name, when in seen]

    loop.run(work(), 100.0)
    assert seen[:4] == [("one", 1.0), ("other", 1.0), ("one", 11.5), ("one", 12.5)]


def test_a_jump_is_not_counted_against_the_limit_and_timers_keep_their_order():
    loop = make_loop()

    async def work() -> list[int]:
        order: list[int] = []
        loop.call_later(20.0, order.append, 2)
        loop.call_later(10.0, order.append, 1)
        loop.jump(3600.0)
        await asyncio.sleep(5.0)
        return order

    assert loop.run(work(), 10.0) == [1, 2]
