"""What upkeep did."""

from __future__ import annotations

import msgspec

from streamhouse.commits.collector import CollectReport


class UpkeepReport(msgspec.Struct, frozen=True, kw_only=True):
    """What :meth:`streamhouse.Log.upkeep` did.

    Attributes:
        trimmed: Offsets that retention moved the log starts by.
        segments_written: Objects with blocks that were put together.
        blocks_before: Blocks that were replaced ...
        blocks_after: ... and those that took their place.
        bytes_rewritten: Stored size of those that were replaced.
        records_removed: Records that compaction by key took out: older ones of their key, and tombstones.
        skipped: Partitions that were left alone, and why: somebody else is at work on them, or a block
            is damaged.
        collected: What was deleted from the store.
    """

    trimmed: int
    segments_written: int
    blocks_before: int
    blocks_after: int
    bytes_rewritten: int
    records_removed: int
    skipped: list[str]
    collected: CollectReport


class UpkeepStats(msgspec.Struct, frozen=True, kw_only=True):
    """How upkeep in the background of this process gets on.

    Attributes:
        running: Whether its thread has started: it does so when there may be something to do.
        looks: How often it has looked for something to do.
        failures: Looks that failed since one succeeded.
        last_error: What went wrong last, if anything ever did.
        last_error_ms: When, milliseconds since 1970.
        skipped: Partitions that were left alone at the last look, and why.
        trimmed: Offsets that retention moved the log starts by, so far.
        blocks_before: Blocks that were replaced so far ...
        blocks_after: ... and those that took their place.
        bytes_rewritten: Stored size of those that were replaced.
        records_removed: Records that compaction by key took out.
        objects_deleted: Objects removed from the store ...
        bytes_deleted: ... and their size.
    """

    running: bool = False
    looks: int = 0
    failures: int = 0
    last_error: str | None = None
    last_error_ms: int | None = None
    skipped: list[str] = []
    trimmed: int = 0
    blocks_before: int = 0
    blocks_after: int = 0
    bytes_rewritten: int = 0
    records_removed: int = 0
    objects_deleted: int = 0
    bytes_deleted: int = 0


class Tally:
    """The figures of a round while they grow."""

    def __init__(self) -> None:
        self.trimmed = 0
        self.segments_written = 0
        self.blocks_before = 0
        self.blocks_after = 0
        self.bytes_rewritten = 0
        self.records_removed = 0
        self.skipped: list[str] = []

    def report(self, collected: CollectReport) -> UpkeepReport:
        """The figures for good."""
        return UpkeepReport(collected=collected, **vars(self))


def add(stats: UpkeepStats, tally: Tally) -> UpkeepStats:
    """The figures with those of one more round."""
    return msgspec.structs.replace(
        stats,
        looks=stats.looks + 1,
        skipped=tally.skipped,
        trimmed=stats.trimmed + tally.trimmed,
        blocks_before=stats.blocks_before + tally.blocks_before,
        blocks_after=stats.blocks_after + tally.blocks_after,
        bytes_rewritten=stats.bytes_rewritten + tally.bytes_rewritten,
        records_removed=stats.records_removed + tally.records_removed,
    )
