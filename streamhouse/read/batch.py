"""A window of a decoded block: columns for those who want speed, records for those who want records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final

from streamhouse.errors import DeserializationError
from streamhouse.format.columns import ArrowColumn, BinaryColumn, Columns
from streamhouse.format.integers import int32s, int64s
from streamhouse.format.lists import binary_list, header_list, timestamp_list
from streamhouse.read.deserializers import (
    USUAL,
    BadValueError,
    Deserializer,
    ListDeserializer,
    list_deserializer,
)
from streamhouse.read.window import offset_at, place
from streamhouse.records import Headers, Record
from streamhouse.schema.assemble import json_values
from streamhouse.schema.model import Schema

_SHOWN_BYTES_MAX: Final = 60


class RecordBatch:
    """Records of one partition that lie next to each other, in order of offset.

    It speaks the Arrow PyCapsule protocol, so DuckDB, Polars, PyArrow and pandas take it as it is, without a
    copy of keys and values. The columns are ``topic, partition, offset, timestamp, key, value, headers``;
    Arrow sees keys and values as the stored bytes, whatever the deserialisers, and typed values as structs.

    Attributes:
        topic: Name of the topic.
        partition: Number of the partition.

    Example:
        >>> import duckdb, streamhouse
        >>> with streamhouse.Log("memory://") as log:
        ...     topic = log.create_topic("orders")
        ...     with log.producer() as producer:
        ...         sent = producer.send_many("orders", [{"amount": 3}, {"amount": 4}]).result()
        ...     with log.consumer("orders", value="json") as consumer:
        ...         (batch,) = consumer.poll_batches(timeout=5)
        ...     batch.values()
        [{'amount': 3}, {'amount': 4}]
        >>> duckdb.sql('select max("offset") from batch').fetchall()
        [(1,)]
    """

    __slots__ = (
        "_base_offset",
        "_columns",
        "_key",
        "_schema",
        "_start",
        "_stop",
        "_value",
        "partition",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        base_offset: int,
        columns: Columns,
        start: int,
        stop: int,
        key: ListDeserializer = USUAL,
        value: ListDeserializer = USUAL,
        schema: Schema | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self._base_offset = base_offset
        self._columns = columns
        self._start = start
        self._stop = stop
        self._key = key
        self._value = value
        self._schema = schema

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, records: slice) -> RecordBatch:
        """Some of the records, without a copy.

        Args:
            records: A slice without a step, as in ``batch[-10:]``.
        """
        if not isinstance(records, slice) or records.step not in (None, 1):  # type: ignore[redundant-expr]
            raise TypeError(
                f"a batch is cut by a slice without a step, as in batch[-10:], not by {records!r}"
            )
        start, stop, _ = records.indices(len(self))
        window = self._start + start, self._start + max(start, stop)
        return RecordBatch(
            self.topic,
            self.partition,
            self._base_offset,
            self._columns,
            *window,
            self._key,
            self._value,
            self._schema,
        )

    def __repr__(self) -> str:
        offsets = f"offsets {self.first_offset} to {self.last_offset}, " if len(self) else ""
        return f"RecordBatch({self.topic!r}, partition={self.partition}, {offsets}{len(self)} records)"

    def __iter__(self) -> Iterator[Record[Any, Any]]:
        return iter(self.records())

    @property
    def payload_bytes(self) -> int:
        """Bytes of keys and values as they are stored; of typed values an average."""
        columns = self._columns
        return sum(
            [_bytes_of(each, columns.count, self._start, self._stop) for each in (columns.key, columns.value)]
        )

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return offset_at(self._columns, self._base_offset, self._start)

    @property
    def last_offset(self) -> int:
        """Offset of the last record."""
        return offset_at(self._columns, self._base_offset, self._stop - 1)

    @property
    def offsets(self) -> Sequence[int]:
        """The offset of each record."""
        deltas = self._columns.deltas
        base = self._base_offset
        if deltas is None:
            return range(base + self._start, base + self._stop)
        return list(map(base.__add__, int64s(deltas)[self._start : self._stop]))

    @property
    def timestamps(self) -> list[int]:
        """The timestamp of each record, milliseconds since 1970, UTC."""
        return timestamp_list(self._columns, self._start, self._stop)

    def keys(self, deserializer: Deserializer | None = None) -> list[Any]:
        """The keys, ``None`` where a record has none.

        Args:
            deserializer: Another one than the consumer's.

        Raises:
            DeserializationError: It refuses a key.
        """
        return self._decoded("key", self._columns.key, self._key, deserializer)

    def values(self, deserializer: Deserializer | None = None) -> list[Any]:
        """The values, ``None`` for tombstones.

        Args:
            deserializer: Another one than the consumer's.

        Raises:
            DeserializationError: It refuses a value.
        """
        column = self._columns.value
        if isinstance(column, ArrowColumn):
            return self._typed(column, deserializer)
        return self._decoded("value", column, self._value, deserializer)

    def headers(self) -> list[Headers]:
        """The headers of each record."""
        if self._columns.headers is None:
            return [()] * len(self)
        return header_list(self._columns.headers, self._start, self._stop)

    def records(
        self,
        key_deserializer: Deserializer | None = None,
        value_deserializer: Deserializer | None = None,
    ) -> list[Record[Any, Any]]:
        """The records as objects.

        Args:
            key_deserializer: Another one than the consumer's.
            value_deserializer: Likewise.

        Raises:
            DeserializationError: A key or a value is refused.
        """
        columns: list[Iterable[Any]] = [
            repeat(self.topic, len(self)),
            repeat(self.partition),
            self.offsets,
            self.timestamps,
            self.keys(key_deserializer),
            self.values(value_deserializer),
        ]
        if self._columns.headers is not None:
            columns.append(self.headers())
        make: Callable[..., Record[Any, Any]] = Record
        return list(map(make, *columns))

    def before(self, offset: int) -> RecordBatch:
        """The records with offsets below that one; there may be none."""
        stop = min(self._stop, place(self._columns, self._base_offset, offset))
        return RecordBatch(
            self.topic,
            self.partition,
            self._base_offset,
            self._columns,
            self._start,
            max(stop, self._start),
            self._key,
            self._value,
            self._schema,
        )

    def __arrow_c_schema__(self) -> object:
        from streamhouse.read.arrow import batch_schema

        return batch_schema(self._schema).__arrow_c_schema__()

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return self._arrow().__arrow_c_array__(requested_schema)  # type: ignore[no-any-return]

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        from streamhouse.read.arrow import stream

        return stream([self._arrow()], self._schema).__arrow_c_stream__(requested_schema)

    def _arrow(self) -> Any:
        from streamhouse.read.arrow import batch_array

        return batch_array(
            self.topic,
            self.partition,
            self._base_offset,
            self._columns,
            self._start,
            self._stop,
            self._schema,
        )

    def _decoded(
        self,
        what: str,
        column: BinaryColumn,
        usual: ListDeserializer,
        other: Deserializer | None,
    ) -> list[Any]:
        deserialize = usual if other is None else list_deserializer(other)
        stored = binary_list(column, self._start, self._stop)
        try:
            return deserialize(stored, nullable=column.validity is not None)
        except BadValueError as bad:
            raise self._refused(what, stored[bad.index], bad) from bad.__cause__

    def _typed(self, column: ArrowColumn, other: Deserializer) -> list[Any]:
        assert self._schema is not None
        deserialize = self._value if other is None else list_deserializer(other)
        try:
            return deserialize.of_column(self._schema, column, self._start, self._stop)
        except BadValueError as bad:
            at = self._start + bad.index
            (stored,) = json_values(self._schema, column, at, at + 1)
            raise self._refused("value", stored, bad) from bad.__cause__

    def _refused(self, what: str, stored: bytes | None, bad: BadValueError) -> DeserializationError:
        offset = offset_at(self._columns, self._base_offset, self._start + bad.index)
        shown = repr((stored or b"")[:_SHOWN_BYTES_MAX])
        more = "..." if len(stored or b"") > _SHOWN_BYTES_MAX else ""
        error = DeserializationError(
            f"cannot deserialize the {what} at offset {offset} of partition {self.partition} of "
            f"{self.topic!r}: {bad.__cause__} in {shown}{more}; read on with "
            f"seek({self.topic!r}, {self.partition}, {offset + 1})"
        )
        error.topic, error.partition, error.offset = self.topic, self.partition, offset
        return error


def _bytes_of(column: BinaryColumn | ArrowColumn, count: int, start: int, stop: int) -> int:
    if isinstance(column, ArrowColumn):
        return column.nbytes * (stop - start) // count
    offsets = int32s(column.offsets)
    return offsets[stop] - offsets[start]
