"""Sets of whole numbers as intervals: which offsets, or which milliseconds, a condition admits."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from operator import itemgetter
from typing import Final

LOWEST: Final = -(1 << 80)  # beyond every offset and every time, so that complements need no case apart
HIGHEST: Final = 1 << 80
_FIRST: Final = itemgetter(0)
_LAST: Final = itemgetter(1)


class Intervals:
    """An immutable set of whole numbers.

    Args:
        spans: Pairs of the first and the last number, in any order; they may overlap.
    """

    __slots__ = ("spans",)

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self.spans = tuple(_merged(spans))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intervals) and self.spans == other.spans

    def __hash__(self) -> int:
        return hash(self.spans)

    def __repr__(self) -> str:
        return f"Intervals({list(self.spans)})"

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __contains__(self, number: int) -> bool:
        return self.meets(number, number)

    def __or__(self, other: Intervals) -> Intervals:
        return Intervals((*self.spans, *other.spans))

    def __and__(self, other: Intervals) -> Intervals:
        if other.everything:
            return self
        return ~(~self | ~other)

    def __invert__(self) -> Intervals:
        edges = [(LOWEST, LOWEST - 1), *self.spans, (HIGHEST + 1, HIGHEST)]
        return Intervals((before[1] + 1, after[0] - 1) for before, after in pairwise(edges))

    def within(self, first: int, last: int) -> Intervals:
        """The part between two numbers, both included."""
        begin = bisect_left(self.spans, first, key=_LAST)
        stop = bisect_right(self.spans, last, key=_FIRST)
        return Intervals((max(low, first), min(high, last)) for low, high in self.spans[begin:stop])

    def covers(self, first: int, last: int) -> bool:
        """Whether all numbers between the two are in it."""
        low, high = self._next(first)
        return low <= first and last <= high

    def meets(self, first: int, last: int) -> bool:
        """Whether any number between the two is in it."""
        return self._next(first)[0] <= last

    def _next(self, number: int) -> tuple[int, int]:
        """The span that holds a number or comes after it; at the end an empty one behind everything."""
        index = bisect_left(self.spans, number, key=_LAST)
        return self.spans[index] if index < len(self.spans) else (HIGHEST + 1, HIGHEST)

    @property
    def everything(self) -> bool:
        """Whether it leaves nothing out."""
        return self == ALL


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The spans in order, those that touch made one, empty ones left out."""
    current: tuple[int, int] | None = None
    for first, last in sorted(spans):
        if first > last:
            continue
        if current is not None and first <= current[1] + 1:
            current = current[0], max(current[1], last)
            continue
        if current is not None:
            yield current
        current = first, last
    if current is not None:
        yield current


NONE: Final = Intervals()
ALL: Final = Intervals([(LOWEST, HIGHEST)])
