"""Records that stay when others are taken out, gathered into new blocks."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import compress
from typing import Any, Final

import msgspec

from streamhouse.errors import CorruptionError
from streamhouse.format.block import BLOCK_RECORDS_MAX, EncodedBlock, decode_block, encode_block
from streamhouse.format.columns import Columns, columns_from_lists
from streamhouse.format.lists import binary_list, header_list, timestamp_list
from streamhouse.records import Headers
from streamhouse.upkeep.rewrite import Rewritten, bare
from streamhouse.upkeep.sources import Source, offsets_of

_LARGEST: Final = 2  # times the target size


class Kept:
    """Makes blocks of about ``block_bytes`` out of records that stay.

    Attributes:
        size: Bytes of the blocks that are made already.
    """

    def __init__(self, block_bytes: int) -> None:
        self.size = 0
        self._block_bytes = block_bytes
        self._blocks: list[Rewritten] = []
        self._rows = _Rows()

    def add(self, source: Source, stays: Sequence[bool] | None) -> int:
        """Take those records of a block that stay, ``None`` for all; how many they are."""
        rows = _rows(source.ref.base_offset, source.columns)
        if stays is not None:
            rows = rows.chosen(stays)
        if not rows.offsets:
            return 0
        rows.size = source.columns.nbytes * len(rows.offsets) // source.columns.count
        held = self._rows
        count = len(held.offsets) + len(rows.offsets)
        if held.offsets and (
            count > BLOCK_RECORDS_MAX or held.size + rows.size > _LARGEST * self._block_bytes
        ):
            self._encode()
        self._rows.extend(rows)
        if self._rows.size >= self._block_bytes:
            self._encode()
        return len(rows.offsets)

    def finish(self) -> list[Rewritten]:
        """The new blocks; from here on anew."""
        if self._rows.offsets:
            self._encode()
        blocks, self._blocks, self.size = self._blocks, [], 0
        return blocks

    def _encode(self) -> None:
        rows, self._rows = self._rows, _Rows()
        block = encode_block(rows.columns())
        base = rows.offsets[0]
        _check(block, base, rows)
        self._blocks.append(Rewritten(base, bare(block)))
        self.size += block.size


class _Rows(msgspec.Struct):
    """Records as parallel lists."""

    offsets: list[int] = []
    timestamps: list[int] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    headers: list[Headers] = []
    size: int = 0

    def lists(self) -> tuple[list[Any], ...]:
        return self.offsets, self.timestamps, self.keys, self.values, self.headers

    def chosen(self, stays: Sequence[bool]) -> _Rows:
        offsets, timestamps, keys, values, headers = (list(compress(each, stays)) for each in self.lists())
        return _Rows(offsets, timestamps, keys, values, headers)

    def extend(self, other: _Rows) -> None:
        for mine, more in zip(self.lists(), other.lists(), strict=True):
            mine.extend(more)
        self.size += other.size

    def columns(self) -> Columns:
        first, last = self.offsets[0], self.offsets[-1]
        columns = columns_from_lists(
            self.keys, self.values, self.timestamps, self.headers if any(self.headers) else None
        )
        if last - first == len(self.offsets) - 1:
            return columns
        deltas = array("q", map((-first).__add__, self.offsets)).tobytes()
        return msgspec.structs.replace(columns, deltas=deltas)


def _rows(base_offset: int, columns: Columns) -> _Rows:
    count = columns.count
    return _Rows(
        list(offsets_of(base_offset, columns)),
        timestamp_list(columns, 0, count),
        binary_list(columns.key, 0, count),
        binary_list(columns.value, 0, count),
        [()] * count if columns.headers is None else header_list(columns.headers, 0, count),
    )


def _check(block: EncodedBlock, base_offset: int, rows: _Rows) -> None:
    found = _rows(base_offset, decode_block(block.data, "a block of records that stay"))
    if found.lists() != rows.lists():
        raise CorruptionError(
            f"the records from offset {base_offset} on came out wrong when others were taken out; nothing"
            " was replaced"
        )
