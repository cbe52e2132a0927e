"""Stores that misbehave on purpose: wrappers with faults and with latency.

The faults are those that were met in the wild (docs/internals lists them): an answer that gets lost
after the write was carried out, a write that lands after everybody gave up on it, a listing that
does not know the newest objects yet, a bit that flips on the way.

>>> from streamhouse.store.memory import MemoryStore
>>> from streamhouse.testing.clock import ManualRuntime
>>> store = FaultyStore(MemoryStore(ManualRuntime()))
>>> store.script("put_if_absent", "lost-answer")
>>> store.put_if_absent("log/1", [b"x"])
<PutOutcome.UNKNOWN: 'unknown'>
>>> store.get("log/1")
b'x'
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, TypeVar, get_args

import msgspec

from streamhouse.errors import (
    StoreAccessError,
    StoreDurabilityError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from streamhouse.store.base import (
    Buffer,
    ObjectInfo,
    ObjectStore,
    PutOutcome,
    StoreCapabilities,
)

T = TypeVar("T")

Operation = Literal["put_if_absent", "put", "get", "head", "list", "delete_many"]

FaultKind = Literal[
    "unavailable",  # StoreUnavailableError, nothing done
    "denied",  # StoreAccessError, nothing done
    "full",  # StoreFullError, nothing done
    "unknown",  # put_if_absent: UNKNOWN, nothing done; others: as "unavailable"
    "lost-answer",  # done, then UNKNOWN or StoreUnavailableError
    "late",  # UNKNOWN or StoreUnavailableError now; done when land() is called
    "not-durable",  # done, then StoreDurabilityError
    "delay",  # sleeps first
    "flip",  # get: one bit is wrong
    "truncate",  # get: the second half is missing
    "stale",  # list: objects written since the last listing are missing
]

_WRITES = ("put_if_absent", "put", "delete_many")
_SENSE: Mapping[str, tuple[str, ...]] = {
    "flip": ("get",),
    "truncate": ("get",),
    "stale": ("list",),
    "late": _WRITES,
    "not-durable": _WRITES,
    "lost-answer": _WRITES,
    "full": _WRITES,
}


class StoreFault(msgspec.Struct):
    """A fault that waits for its operation.

    Attributes:
        operation: The method it strikes.
        kind: What happens.
        prefix: Only objects whose names begin with this.
        times: How often; ``None``: always.
        skip: Matching calls to let pass first.
        seconds: Length of a delay.
    """

    operation: Operation
    kind: FaultKind
    prefix: str = ""
    times: int | None = 1
    skip: int = 0
    seconds: float = 0.0


class WrappedStore:
    """Hands every call on to another store; base of wrappers that change some.

    Args:
        inner: The store that does the work.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def capabilities(self) -> StoreCapabilities:
        return self.inner.capabilities

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    def put_if_absent(self, name: str, data: Sequence[Buffer]) -> PutOutcome:
        return self.inner.put_if_absent(name, data)

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        self.inner.put(name, data)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        return self.inner.get(name, start, end)

    def head(self, name: str) -> ObjectInfo | None:
        return self.inner.head(name)

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        return self.inner.list(prefix, start_after, limit)

    def delete_many(self, names: Iterable[str]) -> None:
        self.inner.delete_many(names)

    def sweep(self, older_than_seconds: float) -> int:
        return self.inner.sweep(older_than_seconds)

    def commit_lock(self, timeout_seconds: float) -> AbstractContextManager[bool]:
        return self.inner.commit_lock(timeout_seconds)

    def close(self) -> None:
        self.inner.close()


