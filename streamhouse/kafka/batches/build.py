"""Records of a block become a record batch as a consumer reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from streamhouse.format.columns import BinaryColumn, Columns, binary_column
from streamhouse.format.integers import int32s, int64s
from streamhouse.kafka.batches import layout
from streamhouse.kafka.batches.checksum import crc32c
from streamhouse.kafka.batches.compression import Codec, compress
from streamhouse.kafka.batches.few import encode_few
from streamhouse.kafka.batches.many import encode_many
from streamhouse.kafka.batches.source import Source

_FEW_MAX: Final = 112  # up to that many, records are encoded faster one by one
_LEADER_EPOCH: Final = 0
_RECORD_FRAME_BYTES_MAX: Final = 40  # all of a record that is neither key, value nor header
_HEADER_FRAME_BYTES_MAX: Final = 10


def build_batch(
    columns: Columns,
    start: int,
    stop: int,
    base_offset: int,
    *,
    codec: Codec | None = None,
    values: Sequence[bytes | None] | None = None,
    append_time: bool = False,
    batch_bytes_max: int = layout.INT32_MAX,
) -> bytes:
    """Encode a window of a block.

    Args:
        columns: The block.
        start: Place of the first record.
        stop: Place after the last; there is at least one record.
        base_offset: From which ``columns.deltas`` count.
        codec: What to compress the records with; ``None``: nothing.
        values: The values of the window, if those of the block are typed.
        append_time: Whether timestamps say when records were stored. A batch says so if it has but one, for
            there clients take one for all records.
        batch_bytes_max: How large a batch can be before compression.

    Returns:
        One batch; or several, one after the other, where one would be too large or its offsets too far apart.
    """
    if values is None:
        assert isinstance(columns.value, BinaryColumn), "typed values come as a list"
        source = Source(columns, columns.value, 0)
    else:
        source = Source(columns, binary_column(values), start)
    pieces: list[bytes | memoryview] = []
    for low, high in _parts(source, start, stop, batch_bytes_max):
        pieces += _batch(source, low, high, base_offset, codec or Codec.NONE, append_time)
    return b"".join(pieces)


def _batch(
    source: Source, start: int, stop: int, base_offset: int, codec: Codec, append_time: bool
) -> tuple[bytes, bytes, bytes | memoryview]:
    """A batch in three pieces: the header to its checksum, the rest of it, the records."""
    columns = source.columns
    first, last = _offset_in_block(columns, start), _offset_in_block(columns, stop - 1)
    timestamps = int64s(columns.timestamps)[start:stop]
    body: bytes | memoryview
    if stop - start <= _FEW_MAX:
        body, latest = encode_few(source, start, stop), max(timestamps)
    else:
        body, latest = encode_many(source, start, stop), int(np.frombuffer(timestamps, np.int64).max())
    if codec:
        body = compress(codec, body)
    at_once = append_time and min(timestamps) == latest
    summed = layout.SUMMED.pack(
        codec | layout.APPEND_TIME_FLAG if at_once else codec,
        last - first,
        timestamps[0],
        latest,
        layout.NO_PRODUCER_ID,
        layout.NO_PRODUCER_EPOCH,
        layout.NO_SEQUENCE,
        stop - start,
    )
    length = layout.HEADER_BYTES - layout.LENGTH_STOP + len(body)
    checksum = crc32c(body, crc32c(summed))
    return (
        layout.PREFIX.pack(base_offset + first, length, _LEADER_EPOCH, layout.MAGIC, checksum),
        summed,
        body,
    )


def _parts(source: Source, start: int, stop: int, batch_bytes_max: int) -> Iterator[tuple[int, int]]:
    """From where to where batches go; it is one, nearly always."""
    spread = _offset_in_block(source.columns, stop - 1) - _offset_in_block(source.columns, start)
    fits = spread <= layout.INT32_MAX and _bytes_max(source, start, stop) <= batch_bytes_max
    if fits or stop - start == 1:
        yield start, stop
        return
    middle = (start + stop) // 2
    yield from _parts(source, start, middle, batch_bytes_max)
    yield from _parts(source, middle, stop, batch_bytes_max)


def _offset_in_block(columns: Columns, place: int) -> int:
    return place if columns.deltas is None else int64s(columns.deltas)[place]


def _bytes_max(source: Source, start: int, stop: int) -> int:
    """What a batch can take at most."""
    columns, value_start = source.columns, source.value_start
    total = layout.HEADER_BYTES + _RECORD_FRAME_BYTES_MAX * (stop - start)
    total += _data_bytes(columns.key, start, stop)
    total += _data_bytes(source.value, start - value_start, stop - value_start)
    if columns.headers is not None:
        ends = int32s(columns.headers.offsets)
        first, last = ends[start], ends[stop]
        total += _HEADER_FRAME_BYTES_MAX * (last - first)
        total += _data_bytes(columns.headers.names, first, last)
        total += _data_bytes(columns.headers.values, first, last)
    return total


def _data_bytes(column: BinaryColumn, start: int, stop: int) -> int:
    ends = int32s(column.offsets)
    return ends[stop] - ends[start]
