"""An event loop with virtual time, and processes on it that can be stopped and killed.

Time stands still while anything can run and then jumps to the next timer, so a run of hours takes
milliseconds and is the same every time. Each callback belongs to the process whose context it carries:
those of a stopped process are kept until it is continued (SIGSTOP: its clock goes on, its requests
under way still land), those of a killed one are dropped, wherever it was.
"""

from __future__ import annotations

import asyncio
import heapq
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

_OWNER: ContextVar[Process | None] = ContextVar("process", default=None)
_START_SECONDS = 1_000.0


class Stuck(Exception):  # noqa: N818 - a finding, not an error of the simulator
    """Nothing can run any more, or the time is up, and what was waited for has not happened."""


class Process:
    """Something that can be stopped and killed; ``context`` is what its code runs in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopped = False
        self.dead = False
        self.parked: list[_Handle] = []
        self.context = Context()
        self.context.run(_OWNER.set, self)


class _Handle:
    __slots__ = ("args", "callback", "context", "gone")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.gone = False

    def cancel(self) -> None:
        self.gone = True

    def cancelled(self) -> bool:
        return self.gone


class SimLoop(asyncio.BaseEventLoop):
    """Runs callbacks in a fixed order at made-up times."""

    def __init__(self, on_error: Callable[[str], None]) -> None:
        super().__init__()
        self._now = _START_SECONDS
        self._due: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._timers_made = 0
        self._over = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._on_error = on_error
        self.outside = Context()  # of what belongs to no process: clients, network, store

    # --- what asyncio asks of a loop ---------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, copy_context() if context is None else context)
        if not self._over:
            self._due.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment] # there is one thread

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, copy_context() if context is None else context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, copy_context() if context is None else context)
        self._timers_made += 1
        heapq.heappush(self._timers, (self._now + delay, self._timers_made, handle))
        return handle

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name="" if name is None else str(name), context=context)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self._over and error is not None:
            self._on_error(f"{context['message']}: {error!r}")

    # --- running -----------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T], limit_seconds: float) -> T:
        """Run until ``work`` is done.

        Raises:
            Stuck: Nothing is left to run, or the limit (virtual time, jumps not counted) has passed.
        """
        self._limit = self._now + limit_seconds
        events._set_running_loop(self)
        try:
            task = self.create_task(work, context=self.outside)
            while not task.done():
                self._step()
            result: T = task.result()
            return result
        finally:
            events._set_running_loop(None)
            self._tear_down()

    def _tear_down(self) -> None:
        """Drop what is unfinished, without a word from asyncio about it."""
        self._over = True
        self._due.clear()
        self._timers.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what was killed before it began
            for task in self._tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine = task.get_coro()
                if coroutine is not None:
                    coroutine.close()
            self._tasks.clear()
        self._closed = True

    def _step(self) -> None:
        due, outside, take = self._due, self.outside, self._due.popleft
        if not due:
            self._next_timers()
        while due:
            handle = take()
            if handle.gone:
                continue
            context = handle.context
            if context is not outside:
                owner = context.get(_OWNER)
                if owner is not None and (owner.stopped or owner.dead):
                    if not owner.dead:
                        owner.parked.append(handle)
                    continue
            context.run(handle.callback, *handle.args)

    def _next_timers(self) -> None:
        timers, due = self._timers, self._due
        while not due:
            if not timers:
                raise Stuck("nothing is left to run")
            when, _, handle = heapq.heappop(timers)
            if handle.gone:
                continue
            if when > self._now:
                self._now = when
                if when > self._limit:
                    raise Stuck("the time is up")
            due.append(handle)
            while timers and timers[0][0] <= self._now:
                due.append(heapq.heappop(timers)[2])

    def jump(self, seconds: float) -> None:
        """Let time pass at once, as if all machines had been suspended; timers fire late, in order."""
        self._now += seconds
        self._limit += seconds

    # --- processes ---------------------------------------------------------------------------------

    def stop_process(self, process: Process) -> None:
        """SIGSTOP."""
        process.stopped = True

    def continue_process(self, process: Process) -> None:
        """SIGCONT."""
        process.stopped = False
        parked, process.parked = process.parked, []
        self._due.extend(parked)

    def kill_process(self, process: Process) -> None:
        """SIGKILL: nothing of it runs any more, not even clean-up."""
        process.dead = True
        process.parked.clear()
