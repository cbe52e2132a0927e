"""What a field of type JSON may hold: only what every reader can read again.

JSON has neither NaN nor infinity, which encoders write as null without a word. And values may be nested only
so deeply: decoders call themselves, so how deep they get depends on how deep the stack of the reader is.
"""

from __future__ import annotations

from collections import deque
from math import isfinite
from typing import Any, Final

import msgspec

from streamhouse.errors import InvalidRecordError
from streamhouse.format.columns import ArrowColumn
from streamhouse.format.lists import binary_list
from streamhouse.limits import JSON_DEPTH_MAX
from streamhouse.schema.model import Type

_SHOWN_BYTES: Final = 80


def may_be_deep(text: bytes) -> bool:
    """Whether some JSON could be nested too deeply, told without decoding it."""
    return len(text) > JSON_DEPTH_MAX and text.count(b"[") + text.count(b"{") > JSON_DEPTH_MAX


def check_json(path: str, _: Type, value: Any) -> None:
    """See that JSON can say what a Python value does.

    Args:
        path: The field.
        value: Anything at all.

    Raises:
        InvalidRecordError: It is or has NaN or an infinity, something that has no JSON, or is too deep.
    """
    try:
        plain = msgspec.to_builtins(value, str_keys=True)
        text = _encode(plain)
    except RecursionError:
        raise _too_deep(path) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRecordError(f"field {path}: the value cannot be stored: {error}") from None
    if may_be_deep(text) or b"null" in text:  # which is also what becomes of NaN
        _check_plain(path, plain)


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
            _check_text(path, text)
    for text in filter(may_be_deep, texts):
        _check_plain(path, _decode(text))


def _check_text(path: str, text: bytes) -> None:
    try:
        _decode(text)
    except RecursionError:
        raise _too_deep(path) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        shown = text[:_SHOWN_BYTES].decode(errors="replace")
        raise InvalidRecordError(f"field {path}: {shown!r} is no JSON: {error}") from None


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


def _too_deep(path: str) -> InvalidRecordError:
    return InvalidRecordError(
        f"field {path}: arrays and objects lie more than {JSON_DEPTH_MAX} deep in each other"
    )


_ARRAYS: Final = frozenset((list, tuple))  # what is left of them, and of sets
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
