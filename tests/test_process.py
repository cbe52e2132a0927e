"""Consume, transform, produce: each record has its effect once, whatever fails in between."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import streamhouse
from streamhouse import Consumer, Output, Record
from streamhouse.errors import (
    DeliveryTimeoutError,
    InvalidInputError,
    OffsetOutOfRangeError,
    ProducerFencedError,
    StaleMemberError,
    TopicNotFoundError,
    TransactionError,
)
from streamhouse.format import names
from streamhouse.format.operations import LeaveGroup
from streamhouse.producer import Producer
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import FaultyStore

PARTITIONS = 3


@pytest.fixture
def log() -> Iterator[streamhouse.Log]:
    with streamhouse.Log("memory://") as log:
        prepare(log)
        yield log


def prepare(log: streamhouse.Log, count: int = 12) -> None:
    """Topics ``in`` with records "0", "1", ..., in turn to all partitions, and ``out``."""
    log.create_topic("in", partitions=PARTITIONS)
    log.create_topic("out", partitions=2)
    feed(log, range(count))


def feed(log: streamhouse.Log, numbers: range) -> None:
    with log.producer() as producer:
        for number in numbers:
            producer.send("in", str(number), str(number), partition=number % PARTITIONS, timestamp=number)


@contextmanager
def ready(
    log: streamhouse.Log, name: str = "p", **options: Any
) -> Iterator[tuple[Consumer[Any, str], Producer]]:
    """A member of group "g", and a producer with a name."""
    with (
        log.producer(transactional_id=name) as producer,
        log.consumer("in", group="g", value="str", **options) as consumer,
    ):
        yield consumer, producer


def run(log: streamhouse.Log, function: Callable[[Record[Any, str]], Any], **options: Any) -> int:
    """Once through what there is."""
    with ready(log) as (consumer, producer):
        return log.process(consumer, producer, function, until="end", **options)


def values(log: streamhouse.Log) -> list[str]:
    return [record.value for record in log.read("out", value="str")]


def committed(log: streamhouse.Log) -> dict[int, int]:
    return {place.partition: found.offset for place, found in log.groups["g"].offsets.items()}


def echo(record: Record[Any, str]) -> Output:
    return Output("out", record.value, record.key)


ALL = Counter(map(str, range(12)))
ENDS = dict.fromkeys(range(PARTITIONS), 4)


# --- what goes in and what comes out -----------------------------------------------------------------


def test_every_record_once_and_the_offsets_with_it(log: streamhouse.Log) -> None:
    assert run(log, echo) == 12
    assert Counter(values(log)) == ALL
    assert committed(log) == ENDS
    assert run(log, echo) == 0
    feed(log, range(12, 14))
    assert run(log, echo) == 2
    assert Counter(values(log)) == Counter(map(str, range(14)))


def test_what_a_function_may_return(log: streamhouse.Log) -> None:
    def every_way(record: Record[Any, str]) -> Any:
        number = int(record.value)
        one = Output("out", f"{number}", record.key, {"h": b"x"}, 1, 1000 + number)
        return {
            0: None,
            1: one,
            2: ("out", "2"),
            3: ("out", "3", "key"),
            4: [("out", "4a"), one],
            5: (each for each in (("out", "5a"), ("out", "5b"))),
            6: "6",
            7: {"json": 7},
            8: [],
            9: b"9",
            10: [["10", None], "10b"],
        }.get(number)

    assert run(log, every_way, topic="out") == 12
    found = {record.value: record for record in log.read("out", value="str")}
    assert sorted(found) == sorted(
        ["1", "2", "3", "4a", "4", "5a", "5b", "6", '{"json":7}', "9", "10", "10b"]
    )
    full = found["1"]
    assert (full.partition, full.key, full.headers, full.timestamp) == (1, b"1", (("h", b"x"),), 1001)
    assert (found["2"].key, found["3"].key, found["6"].key) == (None, b"key", b"6")
    assert {found[value].timestamp for value in ("2", "3")} == {2, 3}  # that of what it was made of
    assert committed(log) == ENDS


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (("out",), "a tuple of 1"),
        (("out", 1, 2, 3), "a tuple of 4"),
        ((b"out", "x"), "a tuple of 2"),
        ("bare", "where to send a str"),
        (7, "where to send a int"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_nothing_is_lost(
    log: streamhouse.Log, result: Any, said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        run(log, lambda _: result)
    assert values(log) == []
    assert "g" not in log.groups or committed(log) == {}
    assert run(log, echo) == 12


def test_a_topic_that_is_not_there(log: streamhouse.Log) -> None:
    with pytest.raises(TopicNotFoundError, match="did you mean 'out'"):
        run(log, lambda record: ("oud", record.value))
    assert run(log, echo) == 12


@pytest.mark.parametrize(
    "options",
    [{"until": "now"}, {"batch_seconds": 0}, {"batch_seconds": float("nan")}, {"batch_records": 0}],
)
def test_arguments_that_make_no_sense(log: streamhouse.Log, options: dict[str, Any]) -> None:
    with (
        ready(log) as (consumer, producer),
        pytest.raises(InvalidInputError, match=next(iter(options))),
    ):
        log.process(consumer, producer, echo, **options)


def test_it_needs_a_name_and_a_group(log: streamhouse.Log) -> None:
    with ready(log) as (consumer, producer):
        with log.producer() as unnamed, pytest.raises(TransactionError, match="transactional_id"):
            log.process(consumer, unnamed, echo)
        with log.consumer("in") as lonely, pytest.raises(TransactionError, match="group"):
            log.process(lonely, producer, echo)


def test_consumer_and_producer_are_of_this_log(log: streamhouse.Log) -> None:
    with streamhouse.Log("memory://") as other:
        other.create_topic("in")
        with (
            ready(log) as (consumer, producer),
            other.consumer("in", group="g") as their_consumer,
            other.producer(transactional_id="p") as their_producer,
        ):
            with pytest.raises(InvalidInputError, match="the consumer is of another log"):
                log.process(their_consumer, producer, echo)
            with pytest.raises(InvalidInputError, match="the producer is of another log"):
                log.process(consumer, their_producer, echo)


# --- how much at a time ------------------------------------------------------------------------------


def test_no_more_than_batch_records_in_a_transaction(log: streamhouse.Log) -> None:
    there: list[int] = []

    def look(record: Record[Any, str]) -> Output:
        there.append(len(values(log)))
        return echo(record)

    assert run(log, look, batch_records=5) == 12
    assert there == sorted(there)
    assert all(count <= 5 for count in Counter(there).values())
    assert len(set(there)) >= 3


def test_after_batch_seconds_what_is_done_is_committed(log: streamhouse.Log) -> None:
    there: list[int] = []

    def look(record: Record[Any, str]) -> Output:
        there.append(len(values(log)))
        return echo(record)

    assert run(log, look, batch_seconds=1e-9) == 12
    assert there == list(range(12))


def test_until_the_end_means_that_of_the_beginning(log: streamhouse.Log) -> None:
    def feed_itself(record: Record[Any, str]) -> Output:
        feed(log, range(100, 101))
        return echo(record)

    done = run(log, feed_itself, batch_records=1)
    assert 12 <= done < 30
    assert Counter(values(log)) >= ALL


def test_stopping_between_transactions_loses_nothing(log: streamhouse.Log) -> None:
    stop = threading.Event()

    def stop_soon(record: Record[Any, str]) -> Output:
        stop.set()
        return echo(record)

    with ready(log) as (consumer, producer):
        assert log.process(consumer, producer, stop_soon, batch_records=5, batch_seconds=1e-9, stop=stop) == 1
        assert len(values(log)) == 1
        assert log.process(consumer, producer, echo, stop=stop) == 0
        stop.clear()
        assert log.process(consumer, producer, echo, until="end") == 11
    assert Counter(values(log)) == ALL


def test_a_stop_is_noticed_while_nothing_comes(log: streamhouse.Log) -> None:
    stop = threading.Event()
    with ready(log) as (consumer, producer):
        timer = threading.Timer(0.3, stop.set)
        timer.start()
        assert log.process(consumer, producer, echo, stop=stop) == 12
        timer.join()


# --- failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_the_function_undoes_the_transaction(
    log: streamhouse.Log, error: type[BaseException]
) -> None:
    calls = 0

    def fail_at_times(record: Record[Any, str]) -> Iterator[Output]:
        nonlocal calls
        calls += 1
        yield echo(record)
        if calls % 5 == 4:
            raise error

    with ready(log) as (consumer, producer):
        failures, done = 0, 0
        while done < 12:
            try:
                log.process(consumer, producer, fail_at_times, until="end", batch_records=3)
            except error:
                failures += 1
            done = len(values(log))
    assert failures > 1
    assert calls > 12
    assert Counter(values(log)) == ALL
    assert committed(log) == ENDS


def test_the_consumer_commits_nothing_by_itself(log: streamhouse.Log) -> None:
    def fail(record: Record[Any, str]) -> Output:
        raise ZeroDivisionError

    with ready(log, auto_commit_interval=0.01) as (consumer, producer):
        with pytest.raises(ZeroDivisionError):
            log.process(consumer, producer, fail)
        consumer.poll()
    assert committed(log) == {}


def test_partitions_that_go_in_between_are_left_to_their_new_owner(log: streamhouse.Log) -> None:
    thrown_out: list[str] = []

    with ready(log) as (consumer, producer):

        def lose_membership(record: Record[Any, str]) -> Output:
            assert consumer.member_id is not None
            if len(thrown_out) < 3 and consumer.member_id not in thrown_out:
                thrown_out.append(consumer.member_id)
                log._commits.propose(LeaveGroup("g", consumer.member_id))
            return echo(record)

        assert log.process(consumer, producer, lose_membership, until="end", batch_records=5) == 12
    assert len(thrown_out) == 3
    assert Counter(values(log)) == ALL
    assert committed(log) == ENDS


def test_a_fixed_assignment_that_others_do_not_bear(log: streamhouse.Log) -> None:
    with (
        ready(log, partitions=range(PARTITIONS)) as (consumer, producer),
        log.consumer("in", group="g") as member,
    ):
        assert member.poll()
        with pytest.raises(StaleMemberError):
            log.process(consumer, producer, echo, until="end")
        assert values(log) == []
        member.close(finished=False)
        assert log.process(consumer, producer, echo, until="end") == 12
    assert Counter(values(log)) == ALL


def test_members_share_the_work(tmp_path: Path) -> None:
    """Some come later, and some go again, while the others are at it."""
    url, total = str(tmp_path / "log"), 600
    with streamhouse.Log(url, durability="os") as log:
        prepare(log, total)
        stop = threading.Event()
        counts: list[int] = []

        def work(number: int, most: int) -> None:
            done = 0

            def some(record: Record[Any, str]) -> Output:
                nonlocal done
                done += 1
                if done == most:
                    leaves.set()
                return echo(record)

            leaves = stop if most == 0 else threading.Event()
            with streamhouse.Log(url, durability="os") as mine, ready(mine, f"p{number}") as handles:
                counts.append(mine.process(*handles, some, batch_records=7, stop=leaves))

        threads = [threading.Thread(target=work, args=(n, 40 if n < 3 else 0)) for n in range(5)]
        for thread in threads:
            thread.start()
        while len(values(log)) < total:
            threads[-1].join(0.05)
        stop.set()
        for thread in threads:
            thread.join()
        assert Counter(values(log)) == Counter(map(str, range(total)))
        assert sum(counts) == total
        per_key: dict[int, list[int]] = {}
        for record in log.read("in", value="str"):
            per_key.setdefault(record.partition, []).append(int(record.value))
        assert committed(log) == dict.fromkeys(range(PARTITIONS), total // PARTITIONS)


def test_who_was_replaced_stops_and_nothing_is_doubled(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path / "log") as log, streamhouse.Log(tmp_path / "log") as other:
        prepare(log)
        fixed = {"partitions": range(PARTITIONS)}
        with ready(log, "p", **fixed) as (consumer, producer):

            def hand_over(record: Record[Any, str]) -> Output:
                if record.value == "0":  # we stand still; somebody takes our place meanwhile
                    with ready(other, "p", **fixed) as successor:
                        assert other.process(*successor, echo, until="end") == 12
                return echo(record)

            with pytest.raises(ProducerFencedError, match="'p'"):
                log.process(consumer, producer, hand_over, until="end")
        assert Counter(values(other)) == ALL


def test_calling_it_again_after_an_unknown_outcome_is_safe() -> None:
    store = FaultyStore(MemoryStore(SystemRuntime()))
    with streamhouse.Log(store, delivery_timeout_seconds=0.2) as log:
        prepare(log)
        with ready(log) as (consumer, producer):
            cuts = unknown = 0

            def cut_off(record: Record[Any, str]) -> Output:
                nonlocal cuts
                if cuts < 3 and len(values(log)) >= 4 * cuts:
                    cuts += 1
                    store.script("put_if_absent", "unavailable", prefix=names.LOG, times=None)
                return echo(record)

            while cuts < 3 or sum(committed(log).values()) < 12:
                try:
                    log.process(consumer, producer, cut_off, until="end", batch_records=4)
                except DeliveryTimeoutError:
                    unknown += 1
                    store._script.clear()
        assert cuts == 3
        assert unknown >= 3
        assert Counter(values(log)) == ALL
        assert committed(log) == ENDS


def test_a_place_that_was_removed_is_for_the_reset_policy(log: streamhouse.Log) -> None:
    assert run(log, echo) == 12
    feed(log, range(12, 24))
    log.delete_records("in", {0: 6})
    with (
        ready(log, reset="error") as (consumer, producer),
        pytest.raises(OffsetOutOfRangeError, match="4 is out of range"),
    ):
        log.process(consumer, producer, echo)
    run(log, echo)
    assert committed(log) == dict.fromkeys(range(PARTITIONS), 8)
    assert Counter(values(log)) == Counter(map(str, range(24))) - Counter(["12", "15"])


@pytest.mark.parametrize("reset", ["earliest", "error"])
def test_what_was_removed_during_a_transaction_that_failed(log: streamhouse.Log, reset: Any) -> None:
    """It was handed out before; what lies between the new start and there must not be passed over."""

    def remove(record: Record[Any, str]) -> Output:
        log.delete_records("in", {0: 2})
        raise ZeroDivisionError

    with ready(log, reset=reset) as (consumer, producer):
        with pytest.raises(ZeroDivisionError):
            log.process(consumer, producer, remove)
        if reset == "error":
            with pytest.raises(OffsetOutOfRangeError):
                log.process(consumer, producer, echo, until="end")
            assert values(log) == []
        else:
            assert log.process(consumer, producer, echo, until="end") == 10
            assert Counter(values(log)) == ALL - Counter("03")


def test_what_was_polled_before_is_processed_as_well(log: streamhouse.Log) -> None:
    with ready(log) as (consumer, producer):
        assert consumer.poll(max_records=5)
        assert log.process(consumer, producer, echo, until="end") == 12
        feed(log, range(12, 15))
        assert consumer.poll(max_records=5)
        assert log.process(consumer, producer, echo, until="end") == 3
    assert Counter(values(log)) == Counter(map(str, range(15)))


def test_a_place_that_was_sought_before_anything_was_committed(log: streamhouse.Log) -> None:
    fails = True

    def fail_once(record: Record[Any, str]) -> Output:
        nonlocal fails
        if fails:
            fails = False
            raise ZeroDivisionError
        return echo(record)

    with ready(log) as (consumer, producer):
        consumer.poll(max_records=1)
        for partition in range(PARTITIONS):
            consumer.seek("in", partition, 3)
        with pytest.raises(ZeroDivisionError):
            log.process(consumer, producer, fail_once)
        assert log.process(consumer, producer, fail_once, until="end") == 3
    assert Counter(values(log)) == Counter(["9", "10", "11"])


def test_who_comes_later_begins_where_the_first_did(log: streamhouse.Log) -> None:
    with ready(log, start="latest") as (consumer, producer):
        assert log.process(consumer, producer, echo, until="end") == 0
    assert committed(log) == ENDS
    feed(log, range(12, 15))
    with ready(log, start="latest") as (consumer, producer):
        assert log.process(consumer, producer, echo, until="end") == 3
