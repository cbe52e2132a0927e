"""Putting blocks together: the same records, offsets and all, in fewer and larger blocks.

What was made is decoded again and compared with what it was made of before it is even uploaded: a byte that
flips in memory, or a fault in here, must not cost anybody the only copy of a record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from streamhouse.errors import CorruptionError
from streamhouse.format.block import BLOCK_RECORDS_MAX, EncodedBlock, decode_block, encode_block
from streamhouse.format.columns import Columns
from streamhouse.format.joins import cut_columns, join_columns, joinable
from streamhouse.read.window import offset_at
from streamhouse.upkeep.rewrite import Rewritten, bare
from streamhouse.upkeep.sources import Source

_LARGEST: Final = 2  # times the target size


def compacted(sources: Iterator[Source], block_bytes: int) -> Iterator[Rewritten]:
    """The records of the sources in blocks of about that many raw bytes.

    Raises:
        CorruptionError: What was made does not hold what it was made of.
    """
    for group in _groups(sources, block_bytes):
        base = group[0].ref.base_offset
        columns = join_columns([(source.ref.base_offset, source.columns) for source in group])
        block = encode_block(columns)
        check(block, base, group)
        yield Rewritten(base, bare(block))


def check(block: EncodedBlock, base_offset: int, group: Sequence[Source]) -> None:
    """See that a block holds the records of the sources, and nothing else.

    Raises:
        CorruptionError: It does not.
    """
    decoded = decode_block(block.data, "a block that was put together")
    start = 0
    for ref, columns in group:
        stop = start + columns.count
        if (
            stop > decoded.count
            or cut_columns(decoded, start, stop) != cut_columns(columns, 0, columns.count)
            or offset_at(decoded, base_offset, start) != offset_at(columns, ref.base_offset, 0)
        ):
            raise CorruptionError(
                f"offsets {ref.base_offset} to {ref.next_offset - 1} of {ref.object_name} came out wrong when"
                " blocks were put together; nothing was replaced"
            )
        start = stop
    if start != decoded.count:
        raise CorruptionError(f"{decoded.count} records came out of {start}; nothing was replaced")


def _groups(sources: Iterator[Source], block_bytes: int) -> Iterator[list[Source]]:
    group: list[Source] = []
    size = count = 0
    for source in sources:
        raw = _raw_bytes(source.columns)
        if group and (
            size + raw > _LARGEST * block_bytes
            or count + source.columns.count > BLOCK_RECORDS_MAX
            or not joinable(group[0].columns, source.columns)
        ):
            yield group
            group, size, count = [], 0, 0
        group.append(source)
        size += raw
        count += source.columns.count
        if size >= block_bytes:
            yield group
            group, size, count = [], 0, 0
    if group:
        yield group


def _raw_bytes(columns: Columns) -> int:
    """What a block takes in memory: records of a few bytes are mostly offsets and timestamps."""
    return columns.nbytes
