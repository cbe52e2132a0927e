"""Records that come in columns: DataFrames and Arrow data for typed topics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from streamhouse import limits
from streamhouse.errors import InvalidRecordError
from streamhouse.format.arrays import lengths_max
from streamhouse.format.block import encode_block
from streamhouse.format.columns import (
    ArrowColumn,
    BinaryColumn,
    Columns,
    binary_column,
    columns_from_lists,
    longest,
    stamped,
)
from streamhouse.format.integers import differences, int64s
from streamhouse.format.joins import cut_columns, pick_columns
from streamhouse.format.lists import binary_list
from streamhouse.records import Headers
from streamhouse.schema.frames import Chunk, chunks_of
from streamhouse.write.bulk import listed
from streamhouse.write.destination import Destination, repeated
from streamhouse.write.encoder import Rows
from streamhouse.write.fields import check_record_bytes, headers_tuple, timestamp_ms, timestamps_ms
from streamhouse.write.serializers import Serializers
from streamhouse.write.shipment import Parts

_BLOCK_BYTES_MAX: Final = 32 * limits.MIB  # read in parts, so that it may be large


def frame_columns(
    destination: Destination,
    serializers: Serializers,
    frame: Any,
    keys: Any,
    headers: Any,
    timestamps: Any,
    record_bytes_max: int,
) -> list[Columns]:
    """A frame as columns of blocks, none of which belongs to a partition yet.

    Args:
        destination: A typed topic.
        serializers: For keys.
        frame: DataFrame, Arrow data or capsule.
        keys: The name of a column, or one per record, or ``None``.
        headers: For all records, or ``None``.
        timestamps: The name of a column, or one per record, or one for all.
        record_bytes_max: Largest record.

    Raises:
        InvalidRecordError: The frame does not fit the schema, or a list its length.
        RecordTooLargeError: Some record may exceed ``record_bytes_max``.
    """
    if destination.decoder is None:
        raise InvalidRecordError(
            f"topic {destination.topic.name!r} has no schema; columns can be sent to typed topics only"
        )
    key = keys if isinstance(keys, str) else None
    time = timestamps if isinstance(timestamps, str) else None
    chunks = [chunk for chunk in chunks_of(destination.decoder.schema, frame, key, time) if chunk.value.count]
    count = sum([chunk.value.count for chunk in chunks])
    all_keys = None if key is not None or keys is None else serializers.keys(listed("keys", keys, count))
    stamps: Sequence[int] | int = 0
    if time is None and isinstance(timestamps, Sequence):
        stamps = timestamps_ms(listed("timestamps", timestamps, count))
    elif time is None:
        stamps = timestamp_ms(timestamps)
    made = []
    start = 0
    for chunk in chunks:
        stop = start + chunk.value.count
        mine = None if all_keys is None else binary_column(all_keys[start:stop])
        at = stamps if isinstance(stamps, int) else stamps[start:stop]
        columns = _columns(chunk, mine, at, headers_tuple(headers))
        size = lengths_max(chunk.value) + longest(differences(columns.key.offsets))
        if size > record_bytes_max:
            check_record_bytes(size, record_bytes_max, "the longest values of the frame together: ")
        made.append(columns)
        start = stop
    return made


def frame_parts(destination: Destination, columns: Sequence[Columns], partition: int | None) -> Parts:
    """The blocks of a frame, by partition.

    Args:
        destination: The topic.
        columns: What :func:`frame_columns` made.
        partition: For all records; by default their keys decide.
    """
    parts: dict[int, list[Any]] = {}
    chosen = partition
    time_ms = destination.append_time
    if time_ms is not None:
        columns = [stamped(each, time_ms) for each in columns]
    for each in columns:
        if chosen is None:
            rows = Rows([None] * each.count, _keys(each.key, each.count), 0, None)
            assigned = destination.assign(rows)
            if rows.keys is None:
                chosen = assigned[0]  # all of the frame stays together
        else:
            assigned = repeated(chosen, each.count)
        for part in sorted(set(assigned)):
            mine = each
            if assigned.count(part) < each.count:
                flags = bytes(map(part.__eq__, assigned))
                _, mine = pick_columns(0, each, flags)
                mine = msgspec.structs.replace(mine, deltas=None)
            parts.setdefault(part, []).extend(map(encode_block, _pieces(mine)))
    return sorted(parts.items())


def _columns(
    chunk: Chunk, keys: BinaryColumn | None, stamps: Sequence[int] | int, headers: Headers
) -> Columns:
    count = chunk.value.count
    columns = columns_from_lists(None, [None] * count, stamps, [headers] * count if headers else None)
    columns = msgspec.structs.replace(columns, value=chunk.value)
    key = chunk.key or keys
    if key is not None:
        columns = msgspec.structs.replace(columns, key=key)
    if chunk.timestamps is not None:
        times = timestamps_ms(int64s(chunk.timestamps).tolist())
        columns = msgspec.structs.replace(
            columns, timestamps=chunk.timestamps, timestamp_min=min(times), timestamp_max=max(times)
        )
    return columns


def _pieces(columns: Columns) -> Iterator[Columns]:
    pieces = -(-columns.nbytes // _BLOCK_BYTES_MAX)
    step = -(-columns.count // max(1, pieces))
    if step >= columns.count:
        yield columns
        return
    bounds = columns.value
    assert isinstance(bounds, ArrowColumn)
    for start in range(0, columns.count, step):
        piece = cut_columns(columns, start, min(start + step, columns.count))
        assert isinstance(piece.value, ArrowColumn)
        children = [
            msgspec.structs.replace(mine, bounds=whole.bounds)  # wider than need be
            for mine, whole in zip(piece.value.children, bounds.children, strict=True)
        ]
        value = msgspec.structs.replace(piece.value, children=tuple(children))
        yield msgspec.structs.replace(piece, value=value)


def _keys(column: BinaryColumn, count: int) -> Sequence[bytes | None] | None:
    if column.validity is not None and not any(column.validity):
        return None
    return binary_list(column, 0, count)
