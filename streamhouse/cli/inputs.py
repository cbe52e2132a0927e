"""Records out of text: lines, JSON lines and CSV, also compressed with gzip.

Every line is checked before it is sent, and an error names the file and the line.
"""

from __future__ import annotations

import csv
import enum
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import msgspec

from streamhouse.errors import InvalidInputError, nearest


class InputFormat(enum.StrEnum):
    """How a text is cut into records."""

    LINES = "lines"
    JSONL = "jsonl"
    CSV = "csv"


class Item(NamedTuple):
    """What one line becomes."""

    key: bytes | None
    value: bytes


class Rules(NamedTuple):
    """How to find the key of a line.

    Attributes:
        key: The key of every record.
        key_field: The field of a JSON object or CSV row that is the key.
        key_delimiter: What separates key and value in a line; a line without it has no key.
    """

    key: bytes | None = None
    key_field: str | None = None
    key_delimiter: bytes | None = None


def format_of(path: Path) -> InputFormat:
    """The format that a file's name promises."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    last = suffixes[-1] if suffixes else ""
    if last in {".jsonl", ".ndjson"}:
        return InputFormat.JSONL
    return InputFormat.CSV if last == ".csv" else InputFormat.LINES


def read_items(stream: BinaryIO, name: str, form: InputFormat, rules: Rules) -> Iterator[Item]:
    """The records in a stream of bytes.

    Args:
        stream: What to read; gzip is recognised by ``name``.
        name: What to call it in an error.
        form: How to cut it.
        rules: How to find the keys.

    Raises:
        InvalidInputError: A line that is not what the format says; the message has its number.
    """
    plain: Any = gzip.GzipFile(fileobj=stream) if name.endswith(".gz") else stream
    try:
        match form:
            case InputFormat.LINES:
                yield from _read_lines(plain, rules)
            case InputFormat.JSONL:
                yield from _read_jsonl(plain, name, rules)
            case InputFormat.CSV:
                yield from _read_csv(plain, name, rules)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidInputError(f"{name} is no complete gzip file: {error}") from None


def _read_lines(stream: IO[bytes], rules: Rules) -> Iterator[Item]:
    for line in stream:
        value = line.removesuffix(b"\n").removesuffix(b"\r")
        key = rules.key
        if rules.key_delimiter is not None:
            before, delimiter, after = value.partition(rules.key_delimiter)
            if delimiter:
                key, value = before, after
        yield Item(key, value)


def _read_jsonl(stream: IO[bytes], name: str, rules: Rules) -> Iterator[Item]:
    key_of = _key_finder(rules)
    for number, line in enumerate(stream, 1):
        value = line.strip()
        if not value:
            continue
        try:
            document = msgspec.json.decode(value)
            yield Item(key_of(document), value)
        except (TypeError, ValueError) as error:  # DecodeError is a ValueError
            raise InvalidInputError(f"{name}, line {number}: {error}") from None


def _read_csv(stream: IO[bytes], name: str, rules: Rules) -> Iterator[Item]:
    key_of = _key_finder(rules)
    encode = msgspec.json.Encoder().encode
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    rows = csv.DictReader(text, strict=True)
    try:
        for row in rows:
            if None in row or None in row.values():
                raise ValueError(f"not as many fields as the {len(rows.fieldnames or ())} columns")
            yield Item(key_of(row), encode(row))
    except (csv.Error, UnicodeDecodeError) as error:  # the reader has not counted this line
        raise InvalidInputError(f"{name}, line {rows.line_num + 1}: {error}") from None
    except ValueError as error:
        raise InvalidInputError(f"{name}, line {rows.line_num}: {error}") from None
    finally:
        text.detach()


def _key_finder(rules: Rules) -> Callable[[Any], bytes | None]:
    field = rules.key_field
    if field is None:
        return lambda _: rules.key

    def find(document: Any) -> bytes | None:
        if not isinstance(document, dict):
            raise TypeError(f"only an object can have the key field {field!r}")
        if field not in document:
            raise ValueError(f"no field {field!r} for the key{nearest(field, document)}")
        return _key_bytes(document[field])

    return find


def _key_bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)
