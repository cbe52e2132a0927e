"""Objects in the memory of this process: for tests, demonstrations and throw-away logs.

``memory://`` is private to the log that opened it. ``memory://name`` is shared by all that open the
name in this process, and stays until the process ends, as a bucket would. Creation is atomic under
a lock; fsspec's memory filesystem looks first and writes afterwards, so that two writers can win.
"""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from streamhouse.errors import ObjectNotFoundError
from streamhouse.runtime import Runtime
from streamhouse.store.base import Buffer, ObjectInfo, PutOutcome, StoreCapabilities


class _Shelf:
    """The objects of one memory store."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.objects: dict[str, tuple[bytes, int]] = {}  # content, time of writing in ms
        self.names: list[str] = []  # sorted, so that a listing need not sort


_named: dict[str, _Shelf] = {}
_named_lock = threading.Lock()


class MemoryStore:
    """Objects in a dictionary.

    Args:
        runtime: Its wall clock is the clock of the store.
        name: Share the objects with every store of this name in the process; empty: with nobody.
    """

    def __init__(self, runtime: Runtime, name: str = "") -> None:
        self._runtime = runtime
        self._name = name
        self._shelf = _named_shelf(name) if name else _Shelf()

    @property
    def url(self) -> str:
        return f"memory://{self._name}"

    @property
    def capabilities(self) -> StoreCapabilities:
        # "Shared" so that two logs on one name look for each other's commits, as two processes do.
        return StoreCapabilities(remote=False, atomic_create=True, shared=bool(self._name))

    def __repr__(self) -> str:
        return f"MemoryStore({self._name!r})"

    def put_if_absent(self, name: str, data: Sequence[Buffer]) -> PutOutcome:
        content = b"".join(data)
        shelf = self._shelf
        with shelf.lock:
            if name in shelf.objects:
                return PutOutcome.EXISTS
            shelf.objects[name] = (content, self._runtime.time_ms())
            insort(shelf.names, name)
        return PutOutcome.CREATED

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        content = b"".join(data)
        shelf = self._shelf
        with shelf.lock:
            if name not in shelf.objects:
                insort(shelf.names, name)
            shelf.objects[name] = (content, self._runtime.time_ms())

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        try:
            content = self._shelf.objects[name][0]
        except KeyError:
            raise ObjectNotFoundError(f"no object {name} in {self.url}") from None
        return content[start:end]

    def head(self, name: str) -> ObjectInfo | None:
        entry = self._shelf.objects.get(name)
        return None if entry is None else ObjectInfo(name, len(entry[0]), entry[1])

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        shelf = self._shelf
        with shelf.lock:
            names, objects = shelf.names, shelf.objects
            first = max(bisect_left(names, prefix), bisect_right(names, start_after))
            last = bisect_left(names, prefix + _AFTER_ALL, lo=first)
            if limit is not None:
                last = min(last, first + max(limit, 0))
            return [ObjectInfo(name, len(objects[name][0]), objects[name][1]) for name in names[first:last]]

    def delete_many(self, names: Iterable[str]) -> None:
        shelf = self._shelf
        with shelf.lock:
            for name in names:
                if shelf.objects.pop(name, None) is not None:
                    del shelf.names[bisect_left(shelf.names, name)]

    def sweep(self, older_than_seconds: float) -> int:  # noqa: ARG002 - nothing is left behind here
        return 0

    def commit_lock(
        self,
        timeout_seconds: float,  # noqa: ARG002 - there is nothing to wait for
    ) -> AbstractContextManager[bool]:
        return contextlib.nullcontext(False)

    def close(self) -> None:
        """Nothing to give back; a named store keeps its objects."""


_AFTER_ALL = chr(0x10FFFF)  # sorts after everything that can follow a prefix


def _named_shelf(name: str) -> _Shelf:
    with _named_lock:
        return _named.setdefault(name, _Shelf())
