"""The state that the fold computes: plain data, no behaviour beyond look-ups and keeping it consistent.

Block references are kept as columns of numbers, nine machine arrays per partition instead of an object
per block: 100,000 blocks take about 7 MB, load from a snapshot with a ``memcpy`` each, and are found
by bisection.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from zlib import crc32

import msgspec

from streamhouse.commits.groups import GroupState
from streamhouse.config import TopicSettings
from streamhouse.format import names
from streamhouse.format.operations import OffsetEntry

HASH_BYTES = 16
HASHES_REMEMBERED = 256  # how far back a commit's witness can be checked
INLINE = -1  # lane ordinal of a block that lies in its commit; lower ones mean segments
_FIRST_SEGMENT = -2
_PART_BITS = 12  # lane objects of one flush: at most 4096


class BlockRef(msgspec.Struct, frozen=True, gc=False):
    """Where a block of a partition lies.

    Attributes:
        object_name: Object that holds it.
        position: Its first byte there.
        length: Bytes.
        base_offset: Offset of its first record.
        count: Offsets it spans.
        records: Records in it; fewer than offsets when some were compacted away.
        timestamp_max: Largest timestamp in this block or an earlier one of the partition, milliseconds.
    """

    object_name: str
    position: int
    length: int
    base_offset: int
    count: int
    records: int
    timestamp_max: int

    @property
    def next_offset(self) -> int:
        """The offset after its last record."""
        return self.base_offset + self.count


class PartitionState:
    """The blocks of one partition in order of offset.

    Attributes:
        log_start: Offset of the oldest record that may be read.
        high_watermark: Offset that the next record gets.
        cleaned: Ends of the compactions by key so far, oldest first: offset and time (milliseconds).
        claim: Who rewrites it now, and the commit in which it said so.
    """

    __slots__ = (
        "base_offsets",
        "claim",
        "cleaned",
        "counts",
        "high_watermark",
        "lanes",
        "lengths",
        "log_start",
        "objects",
        "positions",
        "raw_lengths",
        "timestamp_mins",
        "timestamps",
    )

    def __init__(self) -> None:
        self.log_start = 0
        self.high_watermark = 0
        self.cleaned: list[tuple[int, int]] = []
        self.claim: tuple[str, int] | None = None
        self.base_offsets = array("q")
        self.counts = array("q")  # records; fewer than offsets where there are gaps
        self.lanes = array("q")  # ordinal of the lane, INLINE, or _FIRST_SEGMENT - ordinal
        self.objects = array("q")  # commit, flush number and part, or number of the segment
        self.positions = array("q")
        self.lengths = array("q")
        self.raw_lengths = array("q")
        self.timestamps = array("q")  # running maximum, so that it can be bisected
        self.timestamp_mins = array("q")  # of each block; together they say which blocks a time range needs

    @property
    def stored_bytes(self) -> int:
        """Size of its blocks."""
        return sum(self.lengths)

    @property
    def raw_bytes(self) -> int:
        """Keys, values and headers before compression."""
        return sum(self.raw_lengths)

    @property
    def record_count(self) -> int:
        """Its records; an upper bound when the log start lies within a block that has gaps."""
        stored = sum(self.counts)
        first = self.base_offsets[0] if self.base_offsets else self.high_watermark
        gapless = stored == self.high_watermark - first
        return self.high_watermark - max(self.log_start, first) if gapless else stored

    def add(
        self,
        lane: int,
        obj: int,
        position: int,
        length: int,
        count: int,
        times: tuple[int, int],
        raw: int,
    ) -> None:
        """Append a block; its offsets follow the last one. ``times``: its smallest and largest timestamp."""
        timestamps = self.timestamps
        earliest, timestamp = times
        if timestamps and timestamps[-1] > timestamp:
            timestamp = timestamps[-1]
        self.base_offsets.append(self.high_watermark)
        self.counts.append(count)
        self.lanes.append(lane)
        self.objects.append(obj)
        self.positions.append(position)
        self.lengths.append(length)
        self.raw_lengths.append(raw)
        timestamps.append(timestamp)
        self.timestamp_mins.append(earliest)
        self.high_watermark += count

    def extend(self, other: PartitionState) -> int:
        """Append the blocks of another one; the offset that its first record gets."""
        base = self.high_watermark
        for index, count in enumerate(other.counts):
            self.add(
                other.lanes[index],
                other.objects[index],
                other.positions[index],
                other.lengths[index],
                count,
                (other.timestamp_mins[index], other.timestamps[index]),
                other.raw_lengths[index],
            )
        return base

    def trim(self, before: int) -> int:
        """Move the log start up to an offset; how many blocks went."""
        self.log_start = max(self.log_start, min(before, self.high_watermark))
        if self.log_start == self.high_watermark:
            gone = len(self.base_offsets)
        else:
            gone = self.index_of(self.log_start)
        for name in COLUMNS:
            del getattr(self, name)[:gone]
        return gone

    def splice(self, first: int, stop: int, other: PartitionState) -> None:
        """Put the blocks of another one in the place of those with index ``first`` up to ``stop``."""
        before = self.timestamps[first - 1] if first else -(1 << 63)
        other.timestamps = array("q", accumulate(other.timestamps, max, initial=before))[1:]
        for name in COLUMNS:
            getattr(self, name)[first:stop] = getattr(other, name)

    def span(self, first: int, stop: int) -> range | None:
        """Indices of the blocks that hold exactly the offsets from ``first`` up to ``stop``.

        ``None``: no blocks begin and end there.
        """
        bases = self.base_offsets
        begin = bisect_left(bases, first)
        end = len(bases) if stop == self.high_watermark else bisect_left(bases, stop)
        if begin >= end or bases[begin] != first or (end < len(bases) and bases[end] != stop):
            return None
        return range(begin, end)

    def fingerprint(self, indices: range) -> int:
        """A number that changes when the blocks with these indices are others."""
        window = slice(indices.start, indices.stop)
        crc = 0
        for name in ("base_offsets", "lanes", "objects", "positions"):
            crc = crc32(getattr(self, name)[window].tobytes(), crc)
        return crc

    def index_of(self, offset: int) -> int:
        """Index of the block that holds ``offset``, or of the next one after it."""
        if offset >= self.high_watermark:
            return len(self.base_offsets)
        return max(0, bisect_right(self.base_offsets, offset) - 1)

    def index_at_time(self, timestamp_ms: int) -> int:
        """Index of the first block with a record at or after that time."""
        return bisect_left(self.timestamps, timestamp_ms)


COLUMNS = (
    "base_offsets",
    "counts",
    "lanes",
    "objects",
    "positions",
    "lengths",
    "raw_lengths",
    "timestamps",
    "timestamp_mins",
)


class TopicState:
    """A topic; partitions without records take no memory."""

    __slots__ = ("created_ms", "id", "name", "partition_count", "partitions", "settings")

    def __init__(
        self, id_: int, name: str, partition_count: int, created_ms: int, settings: TopicSettings
    ) -> None:
        self.id = id_
        self.name = name
        self.partition_count = partition_count
        self.created_ms = created_ms
        self.settings = settings
        self.partitions: dict[int, PartitionState] = {}


class ProducerState:
    """What is remembered of a producer: per (topic, partition), its last batches.

    A batch is ``(first sequence, records, base offset)``, newest last.
    """

    __slots__ = ("batches", "epoch")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: dict[tuple[int, int], list[tuple[int, int, int]]] = {}


class NamedProducer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Who has a transactional id now.

    Attributes:
        identity: Its producer's identity.
        epoch: How often the name was taken over; older ones are fenced.
        ended: Transactions that came bit by bit and have ended since then. A piece of an earlier one that
            lands late is told by that.
        timeout_ms: How long such a transaction may be open; 0: for ever.
    """

    identity: int
    epoch: int
    ended: int = 0
    timeout_ms: int = 0

    def is_now(self, identity: int, epoch: int) -> bool:
        """Whether it is that producer, and no newer one."""
        return self.identity == identity and self.epoch == epoch


