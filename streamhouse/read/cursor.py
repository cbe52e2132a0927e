"""Reads one partition in order: where it is, and the batch that comes next.

A cursor looks up a handful of block references at a time, keeps the block it is in, and has the next
ones fetched in the background as soon as it is seen to read in order (a block entered at its
beginning). It moves only when it is told to, after the records were taken: an error
in between leaves it where it was, and nothing is passed over.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final, Literal

import msgspec

from streamhouse.catalog.catalog import Catalog, TopicInfo
from streamhouse.commits.state import BlockRef
from streamhouse.errors import ObjectNotFoundError, OffsetOutOfRangeError, TopicNotFoundError, topic_deleted
from streamhouse.format.columns import ArrowColumn, Columns
from streamhouse.read.batch import RecordBatch
from streamhouse.read.deserializers import ListDeserializer
from streamhouse.read.reader import BlockReader
from streamhouse.read.window import window, within_bytes
from streamhouse.records import TopicPartition
from streamhouse.schema.conform import conform
from streamhouse.schema.model import Schema
from streamhouse.schema.versions import schema_of

Reset = Literal["earliest", "latest", "error"]
"""Where to go on when what is at the position was removed."""

CHUNK_BYTES: Final = 64 << 20  # keys or values in one batch, unless a single record is larger
_REFS_LISTED: Final = 16


class Cursor:
    """A position in a partition.

    Args:
        catalog: Where blocks are looked up.
        reader: Where they come from.
        topic: The topic.
        partition: Number of the partition.
        position: Offset to read first.
        key: For the batches.
        value: For the batches.
        reset: What to do when the position fell below the log start.

    Attributes:
        position: Offset of the record to be read next.
        begun_at: Where it was put last: the position it began with, or that of a seek.
    """

    def __init__(
        self,
        catalog: Catalog,
        reader: BlockReader,
        topic: TopicInfo,
        partition: int,
        position: int,
        key: ListDeserializer,
        value: ListDeserializer,
        reset: Reset = "error",
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.name = TopicPartition(topic.name, partition)
        self.position = position
        self.begun_at = position
        self._catalog = catalog
        self._reader = reader
        self._key = key
        self._value = value
        self._reset = reset
        self._source = f"partition {partition} of {topic.name!r}"
        self._refs: deque[BlockRef] = deque()  # the block it is in, and those after it
        self._columns: Columns | None = None  # of the first of them
        self._schema: Schema | None = None  # of these
        self._ahead = 0  # offset up to which blocks were asked for in the background

    def high_watermark(self) -> int:
        """Offset that the next record will get.

        Raises:
            TopicNotFoundError: The topic was deleted.
        """
        try:
            return self._catalog.high_watermark(self.topic.id, self.partition)
        except TopicNotFoundError:
            raise topic_deleted(self.topic.name, "a new consumer reads that one") from None

    def next_batch(
        self, records_max: int, bytes_max: int = CHUNK_BYTES, until: int | None = None
    ) -> RecordBatch | None:
        """The records from the position on, as many as one block has; the cursor does not move.

        Args:
            records_max: At most so many.
            bytes_max: Stop when keys or values exceed this, but return at least one record.
            until: First offset not to be read.

        Returns:
            A batch with at least one record, or ``None`` when there is nothing more for now.

        Raises:
            OffsetOutOfRangeError: What is at the position was removed meanwhile, and there is no other
                place to go on from.
            TopicNotFoundError: The topic was deleted.
            CorruptionError: The block is damaged.
            StoreError: The store fails.
        """
        while True:
            end = self.high_watermark()
            if until is not None:
                end = min(end, until)
            if self.position >= end:
                return None
            block = self._block()
            if block is None:
                self.position = end  # only gaps are left
                return None
            ref, columns = block
            start, stop = window(columns, ref.base_offset, self.position, end)
            if start < stop:
                stop = within_bytes(columns, start, min(stop, start + records_max), bytes_max)
                return RecordBatch(
                    self.topic.name,
                    self.partition,
                    ref.base_offset,
                    columns,
                    start,
                    stop,
                    self._key,
                    self._value,
                    self._schema,
                )
            self.position = min(max(self.position, ref.next_offset), end)

    def advance(self, batch: RecordBatch) -> None:
        """Go on after a batch."""
        self.position = batch.last_offset + 1

    def _block(self) -> tuple[BlockRef, Columns] | None:
        """The block that holds the position, or the next one after it."""
        if self._refs and not self._refs[0].base_offset <= self.position:
            self._refs.clear()  # moved back
        while self._refs and self._refs[0].next_offset <= self.position:
            self._refs.popleft()
            self._columns = None
        if not self._refs:
            self._look_up()
            if not self._refs:
                return None
        if self._columns is None:
            try:
                self._columns = self._conformed(self._fetch())
            except ObjectNotFoundError:
                # Compaction may have put the records elsewhere while the references were held.
                self._catalog.refresh()
                stale = self._refs[0]
                self._look_up()
                if not self._refs or self._refs[0] == stale:
                    raise
                self._columns = self._conformed(self._fetch())
        return self._refs[0], self._columns

    def _conformed(self, columns: Columns) -> Columns:
        """Typed values as the present schema has them."""
        if not isinstance(columns.value, ArrowColumn):
            return columns
        self._schema = schema_of(self._catalog.current(self.topic).settings)
        if self._schema is None:  # the topic is gone from the state
            raise topic_deleted(self.topic.name, "a new consumer reads that one")
        value = conform(self._schema, columns.value)
        return columns if value is columns.value else msgspec.structs.replace(columns, value=value)

    def _look_up(self) -> None:
        self._columns = None
        topic, partition = self.topic.id, self.partition
        while True:
            self._refs = deque(self._catalog.blocks(topic, partition, self.position, _REFS_LISTED))
            log_start = self._catalog.log_start(topic, partition)
            if self.position >= log_start:
                break
            self._go_elsewhere(log_start)
        self._ahead = self.position

    def _go_elsewhere(self, log_start: int) -> None:
        """What is at the position was removed."""
        self._refs.clear()
        if self._reset == "earliest":
            self.position = log_start
        elif self._reset == "latest":
            self.position = self.high_watermark()
        else:
            raise OffsetOutOfRangeError(
                f"{self._source} begins at offset {log_start}; {self.position} was removed. Seek, or make"
                " the consumer with reset='earliest' or reset='latest'"
            )

    def _fetch(self) -> Columns:
        ref = self._refs[0]
        if self.position <= ref.base_offset and self._reader.prefetch_blocks:
            self._prefetch(self._reader.prefetch_blocks)
        return self._reader.fetch(ref, self._source)

    def _prefetch(self, blocks: int) -> None:
        if len(self._refs) <= blocks:
            more = self._refs[-1].next_offset
            topic, partition = self.topic.id, self.partition
            refs = self._catalog.blocks(topic, partition, more, _REFS_LISTED)
            if self._catalog.log_start(topic, partition) <= more:  # else a look-up tells what was removed
                self._refs.extend(refs)
        for ref in islice(self._refs, 1, 1 + blocks):
            if ref.base_offset >= self._ahead:
                if not self._reader.prefetch(ref, self._source):
                    return  # no room now
                self._ahead = ref.next_offset
