"""Counts the requests that pass to a store, so that a log can say what it does and costs.

Local stores are counted too: the count answers "what would this cost on S3?" before anything is
moved there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import msgspec

from streamhouse.runtime import Runtime
from streamhouse.store.base import (
    Buffer,
    ObjectInfo,
    ObjectStore,
    PutOutcome,
    StoreCapabilities,
)
from streamhouse.store.cost import RequestCounts, dollars_per_month


class StoreStats(msgspec.Struct, frozen=True):
    """What a log asked of its store.

    Attributes:
        counts: Requests and bytes since the store was opened.
        seconds: How long ago that was.
        recent: Requests and bytes of the last one to two minutes.
        recent_seconds: The time that ``recent`` spans.
        dollars_per_month: What a month of ``recent`` would cost at S3's list prices.
    """

    counts: RequestCounts
    seconds: float
    recent: RequestCounts
    recent_seconds: float
    dollars_per_month: float


_NAMES_PER_REQUEST = 1000
_WINDOW_SECONDS = 60.0


class MeteredStore:
    """A store that counts.

    Args:
        inner: The store that does the work.
        runtime: Clock for the present rate.
    """

    def __init__(self, inner: ObjectStore, runtime: Runtime) -> None:
        self._inner = inner
        self._runtime = runtime
        self._lock = threading.Lock()
        self._puts = self._gets = self._heads = self._lists = self._deletes = 0
        self._bytes_written = self._bytes_read = 0
        self._opened = runtime.monotonic()
        begun = (self._opened, RequestCounts())
        self._marks = (begun, begun)  # the present rate is taken since the older one

    def stats(self) -> StoreStats:
        """The counts so far, and what the present rate would cost."""
        now = self._runtime.monotonic()
        with self._lock:
            self._turn(now)
            (since, before), counts = self._marks[0], self._counts()
        recent = counts.since(before)
        return StoreStats(
            counts, now - self._opened, recent, now - since, dollars_per_month(recent, now - since)
        )

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def capabilities(self) -> StoreCapabilities:
        return self._inner.capabilities

    def __repr__(self) -> str:
        return f"MeteredStore({self._inner!r})"

    def put_if_absent(self, name: str, data: Sequence[Buffer]) -> PutOutcome:
        self._count_put(data)
        return self._inner.put_if_absent(name, data)

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        self._count_put(data)
        self._inner.put(name, data)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        size = 0
        try:
            data = self._inner.get(name, start, end)
            size = len(data)
        finally:  # a miss is billed as well
            with self._lock:
                self._gets += 1
                self._bytes_read += size
        return data

    def head(self, name: str) -> ObjectInfo | None:
        with self._lock:
            self._heads += 1
        return self._inner.head(name)

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        pages = 1
        try:
            found = self._inner.list(prefix, start_after, limit)
            pages = max(1, -(-len(found) // _NAMES_PER_REQUEST))
        finally:
            with self._lock:
                self._lists += pages
        return found

    def delete_many(self, names: Iterable[str]) -> None:
        wanted = list(names)
        with self._lock:
            self._deletes += -(-len(wanted) // _NAMES_PER_REQUEST)
        self._inner.delete_many(wanted)

    def sweep(self, older_than_seconds: float) -> int:
        return self._inner.sweep(older_than_seconds)

    def commit_lock(self, timeout_seconds: float) -> AbstractContextManager[bool]:
        return self._inner.commit_lock(timeout_seconds)

    def close(self) -> None:
        self._inner.close()

    def _count_put(self, data: Sequence[Buffer]) -> None:
        size = sum(map(_size, data))
        now = self._runtime.monotonic()
        with self._lock:
            self._turn(now)
            self._puts += 1
            self._bytes_written += size

    def _turn(self, now: float) -> None:
        """Move the marks on, so that the older one is one to two windows back."""
        if now - self._marks[1][0] >= _WINDOW_SECONDS:
            self._marks = (self._marks[1], (now, self._counts()))

    def _counts(self) -> RequestCounts:
        return RequestCounts(
            self._puts,
            self._gets,
            self._heads,
            self._lists,
            self._deletes,
            self._bytes_written,
            self._bytes_read,
        )


def _size(buffer: Buffer) -> int:
    return buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