class OpenTransaction:
    """What a named producer has added to its transaction so far.

    Attributes:
        began_ms: When it was opened, by the clock of who did.
        partitions: The blocks, per topic and partition; their offsets count from 0.
        offsets: Of groups.
    """

    __slots__ = ("began_ms", "offsets", "partitions")

    def __init__(self, began_ms: int) -> None:
        self.began_ms = began_ms
        self.partitions: dict[tuple[int, int], PartitionState] = {}
        self.offsets: dict[str, dict[tuple[int, int], OffsetEntry]] = {}

    @property
    def block_count(self) -> int:
        """How many blocks it has."""
        return sum(len(partition.counts) for partition in self.partitions.values())

    def forget_topic(self, topic: int) -> int:
        """Drop what was added for a topic that was deleted; how many blocks that were."""
        before = self.block_count
        self.partitions = {place: p for place, p in self.partitions.items() if place[0] != topic}
        for offsets in self.offsets.values():
            for place in [place for place in offsets if place[0] == topic]:
                del offsets[place]
        return before - self.block_count


class LaneState:
    """How far the flushes, or the segments, of one agent have been applied."""

    __slots__ = ("next_number", "ordinal", "sealed")

    def __init__(self, ordinal: int, next_number: int, sealed: bool) -> None:
        self.ordinal = ordinal
        self.next_number = next_number
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
        self.named_producers: dict[str, NamedProducer] = {}  # by transactional id
        self.transactions: dict[str, OpenTransaction] = {}  # by transactional id
        self.groups: dict[str, GroupState] = {}
        self.entries: dict[str, tuple[int, bytes]] = {}  # named values, each with the commit that set it
        self.lanes: dict[str, LaneState] = {}
        self.agents: list[str] = []  # by lane ordinal
        self.block_count = 0

    def lane(self, agent: str) -> LaneState:
        """The lane of an agent; a new one if it was never heard of."""
        lane = self.lanes.get(agent)
        if lane is None:
            lane = self.lanes[agent] = LaneState(len(self.agents), 0, sealed=False)
            self.agents.append(agent)
        return lane

    def partitions(self) -> Iterator[PartitionState]:
        """Everything that refers to blocks."""
        for topic in self.topics.values():
            yield from topic.partitions.values()
        for transaction in self.transactions.values():
            yield from transaction.partitions.values()

    def replace(self, other: State) -> None:
        """Become another state; whoever holds this object sees the new one."""
        # Not `self.__dict__ = other.__dict__`: when the other one dies in a cycle, Python 3.13 lets the
        # garbage collector empty what is in a shared one (python/cpython#130327).
        for name, value in vars(other).items():
            setattr(self, name, value)

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
            records=partition.counts[index],
            timestamp_max=partition.timestamps[index],
        )

    def object_name(self, lane: int, obj: int) -> str:
        """The object that a pair of reference columns means."""
        if lane == INLINE:
            return names.commit(obj)
        if lane <= _FIRST_SEGMENT:
            return names.segment(self.agents[_FIRST_SEGMENT - lane], obj)
        return names.lane(self.agents[lane], obj >> _PART_BITS, obj & ((1 << _PART_BITS) - 1))


def inline_object(seq: int) -> tuple[int, int]:
    """Reference columns of a block inside commit ``seq``."""
    return INLINE, seq


def lane_object(ordinal: int, number: int, part: int) -> tuple[int, int]:
    """Reference columns of a block in a lane."""
    return ordinal, number << _PART_BITS | part


def segment_object(ordinal: int, number: int) -> tuple[int, int]:
    """Reference columns of a block in a segment."""
    return _FIRST_SEGMENT - ordinal, number


LANE_PARTS_MAX = 1 << _PART_BITS
