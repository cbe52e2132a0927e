"""Records that stay when others are taken out, gathered into new blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streamhouse.errors import CorruptionError
from streamhouse.format.block import BLOCK_RECORDS_MAX, EncodedBlock, decode_block, encode_block
from streamhouse.format.columns import Columns
from streamhouse.format.joins import cut_columns, join_columns, joinable, pick_columns
from streamhouse.read.window import offset_at
from streamhouse.upkeep.rewrite import Rewritten, bare
from streamhouse.upkeep.sources import Source

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
        self._pieces: list[tuple[int, Columns]] = []
        self._held = 0

    def add(self, source: Source, stays: Sequence[bool] | None) -> int:
        """Take those records of a block that stay, ``None`` for all; how many they are."""
        base, columns = source.ref.base_offset, source.columns
        if stays is not None:
            if True not in stays:
                return 0
            base, columns = pick_columns(base, columns, bytes(stays))
        size = columns.nbytes
        if self._pieces and (
            sum([piece.count for _, piece in self._pieces]) + columns.count > BLOCK_RECORDS_MAX
            or self._held + size > _LARGEST * self._block_bytes
            or not joinable(self._pieces[0][1], columns)
        ):
            self._encode()
        self._pieces.append((base, columns))
        self._held += size
        if self._held >= self._block_bytes:
            self._encode()
        return columns.count

    def finish(self) -> list[Rewritten]:
        """The new blocks; from here on anew."""
        if self._pieces:
            self._encode()
        blocks, self._blocks, self.size = self._blocks, [], 0
        return blocks

    def _encode(self) -> None:
        pieces, self._pieces, self._held = self._pieces, [], 0
        block = encode_block(join_columns(pieces))
        _check(block, pieces)
        self._blocks.append(Rewritten(pieces[0][0], bare(block)))
        self.size += block.size


def _check(block: EncodedBlock, pieces: Sequence[tuple[int, Columns]]) -> None:
    decoded = decode_block(block.data, "a block of records that stay")
    first = pieces[0][0]
    start = 0
    for base, columns in pieces:
        stop = start + columns.count
        if (
            stop > decoded.count
            or cut_columns(decoded, start, stop) != cut_columns(columns, 0, columns.count)
            or offset_at(decoded, first, start) != offset_at(columns, base, 0)
        ):
            break
        start = stop
    if start != decoded.count:
        raise CorruptionError(
            f"the records from offset {first} on came out wrong when others were taken out; nothing"
            " was replaced"
        )
