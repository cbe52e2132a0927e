"""A bounded read: what lies between two positions, once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from streamhouse.catalog.catalog import Catalog
from streamhouse.errors import DeserializationError, ForkedError
from streamhouse.read.batch import RecordBatch
from streamhouse.read.cursor import Cursor
from streamhouse.read.deserializers import Deserializer, list_deserializer
from streamhouse.read.positions import checked_partitions, position_for, resolve, resolve_end
from streamhouse.read.reader import BlockReader
from streamhouse.records import Position, Positions, Record
from streamhouse.runtime import process_id

_CHUNK_RECORDS: Final = 4096  # objects made at once


def scan(
    catalog: Catalog,
    reader: BlockReader,
    topic: str,
    *,
    start: Positions = "earliest",
    until: Position | str = "end",
    partitions: Sequence[int] | None = None,
    key: Deserializer = None,
    value: Deserializer = None,
) -> Iterator[Record[Any, Any]]:
    """The records of a topic from ``start`` to ``until``.

    Both positions are looked up now, not when the iteration begins: ``"end"`` is what the log holds
    at the time of the call. Within a partition records come in order of offset; partitions take turns.

    Args:
        catalog: Where blocks are looked up.
        reader: Where they come from.
        topic: Name of the topic.
        start: Where to begin, for all partitions or per partition.
        until: ``"end"``, or the offset or time of the first record not to be read.
        partitions: Which; all by default.
        key: Deserialiser for keys.
        value: Deserialiser for values.

    Raises:
        TopicNotFoundError: There is no such topic.
        PartitionNotFoundError: It has no such partition.
        OffsetOutOfRangeError: ``start`` is an offset that the partition does not have.
        InvalidPositionError: ``start`` or ``until`` is no position.
        InvalidSettingError: An unknown deserialiser.
    """
    keys, values = list_deserializer(key), list_deserializer(value)
    catalog.refresh()
    info = catalog.topic(topic)
    spans = deque[tuple[Cursor, int]]()
    for partition in checked_partitions(info, partitions):
        end = resolve_end(catalog, reader, info, partition, until)
        begin = resolve(catalog, reader, info, partition, position_for(start, partition))
        spans.append((Cursor(catalog, reader, info, partition, begin, keys, values), end))
    return _records(spans, process_id())


def _records(spans: deque[tuple[Cursor, int]], process: int) -> Iterator[Record[Any, Any]]:
    while spans:
        if process_id() != process:
            raise ForkedError("this read was begun before fork; open the log again in this process")
        cursor, end = spans.popleft()
        batch = cursor.next_batch(_CHUNK_RECORDS, until=end)
        if batch is not None:
            yield from _up_to_refused(batch)
            cursor.advance(batch)
            spans.append((cursor, end))


def _up_to_refused(batch: RecordBatch) -> Iterator[Record[Any, Any]]:
    """The records of a batch, those before one that cannot be deserialised included."""
    try:
        records = batch.records()
    except DeserializationError as error:
        yield from batch.before(error.offset)
        raise
    yield from records
