"""Records of one partition as columns, in Arrow's buffer layout.

A block never holds a list of records: it holds one buffer of timestamps and, for keys and values,
one blob of bytes with 32-bit offsets into it and a bitmap of what is not null. That is exactly what
Arrow calls a ``binary`` array, so a decoded block is scanned by DuckDB without a copy, and it is
what LZ4 compresses best. Lists turn into columns with ``map``, ``accumulate`` and ``join`` only; a
Python loop per record here would cost more than the compression after it. ``lists.py`` is the way
back.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence, Sized
from itertools import accumulate, chain, repeat
from operator import is_not, itemgetter
from typing import Final, TypeAlias

import msgspec

from streamhouse.format.integers import (
    INT64_BYTES,
    OFFSET_BYTES,
    bitmap,
    bitmap_bytes,
    stride_offsets,
)
from streamhouse.records import Headers

Buffer = bytes | bytearray | memoryview

Lengths: TypeAlias = Sequence[int] | int
"""Bytes of each entry; one number when all are equally long."""

Bound: TypeAlias = int | float | bytes
"""Smallest or largest value of a typed column: a number in the unit of the type, or text as UTF-8."""

_SAMPLE_ENTRIES: Final = 32


class BinaryColumn(msgspec.Struct, frozen=True):
    """A column of byte strings, some of which may be null.

    Attributes:
        validity: Arrow bitmap, least significant bit first; ``None`` when nothing is null.
        offsets: ``count + 1`` int32: value ``i`` is ``data[offsets[i]:offsets[i + 1]]``.
        data: All values, one after the other; nulls take no room.
        text: Whether each value is known to be UTF-8.
    """

    validity: bytes | None
    offsets: bytes
    data: bytes
    text: bool = False

    @property
    def nbytes(self) -> int:
        """Memory of the buffers."""
        return len(self.validity or b"") + len(self.offsets) + len(self.data)


class ArrowColumn(msgspec.Struct, frozen=True):
    """A column of any type, in Arrow's layout.

    Attributes:
        name: Its name.
        type: Its type as an Arrow format string.
        count: Number of entries.
        validity: Arrow bitmap; ``None`` when nothing is null.
        buffers: Those after the bitmap: values; offsets and data; or offsets.
        children: Fields of a struct, items of a list, the entries of a map.
        bounds: Between what values those of the column lie, both included. ``None``: unknown.
    """

    name: str
    type: str
    count: int
    validity: bytes | None
    buffers: tuple[bytes, ...] = ()
    children: tuple[ArrowColumn, ...] = ()
    bounds: tuple[Bound, Bound] | None = None

    @property
    def nbytes(self) -> int:
        """Memory of all buffers."""
        own = len(self.validity or b"") + sum(map(len, self.buffers))
        return own + sum([child.nbytes for child in self.children])

    def entries(self, validity: bytes | None = None) -> BinaryColumn:
        """A column of byte strings or text as one of bytes; without a bitmap nulls are empty."""
        offsets, data = self.buffers
        return BinaryColumn(validity, offsets, data)

    def child(self, name: str) -> ArrowColumn | None:
        """The field of that name."""
        return next((child for child in self.children if child.name == name), None)


class HeaderColumns(msgspec.Struct, frozen=True):
    """The headers of all records, as Arrow's ``list<struct<name, value>>``.

    Attributes:
        offsets: ``count + 1`` int32: record ``i`` has entries ``offsets[i]`` to ``offsets[i + 1]``.
        names: UTF-8, never null.
        values: Bytes or null.
    """

    offsets: bytes
    names: BinaryColumn
    values: BinaryColumn

    @property
    def nbytes(self) -> int:
        """Memory of the buffers."""
        return len(self.offsets) + self.names.nbytes + self.values.nbytes


class Columns(msgspec.Struct, frozen=True):
    """The records of one block.

    Attributes:
        count: Number of records.
        timestamps: int64, little-endian, milliseconds since 1970.
        timestamp_min: Smallest of them; 0 when there are no records.
        timestamp_max: Largest of them; 0 when there are no records.
        key: One entry per record.
        value: One entry per record; in a typed topic a struct.
        headers: ``None`` when no record has any.
        deltas: int64, rising: offset of each record minus the base offset of the block. ``None``
            when the offsets have no gaps (0, 1, 2, ...).
    """

    count: int
    timestamps: bytes
    timestamp_min: int
    timestamp_max: int
    key: BinaryColumn
    value: BinaryColumn | ArrowColumn
    headers: HeaderColumns | None = None
    deltas: bytes | None = None

    @property
    def nbytes(self) -> int:
        """Memory of all buffers."""
        headers = 0 if self.headers is None else self.headers.nbytes
        deltas = 0 if self.deltas is None else len(self.deltas)
        return len(self.timestamps) + self.key.nbytes + self.value.nbytes + headers + deltas

    @property
    def payload_bytes(self) -> int:
        """Bytes the user sent: keys, values (typed ones as they lie here), header names and header values."""
        value = self.value
        sent = len(self.key.data) + (value.nbytes if isinstance(value, ArrowColumn) else len(value.data))
        if self.headers is not None:
            sent += len(self.headers.names.data) + len(self.headers.values.data)
        return sent


def columns_from_lists(
    keys: Sequence[bytes | None] | None,
    values: Sequence[bytes | None],
    timestamps: Sequence[int] | int,
    headers: Sequence[Headers] | None,
    key_lengths: Lengths | None = None,
    value_lengths: Lengths | None = None,
) -> Columns:
    """Turn parallel lists into columns.

    Args:
        keys: One per value; ``None`` in place of the list means that no record has a key.
        values: Bytes or ``None`` (tombstones).
        timestamps: One per value, or one for all; milliseconds since 1970.
        headers: One tuple of pairs per value; ``None`` in place of the list means no headers.
        key_lengths: Those of the keys, for who knows them; then none is null.
        value_lengths: Likewise those of the values.

    Raises:
        ValueError: The lists differ in length.
        TypeError: An entry is neither bytes nor ``None``, or not of the length that was said.
        OverflowError: A column holds 2 GiB or more, or a timestamp does not fit 64 bits.
    """
    count = len(values)
    for name, column in (("keys", keys), ("timestamps", timestamps), ("headers", headers)):
        if column is not None and not isinstance(column, int) and len(column) != count:
            raise ValueError(f"{len(column)} {name} for {count} values")
    if isinstance(timestamps, int):
        low = high = timestamps if count else 0
        stamps = timestamps.to_bytes(INT64_BYTES, "little", signed=True) * count
    else:
        low, high = min(timestamps, default=0), max(timestamps, default=0)
        stamps = array("q", timestamps).tobytes()
    return Columns(
        count=count,
        timestamps=stamps,
        timestamp_min=low,
        timestamp_max=high,
        key=null_column(count) if keys is None else binary_column(keys, key_lengths),
        value=binary_column(values, value_lengths),
        headers=None if headers is None else header_columns(headers),
    )


def binary_column(values: Sequence[bytes | None], lengths: Lengths | None = None) -> BinaryColumn:
    """A column out of byte strings and nulls.

    Args:
        values: The entries.
        lengths: Theirs, for who knows them; then none is null.

    Raises:
        TypeError: An entry is neither bytes nor ``None``, or not of the length that was said.
        OverflowError: They make 2 GiB or more.
    """
    try:
        # Nulls raise in here: the usual list without any is never searched for them.
        if lengths is None:
            lengths = entry_lengths(values)  # type: ignore[arg-type]
        data = b"".join(values)  # type: ignore[arg-type]
        offsets = _offsets(lengths, len(values))
        if int.from_bytes(offsets[-OFFSET_BYTES:], "little") != len(data):
            raise TypeError("a buffer whose length is not its size in bytes")
        return BinaryColumn(None, offsets, data)
    except TypeError:
        nulls = values.count(None)
        if not nulls:
            raise
        if nulls == len(values):
            return null_column(nulls)
    filled = [b"" if value is None else value for value in values]
    validity = bitmap(bytes(map(is_not, values, repeat(None))))
    return BinaryColumn(validity, _offsets(entry_lengths(filled), len(filled)), b"".join(filled))


def stamped(columns: Columns, time_ms: int) -> Columns:
    """The same records, all of them with that timestamp."""
    stamps = time_ms.to_bytes(INT64_BYTES, "little", signed=True) * columns.count
    return msgspec.structs.replace(columns, timestamps=stamps, timestamp_min=time_ms, timestamp_max=time_ms)


def entry_lengths(entries: Sequence[Sized]) -> Lengths:
    """The length of each entry, or the one length that all have.

    Raises:
        TypeError: An entry has none, ``None`` for one.
    """
    lengths = list(map(len, entries))
    some = lengths[:_SAMPLE_ENTRIES]  # comparing all costs as much as adding them up
    if some and some.count(some[0]) == len(some) and lengths.count(some[0]) == len(lengths):
        return some[0]
    return lengths


def null_column(count: int) -> BinaryColumn:
    """A column of nulls only."""
    return BinaryColumn(bytes(bitmap_bytes(count)), bytes(OFFSET_BYTES * (count + 1)), b"")


def longest(lengths: Lengths) -> int:
    """The largest length, 0 when there is none."""
    return lengths if isinstance(lengths, int) else max(lengths, default=0)


def _offsets(lengths: Lengths, count: int) -> bytes:
    if isinstance(lengths, int):
        return stride_offsets(lengths, count)  # keys of one length: no sum needed
    return array("i", list(accumulate(lengths, initial=0))).tobytes()  # faster than without a list


def header_columns(headers: Sequence[Headers]) -> HeaderColumns | None:
    """The headers of all records; ``None`` when no record has any."""
    flat = list(chain.from_iterable(headers))
    if not flat:
        return None
    names = list(map(str.encode, map(itemgetter(0), flat)))
    values = list(map(itemgetter(1), flat))
    return HeaderColumns(
        _offsets(entry_lengths(headers), len(headers)), binary_column(names), binary_column(values)
    )
