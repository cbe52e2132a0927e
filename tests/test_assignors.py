"""The assignors: Kafka's examples, and what holds for all members, topics and owners."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamhouse.assignors import ASSIGNORS, EAGER, TopicPartitionId, assign
from streamhouse.errors import InvalidInputError

Members = dict[str, list[int]]
Counts = dict[int, int]
Owned = dict[TopicPartitionId, str]
Case = tuple[Members, Counts, Owned]

NAMES = [f"m{number}" for number in range(8)]  # hypothesis may leave some of them without a group
TOPICS = range(5)


def subscriptions(topics: Sequence[int] = TOPICS) -> st.SearchStrategy[list[int]]:
    return st.lists(st.sampled_from(topics), max_size=len(topics))  # duplicates do no harm


@st.composite
def cases(draw: st.DrawFn, equal: bool = False, members_max: int = 8, partitions_max: int = 12) -> Case:
    """Some members, topics of which some do not exist, owners of which some are gone."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=members_max))
    counts = draw(st.dictionaries(st.sampled_from(TOPICS), st.integers(0, partitions_max)))
    if equal:
        subscription = draw(subscriptions())
        members = {name: draw(st.permutations(subscription)) for name in names}
    else:
        members = {name: draw(subscriptions()) for name in names}
    if draw(st.booleans()):
        # As it happens: the same group a little earlier.
        before = {**members, **draw(st.dictionaries(st.sampled_from(NAMES), subscriptions(), max_size=3))}
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=3)):
            before.pop(name, None)
        return members, counts, assign("sticky", before, counts, {})
    existing = [(topic, number) for topic in TOPICS for number in range(counts.get(topic, 0) + 1)]
    owned = draw(st.dictionaries(st.sampled_from(existing), st.sampled_from(NAMES)))
    return members, counts, owned


def partitions_with_readers(members: Members, counts: Counts) -> list[TopicPartitionId]:
    subscribed = {topic for topics in members.values() for topic in topics}
    return [(topic, n) for topic in sorted(subscribed) for n in range(counts.get(topic, 0))]


def kept_or_moved(members: Members, owned: Owned, after: Mapping[TopicPartitionId, str]) -> tuple[int, int]:
    """Of the partitions whose owners could keep them, how many stayed, and how many did not."""
    could_stay = [
        partition
        for partition, owner in owned.items()
        if partition in after and partition[0] in members.get(owner, ())
    ]
    kept = sum(after[partition] == owned[partition] for partition in could_stay)
    return kept, len(could_stay) - kept


def is_balanced(members: Members, assignment: Mapping[TopicPartitionId, str]) -> bool:
    """KIP-54: nobody could take a partition from one that has two or more partitions more."""
    load = Counter(assignment.values())
    return not any(
        load[owner] >= load[member] + 2
        for (topic, _), owner in assignment.items()
        for member, topics in members.items()
        if topic in topics
    )


def loads_of(names: Sequence[str], assignment: Mapping[TopicPartitionId, str]) -> list[int]:
    load = Counter(assignment.values())
    return [load[name] for name in names]


def fewest_moves_when_equal(members: Members, counts: Counts, owned: Owned) -> int:
    """Closed form: of n partitions and k members, n % k may keep one more than n // k, the richest best."""
    partitions = set(partitions_with_readers(members, counts))
    share, extra = divmod(len(partitions), len(members))
    has = Counter(owner for partition, owner in owned.items() if partition in partitions and owner in members)
    richest_first = sorted(has.values(), reverse=True)
    return sum(max(0, count - share - (place < extra)) for place, count in enumerate(richest_first))


def fewest_moves_of_any_balance(members: Members, counts: Counts, owned: Owned) -> int:
    """By trying every assignment there is."""
    partitions = partitions_with_readers(members, counts)
    choices = [[name for name, topics in members.items() if topic in topics] for topic, _ in partitions]
    assignments = (dict(zip(partitions, choice, strict=True)) for choice in product(*choices))
    return min(kept_or_moved(members, owned, each)[1] for each in assignments if is_balanced(members, each))


