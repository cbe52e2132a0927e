"""What the commit thread answers, handed to the gateway's loop, many at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any


class Outcomes:
    """One commit answers hundreds of requests: the loop is woken once for all of them.

    Args:
        loop: The gateway's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._woken = False

    def expect(self) -> tuple[asyncio.Future[Any], Callable[[Future[Any]], object]]:
        """A future of the loop, and what is to be called with the outcome, on whatever thread."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        return answer, lambda outcome: self._post(answer, outcome)

    def _post(self, answer: asyncio.Future[Any], outcome: Future[Any]) -> None:
        self._ready.append((answer, outcome))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the gateway was closed, and nobody waits
                self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._woken = False  # first: what is posted from here on wakes the loop again
        while self._ready:
            answer, outcome = self._ready.popleft()
            if answer.done():
                continue
            error = outcome.exception()
            if error is None:
                answer.set_result(outcome.result())
            else:
                answer.set_exception(error)
