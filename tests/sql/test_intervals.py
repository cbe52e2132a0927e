"""Sets of whole numbers, against Python's own sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.sql import intervals as module
from streamhouse.sql.intervals import ALL, NONE, Intervals

NUMBERS = range(-3, 20)
SPANS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=6)


def numbers(intervals: Intervals) -> set[int]:
    return {number for number in NUMBERS if number in intervals}


def expected(spans: list[tuple[int, int]]) -> set[int]:
    return {number for number in NUMBERS for first, last in spans if first <= number <= last}


@given(SPANS)
def test_membership(spans: list[tuple[int, int]]) -> None:
    intervals = Intervals(spans)
    assert numbers(intervals) == expected(spans)
    assert bool(intervals) == bool(expected(spans))
    assert all(a[1] + 1 < b[0] for a, b in zip(intervals.spans, intervals.spans[1:], strict=False))


@given(SPANS, SPANS)
def test_operations(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    a, b = Intervals(left), Intervals(right)
    assert numbers(a | b) == numbers(a) | numbers(b)
    assert numbers(a & b) == numbers(a) & numbers(b)
    assert numbers(~a) == set(NUMBERS) - numbers(a)
    assert ~~a == a
    assert (a == b) == (numbers(a) == numbers(b))


@given(SPANS, st.integers(0, 15), st.integers(0, 15))
def test_windows(spans: list[tuple[int, int]], first: int, last: int) -> None:
    intervals = Intervals(spans)
    span = set(range(first, last + 1))
    assert numbers(intervals.within(first, last)) == numbers(intervals) & span
    if span:
        assert intervals.covers(first, last) == (span <= numbers(intervals))
        assert intervals.meets(first, last) == bool(span & numbers(intervals))


def test_many_spans_are_not_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are as many as an IN has values, and each block asks."""
    merged: list[int] = []
    merge = module._merged

    def counted(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        given = list(spans)
        merged.append(len(given))
        return merge(given)

    intervals = Intervals((number, number) for number in range(0, 100_000, 2))
    monkeypatch.setattr(module, "_merged", counted)
    assert intervals.within(501, 600).spans == tuple((number, number) for number in range(502, 601, 2))
    assert not intervals.within(100_001, 100_100)
    assert not intervals.within(600, 501)
    assert merged == [50, 0, 0]
    assert 99_998 in intervals
    assert 99_999 not in intervals


def test_the_ends() -> None:
    assert ALL.everything
    assert not NONE
    assert ~ALL == NONE
    assert ~NONE == ALL
    assert not Intervals([(0, 1 << 70)]).everything
