"""Objects uploaded ahead of the flush that refers to them: compacted segments, parts of large transactions.

An upload may take longer than a flush should, and nobody knows yet which flush will refer to it. So it is
done under the name of an *uploader*, which has a lane in the state like an agent. The fold accepts an
uploader's segments in order only, and none once the lane is sealed: what was passed over or sealed can be
deleted without asking whether somebody is still about to refer to it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from streamhouse import limits
from streamhouse.commits.proposal import StoredBlock, entry_of
from streamhouse.format import names
from streamhouse.format.block import EncodedBlock
from streamhouse.format.commit import BlockEntry, Segment, SegmentIndex, pack_segment
from streamhouse.format.container import Buffer
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectStore

_AGENT_BYTES = 10
# Lanes that were silent for as long as slots are kept may be sealed.
_IDLE_SECONDS_MAX = limits.SLOT_KEEP_SECONDS / 4


class Uploader:
    """Uploads segments under one name; for one thread at a time."""

    def __init__(self, store: ObjectStore, runtime: Runtime) -> None:
        self.agent = runtime.random_bytes(_AGENT_BYTES).hex()
        self.used_at = runtime.monotonic()
        self.tainted = False
        self._store = store
        self._runtime = runtime
        self._number = 0
        self._unused: list[str] = []

    def put(self, blocks: Sequence[EncodedBlock]) -> list[StoredBlock]:
        """Make blocks durable in one new segment; how a proposal refers to them.

        Raises:
            StoreError: The store refused.
        """
        name, data, stored = self.pack(blocks)
        self._store.put(name, data)
        self.used_at = self._runtime.monotonic()
        return stored

    def pack(self, blocks: Sequence[EncodedBlock]) -> tuple[str, list[Buffer], list[StoredBlock]]:
        """The next segment: its name, its bytes, and how a proposal refers to the blocks."""
        entries: list[BlockEntry] = []
        body: list[Buffer] = []
        position = 0
        for block in blocks:
            entries.append(entry_of(block, 0, position))
            body.extend(block.buffers)
            position += block.size
        number, self._number = self._number, self._number + 1
        data = pack_segment(SegmentIndex(self.agent, number, tuple(entries)), body)
        name = names.segment(self.agent, number)
        self._unused.append(name)
        segment = Segment(self.agent, number, sum(map(len, data)) - position)
        return name, data, [StoredBlock(segment, entry) for entry in entries]

    def used(self) -> None:
        """Note that all that was uploaded is referred to now."""
        self._unused.clear()

    def taint(self) -> None:
        """Never use this name again: a proposal that refers to it may still take effect."""
        self.tainted = True

    def discard(self) -> None:
        """Delete what was uploaded and will certainly never be referred to."""
        if unused := self.discardable():
            self._store.delete_many(unused)
            self._unused.clear()

    def discardable(self) -> list[str]:
        """What :meth:`discard` would delete."""
        return [] if self.tainted else self._unused


class Uploaders:
    """The uploaders of one process: each is used by one piece of work at a time, and then by others."""

    def __init__(self, store: ObjectStore, runtime: Runtime) -> None:
        self._store = store
        self._runtime = runtime
        self._free: list[Uploader] = []
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self) -> Iterator[Uploader]:
        """An uploader for a piece of work. What it uploaded and did not use in the end is deleted."""
        uploader = self.take()
        try:
            yield uploader
        finally:
            uploader.discard()
            self.give_back(uploader)

    def give_back(self, uploader: Uploader) -> None:
        """Lend it to others, unless it is tainted."""
        if not uploader.tainted:
            with self._lock:
                self._free.append(uploader)

    def take(self) -> Uploader:
        """One that is to be given back."""
        horizon = self._runtime.monotonic() - _IDLE_SECONDS_MAX
        with self._lock:
            self._free = [uploader for uploader in self._free if uploader.used_at > horizon]
            return self._free.pop() if self._free else Uploader(self._store, self._runtime)
