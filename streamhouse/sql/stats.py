"""What a query read: for ``result.stats``, ``explain`` and the tests of pruning."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from streamhouse.sql.plan import BlockScan

_OBJECTS_SHOWN: Final = 10


class ScanStats(msgspec.Struct, frozen=True):
    """What one pass over a topic read.

    Attributes:
        topic: Name of the topic.
        columns: Those that the query wanted.
        conditions: Those that decided which blocks to read, as SQL. DuckDB applied all others.
        blocks: Blocks of the topic.
        blocks_read: Those fetched from the store.
        blocks_cached: Those that were in memory.
        blocks_unread: Those that their references said enough about.
        blocks_ruled_out: Those that, by the bounds of their columns, hold nothing of what is wanted.
        objects: Names of the objects that blocks were fetched from.
        bytes_read: Bytes fetched.
        bytes_stored: Bytes of all blocks of the topic.
    """

    topic: str
    columns: tuple[str, ...]
    conditions: tuple[str, ...]
    blocks: int
    blocks_read: int
    blocks_cached: int
    blocks_unread: int
    blocks_ruled_out: int
    objects: tuple[str, ...]
    bytes_read: int
    bytes_stored: int

    @property
    def objects_read(self) -> int:
        """How many objects blocks were fetched from."""
        return len(self.objects)

    def __str__(self) -> str:
        where = f" where {' and '.join(self.conditions)}" if self.conditions else ""
        columns = ", ".join(self.columns)
        objects = f"{self.objects_read:,} object{'' if self.objects_read == 1 else 's'}"
        others = (
            f"{self.blocks_cached} in memory, {self.blocks_unread} known without reading,"
            f" {self.blocks_ruled_out} ruled out"
        )
        lines = [
            f"{self.topic}: {columns}{where}",
            f"    {self.blocks_read} of {self.blocks} blocks read from {objects}, {others}",
            f"    {self.bytes_read:,} of {self.bytes_stored:,} bytes read",
            *(f"    {name}" for name in self.objects[:_OBJECTS_SHOWN]),
        ]
        more = self.objects_read - _OBJECTS_SHOWN
        return "\n".join([*lines, f"    and {more:,} more objects"] if more > 0 else lines)


class QueryStats(msgspec.Struct, frozen=True):
    """What a query read so far.

    Attributes:
        commit: The commit that it sees.
        scans: One per pass over a topic: a topic that is joined with itself is scanned twice.
    """

    commit: int
    scans: tuple[ScanStats, ...]

    @property
    def bytes_read(self) -> int:
        """Bytes fetched from the store."""
        return sum(scan.bytes_read for scan in self.scans)

    @property
    def blocks_read(self) -> int:
        """Blocks fetched from the store."""
        return sum(scan.blocks_read for scan in self.scans)

    def __str__(self) -> str:
        return "\n".join([f"as of commit {self.commit}", *map(str, self.scans)])


class Reads:
    """What is read through one cursor, pass after pass. It knows nothing of the cursor, so it may outlive it.

    DuckDB lets go of all scans of a query at once: when it is over, or when nobody wants the rest of it. That
    is how the end of an Arrow stream is noticed, which its consumer tells nobody.

    Attributes:
        over: Called when the scans of a query are over, with the error if one of them failed.
    """

    def __init__(self, commit: int) -> None:
        self._commit = commit
        self._lock = threading.RLock()  # scans may end when Python collects garbage, wherever that happens
        self._notes: list[ScanNotes] = []
        self._again = False
        self._open = 0
        self.over: Callable[[str | None], None] | None = None

    def next_pass(self) -> None:
        """What is scanned from now on belongs to another pass; one that scans nothing leaves all as it is."""
        self._again = True

    def begin(self, notes: ScanNotes) -> None:
        """A scan begins."""
        with self._lock:
            if self._again:
                self._notes, self._again = [], False
            self._notes.append(notes)
            self._open += 1

    def end(self) -> None:
        """A scan is over."""
        with self._lock:
            self._open -= 1
            over = not self._open
        if over:
            self.tell(None)

    def tell(self, error: str | None) -> None:
        """The query is over, or has failed."""
        if self.over is not None:
            self.over(error)

    @property
    def open(self) -> bool:
        """Whether scans are under way."""
        return self._open > 0

    @property
    def stats(self) -> QueryStats:
        """What the last pass has read so far."""
        with self._lock:
            return QueryStats(self._commit, tuple([notes.stats() for notes in self._notes]))


class ScanNotes:
    """Counts while a scan runs, from several threads."""

    def __init__(
        self, topic: str, columns: Sequence[str], conditions: Sequence[str], blocks: int, stored: int
    ) -> None:
        self._topic = topic
        self._columns = tuple(columns)
        self._conditions = tuple(conditions)
        self._blocks = blocks
        self._stored_bytes = stored
        self._lock = threading.Lock()
        self._read = self._cached = self._unread = self._ruled_out = self._bytes = 0
        self._objects: set[str] = set()

    def read(self, scan: BlockScan, size: int) -> None:
        """A block is fetched, or so many bytes of it."""
        with self._lock:
            self._read += 1
            self._bytes += size
            self._objects.add(scan.ref.object_name)

    def looked(self, scan: BlockScan, size: int) -> None:
        """So many bytes of a block are fetched, to see whether it can hold anything."""
        with self._lock:
            self._bytes += size
            if size:
                self._objects.add(scan.ref.object_name)

    def ruled_out(self, _scan: BlockScan) -> None:
        """A block holds nothing of what is wanted."""
        with self._lock:
            self._ruled_out += 1

    def cached(self, _scan: BlockScan) -> None:
        """A block was in memory."""
        with self._lock:
            self._cached += 1

    def unread(self, _scan: BlockScan) -> None:
        """A block did not have to be read."""
        with self._lock:
            self._unread += 1

    def known(self, blocks: int) -> None:
        """So many blocks did not have to be read."""
        with self._lock:
            self._unread += blocks

    def stats(self) -> ScanStats:
        """What happened so far."""
        with self._lock:
            return ScanStats(
                self._topic,
                self._columns,
                self._conditions,
                self._blocks,
                self._read,
                self._cached,
                self._unread,
                self._ruled_out,
                tuple(sorted(self._objects)),
                self._bytes,
                self._stored_bytes,
            )
