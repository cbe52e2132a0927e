"""Blocks that are to be rewritten, straight from the store: not through the cache, which is for readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from streamhouse import limits
from streamhouse.commits.state import BlockRef
from streamhouse.errors import CorruptionError
from streamhouse.format.block import decode_block
from streamhouse.format.columns import Columns
from streamhouse.format.integers import int64s
from streamhouse.read.reader import matches
from streamhouse.store.base import ObjectStore

_REQUESTS_AT_ONCE: Final = 8
_SPAN_BYTES_MAX: Final = 8 * limits.MIB


class Source(NamedTuple):
    """A block as it is now."""

    ref: BlockRef
    columns: Columns


def offsets_of(base_offset: int, columns: Columns) -> Sequence[int]:
    """The offset of each record of a block."""
    if columns.deltas is None:
        return range(base_offset, base_offset + columns.count)
    return list(map(base_offset.__add__, int64s(columns.deltas)))


class Sources:
    """Reads blocks, some requests ahead where a request takes long."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._remote = store.capabilities.remote

    def read(self, refs: Sequence[BlockRef]) -> Iterator[Source]:
        """The blocks in order.

        Raises:
            CorruptionError: One is damaged.
            ObjectNotFoundError: An object is gone; somebody else has rewritten it.
            StoreError: The store fails.
        """
        spans = list(_spans(refs))
        if not self._remote or len(spans) == 1:
            for span in spans:
                yield from self._fetch(span)
            return
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE, "streamhouse-upkeep-io") as threads:
            for at in range(0, len(spans), _REQUESTS_AT_ONCE):
                for found in threads.map(self._fetch, spans[at : at + _REQUESTS_AT_ONCE]):
                    yield from found

    def _fetch(self, span: list[BlockRef]) -> list[Source]:
        try:
            return self._fetch_once(span)
        except CorruptionError:
            return self._fetch_once(span)  # a byte flipped on the wire is right the second time

    def _fetch_once(self, span: list[BlockRef]) -> list[Source]:
        first, last = span[0].position, span[-1].position + span[-1].length
        name = span[0].object_name
        data = memoryview(self._store.get(name, first, last))
        found = []
        for ref in span:
            where = f"{name} at byte {ref.position}, offsets {ref.base_offset} to {ref.next_offset - 1}"
            begin = ref.position - first
            columns = decode_block(data[begin : begin + ref.length], where)
            if not matches(columns, ref):
                raise CorruptionError(f"{where}: the block holds {columns.count} records, not these")
            found.append(Source(ref, columns))
        return found


def _spans(refs: Sequence[BlockRef]) -> Iterator[list[BlockRef]]:
    """Blocks that one request can fetch: neighbours in one object."""
    span: list[BlockRef] = []
    for ref in refs:
        if span:
            last = span[-1]
            adjacent = ref.object_name == last.object_name and ref.position == last.position + last.length
            if not adjacent or ref.position + ref.length - span[0].position > _SPAN_BYTES_MAX:
                yield span
                span = []
        span.append(ref)
    if span:
        yield span
