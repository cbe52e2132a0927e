"""The arguments of ``send`` and ``send_many``, checked and made storable.

What does not fit the schema of its topic is tried once more, if the schema is another one by now. Before a
record without a key is refused, the log is asked whether the topic is still compacted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from streamhouse.errors import InvalidRecordError
from streamhouse.format.columns import Columns
from streamhouse.runtime import Runtime
from streamhouse.schema.frames import is_stream
from streamhouse.write.batch import Extras, Pair
from streamhouse.write.bulk import listed, make_rows
from streamhouse.write.destination import Destination, Topics
from streamhouse.write.encoder import Rows
from streamhouse.write.fields import (
    HeadersInput,
    check_record_bytes,
    header_bytes,
    headers_tuple,
    timestamp_ms,
)
from streamhouse.write.frames import frame_columns
from streamhouse.write.letters import route, sort_out
from streamhouse.write.serializers import Serializers

T = TypeVar("T")


class Lists(NamedTuple):
    """The arguments of ``send_many``, which may be iterators that can be gone through once.

    Attributes:
        values: One per record.
        keys: Likewise, or ``None``.
        headers: Likewise, or a mapping for all records, or ``None``.
        timestamps: Likewise, or one for all.
    """

    values: Sequence[Any]
    keys: Sequence[Any] | None
    headers: HeadersInput | Sequence[HeadersInput]
    timestamps: Any


class Inputs:
    """What one producer makes of what it is given.

    Args:
        serializers: For keys and values.
        topics: Those that records may go to.
        record_bytes_max: Largest record.
        runtime: Clock.
    """

    def __init__(
        self, serializers: Serializers, topics: Topics, record_bytes_max: int, runtime: Runtime
    ) -> None:
        self.record_bytes_max = record_bytes_max
        self._serializers = serializers
        self._topics = topics
        self._runtime = runtime

    def pair(
        self,
        destination: Destination,
        value: Any,
        key: Any,
        headers: HeadersInput,
        partition: int | None,
        timestamp: Any,
    ) -> tuple[Destination, Pair, int]:
        """One record as it is kept until it is encoded, and the bytes of key, value and headers.

        A record that does not fit its topic may go to another one.

        Raises:
            InvalidRecordError: Something of a type that cannot be stored.
            RecordTooLargeError: The record exceeds ``record_bytes_max``.
            PartitionNotFoundError: The topic has no such partition.
        """
        destination, stored_value, headers, dead = self._routed(destination, value, headers)
        if dead:
            partition = None
        pair: Pair = self._serializers.key(key), stored_value
        if pair[0] is None:
            destination.check_keys(None)
        size = len(pair[0] or b"") + len(pair[1] or b"")
        if headers is not None or partition is not None or timestamp is not None:
            stored = headers_tuple(headers)
            size += header_bytes(stored)
            if partition is not None:
                destination.check_partition(partition)
            stamp = None if timestamp is None else timestamp_ms(timestamp)
            pair = (*pair[:2], Extras(stored, partition, stamp))
        check_record_bytes(size, self.record_bytes_max)
        return destination, pair, size

    def columns(
        self, destination: Destination, frame: Any, keys: Any, headers: Any, timestamps: Any
    ) -> tuple[Destination, list[Columns]]:
        """Many records that come in columns, and the topic as it is when they fit it.

        Raises:
            InvalidRecordError: They do not fit the schema, or the topic has none.
            RecordTooLargeError: A record may exceed ``record_bytes_max``.
        """
        stamps = self._runtime.time_ms() if timestamps is None else timestamps
        if is_stream(frame):  # which cannot be tried once more
            destination = self._topics.newer(destination) or destination
        elif isinstance(keys, Iterable) and not isinstance(keys, str):
            keys = listed("keys", keys)
        destination, columns = self._newest(
            destination,
            lambda present: (
                present,
                frame_columns(
                    present, self._serializers, frame, keys, headers, stamps, self.record_bytes_max
                ),
            ),
        )
        if any(each.key.validity for each in columns):
            destination.check_keys(None)
        return destination, columns

    def lists(
        self,
        values: Iterable[Any],
        keys: Iterable[Any] | None,
        headers: HeadersInput | Sequence[HeadersInput],
        timestamps: Any,
    ) -> Lists:
        """The arguments for many records.

        Raises:
            InvalidRecordError: They differ in length, or are no lists.
        """
        values = listed("values", values)
        keys = None if keys is None else listed("keys", keys, len(values))
        if isinstance(headers, Iterable) and not isinstance(headers, Mapping):
            headers = listed("headers", headers, len(values))
        stamps = self._runtime.time_ms() if timestamps is None else timestamps
        if isinstance(stamps, Iterable):
            stamps = listed("timestamps", stamps, len(values))
        return Lists(values, keys, headers, stamps)

    def rows(
        self, destination: Destination, lists: Lists, *, trust: bool = False
    ) -> list[tuple[Destination, Rows]]:
        """Many records by the topic that they go to.

        That to which they were sent comes last, its dead-letter topic before it, if it gets any.

        Args:
            destination: The topic.
            lists: The records.
            trust: See :func:`~streamhouse.write.bulk.make_rows`; those of a typed topic are looked at anyway.

        Raises:
            InvalidRecordError: Some record cannot be stored.
        """
        return self._newest(
            destination,
            lambda present: self._sorted_rows(present, lists, trust),
            lambda made: len(made) == 1,
        )

    def _routed(
        self, destination: Destination, value: Any, headers: HeadersInput
    ) -> tuple[Destination, bytes | None, Any, bool]:
        """See :class:`~streamhouse.write.letters.Routed`."""
        try:
            return destination, self._serializers.stored(value, destination.decoder), headers, False
        except InvalidRecordError:
            pass
        return self._newest(
            destination,
            lambda present: route(self._serializers, present, value, headers, self._topics),
            lambda routed: not routed.dead,
        )

    def _sorted_rows(
        self, destination: Destination, lists: Lists, trust: bool
    ) -> list[tuple[Destination, Rows]]:
        values, keys, headers, stamps = lists
        decoder = destination.decoder
        made: list[tuple[Destination, Rows]] = []
        sorted_out = sort_out(self._serializers, destination, values, self._topics)
        if sorted_out is None:
            trust = trust and decoder is None
            rows = make_rows(self._serializers, values, keys, headers, stamps, trust=trust, decoder=decoder)
        else:
            shells = [None] * len(values)
            rows = make_rows(self._serializers.for_keys, shells, keys, headers, stamps, trust=False)
            if sorted_out.destination is not None:
                made.append((sorted_out.destination, sorted_out.dropped(rows)))
            rows = sorted_out.kept(rows, decoder)
        destination.check_keys(rows.keys)
        return [*made, (destination, rows)]

    def _newest(
        self,
        destination: Destination,
        make: Callable[[Destination], T],
        fits: Callable[[T], bool] = lambda _: True,
    ) -> T:
        """What is made for a topic; made again if that does not fit and the topic has changed since."""
        try:
            made = make(destination)
        except InvalidRecordError:
            newer = self._topics.newer(destination)
            if newer is None:
                raise
            return make(newer)
        newer = None if fits(made) else self._topics.newer(destination)
        return made if newer is None else make(newer)
