"""The state that the fold computes: plain data, no behaviour beyond look-ups.

Block references are kept as columns of numbers, six machine arrays per partition instead of an object
per block: 100,000 blocks take about 5 MB, load from a snapshot with a ``memcpy`` each, and are found
by bisection.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque

import msgspec

from streamhouse.format import names

HASH_BYTES = 16
HASHES_REMEMBERED = 256  # how far back a commit's witness can be checked
_INLINE = -1  # lane ordinal of a block that lies in its commit
_PART_BITS = 12  # lane objects of one flush: at most 4096


class BlockRef(msgspec.Struct, frozen=True, gc=False):
    """Where a block of a partition lies.

    Attributes:
        object_name: Object that holds it.
        position: Its first byte there.
        length: Bytes.
        base_offset: Offset of its first record.
        count: Offsets it spans.
        timestamp_max: Largest timestamp in this block or an earlier one of the partition, milliseconds.
    """

    object_name: str
    position: int
    length: int
    base_offset: int
    count: int
    timestamp_max: int

    @property
    def next_offset(self) -> int:
        """The offset after its last record."""
        return self.base_offset + self.count


class PartitionState:
    """The blocks of one partition in order of offset."""

    __slots__ = (
        "base_offsets",
        "high_watermark",
        "lanes",
        "lengths",
        "log_start",
        "objects",
        "positions",
        "raw_bytes",
        "stored_bytes",
        "timestamps",
    )

    def __init__(self) -> None:
        self.log_start = 0
        self.high_watermark = 0
        self.stored_bytes = 0
        self.raw_bytes = 0
        self.base_offsets = array("q")
        self.lanes = array("q")  # ordinal of the lane, or _INLINE
        self.objects = array("q")  # commit, or flush number and part
        self.positions = array("q")
        self.lengths = array("q")
        self.timestamps = array("q")  # running maximum, so that it can be bisected

    def add(
        self, lane: int, obj: int, position: int, length: int, count: int, timestamp: int, raw: int
    ) -> None:
        """Append a block; its offsets follow the last one."""
        timestamps = self.timestamps
        if timestamps and timestamps[-1] > timestamp:
            timestamp = timestamps[-1]
        self.base_offsets.append(self.high_watermark)
        self.lanes.append(lane)
        self.objects.append(obj)
        self.positions.append(position)
        self.lengths.append(length)
        timestamps.append(timestamp)
        self.high_watermark += count
        self.stored_bytes += length
        self.raw_bytes += raw

    def index_of(self, offset: int) -> int:
        """Index of the block that holds ``offset``, or of the next one after it."""
        if offset >= self.high_watermark:
            return len(self.base_offsets)
        return max(0, bisect_right(self.base_offsets, offset) - 1)

    def index_at_time(self, timestamp_ms: int) -> int:
        """Index of the first block with a record at or after that time."""
        return bisect_left(self.timestamps, timestamp_ms)


class TopicState:
    """A topic; partitions without records take no memory."""

    __slots__ = ("created_ms", "created_seq", "id", "name", "partition_count", "partitions")

    def __init__(self, id_: int, name: str, partition_count: int, created_ms: int, created_seq: int) -> None:
        self.id = id_
        self.name = name
        self.partition_count = partition_count
        self.created_ms = created_ms
        self.created_seq = created_seq
        self.partitions: dict[int, PartitionState] = {}


class ProducerState:
    """What is remembered of a producer: per (topic, partition), its last batches.

    A batch is ``(first sequence, records, base offset)``, newest last.
    """

    __slots__ = ("batches", "epoch")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: dict[tuple[int, int], list[tuple[int, int, int]]] = {}


class LaneState:
    """How far the flushes of one agent have been applied."""

    __slots__ = ("last_seq", "next_number", "ordinal", "sealed")

    def __init__(self, ordinal: int, next_number: int, last_seq: int, sealed: bool) -> None:
        self.ordinal = ordinal
        self.next_number = next_number
        self.last_seq = last_seq
        self.sealed = sealed


class State:
    """Everything that the commits up to ``seq`` amount to."""

    def __init__(self) -> None:
        self.seq = names.FIRST_SEQ - 1
        self.hash = bytes(HASH_BYTES)
        self.hashes: deque[bytes] = deque([self.hash], maxlen=HASHES_REMEMBERED)
        self.snapshot_seq = self.seq
        self.next_topic_id = 1
        self.topics: dict[int, TopicState] = {}
        self.topic_ids: dict[str, int] = {}
        self.producers: dict[int, ProducerState] = {}  # least recently used first
        self.lanes: dict[str, LaneState] = {}
        self.agents: list[str] = []  # by lane ordinal
        self.block_count = 0

    def replace(self, other: State) -> None:
        """Become another state; whoever holds this object sees the new one."""
        self.__dict__ = other.__dict__

    def hash_at(self, seq: int) -> bytes | None:
        """The state hash at a recent commit, or ``None`` when it is no longer remembered."""
        back = self.seq - seq
        return self.hashes[-1 - back] if 0 <= back < len(self.hashes) else None

    def block_ref(self, partition: PartitionState, index: int) -> BlockRef:
        """The reference to a partition's block number ``index``."""
        bases = partition.base_offsets
        base = bases[index]
        end = bases[index + 1] if index + 1 < len(bases) else partition.high_watermark
        return BlockRef(
            object_name=self.object_name(partition.lanes[index], partition.objects[index]),
            position=partition.positions[index],
            length=partition.lengths[index],
            base_offset=base,
            count=end - base,
            timestamp_max=partition.timestamps[index],
        )

    def object_name(self, lane: int, obj: int) -> str:
        """The object that a pair of reference columns means."""
        if lane == _INLINE:
            return names.commit(obj)
        return names.lane(self.agents[lane], obj >> _PART_BITS, obj & ((1 << _PART_BITS) - 1))


def inline_object(seq: int) -> tuple[int, int]:
    """Reference columns of a block inside commit ``seq``."""
    return _INLINE, seq


def lane_object(ordinal: int, number: int, part: int) -> tuple[int, int]:
    """Reference columns of a block in a lane."""
    return ordinal, number << _PART_BITS | part


LANE_PARTS_MAX = 1 << _PART_BITS
