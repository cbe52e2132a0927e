"""The options that every command has, and the log they open."""

from __future__ import annotations

import sys
from typing import Annotated, Any, TypeAlias

import msgspec
import typer

from streamhouse.log import Log

LogUrl: TypeAlias = Annotated[
    str,
    typer.Option(
        "--log",
        envvar="STREAMHOUSE_LOG",
        metavar="URL",
        help="The log: a directory, s3://bucket/prefix or another fsspec URL.",
    ),
]
StorageOptions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="NAME=VALUE",
        help="Passed to the filesystem; VALUE may be JSON. Credentials belong in the environment.",
    ),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="JSON lines, as when the output is no terminal.")
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def open_log(url: str, storage_options: list[str] | None, *, create: bool = False) -> Log:
    """Open the log of a command. Only the command that makes the first topic may create one."""
    return Log(url, storage_options=parse_storage_options(storage_options), create=create)


def confirm(question: str, what: str) -> None:
    """Ask before something is gone for good.

    Args:
        question: For people.
        what: What needs ``--yes`` where nobody can be asked.

    Raises:
        typer.BadParameter: Nobody can be asked.
        typer.Abort: The answer was no.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{what} needs --yes where nobody can be asked")
    typer.confirm(question, abort=True)


def parse_storage_options(pairs: list[str] | None) -> dict[str, Any]:
    """What the store is told."""
    # What is no pair may hold a secret: it is not repeated.
    return dict(parse_pair(pair, "--storage-option takes NAME=VALUE") for pair in pairs or ())


def parse_pair(pair: str, usage: str) -> tuple[str, Any]:
    """The name and the value of ``NAME=VALUE``, which may be JSON.

    Args:
        pair: What was given.
        usage: What is said of anything else.

    Raises:
        typer.BadParameter: It is something else.
    """
    name, equals, text = pair.partition("=")
    if not (name and equals):
        raise typer.BadParameter(usage)
    try:
        return name, msgspec.json.decode(text)
    except msgspec.DecodeError:
        return name, text
