"""Ending what DuckDB computes: Ctrl-C, and closing what is in use.

While DuckDB computes on the main thread, Python does not get to handle a signal before the call is over,
which may be an hour later. So such calls are made on another thread when the main one asks, and the main
one waits in a way that a signal ends; then DuckDB is told to stop.

A call of DuckDB that is told to stop before it has begun goes on all the same. So it is told again and again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")

DUCKDB_SAYS: Final = "Query interrupted"
"""What DuckDB raises, as a RuntimeError, where it has noticed a signal itself."""

_AGAIN_SECONDS: Final = 0.05
_CLOSE_ATTEMPTS: Final = 200
_IDLE_MAX: Final = 4


class Helpers:
    """The threads of a database that make such calls. One that is idle is used again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[ThreadPoolExecutor] = []
        self._closed = False

    def take(self) -> ThreadPoolExecutor:
        """A thread that does nothing."""
        with self._lock:
            return self._idle.pop() if self._idle else ThreadPoolExecutor(1, "streamhouse-query")

    def give_back(self, helper: ThreadPoolExecutor) -> None:
        """It does nothing any more."""
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE_MAX:
                self._idle.append(helper)
                return
        helper.shutdown(wait=True)

    def close(self) -> None:
        """End the idle ones, and the others when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for helper in idle:
            helper.shutdown(wait=True)


class Interruptible:
    """Makes calls that Ctrl-C ends. Belongs to one thread at a time.

    Args:
        cursor: What they use.
        helpers: Threads to make them on.
    """

    def __init__(self, cursor: Any, helpers: Helpers) -> None:
        self._cursor = cursor
        self._helpers = helpers
        self._helper: ThreadPoolExecutor | None = None

    def call(self, work: Callable[[], T]) -> T:
        """Do something, and raise what it raises, or KeyboardInterrupt."""
        if threading.current_thread() is not threading.main_thread():
            return work()
        if self._helper is None:
            self._helper = self._helpers.take()
        future = self._helper.submit(work)
        try:
            return _waited(future)
        except BaseException:
            while not future.done():
                interrupt(self._cursor)
                wait([future], _AGAIN_SECONDS)
            raise

    def rest(self) -> None:
        """Give the thread back; the next call takes one again."""
        helper, self._helper = self._helper, None
        if helper is not None:
            self._helpers.give_back(helper)


def _waited(future: Future[T]) -> T:
    """The result, waited for in small steps: a signal that another thread receives wakes nobody up."""
    while not future.done():
        with suppress(TimeoutError):
            return future.result(_AGAIN_SECONDS)
    return future.result()


class Deadline:
    """Interrupts a cursor when its time is over, until :meth:`stop` is called.

    Args:
        cursor: The cursor.
        seconds: How long it has.

    Attributes:
        missed: Whether its time is over.
    """

    def __init__(self, cursor: Any, seconds: float) -> None:
        self.missed = False
        self._cursor = cursor
        self._seconds = seconds
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="streamhouse-deadline", daemon=True).start()

    def stop(self) -> None:
        """It was in time, or is over."""
        self._stopped.set()

    def _watch(self) -> None:
        if self._stopped.wait(self._seconds):
            return
        self.missed = True
        interrupt(self._cursor)
        while not self._stopped.wait(_AGAIN_SECONDS):
            interrupt(self._cursor)


def interrupt(cursor: Any) -> None:
    """End what a cursor is doing, if anything."""
    with suppress(Exception):  # it may be closed by now
        cursor.interrupt()


def close(*cursors: Any) -> None:
    """Close cursors, and end what they are doing. What cannot be ended within some seconds is left alone."""
    import duckdb

    for cursor in cursors:
        interrupt(cursor)
    for cursor in cursors:
        for _ in range(_CLOSE_ATTEMPTS):
            try:
                cursor.close()
                break
            except duckdb.OperationalError:  # it is in use
                interrupt(cursor)
                threading.Event().wait(_AGAIN_SECONDS)
