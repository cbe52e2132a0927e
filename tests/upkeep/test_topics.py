"""Topics change: more partitions, other settings, fewer records; names stay."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

import streamhouse
from streamhouse.config import TopicSettings, make_topic_settings
from streamhouse.errors import (
    InvalidPartitionCountError,
    InvalidPositionError,
    InvalidSettingError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    TopicNotFoundError,
)
from streamhouse.testing.clock import ManualRuntime
from tests.upkeep.conftest import Opener
from tests.upkeep.helpers import rows, write


def test_settings_are_altered_one_by_one(log: streamhouse.Log) -> None:
    topic = log.create_topic("t", retention_ms=1000, cleanup_policy="compact,delete")
    assert topic.settings == TopicSettings(retention_ms=1000, cleanup_policy="compact,delete")
    altered = log.alter_topic("t", retention_bytes=5, cleanup_policy="delete")
    assert altered.settings == TopicSettings(retention_ms=1000, retention_bytes=5)
    assert topic.settings == altered.settings  # it is asked for
    assert topic.alter(retention_ms=None).settings == TopicSettings(retention_bytes=5)
    assert log.alter_topic("t", delete_retention_ms=7).alter(delete_retention_ms=None).settings == (
        TopicSettings(retention_bytes=5)
    )


def test_what_somebody_else_altered_meanwhile_stays(open_log: Opener) -> None:
    """The other log has not heard of it when it makes its change."""
    log, other = open_log(), open_log()
    info = log._catalog.topic(log.create_topic("t").name)
    topic = other.topic("t")
    seen = []

    def change(settings: TopicSettings) -> TopicSettings:
        seen.append(settings.retention_ms)
        if settings.retention_ms is None:
            topic.alter(retention_ms=5)
        return make_topic_settings({"retention_bytes": 6}, settings)

    altered = log._catalog.alter_topic(info, None, change)
    assert altered.settings == TopicSettings(retention_ms=5, retention_bytes=6)
    assert seen == [None, 5]


def test_settings_last(open_log: Opener) -> None:
    log = open_log()
    log.create_topic("t").alter(partitions=3, retention_ms=5)
    log._commits.save_snapshot()
    log.close()
    topic = open_log().topic("t")
    assert (len(topic.partitions), topic.settings.retention_ms) == (3, 5)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"partitions": 2}, InvalidPartitionCountError, "3 partitions, 2 are fewer"),
        ({"partitions": 0}, InvalidPartitionCountError, "1 to"),
        ({"partitions": "4"}, InvalidPartitionCountError, "whole number"),
        ({"retention": 5}, InvalidSettingError, "retention_ms"),
        ({"retention_ms": -1}, InvalidSettingError, "from 0 to 4,611,686,018,427,387,903, not -1"),
        ({"retention_ms": 2**63 - 1}, InvalidSettingError, "from 0 to 4,611,686,018,427,387,903, not 9"),
        ({"cleanup_policy": "\ud800"}, InvalidSettingError, "invalid topic setting: .*surrogates"),
        ({"timestamp_type": "\ud800"}, InvalidSettingError, "invalid topic setting: .*surrogates"),
        ({"timestamp_type": "sent"}, InvalidSettingError, "sent"),
        ({"kafka_configs": ()}, InvalidSettingError, "kafka_configs"),
        ({"cleanup_policy": "shred"}, InvalidSettingError, "shred"),
        ({"rename": "u"}, InvalidSettingError, "cannot be renamed"),
        ({"new_name": "u"}, InvalidSettingError, "cannot be renamed"),
    ],
)
def test_what_cannot_be_is_refused(
    log: streamhouse.Log, change: dict[str, object], error: type[Exception], said: str
) -> None:
    topic = log.create_topic("t", partitions=3)
    with pytest.raises(error, match=said):
        log.alter_topic("t", **change)
    with pytest.raises(error, match=said):
        topic.alter(**change)
    assert (len(log.topic("t").partitions), log.topic("t").settings) == (3, TopicSettings())


@pytest.mark.parametrize("name", [1, None, b"1", ["1"]])
def test_what_is_no_text_names_no_topic(log: streamhouse.Log, name: Any) -> None:
    log.create_topic("1")
    assert name not in log.topics
    for ask in (log.topic, log.topics.__getitem__, log.delete_topic, log.read):
        with pytest.raises(TopicNotFoundError, match="no topic"):
            ask(name)


def test_a_topic_that_was_made_anew_is_another(log: streamhouse.Log) -> None:
    old = log.create_topic("t")
    write(log, [b"1"])
    consumer = log.consumer("t")
    log.delete_topic("t")
    new = log.create_topic("t")
    assert new.id != old.id
    with consumer, pytest.raises(TopicNotFoundError):
        consumer.poll(timeout=0)
    with pytest.raises(TopicNotFoundError):
        old.alter(partitions=2)
    write(log, [b"2"])
    assert rows(log) == [(0, None, b"2")]


def test_a_producer_is_told_of_a_topic_that_was_made_anew(open_log: Opener) -> None:
    """Its records were meant for the old one. They are not written to the new one behind its back."""
    log, admin = open_log(), open_log()
    log.create_topic("t")
    with log.producer() as producer, log.consumer("t") as consumer:
        producer.send("t", b"old").result(10)
        handle = log.topic("t")
        admin.delete_topic("t")
        admin.create_topic("t")
        with pytest.raises(TopicNotFoundError, match=r"'t' was deleted.*send the records again"):
            producer.send("t", b"lost").result(10)
        assert producer.send("t", b"new").result(10).offset == 0
        with pytest.raises(TopicNotFoundError, match=r"'t' was deleted.*a new consumer reads that one"):
            consumer.poll(timeout=0)
        with pytest.raises(TopicNotFoundError, match=r"'t' was deleted.*log.topic\(\) gives that one"):
            handle.partitions[0].info()
        with pytest.raises(TopicNotFoundError, match=r"'t' was deleted"):
            handle.alter(partitions=2)
    assert rows(log) == [(0, None, b"new")]


def test_a_producer_learns_of_more_partitions(open_log: Opener) -> None:
    log, admin = open_log(), open_log()
    log.create_topic("t")
    with log.producer() as producer:
        assert producer.send("t", b"x", key=b"k").result(10).partition == 0
        with pytest.raises(PartitionNotFoundError):
            producer.send("t", b"x", partition=3)
        admin.alter_topic("t", partitions=50)
        log.topic("t")  # whatever lets the log read on; committing does
        assert producer.send("t", b"x", partition=3).result(10).partition == 3
        keys = [b"%d" % n for n in range(1000)]
        assert len(producer.send_many("t", [b"x"] * 1000, keys=keys).result(10).partitions) == 50
        sent = [producer.send("t", b"x", key=key) for key in keys[:100]]
        assert len({each.result(10).partition for each in sent}) > 30
    assert len(list(log.read("t"))) == 1102


def test_records_before_an_offset_are_deleted(log: streamhouse.Log) -> None:
    log.create_topic("t", partitions=3)
    for number in range(2):
        write(log, [b"%d" % n for n in range(10)], partition=number, at_once=4)
    assert log.delete_records("t", {0: 5, 1: 10, 2: 0}) == {0: 5, 1: 10, 2: 0}
    assert [r.offset for r in log.read("t", partitions=[0])] == [5, 6, 7, 8, 9]
    assert [r.offset for r in log.read("t", partitions=[1, 2])] == []
    assert log.delete_records("t", {0: 2}) == {0: 5}  # never back
    with pytest.raises(OffsetOutOfRangeError, match="4"):
        log.read("t", start=4, partitions=[0])
    write(log, [b"x"], partition=1)
    assert [r.offset for r in log.read("t", partitions=[1])] == [10]


def test_all_records_are_deleted(log: streamhouse.Log) -> None:
    log.create_topic("t", partitions=2)
    write(log, [b"1", b"2"])
    assert log.delete_records("t", "latest") == {0: 2, 1: 0}
    assert rows(log) == []


def test_records_before_a_time_are_deleted(log: streamhouse.Log, runtime: ManualRuntime) -> None:
    log.create_topic("t")
    write(log, [b"1", b"2"])
    runtime.advance(60)
    moment = dt.datetime.fromtimestamp(runtime.time_ms() / 1000, tz=dt.UTC)
    write(log, [b"3", b"4"])
    assert log.delete_records("t", moment) == {0: 2}
    assert rows(log) == [(2, None, b"3"), (3, None, b"4")]
    assert log.delete_records("t", moment + dt.timedelta(hours=1)) == {0: 4}


def test_nonsense_deletes_nothing(log: streamhouse.Log) -> None:
    log.create_topic("t")
    write(log, [b"1", b"2"])
    for before, error in (
        ({0: 3}, OffsetOutOfRangeError),
        ({1: 0}, PartitionNotFoundError),
        ({0: -1}, InvalidPositionError),
        ({0: "latest"}, InvalidPositionError),
        ("earliest", InvalidPositionError),
        (1, InvalidPositionError),
        (dt.datetime(2020, 1, 1), InvalidPositionError),  # noqa: DTZ001 - that is the mistake
    ):
        with pytest.raises(error):
            log.delete_records("t", before)  # type: ignore[arg-type]
    with pytest.raises(TopicNotFoundError):
        log.delete_records("u", "latest")
    assert len(rows(log)) == 2


def test_a_reader_whose_records_were_deleted_is_told(log: streamhouse.Log) -> None:
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(100)])
    with log.consumer("t") as consumer:
        assert consumer.poll(timeout=0, max_records=1)[0].offset == 0
        log.delete_records("t", {0: 90})
        with pytest.raises(OffsetOutOfRangeError, match="begins at offset 90"):
            read_on(consumer, [])


@pytest.mark.parametrize("reset", ["earliest", "latest"])
def test_a_reader_whose_records_were_deleted_goes_where_it_said(log: streamhouse.Log, reset: str) -> None:
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(100)])
    with log.consumer("t", reset=reset) as consumer:
        assert consumer.poll(timeout=0, max_records=1)[0].offset == 0
        log.delete_records("t", {0: 90})
        found: list[int] = []
        read_on(consumer, found)
    # What it had listed it may still hand out; then it goes on at the log start, or at the end.
    assert [offset for offset in found if offset >= 90] == (
        list(range(90, 100)) if reset == "earliest" else []
    )
    assert found == sorted(set(found))


@pytest.mark.parametrize("read", range(1, 40))
def test_a_reader_does_not_pass_over_what_was_deleted(log: streamhouse.Log, read: int) -> None:
    """Wherever in the references that it holds it is when the log start moves past them."""
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(60)])
    with log.consumer("t") as consumer:
        offsets = [record.offset for record in consumer.poll(timeout=0, max_records=read)]
        log.delete_records("t", {0: 50})
        with pytest.raises(OffsetOutOfRangeError, match="begins at offset 50"):
            read_on(consumer, offsets)
    assert offsets == list(range(len(offsets)))
    assert len(offsets) < 50


def read_on(consumer: streamhouse.Consumer, offsets: list[int]) -> None:
    while records := consumer.poll(timeout=0, max_records=1):
        offsets += [record.offset for record in records]


async def test_the_same_for_asyncio() -> None:
    async with await streamhouse.aio.open("memory://", upkeep=False) as log:
        await log.create_topic("t", retention_ms=5)
        assert len((await log.alter_topic("t", partitions=2, retention_ms=None)).partitions) == 2
        async with await log.producer() as producer:
            await (await producer.send("t", b"1", partition=0))
        assert await log.delete_records("t", {0: 1}) == {0: 1}
        assert (await log.upkeep()).segments_written == 0
