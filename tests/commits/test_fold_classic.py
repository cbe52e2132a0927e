"""Classic groups in the fold: one coordinator at a time, and either kind of members."""

from __future__ import annotations

from streamhouse.commits.fold import Code
from streamhouse.commits.state import State
from streamhouse.format.operations import (
    ClassicGroup,
    ClassicMember,
    CommitOffsets,
    CreateTopic,
    DeleteGroup,
    JoinGroup,
    KeepClassicGroup,
    LeaveGroup,
    OffsetEntry,
)
from tests.commits.folding import check_state, do_one

MEMBER = ClassicMember("m1", "", "client", "/127.0.0.1", 10_000, 60_000, (("range", b""),), b"")
ONE = ClassicGroup(1, "consumer", "range", "m1", (MEMBER,))
NOBODY = ClassicGroup(2, "consumer", "", "", ())
JOIN = JoinGroup("g", "n1", "p", "", "range", 1000, (1,))


def offsets(coordinator: str, offset: int = 5) -> CommitOffsets:
    return CommitOffsets("g", "m1", 1, (OffsetEntry(1, 0, offset),), coordinator)


def started() -> State:
    state = State()
    do_one(state, CreateTopic("first", 2))
    assert do_one(state, KeepClassicGroup("g", "c1", "", ONE)).code is Code.ACCEPTED
    return state


def test_one_coordinator_at_a_time() -> None:
    state = started()
    assert do_one(state, KeepClassicGroup("g", "c2", "", NOBODY)).code is Code.STALE
    assert do_one(state, KeepClassicGroup("g", "c2", "c1", None)).code is Code.ACCEPTED
    assert state.groups["g"].classic == ONE
    assert do_one(state, KeepClassicGroup("g", "c1", "c1", NOBODY)).code is Code.STALE
    assert do_one(state, KeepClassicGroup("g", "c2", "", NOBODY)).code is Code.ACCEPTED
    assert state.groups["g"].classic == NOBODY
    check_state(state)


def test_only_the_coordinator_speaks_for_the_members() -> None:
    state = started()
    assert do_one(state, offsets("c1")).code is Code.ACCEPTED
    do_one(state, KeepClassicGroup("g", "c2", "c1", None))
    assert do_one(state, offsets("c1", 9)).code is Code.STALE
    assert do_one(state, offsets("", 9)).code is Code.UNKNOWN_MEMBER
    assert do_one(state, CommitOffsets("g", "", 0, (OffsetEntry(1, 0, 9),))).code is Code.GROUP_NOT_EMPTY
    assert state.groups["g"].offsets[1, 0].offset == 5
    check_state(state)


def test_a_group_has_one_kind_of_members() -> None:
    state = started()
    assert do_one(state, JOIN).code is Code.OTHER_PROTOCOL
    assert do_one(state, DeleteGroup("g")).code is Code.GROUP_NOT_EMPTY
    do_one(state, KeepClassicGroup("g", "c1", "", NOBODY))
    assert do_one(state, JOIN).code is Code.ACCEPTED
    assert do_one(state, KeepClassicGroup("g", "c1", "", ONE)).code is Code.OTHER_PROTOCOL
    check_state(state)
    do_one(state, LeaveGroup("g", "n1"))
    assert do_one(state, KeepClassicGroup("g", "c1", "", ONE)).code is Code.ACCEPTED
    check_state(state)


def test_without_members_it_can_be_deleted() -> None:
    state = started()
    do_one(state, KeepClassicGroup("g", "c1", "", NOBODY))
    assert do_one(state, DeleteGroup("g")).code is Code.ACCEPTED
    assert do_one(state, KeepClassicGroup("g", "c1", "c1", NOBODY)).code is Code.STALE
    check_state(state)
