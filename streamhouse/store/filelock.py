"""A lock between processes of one machine: fair, bounded in time, and only a hint.

Without it, eight processes that commit to one directory race for the same slot, one wins and seven
have written in vain. Safety never depends on it (the link decides), so a holder that was stopped
costs the others their time-out, not their correctness.

``flock`` has no time-out, hence polling; and polling alone starves: whoever has just released the
lock takes it again before a sleeper wakes up. So there are two locks. Who wants to commit first
takes the *gate*, waits there for the lock itself, and lets go of the gate once it has it. The last
holder has to queue at the gate, and whoever stands in it is next. Only that one polls at short
intervals.

Both files are opened for each use: a descriptor that stays open would be inherited by forked
children, which keep a dead parent's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from streamhouse.runtime import Runtime

_GATE = ".gate.lock"
_LOCK = ".commit.lock"
_GATE_PAUSE_SECONDS = (0.0002, 0.002)  # shortest and longest pause between two tries
_LOCK_PAUSE_SECONDS = (0.00005, 0.0005)


@contextlib.contextmanager
def file_lock(folder: str, timeout_seconds: float, runtime: Runtime) -> Iterator[bool]:
    """Hold the lock of a folder for a while.

    Args:
        folder: Where the lock files are; they are made when they are missing.
        timeout_seconds: Longest wait.
        runtime: Clock and jitter.

    Yields:
        Whether the lock was had. ``False`` too where there can be none: a folder that is missing or
        read-only, a file system without locks.
    """
    deadline = runtime.monotonic() + timeout_seconds
    lock = -1
    try:
        gate = _acquire(f"{folder}/{_GATE}", deadline, _GATE_PAUSE_SECONDS, runtime)
        if gate >= 0:
            try:
                lock = _acquire(f"{folder}/{_LOCK}", deadline, _LOCK_PAUSE_SECONDS, runtime)
            finally:
                _release(gate)
        yield lock >= 0
    finally:
        if lock >= 0:
            _release(lock)


def _acquire(path: str, deadline: float, pauses: tuple[float, float], runtime: Runtime) -> int:
    """The locked file, or -1."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return -1
    try:
        pause, longest = pauses
        while not _try_lock(descriptor):
            left = deadline - runtime.monotonic()
            if left <= 0:
                os.close(descriptor)
                return -1
            time.sleep(min(left, runtime.uniform(0.5, 1.0) * pause))
            pause = min(longest, pause * 1.5)
    except OSError:  # no locks here
        os.close(descriptor)
        return -1
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(descriptor: int) -> None:
    # Closing is not enough: a child forked meanwhile has the descriptor too, and with it the lock.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
