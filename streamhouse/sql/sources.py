"""Topics and tables as DuckDB scans them. With ``database.py`` the only file that knows DuckDB from inside.

DuckDB 2.0 asks an object of its class ``ArrowScanSource`` which filters it takes over, and for a stream of
just the columns that a query needs. That class and the method that registers one are private to DuckDB's
Python package. So they are used here and nowhere else, ``tests/sql/test_sources.py`` says what we rely
on, and without them topics are registered as plain Arrow streams: every block is read then, with the same
result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from streamhouse.sql.bounds import Hint, hint_of
from streamhouse.sql.condensed import CONDENSED, CondensedScan
from streamhouse.sql.fields import columns_of
from streamhouse.sql.plan import COLUMNS
from streamhouse.sql.predicates import understood
from streamhouse.sql.scan import TopicScan, Workers
from streamhouse.sql.snapshot import TopicView
from streamhouse.sql.stats import Reads, ScanNotes
from streamhouse.sql.stream import array_stream


def _scan_source() -> Any:
    """DuckDB's class, or a plain one where another version of DuckDB has it no more."""
    try:
        from duckdb._sources.arrow import ArrowScanSource
    except ImportError:
        return object
    return ArrowScanSource


_HINTS_MAX: Final = 20
_ScanSource: Any = _scan_source()
PUSHDOWN: Final = _ScanSource is not object
"""Whether this DuckDB tells sources what a query needs."""


class TopicSource:
    """A topic as of one commit.

    Args:
        workers: Who reads and decodes.
        topic: The topic.
        raw: Keys and values as BLOB instead of text.
        reads: Told of each scan, where it writes down what it reads, and when it is over.
        failed: Told of exceptions, of which DuckDB passes on only the text.
        stopped: Whether nobody needs more records.

    Attributes:
        mark: Set while a query is only explained: a number of rows by which its scans are found in the plan.
        scans: How many the query has that is explained, with those that DuckDB leaves out in the end.
        lone: Whether the query scans the topic just once, so that a filter that is offered is for that scan.
    """

    def __init__(
        self,
        workers: Workers,
        topic: TopicView,
        *,
        raw: bool,
        reads: Reads,
        failed: Callable[[BaseException], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._workers = workers
        self._topic = topic
        self._raw = raw
        self._reads = reads
        self._failed = failed
        self._stopped = stopped
        self.columns = self._column_names()
        self._fields = columns_of(topic.schema, COLUMNS)
        self._hints: dict[str, Hint] = {}
        self.mark: int | None = None
        self.scans = 0
        self.lone = False

    @property
    def schema(self) -> Any:
        """The Arrow schema of all columns; only asked for where the topic is registered."""
        return self._scan(self.columns, ()).schema

    def _column_names(self) -> Sequence[str]:
        return *COLUMNS, *columns_of(self._topic.schema, COLUMNS)

    def rows(self) -> int:
        """How many there are, for the order of joins; those trimmed within a block are counted too.

        DuckDB asks once for each scan that is written in a query, before it makes the plan. What was offered
        for an earlier plan is of no use any more: ``now()`` was another time then.
        """
        self._hints.clear()
        if self.mark is None:
            return self._topic.record_count
        self.scans += 1
        return self.mark

    def accepts(self, predicate: Any) -> bool:
        """Whether the scan applies a filter itself, exactly."""
        if self.mark is not None:
            return False
        if understood(predicate):
            return True
        if self.lone and len(self._hints) < _HINTS_MAX:
            hint = hint_of(predicate, self._fields)
            if hint is not None:
                self._hints[_sql(predicate)] = hint
        return False

    def stream(self, columns: Sequence[int] | None, filters: Sequence[Any]) -> tuple[object, bool]:
        """A stream of these columns, with the records that fit the filters."""
        names = self.columns if columns is None else [self.columns[index] for index in columns]
        scan = self._scan(names, filters, noted=True)
        return array_stream(scan.schema, scan.arrays(), self._failed, self._reads.end), True

    def _scan(self, names: Sequence[str], filters: Sequence[Any], *, noted: bool = False) -> Any:
        partitions = self._topic.partitions
        notes = ScanNotes(
            self._topic.name,
            names,
            [*map(_sql, filters), *self._hints],
            sum(partition.block_count for partition in partitions),
            sum(partition.stored_bytes for partition in partitions) if noted else 0,
        )
        if noted:
            self._reads.begin(notes)
        return self._pass(names, filters, notes)

    def _pass(self, names: Sequence[str], filters: Sequence[Any], notes: ScanNotes) -> Any:
        return TopicScan(
            self._workers,
            self._topic,
            names,
            filters,
            hints=list(self._hints.values()),
            raw=self._raw,
            notes=notes,
            stopped=self._stopped,
        )


class CondensedSource(TopicSource):
    """A topic of which only counts and extremes are wanted."""

    def _column_names(self) -> Sequence[str]:
        return CONDENSED

    def rows(self) -> int:
        """Two per partition."""
        return 2 * len(self._topic.partitions)

    def _pass(self, names: Sequence[str], filters: Sequence[Any], notes: ScanNotes) -> Any:
        return CondensedScan(self._workers, self._topic, names, filters, notes=notes)


class Slot(_ScanSource):  # type: ignore[misc]
    """What DuckDB is given under the name of a topic: the topic as the query sees that has the cursor.

    Args:
        source: That topic. Another one in its place has to have the same columns of the same types.
    """

    one_shot = False
    schema_is_stable = True

    def __init__(self, source: TopicSource) -> None:
        self.obj = self  # what DuckDB tells sources apart by
        self.source: TopicSource | None = source

    def rows(self) -> int:
        return self._source.rows()

    def accepts(self, predicate: Any) -> bool:
        return self._source.accepts(predicate)

    def stream(self, columns: Sequence[int] | None, filters: Sequence[Any]) -> tuple[object, bool]:
        return self._source.stream(columns, filters)

    def __arrow_c_schema__(self) -> object:
        return self._source.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.stream(None, ())[0]

    @property
    def _source(self) -> TopicSource:
        assert self.source is not None, "nobody has the cursor"
        return self.source


def register(connection: Any, name: str, slot: Slot) -> None:
    """Let statements on a connection read a topic under a name."""
    if PUSHDOWN:
        connection._register_arrow_source(name, slot)
    else:
        connection.register(name, slot)


def _sql(condition: Any) -> str:
    """A condition for people; it must not fail, whatever is in it."""
    try:
        text = str(condition.fragment())
    except (AttributeError, OverflowError, ValueError):
        text = repr(condition)
    return text[1:-1] if text.startswith("(") and text.endswith(")") else text
