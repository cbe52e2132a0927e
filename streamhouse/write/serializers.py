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
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from streamhouse.errors import InvalidRecordError, InvalidSettingError, nearest
from streamhouse.schema.rows import RowDecoder
from streamhouse.write.fields import BYTES_OR_NONE, encode_text, one_by_one, type_name

Serializer: TypeAlias = Callable[[Any], bytes | str | None]
"""Makes bytes (or text, stored as UTF-8) out of a key or a value. It is never given ``None``."""

SerializerName: TypeAlias = Literal["json", "msgpack"]

_json: Final = msgspec.json.Encoder()
_NAMED: Final[dict[str, Serializer]] = {
    "json": _json.encode,
    "msgpack": msgspec.msgpack.Encoder().encode,
}


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

    @property
    def for_keys(self) -> Serializers:
        """Those for keys alone: values stay bytes."""
        return Serializers(self._key)

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

    def stored(self, value: Any, decoder: RowDecoder | None) -> bytes | None:
        """One value as it waits for its block: its bytes, or what a typed topic makes of it.

        Raises:
            InvalidRecordError: It cannot be stored, or does not fit the schema.
        """
        if decoder is None:
            return self.value(value)
        return decoder.pack(value if self._value is None else _apply(self._value, "value", value))

    def all_stored(self, values: Sequence[Any], decoder: RowDecoder) -> Sequence[bytes | None]:
        """Many values of a typed topic.

        Raises:
            InvalidRecordError: One does not fit; the message has its position.
        """
        if self._value is None:
            return one_by_one(decoder.pack, values, "values")
        return one_by_one(lambda value: self.stored(value, decoder), values, "values")

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
            if kinds <= BYTES_OR_NONE:
                return keys
            if kinds == {str}:
                return _encode_texts(keys, "keys")
        return one_by_one(self.key, keys, "keys")

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
            if kinds <= BYTES_OR_NONE:
                return values
            if kinds == {str}:
                return _encode_texts(values, "values")
            if all(map(_is_json, kinds)):
                return self._json_lines(values)
        return one_by_one(self.value, values, "values")

    def _json_lines(self, values: Sequence[Any]) -> Sequence[bytes | None]:
        """One call for all; JSON has no line ends of its own, except those a ``msgspec.Raw`` brings."""
        try:
            lines = _json.encode_lines(values).split(b"\n")
        except Exception:  # noqa: BLE001 - whatever it is, one by one says which and raises it properly
            lines = []
        if len(lines) != len(values) + 1:
            return one_by_one(self.value, values, "values")
        lines.pop()
        return lines


def _plain_key(key: Any) -> bytes | None:
    if key is None or type(key) is bytes:
        return key
    if isinstance(key, str):
        return encode_text(key)
    if isinstance(key, bytes | bytearray | memoryview):
        return bytes(key)
    raise InvalidRecordError(
        f"a key of type {type_name(key)} cannot be stored: pass bytes, str or None, or give the producer "
        "key_serializer="
    )


def _plain_value(value: Any) -> bytes | None:
    if value is None or type(value) is bytes:
        return value
    if isinstance(value, str):
        return encode_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)  # a copy: the owner may write into it before it is stored
    if not _is_json(type(value)):
        raise InvalidRecordError(
            f"a value of type {type_name(value)} cannot be stored: pass bytes, str, None or something that "
            "becomes JSON (dict, list, tuple, dataclass, msgspec Struct), or give the producer "
            "value_serializer="
        )
    try:
        return _json.encode(value)
    except Exception as error:
        raise InvalidRecordError(f"a {type_name(value)} does not become JSON: {error}") from error


def _apply(serializer: Serializer, what: str, item: Any) -> bytes | None:
    if item is None:
        return None  # null stays null: a tombstone is no business of the serialiser
    try:
        made: Any = serializer(item)
    except Exception as error:
        raise InvalidRecordError(
            f"the {what}_serializer failed on a {type_name(item)}: {type(error).__name__}: {error}"
        ) from error
    if made is None or isinstance(made, bytes | str | bytearray | memoryview):
        return _plain_key(made)
    raise InvalidRecordError(
        f"the {what}_serializer returned a {type_name(made)}: it must return bytes, str or None"
    )


def _encode_texts(texts: Sequence[str], what: str) -> Sequence[bytes | None]:
    try:
        return list(map(str.encode, texts))
    except UnicodeEncodeError:
        return one_by_one(encode_text, texts, what)


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
