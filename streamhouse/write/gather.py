"""Rows of many partitions become columns of one partition each, without a list per partition in between.

Splitting lists and joining the parts later costs twice: by the time a part is joined, its records have
left the processor's cache. So the rows are taken in windows small enough to stay there, and what a
window has for a partition is joined at once. Which rows those are is found once for all columns;
``itemgetter`` with their positions then picks them out of each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from streamhouse.format.columns import BinaryColumn, Columns, Lengths, columns_of, joined_column

WINDOW_RECORDS: Final = 4096
PARTITIONS_MAX: Final = 64  # above, a window has too few records for each


def gather(
    parts: Sequence[int],
    keys: tuple[Sequence[bytes], Lengths],
    values: tuple[Sequence[bytes], Lengths],
    timestamps: Sequence[int] | int,
    bytes_target: int,
    records_max: int,
) -> Iterator[tuple[int, Columns]]:
    """Lay out the rows of each partition, keeping their order.

    Args:
        parts: The partition of each row.
        keys: And their lengths; none is null.
        values: Likewise.
        timestamps: One per row, or one for all.
        bytes_target: Keys and values after which columns are closed, at the next end of a window.
        records_max: Likewise, the number of records.

    Yields:
        A partition and columns of it.

    Raises:
        TypeError: A key or value is not bytes, or not of the length that was said.
    """
    growing = {part: _Growing(keys[1], values[1], timestamps) for part in sorted(set(parts))}
    for start in range(0, len(parts), WINDOW_RECORDS):
        window = slice(start, start + WINDOW_RECORDS)
        near: list[Sequence[Any]] = [keys[0][window], values[0][window]]
        near += [each[window] for each in (keys[1], values[1], timestamps) if not isinstance(each, int)]
        for part, positions in _positions(parts[window], growing).items():
            if positions:
                mine = growing[part]
                mine.add(positions, near)
                if mine.nbytes >= bytes_target or mine.count >= records_max:
                    growing[part] = _Growing(keys[1], values[1], timestamps)
                    yield part, mine.columns()
    for part, mine in growing.items():
        if mine.count:
            yield part, mine.columns()


class _Growing:
    """Columns of one partition, while rows are being added."""

    def __init__(self, key: Lengths, value: Lengths, timestamps: Sequence[int] | int) -> None:
        self.count = 0
        self.nbytes = 0
        self._key = _GrowingColumn(key)
        self._value = _GrowingColumn(value)
        self._constant = timestamps if isinstance(timestamps, int) else None
        self._timestamps: list[int] = []

    def add(self, positions: list[int], window: list[Sequence[Any]]) -> None:
        """Add rows of a window: keys, values, then lengths and timestamps as far as they differ."""
        pick = (
            itemgetter(*positions)
            if len(positions) > 1
            else itemgetter(slice(positions[0], positions[0] + 1))
        )
        keys, values, *rest = map(pick, window)
        numbers = iter(rest)
        self.count += len(positions)
        self.nbytes += self._key.add(keys, numbers) + self._value.add(values, numbers)
        if self._constant is None:
            self._timestamps.extend(next(numbers))

    def columns(self) -> Columns:
        """What was added."""
        return columns_of(
            self.count,
            self._key.column(self.count),
            self._value.column(self.count),
            self._timestamps if self._constant is None else self._constant,
        )


class _GrowingColumn:
    def __init__(self, lengths: Lengths) -> None:
        self._length = lengths if isinstance(lengths, int) else None
        self._lengths: list[int] = []
        self._pieces: list[bytes] = []

    def add(self, entries: Sequence[bytes], numbers: Iterator[Sequence[int]]) -> int:
        if self._length is None:
            self._lengths.extend(next(numbers))
        piece = b"".join(entries)
        self._pieces.append(piece)
        return len(piece)

    def column(self, count: int) -> BinaryColumn:
        return joined_column(self._pieces, self._lengths if self._length is None else self._length, count)


def _positions(parts: Sequence[int], used: dict[int, Any]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {part: [] for part in used}
    _exhaust(map(list.append, map(found.__getitem__, parts), _NUMBERS))
    return found


_NUMBERS: Final = tuple(range(WINDOW_RECORDS))  # objects made once; a range would make them each time
_exhaust: Final = deque[None](maxlen=0).extend
