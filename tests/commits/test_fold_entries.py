"""Named values in the fold: compared and set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse import limits
from streamhouse.commits.fold import Code
from streamhouse.commits.state import State
from streamhouse.format.operations import (
    AddToTransaction,
    CommitOffsets,
    CreateTopic,
    EndTransaction,
    InitProducer,
    JoinGroup,
    LeaveGroup,
    OffsetEntry,
    Operation,
    ReleasePartitions,
    SetEntry,
    Standing,
    Transaction,
)
from tests.commits.folding import check_state, content, do_one

steps = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.none() | st.binary(max_size=2), st.sampled_from(["seen", "any", "old"])
    ),
    max_size=20,
)


@given(steps)
def test_a_value_changes_only_if_it_is_the_one_that_was_seen(history: list[tuple]) -> None:
    state = State()
    held: dict[str, tuple[int, bytes]] = {}
    for name, value, how in history:
        seen = held[name][0] if name in held else 0
        version = {"seen": seen, "any": -1, "old": seen + 1}[how]
        verdict = do_one(state, SetEntry(name, value, version))
        if how == "old":
            assert (verdict.code, verdict.values) == (Code.STALE, (seen,))
        elif value is None:
            assert verdict.values == (0,)
            held.pop(name, None)
        else:
            assert verdict.values == (state.seq,)
            held[name] = state.seq, value
        assert state.entries == held
        check_state(state)


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENTRIES_MAX", 2)
    state = State()
    codes = [do_one(state, SetEntry(name, b"", -1)).code for name in "abca"]
    assert codes == [Code.ACCEPTED, Code.ACCEPTED, Code.FULL, Code.ACCEPTED]


ENTRY = OffsetEntry(1, 0, 5)


def inhabited() -> State:
    """A log in which all that a gateway proposes has an effect."""
    state = State()
    do_one(state, CreateTopic("t", 2))
    do_one(state, InitProducer("tx", 7))
    for member in ("one", "two"):
        do_one(state, JoinGroup("g", member, "p", "", "range", 10_000, (1,)))
    assert list(state.groups["g"].to_release("one"))
    return state


def proposals(standing: Standing | None) -> list[Operation]:
    offsets = CommitOffsets("alone", "", 0, (ENTRY,))
    return [
        InitProducer("tx", 8, standing=standing),
        CommitOffsets("alone", "", 0, (ENTRY,), standing=standing),
        AddToTransaction("tx", 7, 0, (), (offsets,), 0, standing=standing),
        EndTransaction("tx", 7, 0, 0, commit=True, standing=standing),
        JoinGroup("g", "three", "p", "", "range", 10_000, (1,), standing=standing),
        LeaveGroup("g", "one", standing=standing),
        ReleasePartitions("g", "one", tuple(inhabited().groups["g"].to_release("one")), standing=standing),
        Transaction("tx", 7, 0, (), (CommitOffsets("alone", "", 0, (ENTRY,), standing=standing),)),
    ]


@pytest.mark.parametrize("number", range(len(proposals(None))))
def test_who_fell_has_no_say(number: int) -> None:
    state = inhabited()
    stood = Standing("me", do_one(state, SetEntry("me", b"", 0)).values[0])
    for fall in (
        SetEntry("me", None, stood.version),  # taken for dead
        SetEntry("me", b"", 0),  # ... and back again
        SetEntry("me", b"", -1),  # another one in its place
    ):
        assert do_one(state, fall).code is Code.ACCEPTED
        before = content(state)
        assert do_one(state, proposals(stood)[number]).code is Code.STALE
        assert content(state) == before
    stands = Standing("me", state.entries["me"][0])
    assert do_one(state, proposals(Standing("other", stands.version))[number]).code is Code.STALE
    assert do_one(state, proposals(stands)[number]).code is Code.ACCEPTED
    assert content(state) != before
    check_state(state)
