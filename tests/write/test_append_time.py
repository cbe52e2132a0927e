"""Topics that give records the time at which they are stored, whatever their senders say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import polars as pl
import pytest

import streamhouse
from streamhouse.testing.clock import ManualRuntime

LONG_AGO = dt.datetime(1999, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def clock() -> ManualRuntime:
    return ManualRuntime()


@pytest.fixture
def log(clock: ManualRuntime) -> Iterator[streamhouse.Log]:
    with streamhouse.Log("memory://", runtime=clock) as log:
        log.create_topic("stored", partitions=2, timestamp_type="append")
        yield log


def stamps(log: streamhouse.Log, topic: str = "stored") -> list[int]:
    return [record.timestamp for record in log.read(topic)]


def test_single_records_get_the_time_of_storing(log: streamhouse.Log, clock: ManualRuntime) -> None:
    with log.producer() as producer:
        first = producer.send("stored", "a", timestamp=LONG_AGO)
        second = producer.send("stored", "b", partition=0, timestamp=7)
        third = producer.send("stored", "c", headers={"h": "x"})
        clock.advance(60)
        results = [each.result() for each in (first, second, third)]
    assert stamps(log) == [clock.time_ms()] * 3
    assert [result.timestamp for result in results] == [clock.time_ms()] * 3


@pytest.mark.parametrize("partition", [None, 1])
@pytest.mark.parametrize("given", [None, 5, [1, 2, 3]])
def test_many_records_get_the_time_of_storing(
    log: streamhouse.Log, clock: ManualRuntime, partition: int | None, given: object
) -> None:
    with log.producer() as producer:
        producer.send_many("stored", ["a", "b", "c"], partition=partition, timestamps=given).result()
    assert stamps(log) == [clock.time_ms()] * 3


def test_a_transaction_gets_the_time_at_which_its_records_are_encoded(
    log: streamhouse.Log, clock: ManualRuntime
) -> None:
    log.create_topic("sent")
    with log.producer() as producer, producer.transaction() as transaction:
        began = clock.time_ms()
        single = transaction.send("stored", "a", timestamp=LONG_AGO)
        transaction.send("sent", "a", timestamp=LONG_AGO)
        clock.advance(60)
        transaction.send_many("stored", ["b", "c"], timestamps=[1, 2])
    assert set(stamps(log)) == {began + 60_000}
    assert single.result().timestamp == began + 60_000
    assert stamps(log, "sent") == [LONG_AGO.timestamp() * 1000]


def test_frames_get_the_time_of_storing(log: streamhouse.Log, clock: ManualRuntime) -> None:
    log.create_topic("trades", schema={"amount": "BIGINT"}, timestamp_type="append")
    frame = pl.DataFrame({"amount": [1, 2], "at": [LONG_AGO, LONG_AGO]})
    with log.producer() as producer:
        producer.send_many("trades", frame, timestamps="at").result()
        with producer.transaction() as transaction:
            transaction.send_many("trades", frame.drop("at"), timestamps=3)
    assert stamps(log, "trades") == [clock.time_ms()] * 4


def test_dead_letters_have_the_time_of_their_own_topic(log: streamhouse.Log, clock: ManualRuntime) -> None:
    log.create_topic("typed", schema={"amount": "BIGINT"}, dead_letter="stored")
    with log.producer() as producer:
        producer.send("typed", {"amount": "no number"}, timestamp=1).result()
        producer.send_many("typed", [{"amount": "none"}, {"amount": 1}], timestamps=[2, 3]).result()
        with producer.transaction() as transaction:
            transaction.send("typed", {"amount": []}, timestamp=4)
            transaction.send_many("typed", [{"amount": {}}], timestamps=[5])
    assert stamps(log, "typed") == [3]
    assert stamps(log) == [clock.time_ms()] * 4


def test_the_setting_can_be_altered(log: streamhouse.Log, clock: ManualRuntime) -> None:
    with log.producer() as producer:
        producer.send("stored", "a", timestamp=1).result()
        log.alter_topic("stored", timestamp_type=None)
        producer.send("stored", "b", timestamp=2).result()
        log.alter_topic("stored", timestamp_type="append")
        producer.send("stored", "c", timestamp=3).result()
    assert sorted(stamps(log)) == [2, clock.time_ms(), clock.time_ms()]
