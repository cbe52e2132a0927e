"""The last queries of this process, for the table ``queries``."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from streamhouse.runtime import Runtime
from streamhouse.sql.stats import QueryStats
from streamhouse.sql.tables import Row

_KEPT_MAX: Final = 1000
_TEXT_CHARS_MAX: Final = 10_000


class Reads(Protocol):
    """Something that knows what a pass over a result has read."""

    @property
    def stats(self) -> QueryStats: ...


class Entry:
    """A query, from when it was asked. ``ready`` means that its rows were not asked for yet."""

    def __init__(self, text: str, session: int, runtime: Runtime) -> None:
        self._text = text[:_TEXT_CHARS_MAX]
        self.session = session
        self._runtime = runtime
        self._started_ms = runtime.time_ms()
        self._began = runtime.monotonic()
        self._state = "running"
        self._seconds: float | None = None
        self._error: str | None = None
        self._stats: QueryStats | None = None
        self._reads: weakref.ref[Reads] | None = None

    @contextmanager
    def running(self, reads: Reads | None = None, *, then: str = "done") -> Iterator[None]:
        """While this is held, the query runs.

        Args:
            reads: Knows what it reads.
            then: Its state after that.
        """
        self._state, self._began, self._error = "running", self._runtime.monotonic(), None
        self._reads = None if reads is None else weakref.ref(reads)
        try:
            yield
        except BaseException as error:
            if not isinstance(error, GeneratorExit):  # who reads no further is content
                then, self._error = "failed", f"{type(error).__name__}: {error}"
            raise
        finally:
            self._state, self._seconds = then, self._runtime.monotonic() - self._began
            self._stats = self._seen()

    def row(self) -> Row:
        """The row of the table."""
        stats = self._seen()
        return (
            self._text,
            self.session,
            self._started_ms,
            self._state,
            self._seconds,
            None if stats is None else stats.commit,
            None if stats is None else stats.blocks_read,
            None if stats is None else stats.bytes_read,
            self._error,
        )

    def _seen(self) -> QueryStats | None:
        """What the pass has read: an Arrow stream reads on after it was handed out."""
        reads = None if self._reads is None else self._reads()
        return self._stats if reads is None else reads.stats


class Journal:
    """Keeps the last queries. Safe to call from any thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._entries: deque[Entry] = deque(maxlen=_KEPT_MAX)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def session(self) -> int:
        """A number for a new session."""
        return next(self._numbers)

    def begin(self, text: str, session: int) -> Entry:
        """A query is asked."""
        entry = Entry(text, session, self._runtime)
        with self._lock:
            self._entries.append(entry)
        return entry

    def rows(self, session: int | None) -> list[Row]:
        """The table, of one session or of all."""
        with self._lock:
            entries = list(self._entries)
        return [entry.row() for entry in entries if session in {None, entry.session}]
