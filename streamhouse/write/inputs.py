"""The arguments of ``send`` and ``send_many``, checked and made storable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamhouse.format.columns import Columns
from streamhouse.runtime import Runtime
from streamhouse.write.batch import Extras, Pair
from streamhouse.write.bulk import listed, make_rows
from streamhouse.write.destination import Destination
from streamhouse.write.encoder import Rows
from streamhouse.write.fields import (
    HeadersInput,
    check_record_bytes,
    header_bytes,
    headers_tuple,
    timestamp_ms,
)
from streamhouse.write.frames import frame_columns
from streamhouse.write.letters import Find, route, sort_out
from streamhouse.write.serializers import Serializers


class Inputs:
    """What one producer makes of what it is given.

    Args:
        serializers: For keys and values.
        record_bytes_max: Largest record.
        runtime: Clock.
    """

    def __init__(self, serializers: Serializers, record_bytes_max: int, runtime: Runtime) -> None:
        self.record_bytes_max = record_bytes_max
        self._serializers = serializers
        self._runtime = runtime

    def pair(
        self,
        destination: Destination,
        value: Any,
        key: Any,
        headers: HeadersInput,
        partition: int | None,
        timestamp: Any,
        find: Find,
    ) -> tuple[Destination, Pair, int]:
        """One record as it is kept until it is encoded, and the bytes of key, value and headers.

        A record that does not fit its topic may go to another one, which ``find`` looks up.

        Raises:
            InvalidRecordError: Something of a type that cannot be stored.
            RecordTooLargeError: The record exceeds ``record_bytes_max``.
            PartitionNotFoundError: The topic has no such partition.
        """
        routed = route(self._serializers, destination, value, headers, find)
        destination, stored_value, headers, dead = routed
        if dead:
            partition = None
        pair: Pair = self._serializers.key(key), stored_value
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
    ) -> list[Columns]:
        """Many records that come in columns.

        Raises:
            InvalidRecordError: They do not fit the schema, or the topic has none.
            RecordTooLargeError: A record may exceed ``record_bytes_max``.
        """
        stamps = self._runtime.time_ms() if timestamps is None else timestamps
        return frame_columns(
            destination, self._serializers, frame, keys, headers, stamps, self.record_bytes_max
        )

    def rows(
        self,
        destination: Destination,
        values: Iterable[Any],
        keys: Iterable[Any] | None,
        headers: HeadersInput | Sequence[HeadersInput],
        timestamps: Any,
        find: Find,
    ) -> list[tuple[Destination, Rows]]:
        """Many records, each of them looked at, by the topic that they go to.

        That to which they were sent comes last, its dead-letter topic before it, if it gets any.

        Raises:
            InvalidRecordError: Some record cannot be stored, or the lists differ in length.
        """
        values = listed("values", values)
        keys = None if keys is None else listed("keys", keys, len(values))
        if isinstance(headers, Iterable) and not isinstance(headers, Mapping):
            headers = listed("headers", headers, len(values))
        stamps = self._runtime.time_ms() if timestamps is None else timestamps
        if isinstance(stamps, Iterable):
            stamps = listed("timestamps", stamps, len(values))
        made = []
        dead = sort_out(self._serializers, destination, values, headers)
        if dead is not None:
            letters = make_rows(
                self._serializers,
                dead.values,
                None if keys is None else dead.drop(keys),
                dead.headers,
                dead.drop(stamps) if isinstance(stamps, Sequence) else stamps,
                trust=False,
            )
            made.append((find(dead.topic), letters))
            values = dead.keep(values)
            keys = None if keys is None else dead.keep(keys)
            headers = dead.keep(headers) if isinstance(headers, Sequence) else headers
            stamps = dead.keep(stamps) if isinstance(stamps, Sequence) else stamps
        rows = make_rows(
            self._serializers, values, keys, headers, stamps, trust=False, decoder=destination.decoder
        )
        return [*made, (destination, rows)]
