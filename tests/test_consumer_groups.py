"""Consumers that share the partitions of topics: what each gets, and what is committed of it."""

from __future__ import annotations

import gc
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

from streamhouse import Consumer, Log, TopicPartition
from streamhouse.errors import (
    ClosedError,
    GroupNotEmptyError,
    InconsistentAssignorError,
    InvalidInputError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    StaleMemberError,
    TopicNotFoundError,
)

QUIET = {"auto_commit_interval": 3600.0}


@pytest.fixture(params=["memory", "directory"])
def log(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Log]:
    place = "memory://" if request.param == "memory" else str(tmp_path / "log")
    with Log(place, durability="os") as log:
        log.create_topic("orders", partitions=6)
        yield log


@pytest.fixture
def memory() -> Iterator[Log]:
    with Log("memory://") as log:
        log.create_topic("orders", partitions=2)
        yield log


KEPT: list[Consumer[Any, Any]] = []


@pytest.fixture(autouse=True)
def keep() -> Iterator[None]:
    """The log closes the consumers; until then nobody shall miss the close."""
    yield
    KEPT.clear()


def member(log: Log, **options: Any) -> Consumer[Any, Any]:
    """A member of group "g" that is closed with the log."""
    KEPT.append(log.consumer("orders", group="g", **options))
    return KEPT[-1]


def send(log: Log, count: int, topic: str = "orders", first: int = 0) -> None:
    """Values ``first`` to ``first + count - 1``, in turn to all partitions."""
    partitions = len(log.topic(topic).partitions)
    with log.producer() as producer:
        for number in range(first, first + count):
            producer.send(topic, str(number), partition=number % partitions)


def drain(*consumers: Consumer[Any, Any], quiet: int = 3) -> list[Any]:
    """Everything that comes, until nothing came some times in a row."""
    records: list[Any] = []
    silent = 0
    while silent < quiet:
        taken = [record for consumer in consumers for record in consumer.poll(timeout=0)]
        records += taken
        silent = 0 if taken else silent + 1
    return records


