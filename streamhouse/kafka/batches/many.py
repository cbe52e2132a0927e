"""Whole columns of records at once, both ways.

Decoding finds where records begin, and then reads one field of all of them after the other. Records are taken
by some thousands, so that what is in the making stays in the processor's cache, and the memory for it is
bounded by that and not by what a batch says of itself.

Whatever does not look right is left to :mod:`~streamhouse.kafka.batches.few`, which knows what to say.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from streamhouse.format.columns import Columns
from streamhouse.format.joins import join_columns
from streamhouse.kafka.batches.binaries import NULL_LENGTH, column_at
from streamhouse.kafka.batches.boundaries import record_starts
from streamhouse.kafka.batches.few import decode_few
from streamhouse.kafka.batches.framed import FramedColumn
from streamhouse.kafka.batches.headers import HeaderWriter, read_headers
from streamhouse.kafka.batches.layout import INT32_VARINT_BYTES_MAX, INT64_VARINT_BYTES_MAX
from streamhouse.kafka.batches.ranges import running
from streamhouse.kafka.batches.source import Source
from streamhouse.kafka.batches.varints import (
    Bytes,
    Integers,
    MalformedError,
    read_varints,
    widths,
    write_varints,
    zigzag,
)

_CHUNK_RECORDS: Final = 16 << 10
_CHUNK_BYTES: Final = 2 << 20


def decode_many(body: bytes, count: int, base_timestamp: int) -> tuple[Columns, int]:
    """All records of a batch, and where they end.

    Args:
        body: The records, decompressed.
        count: How many there are.
        base_timestamp: What timestamps are relative to.

    Raises:
        InvalidRecordsError: Something is wrong with one of them.
    """
    data = np.frombuffer(body, np.uint8)
    position = index = 0
    chunks: list[tuple[int, Columns]] = []
    while index < count:
        left = count - index
        some = min(left, _CHUNK_RECORDS, 1 + _CHUNK_BYTES * left // (len(body) - position + 1))
        starts = record_starts(body, data, position, some)
        columns = None if starts is None else _decoded(data, starts, index, base_timestamp)
        if columns is None:
            columns, position = decode_few(body, position, index, some, base_timestamp)
        else:
            assert starts is not None
            position = int(starts[-1])
        chunks.append((index, columns))
        index += some
    return join_columns(chunks) if len(chunks) > 1 else chunks[0][1], position


def _decoded(data: Bytes, starts: Integers, index: int, base_timestamp: int) -> Columns | None:
    """Records between some positions; ``None``: not all of them look right."""
    count = len(starts) - 1
    ends = starts[1:]
    try:
        lengths, at = read_varints(data, starts[:-1], INT32_VARINT_BYTES_MAX)
        deltas, offsets_at = read_varints(data, at + 1, INT64_VARINT_BYTES_MAX)
        offsets, keys_at = read_varints(data, offsets_at, INT32_VARINT_BYTES_MAX)
        key_lengths, keys_at = read_varints(data, keys_at, INT32_VARINT_BYTES_MAX)
        value_lengths, values_at = read_varints(
            data, keys_at + np.maximum(key_lengths, 0), INT32_VARINT_BYTES_MAX
        )
        counts, rest_at = read_varints(data, values_at + np.maximum(value_lengths, 0), INT32_VARINT_BYTES_MAX)
        if (
            min(key_lengths.min(), value_lengths.min()) < NULL_LENGTH
            or (at + lengths != ends).any()
            or (offsets != np.arange(index, index + count)).any()
        ):
            return None
        headers = None
        if counts.any():
            headers, rest_at = read_headers(data, rest_at, counts, ends)
        if (rest_at != ends).any():
            return None
    except (MalformedError, UnicodeDecodeError):
        return None
    timestamps = deltas + np.int64(base_timestamp)
    return Columns(
        count=count,
        timestamps=timestamps.tobytes(),
        timestamp_min=int(timestamps.min()),
        timestamp_max=int(timestamps.max()),
        key=column_at(data, keys_at, key_lengths),
        value=column_at(data, values_at, value_lengths),
        headers=headers,
    )


def encode_many(source: Source, start: int, stop: int) -> memoryview:
    """The same as :func:`~streamhouse.kafka.batches.few.encode_few`."""
    columns, shift = source.columns, source.value_start
    timestamps = np.frombuffer(columns.timestamps, np.int64)[start:stop]
    times = zigzag(timestamps - timestamps[0])
    offsets = zigzag(_offset_deltas(columns, start, stop))
    time_widths, offset_widths = widths(times), widths(offsets)
    key = FramedColumn(columns.key, start, stop)
    entry = FramedColumn(source.value, start - shift, stop - shift)
    headers = None if columns.headers is None else HeaderWriter(columns.headers, start, stop)
    lengths = 1 + time_widths + offset_widths + key.sizes + entry.sizes
    lengths += 1 if headers is None else headers.sizes
    raw_lengths = zigzag(lengths)
    length_widths = widths(raw_lengths)
    starts = running(length_widths + lengths)
    out = np.empty(int(starts[-1]), np.uint8)
    at = starts[:-1]
    write_varints(out, at, raw_lengths, length_widths)
    at = at + length_widths
    out[at] = 0  # attributes
    at += 1
    write_varints(out, at, times, time_widths)
    at += time_widths
    write_varints(out, at, offsets, offset_widths)
    at += offset_widths
    key.write(out, at)
    at += key.sizes
    entry.write(out, at)
    at += entry.sizes
    if headers is None:
        out[at] = 0
    else:
        headers.write(out, at)
    return out.data


def _offset_deltas(columns: Columns, start: int, stop: int) -> Integers:
    if columns.deltas is None:
        return np.arange(stop - start)
    offsets = np.frombuffer(columns.deltas, np.int64)[start:stop]
    deltas: Integers = offsets - offsets[0]
    return deltas
