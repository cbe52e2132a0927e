"""What commands print: JSON lines for programs, tables for people.

Rich is imported for a table only, so that output into a pipe does not wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


def wants_json(forced: bool) -> bool:
    """Whether to print JSON: asked for, or nobody looks."""
    return forced or not sys.stdout.isatty()


def print_rows(
    rows: Sequence[Mapping[str, Any]], *, as_json: bool, title: str = "", nothing: str = ""
) -> None:
    """Print one JSON line per row, or one table of all of them.

    Args:
        rows: All with the same keys.
        as_json: For programs, else for people.
        title: Over the table.
        nothing: What people are told when there are no rows.
    """
    if as_json:
        for row in rows:
            print_json(row)
    elif rows:
        _print_table(rows, title)
    elif nothing:
        print_text(nothing)


def print_json(document: Any) -> None:
    """Print one document on one line."""
    write_bytes(msgspec.json.encode(document) + b"\n")


def print_text(line: str) -> None:
    """Print a line for people."""
    write_bytes(f"{line}\n".encode())


def print_fields(document: Mapping[str, Any]) -> None:
    """Print one document on a line for people, without what it does not have."""
    print_text(
        ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in document.items() if value is not None
        )
    )


def write_bytes(data: bytes) -> None:
    """Write bytes as they are: values need not be text."""
    try:
        sys.stdout.buffer.write(data)
    except BrokenPipeError:
        raise ReaderGoneError from None


def flush() -> None:
    """Let the reader have what was written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None


class ReaderGoneError(Exception):
    """Nobody reads our output any more. Not an ``OSError``, since typer would exit with 1 for that."""


def _print_table(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for name in rows[0]:
        numeric = any(_is_number(row[name]) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    Console().print(table)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if _is_number(value) else str(value)
