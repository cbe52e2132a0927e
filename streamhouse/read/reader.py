"""Blocks by reference: from memory, from the store, or already on their way.

Exactly the bytes of a block are fetched, never the whole object. They are checked against their own
checksum and against what the log says the block holds. A mismatch is fetched once more, since S3
clients hand out a byte flipped on the wire without a word; what is wrong twice is damage, and the
error names the object and the offsets that it costs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from streamhouse.commits.state import BlockRef
from streamhouse.config import Settings
from streamhouse.errors import LOG_CLOSED, ClosedError, CorruptionError, ObjectNotFoundError
from streamhouse.format.block import decode_block
from streamhouse.format.columns import Columns
from streamhouse.format.integers import int64s
from streamhouse.format.partial import BlockIndex
from streamhouse.read.cache import BlockCache, CacheStats
from streamhouse.read.heap import keep_freed_memory
from streamhouse.read.parts import PartReader
from streamhouse.read.prefetch import BackgroundJobs
from streamhouse.store.base import Buffer, ObjectStore

_LOCAL_PREFETCH_THREADS = 1  # decoding runs beside the reader; more would only compete with it
_LOCAL_PREFETCH_LENGTH_MIN = 64 << 10  # a hop to another thread costs more than a smaller block


class BlockReader:
    """All readers of a log share one, and with it the cache. Safe to call from any thread."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self._store = store
        self._cache = BlockCache(settings.cache_bytes_max)
        self._parts = PartReader(store)
        self._block_bytes = settings.block_bytes_target
        self._unread_bytes_max = settings.cache_bytes_max // 2
        self.prefetch_blocks = min(settings.prefetch_blocks, self._unread_bytes_max // self._block_bytes)
        threads = _LOCAL_PREFETCH_THREADS
        self._prefetch_length_min = _LOCAL_PREFETCH_LENGTH_MIN
        if store.capabilities.remote:
            threads = max(1, min(settings.prefetch_blocks, settings.request_concurrency))
            self._prefetch_length_min = 0
        self._jobs = BackgroundJobs(threads, queue_max=4 * max(1, self.prefetch_blocks))
        self._closed = False
        keep_freed_memory()

    def fetch(self, ref: BlockRef, source: str = "") -> Columns:
        """The records of a block.

        Args:
            ref: Where it is.
            source: Topic and partition, for messages.

        Raises:
            CorruptionError: What is stored is damaged.
            ObjectNotFoundError: The object is gone.
            StoreError: The store fails.
            ClosedError: The log was closed.
        """
        self._check()
        return self._cache.load(_key(ref), partial(self._fetch, ref, source))

    def cached(self, ref: BlockRef) -> Columns | None:
        """The records of a block if they are at hand."""
        return self._cache.peek(_key(ref))

    def fetch_part(self, ref: BlockRef, source: str, only: Collection[str]) -> Columns:
        """Some columns of a block, for who reads it once: it is not kept. See :meth:`fetch`.

        Args:
            ref: Where it is.
            source: Topic and partition, for messages.
            only: Columns to decompress; see :func:`~streamhouse.format.block.decode_block`.
        """
        self._check()
        return self._fetch(ref, source, only)

    def fetch_fields(self, ref: BlockRef, source: str, only: Collection[str]) -> tuple[Columns, int]:
        """Some columns of a block of a typed topic, and how many bytes were read. See :meth:`fetch_part`.

        Args:
            ref: Where it is.
            source: Topic and partition, for messages.
            only: Columns wanted; ``value.<name>`` is a field. The others are not even fetched from a large
                block.
        """
        self._check()
        if self._parts.worthwhile(ref):
            try:
                found = self._fetch_parts(ref, source, only)
            except CorruptionError:
                found = self._fetch_parts(ref, source, only)
            if found is not None:
                return found
        return self._fetch(ref, source, only), ref.length

    def fetch_run(self, refs: Sequence[BlockRef], source: str, only: Collection[str]) -> Iterator[Columns]:
        """Some columns of blocks that lie one behind the other in an object, in one request, made now.

        See :meth:`fetch_part`.

        Args:
            refs: Where they are.
            source: Topic and partition, for messages.
            only: Columns to decompress.

        Returns:
            The columns of each block, decompressed when it is its turn.
        """
        first, last = refs[0], refs[-1]
        self._check()
        end = last.position + last.length
        try:
            data = memoryview(self._store.get(first.object_name, first.position, end))
        except ObjectNotFoundError as error:
            raise self._gone(first, _described(first, source)[0]) from error
        return self._decoded_run(data, refs, source, only)

    def look(self, ref: BlockRef, source: str) -> tuple[BlockIndex | None, int]:
        """What a large block of a typed topic says of itself, and how many bytes were read for that.

        Args:
            ref: Where it is.
            source: Topic and partition, for messages.

        Returns:
            ``None`` in place of it: the block is read sooner than looked at, or damaged, which who reads it
            will notice.

        Raises:
            ObjectNotFoundError: The object is gone.
            StoreError: The store fails.
        """
        if not self._parts.worthwhile(ref):
            return None, 0
        holds, where = _described(ref, source)
        try:
            return self._parts.index(ref, where)
        except ObjectNotFoundError as error:
            raise self._gone(ref, holds) from error
        except CorruptionError:
            return None, 0

    def prefetch(self, ref: BlockRef, source: str = "") -> bool:
        """Fetch a block in the background that will be asked for soon.

        Returns:
            ``False`` when memory or threads have no room for it now.
        """
        if ref.length < self._prefetch_length_min or _key(ref) in self._cache:
            return True
        coming = (len(self._jobs) + 1) * self._block_bytes
        if self._cache.unread_bytes + coming > self._unread_bytes_max:
            return False
        return self._jobs.submit(_key(ref), partial(self._fetch_ahead, ref, source))

    def offer(self, ref: BlockRef, columns: Columns) -> None:
        """Keep a block that this process has just committed: its own readers need no request."""
        self._cache.put(_key(ref), columns)

    def stats(self) -> CacheStats:
        """What the cache did so far."""
        return self._cache.stats()

    def close(self) -> None:
        """Give back memory and threads, without waiting for requests under way. Idempotent."""
        self._closed = True
        self._jobs.close()
        self._cache.clear()

    def _check(self) -> None:
        if self._closed:
            raise ClosedError(LOG_CLOSED)

    def _fetch_ahead(self, ref: BlockRef, source: str) -> None:
        # The reader that gets there meets the error itself, or better luck.
        with contextlib.suppress(Exception):
            self._cache.load(_key(ref), partial(self._fetch, ref, source), ahead=True)

    def _fetch(self, ref: BlockRef, source: str, only: Collection[str] | None = None) -> Columns:
        try:
            return self._fetch_once(ref, source, only)
        except CorruptionError:
            return self._fetch_once(ref, source, only)

    def _decoded_run(
        self, data: memoryview, refs: Sequence[BlockRef], source: str, only: Collection[str]
    ) -> Iterator[Columns]:
        begin = refs[0].position
        for ref in refs:
            start = ref.position - begin
            try:
                columns = self._decoded(data[start : start + ref.length], ref, source, only)
            except CorruptionError:  # it is fetched once more, as it would be alone
                columns = self._fetch_once(ref, source, only)
            yield columns

    def _fetch_once(self, ref: BlockRef, source: str, only: Collection[str] | None) -> Columns:
        try:
            data = self._store.get(ref.object_name, ref.position, ref.position + ref.length)
        except ObjectNotFoundError as error:
            raise self._gone(ref, _described(ref, source)[0]) from error
        return self._decoded(data, ref, source, only)

    def _decoded(self, data: Buffer, ref: BlockRef, source: str, only: Collection[str] | None) -> Columns:
        _, where = _described(ref, source)
        if len(data) != ref.length:
            raise CorruptionError(
                f"{where}: {len(data)} bytes are left of {ref.length}; the object was cut short"
            )
        return _matching(decode_block(data, where, only), ref, where)

    def _fetch_parts(self, ref: BlockRef, source: str, only: Collection[str]) -> tuple[Columns, int] | None:
        holds, where = _described(ref, source)
        try:
            found = self._parts.fetch(ref, where, only)
        except ObjectNotFoundError as error:
            raise self._gone(ref, holds) from error
        return found and (_matching(found[0], ref, where), found[1])

    def _gone(self, ref: BlockRef, holds: str) -> ObjectNotFoundError:
        return ObjectNotFoundError(f"{ref.object_name} is gone from {self._store.url}; it held {holds}")


def _described(ref: BlockRef, source: str) -> tuple[str, str]:
    """What a block holds, and where it is."""
    offsets = f"offsets {ref.base_offset} to {ref.next_offset - 1}"
    holds = f"{offsets} of {source}" if source else offsets
    return holds, f"{ref.object_name} at byte {ref.position}, {holds}"


def _matching(columns: Columns, ref: BlockRef, where: str) -> Columns:
    if not matches(columns, ref):
        raise CorruptionError(f"{where}: the block holds {columns.count} records, not these")
    return columns


def _key(ref: BlockRef) -> tuple[str, int]:
    return ref.object_name, ref.position


def matches(columns: Columns, ref: BlockRef) -> bool:
    """Whether these are as many records, and within the offsets, as the log has noted for the block."""
    deltas = columns.deltas
    return columns.count == ref.records and (
        (columns.count if deltas is None else int64s(deltas)[-1] + 1) <= ref.count
    )
