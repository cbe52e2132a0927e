"""Rows become blocks: split by partition, cut to size, laid out as columns, compressed.

Laying out needs the interpreter's lock, compressing does not. So the compression of a block's values, most
of the work, runs in a small pool while the next block is laid out. The job given to the pool is one
call into LZ4 and nothing else: a pool thread that wants the interpreter's lock back from a busy
thread waits 5 ms for it, so each return to Python costs as much as compressing a block. For the same
reason the keys are compressed by whoever lays out, block by block: meanwhile the lock is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

from streamhouse.format.block import BLOCK_RECORDS_MAX, encode_block
from streamhouse.format.codecs import Packed, pack_bytes
from streamhouse.format.columns import ArrowColumn, Columns, Lengths, columns_from_lists, entry_lengths
from streamhouse.records import Headers
from streamhouse.schema.rows import RowDecoder
from streamhouse.schema.shred import shred
from streamhouse.write.partitioner import split
from streamhouse.write.pool import Job, Pool
from streamhouse.write.shipment import Parts

Assign: TypeAlias = Callable[["Rows"], Sequence[int]]
"""Says the partition of each row."""

_POOL_BYTES_MIN: Final = 128 << 10  # below, handing over takes longer than compressing
_PIECE_RECORDS_MAX: Final = 1 << 17
_TYPED_BLOCKS: Final = (
    4  # times as large: they can be read in parts, and rows shrink when they become columns
)


class Rows(msgspec.Struct):
    """Records as parallel lists.

    Attributes:
        values: Bytes or ``None``.
        keys: Likewise; ``None`` in place of the list: there are none.
        timestamps: Milliseconds since 1970, one per row or one for all.
        headers: One tuple per row; ``None`` in place of the list: there are none.
        value_lengths: Once they are known, and no value is null.
        key_lengths: Likewise.
        decoder: Of a typed topic, whose values are rows that it has packed.
    """

    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] | None
    timestamps: Sequence[int] | int
    headers: Sequence[Headers] | None
    value_lengths: Lengths | None = None
    key_lengths: Lengths | None = None
    decoder: RowDecoder | None = None

    def __len__(self) -> int:
        return len(self.values)

    def cut(self, start: int, stop: int) -> Rows:
        """The rows from ``start`` to ``stop``."""
        if start == 0 and stop >= len(self.values):
            return self
        window = slice(start, stop)
        return Rows(
            self.values[window],
            None if self.keys is None else self.keys[window],
            _cut(self.timestamps, window),
            None if self.headers is None else self.headers[window],
            None if self.value_lengths is None else _cut(self.value_lengths, window),
            None if self.key_lengths is None else _cut(self.key_lengths, window),
            self.decoder,
        )

    def measure(self) -> None:
        """Find out lengths, where that was not done and nothing is null."""
        if self.value_lengths is None:
            self.value_lengths = _lengths(self.values)
        if self.key_lengths is None and self.keys is not None:
            self.key_lengths = _lengths(self.keys)

    def split(self, parts: Sequence[int]) -> dict[int, Rows]:
        """The rows by partition, in the same order."""
        if parts.count(parts[0]) == len(parts):
            return {parts[0]: self}
        lists: list[Sequence[Any]] = [self.values]
        if self.keys is not None:
            lists.append(self.keys)
        if not isinstance(self.timestamps, int):
            lists.append(self.timestamps)
        if self.headers is not None:
            lists.append(self.headers)
        return {part: self._like(columns) for part, columns in split(parts, *lists).items()}

    def columns(self) -> Columns:
        """The rows as columns."""
        if self.decoder is not None:
            shells = [None] * len(self.values)
            columns = columns_from_lists(self.keys, shells, self.timestamps, self.headers, self.key_lengths)
            rows = self.decoder.unpack(self.values)
            return msgspec.structs.replace(columns, value=shred(self.decoder.schema, rows))
        return columns_from_lists(
            self.keys,
            self.values,
            self.timestamps,
            self.headers,
            self.key_lengths,
            self.value_lengths,
        )

    def _like(self, lists: list[list[Any]]) -> Rows:
        rest = iter(lists)
        return Rows(
            next(rest),
            None if self.keys is None else next(rest),
            self.timestamps if isinstance(self.timestamps, int) else next(rest),
            None if self.headers is None else next(rest),
            self.value_lengths if isinstance(self.value_lengths, int) else None,
            self.key_lengths if isinstance(self.key_lengths, int) else None,
            self.decoder,
        )


class Begun:
    """Blocks of which some are being compressed."""

    def __init__(self) -> None:
        self._pieces: dict[int, list[tuple[Columns, Job | None, Packed | None]]] = {}

    def add(self, part: int, columns: Columns, values: Job | None, keys: Packed | None) -> None:
        """Add a block, who compresses its values, and its compressed keys; ``None``: nobody yet."""
        self._pieces.setdefault(part, []).append((columns, values, keys))

    @property
    def waiting(self) -> bool:
        """Whether :meth:`finish` would wait for the pool."""
        return any(
            values is not None and not values.done
            for pieces in self._pieces.values()
            for _, values, _ in pieces
        )

    def finish(self) -> Parts:
        """The encoded blocks, in order of partition."""
        return [
            (
                part,
                [
                    encode_block(columns, None if values is None else values.result(), keys)
                    for columns, values, keys in pieces
                ],
            )
            for part, pieces in sorted(self._pieces.items())
        ]


class Encoder:
    """Makes blocks of about ``block_bytes_target`` raw bytes. Any thread may use it."""

    def __init__(self, block_bytes_target: int) -> None:
        self._target = block_bytes_target
        self._pool = Pool()

    def begin(self, rows: Rows, assign: Assign, raw_bytes: int, spread: int | None = None) -> Begun:
        """Lay the rows out and start compressing.

        Args:
            rows: At least one.
            assign: Says the partition of each row in a piece of them.
            raw_bytes: What keys, values and headers take, about.
            spread: Take the rows piece by piece, each large enough for full blocks when it is spread over
                that many partitions, so that compressing one piece overlaps laying out the next.
                ``None``: all in one piece.
        """
        per_block = self._records_per_block(rows, raw_bytes)
        piece = len(rows)
        if spread is not None:
            piece = min(per_block * spread, max(per_block, _PIECE_RECORDS_MAX))
        begun = Begun()
        for start in range(0, len(rows), piece):
            window = rows.cut(start, start + piece)
            for part, mine in window.split(assign(window)).items():
                for first in range(0, len(mine), per_block):
                    for columns in self._columns(mine.cut(first, first + per_block)):
                        values = self._pack_values(columns)
                        keys = None if values is None else pack_bytes(columns.key.data)
                        begun.add(part, columns, values, keys)
        return begun

    def close(self) -> None:
        """Finish what the pool has, then end its threads."""
        self._pool.close()

    def _records_per_block(self, rows: Rows, raw_bytes: int) -> int:
        target = self._target if rows.decoder is None else _TYPED_BLOCKS * self._target
        wanted = target * len(rows) // max(1, raw_bytes)
        return max(1, min(wanted, BLOCK_RECORDS_MAX))

    def _columns(self, rows: Rows) -> Iterator[Columns]:
        """Usually one; more when records differ so much in size that the average misled."""
        count = len(rows)
        try:
            columns = rows.columns()
        except OverflowError:  # above 2 GiB
            if count == 1:
                raise
        else:
            times = 2 if rows.decoder is None else 2 * _TYPED_BLOCKS
            if count == 1 or columns.payload_bytes <= times * self._target:
                yield columns
                return
        yield from self._columns(rows.cut(0, count // 2))
        yield from self._columns(rows.cut(count // 2, count))

    def _pack_values(self, columns: Columns) -> Job | None:
        if isinstance(columns.value, ArrowColumn) or len(columns.value.data) < _POOL_BYTES_MIN:
            return None
        return self._pool.compress(columns.value.data)


def _cut(numbers: Sequence[int] | int, window: slice) -> Sequence[int] | int:
    return numbers if isinstance(numbers, int) else numbers[window]


def _lengths(items: Sequence[bytes | None]) -> Lengths | None:
    try:
        return entry_lengths(cast("Sequence[bytes]", items))
    except TypeError:  # there are nulls
        return None
