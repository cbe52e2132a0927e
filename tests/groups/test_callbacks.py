"""What callbacks are told and may do."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from streamhouse import Consumer, Log, TopicPartition
from streamhouse.errors import ClosedError, DeliveryTimeoutError, InvalidInputError
from tests.groups.members import QUIET, drain, expel, member, offsets, send, until


def test_callbacks_may_commit_and_seek(memory: Log) -> None:
    send(memory, 20)
    committed: list[int] = []
    consumer: Consumer[Any, Any]

    def on_assign(partitions: list[TopicPartition]) -> None:
        for place in partitions:
            consumer.seek(*place, 4)

    def on_revoke(partitions: list[TopicPartition]) -> None:
        consumer.commit(dict.fromkeys(partitions, 6))
        committed.extend(offsets(memory).values())

    consumer = memory.consumer(
        "orders", group="g", auto_commit=False, on_assign=on_assign, on_revoke=on_revoke
    )
    assert {record.offset for record in consumer.poll(timeout=0)} == set(range(4, 10))
    consumer.close()
    assert committed == [6, 6]


def test_a_callback_that_raises_is_heard_and_nothing_is_stuck(memory: Log) -> None:
    def fail(_partitions: list[TopicPartition]) -> None:
        raise ZeroDivisionError

    send(memory, 20)
    one = member(memory, on_assign=fail, on_revoke=fail)
    with pytest.raises(ZeroDivisionError):
        one.poll(timeout=0)
    assert len(one.poll(timeout=0)) == 20
    with memory.consumer("orders", group="g") as two:
        two.poll(timeout=0)
        with pytest.raises(ZeroDivisionError):
            one.poll(timeout=0)
        two.poll(timeout=0)
        assert (len(one.assignment), len(two.assignment)) == (1, 1)
        with pytest.raises(ZeroDivisionError):
            one.close()
        until(lambda: len(two.assignment) == 2, two)


def test_a_callback_cannot_poll(memory: Log) -> None:
    consumer: Consumer[Any, Any]

    def poll(_partitions: list[TopicPartition]) -> None:
        with pytest.raises(InvalidInputError, match="cannot poll"):
            consumer.poll(timeout=0)

    consumer = member(memory, on_assign=poll)
    consumer.poll(timeout=0)
    consumer.close()


@pytest.mark.parametrize("what", ["on_assign", "on_revoke", "on_lost"])
def test_a_callback_may_close_the_consumer(memory: Log, what: str) -> None:
    send(memory, 20)
    told: list[str] = []

    def close(_partitions: list[TopicPartition]) -> None:
        told.append(what)
        consumer.close()

    consumer = member(memory, **{what: close})
    if what != "on_assign":
        consumer.poll(timeout=0)
        if what == "on_lost":
            expel(memory, consumer)
        else:
            member(memory).poll(timeout=0)
    with pytest.raises(ClosedError):
        consumer.poll(timeout=0)
    assert told[0] == what
    assert consumer.member_id not in {each.id for each in memory.groups["g"].members}
    if what == "on_revoke":
        assert offsets(memory) == {0: 10, 1: 10}


def test_another_thread_may_poll_while_a_callback_runs(memory: Log) -> None:
    send(memory, 20)
    inside, go_on = threading.Event(), threading.Event()
    taken: list[Any] = []

    def wait(_partitions: list[TopicPartition]) -> None:
        inside.set()
        go_on.wait(10)

    consumer = member(memory, on_assign=wait)
    threads = [threading.Thread(target=lambda: taken.extend(drain(consumer))) for _ in range(2)]
    threads[0].start()
    inside.wait(10)
    threads[1].start()
    time.sleep(0.1)
    go_on.set()
    for thread in threads:
        thread.join()
    assert len({(record.partition, record.offset) for record in taken}) == 20


def test_a_callback_that_hangs_holds_up_the_group_until_max_poll_interval(memory: Log) -> None:
    go_on = threading.Event()
    hung = member(memory, max_poll_interval=0.3, on_revoke=lambda _partitions: go_on.wait(30), **QUIET)
    hung.poll(timeout=0)
    other = member(memory)
    other.poll(timeout=0)
    poll = threading.Thread(target=lambda: hung.poll(timeout=0))
    poll.start()
    until(lambda: len(other.assignment) == 2, other)
    go_on.set()
    poll.join()


def test_closing_does_not_wait_for_ever_for_a_callback_that_hangs(memory: Log) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hang(_partitions: list[TopicPartition]) -> None:
        inside.set()
        go_on.wait(30)

    def poll() -> None:
        with pytest.raises(ClosedError):
            consumer.poll(timeout=0)

    consumer = member(memory, on_assign=hang)
    thread = threading.Thread(target=poll)
    thread.start()
    inside.wait(10)
    with pytest.raises(DeliveryTimeoutError, match="in a callback of it, all the time"):
        consumer.close(timeout=0.1)
    until(lambda: not memory.groups["g"].members)
    go_on.set()
    thread.join()
