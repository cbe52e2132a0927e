"""The headers of many records, both ways.

They are read in rounds: the first of each record at once, then the second of each, and so on.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from streamhouse.format.columns import BinaryColumn, HeaderColumns
from streamhouse.kafka.batches.binaries import NULL_LENGTH, column_at
from streamhouse.kafka.batches.framed import FramedColumn
from streamhouse.kafka.batches.layout import HEADER_ENTRY_BYTES_MIN, INT32_VARINT_BYTES_MAX
from streamhouse.kafka.batches.ranges import running
from streamhouse.kafka.batches.varints import (
    Bytes,
    Integers,
    MalformedError,
    read_varints,
    widths,
    write_varints,
    zigzag,
)

_ROUNDS_MAX: Final = 64  # beyond, there is little to do in each: records with that many go one by one


def read_headers(
    data: Bytes, at: Integers, counts: Integers, ends: Integers
) -> tuple[HeaderColumns, Integers]:
    """The headers of some records, and where each record's end.

    Args:
        data: What they lie in.
        at: Where those of each record begin.
        counts: How many each has; not all are zero.
        ends: Where each record ends.

    Raises:
        MalformedError: They cannot be, or are too many of one record to be read all at once.
    """
    if (counts * HEADER_ENTRY_BYTES_MIN > ends - at).any() or counts.min() < 0:
        raise MalformedError("more headers than bytes")
    if counts.max() > _ROUNDS_MAX:
        raise MalformedError("many headers")
    offsets = running(counts)
    total = int(offsets[-1])
    places = np.zeros((2, total), np.int64)
    lengths = np.zeros((2, total), np.int64)
    at = at.copy()
    rows = np.flatnonzero(counts)
    done = 0
    while rows.size:
        slots = offsets[rows] + done
        position = at[rows]
        for kind, shortest in ((0, 0), (1, NULL_LENGTH)):
            length, position = read_varints(data, position, INT32_VARINT_BYTES_MAX)
            if length.min() < shortest:
                raise MalformedError("a negative length")
            places[kind, slots], lengths[kind, slots] = position, length
            position = position + np.maximum(length, 0)
        at[rows] = position
        done += 1
        rows = rows[counts[rows] > done]
    # Now that each is known to lie in its record, memory may be taken for them.
    if (at != ends).any():
        raise MalformedError("headers end elsewhere")
    names = column_at(data, places[0], lengths[0])
    _check_names(names)
    return HeaderColumns(
        offsets.astype(np.int32).tobytes(), names, column_at(data, places[1], lengths[1])
    ), at


def _check_names(names: BinaryColumn) -> None:
    """That each is UTF-8: all in a row are, and none begins within a character."""
    if names.data.isascii():
        return
    names.data.decode()
    offsets = np.frombuffer(names.offsets, np.int32)
    firsts = np.frombuffer(names.data, np.uint8)[offsets[:-1][np.diff(offsets) > 0]]
    if (firsts & 0b1100_0000 == 0b1000_0000).any():
        raise MalformedError("a name begins within a character")


class HeaderWriter:
    """Writes the headers of a window of records, each with their count in front.

    Args:
        headers: Those of the block.
        start: Place of the first record.
        stop: Place after the last.

    Attributes:
        sizes: Bytes that those of each record take.
    """

    def __init__(self, headers: HeaderColumns, start: int, stop: int) -> None:
        offsets = np.frombuffer(headers.offsets, np.int32)[start : stop + 1].astype(np.int64)
        first, last = int(offsets[0]), int(offsets[-1])
        self._counts = offsets[1:] - offsets[:-1]
        self._raw_counts = zigzag(self._counts)
        self._widths = widths(self._raw_counts)
        self._names = FramedColumn(headers.names, first, last)
        self._values = FramedColumn(headers.values, first, last)
        entries = running(self._names.sizes + self._values.sizes)
        self._entries = entries[:-1]
        self._firsts = entries[offsets - first]
        self.sizes = self._widths + self._firsts[1:] - self._firsts[:-1]

    def write(self, out: Bytes, at: Integers) -> None:
        """Write them to a buffer, those of each record to their place."""
        write_varints(out, at, self._raw_counts, self._widths)
        shifts = at + self._widths - self._firsts[:-1]
        places = self._entries + np.repeat(shifts, self._counts)
        self._names.write(out, places)
        self._values.write(out, places + self._names.sizes)
