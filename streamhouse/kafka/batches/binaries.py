"""Columns of byte strings out of ranges of a buffer, and as ranges of their own."""

from __future__ import annotations

from typing import Final

import numpy as np

from streamhouse.format.columns import BinaryColumn, null_column
from streamhouse.kafka.batches.ranges import gather
from streamhouse.kafka.batches.varints import Bytes, Integers

NULL_LENGTH: Final = -1


def column_at(data: Bytes, at: Integers, lengths: Integers) -> BinaryColumn:
    """A column of what lies at some places.

    Args:
        data: What it lies in.
        at: Where each entry begins.
        lengths: How long it is; -1: it is null.
    """
    validity = None
    if len(lengths) and lengths.min() < 0:
        if lengths.max() < 0:
            return null_column(len(lengths))
        validity = np.packbits(lengths >= 0, bitorder="little").tobytes()
        lengths = np.maximum(lengths, 0)
    offsets, blob = gather(data, at, lengths)
    return BinaryColumn(validity, offsets.astype(np.int32).tobytes(), blob)


def ranges_of(column: BinaryColumn, start: int, stop: int) -> tuple[Integers, Integers]:
    """Where the entries ``start`` to ``stop`` begin in the column's data, and how long they are; -1: null."""
    offsets = np.frombuffer(column.offsets, np.int32)[start : stop + 1].astype(np.int64)
    lengths = offsets[1:] - offsets[:-1]
    if column.validity is not None:
        first = start // 8
        bits = np.unpackbits(np.frombuffer(column.validity, np.uint8)[first:], bitorder="little")
        lengths[bits[start - 8 * first : stop - 8 * first] == 0] = NULL_LENGTH
    return offsets[:-1], lengths
