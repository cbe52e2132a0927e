"""Which blocks of a partition to put together next. Pure.

Blocks that were written come in runs between segments, which hold what was put together before. A run of
neighbours is rewritten into one segment when that is at least ``_GROWTH`` times as large as the largest
piece in it, or large enough to be left alone for good. So each rewriting makes the piece that a byte lies in
several times as large, and a byte is rewritten a logarithmic number of times at most (the *size-tiered*
strategy of LSM trees; see O'Neil et al., "The log-structured merge-tree", 1996).

Old blocks that are too few for that are moved all the same, once: their commits cannot be deleted while they
lie there. And blocks of different times stay apart where records expire or must be of some age (the *time
window* strategy), or a quiet partition would keep a record for ever because ever younger ones are packed into
one block with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from typing import Final, NamedTuple

from streamhouse import limits
from streamhouse.commits.state import PartitionState
from streamhouse.config import TopicSettings
from streamhouse.upkeep.survey import FIRST_SEGMENT

_GROWTH: Final = 4
_BLOCKS_PER_PIECE: Final = 16  # so many blocks as written are worth as much as one segment
_PIECES_MIN: Final = 4  # fewer are not worth the requests ...
_BYTES_MIN: Final = 8 * limits.MIB  # ... unless they hold that much
_WINDOWS: Final = 8  # into which the time that records stay, or are left alone, is cut


def plan(
    partition: PartitionState, settings: TopicSettings, aged: Mapping[int, int], *, thorough: bool = False
) -> list[range]:
    """Runs of blocks to rewrite, each into one segment, oldest first.

    Args:
        partition: The blocks.
        settings: What the topic keeps.
        aged: See :class:`~streamhouse.upkeep.survey.Survey`.
        thorough: Take every block that was not put together yet for an old one.
    """
    runs: list[range] = []
    for pieces in _stretches(partition, settings):
        runs.extend(_plan_stretch(partition, pieces, aged, thorough))
    return runs


class _Piece(NamedTuple):
    """A segment, or blocks that lie next to each other as they were written."""

    start: int
    stop: int
    size: int
    largest: int  # what is rewritten as one: the segment, or the largest block
    segment: bool

    @property
    def weight(self) -> float:
        return 1 if self.segment else (self.stop - self.start) / _BLOCKS_PER_PIECE


def _stretches(partition: PartitionState, settings: TopicSettings) -> Iterator[list[_Piece]]:
    """Pieces that may be put together: none is finished, and their records expire at about one time."""
    stretch: list[_Piece] = []
    last: int | None = None
    for window, piece in _pieces(partition, _window_ms(settings)):
        finished = piece.segment and piece.size >= limits.SEGMENT_BYTES_MIN
        if window != last or finished:
            if stretch:
                yield stretch
            stretch = []
            last = window
        if not finished:
            stretch.append(piece)
    if stretch:
        yield stretch


def _window_ms(settings: TopicSettings) -> int | None:
    times = []
    if settings.deletes and settings.retention_ms is not None:
        times.append(settings.retention_ms)
    if settings.compacts and settings.min_compaction_lag_ms:
        times.append(settings.min_compaction_lag_ms)
    return max(1, min(times) // _WINDOWS) if times else None


def _pieces(partition: PartitionState, window_ms: int | None) -> Iterator[tuple[int, _Piece]]:
    places = [
        (lane, obj) if lane <= FIRST_SEGMENT else None
        for lane, obj in zip(partition.lanes, partition.objects, strict=True)
    ]
    count = len(places)
    windows = [0] * count if window_ms is None else [ts // window_ms for ts in partition.timestamps]
    start = 0
    for (place, window), group in groupby(zip(places, windows, strict=True)):
        stop = start + len(list(group))
        lengths = partition.lengths[start:stop]
        size = sum(lengths)
        segment = place is not None
        yield window, _Piece(start, stop, size, size if segment else max(lengths), segment)
        start = stop


def _plan_stretch(
    partition: PartitionState, pieces: Sequence[_Piece], aged: Mapping[int, int], thorough: bool
) -> Iterator[range]:
    left = list(pieces)
    while left:
        size = sum([piece.size for piece in left])
        if size >= limits.SEGMENT_BYTES_MIN:
            stop = _full_at(partition, left)
            yield range(left[0].start, stop)
            left = _after(partition, left, stop)
            continue
        if size >= _GROWTH * max([piece.largest for piece in left]) and _worth_it(left, size):
            yield range(left[0].start, left[-1].stop)
            return
        first = left.pop(0)
        if not first.segment and (thorough or _has_aged(partition, first, aged)):
            yield range(first.start, first.stop)


def _worth_it(pieces: Sequence[_Piece], size: int) -> bool:
    return sum([piece.weight for piece in pieces]) >= _PIECES_MIN or size >= _BYTES_MIN


def _full_at(partition: PartitionState, pieces: Sequence[_Piece]) -> int:
    """Where the blocks of these pieces fill a segment; an old segment is not cut in two."""
    start = pieces[0].start
    ends = accumulate(partition.lengths[start : pieces[-1].stop])
    stop = start + bisect_left(list(ends), limits.SEGMENT_BYTES_MIN) + 1
    return next((piece.stop for piece in pieces if piece.segment and piece.start < stop < piece.stop), stop)


def _after(partition: PartitionState, pieces: Sequence[_Piece], index: int) -> list[_Piece]:
    """What is left of the pieces from a block on."""
    left = []
    for piece in pieces:
        if piece.stop <= index:
            continue
        start = max(piece.start, index)
        lengths = partition.lengths[start : piece.stop]
        size = sum(lengths)
        largest = size if piece.segment else max(lengths)
        left.append(_Piece(start, piece.stop, size, largest, piece.segment))
    return left


def _has_aged(partition: PartitionState, piece: _Piece, aged: Mapping[int, int]) -> bool:
    window = slice(piece.start, piece.stop)
    return any(
        obj < aged.get(lane, 0)
        for lane, obj in zip(partition.lanes[window], partition.objects[window], strict=True)
    )
