"""Where members begin, and where they go on."""

from __future__ import annotations

from typing import Any

import pytest

from streamhouse import Log
from streamhouse.errors import NotAssignedError, OffsetOutOfRangeError
from tests.groups.members import drain, offsets, send, until


def test_a_group_goes_on_where_it_was(log: Log) -> None:
    send(log, 60)
    with log.consumer("orders", group="g") as one:
        assert len(one.poll(timeout=0, max_records=25)) == 25
    with log.consumer("orders", group="g") as two:
        assert len(drain(two)) == 35


def test_start_is_for_partitions_without_a_committed_offset(memory: Log) -> None:
    send(memory, 10)
    with memory.consumer(group="g") as admin:
        admin.commit({("orders", 1): 2})
    with memory.consumer("orders", group="g", start="latest") as consumer:
        consumer.poll(timeout=0)
        assert (consumer.position("orders", 0), consumer.position("orders", 1)) == (5, 5)
    assert offsets(memory) == {0: 5, 1: 5}


def test_latest_means_the_same_place_for_the_next_owner(memory: Log) -> None:
    with memory.consumer("orders", group="g", start="latest", auto_commit_interval=0.01) as one:
        one.poll(timeout=0)
        until(lambda: "g" in memory.groups and len(offsets(memory)) == 2)
    send(memory, 2)
    with memory.consumer("orders", group="g", start="latest") as two:
        assert len(drain(two)) == 2


def test_a_start_that_is_not_there_is_told_and_holds_up_no_other(memory: Log) -> None:
    send(memory, 10)
    with memory.consumer("orders", group="g", start={0: 3, 1: 99}) as consumer:
        with pytest.raises(OffsetOutOfRangeError):
            consumer.poll(timeout=0)
        assert {record.partition for record in consumer.poll(timeout=0)} == {0}
        with pytest.raises(OffsetOutOfRangeError):
            consumer.poll(timeout=0)


@pytest.mark.parametrize(("reset", "first"), [("earliest", 4), ("latest", 5)])
def test_reset_when_the_committed_offset_was_removed(memory: Log, reset: Any, first: int) -> None:
    send(memory, 10)
    with memory.consumer(group="g") as admin:
        admin.commit({("orders", 0): 1})
    memory.delete_records("orders", before={0: 4})
    with memory.consumer("orders", group="g", reset=reset) as consumer:
        assert [r.offset for r in drain(consumer) if r.partition == 0] == list(range(first, 5))


def test_without_a_group_reset_says_where_to_go_on(memory: Log) -> None:
    send(memory, 10)
    with (
        memory.consumer("orders", partitions=[0]) as strict,
        memory.consumer("orders", partitions=[0], reset="earliest") as early,
        memory.consumer("orders", partitions=[0], reset="latest") as late,
    ):
        memory.delete_records("orders", before={0: 3})
        with pytest.raises(OffsetOutOfRangeError, match="reset='earliest'"):
            strict.poll(timeout=0)
        assert [record.offset for record in drain(early)] == [3, 4]
        assert drain(late) == []
        assert late.position("orders", 0) == 5


@pytest.mark.parametrize(("reset", "offsets_of_zero"), [("earliest", [6, 7, 8, 9]), ("latest", [])])
def test_reset_when_records_are_removed_before_a_member_has_read_them(
    memory: Log, reset: Any, offsets_of_zero: list[int]
) -> None:
    with memory.consumer("orders", group="g", reset=reset) as consumer:
        consumer.poll(timeout=0)
        send(memory, 20)
        memory.delete_records("orders", before={0: 6})
        records = drain(consumer)
        assert [record.offset for record in records if record.partition == 0] == offsets_of_zero
        assert [record.offset for record in records if record.partition == 1] == list(range(10))
    assert offsets(memory) == {0: 10, 1: 10}


def test_reset_error_raises_until_somebody_seeks_and_holds_up_no_other(memory: Log) -> None:
    with memory.consumer("orders", group="g", reset="error") as consumer:
        consumer.poll(timeout=0)
        send(memory, 20)
        memory.delete_records("orders", before={0: 6})
        polls: list[Any] = []
        for _ in range(4):
            try:
                polls.append({record.partition for record in consumer.poll(timeout=0)})
            except OffsetOutOfRangeError as error:
                polls.append(str(error)[:60])
        told = "partition 0 of 'orders' begins at offset 6; 0 was removed. S"
        assert polls.count({1}) == 1
        assert polls.count(told) >= 2
        consumer.seek("orders", 0, 8)
        assert [(record.partition, record.offset) for record in drain(consumer)] == [(0, 8), (0, 9)]


def test_reset_error_when_the_committed_offset_was_removed(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer(group="g") as admin:
        admin.commit({("orders", 0): 1})
    memory.delete_records("orders", before={0: 4})
    with memory.consumer("orders", group="g", reset="error") as consumer:
        with pytest.raises(OffsetOutOfRangeError):
            consumer.poll(timeout=0)
        assert {record.partition for record in consumer.poll(timeout=0)} == {1}


def test_seek_in_a_group(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer("orders", group="g") as consumer:
        consumer.poll(timeout=0)
        consumer.seek("orders", 0, 3)
        consumer.seek("orders", 1, "latest")
        assert [(r.partition, r.offset) for r in drain(consumer)] == [(0, offset) for offset in range(3, 10)]
        consumer.seek("orders", 0, "earliest")
        consumer.commit()
        assert offsets(memory) == {0: 0, 1: 10}  # commits follow, also backwards
        consumer.seek("orders", 0, 5)
    assert offsets(memory) == {0: 5, 1: 10}


def test_what_another_member_reads_cannot_be_sought(memory: Log) -> None:
    with memory.consumer("orders", group="g") as one, memory.consumer("orders", group="g") as two:
        until(lambda: one.assignment and two.assignment, one, two)
        with pytest.raises(NotAssignedError):
            one.seek(*two.assignment[0], 0)


def test_offset_zero_is_a_start_like_any_other(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer(group="g", start="latest") as consumer:
        consumer.assign([("orders", 0)], start=0)
        assert consumer.position("orders", 0) == 0
