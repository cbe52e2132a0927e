"""Threads that do one small thing again and again until they are closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

_SLICE_SECONDS: Final = 1.0  # a wait stands still while the machine is suspended; look at the clock again
_JOIN_SECONDS: Final = 1.0  # for a thread that is about to finish; one in a request is left alone
_AFTER_ERROR_SECONDS: Final = 1.0


class Ticker:
    """Calls a function on a daemon thread of its own; the function says in how many seconds again.

    Args:
        name: Of the thread.
        tick: What to call. An exception is taken for bad luck: it is called again a second later.
        monotonic: The clock.
    """

    def __init__(self, name: str, tick: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._tick = tick
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._woken = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Call it now."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def close(self) -> None:
        """Stop. Does not wait for a request under way."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        while not self._closed:
            try:
                pause = self._tick()
            except Exception:  # noqa: BLE001 - the next time it may work; without the thread nothing would
                pause = _AFTER_ERROR_SECONDS
            self._sleep(pause)

    def _sleep(self, seconds: float) -> None:
        until = self._monotonic() + seconds
        with self._changed:
            while not self._closed and not self._woken and (left := until - self._monotonic()) > 0:
                self._changed.wait(min(left, _SLICE_SECONDS))
            self._woken = False
