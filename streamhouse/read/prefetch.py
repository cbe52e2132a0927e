"""Threads that run small jobs in the background and never keep anybody from leaving.

A thread pool of the standard library is joined when the interpreter exits, so one GET that hangs would
keep the process alive. These threads are daemons, start when there is work, and end by themselves
when there was none for a while. Closing drops what is queued and does not wait for what runs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable

_IDLE_SECONDS = 5.0
_CLOSE_SECONDS = 0.2  # for threads that are about to finish; one in a request is left alone


class BackgroundJobs:
    """Runs jobs on at most ``threads_max`` threads, first come, first served.

    A job must not raise; its key keeps it from being queued twice.
    """

    def __init__(self, threads_max: int, queue_max: int, name: str = "prefetch") -> None:
        self._threads_max = threads_max
        self._queue_max = queue_max
        self._name = f"streamhouse-{name}"
        self._changed = threading.Condition()
        self._jobs: deque[tuple[Hashable, Callable[[], None]]] = deque()
        self._keys: set[Hashable] = set()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False

    def __len__(self) -> int:
        """Jobs queued or running."""
        return len(self._keys)

    def submit(self, key: Hashable, job: Callable[[], None]) -> bool:
        """Queue a job; ``False`` when it is there already, the queue is full or this is closed."""
        with self._changed:
            if self._closed or key in self._keys or len(self._keys) >= self._queue_max:
                return False
            self._keys.add(key)
            self._jobs.append((key, job))
            if self._idle >= len(self._jobs):
                self._changed.notify()
            elif len(self._threads) < self._threads_max:
                self._start_thread()
        return True

    def close(self) -> None:
        """Drop what is queued and let the threads go. Closing twice is fine."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._keys.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(_CLOSE_SECONDS / len(threads))

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _run(self) -> None:
        try:
            while (entry := self._next()) is not None:
                key, job = entry
                job()
                del job  # it holds a block's columns or the like; do not keep it while idle
                with self._changed:
                    self._keys.discard(key)
        finally:
            with self._changed:
                self._threads.discard(threading.current_thread())

    def _next(self) -> tuple[Hashable, Callable[[], None]] | None:
        with self._changed:
            while not self._jobs and not self._closed:
                self._idle += 1
                woken = self._changed.wait(_IDLE_SECONDS)
                self._idle -= 1
                if not woken and not self._jobs:
                    # Leave the set under the same lock: a job that arrives now starts a thread.
                    self._threads.discard(threading.current_thread())
                    return None
            return None if self._closed else self._jobs.popleft()
