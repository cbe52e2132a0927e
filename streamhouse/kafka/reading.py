"""Blocks become record batches: what a fetch is answered with.

A block is cut into batches at the same places whoever asks and wherever he begins, so that a batch that was
made for one consumer serves all the others. A client skips what lies before the offset that it wanted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.commits.state import BlockRef
from streamhouse.errors import ObjectNotFoundError
from streamhouse.format.columns import ArrowColumn, Columns
from streamhouse.kafka.batches.build import build_batch
from streamhouse.kafka.batches.compression import Codec
from streamhouse.kafka.parts import Parts
from streamhouse.read.window import offset_at, place, within_bytes
from streamhouse.schema.assemble import json_values
from streamhouse.schema.conform import conform
from streamhouse.schema.versions import schema_of

_BATCH_BYTES: Final = 512 << 10  # keys or values of one batch, before compression
_REFS_LISTED: Final = 8
_INLINE_BYTES_MAX: Final = 64 << 10  # below, a hop to another thread takes longer than the work
_INLINE_COMPRESSED_BYTES_MAX: Final = 8 << 10


class BuiltBatch(msgspec.Struct, frozen=True):
    """A record batch as it is sent.

    Attributes:
        first_offset: The offset of its first record.
        next_offset: The offset after its last one.
        data: Its bytes.
    """

    first_offset: int
    next_offset: int
    data: bytes


class Found(msgspec.Struct, frozen=True):
    """What was read of a partition.

    Attributes:
        batches: One after the other.
        next_offset: What comes after them.
    """

    batches: list[bytes]
    next_offset: int


class BatchCache:
    """Batches by where they come from; the least recently used go first. On the loop only.

    Args:
        bytes_max: Memory for them.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held_bytes = 0
        self._batches: OrderedDict[tuple[object, ...], BuiltBatch] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> BuiltBatch | None:
        """The batch, if it is here."""
        found = self._batches.get(key)
        if found is not None:
            self._batches.move_to_end(key)
        return found

    def put(self, key: tuple[object, ...], batch: BuiltBatch) -> None:
        """Keep a batch."""
        before = self._batches.pop(key, None)
        self._held_bytes += len(batch.data) - (0 if before is None else len(before.data))
        self._batches[key] = batch
        while self._held_bytes > self._bytes_max and self._batches:
            _, oldest = self._batches.popitem(last=False)
            self._held_bytes -= len(oldest.data)


class RecordSource:
    """Reads partitions for fetches.

    Args:
        parts: The gateway's.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._cache = BatchCache(parts.settings.cache_bytes_max)

    async def read(
        self,
        info: TopicInfo,
        partition: int,
        offset: int,
        bytes_max: int,
        *,
        at_least_one: bool,
        codec: Codec,
    ) -> Found:
        """Batches from an offset on.

        Args:
            info: The topic.
            partition: Its partition.
            offset: Lies in the first batch, if there are any.
            bytes_max: How much they may be together.
            at_least_one: The first may be larger than that: a client could never get past it.
            codec: What to compress them with.

        Raises:
            StreamhouseError: As from :meth:`~streamhouse.read.reader.BlockReader.fetch`.
        """
        out: list[bytes] = []
        left = bytes_max
        while left > 0 or (at_least_one and not out):
            refs = self._parts.catalog.blocks(info.id, partition, offset, _REFS_LISTED)
            if not refs:
                break
            for ref in refs:
                columns = await self._block(info, partition, ref)
                if columns is None:
                    break  # it was put elsewhere meanwhile
                offset = max(offset, ref.base_offset)
                while offset < ref.next_offset:
                    batch = await self._batch(info, ref, columns, offset, codec)
                    if batch is None:
                        offset = ref.next_offset  # only gaps are left
                        break
                    if out and batch.first_offset < offset:
                        # Blocks were merged meanwhile; clients skip at the beginning only.
                        return Found(out, offset)
                    if len(batch.data) > left and (out or not at_least_one):
                        return Found(out, offset)
                    out.append(batch.data)
                    left -= len(batch.data)
                    offset = batch.next_offset
            self._read_ahead(info, partition, offset)
        return Found(out, offset)

    def _read_ahead(self, info: TopicInfo, partition: int, offset: int) -> None:
        for ref in self._parts.catalog.blocks(info.id, partition, offset, self._parts.reader.prefetch_blocks):
            if not self._parts.reader.prefetch(ref, _source(info, partition)):
                break

    async def _block(self, info: TopicInfo, partition: int, ref: BlockRef) -> Columns | None:
        found = self._parts.reader.cached(ref)
        if found is not None:
            return found
        try:
            return await self._parts.aside(self._parts.reader.fetch, ref, _source(info, partition))
        except ObjectNotFoundError:
            await self._parts.refresh()
            again = self._parts.catalog.blocks(info.id, partition, ref.base_offset, 1)
            if again and again[0] == ref:
                raise
            return None

    async def _batch(
        self, info: TopicInfo, ref: BlockRef, columns: Columns, offset: int, codec: Codec
    ) -> BuiltBatch | None:
        """The batch that has an offset, or the next one in the block."""
        index = place(columns, ref.base_offset, offset)
        if index >= columns.count:
            return None
        start, stop = _batch_around(columns, index)
        settings = info.settings
        key = (ref.object_name, ref.position, start, codec, len(settings.schemas), settings.timestamp_type)
        found = self._cache.get(key)
        if found is None:
            size = columns.nbytes * (stop - start) // columns.count
            if size <= (_INLINE_BYTES_MAX if codec is Codec.NONE else _INLINE_COMPRESSED_BYTES_MAX):
                found = _build(info, columns, start, stop, ref.base_offset, codec)
            else:
                found = await self._parts.aside(_build, info, columns, start, stop, ref.base_offset, codec)
            self._cache.put(key, found)
        return found


def _batch_around(columns: Columns, index: int) -> tuple[int, int]:
    """From where to where the batch goes that has the record at that place."""
    start = 0
    while True:
        stop = within_bytes(columns, start, columns.count, _BATCH_BYTES)
        if index < stop:
            return start, stop
        start = stop


def _build(
    info: TopicInfo, columns: Columns, start: int, stop: int, base_offset: int, codec: Codec
) -> BuiltBatch:
    values: Sequence[bytes | None] | None = None
    if isinstance(columns.value, ArrowColumn):
        schema = schema_of(info.settings)
        assert schema is not None, info.name
        values = json_values(schema, conform(schema, columns.value), start, stop)
    append_time = info.settings.timestamp_type == "append"
    data = build_batch(columns, start, stop, base_offset, codec=codec, values=values, append_time=append_time)
    first, last = (offset_at(columns, base_offset, index) for index in (start, stop - 1))
    return BuiltBatch(first, last + 1, data)


def _source(info: TopicInfo, partition: int) -> str:
    return f"partition {partition} of {info.name!r}"
