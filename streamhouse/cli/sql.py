"""``streamctl sql``: a query and its result, or a prompt."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from streamhouse.cli.options import LogUrl, StorageOptions, open_log
from streamhouse.cli.output import print_text, write_bytes
from streamhouse.cli.positions import parse_one_position
from streamhouse.cli.results import ResultFormat, write_result
from streamhouse.errors import QueryError
from streamhouse.log import Log
from streamhouse.sql.mentions import without_end

_CHUNK_BYTES: Final = 1 << 20
_SUFFIXES: Final = {
    ".csv": ResultFormat.CSV,
    ".json": ResultFormat.JSON,
    ".jsonl": ResultFormat.JSON,
    ".ndjson": ResultFormat.JSON,
    ".parquet": ResultFormat.PARQUET,
}


def sql(
    log: LogUrl,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUERY]",
            help="What to run; - reads it from standard input. Without it: a prompt.",
        ),
    ] = None,
    form: Annotated[
        ResultFormat | None,
        typer.Option(
            "--format", "-f", help="json (one object a line) is the default, on a terminal it is table."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to this file or URL, in the format that its name promises or --format says.",
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            metavar="NAME=VALUE",
            help="What $NAME in the query stands for; VALUE may be JSON. Repeatable.",
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="WHEN",
            help="See the log as it was: a commit number, or a time such as 2026-11-22T10:00 (UTC) or"
            " @MILLISECONDS.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Run it and show the plan and what was read, not the rows.")
    ] = False,
    storage_option: StorageOptions = None,
) -> None:
    """Run SQL over topics and print the result, or open a prompt.

    Each topic is a relation; tables about the log are in the schema streamhouse. With DuckDB's whole SQL.
    """
    form = ResultFormat.JSON if json else form
    text = _text_of(query)
    if text is None:
        if explain or output is not None or param or form is ResultFormat.PARQUET:
            raise typer.BadParameter("--explain, --output, --param and --format parquet need a query")
        from streamhouse.cli.prompt import Prompt

        with open_log(log, storage_option) as handle:
            Prompt(handle, form or ResultFormat.TABLE, _moment(as_of)).run()
        return
    values = dict(map(_parameter, param or ()))
    with open_log(log, storage_option) as handle:
        if explain:
            print_text(handle.sql(text, as_of=_moment(as_of), **values).explain())
        elif output is not None:
            _write_file(handle, text, values, as_of, output, form)
        elif form is ResultFormat.PARQUET:
            _write_parquet(handle, text, values, as_of)
        else:
            usual = ResultFormat.TABLE if sys.stdout.isatty() else ResultFormat.JSON
            write_result(handle.sql(text, as_of=_moment(as_of), **values), form or usual)


def _text_of(query: str | None) -> str | None:
    """The query; ``None``: somebody is there to be asked for one."""
    if query == "-" or (query is None and not sys.stdin.isatty()):
        return sys.stdin.read()
    return query


def _parameter(pair: str) -> tuple[str, Any]:
    name, equals, text = pair.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise typer.BadParameter(f"--param takes NAME=VALUE, not {pair!r}")
    try:
        return name, msgspec.json.decode(text)
    except msgspec.DecodeError:
        return name, text


def _moment(text: str | None) -> int | dt.datetime | None:
    if text is None:
        return None
    found = parse_one_position(text, "--as-of", "a commit number")
    if isinstance(found, str):
        raise typer.BadParameter(f"--as-of takes a commit number or a time, not {text!r}")
    return found


def _write_file(
    log: Log, query: str, values: dict[str, Any], as_of: str | None, target: str, form: ResultFormat | None
) -> None:
    """Let DuckDB write a file, wherever it is."""
    suffixes = [suffix for suffix in Path(target).suffixes if suffix != ".gz"]
    form = form or _SUFFIXES.get(suffixes[-1].lower() if suffixes else "")
    if form is None or form is ResultFormat.TABLE:
        raise typer.BadParameter(f"--output {target!r} names no format; say --format csv, json or parquet")
    name = "json" if form is ResultFormat.JSONL else str(form)
    literal = target.replace("'", "''")
    copy = f"copy ({_one_statement(query)}\n) to '{literal}' (format {name})"
    counts = log.sql(copy, as_of=_moment(as_of), **values).fetchall()  # none of a PIVOT
    if counts and sys.stdout.isatty():
        print_text(f"{counts[0][0]:,} rows written")


def _write_parquet(log: Log, query: str, values: dict[str, Any], as_of: str | None) -> None:
    """Parquet has its index at the end, so it is made first and then sent."""
    if sys.stdout.isatty():
        raise typer.BadParameter("--format parquet is not for a terminal; name a file with --output")
    folder = tempfile.mkdtemp(prefix="streamhouse-sql-")
    try:
        path = Path(folder, "result.parquet")
        _write_file(log, query, values, as_of, str(path), ResultFormat.PARQUET)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                write_bytes(chunk)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _one_statement(query: str) -> str:
    """The query without what may stand behind it: a semicolon, comments."""
    text = without_end(query)
    if not text:
        raise QueryError("the query is empty")
    return text
