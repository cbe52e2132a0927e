"""From stored bytes to what the application wants, a list at a time.

A deserialiser is named (``"bytes"``, ``"str"``, ``"json"``, ``"msgpack"``), or a type that JSON is
decoded into and checked against, or a function of one value. Nulls stay ``None`` and reach none of
them: a tombstone has nothing to decode.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.errors import InvalidSettingError, nearest

Deserializer: TypeAlias = str | type | Callable[[bytes], Any]
"""What users pass as ``key=`` and ``value=``."""


class BadValueError(Exception):
    """The entry at ``index`` was refused; ``__cause__`` says why."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class ListDeserializer:
    """A deserialiser made ready for lists.

    Args:
        decode: A function of one value, or ``None`` to leave the bytes as they are.
    """

    def __init__(self, decode: Callable[[bytes], Any] | None) -> None:
        self._decode = decode

    def __call__(self, values: list[bytes | None], *, nullable: bool) -> list[Any]:
        """Decode every entry.

        Args:
            values: What is stored.
            nullable: Whether there may be nulls among them.

        Raises:
            BadValueError: The first entry that was refused.
        """
        decode = self._decode
        if decode is None or (nullable and values.count(None) == len(values)):
            return values
        decoded: list[Any] = []
        try:
            # What was appended before an error stays, so the length tells which entry it was.
            if nullable:
                decoded.extend(None if value is None else decode(value) for value in values)
            else:
                decoded.extend(map(decode, values))  # type: ignore[arg-type]
        except Exception as error:
            raise BadValueError(len(decoded)) from error
        return decoded


AS_BYTES: Final = ListDeserializer(None)


def list_deserializer(wanted: Deserializer) -> ListDeserializer:
    """Make a deserialiser ready.

    Raises:
        InvalidSettingError: An unknown name, or something that is no deserialiser.
    """
    if isinstance(wanted, str):
        if wanted not in _BY_NAME:
            raise InvalidSettingError(
                f"unknown deserializer {wanted!r}{nearest(wanted, _BY_NAME)};"
                f" known are {', '.join(_BY_NAME)}, besides types and functions"
            )
        return ListDeserializer(_BY_NAME[wanted]())
    if wanted is bytes or wanted is str:  # what they are elsewhere; JSON would make base64 of bytes
        return list_deserializer(wanted.__name__)
    if isinstance(wanted, type) or typing.get_origin(wanted) is not None:
        try:
            return ListDeserializer(msgspec.json.Decoder(wanted).decode)
        except TypeError as error:
            raise InvalidSettingError(f"JSON cannot be decoded into {wanted!r}: {error}") from None
    if callable(wanted):
        return ListDeserializer(wanted)
    raise InvalidSettingError(f"a deserializer is a name, a type or a function, not {wanted!r}")


_BY_NAME: Final[dict[str, Callable[[], Callable[[bytes], Any] | None]]] = {
    "bytes": lambda: None,
    "str": lambda: bytes.decode,
    "json": lambda: msgspec.json.Decoder().decode,
    "msgpack": lambda: msgspec.msgpack.Decoder().decode,
}
