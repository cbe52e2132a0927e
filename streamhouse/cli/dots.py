"""Commands of the prompt that are not SQL: they begin with a dot, or with a backslash as in psql."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

from streamhouse.cli.output import print_text
from streamhouse.cli.positions import parse_one_position
from streamhouse.cli.results import ResultFormat, write_result
from streamhouse.errors import nearest
from streamhouse.log import Log
from streamhouse.sql.database import quoted
from streamhouse.sql.tables import SCHEMA, TABLES

_HELP: Final = """\
.tables              topics, with the number of their records, and tables about the log
.columns RELATION    columns of a topic or a table
.explain QUERY       run a query; the plan, and what was read
.format FORMAT       how results are written: table, csv, json
.as-of WHEN          see the log as of a commit number or a time; now: as it is
.timer on|off        show how long a query takes
.quit                leave, as Ctrl-D does

\\d is .tables, \\d RELATION is .columns, \\q is .quit. Tab completes; the arrow up brings back what was
asked before. A statement ends with ; and may have several lines. Ctrl-C drops it, or ends the query that
runs."""


class DotsError(Exception):
    """A command that does not exist, or not like that."""


class Dots:
    """The commands, and what they have set.

    Args:
        log: The log.
        form: How results are written.
        as_of: As of when the log is seen; now by default.

    Attributes:
        open: Whether to go on.
        timer: Whether to show how long a query takes.
    """

    def __init__(self, log: Log, form: ResultFormat, as_of: int | dt.datetime | None) -> None:
        self._log = log
        self.form = form
        self.as_of = as_of
        self.open = True
        self.timer = False
        self._commands: dict[str, Callable[[str], None]] = {
            ".help": self._help,
            ".tables": self._tables,
            ".columns": self._columns,
            ".schema": self._columns,
            ".explain": self._explain,
            ".format": self._format,
            ".mode": self._format,
            ".as-of": self._as_of,
            ".timer": self._timer,
            ".quit": self._quit,
            ".exit": self._quit,
            "\\d": self._describe,
            "\\dt": self._tables,
            "\\q": self._quit,
            "\\?": self._help,
            "\\timing": self._timer,
        }

    def run(self, text: str) -> None:
        """Carry out a command.

        Raises:
            DotsError: There is no such command, or it does not take that.
            StreamhouseError: The log fails.
        """
        name, _, argument = text.partition(" ")
        command = self._commands.get(name.lower())
        if command is None:
            hint = nearest(name, self._commands)
            raise DotsError(f"there is no command {name}{hint}; .help shows all")
        command(argument.strip().rstrip(";").strip())

    def _help(self, _argument: str) -> None:
        print_text(_HELP)

    def _tables(self, _argument: str) -> None:
        tables = " union all ".join(
            f"select '{SCHEMA}.{name}', null::bigint, null::bigint, 'about the log'" for name in TABLES
        )
        self._show(
            f"""
            select topic as relation, partitions, records, 'topic' as kind from {SCHEMA}.topics
            union all {tables} order by kind desc, relation
            """  # noqa: S608
        )

    def _columns(self, argument: str) -> None:
        if not argument:
            raise DotsError("of which relation? .columns orders")
        schema, dot, name = argument.rpartition(".")
        known = dot and schema in {SCHEMA, "raw"}
        relation = f"{schema}.{quoted(name)}" if known else quoted(argument.strip('"'))
        self._show(f"select column_name, column_type from (describe {relation})")  # noqa: S608

    def _describe(self, argument: str) -> None:
        (self._columns if argument else self._tables)(argument)

    def _explain(self, argument: str) -> None:
        if not argument:
            raise DotsError("which query? .explain select count(*) from orders")
        print_text(self._log.sql(argument, as_of=self.as_of).explain())

    def _format(self, argument: str) -> None:
        formats = [form.value for form in ResultFormat if form is not ResultFormat.PARQUET]
        if argument not in formats:
            raise DotsError(f"the format is {self.form}; there are {', '.join(formats)}")
        self.form = ResultFormat(argument)

    def _as_of(self, argument: str) -> None:
        import typer

        if argument in {"", "now"}:
            self.as_of = None if argument else self.as_of
        else:
            try:
                found: Any = parse_one_position(argument, ".as-of", "now, a commit number")
            except typer.BadParameter as error:
                raise DotsError(error.message) from None
            if isinstance(found, str):
                raise DotsError(f".as-of takes now, a commit number or a time, not {argument!r}")
            self.as_of = found
        print_text(f"as of {'now' if self.as_of is None else self.as_of}")

    def _timer(self, argument: str) -> None:
        if argument not in {"on", "off"}:
            raise DotsError(".timer on, or .timer off")
        self.timer = argument == "on"

    def _quit(self, _argument: str) -> None:
        self.open = False

    def _show(self, query: str) -> None:
        result = self._log.sql(query, as_of=self.as_of)
        if self.form is ResultFormat.TABLE:
            result.show(max_rows=10_000)
        else:
            write_result(result, self.form)
