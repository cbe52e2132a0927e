"""Whatever decodes, the fold answers: it neither fails nor lets the state be spoilt."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamhouse import limits
from streamhouse.commits.fold import Code, apply
from streamhouse.commits.state import State
from streamhouse.format.commit import BlockEntry, Flush, Segment
from streamhouse.format.operations import (
    AddToTransaction,
    AlterTopic,
    Append,
    AppendPart,
    ClaimCompaction,
    ClassicGroup,
    ClassicMember,
    Cleaned,
    CommitOffsets,
    CreateTopic,
    DeleteGroup,
    DeleteTopic,
    EndTransaction,
    InitProducer,
    JoinGroup,
    KeepClassicGroup,
    LeaveGroup,
    OffsetEntry,
    Operation,
    ReleasePartitions,
    Replace,
    SealLane,
    SetEntry,
    Snapshotted,
    Transaction,
    Trim,
)
from tests.commits.folding import block, check_state, commit, content, do_one, through_the_store

ABSURD = [-(1 << 63), -(1 << 31), -7, -1, 1 << 31, 1 << 40, 1 << 52, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
AGENTS = ["a1", "b2", "u1"]


def mostly(low: int, high: int) -> st.SearchStrategy[int]:
    """Numbers that make sense, and now and then one that does not."""
    sane = st.integers(low, high)
    return st.one_of(sane, sane, sane, sane, st.sampled_from(ABSURD))


topics = mostly(0, 3)
partitions = mostly(0, 3)
members = st.sampled_from(["m1", "m2", ""])
groups = st.sampled_from(["g", "h"])
places = st.lists(st.tuples(topics, partitions), max_size=4).map(tuple)
parts = st.lists(st.builds(AppendPart, partitions, mostly(0, 4), mostly(0, 3), mostly(0, 2)), max_size=3).map(
    tuple
)
appends = st.builds(Append, topics, mostly(-1, 2), mostly(0, 1), parts)
offsets = st.lists(st.builds(OffsetEntry, topics, partitions, mostly(-1, 9), st.just("x")), max_size=3)
coordinators = st.sampled_from(["", "", "c1", "c2"])
offset_commits = st.builds(CommitOffsets, groups, members, mostly(0, 4), offsets.map(tuple), coordinators)
classic_members = st.builds(
    ClassicMember, members, *[st.just("x")] * 3, mostly(0, 9), mostly(0, 9), st.just(()), st.just(b"")
)
classic_groups = st.builds(
    ClassicGroup, mostly(0, 4), *[st.just("x")] * 3, st.lists(classic_members, max_size=2).map(tuple)
)
operations = st.one_of(
    appends,
    offset_commits,
    st.builds(
        Transaction,
        st.sampled_from(["", "tx"]),
        mostly(0, 2),
        mostly(0, 2),
        st.lists(appends, max_size=2).map(tuple),
        st.lists(offset_commits, max_size=2).map(tuple),
    ),
    st.builds(CreateTopic, st.sampled_from("xyz"), mostly(1, 4)),
    st.builds(AlterTopic, topics, mostly(0, 5), st.none()),
    st.builds(DeleteTopic, topics),
    st.builds(SealLane, st.sampled_from(AGENTS[1:])),
    st.builds(Snapshotted, mostly(0, 9), st.just(b"")),
    st.builds(Trim, topics, places),
    st.builds(ClaimCompaction, topics, partitions, st.sampled_from("wv"), mostly(0, 9)),
    st.builds(
        Replace,
        topics,
        partitions,
        mostly(0, 6),
        mostly(0, 9),
        mostly(0, 1 << 32),
        st.lists(mostly(0, 9), max_size=3).map(tuple),
        mostly(0, 2),
    ),
    st.builds(Cleaned, topics, partitions, st.sampled_from("wv"), mostly(0, 9)),
    st.builds(
        InitProducer,
        st.sampled_from(["", "tx"]),
        mostly(0, 2),
        st.booleans(),
        st.none() | st.tuples(mostly(0, 2), mostly(0, 2)),
        mostly(0, 2),
    ),
    st.builds(
        AddToTransaction,
        st.sampled_from(["", "tx"]),
        *[mostly(0, 2)] * 2,
        st.lists(appends, max_size=2).map(tuple),
        st.lists(offset_commits, max_size=2).map(tuple),
        mostly(0, 1),
    ),
    st.builds(
        EndTransaction,
        st.sampled_from(["", "tx"]),
        *[mostly(0, 2)] * 2,
        mostly(0, 1),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(KeepClassicGroup, groups, coordinators, coordinators, st.none() | classic_groups),
    st.builds(SetEntry, st.sampled_from(["", "n", "m"]), st.none() | st.binary(max_size=3), mostly(-1, 9)),
    st.builds(
        JoinGroup,
        groups,
        members,
        st.just("p"),
        st.sampled_from(["", "i"]),
        st.sampled_from(["cooperative-sticky", "sticky", "range", "round-robin", "", "nobody"]),
        mostly(0, 9),
        st.lists(topics, max_size=3).map(tuple),
    ),
    st.builds(LeaveGroup, groups, members),
    st.builds(ReleasePartitions, groups, members, places),
    st.builds(DeleteGroup, groups),
)
blocks = st.lists(
    st.builds(
        BlockEntry,
        mostly(-1, 1),
        mostly(0, 50),
        mostly(1, 9),
        mostly(1, 3),
        mostly(0, 9),
        mostly(0, 9),
        mostly(0, 9),
    ),
    max_size=4,
).map(tuple)
segments = st.lists(st.builds(Segment, st.sampled_from(["u1", ""]), mostly(0, 4), mostly(0, 9)), max_size=2)
inner = st.tuples(
    st.sampled_from(AGENTS[:2]),
    st.lists(operations, max_size=4).map(tuple),
    blocks,
    st.lists(mostly(0, 9), max_size=3).map(tuple),
    segments.map(tuple),
)


@settings(max_examples=400)
@given(st.lists(inner, min_size=1, max_size=12))
def test_nonsense_neither_stops_the_fold_nor_spoils_the_state(history: list[tuple]) -> None:
    state = State()
    do_one(state, CreateTopic("first", 3))
    for agent, *rest in history:
        flush = Flush(agent, state.lane(agent).next_number, *rest)
        twin = through_the_store(state)
        for each in (state, twin):
            apply(each, each.seq + 1, commit(each.seq + 1, flush), 64)
        assert twin.hash == state.hash
        check_state(state)


ONE = (block(),)
NONSENSE: list[Operation] = [
    Append(1, 5, 0, ()),
    Append(1, 5, 0, (AppendPart(-1, 0, 0, 1),)),
    Append(1, 5, 0, (AppendPart(0, -1, 0, 1),)),
    Append(1, 5, 0, (AppendPart(0, 0, -1, 1),)),
    Append(1, 5, 0, (AppendPart(0, 0, 0, 0),)),
    Append(1, 5, 0, (AppendPart(0, 0, 0, 2),)),
    Append(1, 5, 0, (AppendPart(0, 0, 0, 1), AppendPart(0, 0, 0, 1))),
    Transaction("", 5, 0, (Append(1, 5, 0, (AppendPart(0, 0, 0, 1),)),) * 2, ()),
    Transaction("", 5, 0, (), (CommitOffsets("g", "", 0, (OffsetEntry(1, 0, 1 << 63),)),)),
    CommitOffsets("g", "", 0, (OffsetEntry(1, -1, 4),)),
    CreateTopic("none", 0),
    CreateTopic("endless", limits.PARTITIONS_PER_TOPIC_MAX + 1),
    AlterTopic(1, -1, None),
    AlterTopic(1, 1 << 40, None),
    InitProducer("", 5),
    InitProducer("name", -1),
    AddToTransaction("", 5, 0, (Append(1, 5, 0, (AppendPart(0, 0, 0, 1),)),), (), 0),
    AddToTransaction("tx", -1, 0, (Append(1, -1, 0, (AppendPart(0, 0, 0, 1),)),), (), 0),
    AddToTransaction("tx", 5, 0, (Append(1, 6, 0, (AppendPart(0, 0, 0, 1),)),), (), 0),
    AddToTransaction("tx", 5, 0, (Append(1, 5, 1, (AppendPart(0, 0, 0, 1),)),), (), 0),
    AddToTransaction("tx", 5, 0, (Append(1, 5, 0, ()),), (), 0),
    AddToTransaction("tx", 5, 0, (), (), -1),
    InitProducer("name", 5, timeout_ms=-1),
    EndTransaction("", 5, 0, 0, True),
    EndTransaction("tx", 5, 0, -1, True),
    KeepClassicGroup("", "c", "", None),
    KeepClassicGroup("g", "", "", None),
    SetEntry("", b"", -1),
    SetEntry("n" * (limits.ENTRY_NAME_CHARS_MAX + 1), b"", -1),
    SetEntry("n", bytes(limits.ENTRY_BYTES_MAX + 1), -1),
    JoinGroup("g", "", "p", "", "range", 1, (1,)),
    JoinGroup("g", "m", "p", "", "nobody", 1, (1,)),
    Cleaned(1, 0, "w", 99),
    Replace(1, 0, 2, 1, 0, (2,), 0),
    Replace(1, 0, 0, 2, 0, (0, 1), 0),
    Replace(1, 0, 1, 2, 0, (0,), 0),
    Replace(1, 0, 0, 1, 0, (1,), 0),
]


def with_a_record() -> State:
    state = State()
    do_one(state, CreateTopic("first", 1))
    do_one(state, Append(1, -1, 0, (AppendPart(0, 0, 0, 1),)), blocks=ONE)
    return state


@pytest.mark.parametrize("operation", NONSENSE, ids=lambda operation: type(operation).__name__)
def test_what_makes_no_sense_is_refused(operation: Operation) -> None:
    state = with_a_record()
    before = content(state)
    assert do_one(state, operation, blocks=ONE).code is Code.INVALID
    assert content(state) == before


@pytest.mark.parametrize(
    "entry",
    [
        block(count=0),
        block(count=-1),
        block(count=1 << 40),
        block(part=1),
        block(part=-2),
        block(position=-1),
        block(position=1 << 60),
        block(length=-1),
        block(timestamp=1 << 63),
    ],
)
def test_a_block_that_cannot_be_is_refused(entry: BlockEntry) -> None:
    state = with_a_record()
    before = content(state)
    operation = Append(1, -1, 0, (AppendPart(0, 0, 0, 1),))
    segments = (Segment("u1", 0, 5),)
    assert do_one(state, operation, blocks=(entry,), segments=segments).code is Code.INVALID
    assert content(state) == before


@pytest.mark.parametrize("segment", [Segment("u1", 1 << 60, 0), Segment("u1", 0, -1), Segment("", 0, 0)])
def test_a_segment_that_cannot_be_is_refused(segment: Segment) -> None:
    state = with_a_record()
    operation = Append(1, -1, 0, (AppendPart(0, 0, 0, 1),))
    assert do_one(state, operation, blocks=(block(part=-1),), segments=(segment,)).code is Code.INVALID
    assert "u1" not in state.lanes


def test_a_snapshot_of_the_future_is_none() -> None:
    state = with_a_record()
    assert do_one(state, Snapshotted(99, b"")).code is Code.WRONG_STATE
    assert state.snapshot_seq == 0
