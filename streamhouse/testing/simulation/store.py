"""A bucket in memory, and the network between it and each agent.

A request takes time; its effect on the bucket happens at one instant on the way, and the answer
arrives later, or not at all. What is answered is what the contract of
:class:`~streamhouse.store.base.ObjectStore` allows and no better: every doubt about a put-if-absent is
``UNKNOWN``, an exception from it means that nothing was and will be created, and any other call that
raised may have had its effect or have it hours later.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from streamhouse.commits.io import StoreIO
from streamhouse.errors import (
    ObjectNotFoundError,
    StoreDurabilityError,
    StoreFullError,
    StoreUnavailableError,
)
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectInfo, PutOutcome, StoreCapabilities
from streamhouse.testing.simulation.faults import Faults, Latency, draw_delay
from streamhouse.testing.simulation.loop import Process, SimLoop

T = TypeVar("T")

_EPOCH_MS: Final = 1_700_000_000_000
_STALE_SECONDS_MAX: Final = 300.0
_LOOK_SECONDS: Final = 1.0
_PROMPT: Final = 0.6  # of requests whose answer comes at once after their effect
_READS: Final = frozenset({"get", "head", "list"})


class Bucket:
    """The objects, with the store's clock; every method is one instant."""

    def __init__(self, loop: SimLoop, clock_skew_seconds: float) -> None:
        self.objects: dict[str, bytes] = {}
        self.lock_holder: str | None = None
        self.on_change: Callable[[str], None] = _unheard  # an object was deleted or overwritten by another
        self._loop = loop
        self._skew = clock_skew_seconds
        self._names: list[str] = []
        self._written: dict[str, float] = {}
        self._infos: dict[str, ObjectInfo] = {}  # of those that were asked for
        self._deleted: list[tuple[float, ObjectInfo]] = []

    def put_if_absent(self, name: str, data: bytes) -> PutOutcome:
        if name in self.objects:
            return PutOutcome.EXISTS
        self.put(name, data)
        return PutOutcome.CREATED

    def put(self, name: str, data: bytes) -> None:
        if name not in self.objects:
            insort(self._names, name)
        elif self.objects[name] != data:
            self.on_change(name)
        self.objects[name] = data
        self._written[name] = self._loop.time()
        self._infos.pop(name, None)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        data = self.objects.get(name)
        if data is None:
            raise ObjectNotFoundError(name)
        return data[start:end]

    def head(self, name: str) -> ObjectInfo | None:
        return self._info(name) if name in self.objects else None

    def list(self, prefix: str, start_after: str = "", *, lag_seconds: float = 0.0) -> list[ObjectInfo]:
        horizon = self._loop.time() - lag_seconds
        found = []
        for at in range(bisect_left(self._names, prefix), len(self._names)):
            name = self._names[at]
            if not name.startswith(prefix):
                break
            if self._written[name] <= horizon:
                found.append(self._info(name))
        if lag_seconds:
            listed = {info.name for info in found}
            for when, info in self._deleted:
                if when > horizon and info.name.startswith(prefix) and info.name not in listed:
                    found.append(info)
                    listed.add(info.name)
            found.sort(key=lambda info: info.name)
        return [info for info in found if info.name > start_after]

    def delete_many(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.objects:
                self._deleted.append((self._loop.time(), self._info(name)))
                del self.objects[name], self._written[name], self._infos[name]
                del self._names[bisect_left(self._names, name)]
                self.on_change(name)

    def _info(self, name: str) -> ObjectInfo:
        info = self._infos.get(name)
        if info is None:
            modified_ms = _EPOCH_MS + int((self._written[name] + self._skew) * 1000)
            info = self._infos[name] = ObjectInfo(name, len(self.objects[name]), modified_ms)
        return info


class Endpoint:
    """One agent's connection: what :class:`StoreIO` holds as its store."""

    url = "sim://bucket"

    def __init__(self, bucket: Bucket, owner: str, *, remote: bool, locking: bool) -> None:
        self.capabilities = StoreCapabilities(remote=remote, atomic_create=True, shared=True)
        self._bucket = bucket
        self._owner = owner
        self._locking = locking
        self.put_if_absent = bucket.put_if_absent
        self.put = bucket.put
        self.get = bucket.get
        self.head = bucket.head
        self.list = bucket.list
        self.delete_many = bucket.delete_many

    def sweep(self, older_than_seconds: float) -> int:  # noqa: ARG002 - nothing is left behind here
        return 0

    @contextmanager
    def commit_lock(self, timeout_seconds: float) -> Iterator[bool]:  # noqa: ARG002 - others wait, we do not
        bucket = self._bucket
        had = self._locking and bucket.lock_holder is None
        if had:
            bucket.lock_holder = self._owner
        try:
            yield had
        finally:
            if had and bucket.lock_holder == self._owner:
                bucket.lock_holder = None

    def close(self) -> None:
        """Nothing to give back."""


class Network:
    """Carries requests, slowly and not all of them."""

    def __init__(
        self,
        loop: SimLoop,
        dice: random.Random,
        latency: Latency,
        faults: Faults,
        pause: Callable[[Process], None],
        trace: Callable[..., None] | None,
    ) -> None:
        self.script: Callable[[Process, str, str], str | None] = _nothing  # agent, call, object: fault
        self.outages: dict[str, float] = {}  # agent: until when it does not reach the store
        self._faults = faults
        self._fates_read: list[tuple[float, str]] = []
        self._fates_write: list[tuple[float, str]] = []
        self._loop = loop
        self._dice = dice
        self._latency = latency
        self._pause = pause
        self._trace = trace
        self.faults = faults

    @property
    def faults(self) -> Faults:
        """How often what goes wrong."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._fates_read = _thresholds(faults, _FATES_READ)
        self._fates_write = _thresholds(faults, _FATES_WRITE)

    def send(
        self, process: Process, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> asyncio.Future[Any]:
        """Send a request; the future is the answer."""
        loop, random, faults = self._loop, self._dice.random, self._faults
        kind = function.__name__
        reads = kind in _READS
        if not reads and kind.startswith("put"):
            args = (args[0], b"".join(args[1]))
        answer: asyncio.Future[Any] = asyncio.Future(loop=loop)
        seconds = (self._latency.get if reads else self._latency.put) * (0.5 + 2.0 * random() * random())
        if faults.slow and random() < faults.slow:
            seconds *= 100
        if faults.pause and random() < faults.pause:
            loop.call_later(seconds * random() * 2, self._pause, process, context=loop.outside)
        request = _Request(self, process, kind, function, args, answer)
        fate = self.script(process, kind, str(args[0])) or self._fate(
            process, self._fates_read if reads else self._fates_write
        )
        if fate is not None:
            loop.call_later(seconds, request.suffer, fate, context=loop.outside)
        elif random() < _PROMPT:
            loop.call_later(seconds, request.act, context=loop.outside)
        else:
            effect_at = seconds * random()
            loop.call_later(effect_at, request.act, seconds - effect_at, context=loop.outside)
        return answer

    def pause(self, seconds: float) -> asyncio.Future[None]:
        """Like ``asyncio.sleep``, which takes twice as long to set up."""
        over: asyncio.Future[None] = asyncio.Future(loop=self._loop)
        self._loop.call_later(seconds, _wake, over)
        return over

    def _fate(self, process: Process, fates: list[tuple[float, str]]) -> str | None:
        """The fault that befalls a request."""
        if self.outages and self.outages.get(process.name, 0.0) > self._loop.time():
            return "unavailable"
        if fates:
            dice = self._dice.random()
            for threshold, fate in fates:
                if dice < threshold:
                    return fate
        return None


def _unheard(name: str) -> None:
    """Of a bucket whose objects nobody holds on to."""


def _nothing(process: Process, kind: str, name: str) -> str | None:  # noqa: ARG001
    """The script of a run that is left to chance."""
    return None


def _thresholds(faults: Faults, fates: Sequence[str]) -> list[tuple[float, str]]:
    found = []
    threshold = 0.0
    for fate in fates:
        chance: float = getattr(faults, fate)
        if chance:
            threshold += chance
            found.append((threshold, fate))
    return found


def _wake(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


_FATES_READ: Final = ("unavailable", "flipped", "listing_stale")
_FATES_WRITE: Final = (
    "unavailable",
    "request_lost",
    "reply_lost",
    "late",
    "repeated",
    "echoed",
    "refused",
    "not_durable",
)


class _Request:
    """One request on its way."""

    __slots__ = ("answer", "args", "function", "kind", "network", "process")

    def __init__(
        self,
        network: Network,
        process: Process,
        kind: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        answer: asyncio.Future[Any],
    ) -> None:
        self.network = network
        self.process = process
        self.kind = kind
        self.function = function
        self.args = args
        self.answer = answer

    def act(self, reply_after: float = 0.0) -> None:
        """Have the effect, and answer it."""
        reply = self._effect()
        if reply_after > 0:
            loop = self.network._loop
            loop.call_later(reply_after, self._reply, reply, context=loop.outside)
        else:
            self._reply(reply)

    def _effect(self, note: str = "") -> Any:
        try:
            result = self.function(*self.args)
        except ObjectNotFoundError as error:
            result = error
        self._note(note, result)
        return result

    def _reply(self, reply: Any) -> None:
        if self.answer.done():
            return
        if isinstance(reply, Exception):
            self.answer.set_exception(reply)
        else:
            self.answer.set_result(reply)

    def _doubt(self) -> Any:
        if self.kind == "put_if_absent":
            return PutOutcome.UNKNOWN
        return StoreUnavailableError("simulated time-out")

    def suffer(self, fate: str) -> None:
        """Have something go wrong with it."""
        getattr(self, f"_{fate}")()

    def _unavailable(self) -> None:
        self._note("unavailable", None)
        if self.kind == "delete_many":  # the one kind that can be half done
            self.function(self.args[0][::2])
        self._reply(StoreUnavailableError("simulated 503"))

    def _request_lost(self) -> None:
        self._note("request lost", None)
        self._reply(self._doubt())

    def _reply_lost(self) -> None:
        self._effect("reply lost")
        self._reply(self._doubt())

    def _late(self) -> None:
        self._later("late")
        self._reply(self._doubt())

    def _repeated(self) -> None:
        self._effect("repeated")
        self.act()

    def _echoed(self) -> None:
        self._later("echo")
        self.act()

    def _refused(self) -> None:
        self._note("refused", None)
        self._reply(StoreFullError("simulated: no space left"))

    def _not_durable(self) -> None:
        self._effect("not durable")
        self._reply(StoreDurabilityError("simulated: fsync failed"))

    def _flipped(self) -> None:
        reply = self._effect("flipped")
        if self.kind == "get" and isinstance(reply, bytes) and reply:
            bit = self.network._dice.randrange(len(reply) * 8)
            broken = bytearray(reply)
            broken[bit // 8] ^= 1 << bit % 8
            reply = bytes(broken)
        self._reply(reply)

    def _listing_stale(self) -> None:
        if self.kind == "list":
            lag = self.network._dice.uniform(0.0, _STALE_SECONDS_MAX)
            self.function = partial(self.function, lag_seconds=lag)
        self.act()

    def _later(self, note: str) -> None:
        loop = self.network._loop
        delay = draw_delay(self.network._dice)
        loop.call_later(delay, self._effect, note, context=loop.outside)

    def _note(self, note: str, result: Any) -> None:
        trace = self.network._trace
        if trace is not None:
            what = result.name if isinstance(result, PutOutcome) else type(result).__name__
            target = self.args[0] if self.kind != "delete_many" else f"{len(self.args[0])} objects"
            trace(self.process.name, self.kind, target, note or what)


class SimIO(StoreIO):
    """The engine's view of the store, by way of the network."""

    def __init__(self, endpoint: Endpoint, runtime: Runtime, network: Network, process: Process) -> None:
        super().__init__(endpoint, runtime, None)  # type: ignore[arg-type] # bytes in one piece
        self._network = network
        self._process = process

    # Futures rather than coroutines: these two are most of what is awaited.

    def call(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        return self._network.send(self._process, function, args)

    def sleep(self, seconds: float) -> asyncio.Future[None]:  # type: ignore[override]
        # The once-a-second look for impatient waiters would be most of what happens in idle hours.
        return self._network.pause(seconds if seconds != _LOOK_SECONDS else seconds * 5)
