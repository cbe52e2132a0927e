"""What happens in the log, told on the gateway's loop: new records, and what others agreed upon.

The commit thread calls for every commit. Most have nothing that anybody waits for; the loop is woken only for
the others, once per commit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Applied, Code
from streamhouse.format.commit import Commit
from streamhouse.format.operations import (
    AddToTransaction,
    Append,
    DeleteTopic,
    EndTransaction,
    Operation,
    Transaction,
)

Place: TypeAlias = tuple[int, int]
"""Topic id and partition."""

Subscriber: TypeAlias = Callable[[Operation], None]
"""Told, on the loop, of an operation that was accepted."""

_EVERYWHERE: Final = -1


class Events:
    """One per gateway.

    Args:
        loop: The gateway's.
        commits: The log.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, commits: CommitLog) -> None:
        self._loop = loop
        self._commits = commits
        self._waiting: dict[Place, set[asyncio.Future[None]]] = {}
        self._subscribers: dict[type, list[Subscriber]] = {}
        self._aside: dict[str, set[Place]] = {}  # where open transactions have put records
        self._lock = threading.Lock()  # one may be closed while the commit thread calls
        self._closed = False

    def start(self) -> None:
        """Follow the log from here on."""
        self._commits.listen(self._observe)
        self._commits.follow(+1)

    def close(self) -> None:
        """Tell nobody any more."""
        with self._lock:
            self._closed = True
        self._commits.follow(-1)

    def subscribe(self, subscriber: Subscriber, *kinds: type) -> None:
        """Be told of operations of these kinds; before :meth:`start`."""
        for kind in kinds:
            self._subscribers.setdefault(kind, []).append(subscriber)

    @contextmanager
    def waiter(self, places: Iterable[Place]) -> Iterator[asyncio.Future[None]]:
        """A future that is done when there are new records in one of these partitions.

        Enter it before looking: what comes in between is then not missed.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        mine = set(places)
        for place in mine:
            self._waiting.setdefault(place, set()).add(future)
        try:
            yield future
        finally:
            for place in mine:
                others = self._waiting[place]
                others.discard(future)
                if not others:
                    del self._waiting[place]

    # --- on the commit thread ----------------------------------------------------------------------

    def _observe(self, applied: Applied, commit: Commit) -> None:
        answers = {(agent, number): verdicts for agent, number, verdicts in applied.verdicts}
        places: set[Place] = set()
        told: list[Operation] = []
        for flush in commit.flushes:
            for operation, verdict in zip(
                flush.operations, answers.get((flush.agent, flush.number), ()), strict=False
            ):
                if verdict.code is not Code.ACCEPTED:
                    continue
                places.update(self._places(operation))
                if type(operation) in self._subscribers:
                    told.append(operation)
        if not told and places.isdisjoint(self._waiting) and not any(t == _EVERYWHERE for t, _ in places):
            return
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._tell, places, told)

    def _places(self, operation: Operation) -> Iterable[Place]:
        """Where there are new records now, or a reason to look."""
        if isinstance(operation, Append):
            return [(operation.topic, part.partition) for part in operation.parts]
        if isinstance(operation, Transaction):
            return [(each.topic, part.partition) for each in operation.appends for part in each.parts]
        if isinstance(operation, AddToTransaction):
            aside = self._aside.setdefault(operation.transactional_id, set())
            aside.update((each.topic, part.partition) for each in operation.appends for part in each.parts)
        elif isinstance(operation, EndTransaction):
            # Nothing is known of one that was begun before this process opened the log.
            aside = self._aside.pop(operation.transactional_id, {(_EVERYWHERE, 0)})
            return aside if operation.commit else ()
        elif isinstance(operation, DeleteTopic):
            return [place for place in list(self._waiting) if place[0] == operation.topic]
        return ()

    # --- on the loop -------------------------------------------------------------------------------

    def _tell(self, places: set[Place], told: list[Operation]) -> None:
        if any(topic == _EVERYWHERE for topic, _ in places):
            places = set(self._waiting)
        for place in places:
            for future in self._waiting.get(place, ()):
                if not future.done():
                    future.set_result(None)
        for operation in told:
            for subscriber in self._subscribers.get(type(operation), ()):
                subscriber(operation)
