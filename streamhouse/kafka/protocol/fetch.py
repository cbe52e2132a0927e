"""Fetch, versions 4 to 16, by hand: records are not copied.

The layouts are those of ``FetchRequest.json`` and ``FetchResponse.json`` in Apache Kafka.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from kio.schema.errors import ErrorCode

from streamhouse.kafka.protocol.codec import Header, response_front
from streamhouse.kafka.protocol.primitives import NO_UUID, MalformedRequestError, Reader, count, string

_LOG_START_FROM: Final = 5
_SESSIONS_FROM: Final = 7
_EPOCH_FROM: Final = 9
_RACK_FROM: Final = 11
_FLEXIBLE_FROM: Final = 12
_TOPIC_IDS_FROM: Final = 13
_NO_REPLICA_ID_FROM: Final = 15
_INT32: Final = struct.Struct(">i")
_SESSION: Final = struct.Struct(">hi")  # error, session
_PART: Final = struct.Struct(">ihqq")  # partition, error, high watermark, last stable offset
_INT64: Final = struct.Struct(">q")
_NO_REPLICA: Final = _INT32.pack(-1)


class FetchPart(msgspec.Struct, frozen=True):
    """What is wanted of one partition.

    Attributes:
        topic: Name of the topic; empty when it is named by id.
        topic_id: Its id; zero when it is named by name.
        partition: Its number.
        leader_epoch: What the client believes; -1: nothing.
        offset: Where to begin.
        bytes_max: How much it wants at most.
    """

    topic: str
    topic_id: uuid.UUID
    partition: int
    leader_epoch: int
    offset: int
    bytes_max: int


class FetchRequest(msgspec.Struct, frozen=True):
    """A request for records.

    Attributes:
        wait_ms: How long to wait until there is enough.
        bytes_min: What is enough.
        bytes_max: How much it wants at most, in all.
        session: Of an incremental fetch (KIP-227); 0: none.
        parts: What is wanted, in this order.
    """

    wait_ms: int
    bytes_min: int
    bytes_max: int
    session: int
    parts: Sequence[FetchPart]


class FetchResult(msgspec.Struct):
    """What is answered for one partition.

    Attributes:
        part: Which.
        error: What went wrong.
        high_watermark: The offset that the next record will get; -1: not known.
        log_start: The oldest offset; -1: not known.
        records: Record batches, one after the other.
        cut: Whether there are more records than there was room for.
    """

    part: FetchPart
    error: ErrorCode = ErrorCode.none
    high_watermark: int = -1
    log_start: int = -1
    records: Sequence[bytes] = ()
    cut: bool = False

    @property
    def size(self) -> int:
        """Bytes of the records."""
        return sum(map(len, self.records))


def decode_fetch(header: Header, frame: memoryview) -> FetchRequest:
    """A request.

    Raises:
        MalformedRequestError: It is none.
    """
    version = header.version
    reader = Reader(frame, header.size, flexible=version >= _FLEXIBLE_FROM)
    if version < _NO_REPLICA_ID_FROM:
        reader.int32()
    wait_ms, bytes_min, bytes_max = reader.int32(), reader.int32(), reader.int32()
    reader.int8()  # isolation: nobody can read anything that is not committed
    session = 0
    if version >= _SESSIONS_FROM:
        session = reader.int32()
        reader.int32()

    def topic(reader: Reader) -> list[FetchPart]:
        name, topic_id = _topic_name(reader, version)
        parts = reader.array(lambda reader: _part(reader, version, name, topic_id)) or []
        reader.tags()
        return parts

    parts = [part for topic_parts in reader.array(topic) or () for part in topic_parts]
    if version >= _SESSIONS_FROM:
        reader.array(lambda reader: _forgotten(reader, version))
    if version >= _RACK_FROM:
        reader.string()
    reader.tags()
    return FetchRequest(wait_ms, bytes_min, bytes_max, session, parts)


def encode_fetch(
    header: Header, results: Iterable[FetchResult], throttle_ms: int, error: ErrorCode = ErrorCode.none
) -> list[bytes]:
    """The response, in pieces."""
    version = header.version
    flexible = version >= _FLEXIBLE_FROM
    tags = b"\0" if flexible else b""
    by_topic: dict[str | uuid.UUID, list[FetchResult]] = {}
    for result in results:
        part = result.part
        by_topic.setdefault(part.topic_id if version >= _TOPIC_IDS_FROM else part.topic, []).append(result)
    body = [_INT32.pack(throttle_ms)]
    if version >= _SESSIONS_FROM:
        body.append(_SESSION.pack(error, 0))
    body.append(count(len(by_topic), flexible=flexible))
    for topic, parts in by_topic.items():
        body.append(topic.bytes if isinstance(topic, uuid.UUID) else string(topic, flexible=flexible))
        body.append(count(len(parts), flexible=flexible))
        for result in parts:
            _encode_part(body, result, version, flexible=flexible)
            body.append(tags)
        body.append(tags)
    body.append(tags)
    return [response_front(header, sum(map(len, body)), flexible=flexible), *body]


def _encode_part(body: list[bytes], result: FetchResult, version: int, *, flexible: bool) -> None:
    stable = result.high_watermark
    body.append(_PART.pack(result.part.partition, result.error, result.high_watermark, stable))
    if version >= _LOG_START_FROM:
        body.append(_INT64.pack(result.log_start))
    body.append(count(0, flexible=flexible))  # aborted transactions: there are none to be seen
    if version >= _RACK_FROM:
        body.append(_NO_REPLICA)
    body.append(count(sum(map(len, result.records)), flexible=flexible))
    body += result.records


def _topic_name(reader: Reader, version: int) -> tuple[str, uuid.UUID]:
    if version >= _TOPIC_IDS_FROM:
        return "", reader.uuid()
    name = reader.string()
    if name is None:
        raise MalformedRequestError("a topic without a name")
    return name, NO_UUID


def _part(reader: Reader, version: int, topic: str, topic_id: uuid.UUID) -> FetchPart:
    partition = reader.int32()
    epoch = reader.int32() if version >= _EPOCH_FROM else -1
    offset = reader.int64()
    if version >= _FLEXIBLE_FROM:
        reader.int32()
    if version >= _LOG_START_FROM:
        reader.int64()
    part = FetchPart(topic, topic_id, partition, epoch, offset, reader.int32())
    reader.tags()
    return part


def _forgotten(reader: Reader, version: int) -> None:
    _topic_name(reader, version)
    reader.array(Reader.int32)
    reader.tags()