# ------------------------------------------------------------------------------------------ Kafka's examples

C0, C1, C2, C3 = "consumer1", "consumer2", "consumer3", "consumer4"

# The first of each kind is in the documentation of RangeAssignor, RoundRobinAssignor and StickyAssignor,
# the others are cases of RangeAssignorTest, RoundRobinAssignorTest and AbstractStickyAssignorTest.
GOLDEN = {
    "range: doc": ("range", {C0: [0, 1], C1: [0, 1]}, {0: 3, 1: 3}, {C0: "0.0 0.1 1.0 1.1", C1: "0.2 1.2"}),
    "range: nonexistent topic": ("range", {C0: [1]}, {}, {}),
    "range: only subscribed": ("range", {C0: [1]}, {1: 3, 2: 3}, {C0: "1.0 1.1 1.2"}),
    "range: one partition": ("range", {C0: [1], C1: [1]}, {1: 1}, {C0: "1.0"}),
    "range: mixed topics": (
        "range",
        {C0: [1], C1: [1, 2], C2: [1]},
        {1: 3, 2: 2},
        {C0: "1.0", C1: "1.1 2.0 2.1", C2: "1.2"},
    ),
    "range: four members": (
        "range",
        {C0: [1, 2], C1: [1, 2], C2: [1, 2], C3: [1, 2]},
        {1: 5, 2: 4},
        {C0: "1.0 1.1 2.0", C1: "1.2 2.1", C2: "1.3 2.2", C3: "1.4 2.3"},
    ),
    "round-robin: doc": (
        "round-robin",
        {C0: [0, 1], C1: [0, 1]},
        {0: 3, 1: 3},
        {C0: "0.0 0.2 1.1", C1: "0.1 1.0 1.2"},
    ),
    "round-robin: doc, different subscriptions": (
        "round-robin",
        {C0: [0], C1: [0, 1], C2: [0, 1, 2]},
        {0: 1, 1: 2, 2: 3},
        {C0: "0.0", C1: "1.0", C2: "1.1 2.0 2.1 2.2"},
    ),
    "round-robin: mixed topics": (
        "round-robin",
        {C0: [1], C1: [1, 2], C2: [1]},
        {1: 3, 2: 2},
        {C0: "1.0", C1: "1.1 2.0 2.1", C2: "1.2"},
    ),
    "round-robin: four members": (
        "round-robin",
        {C0: [1, 2], C1: [1, 2], C2: [1, 2], C3: [1, 2]},
        {1: 3, 2: 3},
        {C0: "1.0 2.1", C1: "1.1 2.2", C2: "1.2", C3: "2.0"},
    ),
    "sticky: doc": (
        "sticky",
        {C0: [0, 1, 2, 3], C1: [0, 1, 2, 3], C2: [0, 1, 2, 3]},
        {0: 2, 1: 2, 2: 2, 3: 2},
        {C0: "0.0 1.1 3.0", C1: "0.1 2.0 3.1", C2: "1.0 2.1"},
    ),
    "sticky: doc, different subscriptions": (
        "sticky",
        {C0: [0], C1: [0, 1], C2: [0, 1, 2]},
        {0: 1, 1: 2, 2: 3},
        {C0: "0.0", C1: "1.0 1.1", C2: "2.0 2.1 2.2"},
    ),
    "sticky: mixed topics": (
        "sticky",
        {C0: [1], C1: [1, 2], C2: [1]},
        {1: 3, 2: 2},
        {C0: "1.0 1.2", C1: "2.0 2.1", C2: "1.1"},
    ),
}


def by_member(assignment: Mapping[TopicPartitionId, str]) -> dict[str, str]:
    lists: dict[str, list[str]] = {}
    for (topic, number), name in assignment.items():
        lists.setdefault(name, []).append(f"{topic}.{number}")
    return {name: " ".join(sorted(partitions)) for name, partitions in lists.items()}


@pytest.mark.parametrize("name", GOLDEN)
def test_kafkas_examples(name: str) -> None:
    assignor, members, counts, expected = GOLDEN[name]
    assert by_member(assign(assignor, members, counts, {})) == expected