class FaultyStore(WrappedStore):
    """A store that fails as scripted, or by a seeded die.

    Args:
        inner: The store that does the work.
        seed: For the die, and for which bit flips.
        rates: Probability of each kind of fault, per call it can strike.
        delay_seconds_max: Longest random delay.
        sleep: What a delay calls.

    Attributes:
        injected: How often each kind struck.
    """

    def __init__(
        self,
        inner: ObjectStore,
        *,
        seed: int = 0,
        rates: Mapping[FaultKind, float] | None = None,
        delay_seconds_max: float = 0.01,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(inner)
        unknown = set(rates or {}) - set(get_args(FaultKind))
        if unknown:
            raise ValueError(f"unknown kinds of faults: {', '.join(sorted(unknown))}")
        self.injected: Counter[str] = Counter()
        self._rates = dict(rates or {})
        self._random = random.Random(seed)
        self._delay_seconds_max = delay_seconds_max
        self._sleep = sleep
        self._script: list[StoreFault] = []
        self._late: list[Callable[[], object]] = []
        self._listed: dict[str, list[ObjectInfo]] = {}
        self._lock = threading.Lock()

    def script(
        self,
        operation: Operation,
        kind: FaultKind,
        *,
        prefix: str = "",
        times: int | None = 1,
        skip: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """Add a fault; those added first strike first. See :class:`StoreFault`."""
        if operation not in _SENSE.get(kind, (operation,)):
            raise ValueError(f"a fault {kind!r} cannot strike {operation}")
        with self._lock:
            self._script.append(StoreFault(operation, kind, prefix, times, skip, seconds))

    def land(self) -> int:
        """Carry out the late writes, in the order they were made; how many."""
        with self._lock:
            late, self._late = self._late, []
        for write in late:
            write()
        return len(late)

    def put_if_absent(self, name: str, data: Sequence[Buffer]) -> PutOutcome:
        content = b"".join(data)  # the caller may reuse its buffers before a late write
        write = lambda: self.inner.put_if_absent(name, [content])  # noqa: E731
        return self._write("put_if_absent", name, write, lambda: PutOutcome.UNKNOWN)

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        content = b"".join(data)
        write = lambda: self.inner.put(name, [content])  # noqa: E731
        self._write("put", name, write, lambda: _unavailable("put", name))

    def delete_many(self, names: Iterable[str]) -> None:
        wanted = list(names)
        first = wanted[0] if wanted else ""
        write = lambda: self.inner.delete_many(wanted)  # noqa: E731
        self._write("delete_many", first, write, lambda: _unavailable("delete_many", first))

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        kind = self._strike("get", name)
        data = super().get(name, start, end)
        if kind == "truncate":
            return data[: len(data) // 2]
        if kind == "flip" and data:
            with self._lock:
                bit = self._random.randrange(8 * len(data))
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            return bytes(flipped)
        return data

    def head(self, name: str) -> ObjectInfo | None:
        self._strike("head", name)
        return super().head(name)

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        kind = self._strike("list", prefix)
        if kind == "stale":
            known = self._listed.get(prefix, [])
            found = [info for info in known if info.name > start_after]
            return found if limit is None else found[:limit]
        if "stale" in self._rates or self._waits("stale"):
            self._listed[prefix] = super().list(prefix)
        return super().list(prefix, start_after, limit)

    def _write(
        self, operation: Operation, name: str, write: Callable[[], T], unanswered: Callable[[], T]
    ) -> T:
        kind = self._strike(operation, name)
        if kind == "late":
            with self._lock:
                self._late.append(write)
            return unanswered()
        if kind == "unknown":
            return unanswered()
        outcome = write()
        if kind == "lost-answer":
            return unanswered()
        if kind == "not-durable":
            raise StoreDurabilityError(f"injected: {name} may not survive a loss of power")
        return outcome

    def _strike(self, operation: Operation, name: str) -> str | None:
        """Choose a fault for a call; carry out those that happen before it."""
        with self._lock:
            kind, seconds = self._scripted(operation, name) or self._drawn(operation)
            if kind is not None:
                self.injected[kind] += 1
        if kind == "delay":
            self._sleep(seconds)
        elif kind == "unavailable" or (kind == "unknown" and operation != "put_if_absent"):
            _unavailable(operation, name)
        elif kind in _REFUSALS:
            raise _REFUSALS[kind](f"injected: {operation} {name}")
        return kind

    def _scripted(self, operation: Operation, name: str) -> tuple[str, float] | None:
        for fault in self._script:
            if fault.operation != operation or not name.startswith(fault.prefix):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    self._script.remove(fault)
            return fault.kind, fault.seconds
        return None

    def _drawn(self, operation: Operation) -> tuple[str | None, float]:
        for kind, rate in self._rates.items():
            possible = operation in _SENSE.get(kind, (operation,))
            if possible and self._random.random() < rate:
                return kind, self._random.uniform(0, self._delay_seconds_max)
        return None, 0.0

    def _waits(self, kind: FaultKind) -> bool:
        with self._lock:
            return any(fault.kind == kind for fault in self._script)


_REFUSALS: Mapping[str | None, type[StoreError]] = {
    "denied": StoreAccessError,
    "full": StoreFullError,
}


def _unavailable(operation: str, name: str) -> None:
    raise StoreUnavailableError(f"injected: no answer to {operation} {name}")


class SlowStore(WrappedStore):
    """A store behind a slow network.

    Args:
        inner: The store that does the work.
        put_seconds: Added to each write and deletion.
        get_seconds: Added to each read and look.
        list_seconds: Added to each listing.
        sleep: What a delay calls.
    """

    def __init__(
        self,
        inner: ObjectStore,
        *,
        put_seconds: float = 0.06,
        get_seconds: float = 0.03,
        list_seconds: float = 0.06,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(inner)
        self._put_seconds = put_seconds
        self._get_seconds = get_seconds
        self._list_seconds = list_seconds
        self._sleep = sleep

    @property
    def capabilities(self) -> StoreCapabilities:
        return msgspec.structs.replace(self.inner.capabilities, remote=True)

    def put_if_absent(self, name: str, data: Sequence[Buffer]) -> PutOutcome:
        self._sleep(self._put_seconds)
        return super().put_if_absent(name, data)

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        self._sleep(self._put_seconds)
        super().put(name, data)

    def delete_many(self, names: Iterable[str]) -> None:
        self._sleep(self._put_seconds)
        super().delete_many(names)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        self._sleep(self._get_seconds)
        return super().get(name, start, end)

    def head(self, name: str) -> ObjectInfo | None:
        self._sleep(self._get_seconds)
        return super().head(name)

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        self._sleep(self._list_seconds)
        return super().list(prefix, start_after, limit)
