"""Transactions, named producers and segments in the fold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamhouse.commits.fold import Code
from streamhouse.commits.state import State
from streamhouse.format.commit import Segment
from streamhouse.format.operations import (
    Append,
    AppendPart,
    CommitOffsets,
    CreateTopic,
    InitProducer,
    JoinGroup,
    OffsetEntry,
    SealLane,
    Transaction,
)
from tests.commits.folding import block, check_state, content, do_one

PRODUCER = 5


def started() -> State:
    state = State()
    for name in "xy":
        do_one(state, CreateTopic(name, 2))
    do_one(state, JoinGroup("g", "m1", "p", "", "range", 1000, (1,)))
    do_one(state, InitProducer("tx", PRODUCER))
    return state


appends = st.lists(
    st.builds(
        lambda topic, partition, sequence, first: Append(
            topic, PRODUCER, 0, (AppendPart(partition, sequence, first, 1),)
        ),
        st.integers(1, 3),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    max_size=3,
).map(tuple)
offsets = st.lists(
    st.builds(
        lambda member, partition, offset: CommitOffsets("g", member, 1, (OffsetEntry(1, partition, offset),)),
        st.sampled_from(["m1", "m1", "m2"]),
        st.integers(0, 2),
        st.integers(0, 9),
    ),
    max_size=2,
).map(tuple)
transactions = st.builds(
    Transaction,
    st.sampled_from(["", "tx", "ty"]),
    st.just(PRODUCER),
    st.sampled_from([0, 0, 1]),
    appends,
    offsets,
)


@given(st.lists(transactions, min_size=1, max_size=8))
def test_all_of_a_transaction_counts_or_nothing(history: list[Transaction]) -> None:
    state = started()
    blocks = tuple(block(count) for count in (1, 2, 3))
    for operation in history:
        before = content(state)
        ends = high_watermarks(state)
        verdict = do_one(state, operation, blocks=blocks)
        check_state(state)
        if verdict.code is not Code.ACCEPTED:
            assert content(state) == before
            continue
        parts = [(each.topic, part) for each in operation.appends for part in each.parts]
        for (topic, part), base in zip(parts, verdict.values, strict=True):
            assert base == ends.get((topic, part.partition), 0)
            ends[topic, part.partition] = base + blocks[part.first_block].count
        assert high_watermarks(state) == ends
        committed = {(e.topic, e.partition): e.offset for each in operation.offsets for e in each.offsets}
        assert all(state.groups["g"].offsets[place].offset == o for place, o in committed.items())


def high_watermarks(state: State) -> dict[tuple[int, int], int]:
    return {
        (topic.id, number): partition.high_watermark
        for topic in state.topics.values()
        for number, partition in topic.partitions.items()
    }


def one_record(sequence: int, epoch: int, name: str = "tx", topic: int = 1) -> Transaction:
    append = Append(topic, PRODUCER, epoch, (AppendPart(0, sequence, 0, 1),))
    return Transaction(name, PRODUCER, epoch, (append,), ())


def test_a_transaction_that_is_put_again_is_answered_with_its_offsets() -> None:
    state = started()
    assert do_one(state, one_record(0, 0), blocks=(block(),)).values == (0,)
    again = do_one(state, one_record(0, 0), blocks=(block(),))
    assert (again.code, again.values) == (Code.DUPLICATE, (0,))


@given(st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=12))
def test_a_newer_producer_of_the_name_fences_the_older_ones(history: list[int | None]) -> None:
    """``None`` takes the name over, a number is a transaction of that epoch."""
    state = started()
    epoch = 0
    written = dict.fromkeys(range(5), 0)
    for step in history:
        if step is None:
            epoch += 1
            assert do_one(state, InitProducer("tx", PRODUCER)).values == (PRODUCER, epoch)
            continue
        verdict = do_one(state, one_record(written[step], step), blocks=(block(),))
        assert verdict.code is (Code.ACCEPTED if step == epoch else Code.FENCED)
        written[step] += step == epoch
    assert do_one(state, one_record(0, 0, name="nobody"), blocks=(block(),)).code is Code.FENCED


def test_an_older_producer_does_not_take_the_name_back() -> None:
    state = started()
    assert do_one(state, InitProducer("tx", PRODUCER, again=True)).values == (PRODUCER, 1)
    assert do_one(state, one_record(0, 0), blocks=(block(),)).code is Code.FENCED
    assert do_one(state, InitProducer("tx", 77)).values == (77, 2)
    assert do_one(state, InitProducer("tx", PRODUCER, again=True)).code is Code.FENCED
    assert do_one(state, one_record(0, 1), blocks=(block(),)).code is Code.FENCED
    assert do_one(state, InitProducer("tx", 77, again=True)).values == (77, 3)


@given(
    st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True), max_size=8), st.integers(0, 8)
)
def test_segments_are_used_in_order_and_once_and_not_after_the_seal(uses: list[list[int]], seal: int) -> None:
    state = started()
    following = 0
    for turn, numbers in enumerate(uses):
        if turn == seal:
            do_one(state, SealLane("u1"))
        segments = tuple(Segment("u1", number, 40) for number in numbers)
        blocks = tuple(block(part=-1 - index) for index in range(len(numbers)))
        operation = Append(1, -1, 0, (AppendPart(0, 0, 0, len(numbers)),))
        before = content(state)
        verdict = do_one(state, operation, blocks=blocks, segments=segments)
        good = min(numbers) >= following and turn < seal
        assert verdict.code is (Code.ACCEPTED if good else Code.EXPIRED)
        following = max(following, max(numbers) + 1)
        assert state.lanes["u1"].next_number == following
        if not good:
            assert content(state) == before
        check_state(state)


def test_a_block_in_a_segment_is_found_there() -> None:
    state = started()
    operation = Append(1, -1, 0, (AppendPart(0, 0, 0, 1),))
    do_one(state, operation, blocks=(block(part=-1, position=8),), segments=(Segment("u1", 3, 40),))
    ref = state.block_ref(state.topics[1].partitions[0], 0)
    assert (ref.object_name, ref.position) == ("seg/u1/000000000003", 48)
