"""Produce, versions 3 to 11, by hand: records are not copied.

The layouts are those of ``ProduceRequest.json`` and ``ProduceResponse.json`` in Apache Kafka.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from kio.schema.errors import ErrorCode

from streamhouse.kafka.protocol.codec import Header, response_front
from streamhouse.kafka.protocol.primitives import MalformedRequestError, Reader, count, string

_FLEXIBLE_FROM: Final = 9
_LOG_START_FROM: Final = 5
_RECORD_ERRORS_FROM: Final = 8
_PART: Final = struct.Struct(">ihqq")  # partition, error, base offset, append time
_INT64: Final = struct.Struct(">q")
_INT32: Final = struct.Struct(">i")
_ACKS: Final = frozenset({-1, 0, 1})


class ProducePart(msgspec.Struct, frozen=True):
    """Records for one partition.

    Attributes:
        topic: Name of the topic.
        partition: Its number.
        records: One record batch; ``None``: there is none.
    """

    topic: str
    partition: int
    records: memoryview | None


class ProduceRequest(msgspec.Struct, frozen=True):
    """A request to store records.

    Attributes:
        transactional_id: Of a producer whose records belong to a transaction.
        acks: 0: it wants no answer. 1 and -1 are the same here: durable.
        timeout_ms: How long it waits.
        parts: Records by partition.
    """

    transactional_id: str | None
    acks: int
    timeout_ms: int
    parts: Sequence[ProducePart]


class PartResult(msgspec.Struct, frozen=True):
    """What became of the records for one partition.

    Attributes:
        part: Which.
        error: What went wrong.
        base_offset: Offset of the first record; -1: not known.
        append_time: The timestamp of all of them where the topic sets it, milliseconds, else -1.
        log_start: The oldest offset of the partition; -1: not known.
        message: Says more about the error.
        bad_records: Places in the batch of those that were the reason, each with a message.
    """

    part: ProducePart
    error: ErrorCode
    base_offset: int = -1
    append_time: int = -1
    log_start: int = -1
    message: str | None = None
    bad_records: Sequence[tuple[int, str]] = ()


def decode_produce(header: Header, frame: memoryview) -> ProduceRequest:
    """A request.

    Raises:
        MalformedRequestError: It is none.
    """
    reader = Reader(frame, header.size, flexible=header.version >= _FLEXIBLE_FROM)
    transactional_id = reader.string()
    acks = reader.int16()
    timeout_ms = reader.int32()
    parts = [part for topic in reader.array(_topic) or () for part in topic]
    reader.tags()
    if acks not in _ACKS:
        raise MalformedRequestError(f"acks={acks}")
    return ProduceRequest(transactional_id, acks, timeout_ms, parts)


def encode_produce(header: Header, results: Iterable[PartResult], throttle_ms: int) -> list[bytes]:
    """The response, in pieces."""
    version = header.version
    flexible = version >= _FLEXIBLE_FROM
    by_topic: dict[str, list[PartResult]] = {}
    for result in results:
        by_topic.setdefault(result.part.topic, []).append(result)
    body = [count(len(by_topic), flexible=flexible)]
    tags = b"\0" if flexible else b""
    for topic, parts in by_topic.items():
        body += (string(topic, flexible=flexible), count(len(parts), flexible=flexible))
        for result in parts:
            body.append(
                _PART.pack(result.part.partition, result.error, result.base_offset, result.append_time)
            )
            if version >= _LOG_START_FROM:
                body.append(_INT64.pack(result.log_start))
            if version >= _RECORD_ERRORS_FROM:
                body.append(_record_errors(result, flexible=flexible))
            body.append(tags)
        body.append(tags)
    body += (_INT32.pack(throttle_ms), tags)
    return [response_front(header, sum(map(len, body)), flexible=flexible), *body]


def _topic(reader: Reader) -> list[ProducePart]:
    name = reader.string()
    if name is None:
        raise MalformedRequestError("a topic without a name")

    def part(reader: Reader) -> ProducePart:
        found = ProducePart(name, reader.int32(), reader.bytes())
        reader.tags()
        return found

    parts = reader.array(part) or []
    reader.tags()
    return parts


def _record_errors(result: PartResult, *, flexible: bool) -> bytes:
    tags = b"\0" if flexible else b""
    errors = [
        _INT32.pack(place) + string(message, flexible=flexible) + tags
        for place, message in result.bad_records
    ]
    return b"".join(
        [count(len(errors), flexible=flexible), *errors, string(result.message, flexible=flexible)]
    )
