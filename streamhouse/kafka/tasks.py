"""Small helps with asyncio: taking turns, and ending tasks."""

from __future__ import annotations

import asyncio
from typing import Final

_AGAIN_SECONDS: Final = 1.0


class Turn:
    """A place in the order; made by :class:`Turns`."""

    __slots__ = ("_before", "_mine")

    def __init__(self, before: asyncio.Future[None] | None, mine: asyncio.Future[None]) -> None:
        self._before = before
        self._mine = mine

    async def come(self) -> None:
        """Wait until all before have passed theirs on."""
        before = self._before
        if before is not None and not before.done():
            await asyncio.shield(before)

    def pass_on(self) -> None:
        """Let the next one go on, once all before have. Twice is fine."""
        if self._mine.done():
            return
        before, mine = self._before, self._mine
        if before is None or before.done():
            mine.set_result(None)
        else:  # given up before it came: those behind still wait for those in front
            before.add_done_callback(lambda _: _settle(mine))


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Turns:
    """An order in which turns are taken. On one event loop."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    def take(self) -> Turn:
        """The place behind all others."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turn = Turn(self._last, mine)
        self._last = mine
        return turn


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they are gone; again, for those that came back from a wait just then."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)  # nobody else looks at what they failed with
