"""Upkeep in the background: a thread that looks now and then, works in small pieces, and rests in between.

It starts when there may be something to do. Whatever goes wrong in it is tried again later; readers and
writers meet the same trouble and tell of it.
"""

from __future__ import annotations

import threading
from typing import Final

from streamhouse import limits
from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Applied
from streamhouse.format.commit import AlterTopic, Commit, CreateTopic
from streamhouse.runtime import Runtime
from streamhouse.upkeep import due
from streamhouse.upkeep.upkeep import Upkeep

_COMMITS_BEFORE_START: Final = 64
_REST_SECONDS_MAX: Final = 5.0
_BACKOFF_MAX: Final = 6  # doublings
_COLLECT_AFTER_SECONDS: Final = limits.SLOT_KEEP_SECONDS * 1.1
_COLLECTIONS: Final = 3  # a snapshot without what was replaced; that itself; the commits it lay in


class Stopped(Exception):  # noqa: N818 - a signal
    """The log is being closed."""


class UpkeepWorker:
    """The thread.

    Args:
        upkeep: What it does.
        commits: The log.
        runtime: Clock and dice.
        interval_seconds: How often to look, about.
    """

    def __init__(self, upkeep: Upkeep, commits: CommitLog, runtime: Runtime, interval_seconds: float) -> None:
        self._upkeep = upkeep
        self._commits = commits
        self._runtime = runtime
        self._interval = interval_seconds
        self._commits_seen = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._collections_left = 0
        self._collect_at = 0.0
        commits.listen(self._notify)
        if due.expires(commits):
            self._start()

    def close(self, timeout_seconds: float) -> None:
        """Make an end, of a request under way too if it does not take longer than that. Idempotent."""
        self._stop.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout_seconds)

    def _notify(self, _applied: Applied, commit: Commit) -> None:
        if self._thread is not None:
            return
        self._commits_seen += 1
        topics_changed = any(
            isinstance(operation, CreateTopic | AlterTopic)
            for flush in commit.flushes
            for operation in flush.operations
        )
        if self._commits_seen >= _COMMITS_BEFORE_START or (topics_changed and due.expires(self._commits)):
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="streamhouse-upkeep", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        failures = 0
        # Several processes that were started together shall not look together.
        pause = self._interval * self._runtime.uniform(0.5, 1.5)
        while not self._stop.wait(pause) and self._commits.failure is None:
            try:
                self._look()
                failures = 0
            except Stopped:
                return
            except Exception:  # noqa: BLE001 - see above
                failures = min(failures + 1, _BACKOFF_MAX)
            pause = self._interval * self._runtime.uniform(0.75, 1.25) * 2**failures

    def _look(self) -> None:
        tally = self._upkeep.usual(self._rest)
        now = self._runtime.monotonic()
        if tally.anything:
            if not self._collections_left:
                self._collect_at = now + _COLLECT_AFTER_SECONDS
            self._collections_left = _COLLECTIONS
        if self._collections_left and now >= self._collect_at:
            self._collect_at = now + _COLLECT_AFTER_SECONDS
            self._upkeep.collect()
            self._collections_left -= 1

    def _rest(self, seconds: float) -> None:
        """Leave the others as much time as the work took."""
        if self._stop.wait(min(seconds, _REST_SECONDS_MAX)) if seconds else self._stop.is_set():
            raise Stopped
