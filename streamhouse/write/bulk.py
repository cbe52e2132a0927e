"""The arguments of ``send_many`` as rows: of the right length, of types that can be stored, not too large.

Everything is checked before anything is sent, and without looking at records one by one where the list
as a whole can answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from streamhouse.errors import InvalidRecordError
from streamhouse.records import Headers
from streamhouse.write.encoder import Rows
from streamhouse.write.fields import (
    HeadersInput,
    check_record_bytes,
    header_bytes,
    headers_tuple,
    headers_tuples,
    timestamp_ms,
    timestamps_ms,
)
from streamhouse.write.serializers import Serializers


def listed(name: str, items: Any, count: int | None = None) -> Sequence[Any]:
    """The items as a list or tuple.

    Args:
        name: What they are, for messages.
        items: Anything that can be iterated over, except text, bytes and mappings.
        count: How many there must be.

    Raises:
        InvalidRecordError: They are something else, or more or fewer.
    """
    if isinstance(items, str | bytes | bytearray | memoryview | Mapping) or not isinstance(items, Iterable):
        raise InvalidRecordError(
            f"{name} is a {type(items).__qualname__}: pass a list with one entry per record"
        )
    sequence = items if isinstance(items, list | tuple) else list(items)
    if count is not None and len(sequence) != count:
        raise InvalidRecordError(f"{len(sequence)} {name} for {count} values: one per record is needed")
    return sequence


def make_rows(
    serializers: Serializers,
    values: Sequence[Any],
    keys: Sequence[Any] | None,
    headers: HeadersInput | Sequence[HeadersInput],
    timestamps: Any,
    *,
    trust: bool,
) -> Rows:
    """The arguments as they are stored.

    Args:
        serializers: For keys and values.
        values: One per record.
        keys: Likewise, or ``None``.
        headers: Likewise, or a mapping for all records, or ``None``.
        timestamps: Likewise, or one for all.
        trust: Believe that keys and values are bytes if the first is. If one is not after all, making
            columns of them will raise TypeError.

    Raises:
        InvalidRecordError: One of them cannot be stored.
    """
    stored_headers: Sequence[Headers] | None = None
    if isinstance(headers, Mapping):
        stored_headers = [headers_tuple(headers)] * len(values)
    elif headers is not None:
        stored_headers = headers_tuples(cast("Sequence[HeadersInput]", headers))
    many = isinstance(timestamps, Sequence) and not isinstance(timestamps, str | bytes)
    return Rows(
        serializers.values(values, trust=trust),
        None if keys is None else serializers.keys(keys, trust=trust),
        timestamps_ms(timestamps) if many else timestamp_ms(timestamps),
        stored_headers,
    )


def payload_bytes(rows: Rows, record_bytes_max: int) -> int:
    """What keys, values and headers of all records take together.

    Raises:
        RecordTooLargeError: One of the records takes more than ``record_bytes_max``.
    """
    header_sizes = None if rows.headers is None else list(map(header_bytes, rows.headers))
    total = _total(rows.values) + _total(rows.keys or ()) + sum(header_sizes or ())
    if total > record_bytes_max:  # else no single one can be
        columns = [_lengths(rows.values)]
        if rows.keys is not None:
            columns.append(_lengths(rows.keys))
        if header_sizes is not None:
            columns.append(header_sizes)
        if sum(map(max, columns)) > record_bytes_max:
            for position, size in enumerate(map(sum, zip(*columns, strict=True))):
                check_record_bytes(size, record_bytes_max, f"values[{position}]: ")
    return total


def _total(items: Sequence[bytes | None]) -> int:
    try:
        return sum(map(len, cast("Sequence[bytes]", items)))
    except TypeError:  # there are nulls
        return sum(_lengths(items))


def _lengths(items: Sequence[bytes | None]) -> list[int]:
    try:
        return list(map(len, cast("Sequence[bytes]", items)))
    except TypeError:  # there are nulls
        return [len(item or b"") for item in items]
