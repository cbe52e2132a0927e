r"""``--format``: how a record is written out.

``json``
    One object a line: topic, partition, offset, timestamp (milliseconds since 1970), key, value and
    headers. A value that is a JSON object or array stands as such, everything else as a string; a
    field whose bytes are not UTF-8 is called ``value_base64`` (``key_base64``) instead. ``null`` is
    a missing key, or a tombstone.
``raw``
    The bytes of the value and a line end.
anything else
    A text with kcat's tokens: ``%t`` topic, ``%p`` partition, ``%o`` offset, ``%T`` timestamp,
    ``%k`` key, ``%s`` or ``%v`` value, ``%K`` and ``%S`` or ``%V`` their lengths (-1 when there is
    none), ``%h`` headers, ``%%`` a per cent sign; and the escapes ``\n \t \r \0 \\``. A line
    end is added unless the text ends in an escape.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
import typer

from streamhouse.errors import nearest
from streamhouse.records import Record

BytesRecord: TypeAlias = Record[bytes | None, bytes | None]
Layout: TypeAlias = Callable[[BytesRecord], bytes]

TERMINAL: Final = "%p %o %k %v"
"""What people see who do not ask for a format."""


def make_layout(text: str) -> Layout:
    """Compile a format.

    Raises:
        typer.BadParameter: A token that does not exist.
    """
    if text == "json":
        return _json
    if text == "raw":
        return _raw
    return _compile(text)


def _raw(record: BytesRecord) -> bytes:
    return (record.value or b"") + b"\n"


def _json(record: BytesRecord) -> bytes:
    document = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        **_text_field("key", record.key),
        **_value_field(record.value),
        "headers": [{"name": name, **_text_field("value", value)} for name, value in record.headers],
    }
    return msgspec.json.encode(document) + b"\n"


def _value_field(value: bytes | None) -> dict[str, Any]:
    if value is None or value[:1] not in {b"{", b"["}:
        return _text_field("value", value)
    try:
        document = msgspec.json.decode(value)
    except ValueError:  # DecodeError is one, and so is what bytes that are not UTF-8 raise
        return _text_field("value", value)
    # As it was written, numbers with all their digits; unless that would break the line.
    return {"value": document if b"\n" in value else msgspec.Raw(value)}


def _text_field(name: str, data: bytes | None) -> dict[str, str | None]:
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _length(data: bytes | None) -> bytes:
    return b"%d" % (-1 if data is None else len(data))


def _headers(record: BytesRecord) -> bytes:
    return b",".join(b"%s=%s" % (name.encode(), value or b"") for name, value in record.headers)


_TOKENS: Final[dict[str, Layout]] = {
    "t": lambda record: record.topic.encode(),
    "p": lambda record: b"%d" % record.partition,
    "o": lambda record: b"%d" % record.offset,
    "T": lambda record: b"%d" % record.timestamp,
    "k": lambda record: record.key or b"",
    "K": lambda record: _length(record.key),
    "s": lambda record: record.value or b"",
    "S": lambda record: _length(record.value),
    "v": lambda record: record.value or b"",
    "V": lambda record: _length(record.value),
    "h": _headers,
    "%": lambda _: b"%",
}
_ESCAPES: Final = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0", "\\": b"\\"}


def _compile(text: str) -> Layout:
    if "%" not in text:
        raise typer.BadParameter(
            f"--format {text!r} is neither json, raw nor a text with tokens such as %k"
            f"{nearest(text, ['json', 'raw'])}"
        )
    pieces = [_piece(found) for found in re.findall(r"%.?|\\.?|[^%\\]+", text, re.DOTALL)]
    if not re.search(r"\\.$", text):
        pieces.append(_constant(b"\n"))
    return lambda record: b"".join([piece(record) for piece in pieces])


def _piece(text: str) -> Layout:
    if text[0] == "%":
        if text[1:] not in _TOKENS:
            known = " ".join(f"%{token}" for token in _TOKENS)
            raise typer.BadParameter(f"--format has no token {text!r}; there are {known}")
        return _TOKENS[text[1:]]
    if text[0] == "\\":
        if text[1:] not in _ESCAPES:
            known = " ".join(f"\\{escape}" for escape in _ESCAPES)
            raise typer.BadParameter(f"--format has no escape {text!r}; there are {known}")
        return _constant(_ESCAPES[text[1:]])
    return _constant(text.encode())


def _constant(data: bytes) -> Layout:
    return lambda _: data
