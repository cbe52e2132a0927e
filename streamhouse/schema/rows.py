"""Values of a typed topic as Python objects: what is accepted, and which field it is if something is not.

For each schema a msgspec Struct is made, so decoding, checking and naming the culprit is one call into C.
On its way into a block a value is kept as msgpack of that Struct, which unlike JSON has bytes, NaN and
times of its own. Only fields of type JSON are text by then: msgpack has neither their decimals nor integers
beyond 64 bits.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final

import msgspec

from streamhouse.errors import InvalidRecordError, nearest
from streamhouse.schema.jsonfields import json_texts, may_be_deep
from streamhouse.schema.model import INTEGERS, Field, Schema, Type
from streamhouse.schema.objects import WITH_TIME_SPANS, plain
from streamhouse.schema.rowtypes import attribute, packed_type, row_type

_SHOWN_MAX: Final = 80


class RowDecoder:
    """Turns what users send into rows, and rows into what waits for its block.

    Args:
        schema: Of the topic.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.row = row_type(schema)
        self._from_json = msgspec.json.Decoder(self.row).decode
        self._from_msgpack = msgspec.msgpack.Decoder(packed_type(schema)).decode
        self._to_msgpack = msgspec.msgpack.Encoder().encode
        row = Type("struct", fields=schema.fields)
        self._check = _checker("", row)
        self._json_texts = json_texts("", Field("", row, False))

    def pack(self, value: Any) -> bytes | None:
        """A value, checked, as it waits for its block.

        Args:
            value: A dict, a Struct or dataclass, JSON as bytes or text; ``None`` is a tombstone.

        Raises:
            InvalidRecordError: It does not fit the schema; the message has the name of the field.
        """
        if value is None:
            return None
        row: Any = None
        try:
            if isinstance(value, bytes | str | bytearray | memoryview):
                row = self._from_json(value)
            elif isinstance(value, dict):
                row = self._of_dict(value)
            else:
                row = self._of_object(value)
            if self._check is not None:
                self._check(row)
            if self._json_texts is not None:
                self._json_texts(_is_plain_json(value), row)
            return self._to_msgpack(row)
        except msgspec.ValidationError as error:
            raise InvalidRecordError(self._explained(error)) from None
        except msgspec.DecodeError as error:
            raise InvalidRecordError(f"the value is no JSON: {error}") from None
        except RecursionError:
            raise InvalidRecordError("the value is nested too deeply") from None
        except (TypeError, ValueError, OverflowError) as error:  # a lone surrogate, say
            if isinstance(error, InvalidRecordError):
                raise
            raise InvalidRecordError(f"{self._culprit(row)} cannot be stored: {error}") from None

    def unpack(self, packed: Sequence[bytes | None]) -> list[Any]:
        """The rows of what was packed."""
        if None not in packed:
            return list(map(self._from_msgpack, packed))  # type: ignore[arg-type]
        decode = self._from_msgpack
        return [None if each is None else decode(each) for each in packed]

    def _of_dict(self, value: dict[str, Any]) -> Any:
        try:
            return msgspec.convert(value, self.row)
        except msgspec.ValidationError as error:
            try:
                fields = plain(value, WITH_TIME_SPANS)
            except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
                raise error from None  # what is wrong with that field, not with another one
        return msgspec.convert(fields, self.row)

    def _of_object(self, value: Any) -> Any:
        try:
            fields = plain(value)
        except TypeError as error:
            raise InvalidRecordError(f"a {type(value).__qualname__} cannot be stored: {error}") from None
        if not isinstance(fields, dict):
            raise InvalidRecordError(
                f"a value of type {type(value).__qualname__} has no fields: pass a dict, a Struct or JSON"
            )
        return msgspec.convert(fields, self.row)

    def _culprit(self, row: Any) -> str:
        """The field that cannot be packed, where it is one."""
        if row is not None:
            for index, field in enumerate(self.schema.fields):
                try:
                    self._to_msgpack(getattr(row, attribute(index)))
                except (TypeError, ValueError, OverflowError):
                    return f"field {field.name}: the value"
        return "the value"

    def _explained(self, error: Exception) -> str:
        text = str(error)
        unknown = _UNKNOWN.search(text)
        hint = ""
        if unknown is not None and " - at " not in text:
            hint = nearest(unknown.group(1), [field.name for field in self.schema.fields])
        found = _AT.search(text)
        if found is None:
            return f"the value does not fit the schema: {text}{hint}"
        return f"field {found.group(1)}: {text[: found.start()]}"


