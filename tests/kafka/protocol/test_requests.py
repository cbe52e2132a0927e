"""Requests decoded by us are what kio's own decoder makes of them; what ends that one is refused."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from kio.index import load_request_schema
from kio.serial import entity_reader, entity_writer

from streamhouse.kafka.protocol import apis
from streamhouse.kafka.protocol.codec import decode_header, decode_request
from streamhouse.kafka.protocol.primitives import MalformedRequestError, Reader
from streamhouse.kafka.protocol.requests import request_reader
from tests.kafka.protocol.entities import random_entity

BY_HAND = (apis.PRODUCE, apis.FETCH)
PLAIN = [
    (api, version)
    for api in apis.APIS.values()
    if api not in BY_HAND
    for version in range(api.first, api.last + 1)
]


def body_of(entity: Any) -> bytes:
    out = io.BytesIO()
    entity_writer(type(entity))(out, entity)
    return out.getvalue()


def decoded(key: int, version: int, body: bytes) -> Any:
    read, flexible = request_reader(key, version)
    return read(Reader(memoryview(body), 0, flexible=flexible))


@pytest.mark.parametrize(("api", "version"), PLAIN, ids=lambda each: getattr(each, "name", str(each)))
def test_every_version_is_read_as_kio_reads_it(api: apis.Api, version: int) -> None:
    cls = load_request_schema(api.key, version)
    dice = random.Random(api.key * 100 + version)
    for _ in range(20):
        body = body_of(random_entity(cls, dice))
        mine = decoded(api.key, version, body)
        assert mine == entity_reader(cls)(memoryview(body), 0)[0]
        assert type(mine) is cls


@pytest.mark.parametrize(("api", "version"), PLAIN, ids=lambda each: getattr(each, "name", str(each)))
def test_what_is_cut_off_is_refused(api: apis.Api, version: int) -> None:
    body = body_of(random_entity(load_request_schema(api.key, version), random.Random(version)))
    for size in range(len(body)):
        with pytest.raises(MalformedRequestError):
            decoded(api.key, version, body[:size])


def test_counts_that_are_not_there_cost_no_memory() -> None:
    """kio's decoder aborts the process at the first one of these."""
    frames = [
        bytes.fromhex("0010 0005 00000001 ffff 00") + b"\xff\xff\xff\xff\x0f" + b"\x01",  # ListGroups
        bytes.fromhex("0003 0001 00000001 ffff") + b"\x7f\xff\xff\xff" + b"\0\0",  # Metadata
        bytes.fromhex("000f 0005 00000001 ffff 00") + b"\xff\xff\xff\xff\x0f",  # DescribeGroups
    ]
    for frame in map(memoryview, frames):
        with pytest.raises(MalformedRequestError, match="items"):
            decode_request(decode_header(frame), frame)


def test_more_items_than_anybody_asks_for() -> None:
    count = 300_000
    frame = memoryview(bytes.fromhex("0003 0001 00000001 ffff") + count.to_bytes(4, "big") + b"\0\0" * count)
    with pytest.raises(MalformedRequestError, match="250000 items"):
        decode_request(decode_header(frame), frame)


@pytest.mark.parametrize("retention", [-1, (1 << 63) - 1, -(1 << 63)])
def test_times_that_no_clock_has(retention: int) -> None:
    body = b"\0\1g" + bytes(4) + b"\0\0" + retention.to_bytes(8, "big", signed=True) + bytes(4)
    found = decoded(apis.OFFSET_COMMIT.key, 2, body)
    assert (found.group_id, found.topics) == ("g", ())


def test_nulls_where_there_are_none() -> None:
    with pytest.raises(MalformedRequestError, match="cannot be null"):
        decoded(apis.HEARTBEAT.key, 0, b"\xff\xff" + bytes(4) + b"\0\0")
    with pytest.raises(MalformedRequestError, match="cannot be null"):
        decoded(apis.DELETE_GROUPS.key, 0, b"\xff\xff\xff\xff")
    with pytest.raises(MalformedRequestError):
        decoded(apis.DELETE_GROUPS.key, 0, b"\xff\xff\xff\xfe")
