"""What every record may have beside key and value, and how errors name the record they mean.

Headers keep order and duplicates, as in Kafka. Timestamps are milliseconds; a ``datetime`` without a
time zone is refused, because half of those who pass one mean UTC and the other half do not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeAlias

from streamhouse import limits
from streamhouse.errors import InvalidRecordError, RecordTooLargeError
from streamhouse.records import Headers

HeadersInput: TypeAlias = Mapping[str, bytes | str | None] | Iterable[tuple[str, bytes | str | None]] | None
"""Headers as users write them."""

BYTES_OR_NONE: Final = frozenset((bytes, type(None)))
_EPOCH: Final = dt.datetime.fromtimestamp(0, tz=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)


def headers_tuple(headers: HeadersInput) -> Headers:
    """Headers as they are stored: pairs in order, duplicates kept.

    Raises:
        InvalidRecordError: They are not pairs of a name and bytes, text or ``None``.
    """
    if headers is None:
        return ()
    if isinstance(headers, str | bytes | bytearray | memoryview) or not isinstance(headers, Iterable):
        raise InvalidRecordError(
            f"headers of type {type_name(headers)} cannot be stored: pass a dict, or a list of pairs of "
            "name and value"
        )
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    stored = tuple(map(_header, pairs))
    if len(stored) > limits.HEADERS_PER_RECORD_MAX:
        raise InvalidRecordError(
            f"a record has at most {limits.HEADERS_PER_RECORD_MAX:,} headers, not {len(stored):,}"
        )
    return stored


def headers_tuples(headers: Sequence[HeadersInput]) -> Sequence[Headers]:
    """Headers of many records.

    Raises:
        InvalidRecordError: Some cannot be stored; the message has their position.
    """
    if set(map(type, headers)) == {tuple}:
        flat = list(chain.from_iterable(headers))  # type: ignore[arg-type]
        if (
            set(map(type, flat)) <= {tuple}
            and set(map(len, flat)) <= {2}
            and set(map(type, map(itemgetter(0), flat))) <= {str}
            and set(map(type, map(itemgetter(1), flat))) <= BYTES_OR_NONE
            and max(map(len, headers)) <= limits.HEADERS_PER_RECORD_MAX  # type: ignore[arg-type]
            and "".join(map(itemgetter(0), flat)).isascii()
        ):
            return headers  # type: ignore[return-value]
    return one_by_one(headers_tuple, headers, "headers")


def header_bytes(headers: Headers) -> int:
    """What the names and values of one record's headers take."""
    return sum([len(name.encode()) + len(value or b"") for name, value in headers])


def timestamp_ms(timestamp: Any) -> int:
    """Milliseconds since 1970.

    Raises:
        InvalidRecordError: It is neither an integer of milliseconds nor a ``datetime`` with a time
            zone, or no calendar has it.
    """
    if isinstance(timestamp, dt.datetime):
        if timestamp.utcoffset() is None:
            raise InvalidRecordError(
                f"timestamp {timestamp.isoformat()} has no time zone: give it one, such as "
                "datetime.now(datetime.UTC)"
            )
        return (timestamp - _EPOCH) // _MILLISECOND
    if isinstance(timestamp, bool) or not isinstance(timestamp, int):
        raise InvalidRecordError(
            f"a timestamp of type {type_name(timestamp)} cannot be stored: pass whole milliseconds since "
            "1970, or a datetime with a time zone"
        )
    if not limits.TIMESTAMP_MS_MIN <= timestamp <= limits.TIMESTAMP_MS_MAX:
        raise InvalidRecordError(
            f"timestamp {timestamp} is outside the years 1 to 9999: it is in milliseconds since 1970"
        )
    return int(timestamp)


def timestamps_ms(timestamps: Sequence[Any]) -> Sequence[int]:
    """Timestamps of many records.

    Raises:
        InvalidRecordError: One is wrong; the message has its position.
    """
    if set(map(type, timestamps)) <= {int} and (
        not timestamps
        or limits.TIMESTAMP_MS_MIN <= min(timestamps) <= max(timestamps) <= limits.TIMESTAMP_MS_MAX
    ):
        return timestamps
    return one_by_one(timestamp_ms, timestamps, "timestamps")


def check_record_bytes(size: int, bytes_max: int, which: str = "") -> None:
    """Refuse a record that is too large.

    Args:
        size: Its bytes.
        bytes_max: How many it may have.
        which: Which one it is, in front of the message.

    Raises:
        RecordTooLargeError: It is.
    """
    if size > bytes_max:
        raise RecordTooLargeError(
            f"{which}a record of {size:,} bytes exceeds record_bytes_max={bytes_max:,}: raise that "
            "setting, or store the content elsewhere and send a reference"
        )


def one_by_one(function: Callable[[Any], Any], items: Sequence[Any], what: str) -> list[Any]:
    """Apply a function to each item; its error gets the item's position in front."""
    done: list[Any] = []
    try:
        done.extend(map(function, items))
    except InvalidRecordError as error:
        # extend keeps what came before the failure, so its length is the position.
        raise InvalidRecordError(f"{what}[{len(done)}]: {error}") from error.__cause__
    return done


def encode_text(text: str) -> bytes:
    """UTF-8."""
    try:
        return str.encode(text)
    except UnicodeEncodeError as error:
        raise InvalidRecordError(
            f"text cannot be stored as UTF-8: {error.reason} at position {error.start}"
        ) from None


def type_name(item: Any) -> str:
    """The type of something, for messages."""
    return type(item).__qualname__


def _header(pair: Any) -> tuple[str, bytes | None]:
    try:
        name, value = pair
    except (TypeError, ValueError):
        raise InvalidRecordError(
            f"a header of type {type_name(pair)} cannot be stored: pass pairs of name and value"
        ) from None
    if not isinstance(name, str):
        raise InvalidRecordError(f"header names must be str, not {type_name(name)}")
    try:
        str.encode(name)  # it is stored as text, which must not fail later, in the middle of a batch
        if isinstance(value, str):
            return str(name), str.encode(value)
    except UnicodeEncodeError as error:
        raise InvalidRecordError(
            f"header {name!r} cannot be stored as UTF-8: {error.reason} at position {error.start} of its "
            f"{'name' if error.object == name else 'value'}"
        ) from None
    if value is None or isinstance(value, bytes | bytearray | memoryview):
        return str(name), None if value is None else bytes(value)
    raise InvalidRecordError(
        f"header {name!r} has a value of type {type_name(value)}: pass bytes, str or None"
    )
