"""Groups in the fold: who owns what after any sequence of changes, and who may move offsets."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamhouse.assignors import ASSIGNORS
from streamhouse.commits.fold import Code
from streamhouse.commits.groups import GroupState
from streamhouse.commits.state import State
from streamhouse.format.operations import (
    AlterTopic,
    CommitOffsets,
    CreateTopic,
    DeleteGroup,
    DeleteTopic,
    JoinGroup,
    LeaveGroup,
    OffsetEntry,
    Operation,
    ReleasePartitions,
)
from tests.commits.folding import check_state, content, do_one, through_the_store

MEMBERS = ["m1", "m2", "m3", "m4"]
TOPICS = st.integers(1, 4)
PLACES = st.tuples(TOPICS, st.integers(0, 4))
Owners = dict[tuple[int, int], tuple[str, int]]

topic_changes = st.one_of(
    st.builds(CreateTopic, st.sampled_from("xyz"), st.integers(1, 4)),
    st.builds(AlterTopic, TOPICS, st.integers(1, 5), st.none()),
    st.builds(DeleteTopic, TOPICS),
)
commits = st.builds(
    CommitOffsets,
    st.just("g"),
    st.sampled_from(MEMBERS),
    st.integers(0, 8),
    st.lists(
        PLACES.flatmap(lambda p: st.builds(OffsetEntry, st.just(p[0]), st.just(p[1]), st.integers(-1, 9)))
    )
    .map(lambda entries: entries[:3])
    .map(tuple),
)


def joins(assignor: str) -> st.SearchStrategy[JoinGroup]:
    return st.builds(
        JoinGroup,
        st.just("g"),
        st.sampled_from(MEMBERS),
        st.just("p"),
        st.sampled_from(["", "", "static-1", "static-2"]),
        st.just(assignor),
        st.just(1000),
        st.lists(TOPICS, unique=True, max_size=3).map(tuple),
    )


def steps(assignor: str) -> st.SearchStrategy[Operation | str]:
    """Operations; a name stands for a member that does as it is told."""
    return st.one_of(
        joins(assignor),
        joins(assignor),
        st.builds(LeaveGroup, st.just("g"), st.sampled_from(MEMBERS)),
        st.builds(
            ReleasePartitions, st.just("g"), st.sampled_from(MEMBERS), st.lists(PLACES, max_size=4).map(tuple)
        ),
        st.sampled_from(MEMBERS),
        st.sampled_from(MEMBERS),
        topic_changes,
        commits,
    )


def started() -> State:
    state = State()
    for name in "xy":
        do_one(state, CreateTopic(name, 3))
    return state


def group_of(state: State) -> GroupState:
    return state.groups.get("g") or GroupState()


def obeys(state: State, member: str) -> ReleasePartitions:
    return ReleasePartitions("g", member, tuple(group_of(state).to_release(member)))


@pytest.mark.parametrize("assignor", ASSIGNORS)
@settings(max_examples=60)
@given(data=st.data())
def test_after_any_sequence_of_changes(assignor: str, data: st.DataObject) -> None:
    state = started()
    for step in data.draw(st.lists(steps(assignor), max_size=25)):
        operation = obeys(state, step) if isinstance(step, str) else step
        before = through_the_store(state)
        verdict = do_one(state, operation)
        check_state(state)
        check_nobody_is_robbed(group_of(before), group_of(state), operation, state)
        check_offsets(before, state, operation, verdict.code)
        if verdict.code is not Code.ACCEPTED:
            assert content(state) == content(before)
    check_it_settles(state)


def check_nobody_is_robbed(before: GroupState, after: GroupState, operation: Operation, state: State) -> None:
    """An owner keeps a partition until it gives it back, leaves, or the topic is gone."""
    for place, (owner, _) in before.owners.items():
        there = place[0] in state.topics
        gave = isinstance(operation, ReleasePartitions) and operation.member == owner
        if isinstance(operation, JoinGroup) and owner not in after.members:
            owner = operation.member  # a static member that came back
        if there and not gave and owner in after.members:
            assert after.owners[place][0] == owner


def check_offsets(before: State, after: State, operation: Operation, code: Code) -> None:
    """They are moved by the owner alone, in a generation not older than its ownership."""
    then, now = group_of(before), group_of(after)
    if not isinstance(operation, CommitOffsets):
        kept = {place: o for place, o in then.offsets.items() if place[0] in after.topics}
        assert now.offsets == kept
        return
    owners = [then.owners.get((e.topic, e.partition), ("", 0)) for e in operation.offsets]
    owned = all(owner == operation.member and since <= operation.generation for owner, since in owners)
    assert (code is Code.ACCEPTED) == (operation.member in then.members and owned)
    if code is Code.ACCEPTED:
        expected = {place: o.offset for place, o in then.offsets.items()}
        for entry in operation.offsets:
            expected[entry.topic, entry.partition] = entry.offset
        assert {place: o.offset for place, o in now.offsets.items()} == {
            place: offset for place, offset in expected.items() if offset >= 0
        }


def check_it_settles(state: State) -> None:
    """Once everybody has given back what it must, everybody has what it shall."""
    for _ in range(2):
        for member in list(group_of(state).members):
            do_one(state, obeys(state, member))
            check_state(state)
    assert group_of(state).settled


@given(st.lists(joins("cooperative-sticky"), min_size=1, max_size=6))
def test_who_joins_takes_nothing_that_is_in_use(operations: list[JoinGroup]) -> None:
    state = started()
    for operation in operations:
        owned: Owners = dict(group_of(state).owners)
        do_one(state, operation)
        for place, (owner, since) in owned.items():
            if owner in group_of(state).members:
                assert group_of(state).owners[place] == (owner, since)


def test_without_a_member_offsets_move_only_while_the_group_is_empty() -> None:
    state = started()
    by_hand = CommitOffsets("g", "", 0, (OffsetEntry(1, 0, 7),))
    join = JoinGroup("g", "m1", "p", "", "range", 1000, (1,))
    assert do_one(state, by_hand).code is Code.ACCEPTED
    do_one(state, join)
    assert do_one(state, by_hand).code is Code.GROUP_NOT_EMPTY
    assert do_one(state, DeleteGroup("g")).code is Code.GROUP_NOT_EMPTY
    do_one(state, LeaveGroup("g", "m1"))
    assert group_of(state).offsets[1, 0].offset == 7
    assert do_one(state, DeleteGroup("g")).code is Code.ACCEPTED
    assert do_one(state, DeleteGroup("g")).code is Code.UNKNOWN_GROUP


def test_a_member_that_lost_and_regained_a_partition_cannot_commit_for_the_time_before() -> None:
    state = started()
    do_one(state, JoinGroup("g", "m1", "p", "", "range", 1000, (1,)))
    old = group_of(state).generation
    do_one(state, JoinGroup("g", "m2", "p", "", "range", 1000, (1,)))
    for member in ("m1", "m2"):
        do_one(state, obeys(state, member))
    stale = CommitOffsets("g", "m1", old, (OffsetEntry(1, 0, 7),))
    assert do_one(state, stale).code is Code.NOT_OWNED


def test_a_topic_that_is_made_after_somebody_subscribed_to_its_id() -> None:
    state = started()
    do_one(state, JoinGroup("g", "m1", "p", "", "range", 1000, (3,)))
    assert group_of(state).target == {}
    do_one(state, CreateTopic("z", 2))
    assert group_of(state).owned("m1") == [(3, 0), (3, 1)]


def test_who_was_thrown_out_does_not_come_back_by_subscribing_to_something_else() -> None:
    state = State()
    do_one(state, CreateTopic("first", 2))
    join = JoinGroup("g", "m1", "p", "i", "sticky", 1000, (1,))
    do_one(state, join)
    again = msgspec.structs.replace(join, topics=(), again=True)
    assert do_one(state, again).code is Code.ACCEPTED
    do_one(state, msgspec.structs.replace(join, member="m2"))  # the same instance, started anew
    assert do_one(state, again).code is Code.UNKNOWN_MEMBER
    assert list(state.groups["g"].members) == ["m2"]
    check_state(state)
