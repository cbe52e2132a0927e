"""A log with a topic, a gateway, and requests to it by way of kio, without what does not matter in them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from kio.index import load_request_schema
from kio.schema.errors import ErrorCode

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol import apis
from tests.kafka.wire import Wire

Values = dict[str, Any]
ANONYMOUS = "User:ANONYMOUS"


class World:
    """A log, a gateway, and a connection to it."""

    def __init__(self, log: streamhouse.Log, gateway: Gateway, wire: Wire) -> None:
        self.log = log
        self.gateway = gateway
        self.wire = wire

    def ask(self, api: apis.Api, version: int, values: Values) -> Any:
        """Send what the version has of these values, and nothing in particular for the others."""
        self.send(api, version, values)
        return self.wire.receive(api.key, version)

    def send(self, api: apis.Api, version: int, values: Values) -> None:
        """Likewise, and do not wait."""
        self.wire.send(api.key, version, **complete(load_request_schema(api.key, version), values))

    @property
    def topic_id(self) -> uuid.UUID:
        (topic,) = self.ask(apis.METADATA, 12, {"topics": [{"name": "t"}]}).topics
        assert isinstance(topic.topic_id, uuid.UUID)
        return topic.topic_id

    def member(self, group: str) -> tuple[str, int]:
        """A member of a classic group, and the generation."""
        joined = self.ask(apis.JOIN_GROUP, 3, joining(group))
        own = {"member_id": joined.member_id, "assignment": b""}
        asked = {"group_id": group, "generation_id": joined.generation_id, "member_id": joined.member_id}
        assert errors(self.ask(apis.SYNC_GROUP, 2, {**asked, "assignments": [own]})) == NONE
        return joined.member_id, joined.generation_id

    def offsets(self, group: str) -> str:
        """A group that has offsets, and no members."""
        assert errors(self.ask(apis.OFFSET_COMMIT, 7, committing(group))) == NONE
        return group

    def producer(self, name: str) -> tuple[int, int]:
        """A producer with a name, and its epoch."""
        given = self.ask(apis.INIT_PRODUCER_ID, 1, {"transactional_id": name, "transaction_timeout": 10_000})
        return given.producer_id, given.producer_epoch


@contextmanager
def new_world() -> Iterator[World]:
    """With a topic ``t`` of two partitions, the first of which has three records."""
    with (
        streamhouse.Log("memory://") as log,
        streamhouse.kafka.serve(
            log, port=0, authorize=True, super_users=(ANONYMOUS,), auto_create_topics=False
        ) as gateway,
        Wire(gateway) as wire,
    ):
        log.create_topic("t", partitions=2)
        with log.producer() as producer:
            for _ in range(3):
                producer.send("t", b"v", key=b"k", partition=0)
        yield World(log, gateway, wire)


def complete(cls: Any, values: Values) -> Values:
    """The fields of an entity: those that are given, the others with as little in them as there can be."""
    out: Values = {}
    for field in fields(cls):
        inner, array, nullable = _shape(field.type)
        value = values.get(field.name, MISSING)
        if value is MISSING:
            if field.default is MISSING:
                out[field.name] = (
                    None if nullable else [] if array else _NOTHING[field.metadata["kafka_type"]]
                )
        elif value is None or not is_dataclass(inner):
            out[field.name] = value
        else:
            out[field.name] = [complete(inner, each) for each in value] if array else complete(inner, value)
    return out


_NOTHING: Values = {
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint16", "timedelta_i32", "timedelta_i64"), 0),
    "bool": False,
    "string": "",
    "bytes": b"",
    "uuid": None,
    "float64": 0.0,
}


def _shape(kind: Any) -> tuple[Any, bool, bool]:
    """What is in a field; whether many of it; whether perhaps nothing."""
    options = get_args(kind)
    nullable = type(None) in options and get_origin(kind) is not tuple
    if nullable:
        kind = next(option for option in options if option is not type(None))
    array = get_origin(kind) is tuple
    return (get_args(kind)[0] if array else kind), array, nullable


def errors(response: Any) -> set[ErrorCode]:
    """All that is said about errors in a response."""
    found: set[ErrorCode] = set()
    for field in fields(response):
        value = getattr(response, field.name)
        if field.name.endswith("error_code"):
            found.add(ErrorCode(value))
        for each in value if isinstance(value, tuple) else (value,):
            if is_dataclass(each):
                found |= errors(each)
    return found


NONE = {ErrorCode.none}


def batch(*keys: bytes | None, value: bytes = b"v", times: Sequence[int] = ()) -> bytes:
    """A record batch; by default of one record, with a time in 2023."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 30)
    for place, key in enumerate(keys or (b"k",)):
        time = times[place] if times else 1_700_000_000_000
        assert builder.append(place, time, key, value, [("h", b"1")])
    return bytes(builder.build())


def joining(group: str) -> Values:
    return {
        "group_id": group,
        "session_timeout": 10_000,
        "rebalance_timeout": 1000,
        "member_id": "",
        "protocol_type": "consumer",
        "protocols": [{"name": "range", "metadata": b""}],
    }


def committing(group: str) -> Values:
    return {"group_id": group, "generation_id_or_member_epoch": -1, "member_id": "", "topics": [OFFSET]}


OFFSET: Values = {
    "name": "t",
    "partitions": [{"partition_index": 0, "committed_offset": 2, "committed_metadata": "m"}],
}
