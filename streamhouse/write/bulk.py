"""The arguments of ``send_many`` as rows: of the right length, of types that can be stored, not too large.

Everything is checked before anything is sent, and without looking at records one by one where the list
as a whole can answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, cast

from streamhouse.errors import InvalidRecordError
from streamhouse.format.columns import Lengths, longest
from streamhouse.records import Headers
from streamhouse.schema.rows import RowDecoder
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
    decoder: RowDecoder | None = None,
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
        decoder: What checks the values of a typed topic.

    Raises:
        InvalidRecordError: One of them cannot be stored.
    """
    stored_headers: Sequence[Headers] | None = None
    if isinstance(headers, Mapping):
        stored_headers = [headers_tuple(headers)] * len(values)
    elif headers is not None:
        stored_headers = headers_tuples(cast("Sequence[HeadersInput]", headers))
    many = isinstance(timestamps, Sequence) and not isinstance(timestamps, str | bytes)
    if decoder is None:
        stored = serializers.values(values, trust=trust)
    else:
        stored = serializers.all_stored(values, decoder)
    return Rows(
        stored,
        None if keys is None else serializers.keys(keys, trust=trust),
        timestamps_ms(timestamps) if many else timestamp_ms(timestamps),
        stored_headers,
        decoder=decoder,
    )


def payload_bytes(rows: Rows, record_bytes_max: int) -> int:
    """What keys, values and headers of all records take together.

    The lengths of keys and values, found out on the way, stay with the rows: whoever lays them out
    need not look at each record again.

    Raises:
        RecordTooLargeError: One of the records takes more than ``record_bytes_max``.
    """
    rows.measure()
    columns = [_lengths(rows.values, rows.value_lengths)]
    if rows.keys is not None:
        columns.append(_lengths(rows.keys, rows.key_lengths))
    if rows.headers is not None:
        columns.append(list(map(header_bytes, rows.headers)))
    count = len(rows)
    total = sum([column * count if isinstance(column, int) else sum(column) for column in columns])
    # Unless the longest of each column together are too long, no single record can be.
    if total > record_bytes_max and sum(map(longest, columns)) > record_bytes_max:
        each = [repeat(column, count) if isinstance(column, int) else column for column in columns]
        for position, size in enumerate(map(sum, zip(*each, strict=True))):
            check_record_bytes(size, record_bytes_max, f"values[{position}]: ")
    return total


def _lengths(items: Sequence[bytes | None], known: Lengths | None) -> Lengths:
    """0 for nulls."""
    return [len(item or b"") for item in items] if known is None else known
