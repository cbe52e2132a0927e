"""Replacing and trimming in the fold, against a list of records."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streamhouse.commits.fold import Code
from streamhouse.commits.state import PartitionState, State
from streamhouse.format.commit import BlockEntry, Segment
from streamhouse.format.operations import (
    Append,
    AppendPart,
    ClaimCompaction,
    Cleaned,
    CreateTopic,
    Replace,
    Trim,
)
from tests.commits.folding import block, check_state, content, do_one

Records = list[tuple[int, int]]  # offset and what it holds


class Partition:
    """A partition in the state, the records it should hold, and what lies in the store."""

    def __init__(self) -> None:
        self.state = State()
        self.records: Records = []
        self.stored: dict[tuple[str, int], Records] = {}
        self._segments = 0
        do_one(self.state, CreateTopic("t", 1))
        self.append([1])

    @property
    def there(self) -> PartitionState:
        return self.state.topics[1].partitions[0]

    def append(self, counts: list[int], timestamp: int = 0) -> None:
        blocks = tuple(block(count, position=10 * i, timestamp=timestamp) for i, count in enumerate(counts))
        verdict = do_one(self.state, Append(1, -1, 0, (AppendPart(0, 0, 0, len(counts)),)), blocks=blocks)
        offset = verdict.values[0]
        for index, count in enumerate(counts):
            new = [(each, each + 1000) for each in range(offset, offset + count)]
            self.stored[f"log/{self.state.seq:020d}", 64 + 10 * index] = new
            self.records += new
            offset += count

    def read(self) -> Records:
        refs = [self.state.block_ref(self.there, index) for index in range(len(self.there.base_offsets))]
        found = [(ref, self.stored[ref.object_name, ref.position]) for ref in refs]
        for ref, records in found:
            assert ref.records == len(records)
            assert all(ref.base_offset <= offset < ref.next_offset for offset, _ in records)
        return [record for _, records in found for record in records if record[0] >= self.there.log_start]

    def rewrite(self, first: int, stop: int, keep: set[int], sizes: list[int]) -> Replace:
        """Blocks from index ``first`` up to ``stop`` with some of their records, cut anew."""
        span = range(first, stop)
        refs = [self.state.block_ref(self.there, index) for index in span]
        begin, end = refs[0].base_offset, refs[-1].next_offset
        kept = [
            record
            for ref in refs
            for record in self.stored[ref.object_name, ref.position]
            if record[0] % 7 not in keep
        ]
        self.chunks: list[Records] = []
        for size in sizes * len(kept):
            if kept:
                self.chunks.append(kept[:size])
                kept = kept[size:]
        bases = tuple(chunk[0][0] for chunk in self.chunks)
        return Replace(1, 0, begin, end, self.there.fingerprint(span), bases, 0)

    def carry_out(self, operation: Replace) -> Code:
        """Upload what was made last, and propose it."""
        name = f"seg/u1/{self._segments:012d}"
        segment = Segment("u1", self._segments, 20)
        self._segments += 1
        blocks: list[BlockEntry] = []
        for number, chunk in enumerate(self.chunks):
            self.stored[name, 20 + 10 * number] = chunk
            blocks.append(block(len(chunk), part=-1, position=10 * number, timestamp=-9))
        code = do_one(self.state, operation, blocks=tuple(blocks), segments=(segment,)).code
        if code is Code.ACCEPTED:
            new = dict(record for chunk in self.chunks for record in chunk)
            self.records = [
                (offset, value)
                for offset, value in self.records
                if not operation.first <= offset < operation.stop or offset in new
            ]
        return code


steps = st.one_of(
    st.tuples(st.just("append"), st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(-5, 5)),
    st.tuples(
        st.just("replace"),
        st.integers(0, 9),
        st.integers(1, 9),
        st.sets(st.integers(0, 6), max_size=7),
        st.lists(st.integers(1, 5), min_size=1, max_size=3),
        st.booleans(),
    ),
    st.tuples(st.just("trim"), st.integers(0, 40)),
)


@settings(max_examples=200)
@given(st.lists(steps, max_size=15))
def test_what_is_read_is_what_was_written_and_not_taken_away(history: list[tuple]) -> None:
    partition = Partition()
    for step, *arguments in history:
        if step == "append":
            partition.append(*arguments)
        elif step == "trim":
            do_one(partition.state, Trim(1, ((0, arguments[0]),)))
            start = min(arguments[0], partition.there.high_watermark)
            partition.records = [record for record in partition.records if record[0] >= start]
        elif partition.there.base_offsets:
            replace(partition, *arguments)
        check_state(partition.state)
        assert partition.read() == [r for r in partition.records if r[0] >= partition.there.log_start]


def replace(partition: Partition, at: int, count: int, drop: set[int], sizes: list[int], twice: bool) -> None:
    total = len(partition.there.base_offsets)
    first = at % total
    operation = partition.rewrite(first, min(first + count, total), drop, sizes)
    assert partition.carry_out(operation) is Code.ACCEPTED
    if twice:
        before = content(partition.state)
        assert partition.carry_out(operation) is Code.STALE
        assert content(partition.state) == before


def test_what_was_trimmed_while_it_was_rewritten_stays_away() -> None:
    partition = Partition()
    partition.append([2, 2, 2])
    operation = partition.rewrite(0, 4, set(), [7])
    do_one(partition.state, Trim(1, ((0, 3),)))
    assert partition.carry_out(operation) is Code.STALE
    assert [offset for offset, _ in partition.read()] == [3, 4, 5, 6]


def test_a_piece_that_lies_before_the_log_start_is_forgotten() -> None:
    partition = Partition()
    partition.append([2])
    do_one(partition.state, Trim(1, ((0, 2),)))
    assert partition.carry_out(partition.rewrite(0, 1, set(), [1])) is Code.ACCEPTED
    assert list(partition.there.base_offsets) == [2]
    assert partition.state.block_count == 1
    check_state(partition.state)


def test_times_stay_in_order_when_the_first_blocks_are_older_than_1970() -> None:
    partition = Partition()
    do_one(partition.state, Trim(1, ((0, 1),)))
    partition.append([1, 1], timestamp=-5)
    partition.append([1], timestamp=-3)
    assert partition.carry_out(partition.rewrite(0, 2, set(), [2])) is Code.ACCEPTED
    assert list(partition.there.timestamps) == [-9, -3]


def test_new_blocks_cannot_be_younger_than_those_they_replace() -> None:
    partition = Partition()
    partition.append([1])
    operation = partition.rewrite(0, 1, set(), [1])
    segments = (Segment("u1", 0, 20),)
    blocks = (block(part=-1, timestamp=99),)
    assert do_one(partition.state, operation, blocks=blocks, segments=segments).code is Code.INVALID
    check_state(partition.state)


def test_one_worker_at_a_time() -> None:
    partition = Partition()
    first = do_one(partition.state, ClaimCompaction(1, 0, "w", 0))
    assert first.code is Code.ACCEPTED
    claimed = do_one(partition.state, ClaimCompaction(1, 0, "v", 0))
    assert claimed.code is Code.CLAIMED
    assert do_one(partition.state, ClaimCompaction(1, 0, "v", claimed.values[0])).code is Code.ACCEPTED
    assert do_one(partition.state, Cleaned(1, 0, "w", 0)).code is Code.ACCEPTED  # not its claim any more
    assert partition.there.claim is not None
    assert partition.there.claim[0] == "v"
    assert do_one(partition.state, Cleaned(1, 0, "v", 1)).code is Code.ACCEPTED
    assert partition.there.claim is None
    assert partition.there.cleaned[-1][0] == 1
