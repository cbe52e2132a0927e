"""Which blocks of a topic a scan has to read, and which records of them. Pure.

A block is left out when its offsets or its times cannot fit. Of one that is read, offsets are cut out as
windows. Times are looked at record by record only where a block reaches over the edge of what is wanted.
Where only partition and offset are asked for and a block has no gaps, the reference says it all, and
nothing is read: ``count(*)`` of a terabyte costs no request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from streamhouse.commits.state import BlockRef
from streamhouse.format.blockheader import FIELD
from streamhouse.sql.fields import columns_of, stored_name
from streamhouse.sql.intervals import ALL, Intervals
from streamhouse.sql.predicates import Restriction, restrict
from streamhouse.sql.snapshot import PartitionView, TopicView

COLUMNS: Final = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")
STORED: Final = frozenset(("timestamp", "key", "value", "headers"))


class BlockScan(msgspec.Struct, frozen=True):
    """What is wanted of a block.

    Attributes:
        partition: Number of the partition.
        ref: The block.
        offsets: Windows of offsets, both ends included, within the block.
        times: Timestamps to keep; all when the block lies within what is wanted.
        stored: Columns that have to be decoded; without any the block is not read.
    """

    partition: int
    ref: BlockRef
    offsets: tuple[tuple[int, int], ...]
    times: Intervals
    stored: frozenset[str]


def plan(topic: TopicView, columns: Sequence[str], conditions: Sequence[Any]) -> Iterator[BlockScan]:
    """The blocks to read, partition by partition in order of offset.

    Args:
        topic: The topic as of a commit.
        columns: Those the query wants.
        conditions: Filters that were taken from DuckDB, all of which hold.
    """
    fields = columns_of(topic.schema, COLUMNS)
    wanted = frozenset(stored_name(fields[name]) if name in fields else name for name in columns)
    restriction_of = restrict(conditions, topic.name)
    for partition in topic.partitions:
        restriction = restriction_of(partition.number)
        if not restriction.impossible:
            yield from _plan_partition(partition, wanted, restriction)


def whole_block(partition: int, ref: BlockRef, stored: frozenset[str]) -> BlockScan:
    """All records of a block."""
    return BlockScan(partition, ref, ((ref.base_offset, ref.next_offset - 1),), ALL, stored)


def _plan_partition(
    partition: PartitionView, columns: frozenset[str], restriction: Restriction
) -> Iterator[BlockScan]:
    offsets = restriction.offsets.within(partition.log_start, partition.high_watermark - 1)
    times = restriction.times
    first_in_time = 0 if times.everything else partition.index_at_time(times.spans[0][0])
    for index in _indices(partition, offsets, first_in_time):
        low, high = partition.time_bounds(index)
        if not times.meets(low, high):
            continue
        ref = partition.block(index)
        windows = offsets.within(ref.base_offset, ref.next_offset - 1)
        kept = ALL if times.covers(low, high) else times.within(low, high)
        yield BlockScan(partition.number, ref, windows.spans, kept, _stored(columns, ref, windows, kept))


def _indices(partition: PartitionView, offsets: Intervals, first: int) -> Iterator[int]:
    """The blocks that hold any of the offsets, each once."""
    for low, high in offsets.spans:
        last = partition.index_of(high)
        yield from range(max(first, partition.index_of(low)), min(last + 1, partition.block_count))
        first = max(first, last + 1)


def _stored(columns: frozenset[str], ref: BlockRef, windows: Intervals, times: Intervals) -> frozenset[str]:
    stored = frozenset(name for name in columns if name in STORED or name.startswith(FIELD))
    if not times.everything:
        stored |= {"timestamp"}
    whole = windows.covers(ref.base_offset, ref.next_offset - 1)
    gapless = ref.records == ref.count
    if stored or gapless or (whole and "offset" not in columns):
        return stored
    return frozenset(("delta",))
