"""Byte strings with their lengths in front, for many records at once."""

from __future__ import annotations

import numpy as np

from streamhouse.format.columns import BinaryColumn
from streamhouse.kafka.batches.binaries import ranges_of
from streamhouse.kafka.batches.ranges import copy_ranges
from streamhouse.kafka.batches.varints import Bytes, Integers, widths, write_varints, zigzag


class FramedColumn:
    """Writes a window of a column, each entry with its length in front.

    Args:
        column: The column.
        start: Place of the first entry.
        stop: Place after the last.

    Attributes:
        sizes: Bytes that each takes.
    """

    def __init__(self, column: BinaryColumn, start: int, stop: int) -> None:
        self._starts, lengths = ranges_of(column, start, stop)
        self._data = np.frombuffer(column.data, np.uint8)
        self._raw_lengths = zigzag(lengths)
        self._widths = widths(self._raw_lengths)
        self._lengths = np.maximum(lengths, 0)
        self.sizes = self._widths + self._lengths

    def write(self, out: Bytes, at: Integers) -> None:
        """Write them to a buffer, each to its place."""
        write_varints(out, at, self._raw_lengths, self._widths)
        copy_ranges(self._data, self._starts, out, at + self._widths, self._lengths)
