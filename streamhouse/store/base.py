"""What StreamHouse needs of a place that holds bytes, and what that place need not promise.

An :class:`ObjectStore` maps names to immutable byte strings. It is blocking and safe to call from many
threads. It does **not** promise: that a listing shows the newest objects, that a failed call had no
effect, that bytes come back unflipped (containers carry checksums), or that a late write stays
away (a request given up on may land hours later). The commit protocol is built for that.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

Buffer = bytes | bytearray | memoryview


class PutOutcome(enum.Enum):
    """What became of a put-if-absent."""

    CREATED = "created"
    EXISTS = "exists"
    UNKNOWN = "unknown"  # refused, lost or timed out on the way: read the object to find out


class ObjectInfo(msgspec.Struct, frozen=True):
    """One object of a listing.

    Attributes:
        name: Name relative to the root of the log.
        size: Bytes.
        modified_ms: Time of the last write by the *store's* clock, milliseconds since 1970.
    """

    name: str
    size: int
    modified_ms: int


class StoreCapabilities(msgspec.Struct, frozen=True):
    """What a store can do beyond the contract; flags, so that callers need not know its class.

    Attributes:
        remote: A round trip costs milliseconds and money: call from worker threads, linger, cache.
        atomic_create: ``put_if_absent`` is known to be atomic. ``False`` means: probe it.
        shared: Other processes may see the same objects.
    """

    remote: bool
    atomic_create: bool
    shared: bool


class ObjectStore(Protocol):
    """Named byte strings.

    Every method may raise :class:`~streamhouse.errors.StoreUnavailableError` (try again),
    :class:`~streamhouse.errors.StoreAccessError`, :class:`~streamhouse.errors.StoreFullError` or
    another :class:`~streamhouse.errors.StoreError`. An exception from ``put_if_absent`` promises that
    this call has not created and will not create the object; every doubt is ``UNKNOWN``.
    """

    @property
    def url(self) -> str:
        """The place, without credentials, for messages."""

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store can do."""

    def put_if_absent(self, name: str, data: Sequence[Buffer]) -> PutOutcome:
        """Create an object out of the buffers, in one piece, unless the name is taken. Durable on return."""

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """Write an object in one piece, replacing any old one. Durable on return."""

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes ``start`` to ``end`` (excluded); fewer when the object ends earlier, ``b""`` past its end.

        Raises:
            ObjectNotFoundError: There is no such object.
        """

    def head(self, name: str) -> ObjectInfo | None:
        """Size and time of an object, or ``None``."""

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        """Objects whose names begin with ``prefix`` and sort after ``start_after``, in order of name.

        It may lag behind. A listing that could not be completed raises; it is never cut short silently.
        """

    def delete_many(self, names: Iterable[str]) -> None:
        """Remove objects; names that do not exist are fine."""

    def sweep(self, older_than_seconds: float) -> int:
        """Remove what killed writers left and no listing shows, such as temporary files.

        Args:
            older_than_seconds: Leave alone what changed later than this; a slow writer may need it.

        Returns:
            How many there were; 0 for stores where a write leaves nothing behind.
        """

    def commit_lock(self, timeout_seconds: float) -> AbstractContextManager[bool]:
        """A hint that keeps processes on one machine from racing for the same slot.

        Yields whether the lock was had. Never needed for safety: a holder may be stopped for hours, so
        callers go on without it after the time-out. Stores with nothing of the kind yield ``False``.
        """

    def close(self) -> None:
        """Give back connections and threads."""
