"""From stored bytes to what the application wants, a list at a time.

By default keys and values are bytes, and the values of a typed topic dicts. A deserialiser is named
(``"bytes"``, ``"str"``, ``"json"``, ``"msgpack"``), or a type that JSON is decoded into and checked
against, or a function of one value. Nulls stay ``None`` and reach none of them: a tombstone has nothing
to decode.

A typed value becomes what a type asks for without going through JSON; all other deserialisers get it
as JSON.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.errors import InvalidSettingError, nearest
from streamhouse.format.columns import ArrowColumn
from streamhouse.schema.assemble import dicts, json_values
from streamhouse.schema.convert import Converter
from streamhouse.schema.model import Schema

Deserializer: TypeAlias = str | type | Callable[[bytes], Any] | None
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
        typed: What becomes of the dicts of a typed topic; ``None``: they become JSON, which is decoded.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Any] | None,
        typed: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self._decode = decode
        self._typed = typed

    def of_column(self, schema: Schema, column: ArrowColumn, start: int, stop: int) -> list[Any]:
        """Decode typed values.

        Args:
            schema: The one the column conforms to.
            column: A struct.
            start: First record.
            stop: The record after the last.

        Raises:
            BadValueError: The first entry that was refused.
        """
        if self._typed is None:
            values = json_values(schema, column, start, stop)
            return self(values, nullable=column.validity is not None)
        rows = dicts(schema, column, start, stop)
        if self._typed is _as_dict:
            return rows
        decoded: list[Any] = []
        typed = self._typed
        try:
            decoded.extend(None if row is None else typed(row) for row in rows)
        except Exception as error:
            raise BadValueError(len(decoded)) from error
        return decoded

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


def _as_dict(row: dict[str, Any]) -> Any:
    return row


AS_BYTES: Final = ListDeserializer(None)
USUAL: Final = ListDeserializer(None, _as_dict)
"""Bytes; of a typed topic dicts."""


def list_deserializer(wanted: Deserializer) -> ListDeserializer:
    """Make a deserialiser ready.

    Raises:
        InvalidSettingError: An unknown name, or something that is no deserialiser.
    """
    if wanted is None:
        return USUAL
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
            return ListDeserializer(msgspec.json.Decoder(wanted).decode, Converter(wanted))
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
