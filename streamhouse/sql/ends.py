"""The first and last offset and time of a partition, and its number of records, exactly.

References say most of it. Of a block whose front was trimmed, or which lost records to compaction, they are
bounds only; such a block is read if it matters, which is one at either end. Times in references are running
maxima, which may come from records that are gone: trimmed, or removed from a block before. So blocks are
read for them, from the end on, unless a reference says that the maximum is of its own block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from streamhouse.commits.state import BlockRef
from streamhouse.format.columns import Columns
from streamhouse.format.integers import int64s
from streamhouse.read.window import offset_at, place
from streamhouse.sql.snapshot import PartitionView

Read: TypeAlias = Callable[[BlockRef, frozenset[str]], Columns]
"""Gets columns of a block."""


class Ends(msgspec.Struct, frozen=True):
    """What is to be known of a partition that has records.

    Attributes:
        records: How many.
        offsets: The first and the last.
        times: The earliest and the latest timestamp, milliseconds.
    """

    records: int
    offsets: tuple[int, int]
    times: tuple[int, int]


def ends_of(partition: PartitionView, columns: frozenset[str], read: Read) -> Ends | None:
    """The ends of a partition; ``None`` if it has no records.

    Args:
        partition: As of a commit.
        columns: What of ``offset``, ``timestamp`` and ``records`` is wanted; the others may be wrong.
        read: Gets a block that has to be looked at.
    """
    index = partition.index_of(partition.log_start)
    if index == partition.block_count:
        return None
    first, last = (_Block(partition, at, read) for at in (index, partition.block_count - 1))
    if first.trimmed and not first.records:  # what is left of it was compacted away
        index += 1
        if index == partition.block_count:
            return None
        first = _Block(partition, index, read)
    records, offsets, times = 0, (0, 0), (0, 0)
    if "records" in columns:
        records = first.records + partition.records_from(index + 1)
    if "offset" in columns:
        offsets = first.first_offset, last.last_offset
    if "timestamp" in columns:
        earliest = min(first.earliest, partition.earliest_from(index + 1, default=first.earliest))
        times = earliest, _latest(partition, first, last, read)
    return Ends(records, offsets, times)


def _latest(partition: PartitionView, first: _Block, last: _Block, read: Read) -> int:
    """The largest timestamp: the last of the running maxima, if the block where it was reached has it."""
    if partition.complete:
        return last.running_max
    reached = partition.index_at_time(last.running_max)
    if reached >= first.index and partition.has_its_maximum(reached):
        return last.running_max
    latest = last.latest
    for index in reversed(range(first.index, last.index)):
        if latest >= partition.time_bounds(index)[1]:
            break
        block = first if index == first.index else _Block(partition, index, read)
        latest = max(latest, block.latest)
    return latest


class _Block:
    """A block, read only when its reference does not do."""

    def __init__(self, partition: PartitionView, index: int, read: Read) -> None:
        self.index = index
        self._ref = partition.block(index)
        self._read = read
        self._columns: Columns | None = None
        self._log_start = partition.log_start
        self._bounds = partition.time_bounds(index)
        self.trimmed = self._log_start > self._ref.base_offset
        self.running_max = self._bounds[1]
        self._gapless = self._ref.records == self._ref.count

    @property
    def records(self) -> int:
        if not self.trimmed:
            return self._ref.records
        return self._ref.next_offset - self._log_start if self._gapless else self._kept.count - self._start

    @property
    def first_offset(self) -> int:
        if self._gapless:
            return max(self._log_start, self._ref.base_offset)
        return offset_at(self._kept, self._ref.base_offset, self._start)

    @property
    def last_offset(self) -> int:
        if self._gapless:
            return self._ref.next_offset - 1
        return offset_at(self._kept, self._ref.base_offset, self._kept.count - 1)

    @property
    def earliest(self) -> int:
        return min(self._times) if self.trimmed else self._bounds[0]

    @property
    def latest(self) -> int:
        return max(self._times)

    @property
    def _times(self) -> list[int]:
        return int64s(self._kept.timestamps)[self._start :].tolist()

    @property
    def _start(self) -> int:
        """Index of the first record that was not trimmed."""
        return place(self._kept, self._ref.base_offset, max(self._log_start, self._ref.base_offset))

    @property
    def _kept(self) -> Columns:
        if self._columns is None:
            self._columns = self._read(self._ref, frozenset(("timestamp",)))
        return self._columns