@lru_cache(maxsize=64)
def row_decoder(schema: Schema) -> RowDecoder:
    """The decoder of a schema, made once."""
    return RowDecoder(schema)


def unscaled(type_: Type, value: decimal.Decimal) -> int:
    """A decimal as a whole number of its last digits, rounded as DuckDB does.

    Raises:
        OverflowError: It has too many digits before the point, or is no number.
    """
    if not value.is_finite() or value.adjusted() > type_.precision:
        raise OverflowError
    number = int(value.scaleb(type_.scale, _EXACT).to_integral_value(decimal.ROUND_HALF_UP, _EXACT))
    if abs(number) >= 10**type_.precision:
        raise OverflowError
    return number


Check = Callable[[Any], None]
CheckOfKind = Callable[[str, Type, Any], None]


def _checker(path: str, type_: Type) -> Check | None:
    """What finds values that the Python type has and the stored type has not; ``None``: there are none.

    Args:
        path: Of the field.
        type_: Its type.
    """
    if type_.kind in _CHECKS:
        return partial(_CHECKS[type_.kind], path, type_)
    if type_.kind == "struct":
        checks = []
        for index, field in enumerate(type_.fields):
            check = _checker(f"{path}.{field.name}" if path else field.name, field.type)
            if check is not None:
                checks.append((attribute(index), check))
        return (lambda value: _check_struct(checks, value)) if checks else None
    if type_.kind == "list":
        item = _checker(f"{path}[]", type_.fields[0].type)
        return None if item is None else lambda value: _check_all(item, value)
    if type_.kind == "map":
        inner = [_checker(f"{path}.{field.name}", field.type) for field in type_.fields]
        if inner == [None, None]:
            return None
        return lambda value: _check_map(inner, value)
    return None


def _check_decimal(path: str, type_: Type, value: decimal.Decimal) -> None:
    try:
        unscaled(type_, value)
    except OverflowError:
        raise InvalidRecordError(f"field {path}: {_shown(value)} does not fit {type_}") from None


def _check_float(path: str, _: Type, value: float) -> None:
    if abs(value) >= _FLOAT_MAX and value not in _INFINITE:
        raise InvalidRecordError(f"field {path}: {value!r} does not fit FLOAT")


def _check_ubigint(path: str, _: Type, value: int) -> None:
    if value > INTEGERS["ubigint"][1]:
        raise InvalidRecordError(f"field {path}: {_shown(value)} does not fit UBIGINT")


def _check_struct(checks: Sequence[tuple[str, Check]], value: Any) -> None:
    for name, check in checks:
        inner = getattr(value, name)
        if inner is not None:
            check(inner)


def _check_all(check: Check, values: Iterable[Any]) -> None:
    for value in values:
        if value is not None:
            check(value)


def _check_map(checks: Sequence[Check | None], value: dict[Any, Any]) -> None:
    of_keys, of_values = checks
    if of_keys is not None:
        _check_all(of_keys, value)
    if of_values is not None:
        _check_all(of_values, value.values())


def _is_plain_json(value: Any) -> bool:
    """Whether what is decoded from it becomes the same JSON again."""
    return isinstance(value, bytes) and not may_be_deep(value)


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


_CHECKS: Final[Mapping[str, CheckOfKind]] = {
    "decimal": _check_decimal,
    "float": _check_float,
    "ubigint": _check_ubigint,
}
_EXACT: Final = decimal.Context(prec=100, traps=[])
_FLOAT_MAX: Final = 3.4028235677973366e38  # halfway to the next power of two, and rounded up to it
_INFINITE: Final = (float("inf"), float("-inf"))
_AT: Final = re.compile(r" - at (?:`key` in )?`\$\.?(.*)`$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"unknown field `(.*)`")
