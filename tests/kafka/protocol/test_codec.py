"""kio's door: headers, requests and responses of all versions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader

from streamhouse.kafka.protocol import apis
from streamhouse.kafka.protocol.codec import (
    Header,
    MalformedRequestError,
    decode_header,
    decode_request,
    encode_response,
    error_fields,
)
from tests.kafka.protocol.frames import frame_of

EVERY_VERSION = [(api, version) for api in apis.APIS.values() for version in range(api.first, api.last + 1)]


@pytest.mark.parametrize(("api", "version"), EVERY_VERSION, ids=lambda each: getattr(each, "name", str(each)))
def test_every_version_can_be_read_and_written(api: apis.Api, version: int) -> None:
    load_request_schema(api.key, version)
    header = Header(api.key, version, 3, None, 0)
    fields = error_fields(header, ErrorCode.unknown_server_error)
    if fields is None:
        return
    data = encode_response(header, fields)
    cls = load_response_schema(api.key, version)
    start = 8 + (1 if cls.__header_schema__.__flexible__ else 0)
    body, size = entity_reader(cls)(data, start)
    assert body.error_code is ErrorCode.unknown_server_error
    assert start + size == len(data) == 4 + int.from_bytes(data[:4], "big")


@given(st.none() | st.text(max_size=20), st.sampled_from([1, 9, 12]))
def test_a_header(client_id: str | None, version: int) -> None:
    fields: dict[str, Any] = {"topics": None, "allow_auto_topic_creation": True}
    if version >= 8:
        fields["include_topic_authorized_operations"] = False
        if version <= 10:
            fields["include_cluster_authorized_operations"] = False
    if version < 4:
        del fields["allow_auto_topic_creation"]
    frame = memoryview(frame_of(load_request_schema(apis.METADATA.key, version), fields, client_id))
    header = decode_header(frame)
    assert (header.key, header.version, header.correlation) == (apis.METADATA.key, version, 42)
    assert header.client_id == client_id
    assert decode_request(header, frame).topics is None


@given(st.binary(max_size=40))
def test_what_is_no_request_is_refused(data: bytes) -> None:
    frame = memoryview(data)
    try:
        header = decode_header(frame)
        if header.api is not None:
            decode_request(header, frame)
    except MalformedRequestError:
        pass


def test_a_field_that_no_version_has_is_noticed() -> None:
    header = Header(apis.HEARTBEAT.key, 4, 1, None, 0)
    with pytest.raises(TypeError, match="throttle"):
        encode_response(header, {"error_code": 0, "throttle_tme": 0})


def test_fields_of_other_versions_are_left_out() -> None:
    old = Header(apis.HEARTBEAT.key, 0, 1, None, 0)
    assert encode_response(old, {"error_code": 0, "throttle_time": 5}) == bytes.fromhex(
        "00000006 00000001 0000"
    )


def test_versions_that_are_not_served() -> None:
    assert Header(apis.PRODUCE.key, 2, 0, None, 0).api is None
    assert Header(apis.PRODUCE.key, 12, 0, None, 0).api is None
    assert Header(999, 0, 0, None, 0).api is None
    assert apis.PRODUCE.lowest_listed == 0