def test_kafkas_examples_of_a_member_that_leaves() -> None:
    """StickyAssignor's documentation, both examples: all of the others' partitions stay."""
    every = [0, 1, 2, 3]
    counts = dict.fromkeys(every, 2)
    before = assign("sticky", {C0: every, C1: every, C2: every}, counts, {})
    after = assign("sticky", {C0: every, C2: every}, counts, before)
    assert by_member(after) == {C0: "0.0 1.1 2.0 3.0", C2: "0.1 1.0 2.1 3.1"}

    counts = {0: 1, 1: 2, 2: 3}
    before = assign("sticky", {C0: [0], C1: [0, 1], C2: [0, 1, 2]}, counts, {})
    after = assign("sticky", {C1: [0, 1], C2: [0, 1, 2]}, counts, before)
    assert by_member(after) == {C1: "0.0 1.0 1.1", C2: "2.0 2.1 2.2"}


# ------------------------------------------------------------------------------------------ all assignors


def test_an_unknown_assignor_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidInputError, match=r"'roundrobin'; did you mean 'round-robin'\?"):
        assign("roundrobin", {}, {}, {})


def test_only_the_cooperative_assignor_lets_members_go_on() -> None:
    assert set(ASSIGNORS) - EAGER == {"cooperative-sticky"}


@pytest.mark.parametrize("assignor", ASSIGNORS)
@given(case=cases())
def test_every_partition_goes_to_one_subscribed_member(assignor: str, case: Case) -> None:
    members, counts, owned = case
    assignment = assign(assignor, members, counts, owned)
    assert list(assignment) == partitions_with_readers(members, counts)
    assert all(topic in members[name] for (topic, _), name in assignment.items())


@pytest.mark.parametrize("assignor", ASSIGNORS)
@given(case=cases(), shuffle=st.randoms(use_true_random=False))
def test_the_order_of_the_arguments_does_not_matter(assignor: str, case: Case, shuffle: object) -> None:
    def permuted(mapping: Mapping) -> dict:  # type: ignore[type-arg]
        items = list(mapping.items())
        shuffle.shuffle(items)  # type: ignore[attr-defined]
        return dict(items)

    members, counts, owned = case
    turned = {name: topics[::-1] for name, topics in permuted(members).items()}
    again = assign(assignor, turned, permuted(counts), permuted(owned))
    assert list(again.items()) == list(assign(assignor, *case).items())


def test_the_hashes_of_strings_do_not_matter() -> None:
    """Each process has its own seed of them; all have to fold alike."""
    program = """if True:
        from streamhouse.assignors import ASSIGNORS, assign
        members = {f"m{n}": [t for t in range(7) if (n * t) % 3 != 1] for n in range(11)}
        counts = {t: 5 + t for t in range(7)}
        owned = {(t, p): f"m{(t * p) % 13}" for t in counts for p in range(counts[t])}
        print([assign(name, members, counts, owned) for name in ASSIGNORS])
    """
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(outputs) == 1


@given(case=cases(equal=True))
def test_range_and_round_robin_are_even_for_equal_subscriptions(case: Case) -> None:
    members, counts, _ = case
    loads = loads_of(list(members), assign("round-robin", *case))
    assert max(loads) - min(loads) <= 1
    for topic in counts:
        of_topic = {at: name for at, name in assign("range", *case).items() if at[0] == topic}
        loads = loads_of(list(members), of_topic)
        assert max(loads) - min(loads) <= 1
        assert list(of_topic.values()) == sorted(of_topic.values())


# ------------------------------------------------------------------------------------------ sticky


@given(case=cases())
def test_both_sticky_assignors_compute_the_same(case: Case) -> None:
    assert assign("sticky", *case) == assign("cooperative-sticky", *case)


@given(case=cases())
def test_sticky_is_balanced(case: Case) -> None:
    assert is_balanced(case[0], assign("sticky", *case))


@given(case=cases())
def test_what_is_balanced_stays(case: Case) -> None:
    members, counts, _ = case
    assignment = assign("sticky", *case)
    assert assign("sticky", members, counts, assignment) == assignment


