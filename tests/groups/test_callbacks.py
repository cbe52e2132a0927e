"""What callbacks are told and may do."""

from __future__ import annotations

from typing import Any

import pytest

from streamhouse import Consumer, Log, TopicPartition
from streamhouse.errors import InvalidInputError
from tests.groups.members import member, offsets, send, until


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
