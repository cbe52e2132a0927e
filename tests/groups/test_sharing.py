"""Who gets which partitions, and who stops when that changes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from streamhouse import Log
from streamhouse.errors import InconsistentAssignorError, TopicNotFoundError
from tests.groups.members import Callbacks, drain, member, numbers, send, until

# --- sharing out ----------------------------------------------------------------------------------------


def test_a_single_member_gets_everything_at_its_first_poll(log: Log) -> None:
    send(log, 60)
    with log.consumer("orders", group="g") as consumer:
        assert (consumer.member_id, consumer.generation, consumer.assignment) == (None, None, [])
        assert len(consumer.poll(timeout=0)) == 60
        assert numbers(consumer) == set(range(6))
        assert consumer.group == "g"
        assert consumer.member_id
        assert consumer.generation == 1


def test_members_share_out_the_partitions_and_every_record_comes_once(log: Log) -> None:
    with log.consumer("orders", group="g") as one, log.consumer("orders", group="g") as two:
        until(lambda: len(one.assignment) == len(two.assignment) == 3, one, two)
        assert numbers(one) | numbers(two) == set(range(6))
        send(log, 600)
        values = [int(record.value) for record in drain(one, two)]
        assert sorted(values) == list(range(600))


def test_two_groups_do_not_disturb_each_other(log: Log) -> None:
    send(log, 12)
    with log.consumer("orders", group="g") as one, log.consumer("orders", group="h") as two:
        assert len(one.poll(timeout=0)) == len(two.poll(timeout=0)) == 12


def test_a_member_beyond_the_partitions_waits(memory: Log) -> None:
    consumers = [member(memory) for _ in range(3)]
    until(lambda: sorted(len(c.assignment) for c in consumers) == [0, 1, 1], *consumers)
    (idle,) = [c for c in consumers if not c.assignment]
    assert idle.poll(timeout=0.02) == []
    busy = [c for c in consumers if c is not idle]
    busy[0].close()
    until(lambda: idle.assignment, *busy[1:], idle)


def test_only_partitions_that_move_stop(log: Log) -> None:
    told = Callbacks()
    send(log, 60)
    one = member(log, **told.options)
    one.poll(timeout=0)
    kept = {number: one.position("orders", number) for number in range(6)}
    two = member(log)
    until(lambda: two.assignment, two, one)
    assert told.told == [("assign", set(range(6))), ("revoke", numbers(two))]
    assert {number: one.position("orders", number) for number in numbers(one)} == {
        number: kept[number] for number in numbers(one)
    }
    two.close()
    until(lambda: len(one.assignment) == 6, one)
    assert told.told[2:] == [("assign", told.told[1][1])]
    one.close()
    assert told.told[3:] == [("revoke", set(range(6)))]


@pytest.mark.parametrize("assignor", ["range", "round-robin", "sticky"])
def test_with_an_eager_assignor_all_stop(memory: Log, assignor: Any) -> None:
    told = Callbacks()
    one = member(memory, assignor=assignor, **told.options)
    one.poll(timeout=0)
    two = member(memory, assignor=assignor)
    until(lambda: len(one.assignment) == len(two.assignment) == 1, one, two)
    assert told.told == [("assign", {0, 1}), ("revoke", {0, 1}), ("assign", numbers(one))]


def test_several_topics_are_shared_out(log: Log) -> None:
    log.create_topic("refunds", partitions=2)
    send(log, 6)
    send(log, 2, "refunds")
    with log.consumer("orders", "refunds", group="g") as one, log.consumer("refunds", group="g") as two:
        until(lambda: len(two.assignment) == 2, one, two)
        assert {place.topic for place in one.assignment} == {"orders"}


def test_more_partitions_are_shared_out(memory: Log) -> None:
    with memory.consumer("orders", group="g") as one, memory.consumer("orders", group="g") as two:
        until(lambda: one.assignment and two.assignment, one, two)
        memory.alter_topic("orders", partitions=5)
        until(lambda: numbers(one) | numbers(two) == set(range(5)), one, two)


def test_another_assignor_is_refused(memory: Log) -> None:
    with memory.consumer("orders", group="g") as one:
        one.poll(timeout=0)
        with memory.consumer("orders", group="g", assignor="range") as two:
            for _ in range(2):
                with pytest.raises(InconsistentAssignorError, match="'cooperative-sticky', not with 'range'"):
                    two.poll(timeout=0)
            one.close()
            two.poll(timeout=0)
            assert len(two.assignment) == 2


# --- patterns -------------------------------------------------------------------------------------------


def test_a_pattern_follows_topics_as_they_come_and_go(memory: Log) -> None:
    told = Callbacks()
    with memory.consumer(re.compile("eu-.*"), group="g", **told.options) as consumer:
        assert consumer.poll(timeout=0) == []
        memory.create_topic("eu-orders")
        memory.create_topic("not-eu-orders")
        send(memory, 3, "eu-orders")
        assert [record.topic for record in drain(consumer)] == ["eu-orders"] * 3
        memory.create_topic("eu-refunds")
        memory.delete_topic("eu-orders")
        send(memory, 1, "eu-refunds")
        assert [record.topic for record in drain(consumer)] == ["eu-refunds"]
        assert [place.topic for place in consumer.assignment] == ["eu-refunds"]
        memory.alter_topic("eu-refunds", partitions=3)
        assert drain(consumer) == []
        assert numbers(consumer) == {0, 1, 2}
        assert [what for what, _ in told.told] == ["assign", "lost", "assign", "assign"]


def test_names_and_patterns_mix(memory: Log) -> None:
    memory.create_topic("eu-orders")
    with memory.consumer("orders", re.compile("eu-.*"), re.compile("or.*"), group="g") as consumer:
        consumer.poll(timeout=0)
        assert sorted(place.topic for place in consumer.assignment) == ["eu-orders", "orders", "orders"]


def test_a_deleted_topic_is_told_of_and_followed_when_it_returns(memory: Log) -> None:
    memory.create_topic("refunds")
    with memory.consumer("orders", "refunds", group="g") as consumer:
        send(memory, 4)
        drain(consumer)
        consumer.commit()
        memory.delete_topic("orders")
        with pytest.raises(TopicNotFoundError, match="'orders' was deleted"):
            consumer.poll(timeout=0)
        assert consumer.poll(timeout=0) == []  # the others go on
        memory.create_topic("orders", partitions=1)
        send(memory, 2)
        assert [int(record.value) for record in drain(consumer)] == [0, 1]
        memory.delete_topic("orders")
        memory.delete_topic("refunds")
        for _ in range(2):
            with pytest.raises(TopicNotFoundError):
                consumer.poll(timeout=0)
