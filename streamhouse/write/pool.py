"""Threads that compress while others lay out the next block."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final

from streamhouse.format.codecs import Packed, pack_bytes
from streamhouse.write.gate import Gate

_THREADS: Final = 2


class Job:
    """A buffer to be compressed."""

    __slots__ = ("_done", "_error", "_packed", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._done = Gate()
        self._packed: Packed | None = None
        self._error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether :meth:`result` would not wait."""
        return self._done.opened

    def result(self) -> Packed:
        """Wait for it."""
        self._done.wait()
        if self._packed is None:
            raise self._error or AssertionError("a job was done without a result")
        return self._packed

    def run(self) -> None:
        """Compress."""
        try:
            self._packed = pack_bytes(self.raw)
        except Exception as error:  # noqa: BLE001 - whoever waits for the result gets it
            self._error = error
        self._done.open()


class Pool:
    """Some threads and a queue of jobs. The threads start with the first job.

    ``concurrent.futures`` would do, were its locks safe from Ctrl-C (see ``gate.py``).
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._closed = False

    def compress(self, raw: bytes) -> Job | None:
        """Have that compressed; ``None`` when the pool is closed."""
        with self._lock:
            if self._closed:
                return None
            while len(self._threads) < _THREADS:
                self._start()
            job = Job(raw)
            self._jobs.put(job)
            return job

    def close(self) -> None:
        """Do what is queued, then end the threads. Closing twice is fine."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, []
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join()

    def _start(self) -> None:
        thread = Thread(target=self._run, name="streamhouse-encoder", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
