"""The last queries of this process, for the table ``queries``."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

from streamhouse.errors import QueryError
from streamhouse.runtime import Runtime
from streamhouse.sql.stats import Reads
from streamhouse.sql.tables import Row

_KEPT_MAX: Final = 1000
_TEXT_CHARS_MAX: Final = 10_000


class Entry:
    """A query, from when it was asked. ``ready`` means that its rows were not asked for yet.

    After that it tells of the pass over its result that was begun last. Another one that is still under way
    says nothing here any more.
    """

    def __init__(self, text: str, session: int, runtime: Runtime) -> None:
        self._text = text[:_TEXT_CHARS_MAX]
        self.session = session
        self._runtime = runtime
        self._started_ms = runtime.time_ms()
        self._began = runtime.monotonic()
        self._state = "running"
        self._seconds: float | None = None
        self._error: str | None = None
        self._reads: Reads | None = None
        self._read: _Read | None = None  # in the end

    @contextmanager
    def running(self, reads: Reads | None = None, *, then: str = "done") -> Iterator[None]:
        """While this is held, the query runs.

        Args:
            reads: Knows what it reads.
            then: Its state after that.
        """
        self._begin(reads)
        try:
            yield
        except GeneratorExit:  # who reads no further is content
            self._end(reads, then)
            raise
        except BaseException as error:
            self._end(reads, "failed", f"{type(error).__name__}: {error}")
            raise
        else:
            self._end(reads, then)
        finally:
            if reads is self._reads:
                self._reads = None  # which knows the name of every object that was read

    @contextmanager
    def handing_out(self, reads: Reads) -> Iterator[None]:
        """While this is held, an Arrow stream is made. The query runs until that has given all it has.

        Args:
            reads: Knows what it reads, and when that is over.
        """
        self._begin(reads)
        reads.over = partial(self._over, reads)
        try:
            yield
        except BaseException as error:
            self._end(reads, "failed", f"{type(error).__name__}: {error}")
            raise
        if not reads.open:
            self._over(reads, None)

    def has_run(self, reads: Reads) -> None:
        """The query ran when it was asked, and that is all there is to run.

        Args:
            reads: Knows what it read.
        """
        self._state, self._read = "done", _read_by(reads)

    def row(self) -> Row:
        """The row of the table."""
        read = self._read
        if read is None and self._reads is not None:
            read = _read_by(self._reads)
        return (
            self._text,
            self.session,
            self._started_ms,
            self._state,
            self._seconds,
            *(_NOTHING if read is None else read),
            self._error,
        )

    def _begin(self, reads: Reads | None) -> None:
        self._reads, self._read, self._error = reads, None, None
        self._state, self._began, self._seconds = "running", self._runtime.monotonic(), None

    def _end(self, reads: Reads | None, state: str, error: str | None = None) -> None:
        """A pass is over, unless a later one has begun."""
        if reads is self._reads:
            self._state, self._error = state, error
            self._seconds = self._runtime.monotonic() - self._began
            self._read = None if reads is None else _read_by(reads)

    def _over(self, reads: Reads, error: str | None) -> None:
        """An Arrow stream is over; one that failed is told of twice."""
        if error is not None:
            self._end(reads, "failed", f"{QueryError.__name__}: {error}")
        elif self._state == "running":
            self._end(reads, "done")


class _Read(NamedTuple):
    commit: int | None
    blocks: int | None
    bytes: int | None


_NOTHING: Final = _Read(None, None, None)


def _read_by(reads: Reads) -> _Read:
    stats = reads.stats
    return _Read(stats.commit, stats.blocks_read, stats.bytes_read)


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
