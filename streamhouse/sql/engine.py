"""What a log knows of SQL before anybody asks: how to begin. Loads nothing heavy until the first query."""

from __future__ import annotations

import datetime as dt
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from types import FrameType
from typing import TYPE_CHECKING, Any

from streamhouse.catalog.catalog import Catalog, TopicInfo
from streamhouse.commits.log import CommitLog
from streamhouse.config import Settings
from streamhouse.read.reader import BlockReader
from streamhouse.runtime import Runtime
from streamhouse.sql.limits import Limits, checked_topics
from streamhouse.sql.parameters import Values
from streamhouse.store.metered import MeteredStore
from streamhouse.store.outside import Outside

if TYPE_CHECKING:
    from streamhouse.producer import Producer
    from streamhouse.sql.export import Export
    from streamhouse.sql.journal import Journal
    from streamhouse.sql.result import Result
    from streamhouse.sql.scan import Workers
    from streamhouse.sql.session import SqlSession
    from streamhouse.sql.tables import Surroundings

_REQUEST_BYTES = 4 << 20
"""Of a remote store. A request costs milliseconds, of waiting and of a processor; so do that many bytes."""


class SqlEngine:
    """The sessions of a log, and the threads that decode for all of them."""

    def __init__(
        self,
        catalog: Catalog,
        commits: CommitLog,
        reader: BlockReader,
        store: MeteredStore,
        settings: Settings,
        runtime: Runtime,
        outside: Outside,
    ) -> None:
        self._catalog = catalog
        self._commits = commits
        self._reader = reader
        self._store = store
        self._settings = settings
        self._runtime = runtime
        self._outside = outside
        self._lock = threading.Lock()
        self._workers: Workers | None = None
        self._queries: Journal | None = None
        self._usual: SqlSession | None = None
        self._sessions: weakref.WeakSet[SqlSession] = weakref.WeakSet()

    def run(
        self,
        query: str,
        values: Values,
        as_of: int | dt.datetime | None,
        frame: FrameType | None,
    ) -> Result:
        """Run a query in the session that belongs to the log."""
        with self._lock:
            if self._usual is None:
                self._usual = self._make(None, None)
        return self._usual.run(query, values, as_of, frame)

    def session(self, limits: Limits | None, topics: Iterable[str] | None) -> SqlSession:
        """A new session."""
        names = checked_topics(topics)
        for name in names or ():
            self._catalog.topic(name)
        with self._lock:
            return self._make(limits, names)

    def export(
        self,
        topic: TopicInfo,
        url: str | os.PathLike[str],
        make_producer: Callable[..., Producer],
        *,
        group: str | None,
        storage_options: Mapping[str, Any] | None,
        **how: Any,
    ) -> Export:
        """Export what came into a topic; see :meth:`streamhouse.topic.Topic.to_parquet`.

        Args:
            topic: The topic.
            url: A folder.
            make_producer: Makes a producer with a ``transactional_id``.
            group: The name under which the log remembers it; by default it is made of the URL.
            storage_options: For the filesystem of the URL.
            **how: See :func:`~streamhouse.sql.export.checked_options`.
        """
        from streamhouse.sql.export import Exporter, checked_options, default_group

        options = checked_options(**how)
        place = self._outside.open(url, storage_options)
        with closing(place), closing(self.session(None, None)) as session:
            name = default_group(place.url) if group is None else group
            return Exporter(self._commits, session, make_producer, topic, place, name, options).run()

    def close(self) -> None:
        """Close all sessions and end the threads."""
        with self._lock:
            for session in list(self._sessions):
                session.close()
            if self._workers is not None:
                self._workers.close()

    def _make(self, limits: Limits | None, topics: Iterable[str] | None) -> SqlSession:
        from streamhouse.sql.scan import Workers
        from streamhouse.sql.session import SqlSession

        if self._workers is None:
            at_once = _REQUEST_BYTES if self._store.capabilities.remote else 0
            self._workers = Workers(self._reader, self._threads(), at_once)
        session = SqlSession(
            self._catalog,
            self._commits,
            self._workers,
            self._journal(),
            self._surroundings(),
            self._outside,
            limits=limits,
            topics=topics,
        )
        self._sessions.add(session)
        return session

    def _threads(self) -> int:
        """How many decode ahead: one less than there are processors, for who waits for a block decodes too.

        As many as requests may be under way when those are slow.
        """
        if self._store.capabilities.remote:
            return self._settings.request_concurrency
        return max(1, min(8, os.cpu_count() or 1) - 1)

    def _surroundings(self) -> Surroundings:
        from streamhouse.sql.tables import Surroundings

        return Surroundings(
            self._settings,
            self._store.stats,
            lambda: self._commits.recent_commits,
            self._journal().rows,
        )

    def _journal(self) -> Journal:
        from streamhouse.sql.journal import Journal

        if self._queries is None:
            self._queries = Journal(self._runtime)
        return self._queries
