"""The bound on records that wait to be written, shared by all producers of a log.

Without it a producer that is faster than its disk fills the machine's memory. Whoever finds it full
stands in line: memory is handed out in the order of asking, so that a large batch is not starved by
small records that always still fit.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from streamhouse.write.gate import Gate

_SLICE_SECONDS: Final = 0.1  # nobody wakes a waiter for what a finalizer gave back


class Memory:
    """Bytes that may be taken, and are given back when they are on the store.

    Args:
        bytes_max: How many may be out at once. One that alone is larger is let in when nothing else
            is out.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._lock = threading.Lock()
        self._used = 0
        self._line: deque[_Waiter] = deque()
        self._forsaken: deque[int] = deque()

    @property
    def used(self) -> int:
        """Bytes that are out."""
        with self._lock:
            self._collect()
            return self._used

    def try_take(self, size: int) -> bool:
        """Take without waiting; false when there is no room or others wait for it."""
        with self._lock:
            self._collect()
            if self._line or not self._fits(size):
                return False
            self._used += size
            return True

    def take(self, size: int, timeout: float | None = None) -> bool:
        """Take, waiting for room if need be; false when the time (seconds) ran out first."""
        waiter = _Waiter(size)
        try:
            with self._lock:
                self._line.append(waiter)
                self._collect()
                self._serve()
            if self._wait(waiter, timeout):
                return True
        except BaseException:  # Ctrl-C, perhaps just after being served
            if not self._leave(waiter):
                self.give(size)
            raise
        return not self._leave(waiter)

    def give(self, size: int) -> None:
        """Give back."""
        with self._lock:
            self._used -= size
            if self._line:
                self._serve()

    def forsake(self, size: int) -> None:
        """Give back without a lock, for a finalizer: one may run in a thread that holds it."""
        self._forsaken.append(size)

    def _collect(self) -> None:
        """Take in what was given back by finalizers."""
        while self._forsaken:
            self._used -= self._forsaken.popleft()
            self._serve()

    def _wait(self, waiter: _Waiter, timeout: float | None) -> bool:
        """Wait to be served, and look now and then for what was given back silently."""
        left = float("inf") if timeout is None else timeout
        while not waiter.served.wait(min(left, _SLICE_SECONDS)):
            left -= _SLICE_SECONDS
            if left <= 0:
                return False
            with self._lock:
                self._collect()
        return True

    def _leave(self, waiter: _Waiter) -> bool:
        """Leave the line; false when it was served meanwhile."""
        with self._lock:
            if waiter.served.opened:
                return False
            if waiter in self._line:
                self._line.remove(waiter)
                self._serve()
            return True

    def _fits(self, size: int) -> bool:
        return self._used + size <= self.bytes_max or self._used == 0

    def _serve(self) -> None:
        while self._line and self._fits(self._line[0].size):
            waiter = self._line.popleft()
            self._used += waiter.size
            waiter.served.open()


class Loan:
    """What one borrower has of a memory, apart from the borrower, so that it outlives him.

    Args:
        memory: Whose memory.

    Attributes:
        size: Bytes that are out.
    """

    def __init__(self, memory: Memory) -> None:
        self.size = 0
        self._memory = memory

    def forsake(self) -> None:
        """Give all of it back, for the borrower's finalizer."""
        size, self.size = self.size, 0
        if size:
            self._memory.forsake(size)


class _Waiter:
    def __init__(self, size: int) -> None:
        self.size = size
        self.served = Gate()
