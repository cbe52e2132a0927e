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

    @property
    def anything(self) -> bool:
        """Whether something was taken out of the log that takes room in the store until it is collected."""
        return bool(self.trimmed or self.blocks_before)

    def report(self, collected: CollectReport) -> UpkeepReport:
        """The figures for good."""
        return UpkeepReport(collected=collected, **vars(self))