@settings(max_examples=300)
@given(case=cases(equal=True, partitions_max=40))
def test_sticky_moves_the_fewest_when_subscriptions_are_equal(case: Case) -> None:
    members, _, owned = case
    assignment = assign("sticky", *case)
    loads = loads_of(list(members), assignment)
    assert max(loads) - min(loads) <= 1
    assert kept_or_moved(members, owned, assignment)[1] == fewest_moves_when_equal(*case)


@given(case=cases(equal=True, members_max=3, partitions_max=3))
def test_the_closed_form_of_the_fewest_moves(case: Case) -> None:
    members, counts, _ = case
    assume(len(members) ** len(partitions_with_readers(members, counts)) <= 2_000)
    assert fewest_moves_when_equal(*case) == fewest_moves_of_any_balance(*case)


@given(first=cases(equal=True), second=cases(equal=True))
def test_groups_without_a_common_topic_do_not_disturb_each_other(first: Case, second: Case) -> None:
    members, counts, owned = first
    others = {f"other-{name}": [topic + 10 for topic in topics] for name, topics in second[0].items()}
    other_counts = {topic + 10: count for topic, count in second[1].items()}
    other_owned = {(topic + 10, number): f"other-{name}" for (topic, number), name in second[2].items()}
    both = assign("sticky", {**members, **others}, {**counts, **other_counts}, {**owned, **other_owned})
    assert both == {**assign("sticky", *first), **assign("sticky", others, other_counts, other_owned)}


@given(
    names=st.permutations([f"m{n:02}" for n in range(12)]), counts=st.lists(st.integers(1, 30), min_size=1)
)
def test_joining_and_leaving_one_by_one(names: list[str], counts: list[int]) -> None:
    """Who joins takes its share, who leaves is inherited from, and nothing else moves."""
    partition_counts = dict(enumerate(counts))
    topics = list(partition_counts)
    total = sum(counts)
    joined: Members = {}
    now: Owned = {}
    for name in names:
        joined[name] = topics
        after = assign("sticky", joined, partition_counts, now)
        changed = [partition for partition, owner in after.items() if now.get(partition) not in (owner, None)]
        assert all(after[partition] == name for partition in changed)
        assert len(changed) <= total // len(joined)
        now = after
    for name in names[:-1]:
        del joined[name]
        after = assign("sticky", joined, partition_counts, now)
        assert all(now[partition] == name for partition, owner in after.items() if now[partition] != owner)
        now = after


def test_who_joins_gets_its_part_of_every_topic() -> None:
    members = {"a": [1, 2, 3], "b": [1, 2, 3]}
    owned = {(topic, number): "a" for topic in (1, 2) for number in range(10)} | {(3, 0): "a", (3, 1): "a"}
    after = assign("sticky", members, {1: 10, 2: 10, 3: 2}, owned)
    assert Counter(topic for (topic, _), name in after.items() if name == "b") == {1: 5, 2: 5, 3: 1}


def test_a_chain_of_overlapping_subscriptions_evens_out() -> None:
    """A partition can only move to a neighbour: what is full in the middle pushes the rest outwards."""
    members = {f"m{n:02}": [n, n + 1] for n in range(30)}
    counts = {n: 200 if n == 15 else 2 for n in range(31)}
    owned = {(topic, n): f"m{min(topic, 29):02}" for topic in counts for n in range(counts[topic])}
    assert is_balanced(members, assign("sticky", members, counts, owned))


@settings(max_examples=200)
@given(case=cases(members_max=4, partitions_max=3))
def test_unequal_subscriptions_move_hardly_more_than_needed(case: Case) -> None:
    """Fewer moves are possible now and then; 2 more at most have been seen in groups so small."""
    members, counts, owned = case
    partitions = partitions_with_readers(members, counts)
    assume(prod(sum(topic in topics for topics in members.values()) for topic, _ in partitions) <= 3_000)
    moved = kept_or_moved(members, owned, assign("sticky", *case))[1]
    assert moved <= fewest_moves_of_any_balance(*case) + 2
