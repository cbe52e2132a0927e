"""What batches are made of."""

from __future__ import annotations

from typing import NamedTuple

from streamhouse.format.columns import BinaryColumn, Columns


class Source(NamedTuple):
    """Records of a block.

    Attributes:
        columns: The block.
        value: Values: all of them, or those from a certain record on.
        value_start: Place of the record that has the first of those.
    """

    columns: Columns
    value: BinaryColumn
    value_start: int
