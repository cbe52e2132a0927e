"""The folded state keeps what it holds."""

from __future__ import annotations

import gc

from streamhouse.commits.state import State


def test_a_state_that_was_replaced_outlives_the_one_it_became() -> None:
    state, other = State(), State()
    other.agents.append("a")
    cycle: list[object] = [other]  # as a frame that an exception refers to
    cycle.append(cycle)
    state.replace(other)
    del other, cycle
    gc.collect()
    assert state.agents == ["a"]
