"""Named values in the fold: compared and set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse import limits
from streamhouse.commits.fold import Code
from streamhouse.commits.state import State
from streamhouse.format.operations import SetEntry
from tests.commits.folding import check_state, do_one

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
