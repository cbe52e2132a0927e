"""The only door to time, randomness, identity and environment.

Everything else takes a :class:`Runtime` as an argument, so that a simulation can supply its own
clock and its own dice, and a run can be repeated from its seed.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from numbers import Real
from typing import Any, Protocol

from streamhouse.errors import InvalidInputError


class Runtime(Protocol):
    """What the engine may ask of the world outside."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps back and runs on while the machine is suspended."""

    def time_ms(self) -> int:
        """Milliseconds since 1970 on the wall clock; for people and record timestamps only."""

    def random_bytes(self, count: int) -> bytes:
        """Bytes nobody else will draw (ids, nonces)."""

    def uniform(self, low: float, high: float) -> float:
        """A number between the two, for jitter."""


# time.monotonic() stands still in suspend: a laptop woken after a night would believe that its look at the
# boundary is seconds old. On Linux CLOCK_BOOTTIME runs on, elsewhere CLOCK_MONOTONIC does.
_RUNNING_IN_SUSPEND = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemRuntime:
    """The real world."""

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(16))

    def monotonic(self) -> float:
        return time.clock_gettime(_RUNNING_IN_SUSPEND)

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


def check_wait(timeout: Any) -> None:
    """Refuse what is no time to wait.

    Raises:
        InvalidInputError: It is neither ``None`` nor a number of seconds from 0 on.
    """
    if timeout is not None and not (isinstance(timeout, Real) and float(timeout) >= 0):
        raise InvalidInputError(f"timeout must be None or 0 seconds and more, not {timeout!r}")


def environment() -> Mapping[str, str]:
    """The environment variables of this process."""
    return os.environ


def process_id() -> int:
    """The id of this process; differs in a forked child."""
    return os.getpid()
