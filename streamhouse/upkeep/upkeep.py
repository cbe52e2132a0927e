"""Rounds of upkeep: what is due is trimmed, compacted by key and put together."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from streamhouse.commits.collector import CollectReport
from streamhouse.commits.log import CommitLog
from streamhouse.config import Settings
from streamhouse.errors import CorruptionError, StreamhouseError, TopicNotFoundError
from streamhouse.format.operations import Trim
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectStore
from streamhouse.upkeep import due
from streamhouse.upkeep.claims import Claims
from streamhouse.upkeep.report import Tally, UpkeepReport
from streamhouse.upkeep.sources import Sources
from streamhouse.upkeep.survey import Survey, survey
from streamhouse.upkeep.work import PartitionWork, Pause, Tools, has_work

_CLAIMED_AT_ONCE: Final = 16

_log: Final = logging.getLogger("streamhouse")


class _GiveWay(BaseException):
    """Upkeep was asked for while the background is at it: a signal, not an error."""


class Upkeep:
    """Keeps a log in order, one round at a time. Any thread may ask for one.

    Args:
        commits: The log.
        store: Where it lies.
        settings: Of the log.
        runtime: Clock and randomness.
    """

    def __init__(self, commits: CommitLog, store: ObjectStore, settings: Settings, runtime: Runtime) -> None:
        self._commits = commits
        self._runtime = runtime
        claims = Claims(commits, store, runtime)
        sources = Sources(store, max(1, settings.request_concurrency // 2))
        self._tools = Tools(commits, sources, claims, runtime, settings.block_bytes_target)
        self._due = due.Due(commits, runtime)
        self._busy = threading.Lock()
        self._asking: set[object] = set()  # who wait for the background to give way

    def thorough(self) -> UpkeepReport:
        """Do now whatever can be done."""
        with self._before_the_background():
            tally = Tally()
            self._commits.refresh()
            self._trim(tally)
            self._work(due.places(self._commits), tally, thorough=True, pause=_go_on)
            self._commits.save_snapshot()
            return tally.report(self._commits.collect())

    def usual(self, pause: Pause, tally: Tally) -> None:
        """Do what is worth it. When nothing is, no request is made.

        Where another process is at it, one is, to learn whether that is done.

        Args:
            pause: See :data:`~streamhouse.upkeep.work.Pause`.
            tally: Where to count, also when it comes to nothing good in the end.
        """
        with self._busy, suppress(_GiveWay):
            if due.expired(self._commits, self._runtime):
                self._commits.refresh()
                self._trim(tally)
            places = self._due.now()
            if places:
                self._work(places, tally, thorough=False, pause=partial(self._pause, pause))

    def _pause(self, pause: Pause, seconds: float) -> None:
        """Let the background rest, unless somebody waits who would do the work without resting."""
        if self._asking:
            raise _GiveWay
        pause(seconds)

    @contextmanager
    def _before_the_background(self) -> Iterator[None]:
        me = object()
        self._asking.add(me)
        try:
            with self._busy:
                self._asking.discard(me)
                yield
        finally:
            self._asking.discard(me)

    def collect(self, saved_seq: int) -> CollectReport:
        """Save the state, to show later what was referred to now, and remove what is garbage already.

        Args:
            saved_seq: The last snapshot that the caller knows of; if there is a later one, it will do.
        """
        with self._busy:
            self._commits.refresh()
            if self._commits.state.snapshot_seq <= saved_seq:
                self._commits.save_snapshot()
            return self._commits.collect()

    def _trim(self, tally: Tally) -> None:
        for trim in due.expired(self._commits, self._runtime):
            before = self._log_starts(trim)
            try:
                self._commits.propose(trim)
            except TopicNotFoundError:
                continue
            tally.trimmed += sum(self._log_starts(trim)) - sum(before)

    def _log_starts(self, trim: Trim) -> list[int]:
        with self._commits.lock:
            topic = self._commits.state.topics.get(trim.topic)
            return [] if topic is None else [topic.partitions[number].log_start for number, _ in trim.parts]

    def _work(self, places: list[due.Place], tally: Tally, *, thorough: bool, pause: Pause) -> None:
        for at in range(0, len(places), _CLAIMED_AT_ONCE):
            wanted = []
            for place in places[at : at + _CLAIMED_AT_ONCE]:
                pause(0)
                seen = survey(self._commits, *place)
                if seen is None:
                    continue
                if has_work(self._tools, seen, thorough=thorough):
                    wanted.append(seen)
                else:
                    self._due.note(seen)
            if wanted:
                self._work_on(wanted, tally, thorough=thorough, pause=pause)

    def _work_on(self, wanted: list[Survey], tally: Tally, *, thorough: bool, pause: Pause) -> None:
        had = self._tools.claims.take(wanted, by_store=thorough)
        left = deque(seen for seen, mine in zip(wanted, had, strict=True) if mine)
        tally.skipped += [
            f"{seen}: another process is at work on it"
            for seen, mine in zip(wanted, had, strict=True)
            if not mine
        ]
        try:
            while left:
                seen = left.popleft()
                self._due.forget(seen)
                work = PartitionWork(self._tools, seen, tally, thorough=thorough, pause=pause)
                self._work_on_one(work, thorough=thorough)
        finally:
            for seen in left:
                self._tools.claims.release(seen)
        if not all(had):
            self._commits.refresh()  # without traffic, nothing else would tell that they are done

    def _work_on_one(self, work: PartitionWork, *, thorough: bool) -> None:
        """Work on a partition; the others must not wait for what will most likely fail again."""
        try:
            work.do()
        except (CorruptionError, MemoryError) as error:
            self._hold_off(work, error)
        except StreamhouseError:
            raise  # the store's: it would be the same with the others
        except Exception as error:
            if thorough:
                raise
            _log.exception("upkeep of %s failed", work.seen)
            self._hold_off(work, error)

    def _hold_off(self, work: PartitionWork, error: Exception) -> None:
        what = f"{work.seen}: {str(error) or type(error).__name__}"
        _log.warning("upkeep leaves alone %s", what)
        work.tally.skipped.append(what)
        self._due.note(work.seen, failed=True)


def _go_on(_seconds: float) -> None:
    """Without a rest."""
