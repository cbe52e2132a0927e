"""Transactions that come bit by bit: nobody sees anything of them until they end, and then all of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamhouse.commits.fold import Code, Verdict
from streamhouse.commits.state import INLINE, NamedProducer, State
from streamhouse.format.operations import (
    AddToTransaction,
    Append,
    AppendPart,
    CommitOffsets,
    CreateTopic,
    DeleteTopic,
    EndTransaction,
    InitProducer,
    OffsetEntry,
)
from tests.commits.folding import block, check_state, content, do_one

PRODUCER = 5
BLOCKS = tuple(block(count) for count in (1, 2, 3))


def started() -> State:
    state = State()
    for name in "xy":
        do_one(state, CreateTopic(name, 2))
    do_one(state, InitProducer("tx", PRODUCER))
    return state


def add(
    state: State,
    topic: int,
    partition: int,
    sequence: int,
    blocks: int = 1,
    epoch: int = 0,
    number: int = 0,
    **more: int,
) -> Verdict:
    append = Append(topic, PRODUCER, epoch, (AppendPart(partition, sequence, 0, blocks),))
    offsets = tuple(
        CommitOffsets(group, "", 0, (OffsetEntry(topic, partition, offset),))
        for group, offset in more.items()
    )
    operation = AddToTransaction("tx", PRODUCER, epoch, (append,), offsets, number)
    return do_one(state, operation, blocks=BLOCKS)


def end(state: State, *, commit: bool, epoch: int = 0, number: int = 0, fence: bool = False) -> Verdict:
    return do_one(state, EndTransaction("tx", PRODUCER, epoch, number, commit, fence))


def ends(state: State) -> dict[tuple[int, int], int]:
    return {
        (topic.id, number): partition.high_watermark
        for topic in state.topics.values()
        for number, partition in topic.partitions.items()
    }


steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([1, 2]), st.sampled_from([0, 1]), st.integers(1, 3)),
        st.sampled_from(["commit", "commit", "abort", "take over", "again"]),
    ),
    max_size=25,
)


@given(steps)
def test_all_of_it_or_nothing(history: list) -> None:
    state = started()
    epoch = number = 0
    sequences: dict[tuple[int, int], int] = {}
    aside: dict[tuple[int, int], int] = {}
    there: dict[tuple[int, int], int] = {}
    last: tuple | None = None
    for step in history:
        if isinstance(step, tuple):
            topic, partition, blocks = step
            records = sum(each.count for each in BLOCKS[:blocks])
            last = (topic, partition, sequences.get((topic, partition), 0), blocks, epoch, number)
            assert add(state, *last, g=7).code is Code.ACCEPTED
            for counts in (sequences, aside):
                counts[topic, partition] = counts.get((topic, partition), 0) + records
        elif step == "again":
            if last is not None:
                before = content(state)
                assert add(state, *last, g=7).code is Code.DUPLICATE
                assert content(state) == before
        elif step == "take over":
            epoch, number = epoch + 1, 0
            assert do_one(state, InitProducer("tx", PRODUCER)).values == (PRODUCER, epoch)
            last, sequences, aside = None, {}, {}
        else:
            verdict = end(state, commit=step == "commit", epoch=epoch, number=number)
            number += 1
            last = None
            if step == "commit":
                assert verdict.values == tuple(there.get(place, 0) for place in aside)
                for place, records in aside.items():
                    there[place] = there.get(place, 0) + records
                for place in aside:
                    assert state.groups["g"].offsets[place].offset == 7
            aside = {}
        assert ends(state) == there
        assert ("tx" in state.transactions) == bool(aside)
        check_state(state)


def test_what_lands_late_has_no_effect() -> None:
    state = started()
    add(state, 1, 0, 0)
    assert end(state, commit=True).values == (0,)
    before = content(state)
    assert end(state, commit=True).code is Code.STALE
    assert end(state, commit=False, fence=True).code is Code.STALE
    assert add(state, 1, 0, 0).code is Code.STALE
    offsets = CommitOffsets("g", "", 0, (OffsetEntry(1, 0, 3),))
    assert do_one(state, AddToTransaction("tx", PRODUCER, 0, (), (offsets,), 0)).code is Code.STALE
    assert content(state) == before
    assert add(state, 1, 0, 1, number=1).code is Code.ACCEPTED
    assert end(state, commit=False).code is Code.STALE
    assert end(state, commit=True, number=1).values == (1,)
    check_state(state)


def test_others_are_fenced() -> None:
    state = started()
    add(state, 1, 0, 0)
    do_one(state, InitProducer("tx", 6))
    before = content(state)
    assert add(state, 1, 0, 1).code is Code.FENCED
    assert end(state, commit=True).code is Code.FENCED
    assert content(state) == before
    assert not state.transactions


def test_one_that_takes_too_long_is_ended_by_others() -> None:
    state = started()
    add(state, 1, 0, 0)
    assert end(state, commit=False, fence=True).code is Code.ACCEPTED
    assert not state.transactions
    assert add(state, 1, 0, 1).code is Code.FENCED
    assert end(state, commit=True).code is Code.FENCED
    assert ends(state) == {}
    check_state(state)


def test_what_was_added_for_a_deleted_topic_goes_with_it() -> None:
    state = started()
    add(state, 1, 0, 0, g=7)
    add(state, 2, 1, 0, g=8)
    do_one(state, DeleteTopic(1))
    check_state(state)
    assert end(state, commit=True).values == (0,)
    assert ends(state) == {(2, 1): 1}
    assert list(state.groups["g"].offsets) == [(2, 1)]
    check_state(state)


def test_the_lowest_offsets_that_records_can_get_are_told() -> None:
    state = started()
    do_one(state, Append(1, 9, 0, (AppendPart(0, 0, 0, 1),)), blocks=BLOCKS)  # by somebody else
    assert add(state, 1, 0, 0, blocks=2) == Verdict(Code.ACCEPTED, (1,))
    assert add(state, 1, 0, 3, blocks=1) == Verdict(Code.ACCEPTED, (4,))
    assert add(state, 1, 1, 0, blocks=1) == Verdict(Code.ACCEPTED, (0,))
    assert add(state, 1, 0, 3, blocks=1) == Verdict(Code.DUPLICATE, (4,))
    do_one(state, Append(1, 9, 0, (AppendPart(0, 1, 0, 1),)), blocks=BLOCKS)  # so all come one later
    assert end(state, commit=True) == Verdict(Code.ACCEPTED, (2, 0))


def test_gaps_are_refused_and_change_nothing() -> None:
    state = started()
    before = content(state)
    assert add(state, 1, 0, 3).code is Code.OUT_OF_SEQUENCE
    assert add(state, 9, 0, 0).code is Code.UNKNOWN_TOPIC
    assert add(state, 1, 7, 0).code is Code.UNKNOWN_PARTITION
    assert content(state) == before


def test_aborted_records_count_in_the_sequence() -> None:
    state = started()
    add(state, 1, 0, 0)
    end(state, commit=False)
    assert add(state, 1, 0, 0, number=1).code is Code.DUPLICATE
    assert add(state, 1, 0, 1, number=1).code is Code.ACCEPTED
    assert end(state, commit=True, number=1).values == (0,)


def test_blocks_are_referred_to_while_they_are_aside() -> None:
    state = started()
    add(state, 1, 0, 0)
    (aside,) = state.partitions()
    assert (list(aside.lanes), list(aside.objects)) == ([INLINE], [state.seq])
    end(state, commit=False)
    assert not list(state.partitions())


@given(st.lists(st.booleans(), max_size=6))
def test_a_name_is_taken_over_only_from_whom_one_knows(history: list[bool]) -> None:
    state = started()
    present = PRODUCER, 0
    for right in history:
        seen = present if right else (present[0], present[1] + 1)
        verdict = do_one(state, InitProducer("tx", PRODUCER, instead_of=seen))
        if right:
            present = PRODUCER, present[1] + 1
            assert verdict.values == present
        else:
            assert verdict.code is Code.FENCED
        assert state.named_producers["tx"].is_now(*present)


def test_epochs_stay_within_what_kafka_can_say() -> None:
    state = started()
    state.named_producers["tx"] = NamedProducer(PRODUCER, 32_766)
    assert do_one(state, InitProducer("tx", PRODUCER, again=True)).values == (PRODUCER, 32_767)
    assert do_one(state, InitProducer("tx", 6)).values == (6, 0)
