"""Rows become blocks: split by partition, cut to size, laid out as columns, compressed.

Laying out needs the interpreter's lock, compressing does not. So the compression of a block's values, most
of the work, runs in a small pool while the next block is laid out. The job given to the pool is one
call into LZ4 and nothing else: a pool thread that wants the interpreter's lock back from a busy
thread waits 5 ms for it, so each return to Python costs as much as compressing a block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.format.block import BLOCK_RECORDS_MAX, encode_block
from streamhouse.format.codecs import Packed, pack_bytes
from streamhouse.format.columns import Columns, columns_from_lists
from streamhouse.records import Headers
from streamhouse.write.partitioner import split
from streamhouse.write.shipment import Parts

Assign: TypeAlias = Callable[["Rows"], Sequence[int]]
"""Says the partition of each row."""

_WORKERS: Final = 2
_POOL_BYTES_MIN: Final = 128 << 10  # below, handing over takes longer than compressing
_CHUNK_RECORDS_MAX: Final = 1 << 17


class Rows(msgspec.Struct):
    """Records as parallel lists.

    Attributes:
        values: Bytes or ``None``.
        keys: Likewise; ``None`` in place of the list: there are none.
        timestamps: Milliseconds since 1970, one per row or one for all.
        headers: One tuple per row; ``None`` in place of the list: there are none.
    """

    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] | None
    timestamps: Sequence[int] | int
    headers: Sequence[Headers] | None

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
            self.timestamps if isinstance(self.timestamps, int) else self.timestamps[window],
            None if self.headers is None else self.headers[window],
        )

    def split(self, parts: Sequence[int]) -> dict[int, Rows]:
        """The rows by partition, in the same order."""
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
        return columns_from_lists(self.keys, self.values, self.timestamps, self.headers)

    def _like(self, lists: list[list[Any]]) -> Rows:
        rest = iter(lists)
        return Rows(
            next(rest),
            None if self.keys is None else next(rest),
            self.timestamps if isinstance(self.timestamps, int) else next(rest),
            None if self.headers is None else next(rest),
        )


class Encoder:
    """Makes blocks of about ``block_bytes_target`` raw bytes. Any thread may use it."""

    def __init__(self, block_bytes_target: int) -> None:
        self._target = block_bytes_target
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def lay_out(self, rows: Rows, assign: Assign, raw_bytes: int) -> list[tuple[int, Columns]]:
        """The columns of each block to be, by partition.

        Args:
            rows: At least one.
            assign: Says the partition of each.
            raw_bytes: What keys, values and headers take, about.
        """
        return list(self._laid_out(rows, assign, raw_bytes, len(rows)))

    def encode(self, rows: Rows, assign: Assign, raw_bytes: int, *, spread: int) -> Parts:
        """The blocks of all partitions; uses the pool for compression and waits for it.

        Args:
            rows: At least one.
            assign: Says the partition of each row in a piece of them.
            raw_bytes: What keys, values and headers take, about.
            spread: Over how many partitions a piece is spread; its blocks shrink accordingly.
        """
        per_block = self._records_per_block(rows, raw_bytes)
        piece = min(per_block * spread, max(per_block, _CHUNK_RECORDS_MAX))
        begun: dict[int, list[tuple[Columns, Future[Packed] | None]]] = {}
        for part, columns in self._laid_out(rows, assign, raw_bytes, piece):
            begun.setdefault(part, []).append((columns, self._pack_values(columns)))
        return [
            (
                part,
                [
                    encode_block(columns, None if packed is None else packed.result())
                    for columns, packed in begun[part]
                ],
            )
            for part in sorted(begun)
        ]

    def background(self, work: Callable[[], None]) -> None:
        """Do that in the pool, or here when there is none any more."""
        future = self._submit(work)
        if future is None:
            work()

    def close(self) -> None:
        """Finish what the pool has, then end its threads."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)

    def _records_per_block(self, rows: Rows, raw_bytes: int) -> int:
        wanted = self._target * len(rows) // max(1, raw_bytes)
        return max(1, min(wanted, BLOCK_RECORDS_MAX))

    def _laid_out(
        self, rows: Rows, assign: Assign, raw_bytes: int, piece: int
    ) -> Iterator[tuple[int, Columns]]:
        per_block = self._records_per_block(rows, raw_bytes)
        for start in range(0, len(rows), piece):
            window = rows.cut(start, start + piece)
            for part, mine in window.split(assign(window)).items():
                for first in range(0, len(mine), per_block):
                    for columns in self._columns(mine.cut(first, first + per_block)):
                        yield part, columns

    def _columns(self, rows: Rows) -> Iterator[Columns]:
        """Usually one; more when records differ so much in size that the average misled."""
        count = len(rows)
        try:
            columns = rows.columns()
        except OverflowError:  # above 2 GiB
            if count == 1:
                raise
        else:
            if count == 1 or columns.payload_bytes <= 2 * self._target:
                yield columns
                return
        yield from self._columns(rows.cut(0, count // 2))
        yield from self._columns(rows.cut(count // 2, count))

    def _pack_values(self, columns: Columns) -> Future[Packed] | None:
        if len(columns.value.data) < _POOL_BYTES_MIN:
            return None
        return self._submit(pack_bytes, columns.value.data)

    def _submit(self, function: Callable[..., Any], *args: Any) -> Future[Any] | None:
        with self._lock:
            if self._closed:
                return None
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_WORKERS, "streamhouse-encoder")
            try:
                return self._pool.submit(function, *args)
            except RuntimeError:  # the interpreter is ending
                return None
