"""What the producers of one log share: memory for pending records, the encoder, and a beat.

Records wait for company for the linger time. A thread looks after the open batches: it seals those
whose time has come, and tells the others that their timestamp has aged, so that ``send`` need not ask
the clock for each record. It runs only while something is open.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from streamhouse.commits.log import CommitLog
from streamhouse.config import Settings
from streamhouse.runtime import Runtime
from streamhouse.write.batch import SEALED, Batch
from streamhouse.write.encoder import Encoder
from streamhouse.write.memory import Memory

_BEAT_SECONDS: Final = 0.004  # the age a timestamp may have

_log: Final = logging.getLogger("streamhouse")


class Hoard(Protocol):
    """Holds memory for as long as it likes: an open transaction."""

    def _relieve(self) -> None:
        """Give back what can be given back at once; do not wait for whoever is at work in it."""


class Batcher:
    """Owned by the log, used by its producers.

    Attributes:
        memory: For records not yet committed.
        encoder: Makes blocks.
    """

    def __init__(self, commits: CommitLog, settings: Settings, runtime: Runtime) -> None:
        self.memory = Memory(settings.buffer_bytes_max)
        self.encoder = Encoder(settings.block_bytes_target)
        self._commits = commits
        self._runtime = runtime
        self._open: deque[Batch] = deque()
        self._cooking: deque[Batch] = deque()
        self._cut_short: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._idle = False
        self._closed = False
        self._hoards: weakref.WeakSet[Hoard] = weakref.WeakSet()
        self._calls: SimpleQueue[None] = SimpleQueue()  # wakes the thread; see gate.py for why no Event

    def linger(self) -> float:
        """Seconds that a record waits for company, at most."""
        return self._commits.default_linger()

    def watch(self, batch: Batch) -> None:
        """Seal that batch when its time has come."""
        self._open.append(batch)
        self._rouse()

    def adopt(self, work: Callable[[], None]) -> None:
        """Do that, for Ctrl-C got into the way of whoever was at it."""
        self._cut_short.append(work)
        self._rouse()

    def cook(self, batch: Batch) -> None:
        """Complete a batch once the pool has compressed it; its blocks were begun."""
        self._cooking.append(batch)
        self._rouse()

    def collect(self) -> None:
        """Complete the batches that the pool is done with."""
        while self._cooking:
            try:
                batch = self._cooking.popleft()
            except IndexError:
                return  # another thread was faster
            if batch.begun is not None and batch.begun.waiting:
                self._cooking.appendleft(batch)
                return
            batch.outbox.complete(batch)

    def register(self, hoard: Hoard) -> None:
        """Ask that for memory when it runs out."""
        self._hoards.add(hoard)

    def relieve(self) -> None:
        """Get back memory that nobody is about to give back by himself."""
        for hoard in list(self._hoards):
            hoard._relieve()

    def close(self) -> None:
        """Seal what is open, encode what is sealed, end the threads. Closing twice is fine."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        self._calls.put(None)
        if thread is not None:
            thread.join()
        self._finish_cut_short()
        while self._open:
            batch = self._open.popleft()
            batch.outbox.seal(batch)
        self.encoder.close()  # after which nothing is waiting any more
        self.collect()

    def _rouse(self) -> None:
        if self._idle:
            self._calls.put(None)
        elif self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="streamhouse-batcher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            try:
                self._rest()
                self._finish_cut_short()
                self.collect()
                self._beat()
            except Exception:  # noqa: BLE001 - other batches are waiting
                _log.exception("the batcher failed; it goes on")

    def _rest(self) -> None:
        """Wait for something to do, or for the next beat."""
        if not self._anything():
            # Said before looking again: whoever adds something either is seen or sees this.
            self._idle = True
            if not self._anything():
                self._calls.get()
            self._idle = False
        with suppress(Empty):
            self._calls.get(timeout=self._pause())

    def _anything(self) -> bool:
        return bool(self._open or self._cooking or self._cut_short)

    def _pause(self) -> float:
        now = self._runtime.monotonic()
        soonest = min([batch.deadline for batch in list(self._open)], default=now + _BEAT_SECONDS)
        return max(0.0, min(_BEAT_SECONDS, soonest - now))

    def _beat(self) -> None:
        now = self._runtime.monotonic()
        for _ in range(len(self._open)):
            batch = self._open.popleft()
            if batch.flag == SEALED:
                continue
            if batch.deadline <= now:
                batch.outbox.seal(batch)
            else:
                self._open.append(batch)
                batch.outbox.age(batch)

    def _finish_cut_short(self) -> None:
        while self._cut_short:
            self._cut_short.popleft()()
