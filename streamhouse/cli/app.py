"""Runs a command and turns what went wrong into one line and an exit code.

Scripts decide on exit codes, people read the line; nobody wants a traceback for a misspelt topic:

====  ============================================================================================
0     done
1     ``verify`` found damage, or stored bytes failed their checksum
2     wrong usage or impossible input, SQL included
3     an optional dependency is not installed
4     what the command names is not there, is there already, or is in use (a group with members)
5     the store or a delivery failed
130   interrupted
143   terminated
====  ============================================================================================
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

import typer

from streamhouse import errors
from streamhouse.cli import EXIT_INTERRUPTED, EXIT_MISSING_EXTRA
from streamhouse.cli.consume import consume
from streamhouse.cli.export import export
from streamhouse.cli.group import groups
from streamhouse.cli.offset import offsets
from streamhouse.cli.output import ReaderGoneError, flush
from streamhouse.cli.produce import produce
from streamhouse.cli.serve import serve
from streamhouse.cli.sql import sql
from streamhouse.cli.topic import topics
from streamhouse.cli.upkeep import upkeep
from streamhouse.cli.verify import verify
from streamhouse.records import is_unicode

_EXIT_CODES: Final[Sequence[tuple[type[Exception], int]]] = (
    (errors.CorruptionError, 1),
    (errors.StateDivergedError, 1),
    (errors.InvalidInputError, 2),
    (errors.QueryError, 2),
    (errors.MissingExtraError, EXIT_MISSING_EXTRA),
    (errors.TopicNotFoundError, 4),
    (errors.TopicExistsError, 4),
    (errors.PartitionNotFoundError, 4),
    (errors.GroupError, 4),
    (errors.OffsetOutOfRangeError, 4),
    (errors.NotALogError, 4),
    (errors.HistoryGoneError, 4),
    (errors.UnsupportedFormatError, 4),
    (errors.StreamhouseError, 5),
)

_EPILOG: Final = (
    "Exit codes: 0 done, 1 damage found, 2 wrong usage or input, 3 an optional dependency is"
    " missing, 4 not found, already there or in use, 5 the store failed, 130 interrupted, 143 terminated."
)

app = typer.Typer(
    name="streamctl",
    help="Topics, records, groups and checks of a StreamHouse log, from the terminal.",
    epilog=_EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(topics)
app.add_typer(groups)
app.add_typer(offsets)
app.command()(produce)
app.command()(consume)
app.command()(sql)
app.command()(export)
app.command()(serve)
app.command()(upkeep)
app.command()(verify)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing but an interpreter error is raised."""
    for number, argument in enumerate(arguments, 1):
        if not is_unicode(argument):  # not repeated: it may be a secret
            return _fail(f"argument {number} is no UTF-8 text", 2)
    try:
        code = app(list(arguments) or ["--help"], prog_name="streamctl", standalone_mode=False)
        flush()
    except typer.TyperException as error:
        return _fail(error.format_message() + _hint(error), 2)
    except typer.Abort:
        return _fail("aborted", EXIT_INTERRUPTED)
    except errors.StreamhouseError as error:
        return _fail(str(error), next(code for kind, code in _EXIT_CODES if isinstance(error, kind)))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except ReaderGoneError:
        return _leave_pipe()
    except OSError as error:  # an input file that cannot be read, for one
        return _fail(str(error), 2)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"streamctl: {' '.join(message.split())}\n")
    return code


def _hint(error: typer.TyperException) -> str:
    """Where to read on, for whoever gave a command without its subcommand."""
    context = getattr(error, "ctx", None)
    if context is None or isinstance(error, typer.BadParameter):
        return ""
    return f" See {context.command_path} --help"


def _leave_pipe() -> int:
    """The reader of our output (``head``, say) has seen enough: that is no error.

    Standard output goes nowhere from here on, since the interpreter flushes it once more at exit.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