def until(condition: Callable[[], Any], *consumers: Consumer[Any, Any]) -> None:
    """Poll until something is so."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "never came true"
        for consumer in consumers:
            consumer.poll(timeout=0)
        time.sleep(0.005)


def numbers(consumer: Consumer[Any, Any]) -> set[int]:
    return {partition for _, partition in consumer.assignment}


def offsets(log: Log, group: str = "g") -> dict[int, int]:
    """Committed offsets by partition of the topic "orders"."""
    return {place.partition: found.offset for place, found in log.groups[group].offsets.items()}


class Callbacks:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, set[int]]] = []

    @property
    def options(self) -> dict[str, Any]:
        return {f"on_{what}": self._note(what) for what in ("assign", "revoke", "lost")}

    def _note(self, what: str) -> Callable[[list[TopicPartition]], None]:
        def note(partitions: list[TopicPartition]) -> None:
            assert all(isinstance(each, TopicPartition) for each in partitions)
            self.told.append((what, {each.partition for each in partitions}))

        return note


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
        assert [what for what, _ in told.told] == ["assign", "lost", "assign"]


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


# --- where it starts ------------------------------------------------------------------------------------


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


# --- those that are none any more -----------------------------------------------------------------------


def expel(log: Log, consumer: Consumer[Any, Any]) -> None:
    """What others do with a member that they find dead."""
    from streamhouse.format.commit import LeaveGroup

    log._commits.propose(LeaveGroup("g", consumer.member_id or ""))


def test_who_was_made_long_before_it_joined_notices_the_dead(memory: Log) -> None:
    with Log(memory._store) as other:
        mine = member(memory, session_timeout=0.5)
        time.sleep(0.2)  # the background has looked for somebody to watch, and found nobody
        theirs = other.consumer("orders", group="g", session_timeout=0.5)
        until(lambda: len(numbers(mine)) == len(numbers(theirs)) == 1, mine, theirs)
        other._agent.close()  # its heartbeat ends
        until(lambda: len(numbers(mine)) == 2, mine)


def test_a_member_that_was_thrown_out_is_told_and_joins_anew(memory: Log) -> None:
    told = Callbacks()
    send(memory, 20)
    with memory.consumer("orders", group="g", **QUIET, **told.options) as consumer:
        records = consumer.poll(timeout=0, max_records=6)
        before = consumer.member_id
        expel(memory, consumer)
        for what in (None, records[0], {("orders", 0): 3}):
            with pytest.raises(StaleMemberError, match=r"no member of group 'g'.* Polling joins anew"):
                consumer.commit(what)
        assert offsets(memory) == {}
        again = consumer.poll(timeout=0, max_records=6)
        assert [r.offset for r in again] == [r.offset for r in records]  # nothing had been committed
        assert consumer.member_id != before
        assert told.told == [("assign", {0, 1}), ("lost", {0, 1}), ("assign", {0, 1})]
        consumer.commit()


def test_a_loop_goes_on_after_being_thrown_out(memory: Log) -> None:
    send(memory, 6)
    seen = []
    for record in member(memory, **QUIET):
        seen.append((record.partition, record.offset))
        if len(seen) == 2:
            expel_all(memory)
        if len(seen) == 8:
            break
    assert len(seen) == 8
    assert len(set(seen)) == 6


def expel_all(log: Log) -> None:
    from streamhouse.format.commit import LeaveGroup

    for member in log.groups["g"].members:
        log._commits.propose(LeaveGroup("g", member.id))


def test_closing_as_no_member_is_no_error(memory: Log) -> None:
    told = Callbacks()
    send(memory, 20)
    consumer = member(memory, **QUIET, **told.options)
    consumer.poll(timeout=0)
    expel(memory, consumer)
    consumer.close()
    assert told.told == [("assign", {0, 1}), ("lost", {0, 1})]
    assert offsets(memory) == {}


def test_who_hangs_is_taken_out_and_comes_back(memory: Log) -> None:
    told = Callbacks()
    send(memory, 20)
    hung = member(memory, max_poll_interval=0.05, **QUIET, **told.options)
    hung.poll(timeout=0, max_records=4)
    until(lambda: not memory.groups["g"].members)
    with pytest.raises(StaleMemberError, match="did not poll for"):
        hung.commit()
    assert len(hung.poll(timeout=0)) == 20
    assert told.told == [("assign", {0, 1}), ("lost", {0, 1}), ("assign", {0, 1})]
    hung.commit()
    hung.close()


def test_a_loop_that_makes_progress_does_not_hang(memory: Log) -> None:
    send(memory, 30)
    consumer = member(memory, max_poll_interval=0.3)
    for _ in islice(consumer, 25):
        time.sleep(0.03)
    assert len(memory.groups["g"].members) == 1
    assert memory.groups["g"].generation == 1
    consumer.close()


def test_waiting_in_a_poll_is_not_hanging(memory: Log) -> None:
    with memory.consumer("orders", group="g", max_poll_interval=0.05) as consumer:
        consumer.poll(timeout=0.3)
        assert memory.groups["g"].generation == 1


# --- static members -------------------------------------------------------------------------------------


def test_a_static_member_comes_back_without_a_rebalance(memory: Log) -> None:
    send(memory, 20)
    other = member(memory, instance_id="b")
    one = member(memory, instance_id="a", **QUIET)
    until(lambda: one.assignment and other.assignment, one, other)
    (mine,) = numbers(one)
    drain(one)
    generation = memory.groups["g"].generation
    one.close()
    assert len(memory.groups["g"].members) == 2
    again = member(memory, instance_id="a")
    again.poll(timeout=0)
    assert numbers(again) == {mine}
    assert again.position("orders", mine) == 10
    assert memory.groups["g"].generation == generation
    assert {member.instance for member in memory.groups["g"].members} == {"a", "b"}


def test_the_older_incarnation_is_shut_out(memory: Log) -> None:
    told = Callbacks()
    send(memory, 20)
    old = member(memory, instance_id="a", **QUIET, **told.options)
    old.poll(timeout=0, max_records=5)
    new = member(memory, instance_id="a", **QUIET)
    assert len(new.poll(timeout=0)) == 20
    with pytest.raises(StaleMemberError, match="took over as instance 'a'"):
        old.commit()
    for _ in range(3):
        with pytest.raises(StaleMemberError, match="instance 'a' and took over"):
            old.poll(timeout=0)
    assert told.told == [("assign", {0, 1}), ("lost", {0, 1})]
    old.close()
    new.commit()
    assert offsets(memory) == {0: 10, 1: 10}


def test_a_static_member_that_does_not_return_is_taken_out(memory: Log) -> None:
    with memory.consumer("orders", group="g") as other:
        one = member(memory, instance_id="a", session_timeout=0.5)
        until(lambda: one.assignment and other.assignment, one, other)
        one.close()
        until(lambda: len(other.assignment) == 2, other)


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


# --- callbacks ------------------------------------------------------------------------------------------


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


# --- arguments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"group": ""},
        {"group": "x" * 256},
        {"group": 7},
        {"group": "\ud800"},
        {"group": "g", "assignor": "stickie"},
        {"group": "g", "session_timeout": 0.1},
        {"group": "g", "session_timeout": "30"},
        {"group": "g", "session_timeout": float("nan")},
        {"group": "g", "auto_commit_interval": 0},
        {"group": "g", "auto_commit": 1},
        {"group": "g", "max_poll_interval": 0},
        {"group": "g", "instance_id": ""},
        {"group": "g", "on_assign": "print"},
        {"group": "g", "reset": "newest"},
        {"on_assign": print},
        {"auto_commit": False},
        {"instance_id": "a"},
        {"assignor": "range"},
    ],
)
def test_arguments_that_make_no_sense_are_refused(memory: Log, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        memory.consumer("orders", **options)
    assert list(options)[-1] in str(caught.value)


def test_a_pattern_needs_a_group(memory: Log) -> None:
    with pytest.raises(InvalidInputError, match="needs a group"):
        memory.consumer(re.compile("x"))
    with pytest.raises(InvalidInputError, match="of text"):
        memory.consumer(re.compile(b"x"), group="g")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="name or a compiled pattern"):
        memory.consumer(7, group="g")  # type: ignore[arg-type]
    with pytest.raises(TopicNotFoundError):
        memory.consumer("missing", group="g")


@pytest.mark.parametrize("name", ["x" * 255, "ünï/cödé ../..", " "])
def test_a_group_may_have_any_name(memory: Log, name: str) -> None:
    with memory.consumer("orders", group=name) as consumer:
        consumer.poll(timeout=0)
        assert list(memory.groups) == [name]


# --- the end --------------------------------------------------------------------------------------------


def test_closing_wakes_a_poll_and_leaves(memory: Log) -> None:
    consumer = member(memory)
    timer = threading.Timer(0.05, consumer.close)
    timer.start()
    with pytest.raises(ClosedError):
        consumer.poll(timeout=None)
    timer.join()
    assert memory.groups["g"].state == "empty"
    for call in (consumer.commit, consumer.commit_async, lambda: consumer.committed("orders", 0)):
        with pytest.raises(ClosedError):
            call()


def test_no_thread_is_left_behind() -> None:
    before = set(threading.enumerate())
    with Log("memory://") as log:
        log.create_topic("orders")
        member(log).poll(timeout=0)
        names = {thread.name for thread in threading.enumerate()}
        assert {"streamhouse-heartbeat", "streamhouse-groups"} <= names
    assert set(threading.enumerate()) <= before


def test_a_forgotten_consumer_warns_and_its_membership_ends(memory: Log) -> None:
    consumer = memory.consumer("orders", group="g")
    consumer.poll(timeout=0)
    with pytest.warns(ResourceWarning, match="group 'g', 2 partitions.* was never closed"):  # noqa: PT031
        del consumer
        gc.collect()
    until(lambda: memory.groups["g"].state == "empty")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
