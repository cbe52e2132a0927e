"""What clients are known to stumble over, asked for on the wire."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka.record.memory_records import MemoryRecords
from kio.schema.errors import ErrorCode

import streamhouse
import streamhouse.kafka
from streamhouse.kafka.protocol import apis
from tests.kafka.wire import Wire
from tests.kafka.world import NONE, Values, World, batch, errors, new_world

BY_ID = 13  # the first version of Fetch that names topics by id


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as world:
        yield world


def producing(
    *keys: bytes | None,
    topic: str = "t",
    value: bytes = b"v",
    timeout: int = 5000,
    times: Sequence[int] = (),
) -> Values:
    parts = [{"index": 0, "records": batch(*keys, value=value, times=times)}]
    return {"acks": -1, "timeout": timeout, "topic_data": [{"name": topic, "partition_data": parts}]}


def fetching(offset: int, *, bytes_max: int = 1 << 20, wait: int = 0, **more: object) -> Values:
    part = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": bytes_max, **more}
    topics = [{"topic": "t", "partitions": [part]}]
    return {"max_wait": wait, "min_bytes": 1 if wait else 0, "max_bytes": bytes_max, "topics": topics}


def offsets_in(data: bytes | None) -> list[int]:
    records, found = MemoryRecords(bytes(data or b"")), []
    while (each := records.next_batch()) is not None:
        found += [record.offset for record in each]
    return found


def fetched(world: World, values: Values, version: int = 12) -> list[int]:
    response = world.ask(apis.FETCH, version, values)
    assert errors(response) <= NONE
    assert response.session_id == 0  # there are none
    return offsets_in(response.responses[0].partitions[0].records)


def test_a_waiting_fetch_is_woken_by_a_record(world: World) -> None:
    with Wire(world.gateway) as other:
        writer = World(world.log, world.gateway, other)
        for round_ in range(20):
            writing = threading.Timer(0.02, lambda: writer.ask(apis.PRODUCE, 9, producing(b"k")))
            writing.start()
            begun = time.monotonic()
            assert fetched(world, fetching(3 + round_, wait=9000)) == [3 + round_]
            assert time.monotonic() - begun < 8
            writing.join()  # its answer comes over a connection that ends here


def test_a_fetch_with_nothing_to_read_is_empty_and_no_error(world: World) -> None:
    begun = time.monotonic()
    assert fetched(world, fetching(3, wait=200)) == []
    assert time.monotonic() - begun >= 0.19


def test_a_batch_comes_whole_however_little_is_asked_for(world: World) -> None:
    world.ask(apis.PRODUCE, 9, producing(*[b"k"] * 10, value=b"x" * 1000))
    assert fetched(world, fetching(8, bytes_max=1)) == list(range(3, 13))  # the one that has offset 8


def test_responses_leave_in_the_order_of_requests(world: World) -> None:
    topic = {"name": "t", "partitions": [{"partition_index": 0, "timestamp": -1}]}
    for number in range(5):
        if number % 2:
            world.send(apis.LIST_OFFSETS, 2, {"replica_id": -1, "topics": [topic]})
        else:  # takes a while
            world.send(apis.FETCH, 4, fetching(3, wait=100))
    for number in range(5):
        api, version = (apis.LIST_OFFSETS, 2) if number % 2 else (apis.FETCH, 4)
        assert errors(world.wire.receive(api.key, version)) <= NONE


def test_records_without_keys_are_named_one_by_one(world: World) -> None:
    world.log.create_topic("compacted", cleanup_policy="compact")
    for version in range(8, 12):
        response = world.ask(apis.PRODUCE, version, producing(b"k", None, None, topic="compacted"))
        (part,) = response.responses[0].partition_responses
        assert part.error_code is ErrorCode.invalid_record
        assert [each.batch_index for each in part.record_errors] == [1, 2]
        assert all("key" in each.batch_index_error_message for each in part.record_errors)
    assert list(world.log.read("compacted")) == []


@pytest.mark.parametrize("bad", [10**18, 253_402_300_800_000, -62_135_596_800_001, -(2**63)])
def test_times_that_no_calendar_has_are_named_one_by_one(world: World, bad: int) -> None:
    """Native producers cannot send them either, and SQL could not show most of them."""
    sent = producing(b"a", b"b", times=[253_402_300_799_999, bad])
    (part,) = world.ask(apis.PRODUCE, 9, sent).responses[0].partition_responses
    assert part.error_code is ErrorCode.invalid_timestamp
    assert [each.batch_index for each in part.record_errors] == [1]
    assert str(bad) in part.error_message
    world.log.alter_topic("t", timestamp_type="append")
    assert errors(world.ask(apis.PRODUCE, 9, sent)) == NONE  # they get another time anyway
    assert len(world.log.sql("SELECT * FROM t").fetchall()) == 5


def test_a_record_of_a_schema_altered_elsewhere_fits(tmp_path: Path) -> None:
    def codes(world: World, value: bytes) -> set[ErrorCode]:
        return errors(world.ask(apis.PRODUCE, 8, producing(b"k", value=value)))

    with (
        streamhouse.Log(tmp_path) as other,
        streamhouse.Log(tmp_path, poll_seconds_min=3600, poll_seconds_max=3600) as log,
    ):
        other.create_topic("t", schema={"a": "TINYINT"})
        with streamhouse.kafka.serve(log, port=0) as gateway, Wire(gateway) as wire:
            world = World(log, gateway, wire)
            assert codes(world, b'{"a": 1}') == NONE
            other.alter_topic("t", schema={"a": "BIGINT", "b": "VARCHAR"})
            assert codes(world, b'{"a": 300, "b": "x"}') == NONE
            assert ErrorCode.invalid_record in codes(world, b'{"a": "x"}')
        assert [record.value["a"] for record in other.read("t")] == [1, 300]


def test_topics_go_by_their_ids(world: World) -> None:
    def asked(topic_id: uuid.UUID, wait: int = 0) -> object:
        values = fetching(0, wait=wait)
        values["topics"][0]["topic_id"] = topic_id
        return world.ask(apis.FETCH, BY_ID, values)

    first = world.topic_id
    assert errors(asked(first)) == NONE
    assert errors(asked(uuid.uuid4())) - NONE == {ErrorCode.unknown_topic_id}
    world.log.delete_topic("t")
    world.log.create_topic("t")
    assert world.topic_id != first
    assert errors(asked(first)) - NONE == {ErrorCode.unknown_topic_id}


def test_a_waiting_fetch_is_woken_when_its_topic_is_deleted(world: World) -> None:
    deleting = threading.Timer(0.1, lambda: world.log.delete_topic("t"))
    deleting.start()
    begun = time.monotonic()
    response = world.ask(apis.FETCH, 12, fetching(3, wait=9000))
    assert errors(response) - NONE == {ErrorCode.unknown_topic_or_partition}
    assert time.monotonic() - begun < 8
    deleting.join()


def test_there_is_one_leader_epoch(world: World) -> None:
    assert fetched(world, fetching(0, current_leader_epoch=0)) == [0, 1, 2]
    response = world.ask(apis.FETCH, 12, fetching(0, current_leader_epoch=1))
    assert errors(response) - NONE == {ErrorCode.unknown_leader_epoch}
    parts = [{"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}]
    response = world.ask(apis.OFFSET_FOR_LEADER_EPOCH, 4, {"topics": [{"topic": "t", "partitions": parts}]})
    assert response.topics[0].partitions[0].end_offset == 3


def test_versions_of_the_future_are_answered_with_the_list(world: World) -> None:
    frame = bytes.fromhex("0012 0063 0000002a ffff 00".replace(" ", ""))  # ApiVersions 99
    world.wire.send_frame(frame)
    response = world.wire.receive(apis.API_VERSIONS.key, 0)
    assert response.error_code is ErrorCode.unsupported_version
    assert {each.api_key for each in response.api_keys} == set(apis.APIS)


@pytest.mark.parametrize("version", range(4))
def test_a_former_incarnation_is_told_so_in_its_words(world: World, version: int) -> None:
    old, epoch = world.producer("x")
    world.producer("x")
    values = {"transactional_id": "x", "producer_id": old, "producer_epoch": epoch, "committed": True}
    fenced = ErrorCode.producer_fenced if version >= 2 else ErrorCode.invalid_producer_epoch
    assert errors(world.ask(apis.END_TXN, version, values)) == {fenced}


def test_any_replication_factor_is_taken_and_one_replica_reported(world: World) -> None:
    made = {"name": "new", "num_partitions": 1, "replication_factor": 3}
    assert errors(world.ask(apis.CREATE_TOPICS, 7, {"topics": [made]})) == NONE
    response = world.ask(apis.METADATA, 12, {"topics": [{"name": "new"}]})
    assert response.brokers[0].host == "127.0.0.1"  # some clients try ::1 first for localhost
    (part,) = response.topics[0].partitions
    assert part.replica_nodes == part.isr_nodes == (response.brokers[0].node_id,)


def test_a_cluster_has_the_operations_that_clients_know(world: World) -> None:
    asked = {"include_cluster_authorized_operations": True}
    assert world.ask(apis.DESCRIBE_CLUSTER, 0, asked).cluster_authorized_operations == 0x1FA0
