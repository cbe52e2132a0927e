"""Where members begin, and where they go on."""

from __future__ import annotations

from typing import Any

import pytest

from streamhouse import Log
from streamhouse.errors import OffsetOutOfRangeError
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
