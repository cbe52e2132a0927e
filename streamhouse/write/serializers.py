"""What users pass in becomes bytes, or an error that says what to pass instead.

Values: bytes as they are, text as UTF-8, ``None`` as a tombstone; dicts, lists, tuples, dataclasses and
msgspec Structs as JSON. Numbers and other objects are refused rather than guessed at: a producer that
writes ``str(value)`` today cannot be told apart from one that meant it tomorrow. Whoever wants them
gives the producer a serialiser.

Whole lists are looked at by the set of their types first: the usual list holds one type, and then
one call in C does it all.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias

import msgspec

from streamhouse import limits
from streamhouse.errors import InvalidRecordError, InvalidSettingError, RecordTooLargeError, nearest
from streamhouse.records import Headers

Serializer: TypeAlias = Callable[[Any], bytes | str | None]
"""Makes bytes (or text, stored as UTF-8) out of a key or a value. It is never given ``None``."""

SerializerName: TypeAlias = Literal["json", "msgpack"]

HeadersInput: TypeAlias = Mapping[str, bytes | str | None] | Iterable[tuple[str, bytes | str | None]] | None
"""Headers as users write them."""

_json: Final = msgspec.json.Encoder()
_NAMED: Final[dict[str, Serializer]] = {
    "json": _json.encode,
    "msgpack": msgspec.msgpack.Encoder().encode,
}
_BYTES: Final = frozenset((bytes, type(None)))
_EPOCH: Final = dt.datetime.fromtimestamp(0, tz=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_TIMESTAMP_MIN: Final = -62_135_596_800_000  # year 1
_TIMESTAMP_MAX: Final = 253_402_300_799_999  # year 9999: microseconds by mistake lie above it


class Serializers:
    """Keys and values to bytes, one at a time or by the list.

    Args:
        key: For keys that are not ``None``: a callable, ``"json"`` or ``"msgpack"``. ``None``: bytes
            and text only.
        value: Likewise for values. ``None``: the rules above.
    """

    def __init__(
        self,
        key: Serializer | SerializerName | None = None,
        value: Serializer | SerializerName | None = None,
    ) -> None:
        self._key = _custom("key_serializer", key)
        self._value = _custom("value_serializer", value)

    @property
    def plain(self) -> bool:
        """Whether bytes stay as they are."""
        return self._key is None and self._value is None

    def key(self, key: Any) -> bytes | None:
        """One key.

        Raises:
            InvalidRecordError: It cannot be stored.
        """
        return _plain_key(key) if self._key is None else _apply(self._key, "key", key)

    def value(self, value: Any) -> bytes | None:
        """One value.

        Raises:
            InvalidRecordError: It cannot be stored.
        """
        return _plain_value(value) if self._value is None else _apply(self._value, "value", value)

    def keys(self, keys: Sequence[Any], *, trust: bool = False) -> Sequence[bytes | None]:
        """Many keys; the same list when nothing had to be done.

        Args:
            keys: What the user passed.
            trust: Believe that all are bytes if the first is.

        Raises:
            InvalidRecordError: One cannot be stored; the message has its position.
        """
        if self._key is None:
            if trust and keys and type(keys[0]) is bytes:
                return keys
            kinds = set(map(type, keys))
            if kinds <= _BYTES:
                return keys
            if kinds == {str}:
                return _encode_texts(keys, "keys")
        return _one_by_one(self.key, keys, "keys")

    def values(self, values: Sequence[Any], *, trust: bool = False) -> Sequence[bytes | None]:
        """Many values; the same list when nothing had to be done.

        Args:
            values: What the user passed.
            trust: Believe that all are bytes if the first is.

        Raises:
            InvalidRecordError: One cannot be stored; the message has its position.
        """
        if self._value is None:
            if trust and values and type(values[0]) is bytes:
                return values
            kinds = set(map(type, values))
            if kinds <= _BYTES:
                return values
            if kinds == {str}:
                return _encode_texts(values, "values")
            if all(map(_is_json, kinds)):
                return self._json_lines(values)
        return _one_by_one(self.value, values, "values")

    def _json_lines(self, values: Sequence[Any]) -> Sequence[bytes | None]:
        """One call for all; JSON has no line ends of its own, except those a ``msgspec.Raw`` brings."""
        try:
            lines = _json.encode_lines(values).split(b"\n")
        except Exception:  # noqa: BLE001 - whatever it is, one by one says which and raises it properly
            lines = []
        if len(lines) != len(values) + 1:
            return _one_by_one(self.value, values, "values")
        lines.pop()
        return lines


def headers_tuple(headers: HeadersInput) -> Headers:
    """Headers as they are stored: pairs in order, duplicates kept.

    Raises:
        InvalidRecordError: They are not pairs of a name and bytes, text or ``None``.
    """
    if headers is None:
        return ()
    if isinstance(headers, str | bytes | bytearray | memoryview) or not isinstance(headers, Iterable):
        raise InvalidRecordError(
            f"headers of type {_name(headers)} cannot be stored: pass a dict, or a list of pairs of "
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
            and set(map(type, map(itemgetter(1), flat))) <= _BYTES
            and max(map(len, headers)) <= limits.HEADERS_PER_RECORD_MAX  # type: ignore[arg-type]
            and "".join(map(itemgetter(0), flat)).isascii()
        ):
            return headers  # type: ignore[return-value]
    return _one_by_one(headers_tuple, headers, "headers")


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
            f"a timestamp of type {_name(timestamp)} cannot be stored: pass whole milliseconds since "
            "1970, or a datetime with a time zone"
        )
    if not _TIMESTAMP_MIN <= timestamp <= _TIMESTAMP_MAX:
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
        not timestamps or _TIMESTAMP_MIN <= min(timestamps) <= max(timestamps) <= _TIMESTAMP_MAX
    ):
        return timestamps
    return _one_by_one(timestamp_ms, timestamps, "timestamps")


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


def _plain_key(key: Any) -> bytes | None:
    if key is None or type(key) is bytes:
        return key
    if isinstance(key, str):
        return _encode_text(key)
    if isinstance(key, bytes | bytearray | memoryview):
        return bytes(key)
    raise InvalidRecordError(
        f"a key of type {_name(key)} cannot be stored: pass bytes, str or None, or give the producer "
        "key_serializer="
    )


def _plain_value(value: Any) -> bytes | None:
    if value is None or type(value) is bytes:
        return value
    if isinstance(value, str):
        return _encode_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)  # a copy: the owner may write into it before it is stored
    if not _is_json(type(value)):
        raise InvalidRecordError(
            f"a value of type {_name(value)} cannot be stored: pass bytes, str, None or something that "
            "becomes JSON (dict, list, tuple, dataclass, msgspec Struct), or give the producer "
            "value_serializer="
        )
    try:
        return _json.encode(value)
    except Exception as error:
        raise InvalidRecordError(f"a {_name(value)} does not become JSON: {error}") from error


def _apply(serializer: Serializer, what: str, item: Any) -> bytes | None:
    if item is None:
        return None  # null stays null: a tombstone is no business of the serialiser
    try:
        made: Any = serializer(item)
    except Exception as error:
        raise InvalidRecordError(
            f"the {what}_serializer failed on a {_name(item)}: {type(error).__name__}: {error}"
        ) from error
    if made is None or isinstance(made, bytes | str | bytearray | memoryview):
        return _plain_key(made)
    raise InvalidRecordError(
        f"the {what}_serializer returned a {_name(made)}: it must return bytes, str or None"
    )


def _one_by_one(function: Callable[[Any], Any], items: Sequence[Any], what: str) -> list[Any]:
    done: list[Any] = []
    try:
        done.extend(map(function, items))
    except InvalidRecordError as error:
        # extend keeps what came before the failure, so its length is the position.
        raise InvalidRecordError(f"{what}[{len(done)}]: {error}") from error.__cause__
    return done


def _encode_texts(texts: Sequence[str], what: str) -> Sequence[bytes | None]:
    try:
        return list(map(str.encode, texts))
    except UnicodeEncodeError:
        return _one_by_one(_encode_text, texts, what)


def _encode_text(text: str) -> bytes:
    try:
        return str.encode(text)
    except UnicodeEncodeError as error:
        raise InvalidRecordError(
            f"text cannot be stored as UTF-8: {error.reason} at position {error.start}"
        ) from None


def _header(pair: Any) -> tuple[str, bytes | None]:
    try:
        name, value = pair
    except (TypeError, ValueError):
        raise InvalidRecordError(
            f"a header of type {_name(pair)} cannot be stored: pass pairs of name and value"
        ) from None
    if not isinstance(name, str):
        raise InvalidRecordError(f"header names must be str, not {_name(name)}")
    _encode_text(name)
    if isinstance(value, str):
        return str(name), _encode_text(value)
    if value is None or isinstance(value, bytes | bytearray | memoryview):
        return str(name), None if value is None else bytes(value)
    raise InvalidRecordError(f"header {name!r} has a value of type {_name(value)}: pass bytes, str or None")


def _is_json(kind: type) -> bool:
    return issubclass(kind, dict | list | tuple | msgspec.Struct) or dataclasses.is_dataclass(kind)


def _custom(setting: str, serializer: Any) -> Serializer | None:
    if serializer is None or callable(serializer):
        return serializer  # type: ignore[no-any-return]
    if isinstance(serializer, str) and serializer in _NAMED:
        return _NAMED[serializer]
    hint = nearest(serializer, _NAMED) if isinstance(serializer, str) else ""
    raise InvalidSettingError(
        f"{setting}={serializer!r} is neither a callable nor one of {', '.join(_NAMED)}{hint}"
    )


def _name(item: Any) -> str:
    return type(item).__qualname__
