"""Fetch by hand, against kio."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader

from streamhouse.kafka.protocol.apis import FETCH
from streamhouse.kafka.protocol.codec import Header, MalformedRequestError, decode_header
from streamhouse.kafka.protocol.fetch import FetchPart, FetchResult, decode_fetch, encode_fetch
from streamhouse.kafka.protocol.primitives import NO_UUID
from tests.kafka.protocol.frames import frame_of

versions = st.integers(FETCH.first, FETCH.last)
int32s = st.integers(-(1 << 31), (1 << 31) - 1)
int64s = st.integers(-(1 << 63), (1 << 63) - 1)
ids = st.uuids().filter(lambda each: each != NO_UUID)
topics = st.lists(
    st.tuples(
        st.text(max_size=6),
        ids,
        st.lists(st.tuples(int32s, int32s, int64s, int32s), max_size=3),
    ),
    max_size=3,
)
requests = st.tuples(versions, int32s, int32s, int32s, int32s, topics)


def encoded(version: int, wait: int, least: int, most: int, session: int, wanted: Any) -> bytes:
    by_id = version >= 13
    fields: dict[str, Any] = {
        "max_wait": wait,
        "min_bytes": least,
        "max_bytes": most,
        "isolation_level": 1,
        "topics": [
            {
                **({"topic_id": topic_id} if by_id else {"topic": name}),
                "partitions": [
                    {
                        "partition": number,
                        "fetch_offset": offset,
                        "partition_max_bytes": size,
                        **({"current_leader_epoch": epoch} if version >= 9 else {}),
                    }
                    for number, epoch, offset, size in parts
                ],
            }
            for name, topic_id, parts in wanted
        ],
    }
    if version < 15:
        fields["replica_id"] = -1
    if version >= 7:
        fields |= {"session_id": session, "forgotten_topics_data": []}
    return frame_of(load_request_schema(FETCH.key, version), fields)


@given(requests)
def test_a_request_is_what_kio_says(request: Any) -> None:
    version, wait, least, most, session, wanted = request
    frame = memoryview(encoded(*request))
    found = decode_fetch(decode_header(frame), frame)
    assert (found.wait_ms, found.bytes_min, found.bytes_max) == (wait, least, most)
    assert found.session == (session if version >= 7 else 0)
    assert list(found.parts) == [
        FetchPart(
            "" if version >= 13 else name,
            topic_id if version >= 13 else NO_UUID,
            number,
            epoch if version >= 9 else -1,
            offset,
            size,
        )
        for name, topic_id, parts in wanted
        for number, epoch, offset, size in parts
    ]


results = st.lists(
    st.tuples(
        st.tuples(st.sampled_from("ab"), int32s),
        st.sampled_from(list(ErrorCode)),
        int64s,
        int64s,
        st.lists(st.binary(max_size=30), max_size=3),
    ),
    max_size=4,
    unique_by=lambda each: each[0],
)


@given(versions, results, int32s)
def test_kio_reads_a_response(version: int, wanted: Any, throttle: int) -> None:
    header = Header(FETCH.key, version, 7, None, 0)
    topic_ids = {name: uuid.uuid5(uuid.NAMESPACE_URL, name) for name in "ab"}
    made = [
        FetchResult(FetchPart(name, topic_ids[name], number, -1, 0, 0), error, high, low, records)
        for (name, number), error, high, low, records in wanted
    ]
    data = b"".join(encode_fetch(header, made, throttle, ErrorCode.none))
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    cls = load_response_schema(FETCH.key, version)
    body_start = 8 + (1 if cls.__flexible__ else 0)
    body, size = entity_reader(cls)(data, body_start)
    assert body_start + size == len(data)
    found = {
        (topic.topic_id if version >= 13 else topic.topic, part.partition_index): part
        for topic in body.responses
        for part in topic.partitions
    }
    assert len(found) == len(wanted)
    for (name, number), error, high, low, records in wanted:
        part = found[topic_ids[name] if version >= 13 else name, number]
        assert (part.error_code, part.high_watermark, part.last_stable_offset) == (error, high, high)
        assert part.records == b"".join(records)
        if version >= 5:
            assert part.log_start_offset == low


@given(requests, st.data())
def test_a_request_that_is_cut_off_or_changed_is_read_or_refused(request: Any, data: st.DataObject) -> None:
    frame = bytearray(encoded(*request))
    header = decode_header(memoryview(frame))
    del frame[data.draw(st.integers(header.size, len(frame))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if len(frame) > header.size:
            frame[data.draw(st.integers(header.size, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedRequestError):
        decode_fetch(header, memoryview(frame))
