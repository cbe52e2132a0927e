"""What a field of type JSON may hold, and its text: only what every reader can read again.

JSON has neither NaN nor infinity, which encoders write as null without a word. And values may be nested only
so deeply: decoders call themselves, so how deep they get depends on how deep the stack of the reader is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import Any, Final

import msgspec

from streamhouse.errors import InvalidRecordError
from streamhouse.format.columns import ArrowColumn
from streamhouse.format.lists import binary_list
from streamhouse.limits import JSON_DEPTH_MAX
from streamhouse.schema.model import Field
from streamhouse.schema.objects import complete
from streamhouse.schema.rowtypes import attribute

_SHOWN_BYTES: Final = 80


def may_be_deep(text: bytes) -> bool:
    """Whether some JSON could be nested too deeply, told without decoding it."""
    return len(text) > JSON_DEPTH_MAX and text.count(b"[") + text.count(b"{") > JSON_DEPTH_MAX


Texts = Callable[[bool, Any], Any]
"""What becomes of a value: whether it was read from JSON that is not too deep, the value."""


def json_texts(path: str, field: Field) -> Texts | None:
    """What puts the text of JSON in the place of what is in fields of that type; ``None``: there are none.

    Args:
        path: Of the field.
        field: A field of type JSON, or one that may hold such fields. Structs are altered in place.
    """
    kind, inner = field.type.kind, field.type.fields
    if kind == "json":
        return partial(_text_or_none if field.optional else _text, path)
    if kind == "struct":
        made = [json_texts(f"{path}.{each.name}" if path else each.name, each) for each in inner]
        parts = [(attribute(index), part) for index, part in enumerate(made) if part is not None]
        return partial(_in_struct, parts) if parts else None
    if kind == "list":
        item = json_texts(f"{path}[]", inner[0])
        return None if item is None else partial(_in_list, item)
    if kind == "map":
        value = json_texts(f"{path}.{inner[1].name}", inner[1])
        return None if value is None else partial(_in_map, value)
    return None


def _in_struct(parts: Sequence[tuple[str, Texts]], trust: bool, row: Any) -> Any:
    if row is not None:
        for name, part in parts:
            setattr(row, name, part(trust, getattr(row, name)))
    return row


def _in_list(item: Texts, trust: bool, values: list[Any] | None) -> list[Any] | None:
    return None if values is None else [item(trust, value) for value in values]


def _in_map(part: Texts, trust: bool, values: dict[Any, Any] | None) -> dict[Any, Any] | None:
    return None if values is None else {key: part(trust, value) for key, value in values.items()}


def _text(path: str, trust: bool, value: Any) -> bytes:
    text = _text_or_none(path, trust, value)
    if text is None:
        raise InvalidRecordError(f"field {path}: Expected JSON, got `null`, but the field is NOT NULL")
    return text


def _text_or_none(path: str, trust: bool, value: Any) -> bytes | None:
    """The JSON of a value; ``None`` for null.

    Raises:
        InvalidRecordError: It is or has NaN or an infinity, something that has no JSON, or is too deep.
    """
    if value is None:
        return None
    try:
        text = _encode(value) if trust else _checked(path, value)
    except RecursionError:
        raise _too_deep(path) from None
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InvalidRecordError):
            raise
        raise InvalidRecordError(f"field {path}: the value cannot be stored: {error}") from None
    return None if text.strip() == b"null" else text  # which may be that of a msgspec.Raw


def _checked(path: str, value: Any) -> bytes:
    text = _encode(value)
    if not _is_same(check_json_text(path, text), value):  # a Struct leaves its defaults out
        value = complete(value)
        text = _encode(value)
        check_json_text(path, text)
    if b"null" in text:  # which is also what becomes of NaN
        _check_plain(path, msgspec.to_builtins(value, str_keys=True, enc_hook=_of_raw))
    return text


def _is_same(decoded: Any, value: Any) -> bool:
    try:
        return bool(decoded == value)
    except RecursionError:
        raise
    except Exception:  # noqa: BLE001 - it is the users' code
        return False


def check_json_column(path: str, column: ArrowColumn) -> None:
    """See that the texts of a column are JSON. DuckDB's type also takes NaN, and commas before a bracket.

    Raises:
        InvalidRecordError: One is not, or is too deep.
    """
    entries = binary_list(column.entries(column.validity), 0, column.count)
    texts = [text for text in entries if text is not None]
    try:
        deque(map(_decode, texts), maxlen=0)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        for text in texts:
            check_json_text(path, text)
    for text in filter(may_be_deep, texts):
        check_json_text(path, text)


def check_json_text(path: str, text: bytes) -> Any:
    """See that a text is JSON.

    Args:
        path: The field.
        text: Of its value.

    Returns:
        The value.

    Raises:
        InvalidRecordError: It is not, or is too deep.
    """
    try:
        value = _decode(text)
    except RecursionError:
        raise _too_deep(path) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        shown = text[:_SHOWN_BYTES].decode(errors="replace")
        raise InvalidRecordError(f"field {path}: {shown!r} is no JSON: {error}") from None
    if may_be_deep(text):
        _check_plain(path, value)
    return value


def _check_plain(path: str, value: Any) -> None:
    """One level of nesting after the other, so that it can be as deep as it wants."""
    level = [value]
    depth = 0
    while level:
        inner: list[Any] = []
        is_nested = False
        for each in level:
            kind = type(each)
            if kind is dict:
                inner.extend(each.values())
                is_nested = True
            elif kind in _ARRAYS:
                inner.extend(each)
                is_nested = True
            elif kind is float and not isfinite(each):
                raise InvalidRecordError(f"field {path}: {each!r} is no number in JSON")
        depth += is_nested
        if depth > JSON_DEPTH_MAX:
            raise _too_deep(path)
        level = inner


def _of_raw(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return _decode(value)
    raise TypeError(f"{type(value).__qualname__} is no JSON")


def _too_deep(path: str) -> InvalidRecordError:
    return InvalidRecordError(
        f"field {path}: arrays and objects lie more than {JSON_DEPTH_MAX} deep in each other"
    )


_ARRAYS: Final = frozenset((list, tuple))  # what is left of them, and of sets
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_decode: Final = msgspec.json.Decoder().decode
