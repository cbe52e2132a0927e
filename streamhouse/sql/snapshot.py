"""What a query sees: topics and their blocks as of one commit, copied out of the folded state.

Everything a query needs of the state is copied under the lock once, when it begins: nine machine
arrays per partition, which is a ``memcpy`` each. What is committed meanwhile is not seen, and what is
compacted meanwhile stays readable where it was: stores keep replaced objects for an hour.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import msgspec

from streamhouse.commits.state import COLUMNS, INLINE, BlockRef, PartitionState, State, TopicState
from streamhouse.schema.model import Schema
from streamhouse.schema.versions import schema_of


class PartitionView:
    """A partition as of one commit.

    Attributes:
        number: Its number.
        log_start: Offset of the oldest record.
        high_watermark: Offset after the newest one.
    """

    def __init__(self, state: State, number: int, partition: PartitionState) -> None:
        self.number = number
        self.log_start = partition.log_start
        self.high_watermark = partition.high_watermark
        self._state = state
        self._blocks = PartitionState()
        self._blocks.log_start, self._blocks.high_watermark = self.log_start, self.high_watermark
        for column in COLUMNS:
            setattr(self._blocks, column, getattr(partition, column)[:])

    def between(self, start: int, stop: int) -> PartitionView:
        """The same without the records before an offset and those from another one on."""
        part = copy.copy(self)
        part.log_start = max(self.log_start, start)
        part.high_watermark = min(self.high_watermark, stop)
        return part

    @property
    def block_count(self) -> int:
        """How many blocks it has."""
        return len(self._blocks.base_offsets)

    @property
    def stored_bytes(self) -> int:
        """Their size in the store."""
        return self._blocks.stored_bytes

    @property
    def raw_bytes(self) -> int:
        """Keys, values and headers before compression."""
        return self._blocks.raw_bytes

    @property
    def record_count(self) -> int:
        """Its records; an upper bound when the log start lies within a block that has gaps."""
        return self._blocks.record_count

    @property
    def complete(self) -> bool:
        """Whether it has every record that was ever written to it."""
        return self.log_start == 0 and sum(self._blocks.counts) == self.high_watermark

    def block(self, index: int) -> BlockRef:
        """The reference to a block."""
        return self._state.block_ref(self._blocks, index)

    def index_of(self, offset: int) -> int:
        """The block that holds an offset, or the next one after it."""
        return self._blocks.index_of(offset)

    def index_at_time(self, timestamp_ms: int) -> int:
        """The first block with a record at or after that time."""
        return self._blocks.index_at_time(timestamp_ms)

    def records_from(self, index: int) -> int:
        """Records in a block and those after it, trimmed ones included."""
        return sum(self._blocks.counts[index:])

    def earliest_from(self, index: int, default: int) -> int:
        """The smallest timestamp in a block and those after it, that of trimmed records included."""
        return min(self._blocks.timestamp_mins[index:], default=default)

    def time_bounds(self, index: int) -> tuple[int, int]:
        """Timestamps between which all records of a block lie."""
        return self._blocks.timestamp_mins[index], self._blocks.timestamps[index]

    def has_its_maximum(self, index: int) -> bool:
        """Whether a block certainly has a record with the upper one of its :meth:`time_bounds`.

        That is the maximum so far when the block was written or put together. So it is the block's own where
        it is above that of the block before, unless that one is not what was there then: it was put together
        since, which lowers its maximum if its records, or others before, were removed; or there were
        blocks between the two of which no record is left.
        """
        blocks = self._blocks
        bases, maxima = blocks.base_offsets, blocks.timestamps
        if self.log_start > bases[index]:
            return False  # it may be a record that was trimmed
        if index == 0:
            return bases[0] == 0
        before = index - 1
        as_written = blocks.lanes[before] >= INLINE
        put_together_with_it = (blocks.lanes[before], blocks.objects[before]) == (
            blocks.lanes[index],
            blocks.objects[index],
        )
        nothing_between = bases[index] - bases[before] == blocks.counts[before]
        return maxima[index] > maxima[before] and nothing_between and (as_written or put_together_with_it)


class TopicView(msgspec.Struct, frozen=True):
    """A topic as of one commit."""

    id: int
    name: str
    partition_count: int
    partitions: tuple[PartitionView, ...]
    schema: Schema | None = None

    def only(self, offsets: Mapping[int, range]) -> TopicView:
        """The same with nothing but some offsets of some partitions."""
        parts = (
            partition.between(offsets[partition.number].start, offsets[partition.number].stop)
            for partition in self.partitions
            if partition.number in offsets
        )
        return msgspec.structs.replace(self, partitions=tuple(parts))

    @property
    def record_count(self) -> int:
        """Its records, or an upper bound; see :attr:`PartitionView.record_count`."""
        return sum(partition.record_count for partition in self.partitions)


def view_of(state: State, topic: TopicState) -> TopicView:
    """Copy a topic; the caller holds the lock of the state."""
    names = _Names(state)
    partitions = sorted(topic.partitions.items())
    return TopicView(
        topic.id,
        topic.name,
        topic.partition_count,
        tuple(PartitionView(names, number, partition) for number, partition in partitions),
        schema_of(topic.settings),
    )


class _Names(State):
    """As much of a state as it takes to name objects: agents are only ever added."""

    def __init__(self, state: State) -> None:
        self.agents = state.agents[:]


def same_name(name: str, names: Iterable[str]) -> list[str]:
    """Those that DuckDB cannot tell from ``name``: its identifiers have no upper and lower case."""
    folded = name.casefold()
    return [other for other in names if other.casefold() == folded]
