"""Produce by hand, against kio."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

from streamhouse.kafka.protocol.apis import PRODUCE
from streamhouse.kafka.protocol.codec import Header, MalformedRequestError, decode_header
from streamhouse.kafka.protocol.produce import PartResult, ProducePart, decode_produce, encode_produce
from tests.kafka.protocol.frames import frame_of

versions = st.integers(PRODUCE.first, PRODUCE.last)
names = st.text(max_size=8)
int16s = st.integers(-(1 << 15), (1 << 15) - 1)
int32s = st.integers(-(1 << 31), (1 << 31) - 1)
int64s = st.integers(-(1 << 63), (1 << 63) - 1)
parts = st.lists(st.tuples(int32s, st.none() | st.binary(max_size=20)), max_size=3)
requests = st.tuples(
    versions,
    st.none() | names,
    st.sampled_from([-1, 0, 1]),
    int32s,
    st.lists(st.tuples(names, parts), max_size=3),
)


def encoded(version: int, transactional_id: Any, acks: int, timeout: int, topics: Any) -> bytes:
    fields = {
        "transactional_id": transactional_id,
        "acks": acks,
        "timeout": timeout,
        "topic_data": [
            {
                "name": name,
                "partition_data": [{"index": index, "records": records} for index, records in parts],
            }
            for name, parts in topics
        ],
    }
    return frame_of(load_request_schema(PRODUCE.key, version), fields)


@given(requests)
def test_a_request_is_what_kio_says(request: Any) -> None:
    version, transactional_id, acks, timeout, topics = request
    frame = memoryview(encoded(*request))
    header = decode_header(frame)
    found = decode_produce(header, frame)
    assert (header.key, header.version) == (PRODUCE.key, version)
    assert (found.transactional_id, found.acks, found.timeout_ms) == (transactional_id, acks, timeout)
    assert [(part.topic, part.partition, part.records and bytes(part.records)) for part in found.parts] == [
        (name, index, records or (records and b"")) for name, parts in topics for index, records in parts
    ]


results = st.lists(
    st.tuples(
        st.tuples(st.sampled_from(["a", "b", "ü"]), int32s),
        st.sampled_from(list(ErrorCode)),
        int64s,
        st.integers(-1, 10**12),
        int64s,
        st.none() | names,
        st.lists(st.tuples(int32s, names), max_size=2),
    ),
    max_size=4,
    unique_by=lambda each: each[0],
)


@given(versions, results, int32s)
def test_kio_reads_a_response(version: int, wanted: Any, throttle: int) -> None:
    header = Header(PRODUCE.key, version, 7, None, 0)
    made = [
        PartResult(ProducePart(*place, None), error, base, time, start, message, bad)
        for place, error, base, time, start, message, bad in wanted
    ]
    data = b"".join(encode_produce(header, made, throttle))
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    cls = load_response_schema(PRODUCE.key, version)
    start, _ = entity_reader(cls.__header_schema__)(data, 4)
    assert start.correlation_id == 7
    body_start = 8 + (1 if cls.__flexible__ else 0)
    body, size = entity_reader(cls)(data, body_start)
    assert body_start + size == len(data)
    found = {(topic.name, part.index): part for topic in body.responses for part in topic.partition_responses}
    assert set(found) == {place for place, *_ in wanted}
    for place, error, base, _, start_offset, message, bad in wanted:
        part = found[place]
        assert (part.error_code, part.base_offset) == (error, base)
        if version >= 5:
            assert part.log_start_offset == start_offset
        if version >= 8:
            assert part.error_message == message
            assert [(e.batch_index, e.batch_index_error_message) for e in part.record_errors] == bad


@given(requests, st.data())
def test_a_request_that_is_cut_off_or_changed_is_read_or_refused(request: Any, data: st.DataObject) -> None:
    frame = bytearray(encoded(*request))
    header = decode_header(memoryview(frame))
    del frame[data.draw(st.integers(header.size, len(frame))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if len(frame) > header.size:
            frame[data.draw(st.integers(header.size, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedRequestError):
        decode_produce(header, memoryview(frame))


def test_acks_that_make_no_sense() -> None:
    frame = memoryview(encoded(9, None, 7, 0, []))
    with pytest.raises(MalformedRequestError, match="acks=7"):
        decode_produce(decode_header(frame), frame)


def test_kio_writes_what_it_reads() -> None:
    """So that the tests above compare with something that can be trusted."""
    cls = load_request_schema(PRODUCE.key, 9)
    frame = encoded(9, "tx", -1, 5, [("t", [(0, b"records")])])
    header = decode_header(memoryview(frame))
    value, size = entity_reader(cls)(frame, header.size)
    assert header.size + size == len(frame)
    out = io.BytesIO()
    entity_writer(cls)(out, value)
    assert out.getvalue() == frame[header.size :]
