"""Decoded blocks, kept while memory allows, each fetched once however many ask for it.

Two things go wrong without *single flight*: ten consumers that reach a new block together send ten
requests for it (on S3 each is billed), and a reader that overtakes its own prefetch fetches again
what is already on its way. Here the first who asks fetches, the others wait for that one. A fetch that
failed is not remembered: those who waited get its error, whoever comes later tries anew.

The weight of an entry is the memory of its buffers, so blocks of any size share one budget. Blocks
fetched ahead of a reader are marked until they are read: they say how much more may be fetched ahead
before blocks push each other out unread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import msgspec

from streamhouse.format.columns import Columns

_WAIT_SLICE_SECONDS = 0.1  # Ctrl-C reaches a waiting main thread on every platform


class CacheStats(msgspec.Struct, frozen=True):
    """What a cache did so far.

    Attributes:
        hits: Look-ups answered without a fetch of their own.
        misses: Look-ups that had to fetch.
        held_bytes: Memory in use.
        unread_bytes: The part of it that was fetched ahead and not asked for yet.
    """

    hits: int
    misses: int
    held_bytes: int
    unread_bytes: int


class BlockCache:
    """Least recently used blocks go first. Safe to call from any thread.

    Args:
        bytes_max: Memory for blocks; 0 keeps none (those who ask at the same time still share).
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._flights: dict[Hashable, _Flight] = {}
        self._held_bytes = 0
        self._unread_bytes = 0
        self._hits = 0
        self._misses = 0

    def load(self, key: Hashable, fetch: Callable[[], Columns], *, ahead: bool = False) -> Columns:
        """The block, from memory, from a fetch under way, or by calling ``fetch``.

        Args:
            key: Names the block.
            fetch: Called without any lock held, at most once at a time for a key.
            ahead: Nobody waits for it yet.
        """
        while True:
            with self._lock:
                entry = self._entries.get(key)
                if entry is not None:
                    return self._hit(key, entry, ahead=ahead)
                flight = self._flights.get(key)
                if flight is None:
                    self._misses += 1
                    flight = self._flights[key] = _Flight(wanted=not ahead)
                    break
                flight.wanted |= not ahead
            while not flight.landed.wait(_WAIT_SLICE_SECONDS):
                pass
            if flight.error is not None:
                raise flight.error
            if flight.columns is not None:
                with self._lock:
                    self._hits += 1
                return flight.columns
            # Whoever fetched was interrupted (Ctrl-C in its thread): not our affair, try ourselves.
        return self._fly(key, flight, fetch)

    def peek(self, key: Hashable) -> Columns | None:
        """The block if it is here."""
        with self._lock:
            entry = self._entries.get(key)
            return None if entry is None else self._hit(key, entry, ahead=False)

    def put(self, key: Hashable, columns: Columns) -> None:
        """Keep a block that somebody has at hand."""
        with self._lock:
            self._keep(key, columns, unread=False)

    def __contains__(self, key: Hashable) -> bool:
        """Whether the block is here or on its way."""
        with self._lock:
            return key in self._entries or key in self._flights

    @property
    def unread_bytes(self) -> int:
        """Memory of blocks fetched ahead that nobody has asked for yet."""
        return self._unread_bytes

    def stats(self) -> CacheStats:
        """Counts so far."""
        with self._lock:
            return CacheStats(self._hits, self._misses, self._held_bytes, self._unread_bytes)

    def clear(self) -> None:
        """Forget all blocks."""
        with self._lock:
            self._entries.clear()
            self._held_bytes = self._unread_bytes = 0

    def _fly(self, key: Hashable, flight: _Flight, fetch: Callable[[], Columns]) -> Columns:
        try:
            flight.columns = fetch()
        except Exception as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[key]
                if flight.columns is not None:
                    self._keep(key, flight.columns, unread=not flight.wanted)
            flight.landed.set()
        return flight.columns

    def _hit(self, key: Hashable, entry: _Entry, *, ahead: bool) -> Columns:
        if not ahead:
            self._hits += 1
            self._entries.move_to_end(key)
            if entry.unread:
                entry.unread = False
                self._unread_bytes -= entry.weight
        return entry.columns

    def _keep(self, key: Hashable, columns: Columns, *, unread: bool) -> None:
        weight = columns.nbytes
        if weight > self._bytes_max or key in self._entries:
            return
        while self._held_bytes + weight > self._bytes_max:
            _, oldest = self._entries.popitem(last=False)
            self._held_bytes -= oldest.weight
            self._unread_bytes -= oldest.weight * oldest.unread
        self._entries[key] = _Entry(columns, weight, unread)
        self._held_bytes += weight
        self._unread_bytes += weight * unread


class _Entry(msgspec.Struct):
    columns: Columns
    weight: int
    unread: bool


class _Flight:
    """A fetch under way."""

    def __init__(self, *, wanted: bool) -> None:
        self.landed = threading.Event()
        self.columns: Columns | None = None
        self.error: Exception | None = None
        self.wanted = wanted
