"""What "earliest", "latest", an offset or a point in time mean in a partition right now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from contextlib import suppress
from operator import itemgetter
from typing import Any, Final

from streamhouse.catalog.catalog import Catalog, TopicInfo
from streamhouse.commits.state import BlockRef
from streamhouse.errors import (
    InvalidInputError,
    InvalidPositionError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
)
from streamhouse.format.integers import int64s
from streamhouse.read.reader import BlockReader
from streamhouse.read.window import first_at_time, offset_at, place
from streamhouse.records import Position, Positions, describe_position, whole_number

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_BLOCKS_LISTED: Final = 16


def resolve(
    catalog: Catalog, reader: BlockReader, topic: TopicInfo, partition: int, position: Position
) -> int:
    """The offset that a position means.

    A point in time means the first offset whose timestamp is that or later, as in Kafka; the high
    watermark when there is none.

    Raises:
        InvalidPositionError: It is no position.
        OffsetOutOfRangeError: It is an offset below the log start or above the high watermark.
    """
    if isinstance(position, dt.datetime):
        found = first_since(catalog, reader, topic, partition, milliseconds(position))
        return catalog.high_watermark(topic.id, partition) if found is None else found[1]
    if position == "earliest":
        return catalog.log_start(topic.id, partition)
    if position == "latest":
        return catalog.high_watermark(topic.id, partition)
    offset = checked_offset(position)
    low = catalog.log_start(topic.id, partition)
    high = catalog.high_watermark(topic.id, partition)
    if not low <= offset <= high:
        raise OffsetOutOfRangeError(
            f"partition {partition} of {topic.name!r} has offsets {low} to {high - 1}, and the next"
            f" will be {high}; {offset} is out of range"
        )
    return offset


def resolve_end(
    catalog: Catalog, reader: BlockReader, topic: TopicInfo, partition: int, until: Position | str
) -> int:
    """The first offset not to be read. Whatever was meant, that is no more than what there is.

    Raises:
        InvalidPositionError: It is no position.
    """
    if until == "end":
        return catalog.high_watermark(topic.id, partition)
    if not isinstance(until, str | dt.datetime):
        return min(checked_offset(until), catalog.high_watermark(topic.id, partition))
    return resolve(catalog, reader, topic, partition, until)  # type: ignore[arg-type]


def trim_offsets(catalog: Catalog, reader: BlockReader, topic: TopicInfo, before: Any) -> dict[int, int]:
    """Where the partitions shall begin when what lies before a position is removed.

    Args:
        catalog: Where blocks are looked up.
        reader: Where they come from.
        topic: The topic.
        before: An offset per partition, ``"latest"``, or a point in time.

    Raises:
        InvalidPositionError: It is none of these.
        PartitionNotFoundError: There is no such partition.
        OffsetOutOfRangeError: An offset lies above the high watermark.
    """
    if isinstance(before, Mapping):
        offsets = {}
        for partition in checked_partitions(topic, before):
            offset = checked_offset(before[partition])
            high = catalog.high_watermark(topic.id, partition)
            if offset > high:
                raise OffsetOutOfRangeError(
                    f"the next offset of partition {partition} of {topic.name!r} is {high}; {offset} is"
                    " out of range"
                )
            offsets[partition] = offset
        return offsets
    if before != "latest" and not isinstance(before, dt.datetime):
        raise InvalidPositionError(
            f"before is a mapping from partition to offset, 'latest' or a datetime, not {before!r}"
        )
    numbers = range(topic.partitions)
    return {number: resolve(catalog, reader, topic, number, before) for number in numbers}


def position_for(positions: Positions, partition: int) -> Position:
    """The one of a partition.

    Raises:
        InvalidPositionError: There are positions for other partitions only.
    """
    if not isinstance(positions, Mapping):
        return positions
    if partition not in positions:
        raise InvalidPositionError(f"no position for partition {partition}, only for {sorted(positions)}")
    return positions[partition]


def checked_partitions(topic: TopicInfo, wanted: Iterable[int] | None) -> list[int]:
    """The partitions to read, all when nothing else is said.

    Raises:
        InvalidInputError: It is no list of partitions.
        PartitionNotFoundError: The topic has no such partition.
        InvalidInputError: These are no numbers at all.
    """
    if wanted is None:
        return list(range(topic.partitions))
    if not isinstance(wanted, Iterable):
        raise InvalidInputError(f"partitions are a list of numbers, not {wanted!r}")
    if not isinstance(wanted, Iterable):
        raise InvalidInputError(f"partitions is a list of numbers, not {wanted!r}")
    return list(dict.fromkeys([_checked_partition(topic, number) for number in wanted]))


def _checked_partition(topic: TopicInfo, number: Any) -> int:
    """As a plain number: it may be stored, where 0.0 and False would not be read back."""
    with suppress(TypeError):
        plain = whole_number(number)
        if 0 <= plain < topic.partitions:
            return plain
    raise PartitionNotFoundError(
        f"topic {topic.name!r} has partitions 0 to {topic.partitions - 1}, not {number!r}"
    )


def checked_offset(position: Any) -> int:
    """An offset, if that is what it is.

    Raises:
        InvalidPositionError: It is not.
    """
    with suppress(TypeError):
        offset = whole_number(position)
        if offset >= 0:
            return offset
    raise InvalidPositionError(
        "a position is 'earliest', 'latest', an offset from 0 on or a datetime,"
        f" not {describe_position(position)}"
    )


def milliseconds(time: dt.datetime) -> int:
    """The first whole millisecond since 1970 that is not before that time.

    Raises:
        InvalidPositionError: It has no time zone, so it could mean any of 24 hours.
    """
    if time.tzinfo is None:
        raise InvalidPositionError(
            f"{time.isoformat()} has no time zone; add tzinfo=datetime.timezone.utc or call"
            " .astimezone() to mean local time"
        )
    return -((_EPOCH - time) // _MILLISECOND)


def newest(catalog: Catalog, reader: BlockReader, topic: TopicInfo, partition: int) -> tuple[int, int] | None:
    """The largest timestamp, and the offset of the first record that has it.

    Where the record with the largest one was removed, the offset is that of another one with the largest that
    is left, for otherwise all blocks would have to be read.

    Raises:
        StreamhouseError: As from :meth:`~streamhouse.read.reader.BlockReader.fetch`.
    """
    log_start = catalog.log_start(topic.id, partition)

    def of_block(ref: BlockRef) -> tuple[int, int] | None:
        columns = reader.fetch(ref, f"partition {partition} of {topic.name!r}")
        begin = place(columns, ref.base_offset, log_start)
        stamps = list(int64s(columns.timestamps)[begin:])
        if not stamps:
            return None
        largest = max(stamps)
        return largest, offset_at(columns, ref.base_offset, begin + stamps.index(largest))

    times = catalog.times(topic.id, partition)
    reached = catalog.block_at_time(topic.id, partition, times[-1][1]) if times else None
    found = None if reached is None else of_block(reached)
    if found is not None and found[0] == times[-1][1]:
        return found
    for offset, largest_so_far in reversed(times):
        if found is not None and found[0] >= largest_so_far:
            break
        for ref in catalog.blocks(topic.id, partition, offset, 1):
            found = max(filter(None, (found, of_block(ref))), key=itemgetter(0), default=None)
    return found


def first_since(
    catalog: Catalog, reader: BlockReader, topic: TopicInfo, partition: int, timestamp_ms: int
) -> tuple[int, int] | None:
    """The first record with that timestamp or a later one: its timestamp and its offset.

    Raises:
        StreamhouseError: As from :meth:`~streamhouse.read.reader.BlockReader.fetch`.
    """
    log_start = catalog.log_start(topic.id, partition)
    first = catalog.block_at_time(topic.id, partition, timestamp_ms)
    offset = None if first is None else max(first.base_offset, log_start)
    while offset is not None:
        # One block as a rule. More only if the record that was found lies below the log start.
        refs = catalog.blocks(topic.id, partition, offset, _BLOCKS_LISTED)
        for ref in refs:
            columns = reader.fetch(ref, f"partition {partition} of {topic.name!r}")
            begin = place(columns, ref.base_offset, log_start)
            found = first_at_time(columns, begin, timestamp_ms)
            if found is not None:
                return int64s(columns.timestamps)[found], offset_at(columns, ref.base_offset, found)
        offset = refs[-1].next_offset if refs else None
    return None
