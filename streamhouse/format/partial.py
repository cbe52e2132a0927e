"""Parts of a block with typed values: its header first, then only the columns that somebody wants.

A block of a typed topic may hold a hundred thousand records of twenty fields. A query over one of them reads
the header, which says where each column lies and between what bounds its values, and then fetches the bytes
of that column. Header and columns have checksums of their own, so what is read is checked as well as a
whole block is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from streamhouse.errors import CorruptionError
from streamhouse.format.blockheader import (
    DELTA,
    FIELD,
    HEADERS,
    VALUE,
    BlockHeader,
    ColumnHeader,
    read_header,
)
from streamhouse.format.checksum import crc32
from streamhouse.format.columns import Buffer, Columns
from streamhouse.format.unpacking import Piece, unpack_columns

FRONT_BYTES = 4 << 10
"""As many bytes usually hold a header."""


class BlockIndex:
    """What lies where in a block with typed values.

    Args:
        header: Of the block.
        start: Where its buffers begin.
        length: Bytes of the block.
        where: Object and position, for messages.
    """

    def __init__(self, header: BlockHeader, start: int, length: int, where: str) -> None:
        self.header = header
        self._where = where
        self._starts = [start]
        for column in header.columns:
            stored = sum([buffer.stored for buffer in column.buffers])
            self._starts.append(self._starts[-1] + stored)
        if self._starts[-1] != length:
            raise CorruptionError(f"{where}: the buffers end at byte {self._starts[-1]} of {length}")
        self._ends = _ends(header.columns, where)
        self._last: tuple[frozenset[str], list[int]] | None = None

    @property
    def count(self) -> int:
        """Number of records."""
        return self.header.count

    @property
    def nbytes(self) -> int:
        """About the memory it takes."""
        return 400 * len(self.header.columns)

    def field(self, name: str) -> ColumnHeader | None:
        """What the header says of a field; ``None``: the block was written before there was one."""
        return next((column for column in self.header.columns if column.name == FIELD + name), None)

    def spans(self, only: Collection[str]) -> list[tuple[int, int]]:
        """Where the bytes of some columns lie: first and last excluded, in order, neighbours as one.

        Args:
            only: See :func:`~streamhouse.format.block.decode_block`.
        """
        spans: list[tuple[int, int]] = []
        for index in self._wanted(only):
            start, stop = self._starts[index], self._starts[index + 1]
            if start == stop:
                continue
            if spans and spans[-1][1] == start:
                start = spans.pop()[0]
            spans.append((start, stop))
        return spans

    def decode(self, spans: Mapping[int, Buffer], only: Collection[str]) -> Columns:
        """Check and decompress some columns.

        Args:
            spans: The bytes from each position on, as :meth:`spans` says.
            only: As told to it.

        Raises:
            CorruptionError: The bytes are not what was written.
            UnsupportedFormatError: They are, but by a newer StreamHouse.
        """
        views = sorted((start, memoryview(data).cast("B"), data) for start, data in spans.items())
        pieces = []
        at = 0
        for index in self._wanted(only):
            column, start = self.header.columns[index], self._starts[index]
            while at + 1 < len(views) and views[at + 1][0] <= start:
                at += 1
            position = start - views[at][0] if views else 0
            buffers = []
            checksum = 0
            for buffer in column.buffers:
                stored: Buffer = b""
                if buffer.stored:
                    _, view, data = views[at]
                    whole = buffer.stored == len(view)  # which need not be copied if it is not compressed
                    stored = data if whole else view[position : position + buffer.stored]
                checksum = crc32(stored, checksum)
                position += buffer.stored
                buffers.append(stored)
            if checksum != column.checksum:
                raise CorruptionError(f"{self._where}: the checksum of column {column.name!r} is wrong")
            pieces.append(Piece(column, buffers))
        return unpack_columns(self.header, self._pruned(pieces, only), self._where, only)

    def _wanted(self, only: Collection[str]) -> list[int]:
        """Columns to read, each with all that belongs to it. Remembered, since each read asks twice."""
        key = frozenset(only)
        last = self._last  # which another thread may put another one in the place of
        if last is None or last[0] != key:
            last = self._last = key, self._found(key)
        return last[1]

    def _found(self, only: frozenset[str]) -> list[int]:
        wanted: list[int] = []
        fields = any(name.startswith(FIELD) for name in only)
        columns = self.header.columns
        index = 0
        while index < len(columns):
            name = columns[index].name
            if name in only or name == DELTA or (name.startswith(f"{HEADERS}.") and HEADERS in only):
                wanted.extend(range(index, self._ends[index]))
                index = self._ends[index]
            else:
                if name == VALUE and fields:
                    wanted.append(index)
                index = index + 1 if name == VALUE else self._ends[index]
        return wanted

    def _pruned(self, pieces: Sequence[Piece], only: Collection[str]) -> Sequence[Piece]:
        """The pieces, the struct with as many fields as there are of it."""
        if VALUE in only:
            return pieces
        fields = sum([piece.header.name in only and piece.header.name.startswith(FIELD) for piece in pieces])
        return [
            Piece(_with_children(piece.header, fields), piece.buffers)
            if piece.header.name == VALUE
            else piece
            for piece in pieces
        ]


def read_index(front: Buffer, length: int, where: str) -> BlockIndex | int:
    """What lies where in a block, out of its first bytes.

    Args:
        front: As many bytes as there are at hand.
        length: Bytes of the whole block.
        where: Object and position, for messages.

    Returns:
        How many bytes are needed, when those are too few; 0: the block is not typed, read it whole.

    Raises:
        CorruptionError: The bytes are not what was written.
        UnsupportedFormatError: They are, but by a newer StreamHouse.
    """
    read = read_header(memoryview(front).cast("B"), where)
    if isinstance(read, int):
        return read
    header, start = read
    return BlockIndex(header, start, length, where)


def _ends(columns: Sequence[ColumnHeader], where: str) -> list[int]:
    """For each column the index after all that belong to it."""
    ends = [0] * len(columns)
    for index in range(len(columns) - 1, -1, -1):
        end = index + 1
        for _ in range(columns[index].children):
            if end >= len(columns):
                raise CorruptionError(f"{where}: column {columns[index].name!r} lacks some of its fields")
            end = ends[end]
        ends[index] = end
    return ends


def _with_children(header: ColumnHeader, children: int) -> ColumnHeader:
    return ColumnHeader(header.name, header.type, header.buffers, header.checksum, children, header.bounds)
