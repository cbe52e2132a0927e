"""A cooperative rebalance stops no partition that could have gone on: against the least that any could do."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from streamhouse.commits.groups import GroupState
from streamhouse.commits.state import State
from streamhouse.format.operations import CreateTopic, JoinGroup, LeaveGroup, ReleasePartitions
from tests.commits.folding import do_one

MEMBERS = ["m1", "m2", "m3", "m4", "m5", "m6"]


def fewest_stops(had: dict[str, int], partitions: int) -> int:
    """By trying who gets one more than the others, where the partitions cannot be shared out evenly."""
    share, extra = divmod(partitions, len(had))
    return min(
        sum(max(0, had[member] - share - (place < extra)) for place, member in enumerate(order))
        for order in permutations(had)
    )


def group_of(state: State) -> GroupState:
    return state.groups["g"]


@given(
    partitions=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    changes=st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=12),
)
def test_no_rebalance_stops_more_than_it_must(partitions: list[int], changes: list[str]) -> None:
    """Whoever is there leaves, whoever is not joins; all that had to go is given back in between."""
    state = State()
    for number, count in enumerate(partitions):
        do_one(state, CreateTopic(f"t{number}", count))
    topics = tuple(state.topics)
    for name in changes:
        group = state.groups.get("g")
        if group is not None and name in group.members:
            do_one(state, LeaveGroup("g", name))
        else:
            do_one(state, JoinGroup("g", name, "p", "", "cooperative-sticky", 1000, topics))
        members = group_of(state).members
        if not members:
            continue
        # Who has what before anybody does what it must: those that left have nothing any more.
        had = dict.fromkeys(members, 0)
        for owner, since in group_of(state).owners.values():
            had[owner] += since < group_of(state).generation
        stops = [len(group_of(state).to_release(member)) for member in members]
        assert sum(stops) == fewest_stops(had, sum(partitions))
        for member in list(members):
            do_one(state, ReleasePartitions("g", member, tuple(group_of(state).to_release(member))))
        loads = [len(group_of(state).owned(member)) for member in members]
        assert group_of(state).settled
        assert max(loads) - min(loads) <= 1
