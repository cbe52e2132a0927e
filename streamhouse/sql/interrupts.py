"""Ctrl-C while DuckDB computes.

DuckDB looks for signals in some of its calls and not in others. Where it does not, Python's handler waits
until the call is over, which may be an hour later. So such calls are made on another thread when the main one
asks, and the main one waits in a way that a signal ends; then DuckDB is told to stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final, TypeVar

T = TypeVar("T")

DUCKDB_SAYS: Final = "Query interrupted"
"""What DuckDB raises, as a RuntimeError, where it has noticed a signal itself."""


class Interruptible:
    """Makes calls that Ctrl-C ends. Belongs to one thread at a time.

    Args:
        interrupt: Makes DuckDB stop; it may be called at any time.
    """

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._helper: ThreadPoolExecutor | None = None

    def call(self, work: Callable[[], T]) -> T:
        """Do something, and raise what it raises, or KeyboardInterrupt."""
        if threading.current_thread() is not threading.main_thread():
            return work()
        if self._helper is None:
            self._helper = ThreadPoolExecutor(1, "streamhouse-query")
        future = self._helper.submit(work)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                self._interrupt()
                wait([future])
            raise

    def close(self) -> None:
        """End the thread, which does nothing any more."""
        if self._helper is not None:
            self._helper.shutdown(wait=True)
            self._helper = None
