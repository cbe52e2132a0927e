"""Sessions: what ``log.sql`` runs its queries in, and locked-down ones for surfaces that serve others."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Final, NamedTuple, Self

import msgspec

from streamhouse.catalog.catalog import Catalog
from streamhouse.commits.log import CommitLog
from streamhouse.errors import (
    ClosedError,
    ForkedError,
    InvalidPositionError,
    QueryError,
    QueryRefusedError,
)
from streamhouse.runtime import process_id
from streamhouse.sql.capture import Capture, Names, capture
from streamhouse.sql.copies import redirected
from streamhouse.sql.database import Database
from streamhouse.sql.discretion import discreetly
from streamhouse.sql.extremes import asks_for_extremes
from streamhouse.sql.journal import Journal
from streamhouse.sql.known import Known, KnownQueries, key_of
from streamhouse.sql.limits import Limits
from streamhouse.sql.mentions import Mentions, find_mentions
from streamhouse.sql.parameters import Values, parameters_of
from streamhouse.sql.query import RAW, Query, Run, Shape
from streamhouse.sql.relations import Moment, Relations
from streamhouse.sql.result import Result
from streamhouse.sql.scan import Workers
from streamhouse.sql.script import Script, parse, with_topics_shown
from streamhouse.sql.shapes import check_shape
from streamhouse.sql.tables import SCHEMA, TABLES, Surroundings
from streamhouse.store.outside import Outside

_TRANSACTION: Final = "TRANSACTION"
_FILTERING: Final = frozenset(("where", "on", "having", "qualify"))
_CHANGING: Final = frozenset(("insert", "update", "delete", "merge", "nextval"))
_NOT_ALLOWED: Final = "a restricted session runs one query at a time and changes nothing"


class SqlSession:
    """A DuckDB database in memory where topics are relations; made by :meth:`~streamhouse.Log.sql_session`.

    Queries may be run from many threads at once. Tables and views that they create stay for the session;
    temporary ones, transactions and settings of the session hold for one call, which may have several
    statements. What DuckDB sets globally stays, too.

    Args:
        catalog: The log as far as it was read.
        commits: The log.
        workers: Who reads and decodes blocks.
        journal: Keeps what was asked.
        surroundings: What some tables show beside the state.
        outside: Where COPY may write.
        limits: Makes the session a restricted one.
        topics: The only topics that may be seen; all by default.
    """

    def __init__(
        self,
        catalog: Catalog,
        commits: CommitLog,
        workers: Workers,
        journal: Journal,
        surroundings: Surroundings,
        outside: Outside,
        *,
        limits: Limits | None = None,
        topics: Iterable[str] | None = None,
    ) -> None:
        self._catalog = catalog
        self._commits = commits
        self._workers = workers
        self._journal = journal
        self._number = journal.session()
        self._surroundings = surroundings
        self._outside = outside
        self._limits = limits
        self._allowed = None if topics is None else frozenset(topics)
        self._names = Names()
        self._known = KnownQueries()
        self._process = process_id()
        self._database = Database(limits)
        self._renewing = threading.Lock()
        self._closed = False

    def __repr__(self) -> str:
        kind = "restricted, " if self._limits is not None else ""
        return f"SqlSession({kind}{'closed' if self._closed else 'open'})"

    def sql(
        self, query: str, /, *values: Any, as_of: int | dt.datetime | None = None, **parameters: Any
    ) -> Result:
        """Run a query; see :meth:`streamhouse.Log.sql`. Variables of the caller are not looked at."""
        return self.run(query, parameters_of(values, parameters), as_of, None)

    def run(
        self,
        text: str,
        values: Values,
        as_of: int | dt.datetime | None,
        frame: FrameType | None,
        windows: Mapping[str, Mapping[int, range]] | None = None,
    ) -> Result:
        """Run a query.

        Args:
            text: One statement or several.
            values: Its parameters.
            as_of: The commit or the time whose state it sees; now by default.
            frame: Of a caller whose variables are relations too.
            windows: The only offsets that it sees, per partition, of topics that are named.
        """
        self._check()
        self._renew()
        _check_arguments(text, as_of)
        entry = self._journal.begin(text, self._number)
        with entry.running(then="ready"), discreetly(None if self._limits is None else text):
            if self._limits is not None:
                check_shape(text)
            script = self._parse(text)
            moment = self._moment(as_of)
            script = self._with_topics_shown(script, moment)
            mentions = find_mentions(script.text)
            reading = self._check_kinds(script.kinds, mentions)
            again = None if reading else self._moment_of
            take = partial(self._capture, windows or {})
            relations = Relations(mentions, moment, again, take, self._allowed, frame)
            bound = self._bind(script, values, relations) if reading else self._run(script, values, relations)
        rows_max = None if self._limits is None else self._limits.rows_max
        return Result(bound.query, bound.run, bound.relation, entry, rows_max, bound.shape)

    def _bind(self, script: Script, values: Values, relations: Relations) -> _Bound:
        """A statement that only reads, with all that it mentions, on a cursor."""
        changes = self._known.changes
        while True:
            query = self._query(script.text, script.parsed, values, relations, repeatable=True)
            key = key_of(query, relations.mentions)
            known = self._known.find(key)
            if known is not None:
                query = known.applied_to(query)
                return _Bound(query, query.open(), None, Shape(known.columns, known.types))
            run = query.open()
            try:
                bound = _refined(query, run, relations.mentions)
            except QueryError as error:
                run.close()
                relations.find(error)
            except BaseException:
                run.close()
                raise
            else:
                if key is not None and bound.run.reusable:
                    self._known.keep(key, _known(bound), changes)
                return bound

    def _run(self, script: Script, values: Values, relations: Relations) -> _Bound:
        """Statements that may change something, with what they write delivered."""
        in_transaction = _TRANSACTION in script.kinds
        if in_transaction:
            relations.look_ahead(self._database.definitions())
        with redirected(script, values, self._outside, self._evaluate) as copies:
            own = copies.text == script.text
            statements = script.parsed if own else tuple(self._database.parse(copies.text))
            try:
                query = self._query(copies.text, statements, copies.values, relations, repeatable=False)
                bound = self._one_by_one(query, relations, in_transaction=in_transaction)
            finally:
                self._known.forget()
                self._database.forget_views()  # perhaps one that was made for a topic was dropped
            relation = bound.run.guard(partial(copies.deliver, bound.relation))
        return bound._replace(relation=relation)

    def _one_by_one(self, query: Query, relations: Relations, *, in_transaction: bool) -> _Bound:
        """Each statement runs once, on the same cursor.

        One that DuckDB refused because it misses a relation has done nothing, and is given to it again. In a
        transaction that is too late: a statement that is refused ends it.
        """
        run = query.open()
        works: list[Callable[[], Any]] = [partial(run.execute, each) for each in query.statements[:-1]]
        try:
            if in_transaction:
                run.be_careful()
            for work in (*works, run.bind):
                while True:
                    try:
                        done = work()
                    except QueryError as error:
                        relations.find(error)
                        query = self._query(
                            query.text, query.statements, query.values, relations, repeatable=False
                        )
                        run.extend(query)
                    else:
                        break
        except BaseException:
            run.close()
            raise
        return _Bound(query, run, *done)

    def close(self) -> None:
        """Give the memory back. Closing twice is fine."""
        if not self._closed and self._process == process_id():
            self._closed = True
            self._database.close()

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _query(
        self,
        text: str,
        statements: tuple[Any, ...],
        values: Values,
        relations: Relations,
        *,
        repeatable: bool,
    ) -> Query:
        mentions, taken = relations.mentions, relations.capture
        raw = {name.casefold() for name in mentions.of_schema(RAW)}
        limits = self._limits
        return Query(
            text,
            values,
            repeatable,
            taken,
            tuple(name for name in taken.topics if name.casefold() in raw),
            dict(relations.objects),
            self._database,
            self._workers,
            statements=statements,
            tidy=repeatable and limits is None and "setseed" not in mentions.words,
            seconds_max=None if limits is None else limits.seconds_max,
        )

    def _parse(self, text: str) -> Script:
        names = (topic.name for topic in self._catalog.topics())
        seen = (name for name in names if self._allowed is None or name in self._allowed)
        return parse(self._database.parse, text, seen)

    def _with_topics_shown(self, script: Script, moment: Moment) -> Script:
        if "show" not in script.text.lower():
            return script
        text = with_topics_shown(script.text, moment.topics(self._allowed))
        return script if text == script.text else self._parse(text)

    def _capture(
        self, windows: Mapping[str, Mapping[int, range]], moment: Moment, mentions: Mentions
    ) -> Capture:
        own = None if self._limits is None else self._number
        taken = capture(
            moment.state, moment.lock, mentions, moment.names, self._surroundings, self._allowed, own
        )
        return taken.only(windows) if windows else taken

    def _evaluate(self, expression: str) -> Any:
        """What an expression without relations and parameters is; ``None`` if it cannot be computed."""
        cursor = self._database.cursor()
        try:
            ((value,),) = cursor.execute(f"select {expression}").fetchall()
        except Exception:  # noqa: BLE001 - the statement that has it says what is wrong
            return None
        finally:
            cursor.close()
        return value

    def _check_kinds(self, kinds: list[str], mentions: Mentions) -> bool:
        """Whether this is a single statement that only reads; raises if it may not be run here."""
        reading = kinds == ["SELECT"] and not mentions.words & _CHANGING
        if self._limits is not None and not reading:
            raise QueryRefusedError(_NOT_ALLOWED)
        if self._allowed is not None and not TABLES.keys().isdisjoint(
            map(str.lower, mentions.of_schema(SCHEMA))
        ):
            raise QueryRefusedError(f"this session may see only the topics {sorted(self._allowed)}")
        return reading

    def _moment(self, as_of: int | dt.datetime | None) -> Moment:
        if as_of is not None:
            return self._moment_of(as_of)
        self._catalog.refresh()
        return Moment(self._commits.state, self._commits.lock, self._names)

    def _moment_of(self, as_of: int | dt.datetime) -> Moment:
        return Moment.of(self._commits.state_at(as_of))

    def _renew(self) -> None:
        """Take another database if DuckDB gave up this one; results that are open go down with it."""
        with self._renewing:
            if self._database.lost:
                self._database = Database(self._limits)
                self._known = KnownQueries()

    def _check(self) -> None:
        if self._process != process_id():
            raise ForkedError("this session was opened before fork; open the log again here")
        if self._closed:
            raise ClosedError("the session is closed; open another one")


class _Bound(NamedTuple):
    """A query on a cursor.

    Attributes:
        query: The query.
        run: Has the cursor.
        relation: DuckDB's; ``None``: it is not needed to know the columns.
        shape: The columns.
    """

    query: Query
    run: Run
    relation: Any
    shape: Shape


def _refined(query: Query, run: Run, mentions: Mentions) -> _Bound:
    """The query as it stands; or without its records if it needs none; or knowing what it scans just once."""
    relation, shape = run.bind()
    topics = query.capture.topics
    if len(topics) == 1 and asks_for_extremes(mentions):
        text = run.condensed_text(shape.columns)
        bound = None if text is None else _condensed(query, text)
        if bound is not None:
            run.release()
            return bound
    typed = any(topic.schema is not None for topic in topics.values())
    if typed and not mentions.words.isdisjoint(_FILTERING):
        query = msgspec.structs.replace(query, lone=run.find_lone())
    return _Bound(query, run, relation, shape)


def _condensed(query: Query, text: str) -> _Bound | None:
    """The query as a text that needs no records; ``None``: DuckDB does not take it."""
    query = msgspec.structs.replace(query, text=text, statements=(), condensed=True)
    run = query.open()
    try:
        return _Bound(query, run, *run.bind())
    except QueryError:
        run.close()
        return None
    except BaseException:
        run.close()
        raise


def _known(bound: _Bound) -> Known:
    query, shape = bound.query, bound.shape
    return Known(shape.columns, shape.types, query.text, query.condensed, query.lone)


def _check_arguments(text: object, as_of: object) -> None:
    """Refuse what is no query and no moment.

    Raises:
        QueryError: The query is no text, or has characters that cannot be stored.
        InvalidPositionError: ``as_of`` is neither a number nor a datetime.
    """
    if not isinstance(text, str):
        raise QueryError(f"a query is a text, not {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryError(f"the query is no Unicode text: {error}") from None
    if as_of is not None and (isinstance(as_of, bool) or not isinstance(as_of, int | dt.datetime)):
        raise InvalidPositionError(f"as_of={as_of!r} is neither the number of a commit nor a datetime")
