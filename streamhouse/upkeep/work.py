"""The work on one partition: claim it, do what its plans say, give it back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple

from streamhouse.commits.log import CommitLog
from streamhouse.errors import (
    ObjectNotFoundError,
    PartitionNotFoundError,
    TopicNotFoundError,
)
from streamhouse.runtime import Runtime
from streamhouse.upkeep.claims import Claims
from streamhouse.upkeep.clean import Cleaner, Cleaning, changes, plan_cleaning
from streamhouse.upkeep.compact import compacted
from streamhouse.upkeep.plan import plan
from streamhouse.upkeep.report import Tally
from streamhouse.upkeep.rewrite import Rewritten, replace
from streamhouse.upkeep.sources import Source, Sources
from streamhouse.upkeep.survey import Survey, references, survey

_TURNS_MAX: Final = 64  # each finds less to do than the one before
_RENEW_SECONDS: Final = 120.0

Pause = Callable[[float], None]
"""Called with the seconds that a piece of work took, and with 0 now and then in between; it may wait. It
raises to make an end."""


class Tools(NamedTuple):
    """What all work on a log has in common."""

    commits: CommitLog
    sources: Sources
    claims: Claims
    runtime: Runtime
    block_bytes: int


def has_work(tools: Tools, seen: Survey, *, thorough: bool) -> bool:
    """Whether there is something to do in a partition."""
    if plan_cleaning(seen, tools.runtime.time_ms(), thorough=thorough) is not None:
        return True
    return bool(plan(seen.partition, seen.settings, seen.aged, thorough=thorough))


class PartitionWork:
    """Work on a partition that is claimed.

    Args:
        tools: Of the log.
        seen: The partition.
        tally: Where to count.
        thorough: Do whatever can be done, not only what is worth it.
        pause: See :data:`Pause`.

    Attributes:
        seen: The partition as it was last.
        tally: Where to count.
    """

    def __init__(self, tools: Tools, seen: Survey, tally: Tally, *, thorough: bool, pause: Pause) -> None:
        self.seen = seen
        self.tally = tally
        self._tools = tools
        self._thorough = thorough
        self._pause = pause
        self._claimed_at = tools.runtime.monotonic()

    def do(self) -> None:
        """Do it all, then give the partition back.

        Raises:
            CorruptionError: A block is damaged. Nothing was replaced by something worse.
            StoreError: The store fails.
        """
        try:
            for _ in range(_TURNS_MAX):
                if not self._turn():
                    break
        except (TopicNotFoundError, PartitionNotFoundError):
            return  # deleted meanwhile, and the claim with it
        except ObjectNotFoundError:
            self._tools.commits.refresh()  # somebody else was faster; look again another time
        finally:
            self._tools.claims.release(self.seen)

    def _turn(self) -> bool:
        """Do what the plans say now; whether to look again."""
        seen = survey(self._tools.commits, self.seen.topic, self.seen.number)
        if seen is None:
            return False
        self.seen = seen
        cleaning = plan_cleaning(seen, self._tools.runtime.time_ms(), thorough=self._thorough)
        if cleaning is not None:
            return self._clean(cleaning) and self._renew()
        runs = plan(seen.partition, seen.settings, seen.aged, thorough=self._thorough)
        return bool(runs) and all(self._compact(run) for run in runs)

    def _compact(self, run: range) -> bool:
        return self._replace(run, compacted(self._read(run), self._tools.block_bytes))

    def _clean(self, work: Cleaning) -> bool:
        partition = self.seen.partition
        cleaner = Cleaner(work.tombstones_before, partition.high_watermark - 1)
        stop = work.dirty + cleaner.learn(self._read(range(work.dirty, work.stop)))
        for change in changes(cleaner, self._read(range(stop)), self._tools.block_bytes):
            if not self._replace(range(change.start, change.stop), change.blocks):
                return False
            self.tally.records_removed += change.removed
        bases = partition.base_offsets
        before = bases[stop] if stop < len(bases) else partition.high_watermark
        self._tools.claims.release(self.seen, before)
        return True

    def _replace(self, run: range, rewritten: Iterable[Rewritten]) -> bool:
        began = self._tools.runtime.monotonic()
        blocks = replace(self._tools.commits, self.seen, run, rewritten)
        if blocks is None:
            return False
        tally = self.tally
        tally.segments_written += bool(blocks)
        tally.blocks_before += len(run)
        tally.blocks_after += len(blocks)
        tally.bytes_rewritten += sum(self.seen.partition.lengths[run.start : run.stop])
        self._pause(self._tools.runtime.monotonic() - began)
        return True

    def _read(self, indices: range) -> Iterator[Source]:
        refs = references(self._tools.commits, self.seen, indices)
        look = partial(self._pause, 0.0)
        for source in self._tools.sources.read(refs, look):
            look()
            if self._tools.runtime.monotonic() - self._claimed_at > _RENEW_SECONDS:
                self._renew()
            yield source

    def _renew(self) -> bool:
        self._claimed_at = self._tools.runtime.monotonic()
        return self._tools.claims.renew(self.seen)
