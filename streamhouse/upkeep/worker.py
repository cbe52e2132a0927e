"""Upkeep in the background: a thread that looks now and then, works in small pieces, and rests in between.

It starts when there may be something to do. Whatever goes wrong in it is logged, told by
:attr:`UpkeepWorker.stats`, and tried again later, ever less often; readers and writers are not concerned.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

import msgspec

from streamhouse import limits
from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Applied
from streamhouse.errors import StreamhouseError
from streamhouse.format.commit import Commit
from streamhouse.format.operations import AlterTopic, CreateTopic, DeleteTopic, Replace, Trim
from streamhouse.runtime import Runtime
from streamhouse.upkeep import due
from streamhouse.upkeep.report import Tally, UpkeepStats, add
from streamhouse.upkeep.upkeep import Upkeep

_COMMITS_BEFORE_START: Final = 64
_REST_SECONDS_MAX: Final = 5.0
_BACKOFF_MAX: Final = 6  # doublings
_COLLECT_AFTER_SECONDS: Final = limits.SLOT_KEEP_SECONDS * 1.1
_COLLECTIONS: Final = 3  # a snapshot without what was replaced; that itself; the commits it lay in

_log: Final = logging.getLogger("streamhouse")


class Stopped(BaseException):
    """The log is being closed. Nothing that goes wrong, so no error handler shall take it for one."""


class UpkeepWorker:
    """The thread.

    Args:
        upkeep: What it does.
        commits: The log.
        runtime: Clock and dice.
        interval_seconds: How often to look, about.
        where: Name of the log, for messages.
    """

    def __init__(
        self, upkeep: Upkeep, commits: CommitLog, runtime: Runtime, interval_seconds: float, where: str
    ) -> None:
        self._upkeep = upkeep
        self._commits = commits
        self._runtime = runtime
        self._interval = interval_seconds
        self._where = where
        self._stats = UpkeepStats()
        self._commits_seen = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._freed = False  # something takes room in the store that nobody needs any more
        self._collections_left = 0
        self._collect_at = 0.0
        self._saved_seq = 0
        commits.listen(self._notify)
        if due.expires(commits):
            self._start()

    @property
    def stats(self) -> UpkeepStats:
        """What it did so far, and what went wrong."""
        return msgspec.structs.replace(self._stats, running=self._thread is not None)

    def close(self, timeout_seconds: float) -> None:
        """Make an end, of a request under way too if it does not take longer than that. Idempotent."""
        self._stop.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout_seconds)

    def _notify(self, _applied: Applied, commit: Commit) -> None:
        if self._freed and self._thread is not None:
            return
        self._commits_seen += 1
        kinds = {type(operation) for flush in commit.flushes for operation in flush.operations}
        self._freed = self._freed or not kinds.isdisjoint((DeleteTopic, Replace, Trim))
        altered = not kinds.isdisjoint((AlterTopic, CreateTopic)) and due.expires(self._commits)
        if self._freed or altered or self._commits_seen >= _COMMITS_BEFORE_START:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="streamhouse-upkeep", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        # Several processes that were started together shall not look together.
        pause = self._interval * self._runtime.uniform(0.5, 1.5)
        while not self._stop.wait(pause) and self._commits.failure is None:
            error = None
            try:
                self._look()
            except Stopped:
                return
            except Exception as failure:  # noqa: BLE001 - see above
                error = failure
            pause = self._interval * self._runtime.uniform(0.75, 1.25)
            pause *= 2 ** min(self._note(error), _BACKOFF_MAX)

    def _look(self) -> None:
        tally = Tally()
        try:
            self._upkeep.usual(self._rest, tally)
        finally:
            self._stats = add(self._stats, tally)
        self._collect_when_due()

    def _collect_when_due(self) -> None:
        now = self._runtime.monotonic()
        if self._freed:
            self._freed = False
            if not self._collections_left:
                self._wait_for_collection(now)
            self._collections_left = _COLLECTIONS
        if self._collections_left and now >= self._collect_at:
            report = self._upkeep.collect(self._saved_seq)
            self._collections_left -= 1
            self._wait_for_collection(now)
            self._stats = msgspec.structs.replace(
                self._stats,
                objects_deleted=self._stats.objects_deleted + report.objects_deleted,
                bytes_deleted=self._stats.bytes_deleted + report.bytes_deleted,
            )

    def _wait_for_collection(self, now: float) -> None:
        """Until what was let go of is old enough; not all processes at one time."""
        self._collect_at = now + _COLLECT_AFTER_SECONDS * self._runtime.uniform(1.0, 1.2)
        self._saved_seq = self._commits.state.snapshot_seq

    def _note(self, error: Exception | None) -> int:
        """Tell what went wrong, if anything; how many looks have failed in a row."""
        stats = self._stats
        if error is None:
            self._stats = msgspec.structs.replace(stats, failures=0)
            return 0
        what = f"{type(error).__name__}: {error}"
        failures = stats.failures + 1
        self._stats = msgspec.structs.replace(
            stats, failures=failures, last_error=what, last_error_ms=self._runtime.time_ms()
        )
        expected = isinstance(error, StreamhouseError)
        _log.warning(
            "upkeep of %s failed, it will be tried again: %s",
            self._where,
            what,
            exc_info=None if expected else error,
        )
        return failures

    def _rest(self, seconds: float) -> None:
        """Leave the others as much time as the work took."""
        if self._stop.wait(min(seconds, _REST_SECONDS_MAX)) if seconds else self._stop.is_set():
            raise Stopped
