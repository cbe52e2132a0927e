"""Those that are members no more, those that come back, and the end."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from itertools import islice
from typing import Any

import pytest

from streamhouse import Log
from streamhouse.errors import ClosedError, DeliveryTimeoutError, StaleMemberError
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import FaultyStore
from tests.groups.members import (
    QUIET,
    Callbacks,
    drain,
    expel,
    expel_all,
    member,
    numbers,
    offsets,
    send,
    until,
)

# --- those that are none any more -----------------------------------------------------------------------


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


def test_who_is_slow_without_max_poll_interval_stays(memory: Log) -> None:
    """Others watch its heartbeat, which goes on; several sessions long."""
    with Log(memory._store) as elsewhere:
        slow = member(memory, session_timeout=1.0)
        other = member(elsewhere, session_timeout=1.0)
        until(lambda: slow.assignment and other.assignment, slow, other)
        generation = memory.groups["g"].generation
        time.sleep(2.2)
        slow.commit()
        assert memory.groups["g"].generation == generation


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


def test_a_name_is_not_taken_back_by_who_joined_in_doubt(memory: Log) -> None:
    """Its first attempt to join was without an answer, and went through all the same."""
    store = FaultyStore(memory._store)
    with Log(store, delivery_timeout_seconds=0.2) as doubtful:
        old = member(doubtful, instance_id="a")
        store.script("put_if_absent", "unavailable", prefix="log/", times=4)
        with pytest.raises(DeliveryTimeoutError):
            old.poll(timeout=0)
        until(lambda: "g" in memory.groups and memory.groups["g"].members)
        old.poll(timeout=0)
        new = member(memory, instance_id="a")
        new.poll(timeout=0)
        with pytest.raises(StaleMemberError, match="took over"):
            until(lambda: False, old)
        with pytest.raises(StaleMemberError, match="took over"):
            old.poll(timeout=0)
        new.commit()
        old.close()


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


def test_a_store_that_is_away_holds_up_closing_once_not_per_consumer() -> None:
    store = FaultyStore(MemoryStore(SystemRuntime()))
    log = Log(store, delivery_timeout_seconds=30)
    log.create_topic("orders", partitions=2)
    consumers = [member(log) for _ in range(12)]
    for consumer in consumers:
        consumer.poll(timeout=0)
    store.script("put_if_absent", "unavailable", prefix="log/", times=None)
    began = time.monotonic()
    with pytest.raises(DeliveryTimeoutError):
        log.close(timeout=0.8)
    assert time.monotonic() - began < 8  # not 0.8 s for each, and then for the log


def test_two_groups_commit_for_themselves(memory: Log) -> None:
    send(memory, 20)
    with memory.consumer("orders", group="g") as one, memory.consumer("orders", group="h") as two:
        one.poll(timeout=0, max_records=4)
        two.poll(timeout=0)
        one.commit()
        two.commit()
        assert sum(offsets(memory, "g").values()) == 4
        assert sum(offsets(memory, "h").values()) == 20
        expel(memory, one)
        assert len(memory.groups["h"].members) == 1
        two.commit()


@pytest.mark.parametrize("operation", ["put", "get"])
def test_a_heartbeat_that_hangs_in_the_store_holds_up_nobody_here(operation: Any) -> None:
    """Neither joining nor work nor closing waits for it; only others may take the process for dead."""
    stuck = threading.Event()
    store = FaultyStore(MemoryStore(SystemRuntime()), sleep=lambda _seconds: stuck.wait(30) and None)
    with Log(store) as log, Log(store) as elsewhere:
        log.create_topic("orders", partitions=2)
        send(log, 20)
        store.script(operation, "delay", prefix="hb/", times=None)
        one, two = member(log), member(elsewhere)
        until(lambda: one.assignment and two.assignment, one, two)
        one.commit()
        one.close()
        two.close()
        assert log.groups["g"].members == ()
    stuck.set()
