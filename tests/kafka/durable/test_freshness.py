"""A gateway may be behind the others in the log; its clients must not suffer for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.format.operations import CommitOffsets, OffsetEntry
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.durable.asking import NO_ERROR, committed, create, end_of, offset_of, produce
from tests.kafka.wire import ask

TURNS = 50


@pytest.fixture
def logs() -> Iterator[list[streamhouse.Log]]:
    """One log, opened twice, as by two processes."""
    url = f"memory://{uuid.uuid4().hex}"
    with streamhouse.Log(url) as one, streamhouse.Log(url) as two:
        yield [one, two]


def fetch(gateway: Gateway, offset: int) -> ErrorCode:
    part = {"partition": 0, "fetch_offset": offset, "log_start_offset": -1, "partition_max_bytes": 1000}
    answer = ask(
        gateway,
        1,
        6,
        replica_id=-1,
        max_wait=0,
        min_bytes=0,
        max_bytes=1000,
        isolation_level=0,
        topics=({"topic": "t", "partitions": (part,)},),
    )
    error: ErrorCode = answer.responses[0].partitions[0].error_code
    return error


def test_an_offset_that_another_gateway_has_given_is_not_out_of_range(logs: list[streamhouse.Log]) -> None:
    """Clients go back to the beginning when they are told so."""
    with streamhouse.kafka.serve(logs[0], port=0) as one, streamhouse.kafka.serve(logs[1], port=0) as two:
        create(one, "t")
        for number in range(TURNS):
            assert produce(one, "t", [b"v"]) == (NO_ERROR, number)
            assert fetch(two, number + 1) is NO_ERROR
        assert fetch(two, TURNS + 1) is ErrorCode.offset_out_of_range


def epoch_end(gateway: Gateway) -> int:
    """Where the gateway says that the log ends, to clients that come from another one."""
    part = {"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}
    topics = ({"topic": "t", "partitions": (part,)},)
    answer = ask(gateway, 23, 3, replica_id=-1, topics=topics)
    offset: int = answer.topics[0].partitions[0].end_offset
    return offset


@pytest.mark.parametrize("end", [epoch_end, lambda gateway: end_of(gateway, "t")], ids=["epoch", "list"])
def test_the_end_is_not_an_older_one(logs: list[streamhouse.Log], end: Callable[[Gateway], int]) -> None:
    """Clients go back to the end of the epoch, as if the log had been cut off there."""
    with streamhouse.kafka.serve(logs[0], port=0) as one, streamhouse.kafka.serve(logs[1], port=0) as two:
        create(one, "t")
        for number in range(TURNS):
            assert produce(one, "t", [b"v"]) == (NO_ERROR, number)
            assert end(two) == number + 1


@pytest.mark.parametrize("timestamp", [1_700_000_000_000, -3], ids=["time", "largest"])
def test_a_record_that_was_just_written_is_found_by_its_time(
    logs: list[streamhouse.Log], timestamp: int
) -> None:
    """Clients take "none" for the end, and pass over the record."""
    with streamhouse.kafka.serve(logs[0], port=0) as gateway, logs[1].producer() as producer:
        create(gateway, "t")
        for number in range(TURNS):
            producer.send("t", b"v", timestamp=1_700_000_000_000 + number)
            producer.flush()
            assert offset_of(gateway, "t", timestamp + number if timestamp > 0 else timestamp) == number


def test_the_beginning_is_not_an_older_one(logs: list[streamhouse.Log]) -> None:
    """What was removed elsewhere cannot be read any more."""
    with streamhouse.kafka.serve(logs[0], port=0) as gateway, logs[1].producer() as producer:
        create(gateway, "t")
        for _ in range(TURNS):
            producer.send("t", b"v")
        producer.flush()
        for number in range(TURNS):
            logs[1].delete_records("t", {0: number + 1})
            assert offset_of(gateway, "t", -2) == number + 1


def test_committed_offsets_are_the_last(logs: list[streamhouse.Log]) -> None:
    """Whoever committed them: the member that goes on may have got them from another gateway's client."""
    with streamhouse.kafka.serve(logs[0], port=0) as gateway:
        create(gateway, "t")
        topic = logs[1].topic("t").id
        for offset in range(TURNS):
            entry = OffsetEntry(topic, 0, offset)
            logs[1]._inside.commits.propose(CommitOffsets("g", "", 0, (entry,)))
            assert committed(gateway, "g", "t") == offset
