"""Records one at a time.

For small batches, where setting up numpy costs more than it saves; and to say what exactly is wrong with one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from streamhouse.format.columns import Columns, columns_from_lists
from streamhouse.format.integers import int64s
from streamhouse.format.lists import binary_list, header_list
from streamhouse.kafka.batches.errors import InvalidRecordsError
from streamhouse.kafka.batches.layout import (
    HEADER_ENTRY_BYTES_MIN,
    INT32_VARINT_BYTES_MAX,
    INT64_VARINT_BYTES_MAX,
)
from streamhouse.kafka.batches.source import Source
from streamhouse.limits import HEADERS_PER_RECORD_MAX
from streamhouse.records import Headers

Row: TypeAlias = tuple[int, bytes | None, bytes | None, Headers]
"""Timestamp delta, key, value, headers."""

_INT64_MAX: Final = (1 << 63) - 1
_INT64_MIN: Final = -_INT64_MAX - 1
_INT64_SPAN: Final = 1 << 64
_NULL_LENGTH: Final = b"\x01"
_ATTRIBUTES: Final = b"\x00"


def decode_few(
    body: bytes, position: int, index: int, count: int, base_timestamp: int
) -> tuple[Columns, int]:
    """Some records of a batch, and where the next one begins.

    Args:
        body: The records, decompressed.
        position: Where the first one begins.
        index: How many are before it.
        count: How many to take; at least one.
        base_timestamp: What timestamps are relative to.

    Raises:
        InvalidRecordsError: One of them is malformed.
    """
    rows = []
    for number in range(index, index + count):
        row, position = _record(body, position, number)
        rows.append(row)
    deltas, keys, values, headers = zip(*rows, strict=True)
    timestamps = _within_int64([base_timestamp + delta for delta in deltas])
    return columns_from_lists(keys, values, timestamps, headers if any(headers) else None), position


def encode_few(source: Source, start: int, stop: int) -> bytes:
    """Records as they lie in a batch that begins with them.

    Args:
        source: What they are taken from.
        start: Place of the first.
        stop: Place after the last.
    """
    columns, shift = source.columns, source.value_start
    timestamps = int64s(columns.timestamps)[start:stop]
    base = timestamps[0]
    times = _within_int64([timestamp - base for timestamp in timestamps])
    deltas: Sequence[int] = range(stop - start)
    if columns.deltas is not None:
        offsets = int64s(columns.deltas)[start:stop]
        deltas = [offset - offsets[0] for offset in offsets]
    headers: Sequence[Headers] = [()] * (stop - start)
    if columns.headers is not None:
        headers = header_list(columns.headers, start, stop)
    pieces: list[bytes] = []
    rows = zip(
        times,
        deltas,
        binary_list(columns.key, start, stop),
        binary_list(source.value, start - shift, stop - shift),
        headers,
        strict=True,
    )
    for time, delta, key, entry, pairs in rows:
        parts = [_ATTRIBUTES, write_varint(time), write_varint(delta), *_framed(key), *_framed(entry)]
        parts.append(write_varint(len(pairs)))
        for name, content in pairs:
            parts += (*_framed(name.encode()), *_framed(content))
        record = b"".join(parts)
        pieces += (write_varint(len(record)), record)
    return b"".join(pieces)


def read_int32(body: bytes, position: int) -> tuple[int, int]:
    """A zigzag varint of 32 bits, and where it ends.

    Raises:
        IndexError: It is cut off.
        ValueError: It is longer than can be.
    """
    first = body[position]
    if first < 128:
        return first >> 1 ^ -(first & 1), position + 1
    second = body[position + 1]
    if second < 128:
        raw = first & 127 | second << 7
        return raw >> 1 ^ -(raw & 1), position + 2
    return _long(body, position, INT32_VARINT_BYTES_MAX, 32)


@lru_cache(maxsize=1 << 12)
def write_varint(number: int) -> bytes:
    """A number of 64 bits as a zigzag varint."""
    raw = number << 1 if number >= 0 else (~number << 1) | 1
    out = bytearray()
    while raw > 127:
        out.append(raw & 127 | 128)
        raw >>= 7
    out.append(raw)
    return bytes(out)


def _record(body: bytes, position: int, index: int) -> tuple[Row, int]:
    try:
        length, position = read_int32(body, position)
        end = position + length
        if length < 0 or end > len(body):
            raise ValueError(f"a length of {length} bytes where {len(body) - position} are left")
        delta, position = _read_int64(body, position + 1)
        offset, position = read_int32(body, position)
        if offset != index:
            raise ValueError(f"its offset says that it is number {offset}")
        key, position = _bytes(body, position, end)
        value, position = _bytes(body, position, end)
        headers: Headers = ()
        if body[position]:
            headers, position = _headers(body, position, end)
        else:
            position += 1
        if position != end:
            raise ValueError(f"{end - position} bytes are left at its end")
    except IndexError:
        raise InvalidRecordsError(f"record {index} ends early") from None
    except ValueError as error:
        raise InvalidRecordsError(f"record {index}: {error}") from None
    return (delta, key, value, headers), position


def _within_int64(sums: list[int]) -> list[int]:
    """What sums are in 64 bits: deltas between extreme timestamps overflow, and back again in the reader."""
    if min(sums) >= _INT64_MIN and max(sums) <= _INT64_MAX:
        return sums
    return [(number - _INT64_MIN) % _INT64_SPAN + _INT64_MIN for number in sums]


def _framed(content: bytes | None) -> tuple[bytes, ...]:
    return (_NULL_LENGTH,) if content is None else (write_varint(len(content)), content)


def _read_int64(body: bytes, position: int) -> tuple[int, int]:
    first = body[position]
    if first < 128:
        return first >> 1 ^ -(first & 1), position + 1
    return _long(body, position, INT64_VARINT_BYTES_MAX, 64)


def _long(body: bytes, position: int, bytes_max: int, bits: int) -> tuple[int, int]:
    raw = shift = 0
    for place in range(position, position + bytes_max):
        byte = body[place]
        raw |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            if raw >> bits:
                break
            return raw >> 1 ^ -(raw & 1), place + 1
    raise ValueError(f"an integer does not fit {bits} bits")


def _bytes(body: bytes, position: int, end: int) -> tuple[bytes | None, int]:
    if body[position] == _NULL_LENGTH[0]:
        return None, position + 1
    length, position = read_int32(body, position)
    if length < 0:
        if length == -1:  # at more length than needed
            return None, position
        raise ValueError(f"a length of {length} bytes")
    stop = position + length
    if stop > end:
        raise ValueError(f"a length of {length} bytes where {end - position} are left")
    return body[position:stop], stop


def _headers(body: bytes, position: int, end: int) -> tuple[Headers, int]:
    count, position = read_int32(body, position)
    most = min(HEADERS_PER_RECORD_MAX, (end - position) // HEADER_ENTRY_BYTES_MIN)
    if not 0 <= count <= most:
        raise ValueError(f"{count} headers, where there can be {most}")
    pairs = []
    for _ in range(count):
        name, position = _bytes(body, position, end)
        if name is None:
            raise ValueError("a header without a name")
        value, position = _bytes(body, position, end)
        pairs.append((name.decode(), value))
    return tuple(pairs), position
