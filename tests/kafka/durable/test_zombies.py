"""A gateway that stands still until the others take it for dead, and then goes on where it was."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.clients.samples import until
from tests.kafka.durable.asking import NO_ERROR, commit, nodes, take_over
from tests.kafka.wire import ask


@pytest.fixture
def logs() -> Iterator[list[streamhouse.Log]]:
    """One log, opened twice, as by two processes."""
    url = f"memory://{uuid.uuid4().hex}"
    with streamhouse.Log(url) as one, streamhouse.Log(url) as two:
        one.create_topic("t", partitions=2)
        yield [one, two]


@pytest.fixture
def pair(logs: list[streamhouse.Log]) -> Iterator[list[Gateway]]:
    with (
        streamhouse.kafka.serve(logs[0], port=0, broker_session_seconds=1.0) as one,
        streamhouse.kafka.serve(logs[1], port=0, broker_session_seconds=1.0) as two,
    ):
        until(lambda: all(len(nodes(gateway)) == 2 for gateway in (one, two)))
        yield [one, two]


@contextmanager
def standing_still(gateway: Gateway) -> Iterator[None]:
    """The gateway does nothing meanwhile, though what is sent to it arrives."""
    stopped, go_on = threading.Event(), threading.Event()

    def stand() -> None:
        stopped.set()
        go_on.wait(30)

    gateway._loop.call_soon_threadsafe(stand)
    assert stopped.wait(10)
    try:
        yield
    finally:
        go_on.set()


def coordinated_by(gateway: Gateway, kind: int) -> str:
    """A name that a gateway looks after."""
    names = (f"name-{number}" for number in range(1000))
    return next(n for n in names if ask(gateway, 10, 1, key=n, key_type=kind).node_id == gateway.node_id)


def in_vain(request: Future[Any]) -> Any:
    """What became of a request: its answer, unless the connection was closed."""
    with suppress(AssertionError, ConnectionError):
        return request.result(20)


def test_offsets_do_not_go_back(logs: list[streamhouse.Log], pair: list[Gateway]) -> None:
    zombie, other = pair
    group = coordinated_by(zombie, 0)
    with ThreadPoolExecutor() as pool:
        with standing_still(zombie):
            late = pool.submit(commit, zombie, group, "t", 5)
            until(lambda: nodes(other) == {other.node_id})
            assert commit(other, group, "t", 10) is NO_ERROR
        assert in_vain(late) in {None, ErrorCode.not_coordinator}
    until(lambda: len(nodes(zombie)) == len(nodes(other)) == 2)
    assert logs[1].groups[group].offsets["t", 0].offset == 10
    assert commit(zombie, group, "t", 11) is NO_ERROR


def test_a_name_is_not_taken_from_who_has_it_since(pair: list[Gateway]) -> None:
    zombie, other = pair
    name = coordinated_by(zombie, 1)
    with ThreadPoolExecutor() as pool:
        with standing_still(zombie):
            late = pool.submit(take_over, zombie, name)
            until(lambda: nodes(other) == {other.node_id})
            taken = take_over(other, name)
            assert taken.error_code is NO_ERROR
        answer = in_vain(late)
        assert answer is None or answer.error_code is ErrorCode.not_coordinator
    until(lambda: len(nodes(zombie)) == len(nodes(other)) == 2)
    again = take_over(zombie, name)
    assert (again.error_code, again.producer_epoch) == (NO_ERROR, taken.producer_epoch + 1)


def test_its_number_is_somebody_elses(logs: list[streamhouse.Log], pair: list[Gateway]) -> None:
    zombie, other = pair
    before = zombie.node_id
    with standing_still(zombie):
        until(lambda: nodes(other) == {other.node_id})
        third = streamhouse.kafka.serve(logs[1], port=0, broker_session_seconds=1.0)
    with third:
        assert third.node_id == before
        until(lambda: len(nodes(other)) == 3)
        assert zombie.node_id not in {before, other.node_id}
        assert nodes(zombie) == nodes(other) == nodes(third)


def test_its_number_was_meant_for_somebody_else(logs: list[streamhouse.Log]) -> None:
    with (
        streamhouse.kafka.serve(logs[0], port=0, node_id=7) as one,
        streamhouse.kafka.serve(logs[1], port=0, node_id=7) as two,
    ):
        with pytest.raises(streamhouse.errors.InvalidSettingError, match="node_id=7"):
            one.wait(20)
        assert nodes(two) == {7}
