"""The truncation boundary: which slots may be gone.

Put-if-absent protects a slot only while it exists. Once old commits are deleted, a writer that slept
since before could create one of them anew and believe it was first. So the boundary is advanced *before*
slots are deleted, slots are kept for an hour after that by the store's own clock, and nobody acknowledges
a commit without having looked at the boundary within the last half minute.

The boundary is a chain of immutable objects, ``gc/<epoch>``, each created only if absent: two collectors
cannot move it back and forth, a late write of a stalled one cannot lower it, and asking whether it moved
costs one GET of the next, usually missing, object.
"""

from __future__ import annotations

from streamhouse import limits
from streamhouse.commits.io import StoreIO
from streamhouse.format import names
from streamhouse.format.snapshot import Boundary, pack_boundary, unpack_boundary
from streamhouse.runtime import Runtime
from streamhouse.store.base import PutOutcome


class BoundaryGuard:
    """What this process knows of the boundary, and since when."""

    def __init__(self, io: StoreIO, runtime: Runtime, *, enabled: bool = True) -> None:
        self.epoch = 0
        self.boundary = Boundary(names.FIRST_SEQ, "")
        self._io = io
        self._runtime = runtime
        self._checked_at = float("-inf")
        self._enabled = enabled

    async def load(self) -> None:
        """Find the present boundary without knowing any earlier one."""
        for info in reversed(await self._io.list(names.BOUNDARIES)):
            await self._take(names.epoch_of_boundary(info.name))
            break
        await self.check()

    async def check(self) -> None:
        """Follow the chain to its end."""
        while True:
            began = self._runtime.monotonic()  # before the request: a slow answer is an old one
            if not await self._take(self.epoch + 1):
                self._checked_at = began
                return

    async def covers(self, seq: int) -> bool:
        """Whether slot ``seq`` was certainly not deleted before, so that a commit in it counts."""
        if not self._enabled:
            return True
        if self.age() >= limits.BOUNDARY_CHECK_SECONDS:
            await self.check()
        return seq >= self.boundary.seq

    def age(self) -> float:
        """Seconds since the last look."""
        return self._runtime.monotonic() - self._checked_at

    async def advance(self, boundary: Boundary) -> bool:
        """Publish a boundary that rests on a later snapshot; whether this process was the one to do it.

        Neither the boundary nor its snapshot ever moves back: what lies before the present snapshot may be
        deleted at any time by those who know of it.
        """
        await self.check()
        if boundary.seq < self.boundary.seq or boundary.snapshot <= self.boundary.snapshot:
            return False
        epoch = self.epoch + 1
        outcome = await self._io.put_if_absent(names.boundary(epoch), pack_boundary(boundary))
        await self.check()
        return outcome is PutOutcome.CREATED and self.boundary == boundary

    async def read(self, epoch: int) -> Boundary | None:
        """The boundary of an epoch."""
        name = names.boundary(epoch)
        data = await self._io.get(name)
        return None if data is None else unpack_boundary(data, name)

    async def _take(self, epoch: int) -> bool:
        found = await self.read(epoch)
        if found is None:
            return False
        self.epoch = epoch
        if found.seq >= self.boundary.seq:
            self.boundary = found
        return True
