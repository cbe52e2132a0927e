"""What a query gives: rows, DataFrames, Arrow, and a picture of itself."""

from __future__ import annotations

import html
import importlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final, TypeVar

import msgspec

from streamhouse.errors import ClosedError, MissingExtraError, QueryError, QueryLimitError
from streamhouse.sql.journal import Entry
from streamhouse.sql.nested import Nestable, Pass
from streamhouse.sql.outgoing import collected, schema_of, watched
from streamhouse.sql.query import Query, Run, Shape
from streamhouse.sql.stats import QueryStats

T = TypeVar("T")

_FETCHED_AT_ONCE: Final = 2048
_HTML_ROWS_MAX: Final = 50
_RUN_WHEN_ASKED: Final = "QUERY_RELATION"
"""Of DuckDB's relations the one that does not hold its rows yet."""

_NOT_IN_POLARS: Final = frozenset(("interval", "union"))
_NESTED: Final = frozenset(("array", "list", "map", "struct"))
_NUMERIC: Final = re.compile(r"(U?(BIG|HUGE|SMALL|TINY)INT|U?INTEGER|DECIMAL\(.*\)|DOUBLE|FLOAT)")
"""Types whose values are aligned to the right."""


class Result(Nestable):
    """The result of a query: rows that are read when they are asked for.

    A query that only reads is run by whatever asks for its rows, each time anew, and always sees the
    same commit. ``for row in result``, :meth:`fetchone`, :meth:`fetchmany` and the Arrow stream hand
    rows on while they are made, so a result may be larger than memory; the other methods hold all of it.
    Anything else (``create table``, ``copy``) has run when :meth:`~streamhouse.Log.sql` returns. What
    that gives, and several statements, and restricted sessions, is in memory as a whole when it is handed on.

    Results speak the Arrow PyCapsule protocol: Polars, PyArrow, pandas and DuckDB take them as they are, also
    as a relation of a further query. Threads may share a result; each row that one of them takes by
    :meth:`fetchone` or :meth:`fetchmany` is no other's.

    Example:
        >>> import streamhouse
        >>> with streamhouse.Log("memory://") as log:
        ...     topic = log.create_topic("orders")
        ...     with log.producer() as producer:
        ...         stored = producer.send_many("orders", [{"amount": 3}, {"amount": 4}]).result()
        ...     log.sql("select sum((value->>'amount')::int) from orders").fetchall()
        [(7,)]
    """

    def __init__(
        self,
        query: Query,
        run: Run,
        relation: Any,
        entry: Entry,
        rows_max: int | None,
        shape: Shape,
    ) -> None:
        self._relation = relation  # the first to be freed: with the run, another query gets the cursor
        self._query = query
        self._run = run
        self._last = run
        self._passes: set[Run] = set()  # beside that, under way
        self._handed_out: set[Run] = set()
        self._entry = entry
        self._columns, self._types = shape
        self._schema: Any = None  # Arrow's
        self._rows: Iterator[tuple[Any, ...]] | None = None
        self._fetching = threading.Lock()
        self._lock = threading.Lock()
        self._closed = False
        self._streams = query.repeatable and rows_max is None
        self._has_run = not query.repeatable and relation.type != _RUN_WHEN_ASKED
        if self._has_run:
            entry.has_run(run.reads)
        if rows_max is not None:
            self._relation = self._held(rows_max)
            self._has_run = True

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self._columns.copy()

    @property
    def types(self) -> list[str]:
        """DuckDB types of the columns, as SQL names."""
        return list(map(str, self._types))

    @property
    def commit(self) -> int:
        """Number of the commit that the query sees."""
        return self._query.capture.commit

    @property
    def stats(self) -> QueryStats:
        """What the last pass has read so far: blocks, columns and bytes of each topic.

        A pass over rows that are held in memory reads nothing, and leaves this as it was.
        """
        return self._last.stats

    # --- rows --------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._streamed() if self._streams else iter(self._all())

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row; ``None`` after the last one."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """The next rows, fewer than ``size`` only at the end."""
        with self._fetching:
            if self._rows is None:
                self._rows = iter(self)
            return self._taken(row for _, row in zip(range(size), self._rows, strict=False))

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows; after :meth:`fetchone` or :meth:`fetchmany`, those that are left."""
        with self._fetching:
            if self._rows is not None:
                return self._taken(self._rows)
        return self._all()

    def fetchnumpy(self) -> dict[str, Any]:
        """All rows as a NumPy array per column."""
        return self._extra("numpy", lambda relation: relation.fetchnumpy())

    # --- tables ------------------------------------------------------------------------------------

    def df(self) -> Any:
        """All rows as a pandas DataFrame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return self._extra("pandas", lambda relation: relation.df())

    def pl(self) -> Any:
        """All rows as a Polars DataFrame. Of columns of one name the later ones get a number, as in pandas.

        Raises:
            MissingExtraError: Polars is not installed.
            QueryError: Polars has no such type: intervals and unions.
        """
        for name, type_ in zip(self._columns, self._types, strict=True):
            if _is_not_in_polars(type_):  # it would panic
                raise QueryError(
                    f"Polars has no type for column {name!r} of {type_}: cast it, to VARCHAR say"
                )
        return self._extra("polars", _polars)

    def arrow(self) -> Any:
        """All rows as a PyArrow table. Without PyArrow, others take the result itself.

        Raises:
            MissingExtraError: PyArrow is not installed.
        """
        return self._extra("pyarrow", lambda relation: relation.to_arrow_table())

    def __arrow_c_schema__(self) -> object:
        self._check()
        if self._schema is None:
            self._schema = self._described()
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.open_stream(lambda _: None, requested_schema)

    def open_stream(self, opened: Callable[[Pass], None], requested_schema: object = None) -> object:
        """The Arrow stream, for a query that reads this one.

        Args:
            opened: Told of the run before it begins.
            requested_schema: As the protocol has it.
        """
        if not self._streams:  # a stream of DuckDB's would keep everybody else from the cursor
            opened(self._run)
            return self._whole(lambda relation: collected(relation).__arrow_c_stream__())
        run = self._open()
        try:
            opened(run)
            with self._entry.handing_out(run.reads):
                relation, _ = run.bind()
                capsule = run.hand_out(lambda: relation.__arrow_c_stream__(requested_schema))
            self._handed_out.add(run)
        finally:
            self._passes.discard(run)
        return watched(capsule, run.reads)

    # --- pictures ----------------------------------------------------------------------------------

    def show(self, max_rows: int | None = None, max_width: int | None = None) -> None:
        """Print the first rows as a table.

        Args:
            max_rows: How many; DuckDB's choice by default.
            max_width: Characters in a line; by default those of the terminal.
        """
        self._whole(lambda relation: relation.show(max_rows=max_rows, max_width=max_width))

    def explain(self) -> str:
        """Run the query; DuckDB's plan with its times, and what was read of each topic."""
        if not self._query.repeatable:
            return str(self.stats)
        run = self._open()
        try:
            with self._entry.running(run.reads):
                rows = run.explained()
        finally:
            self._end(run)
        return "\n".join([*(str(row[-1]) for row in rows), str(run.stats)])

    def __repr__(self) -> str:
        return self._whole(repr)

    def _repr_html_(self) -> str:
        texts = ", ".join(f"#{place}::varchar" for place in range(1, len(self.columns) + 1))
        rows = self._whole(lambda relation: relation.limit(_HTML_ROWS_MAX + 1).project(texts).fetchall())
        return _html_table(self.columns, self.types, rows)

    def interrupt(self) -> None:
        """End a pass over the result that another thread waits for: there it raises QueryError."""
        for run in (self._run, self._last):
            run.interrupt()

    def close(self) -> None:
        """Give back what is open, and end what is under way: iterators, and Arrow streams that read topics.

        Results that nobody refers to close on their own, once nobody reads what they gave.
        """
        self._closed = True
        self._rows = None
        for run in (self._run, self._last, *self._passes, *self._handed_out):
            run.close()

    # --- helpers -----------------------------------------------------------------------------------

    def _open(self, query: Query | None = None) -> Run:
        """A run for another pass, to be ended."""
        self._check()
        for run in tuple(self._handed_out):
            if not run.reads.open:
                self._handed_out.discard(run)
        run = (query or self._query).open()
        self._passes.add(run)
        self._last = run
        if self._closed:  # meanwhile
            self._end(run)
        self._check()
        return run

    def _end(self, run: Run) -> None:
        run.close()
        self._passes.discard(run)

    def _described(self) -> Any:
        """The Arrow schema. That is no pass over the result."""
        if not self._streams:
            with self._lock:
                return self._run.perform(lambda: schema_of(self._relation))
        run = self._query.open()
        try:
            relation, _ = run.bind()
            return run.perform(lambda: schema_of(relation))
        finally:
            run.close()

    def _check(self) -> None:
        if self._closed:
            raise ClosedError("the result was closed")

    def _all(self) -> list[tuple[Any, ...]]:
        if self._streams:  # as a statement, which costs DuckDB less than its relation
            with self._used():
                return self._run.fetch_all()
        rows: list[tuple[Any, ...]] = self._whole(lambda relation: relation.fetchall())
        return rows

    def _streamed(self, query: Query | None = None) -> Iterator[tuple[Any, ...]]:
        run = self._open(query)
        try:
            with self._entry.running(run.reads):
                run.rows()
                while rows := run.fetch(_FETCHED_AT_ONCE):
                    yield from rows
        finally:
            self._end(run)

    def _taken(self, rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        try:
            return list(rows)
        except BaseException:
            self._rows = None  # a pass that failed is over; who asks again begins anew
            raise

    def _whole(self, work: Callable[[Any], T]) -> T:
        """Do something with the relation."""
        with self._used():
            if self._relation is None:
                self._relation, _ = self._run.bind()
            return self._run.perform(lambda: work(self._relation))

    @contextmanager
    def _used(self) -> Iterator[None]:
        """While this is held, the cursor is in use: one thing at a time."""
        with self._lock:
            self._check()
            reads = self._run.reads
            reads.next_pass()
            self._last = self._run
            with nullcontext() if self._has_run else self._entry.running(reads):
                yield

    def _extra(self, library: str, work: Callable[[Any], T]) -> T:
        try:
            importlib.import_module(library)  # first: a pass that has not begun cannot be interrupted
            return self._whole(work)
        except ImportError as error:
            missing = error.name or library
            raise MissingExtraError(f"{missing} is not installed; run: pip install {missing}") from error

    def _held(self, rows_max: int) -> Any:
        """The rows in memory, at most so many."""
        held = self._whole(lambda relation: relation.limit(rows_max + 1).materialize())
        if self._whole(lambda _: len(held)) > rows_max:
            raise QueryLimitError(f"the result has more than {rows_max:,} rows; add a limit to the query")
        return held


def projected(result: Result, expressions: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a result with other columns, made of those that it has.

    Args:
        result: The result.
        expressions: As they stand behind SELECT; ``#1`` is the first column.
    """
    if not result._streams:
        return iter(result._whole(lambda relation: relation.project(expressions).fetchall()))
    text = f"select {expressions} from ({result._query.text}\n)"  # noqa: S608
    return result._streamed(msgspec.structs.replace(result._query, text=text, statements=()))


def _polars(relation: Any) -> Any:
    import polars as pl

    if len(set(map(str.casefold, relation.columns))) < len(relation.columns):
        relation = relation.project("*")  # DuckDB gives them other names, the same as for pandas
    return pl.DataFrame(collected(relation))  # an error in DuckDB's stream would be one of Polars


def _is_not_in_polars(type_: Any) -> bool:
    """Whether a type is one that Polars has not, or made of one."""
    if type_.id in _NESTED:
        return any(_is_not_in_polars(part) for _, part in type_.children if not isinstance(part, int))
    return type_.id in _NOT_IN_POLARS


def _html_table(columns: list[str], types: list[str], rows: list[tuple[Any, ...]]) -> str:
    sides = [f"text-align:{'right' if _NUMERIC.fullmatch(type_) else 'left'}" for type_ in types]
    head = "".join(
        f'<th style="{side}">{html.escape(name)}<br><small>{html.escape(type_.lower())}</small></th>'
        for name, type_, side in zip(columns, types, sides, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{side}">{_html_cell(value)}</td>' for value, side in zip(row, sides, strict=True)
        )
        + "</tr>"
        for row in rows[:_HTML_ROWS_MAX]
    )
    more = "" if len(rows) <= _HTML_ROWS_MAX else f"<caption>the first {_HTML_ROWS_MAX} rows</caption>"
    return f"<table>{more}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_cell(value: Any) -> str:
    return "<i>null</i>" if value is None else html.escape(str(value))
