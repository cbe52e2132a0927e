"""One statement on its way to DuckDB: what it sees is fixed, and it can be run any number of times.

A *run* is a cursor with the query's relations registered. Each pass over the result that streams gets a
run of its own, since an open result owns its connection; what they read is the same, for the capture is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from streamhouse.errors import ClosedError, ForkedError, QueryError, QueryLimitError
from streamhouse.runtime import process_id
from streamhouse.sql import database as engine
from streamhouse.sql import interrupts
from streamhouse.sql.capture import Capture
from streamhouse.sql.cursors import Kinds, TopicCursor
from streamhouse.sql.database import TOO_LONG, Database, failed_inside, translated
from streamhouse.sql.discretion import told_of
from streamhouse.sql.extremes import rewritten
from streamhouse.sql.interrupts import DUCKDB_SAYS, Deadline
from streamhouse.sql.nested import Nestable, Nested, Pass
from streamhouse.sql.parameters import Values
from streamhouse.sql.rows import RowTable
from streamhouse.sql.scan import Workers
from streamhouse.sql.scans import FIRST_MARK, scanned_once
from streamhouse.sql.snapshot import TopicView
from streamhouse.sql.sources import CondensedSource, TopicSource
from streamhouse.sql.stats import QueryStats, Reads
from streamhouse.sql.tables import SCHEMA, TABLES

T = TypeVar("T")

RAW: Final = "raw"


class Query(msgspec.Struct, frozen=True):
    """A statement, or a script whose last statement has the result.

    Attributes:
        text: What the user wrote.
        values: Parameters.
        repeatable: Whether it only reads, so that it may be run again.
        capture: The relations of the log that it mentions.
        raw: Topics of which it wants keys and values as BLOB.
        objects: Variables of the caller that it mentions.
        database: Where it runs.
        workers: Who reads blocks.
        statements: The statements as DuckDB's parser made them, where it did.
        tidy: Whether it leaves nothing behind on its cursor.
        condensed: Whether it needs no record of its topic; see ``extremes.py``.
        lone: Sources that it scans just once; see ``scans.py``.
        seconds_max: How long a run may take; no limit by default.
    """

    text: str
    values: Values
    repeatable: bool
    capture: Capture
    raw: tuple[str, ...]
    objects: Mapping[str, Any]
    database: Database
    workers: Workers
    statements: tuple[Any, ...] = ()
    tidy: bool = False
    condensed: bool = False
    lone: frozenset[str] = frozenset()
    seconds_max: float | None = None

    def open(self) -> Run:
        """A cursor on which the statement can be run."""
        run = Run(self)
        try:
            run.guard(run.register)
        except BaseException:
            run.close()
            raise
        return run

    @property
    def asked(self) -> Any:
        """What DuckDB is given for the result."""
        return self.statements[-1] if self.statements else self.text

    @property
    def kinds(self) -> Kinds | None:
        """What a cursor for it has registered, if it may be one that another query used."""
        if not self.tidy or self.raw or self.objects or self.capture.tables or not self.capture.topics:
            return None
        topics = self.capture.topics.items()
        return tuple([(name, topic.schema, self.condensed) for name, topic in topics])


class Shape(NamedTuple):
    """The columns of a result.

    Attributes:
        columns: Their names.
        types: DuckDB's types of them.
    """

    columns: list[str]
    types: list[Any]


class _Heard:
    """What the sources of a run tell it, and it them.

    They must not know the run itself: DuckDB holds them, and the run holds DuckDB's cursor, which is a circle
    that Python's garbage collector does not see.
    """

    def __init__(self, commit: int) -> None:
        self.reads = Reads(commit)
        self.stopped = threading.Event()  # nobody needs more records
        self._failure: BaseException | None = None
        self._inner: list[Pass] = []  # of results that are read

    def begin(self) -> None:
        """Something begins that nobody has told to stop."""
        self._failure = None
        self.stopped.clear()

    def stop(self) -> None:
        """Nobody needs more records."""
        self.stopped.set()
        for inner in tuple(self._inner):
            inner.interrupt()

    def opened(self, inner: Pass) -> None:
        """A result is read."""
        self._inner.append(inner)
        if self.stopped.is_set():
            raise InterruptedError("the query was interrupted")

    def end(self) -> None:
        """All results that were read have been read."""
        self._inner.clear()

    def fail(self, error: BaseException) -> None:
        """A source raises this."""
        if not (self.stopped.is_set() and isinstance(error, InterruptedError)):
            self._failure = error

    @property
    def failure(self) -> BaseException | None:
        """What a source raised, or one of a result that is read."""
        failures = (self._failure, *(inner.failure for inner in tuple(self._inner)))
        return next((failure for failure in failures if failure is not None), None)


class Run:
    """A cursor with the relations of a query, and what was read through it."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._heard = _Heard(query.capture.commit)
        self._timed_out = False
        self._closed = False
        self._sources: dict[str, TopicSource] = {}
        self._placed: set[str] = set()  # names that are registered
        self._careful = False
        self._reusable = False
        self._streams = False
        kinds = query.kinds
        idle = None if kinds is None else query.database.idle.take(kinds)
        self._held = idle or TopicCursor(query.database.cursor(), kinds)
        self._reusable = kinds is not None
        self.cursor = self._held.cursor

    def register(self) -> None:
        """Make the relations known under their names."""
        query = self._query
        for name, topic in query.capture.topics.items():
            self._place(name, topic, raw=False)
        for name in query.raw:
            hidden = f"{RAW}:{name}"  # no topic can be called that
            self._place(hidden, query.capture.topics[name], raw=True)
            query.database.make_view(self.cursor, RAW, name, hidden)
        for name, rows in query.capture.tables.items():
            hidden = f"{SCHEMA}:{name}"
            if self._is_new(hidden):
                self.cursor.register(hidden, RowTable(TABLES[name], rows))
                query.database.make_view(self.cursor, SCHEMA, name, hidden)
        for name, value in query.objects.items():
            if self._is_new(name):
                nested = isinstance(value, Nestable)
                self.cursor.register(name, Nested(value, self._heard) if nested else value)

    def extend(self, query: Query) -> None:
        """Make more relations known: the same query has turned out to mention them."""
        self._query = query
        self.guard(self.register)

    def be_careful(self) -> None:
        """Give statements a ``->>`` that DuckDB can have anywhere; see ``database.py``."""
        self._reusable, self._careful = False, True
        self.guard(lambda: engine.use_careful_json(self.cursor))

    def execute(self, statement: Any) -> None:
        """Run a statement before the last one, whose result nobody sees.

        Raises:
            QueryError: DuckDB refuses it.
        """
        self._with_json(self.perform, lambda: self.cursor.execute(statement).complete())

    def bind(self) -> tuple[Any, Shape]:
        """DuckDB's relation of the statement and its columns. It has run if it changes anything.

        Raises:
            QueryError: DuckDB refuses it.
        """
        return self._with_json(self.guard if self._query.repeatable else self.perform, self._relation)

    def condensed_text(self, columns: list[str]) -> str | None:
        """The query over its topic condensed, where that gives the same; see ``extremes.py``."""
        (topic,) = self._query.capture.topics
        with suppress(Exception):  # a query that was bound is not lost for a finer way to run it
            tree = rewritten(self._value("select json_serialize_sql($1)", self._query.text), topic, columns)
            return None if tree is None else self._value("select json_deserialize_sql($1)", tree)
        return None

    def find_lone(self) -> frozenset[str]:
        """The sources that the query scans just once, which also learn that here."""
        for number, source in enumerate(self._sources.values()):
            source.mark = FIRST_MARK + number
        plan = ""
        try:
            with suppress(Exception):  # likewise
                text = f"explain (format json) {self._query.text}"
                rows = self.guard(lambda: self.cursor.execute(text, self._query.values).fetchall())
                plan = rows[0][1]
        finally:
            marks = {source.mark: name for name, source in self._sources.items()}
            for source in self._sources.values():
                source.mark = None
        lone = [name for name in scanned_once(plan, marks) if self._sources[name].scans == 1]
        for name in lone:
            self._sources[name].lone = True
        return frozenset(lone)

    def rows(self) -> None:
        """Run the statement so that rows can be fetched as they come."""
        self._reusable, self._streams = False, True
        self._with_json(self.perform, lambda: self._executed(self._query.asked))

    def fetch_all(self) -> list[tuple[Any, ...]]:
        """Run the statement; all rows."""
        rows: list[tuple[Any, ...]] = self._with_json(
            self.perform, lambda: self._executed(self._query.asked).fetchall()
        )
        return rows

    def fetch(self, size: int) -> list[tuple[Any, ...]]:
        """The next rows; none at the end."""
        rows: list[tuple[Any, ...]] = self.perform(lambda: self.cursor.fetchmany(size))
        return rows

    def explained(self) -> list[tuple[Any, ...]]:
        """Run the statement; DuckDB's plan with its times."""
        text = f"explain analyze {self._query.text}"
        rows: list[tuple[Any, ...]] = self._with_json(self.perform, lambda: self._executed(text).fetchall())
        return rows

    def perform(self, work: Callable[[], T]) -> T:
        """Do something that takes a while; Ctrl-C ends it."""
        helpers = self._query.database.helpers
        return self.guard(lambda: interrupts.interruptible(helpers, self.interrupt, work))

    def guard(self, work: Callable[[], T]) -> T:
        """Do something with the cursor, within the limit of time, and translate what it raises.

        The limit is for one call: binding, or running. What cannot be interrupted (DuckDB computes what is
        made of constants while it plans) is at least the last thing that is done.
        """
        self._check()
        reusable, self._reusable = self._reusable, False  # unless this ends well, nobody else gets the cursor
        self._heard.begin()
        seconds = self._query.seconds_max
        deadline = None if seconds is None else Deadline(self.interrupt, seconds)
        try:
            done = work()
        except ImportError:
            raise
        except Exception as error:
            if isinstance(error, RuntimeError) and str(error) == DUCKDB_SAYS:
                raise KeyboardInterrupt from error
            if self._closed or self._query.database.closed:
                raise ClosedError(f"the {'result' if self._closed else 'session'} was closed") from error
            self._timed_out = deadline is not None and deadline.missed
            raised = self._understood(error)
            if raised is error:
                raise
            raise raised from error
        else:
            if deadline is not None and deadline.missed:
                self._timed_out = True
                raise QueryLimitError(TOO_LONG)
            self._reusable = reusable
            return done
        finally:
            if deadline is not None:
                deadline.stop()
            failure = self._heard.failure
            if not self._streams:
                self._heard.end()
            if isinstance(failure, KeyboardInterrupt):
                raise failure

    @property
    def reusable(self) -> bool:
        """Whether another query may have the cursor after this one."""
        return self._reusable

    @property
    def failure(self) -> BaseException | None:
        """What a source raised in the last call."""
        return self._heard.failure

    @property
    def reads(self) -> Reads:
        """Knows what is read through the cursor, also when that is closed."""
        return self._heard.reads

    @property
    def stats(self) -> QueryStats:
        """What the last pass has read so far."""
        return self.reads.stats

    def interrupt(self) -> None:
        """End what the cursor is doing, if anything."""
        self._heard.stop()
        if not self._forked:
            interrupts.interrupt(self.cursor)

    def close(self) -> None:
        """Give the cursor back; what it is doing for another thread ends."""
        if self._closed or self._forked:
            return  # another query may have the cursor by now
        self._closed = True
        self._heard.stop()
        interrupts.close(self.cursor)
        self._heard.end()

    def release(self) -> None:
        """Nobody needs it any more: another query over the same topics may have the cursor."""
        if self._reusable and not self._closed and not self._forked:
            self._closed = True
            self._query.database.idle.put(self._held)

    def hand_out(self, work: Callable[[], T]) -> T:
        """Make something of the cursor that may be in use for longer than this run."""
        self._reusable, self._streams = False, True
        return self.perform(work)

    def __del__(self) -> None:
        self.release()

    def _check(self) -> None:
        if self._forked:
            raise ForkedError("this result is of the parent process; ask again, of a log that is opened here")
        if self._timed_out:
            raise QueryLimitError(TOO_LONG)

    @property
    def _forked(self) -> bool:
        return self._query.database.process != process_id()

    def _understood(self, error: Exception) -> Exception:
        """What to raise for an error of DuckDB."""
        database = self._query.database
        if failed_inside(error):
            database.lost = True
        raised = translated(error, self._heard.failure, timed_out=self._timed_out)
        return told_of(raised, self._query.text) if database.restricted else raised

    def _value(self, query: str, argument: str) -> str:
        ((value,),) = self.cursor.execute(query, [argument]).fetchall()
        return str(value)

    def _relation(self) -> tuple[Any, Shape]:
        relation = self.cursor.sql(self._query.asked, params=self._query.values)
        return relation, Shape(list(relation.columns), list(relation.types))

    def _executed(self, statement: Any) -> Any:
        return self.cursor.execute(statement, self._query.values)

    def _with_json(self, perform: Callable[[Callable[[], T]], T], work: Callable[[], T]) -> T:
        """Do something, once more with another ``->>`` if DuckDB cannot have the usual one there."""
        try:
            return perform(work)
        except QueryError as error:
            if self._careful or error.__cause__ is None or not engine.needs_careful_json(error):
                raise
            self.be_careful()
            return perform(work)

    def _place(self, name: str, topic: TopicView, *, raw: bool) -> None:
        if self._is_new(name):
            self._held.place(name, self._source(name, topic, raw=raw))

    def _is_new(self, name: str) -> bool:
        known = name in self._placed
        self._placed.add(name)
        return not known

    def _source(self, name: str, topic: TopicView, *, raw: bool) -> TopicSource:
        kind = CondensedSource if self._query.condensed else TopicSource
        heard = self._heard
        source = kind(
            self._query.workers,
            topic,
            raw=raw,
            reads=heard.reads,
            failed=heard.fail,
            stopped=heard.stopped.is_set,
        )
        source.lone = name in self._query.lone
        self._sources[name] = source
        return source
