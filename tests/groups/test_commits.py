"""What is committed: in the background, by hand, by those with fixed partitions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from streamhouse import Log, TopicPartition
from streamhouse.errors import (
    GroupNotEmptyError,
    InvalidInputError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    StaleMemberError,
    TopicNotFoundError,
)
from tests.groups.members import QUIET, drain, member, numbers, offsets, send, until

# --- committing in the background -----------------------------------------------------------------------


def test_a_loop_never_commits_the_record_in_hand(memory: Log) -> None:
    send(memory, 20)
    consumer = member(memory, auto_commit_interval=0.01)
    for count, record in enumerate(islice(consumer, 12), 1):
        if count in {1, 5, 12}:
            until(lambda: sum(offsets(memory).values()) == count - 1)  # noqa: B023
            assert offsets(memory).get(record.partition, 0) == record.offset
    consumer.close()
    assert sum(offsets(memory).values()) == 12


def test_polls_never_commit_what_the_latest_returned(memory: Log) -> None:
    send(memory, 20)
    consumer = member(memory, auto_commit_interval=0.01)
    consumer.poll(timeout=0, max_records=6)
    until(lambda: len(offsets(memory)) == 2)
    assert sum(offsets(memory).values()) == 0
    consumer.poll(timeout=0, max_records=6)
    until(lambda: sum(offsets(memory).values()) == 6)
    consumer.poll_batches(timeout=0, max_records=3)
    until(lambda: sum(offsets(memory).values()) == 12)
    time.sleep(0.05)
    assert sum(offsets(memory).values()) == 12
    consumer.close()
    assert sum(offsets(memory).values()) == 15


@pytest.mark.parametrize("how", ["commit", "commit_async", "a record", "offsets"])
def test_what_was_committed_by_hand_is_not_taken_back(memory: Log, how: str) -> None:
    send(memory, 20)
    consumer = member(memory, auto_commit_interval=0.01)
    records = consumer.poll(timeout=0, max_records=20)
    wanted = {0: 10, 1: 10}
    match how:
        case "commit":
            consumer.commit()
        case "commit_async":
            consumer.commit_async().result(10)
        case "a record":
            consumer.commit(next(r for r in records if r.partition == 0 and r.offset == 5))
            wanted = {0: 6, 1: 0}
        case "offsets":
            consumer.commit({("orders", 0): 7})
            wanted = {0: 7, 1: 0}
    until(lambda: offsets(memory) == wanted)
    time.sleep(0.1)
    assert offsets(memory) == wanted
    consumer.close(finished=False)
    assert offsets(memory) == wanted


def test_after_a_commit_by_hand_the_background_goes_on(memory: Log) -> None:
    send(memory, 20)
    consumer = member(memory, auto_commit_interval=0.01)
    consumer.poll(timeout=0, max_records=10)
    consumer.commit()
    consumer.poll(timeout=0, max_records=6)
    consumer.poll(timeout=0, max_records=2)
    until(lambda: sum(offsets(memory).values()) == 16)
    consumer.commit()
    assert sum(offsets(memory).values()) == 18
    for number in (0, 1):
        consumer.seek("orders", number, 3)
    consumer.poll(timeout=0, max_records=20)
    until(lambda: offsets(memory) == {0: 3, 1: 3})  # the seek is later than the commit
    consumer.close(finished=False)


def test_after_a_seek_the_background_commits_the_new_position(memory: Log) -> None:
    send(memory, 100)
    consumer = member(memory, auto_commit_interval=0.01)
    for _ in range(2):
        consumer.poll(timeout=0, max_records=10)
    consumer.commit()
    for number in (0, 1):
        consumer.seek("orders", number, 40)
    until(lambda: offsets(memory) == {0: 40, 1: 40})
    consumer.close(finished=False)
    assert offsets(memory) == {0: 40, 1: 40}


def test_an_exception_leaves_out_what_was_in_hand(memory: Log) -> None:
    send(memory, 20)

    def loop() -> None:
        with memory.consumer("orders", group="g", **QUIET) as consumer:
            for count, _ in enumerate(consumer, 1):
                if count == 8:
                    raise RuntimeError

    with pytest.raises(RuntimeError):
        loop()
    assert sum(offsets(memory).values()) == 7

    def polls() -> None:
        with memory.consumer("orders", group="g", **QUIET) as consumer:
            consumer.poll(timeout=0, max_records=3)
            consumer.poll(timeout=0, max_records=4)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        polls()
    assert sum(offsets(memory).values()) == 10


def test_leaving_a_loop_and_closing_takes_the_last_record_for_processed(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer("orders", group="g", **QUIET) as consumer:
        for count, _ in enumerate(consumer, 1):
            if count == 8:
                break
    assert sum(offsets(memory).values()) == 8


def test_a_closing_log_knows_how_it_came_to_that(memory: Log) -> None:
    with Log("memory://shared-close") as log:
        log.create_topic("orders", partitions=2)
        send(log, 20)

        def fail() -> None:
            with Log("memory://shared-close") as other:
                member(other, **QUIET).poll(timeout=0, max_records=5)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert sum(offsets(log).values()) == 0
        with Log("memory://shared-close") as other:
            member(other, **QUIET).poll(timeout=0, max_records=5)
        assert sum(offsets(log).values()) == 5


def test_who_closes_from_another_thread_may_interrupt_somebody(memory: Log) -> None:
    send(memory, 20)
    consumer = member(memory, **QUIET)
    next(iter(consumer))
    closer = threading.Thread(target=consumer.close)
    closer.start()
    closer.join()
    assert sum(offsets(memory).values()) == 0


def test_without_auto_commit_nothing_is_committed(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer("orders", group="g", auto_commit=False, auto_commit_interval=0.01) as consumer:
        consumer.poll(timeout=0)
        consumer.poll(timeout=0.05)
    assert offsets(memory) == {}


def test_partitions_are_committed_when_they_go(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer("orders", group="g", **QUIET) as one:
        one.poll(timeout=0, max_records=20)
        with memory.consumer("orders", group="g", **QUIET) as two:
            until(lambda: two.assignment, one, two)
            (number,) = numbers(two)
            assert offsets(memory) == {number: 10}
            assert two.position("orders", number) == 10


def test_a_rebalance_reaches_a_loop_after_the_record_in_hand(memory: Log) -> None:
    """A handler that takes a second for each of a thousand records must not hold up the others."""
    send(memory, 2000)
    one = member(memory, **QUIET)
    two = member(memory, **QUIET)
    seen = []
    for count, record in enumerate(one, 1):
        seen.append((record.partition, record.offset))
        if count == 10:
            two.poll(timeout=0)
        if count == 11:
            assert len(one.assignment) == 1
            break
    assert len(set(seen)) == 11
    while len(set(seen)) < 2000:
        seen += [(r.partition, r.offset) for r in drain(one, two)]
    assert one.assignment and two.assignment  # noqa: PT018


# --- committing by hand ---------------------------------------------------------------------------------


def test_commit_by_hand(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer("orders", group="g", auto_commit=False) as consumer:
        records = consumer.poll(timeout=0, max_records=4)
        consumer.commit()
        assert sum(offsets(memory).values()) == 4
        consumer.commit(records[0])
        assert consumer.committed("orders", records[0].partition) == (1, "", pytest.approx(0, abs=1e15))
        consumer.commit({("orders", 0): 7, ("orders", 1): (8, "note")}, metadata="else")
        assert [memory.groups["g"].offsets["orders", n][:2] for n in (0, 1)] == [(7, "else"), (8, "note")]
        consumer.commit_async({TopicPartition("orders", 0): 9}).result(timeout=10)
        assert offsets(memory) == {0: 9, 1: 8}
        assert consumer.committed("orders", 0).offset == 9
    assert offsets(memory) == {0: 9, 1: 8}


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (7, InvalidInputError),
        ({"orders": 1}, InvalidInputError),
        ({("orders", "0"): 1}, InvalidInputError),
        ({("orders", True): 1}, InvalidInputError),
        ({("orders", 0): -1}, InvalidInputError),
        ({("orders", 0): True}, InvalidInputError),
        ({("orders", 0): (1, 2)}, InvalidInputError),
        ({("orders", 0): (1, "x" * 5000)}, InvalidInputError),
        ({("orders", 0): 99}, OffsetOutOfRangeError),
        ({("orders", 9): 0}, PartitionNotFoundError),
        ({("nothing", 0): 0}, TopicNotFoundError),
    ],
)
def test_a_commit_that_makes_no_sense_is_refused(memory: Log, what: Any, error: type[Exception]) -> None:
    with memory.consumer("orders", group="g") as consumer:
        consumer.poll(timeout=0)
        with pytest.raises(error):
            consumer.commit(what)


def test_commits_need_a_group_and_a_member(memory: Log) -> None:
    with memory.consumer("orders") as alone:
        for call in (alone.commit, alone.commit_async, lambda: alone.committed("orders", 0)):
            with pytest.raises(InvalidInputError, match="group='name'"):
                call()
    with memory.consumer("orders", group="g") as consumer:
        with pytest.raises(StaleMemberError, match="poll first"):
            consumer.commit()
        assert consumer.committed("orders", 0) is None


def test_what_another_member_owns_cannot_be_committed(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer("orders", group="g") as one, memory.consumer("orders", group="g") as two:
        until(lambda: one.assignment and two.assignment, one, two)
        (theirs,) = numbers(two)
        before = offsets(memory)
        with pytest.raises(StaleMemberError, match=f"orders-{theirs}.* belong"):
            one.commit({("orders", theirs): 5})
        future = one.commit_async({("orders", theirs): 5})
        with pytest.raises(StaleMemberError):
            future.result(timeout=10)
        assert offsets(memory) == before


# --- fixed assignments ----------------------------------------------------------------------------------


def test_a_fixed_assignment_commits_without_joining(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer("orders", partitions=[1], group="g", auto_commit_interval=0.01) as consumer:
        consumer.poll(timeout=0)
        consumer.poll(timeout=0)
        assert (consumer.member_id, consumer.generation) == (None, None)
        until(lambda: "g" in memory.groups and offsets(memory) == {1: 10})
        assert memory.groups["g"].state == "empty"
    with memory.consumer(group="g") as later:
        later.assign([("orders", 1), ("orders", 0)])
        assert (later.position("orders", 1), later.position("orders", 0)) == (10, 0)
        later.commit()
    assert offsets(memory) == {0: 0, 1: 10}


def test_a_fixed_assignment_is_refused_while_there_are_members(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer("orders", group="g") as member:
        member.poll(timeout=0)
        fixed = memory.consumer("orders", partitions=[1], group="g", auto_commit_interval=0.01)
        with pytest.raises(GroupNotEmptyError, match="join with them"):
            fixed.commit({("orders", 1): 3})

        def told() -> bool:
            try:
                fixed.poll(timeout=0)
            except GroupNotEmptyError:
                return True
            return False

        until(told)
        with pytest.raises(GroupNotEmptyError):
            fixed.close()
        with pytest.raises(InvalidInputError, match="given its partitions by its group"):
            member.assign([("orders", 0)])


def test_a_delivery_callback_may_not_wait_for_a_group(memory: Log) -> None:
    refused = threading.Event()
    calls: list[Callable[[], object]] = []

    def call(_: object) -> None:
        for wait in calls:
            with pytest.raises(InvalidInputError, match="hand it to another thread"):
                wait()
        refused.set()

    with (
        memory.consumer("orders", group="g") as consumer,
        memory.consumer("orders", group="h") as fresh,
        memory.producer() as producer,
    ):
        stored = producer.send_many("orders", ["a", "b"], partition=0).result()
        assert stored.count == len(consumer.poll(timeout=30))
        calls.extend([consumer.commit, lambda: fresh.poll(timeout=0), consumer.close])
        producer.send("orders", "c", partition=0).add_done_callback(call)
        assert refused.wait(30)
        assert [record.value for record in fresh.poll(timeout=30)] == [b"a", b"b", b"c"]
        memory.create_topic("later")
    assert memory.groups["g"].offsets["orders", 0].offset == 2
