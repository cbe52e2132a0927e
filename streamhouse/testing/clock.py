"""Time that stands still until a test moves it, and dice that fall the same way every time."""

from __future__ import annotations

import random
import threading

_START_MS = 1_700_000_000_000  # 2023-11-14T22:13:20Z


class ManualRuntime:
    """A :class:`~streamhouse.runtime.Runtime` for tests.

    >>> runtime = ManualRuntime()
    >>> before = runtime.monotonic()
    >>> runtime.advance(3600)
    >>> runtime.monotonic() - before
    3600.0

    Args:
        seed: Two runtimes of one seed draw the same bytes and numbers.
        time_ms: What the wall clock shows at first.
    """

    def __init__(self, seed: int = 0, *, time_ms: int = _START_MS) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._monotonic = 1000.0
        self._wall_ms = float(time_ms)

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards ({seconds} s); see jump_wall_clock")
        with self._lock:
            self._monotonic += seconds
            self._wall_ms += seconds * 1000

    def jump_wall_clock(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP may do."""
        with self._lock:
            self._wall_ms += seconds * 1000

    def monotonic(self) -> float:
        return self._monotonic

    def time_ms(self) -> int:
        return int(self._wall_ms)

    def random_bytes(self, count: int) -> bytes:
        with self._lock:
            return self._random.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        with self._lock:
            return self._random.uniform(low, high)
