"""Packed buffers to columns. What does not fit together is refused before memory is taken for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from streamhouse.errors import CorruptionError, UnsupportedFormatError
from streamhouse.format import codecs
from streamhouse.format.arrays import Layout, UnknownTypeError, layout_of
from streamhouse.format.blockheader import (
    DELTA,
    FIELD,
    HEADER_NAME,
    HEADER_VALUE,
    HEADERS,
    KEY,
    STRUCT,
    TEXT,
    TIMESTAMP,
    VALUE,
    BlockHeader,
    BufferHeader,
    ColumnHeader,
)
from streamhouse.format.columns import ArrowColumn, BinaryColumn, Buffer, Columns, HeaderColumns
from streamhouse.format.integers import INT64_BYTES, OFFSET_BYTES, bitmap_bytes

BLOCK_RECORDS_MAX: Final = 1 << 20  # bounds what a block of nothing but equal values expands to
BLOCK_RAW_BYTES_MAX: Final = (1 << 31) - 1  # buffers have 32-bit offsets
ALL: Final = frozenset((TIMESTAMP, KEY, VALUE, HEADERS))
"""All that :func:`unpack_columns` can be asked for."""


class Piece(NamedTuple):
    """A column and its stored buffers."""

    header: ColumnHeader
    buffers: Sequence[Buffer]


def unpack_columns(
    header: BlockHeader, pieces: Sequence[Piece], where: str, only: Collection[str]
) -> Columns:
    """Columns out of their stored buffers.

    Args:
        header: Of the block.
        pieces: The columns of the block in order, or of them those that are wanted.
        where: Object and position, for messages.
        only: See :func:`decode_block`.

    Raises:
        CorruptionError: They do not fit together.
        UnsupportedFormatError: A newer StreamHouse wrote them.
    """
    if header.count > BLOCK_RECORDS_MAX:
        raise CorruptionError(f"{where}: a block of {header.count} records cannot be")
    typed = any(piece.header.name == VALUE and piece.header.type == STRUCT for piece in pieces)
    known = [
        piece
        for piece in pieces
        if piece.header.name in _KNOWN or (typed and piece.header.name.startswith(FIELD))
    ]
    raw_bytes = sum([buffer.raw for piece in known for buffer in piece.header.buffers])
    if raw_bytes > BLOCK_RAW_BYTES_MAX:
        raise CorruptionError(f"{where}: a block of {raw_bytes} bytes cannot be")
    try:
        return _Unpacker(pieces).columns(header, only)
    except (codecs.UnknownCodecError, UnknownTypeError) as error:
        raise UnsupportedFormatError(
            f"{where}: {error}; it was written by a newer StreamHouse, upgrade this one"
        ) from None
    except ValueError as error:
        raise CorruptionError(f"{where}: {error}") from None


class _Unpacker:
    """Columns out of packed buffers. Raises ValueError for whatever does not fit together."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._found = {piece.header.name: index for index, piece in enumerate(pieces)}

    def columns(self, header: BlockHeader, only: Collection[str]) -> Columns:
        count = header.count
        return Columns(
            count=count,
            timestamps=self._fixed(TIMESTAMP, INT64_BYTES * count) if TIMESTAMP in only else b"",
            timestamp_min=header.timestamp_min,
            timestamp_max=header.timestamp_max,
            key=self._binary(KEY, count) if KEY in only else _LEFT_OUT,
            value=self._value(count, only),
            headers=self._headers(count) if HEADERS in self._found and HEADERS in only else None,
            deltas=self._fixed(DELTA, INT64_BYTES * count) if DELTA in self._found else None,
        )

    def _value(self, count: int, only: Collection[str]) -> BinaryColumn | ArrowColumn:
        if not any(name == VALUE or name.startswith(FIELD) for name in only):
            return _LEFT_OUT
        index = self._found.get(VALUE)
        if index is not None and self._pieces[index].header.type == STRUCT:
            column, _ = self._typed(index, VALUE, count, None if VALUE in only else only)
            return column
        return self._binary(VALUE, count) if VALUE in only else _LEFT_OUT

    def _typed(
        self, index: int, name: str, count: int, only: Collection[str] | None
    ) -> tuple[ArrowColumn, int]:
        """The column at an index, of its fields only some if that is wanted, and the index after it."""
        header = self._pieces[index].header
        layout, width = layout_of(header.type)
        (validity, *rest) = self._stored(index, _BUFFERS[layout])
        bits = _unpack(header.name, validity, bitmap_bytes(count)) if validity[0].raw else None
        buffers: tuple[bytes, ...] = ()
        inner = count
        if layout == "bits":
            buffers = (_unpack(header.name, rest[0], bitmap_bytes(count)),)
        elif layout == "fixed":
            buffers = (_unpack(header.name, rest[0], width * count),)
        elif layout != "struct":
            buffers = (_unpack(header.name, rest[0], OFFSET_BYTES * (count + 1)),)
            inner = _last_offset(header.name, buffers[0])
        if layout == "binary":
            buffers += (_unpack(header.name, rest[1], inner),)
        children = []
        index += 1
        for _ in range(header.children):
            if index >= len(self._pieces):
                raise ValueError(f"column {header.name!r} has fewer than {header.children} fields")
            path = self._pieces[index].header.name
            if not path.startswith(f"{header.name}."):
                raise ValueError(f"column {path!r} is no field of {header.name!r}")
            if only is not None and path not in only:
                index = self._after(index)
                continue
            child, index = self._typed(index, path[len(header.name) + 1 :], inner, None)
            children.append(child)
        column = ArrowColumn(name, header.type, count, bits, buffers, tuple(children), header.bounds)
        return column, index

    def _after(self, index: int) -> int:
        """The index after a column and all that belong to it."""
        waiting = 1
        while waiting:
            if index >= len(self._pieces):
                raise ValueError("a column is missing at the end")
            waiting += self._pieces[index].header.children - 1
            index += 1
        return index

    def _headers(self, count: int) -> HeaderColumns:
        offsets = self._fixed(HEADERS, OFFSET_BYTES * (count + 1))
        entries = _last_offset(HEADERS, offsets)
        names, values = self._binary(HEADER_NAME, entries), self._binary(HEADER_VALUE, entries)
        return HeaderColumns(offsets, names, values)

    def _binary(self, name: str, count: int) -> BinaryColumn:
        validity, offsets, data = self._buffers(name, 3)
        bits = _unpack(name, validity, bitmap_bytes(count)) if validity[0].raw else None
        positions = _unpack(name, offsets, OFFSET_BYTES * (count + 1))
        text = self._pieces[self._found[name]].header.type == TEXT
        return BinaryColumn(bits, positions, _unpack(name, data, _last_offset(name, positions)), text)

    def _fixed(self, name: str, raw_bytes: int) -> bytes:
        return _unpack(name, self._buffers(name, 1)[0], raw_bytes)

    def _buffers(self, name: str, count: int) -> Sequence[tuple[BufferHeader, Buffer]]:
        index = self._found.get(name)
        if index is None:
            raise ValueError(f"column {name!r} has 0 buffers, not {count}")
        return self._stored(index, count)

    def _stored(self, index: int, count: int) -> Sequence[tuple[BufferHeader, Buffer]]:
        header, buffers = self._pieces[index]
        if len(buffers) != count:
            raise ValueError(f"column {header.name!r} has {len(buffers)} buffers, not {count}")
        return list(zip(header.buffers, buffers, strict=True))


def _unpack(name: str, packed: tuple[BufferHeader, Buffer], raw_bytes: int) -> bytes:
    header, stored = packed
    if header.raw != raw_bytes:
        raise ValueError(f"a buffer of column {name!r} has {header.raw} bytes, not {raw_bytes}")
    return codecs.unpack(header.codec, header.params, stored, raw_bytes)


def _last_offset(name: str, offsets: bytes) -> int:
    first = int.from_bytes(offsets[:OFFSET_BYTES], "little", signed=True)
    last = int.from_bytes(offsets[-OFFSET_BYTES:], "little", signed=True)
    if first != 0 or last < 0:
        raise ValueError(f"the offsets of column {name!r} run from {first} to {last}")
    return last


_LEFT_OUT: Final = BinaryColumn(None, b"", b"")
_KNOWN: Final = frozenset((TIMESTAMP, KEY, VALUE, DELTA, HEADERS, HEADER_NAME, HEADER_VALUE))
_BUFFERS: Final[dict[Layout, int]] = {"bits": 2, "fixed": 2, "binary": 3, "list": 2, "struct": 1}
