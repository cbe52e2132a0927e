"""Results of queries, written row by row as they come: JSON lines, CSV, or DuckDB's own table.

In JSON a column of type JSON stands as such, but for what only DuckDB takes for JSON, which is text. Decimals
are numbers, times ISO 8601, and bytes are escaped as in the columns ``key`` and ``value``. CSV is that of RFC
4180 with a line of names; a null is nothing at all, an empty text ``""``; lists, structs, maps and what else
has several values are JSON. Intervals, nanoseconds and times with a zone are DuckDB's texts, since Python has
no such types.
"""

from __future__ import annotations

import contextlib
import enum
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from streamhouse.cli.output import print_text, write_bytes
from streamhouse.sql.result import Result, projected
from streamhouse.sql.text import shown

_ROWS_AT_ONCE: Final = 1000
_INEXACT: Final = re.compile(  # not in names, which are quoted or have a type behind them
    r"""("(?:[^"]|"")*"|'(?:[^']|'')*')|\b(?:INTERVAL|TIME_NS|TIMESTAMP_NS|TIME WITH TIME ZONE)(?=[,)[]|$)"""
)
"""Months are not days, nanoseconds are no microseconds, and zones may have seconds."""
_SEVERAL: Final = (list, tuple, Mapping)
_ON_ONE_LINE: Final = {ord(end): " " for end in "\r\n"}  # not in texts, where JSON has none


class ResultFormat(enum.StrEnum):
    """How to write a result."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


def write_result(result: Result, form: ResultFormat, *, width: int | None = None) -> None:
    """Write a result to standard output; Ctrl-C ends the query.

    Args:
        result: The result.
        form: Any but Parquet.
        width: Of a table, in characters; that of the terminal by default.
    """
    if form is ResultFormat.TABLE:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            result.show(max_width=width)
        print_text(text.getvalue().rstrip("\n"))
        return
    if not result.columns:
        return
    write_rows = _write_csv if form is ResultFormat.CSV else _write_json
    write_rows(result, _exact(result))


def _exact(result: Result) -> Iterable[tuple[Any, ...]]:
    """The rows, with DuckDB's texts in the place of what Python has no type for."""
    types = [_INEXACT.sub(lambda found: found[1] or "VARCHAR", type_) for type_ in result.types]
    if types == result.types:
        return result
    changed = enumerate(zip(types, result.types, strict=True), 1)
    columns = [f"#{at}" if type_ == own else f"#{at}::{type_}" for at, (type_, own) in changed]
    return projected(result, ", ".join(columns))


def _write_json(result: Result, rows: Iterable[tuple[Any, ...]]) -> None:
    names = _distinct(result.columns)
    made = [_maker(type_) for type_ in result.types]
    encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode_into
    buffer = bytearray()
    for count, row in enumerate(rows, 1):
        end = len(buffer)
        values = [value if make is None else make(value) for make, value in zip(made, row, strict=True)]
        encode(dict(zip(names, values, strict=True)), buffer, end)
        buffer += b"\n"
        if count % _ROWS_AT_ONCE == 0:
            write_bytes(bytes(buffer))
            buffer.clear()
    write_bytes(bytes(buffer))


def _write_csv(result: Result, rows: Iterable[tuple[Any, ...]]) -> None:
    encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode
    names = [_line(result.columns)]
    lines = names.copy()
    for row in rows:
        lines.append(
            _line(encode(_plain(value)).decode() if isinstance(value, _SEVERAL) else value for value in row)
        )
        if len(lines) == _ROWS_AT_ONCE:
            write_bytes("".join(lines).encode())
            lines.clear()
    if lines != names or not _may_say_done(result):
        write_bytes("".join(lines).encode())


def _may_say_done(result: Result) -> bool:
    """Whether a result without rows is what DuckDB answers to a statement that has none."""
    return result.columns == ["Success"] and result.types == ["BOOLEAN"]


def _line(cells: Iterable[Any]) -> str:
    return f"{','.join(map(_cell, cells))}\r\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = shown(value).decode() if isinstance(value, bytes) else str(value)
    if text and not any(sign in text for sign in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


def _maker(type_: str) -> Callable[[Any], Any] | None:
    """What makes something that JSON has of the values of a column; ``None``: they are that already."""
    if type_ == "JSON":
        return _document
    if type_ == "TIMESTAMP_NS":
        return lambda text: None if text is None else text.replace(" ", "T")
    return _plain if type_ in {"BLOB", "VARIANT"} or "(" in type_ or "[" in type_ else None


def _document(text: str | None) -> Any:
    """JSON as it was written, on one line; as a text if it is something that only DuckDB takes for JSON."""
    if text is None:
        return None
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
    return msgspec.Raw(text.translate(_ON_ONE_LINE).encode())


def _plain(value: Any) -> Any:
    """A value with texts in the place of bytes and of keys."""
    if isinstance(value, bytes):
        return shown(value).decode()
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _distinct(columns: Sequence[str]) -> list[str]:
    """The names, each once: those that come again have a number."""
    names: list[str] = []
    for column in columns:
        name, number = column, 0
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names
