"""Something that opens once, and can be waited for without danger from Ctrl-C.

``threading.Event``, ``Condition``, ``Semaphore`` and ``concurrent.futures.Future`` enter their locks
through functions written in Python. Ctrl-C in one of them, on the main thread, can leave the lock
taken for ever, and then the commit thread waits for it. A plain lock in a ``with`` statement is
entered and left in C, so everything that senders share with other threads is made of those.

It is waited for in slices. Ctrl-C does not end a wait that it came just before; nor any one where a library
has told the kernel to go on waiting after a signal, as Polars does when it is imported.
"""

from __future__ import annotations

from threading import Lock
from typing import Final

_SLICE_SECONDS: Final = 0.1


class Gate:
    """Closed at first."""

    __slots__ = ("_guard", "_waiters", "opened")

    def __init__(self) -> None:
        self.opened = False
        self._guard = Lock()
        self._waiters: list[Lock] = []

    def open(self) -> None:
        """Let everybody through, now and later."""
        with self._guard:
            self.opened = True
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open; false when ``timeout`` seconds were not enough."""
        if self.opened:
            return True
        waiter = Lock()
        waiter.acquire()
        if not self._enter(waiter):
            return True
        try:
            return _acquired(waiter, timeout)
        finally:
            with self._guard:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def _enter(self, waiter: Lock) -> bool:
        with self._guard:
            if not self.opened:
                self._waiters.append(waiter)
            return not self.opened


def _acquired(waiter: Lock, timeout: float | None) -> bool:
    left = float("inf") if timeout is None else timeout
    while left > _SLICE_SECONDS:
        if waiter.acquire(timeout=_SLICE_SECONDS):
            return True
        left -= _SLICE_SECONDS
    return waiter.acquire(timeout=max(0.0, left))
