"""Ends of partitions are exact whatever was trimmed, put together or removed, and read what they must."""

from __future__ import annotations

import random
from array import array
from itertools import pairwise

import pytest

from streamhouse.commits.state import BlockRef, PartitionState, State
from streamhouse.format.columns import Columns, null_column
from streamhouse.sql.ends import Ends, ends_of
from streamhouse.sql.snapshot import PartitionView

ALL = frozenset(("records", "offset", "timestamp"))
_SEGMENT = -2  # lane of blocks that were rewritten


class Partition:
    """A partition and the records of its blocks: offsets and times."""

    def __init__(self) -> None:
        self.state = PartitionState()
        self.read: list[int] = []  # base offsets of the blocks that were looked at
        self._blocks: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
        self._rewritten = 0

    def add(self, *times: int) -> None:
        """A block as it was written."""
        records = list(enumerate(times, self.state.high_watermark))
        self._put(self.state, (0, len(self._blocks), 0), records)

    def rewrite(self, first: int, stop: int, *cuts: int, gone: frozenset[int] = frozenset()) -> None:
        """Put blocks together, cut again at some offsets, without some records."""
        kept = [each for at in range(first, stop) for each in self._records(at) if each[0] not in gone]
        end = self._base(stop)
        other = PartitionState()
        self._rewritten += 1
        edges = [0, *sorted(cuts), end]
        for position, (low, high) in enumerate(pairwise(edges)):
            records = [each for each in kept if low <= each[0] < high]
            if records:
                other.high_watermark = max(self._base(first), low) if not position else records[0][0]
                self._put(other, (_SEGMENT, self._rewritten, position), records)
        self.state.splice(first, stop, other)
        self.state.trim(self.state.log_start)

    def ends(self, columns: frozenset[str] = ALL) -> Ends | None:
        """What is said of it."""
        state = State()
        state.agents = ["agent"]
        self.read.clear()
        return ends_of(PartitionView(state, 0, self.state), columns, self._block)

    def true_ends(self) -> Ends | None:
        """The same, counted."""
        left = [
            each
            for at in range(len(self.state.counts))
            for each in self._records(at)
            if each[0] >= self.state.log_start
        ]
        if not left:
            return None
        offsets, times = zip(*left, strict=True)
        return Ends(len(left), (offsets[0], offsets[-1]), (min(times), max(times)))

    def _put(
        self, state: PartitionState, place: tuple[int, int, int], records: list[tuple[int, int]]
    ) -> None:
        times = [time for _, time in records]
        self._blocks[place] = records
        state.add(*place, 1, len(records), (min(times), max(times)), 1)

    def _base(self, index: int) -> int:
        bases = self.state.base_offsets
        return bases[index] if index < len(bases) else self.state.high_watermark

    def _records(self, index: int) -> list[tuple[int, int]]:
        state = self.state
        return self._blocks[state.lanes[index], state.objects[index], state.positions[index]]

    def _block(self, ref: BlockRef, _columns: frozenset[str]) -> Columns:
        self.read.append(ref.base_offset)
        records = self._records(self.state.base_offsets.index(ref.base_offset))
        offsets, times = zip(*records, strict=True)
        nulls = null_column(len(records))
        deltas = array("q", [offset - ref.base_offset for offset in offsets]).tobytes()
        return Columns(
            len(records), array("q", times).tobytes(), min(times), max(times), nulls, nulls, None, deltas
        )


@pytest.mark.parametrize("seed", range(60))
def test_ends_are_exact(seed: int) -> None:
    dice = random.Random(seed)
    partition = Partition()
    for step in range(60):
        now = 10 * step
        late = dice.choice([0, 0, 0, 500])
        count = dice.randint(1, 4)
        partition.add(*(now + late * (dice.random() < 0.2) + dice.randrange(20) for _ in range(count)))
        state = partition.state
        if dice.random() < 0.15:
            state.trim(dice.randint(state.log_start, state.high_watermark))
        if dice.random() < 0.3 and state.counts:
            first = dice.randrange(len(state.counts))
            stop = dice.randint(first + 1, min(len(state.counts), first + 6))
            offsets = range(state.base_offsets[first], state.high_watermark)
            gone = [offset for offset in offsets if dice.random() < 0.4] if dice.random() < 0.5 else []
            partition.rewrite(first, stop, *dice.choices(offsets, k=2), gone=frozenset(gone))
        assert partition.ends() == partition.true_ends()


def test_what_lost_no_record_is_not_read() -> None:
    partition = Partition()
    for time in (5, 900, 7, 8):
        partition.add(time, time + 1)
    partition.rewrite(0, 2, 2)
    partition.rewrite(2, 3)
    assert partition.ends() == Ends(8, (0, 7), (5, 901))
    assert partition.read == []


def test_what_was_only_trimmed_is_not_read_where_times_rise() -> None:
    partition = Partition()
    for time in range(10):
        partition.add(time, time)
    partition.state.trim(6)
    assert partition.ends() == Ends(14, (6, 19), (3, 9))
    assert partition.read == []
    partition.rewrite(0, 7, 10, 14)
    assert partition.ends() == Ends(14, (6, 19), (3, 9))
    assert partition.read == []
    partition.add(10, 10)
    assert partition.ends() == Ends(16, (6, 21), (3, 10))
    assert partition.read == [20]  # the one before may have been above it once


def test_a_time_that_was_trimmed_lives_on_in_later_blocks() -> None:
    partition = Partition()
    for time in (900, 1, 2, 3):
        partition.add(time)
    partition.state.trim(1)
    partition.rewrite(0, 2)
    assert list(partition.state.timestamps) == [2, 900]
    assert partition.ends() == Ends(3, (1, 3), (1, 3))
    assert partition.read == [3]


def test_the_time_of_a_removed_record_lives_on_in_later_blocks() -> None:
    partition = Partition()
    for times in ((1, 900), (2, 3), (4, 5), (6, 7)):
        partition.add(*times)
    partition.rewrite(0, 2, gone=frozenset([1]))
    assert partition.ends() == Ends(7, (0, 7), (1, 7))
    assert partition.read == [0, 6, 4]  # the first for its offset
    partition.rewrite(1, 2, gone=frozenset([4, 5]))  # and leaves two blocks side by side as they were written
    assert partition.ends() == Ends(5, (0, 7), (1, 7))
