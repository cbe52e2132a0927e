"""DuckDB databases in memory, as sessions need them, and what its errors mean.

Each session has a database of its own, in memory: nobody else's statements, no file, no lock. A query runs
on a cursor of its own, where the topics that it mentions are registered under their names.

One operator is replaced. ``->>`` raises in DuckDB when a text is no JSON, so that one binary record would
make all others unreadable; here it gives NULL for it, at no cost for texts that are. Where DuckDB does not
allow that (on aggregates, window functions and subqueries), it looks first, which costs. (``->`` raises here
too: DuckDB asks for no macro of that name.)
"""

from __future__ import annotations

import re
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from streamhouse.errors import ClosedError, QueryError, QueryLimitError, QueryRefusedError, StreamhouseError
from streamhouse.runtime import process_id
from streamhouse.sql import interrupts
from streamhouse.sql.cursors import IdleCursors
from streamhouse.sql.limits import Limits

JSON_MACRO: Final = """create macro "->>"(document, path) as try(json_extract_string(document, path))"""
TOO_LONG: Final = "the query took longer than this session allows"
_CAREFUL_JSON: Final = """
    create or replace temp macro "->>"(document, path) as
    case when json_valid(document) then json_extract_string(document, path) end
"""
_HEADER_MACRO: Final = (
    "create macro header(headers, name) as list_filter(headers, lambda entry: entry.name = name)[1].value"
)
_DEFINITIONS: Final = """
    select table_name, '' from duckdb_tables() where not internal
    union all select view_name, sql from duckdb_views() where not internal
    union all select function_name, macro_definition from duckdb_functions()
    where not internal and macro_definition is not null
"""
_RESTRICTED: Final = (
    ("autoinstall_known_extensions", "false"),
    ("autoload_known_extensions", "false"),
    ("allow_community_extensions", "false"),
    ("temp_directory", "''"),
    ("secret_directory", "''"),
    ("enable_external_access", "false"),
    ("lock_configuration", "true"),  # the last one
)


class Database:
    """One DuckDB database in memory. Cursors may be taken from any thread.

    Args:
        limits: For a restricted session.

    Attributes:
        idle: Cursors that the next query may use.
        helpers: Threads for calls that Ctrl-C ends.
        lost: DuckDB failed inside, and answers nothing any more.
        restricted: Whether it answers strangers.
        process: Where it was opened. In a child of that it has none of its threads, and would wait for them.
    """

    def __init__(self, limits: Limits | None) -> None:
        import duckdb

        self._connection: Any = duckdb.connect(":memory:", config={"python_enable_replacements": False})
        self.idle = IdleCursors()
        self.helpers = ThreadPoolExecutor(None, "streamhouse-query")  # starts none before it is needed
        self.lost = False
        self.restricted = limits is not None
        self.process = process_id()
        self._lock = threading.Lock()
        self._views: set[str] = set()
        self._cursors: weakref.WeakSet[Any] = weakref.WeakSet()
        settings = [("GLOBAL TimeZone", "'UTC'")]
        if limits is not None:
            settings.append(("memory_limit", f"'{limits.memory_bytes_max}B'"))
        for statement in ("create schema streamhouse", "create schema raw", JSON_MACRO, _HEADER_MACRO):
            self._connection.execute(statement)
        for name, value in settings + list(_RESTRICTED if limits is not None else ()):
            self._connection.execute(f"set {name} = {value}")

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._connection is None

    def cursor(self) -> Any:
        """A connection for one query."""
        with self._lock:
            if self._connection is None:
                raise ClosedError("the session is closed; open another one")
            cursor = self._connection.cursor()
            self._cursors.add(cursor)
            return cursor

    def parse(self, text: str) -> list[Any]:
        """The statements of a text, as DuckDB's parser makes them."""
        with self._lock:
            if self._connection is None:
                raise ClosedError("the session is closed; open another one")
            return self._connection.extract_statements(text)  # type: ignore[no-any-return]

    def definitions(self) -> dict[str, str]:
        """The tables, views and macros of the session: by name, the text of a view or of a macro."""
        cursor = self.cursor()
        try:
            return dict(cursor.execute(_DEFINITIONS).fetchall())
        finally:
            cursor.close()

    def make_view(self, cursor: Any, schema: str, name: str, registered: str) -> None:
        """Let ``schema.name`` mean whatever a cursor has registered under another name."""
        view = f"{schema}.{quoted(name)}"
        with self._lock:
            if view not in self._views:
                cursor.execute(f"create schema if not exists {schema}")
                cursor.execute(f"create or replace view {view} as from {quoted(registered)}")
                self._views.add(view)

    def forget_views(self) -> None:
        """Something was dropped, perhaps one of the views that were made."""
        with self._lock:
            self._views.clear()

    def close(self) -> None:
        """Give the memory back. Queries that run are interrupted."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            self.idle.clear()
            interrupts.close(*self._cursors, connection)
            self.helpers.shutdown(wait=False)  # what cannot be ended is left alone


def use_careful_json(cursor: Any) -> None:
    """Give a cursor a ``->>`` that looks first, for queries that cannot have the one that tries."""
    cursor.execute(_CAREFUL_JSON)


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def missing_relation(error: Exception) -> str | None:
    """The relation that DuckDB did not find, if that is what an error says."""
    found = _MISSING.search(str(error))
    return None if found is None else found.group(1).strip('"')


def failed_inside(error: Exception) -> bool:
    """Whether DuckDB found a defect of its own, after which it refuses everything else on the database."""
    return str(error).startswith(("INTERNAL Error", "FATAL Error"))


def needs_careful_json(error: Exception) -> bool:
    """Whether a query cannot have a ``->>`` that tries, which would hide what it is used on."""
    return _NOT_TO_TRY.search(str(error)) is not None


def translated(
    error: Exception, failure: BaseException | None = None, *, timed_out: bool = False
) -> Exception:
    """What to raise for an error of DuckDB.

    Args:
        error: The error.
        failure: What a scan of ours raised meanwhile, of which DuckDB knows only the text.
        timed_out: Whether the query was interrupted by its limit of time.
    """
    import duckdb

    if isinstance(failure, Exception):
        return failure
    if isinstance(error, StreamhouseError) or not isinstance(error, duckdb.Error):
        return error
    text = str(error).strip()
    if failed_inside(error):
        text = f"{text.partition(_STACK)[0].strip()}\n{_ANEW}"
    if timed_out:
        return QueryLimitError(TOO_LONG)
    if isinstance(error, duckdb.OutOfMemoryException):
        return QueryLimitError(text)
    if isinstance(error, duckdb.PermissionException) or _REFUSED.search(text):
        return QueryRefusedError(text)
    return QueryError(text)


_STACK: Final = "Stack Trace:"
_ANEW: Final = (
    "This is a defect of DuckDB. The session goes on with the next query, without the tables, views, macros "
    "and settings that were made in it"
)
_NOT_TO_TRY: Final = re.compile(
    r"TRY can not be used in combination with|not allowed (inside the TRY|in try)|UNNEST not supported here"
)
_MISSING: Final = re.compile(r"Table with name (\S.*?) does not exist")
_REFUSED: Final = re.compile(r"disabled (by|through) configuration|configuration has been locked")
