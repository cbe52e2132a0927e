"""Everybody places alike, and a gateway that comes or goes moves only what it must."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from streamhouse.kafka.cluster.placement import chosen

nodes = st.lists(st.integers(0, 1000), min_size=2, max_size=8, unique=True)
names = [f"partition:{topic}:{partition}" for topic in range(10) for partition in range(20)]


@given(nodes, st.randoms())
def test_the_order_of_the_nodes_does_not_matter(those: list[int], dice) -> None:
    before = [chosen(name, those) for name in names]
    dice.shuffle(those)
    assert [chosen(name, those) for name in names] == before


@given(nodes)
def test_only_what_a_node_had_moves_when_it_goes(those: list[int]) -> None:
    gone, *left = those
    for name in names:
        before = chosen(name, those)
        if before != gone:
            assert chosen(name, left) == before


def test_work_is_spread() -> None:
    shares = Counter(chosen(name, [1, 2, 3, 4]) for name in names)
    assert min(shares.values()) > len(names) / 4 / 2
