"""The store as the commit engine sees it: awaitable, timed, and replaceable by a simulation.

The engine is written as coroutines over this one class. In production a call runs in place when the
store is local (a thread hop would cost more than the call) and on a worker thread when it is remote; the
simulator overrides :meth:`StoreIO.call` with virtual time and faults, and drives the same engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from streamhouse.errors import CorruptionError, ObjectNotFoundError, StoreUnavailableError
from streamhouse.format import names
from streamhouse.format.container import FRONT_BYTES_GUESS, Front, Kind, Truncated, unpack_front
from streamhouse.runtime import Runtime
from streamhouse.store.base import Buffer, ObjectInfo, ObjectStore, PutOutcome

T = TypeVar("T")

_BACKOFF_SECONDS_MIN = 0.05
_BACKOFF_SECONDS_MAX = 2.0
_SECONDS_LEARNT_MAX = 1.0  # a request during which the machine slept says nothing about the store
_REREADS = 3  # a flipped bit in transit is gone at the next read; one on the disk is not


class InDoubt(Exception):  # noqa: N818 - a signal; the error is its cause
    """The store refused at last, but an earlier attempt may have had its effect, or have it yet."""


class StoreIO:
    """Awaitable calls to an object store, with a running estimate of what they take."""

    def __init__(self, store: ObjectStore, runtime: Runtime, executor: ThreadPoolExecutor | None) -> None:
        self.store = store
        self.runtime = runtime
        self.remote = store.capabilities.remote
        self.put_seconds = 0.05 if self.remote else 0.001
        self.get_seconds = 0.025 if self.remote else 0.0005
        self._executor = executor

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run one blocking store method."""
        if self._executor is None:
            return function(*args)
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def put_if_absent(self, name: str, data: Sequence[Buffer]) -> PutOutcome:
        """See :meth:`ObjectStore.put_if_absent`."""
        began = self.runtime.monotonic()
        outcome = await self.call(self.store.put_if_absent, name, data)
        self.put_seconds += (self._since(began) - self.put_seconds) / 8
        return outcome

    async def put(self, name: str, data: Sequence[Buffer]) -> None:
        """See :meth:`ObjectStore.put`."""
        await self.call(self.store.put, name, data)

    async def get(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Bytes of an object, or ``None`` when it is not there."""
        began = self.runtime.monotonic()
        try:
            return await self.call(self.store.get, name, start, end)
        except ObjectNotFoundError:
            return None
        finally:
            self.get_seconds += (self._since(began) - self.get_seconds) / 8

    def _since(self, began: float) -> float:
        return min(self.runtime.monotonic() - began, _SECONDS_LEARNT_MAX)

    async def head(self, name: str) -> ObjectInfo | None:
        """See :meth:`ObjectStore.head`."""
        return await self.call(self.store.head, name)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        """See :meth:`ObjectStore.list`."""
        return await self.call(self.store.list, prefix, start_after)

    async def delete_many(self, object_names: Iterable[str]) -> None:
        """See :meth:`ObjectStore.delete_many`."""
        await self.call(self.store.delete_many, list(object_names))

    async def front(self, name: str, kind: Kind) -> Front | None:
        """The verified front of a container, or ``None`` when there is no such object.

        Raises:
            CorruptionError: Also after the object was read anew.
        """
        wanted = FRONT_BYTES_GUESS
        for attempt in range(_REREADS):
            data = await self.get(name, 0, wanted)
            if data is None:
                return None
            try:
                return unpack_front(data, kind, name)
            except Truncated as short:
                if len(data) < wanted and attempt == _REREADS - 1:
                    raise CorruptionError(
                        f"{name}: cut off after {len(data)} bytes, at least {short.needed} were written"
                    ) from None
                wanted = max(short.needed, wanted)
            except CorruptionError:
                if attempt == _REREADS - 1:
                    raise
        raise CorruptionError(f"{name}: its length changes from read to read")

    async def patiently(self, attempt: Callable[[], Any]) -> Any:
        """Await ``attempt()`` until it does not find the store unavailable."""
        pause = _BACKOFF_SECONDS_MIN
        while True:
            try:
                return await attempt()
            except StoreUnavailableError:
                await self.sleep(pause * self.runtime.uniform(0.5, 1.0))
                pause = min(pause * 2, _BACKOFF_SECONDS_MAX)

    async def create_commit(
        self, seq: int, nonce: bytes, data: Sequence[Buffer], *, reread: bool = True
    ) -> bool:
        """Try to make ``data`` the commit in slot ``seq``; whether it is, beyond doubt.

        Conflict, time-out, reset and server error all leave it open whether the slot is ours (a
        client library may have sent the request twice), so the slot is read and the nonce decides.
        While the slot is empty the same bytes are put there again.

        Args:
            seq: The slot.
            nonce: What tells this commit from others.
            data: Its bytes.
            reread: The nonce rule. Without it a conflict would be taken for one with ourselves;
                switched off only to show that the simulator notices.

        Raises:
            StoreError: The store refused, and nothing was or will be created by this call.
            InDoubt: The store refused, or the slot cannot be read, and an earlier try may still land.
        """
        name = names.commit(seq)
        pause = _BACKOFF_SECONDS_MIN
        doubt = False
        while True:
            try:
                outcome = await self.put_if_absent(name, data)
                if outcome is PutOutcome.CREATED:
                    return True
                if outcome is PutOutcome.EXISTS and not reread:
                    return True
                doubt = True
                found = await self.slot_nonce(seq)
                if found is not None:
                    return found == nonce
            except StoreUnavailableError:
                pass
            except Exception as error:
                if doubt:
                    raise InDoubt from error
                raise
            await self.sleep(pause * self.runtime.uniform(0.5, 1.0))
            pause = min(pause * 2, _BACKOFF_SECONDS_MAX)

    async def slot_nonce(self, seq: int) -> bytes | None:
        """The nonce of the commit in a slot, or ``None`` while it is empty."""
        from streamhouse.format.commit import decode_commit

        name = names.commit(seq)
        front = await self.front(name, Kind.COMMIT)
        return None if front is None else decode_commit(front.index, name).nonce
