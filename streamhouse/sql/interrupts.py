"""Ending what DuckDB computes, and what it waits for: Ctrl-C, limits of time, and closing what is in use.

While DuckDB computes on the main thread, Python does not get to handle a signal before the call is over,
which may be an hour later. So such calls are made on another thread when the main one asks, and the main
one waits in a way that a signal ends; then DuckDB is told to stop.

A call of DuckDB that is told to stop before it has begun goes on all the same. So it is told again and again.
While DuckDB waits for records of ours, it does not look whether it is to stop; who waits there looks himself.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")

DUCKDB_SAYS: Final = "Query interrupted"
"""What DuckDB raises, as a RuntimeError, where it has noticed a signal itself."""

_AGAIN_SECONDS: Final = 0.05
_CLOSE_ATTEMPTS: Final = 200


def interruptible(helpers: Executor, end: Callable[[], None], work: Callable[[], T]) -> T:
    """Do something, and raise what it raises, or KeyboardInterrupt.

    Args:
        helpers: Threads to do it on when the main one asks.
        end: Tells it to end; harmless when it has.
        work: What to do.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    future = helpers.submit(work)
    try:
        return waited(future)
    except BaseException:
        while not future.done():
            end()
            wait([future], _AGAIN_SECONDS)
        raise


def waited(future: Future[T], stopped: Callable[[], bool] = lambda: False) -> T:
    """The result, waited for in small steps: a signal that another thread receives wakes nobody up.

    Args:
        future: What makes it.
        stopped: Whether nobody needs it any more.

    Raises:
        InterruptedError: Nobody does.
    """
    while not future.done():
        if stopped():
            raise InterruptedError("the query was interrupted")
        with suppress(TimeoutError):
            return future.result(_AGAIN_SECONDS)
    return future.result()


class Deadline:
    """Ends something when its time is over, until :meth:`stop` is called.

    Args:
        end: Tells it to end.
        seconds: How long it has.

    Attributes:
        missed: Whether its time is over.
    """

    def __init__(self, end: Callable[[], None], seconds: float) -> None:
        self.missed = False
        self._end = end
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="streamhouse-deadline", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """It was in time, or is over."""
        self._stopped.set()
        self._thread.join()  # else it may be the last to hold the cursor, while Python ends

    def _watch(self) -> None:
        if self._stopped.wait(self._seconds):
            return
        self.missed = True
        self._end()
        while not self._stopped.wait(_AGAIN_SECONDS):
            self._end()


def interrupt(cursor: Any) -> None:
    """End what a cursor is doing, if anything."""
    with suppress(Exception):  # it may be closed by now
        cursor.interrupt()


def close(*cursors: Any) -> None:
    """Close cursors, and end what they are doing. What cannot be ended within some seconds is left alone."""
    if sys.is_finalizing():  # a result that was not read to its end; it ends with Python
        return
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
