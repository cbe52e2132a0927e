import datetime as dt
from typing import Any

import pytest

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.errors import (
    CorruptionError,
    DeserializationError,
    InvalidInputError,
    InvalidPositionError,
    InvalidSettingError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    TopicNotFoundError,
)
from streamhouse.read.scan import scan
from streamhouse.records import Record
from tests.read.minilog import MiniLog, numbered


@pytest.fixture
def topic(log: MiniLog) -> TopicInfo:
    """Two partitions of 30 and 5 records; the third is empty. Timestamps are the numbers."""
    topic = log.topic(partitions=3)
    for first in (0, 10, 20):
        log.append(topic, 0, numbered(first, 10), timestamps=list(range(first, first + 10)))
    log.append(topic, 1, numbered(100, 5), timestamps=list(range(100, 105)))
    return topic


def read(log: MiniLog, topic: str = "orders", **options: Any) -> list[Record[Any, Any]]:
    return list(scan(log.catalog, log.reader, topic, **options))


def numbers(records: list[Record[Any, Any]], partition: int) -> list[int]:
    return [int(record.value) for record in records if record.partition == partition]


def test_everything_is_read_once_and_in_order(log: MiniLog, topic: TopicInfo) -> None:
    records = read(log)
    assert len(records) == 35
    assert numbers(records, 0) == list(range(30))
    assert numbers(records, 1) == list(range(100, 105))


def at(ms: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=ms)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"start": 7, "until": 23}, range(7, 23)),
        ({"start": 10, "until": 20}, range(10, 20)),
        ({"start": 15, "until": 15}, range(0)),
        ({"start": 20, "until": 10}, range(0)),
        ({"start": "latest"}, range(0)),
        ({"start": {0: 29}}, range(29, 30)),
        ({"start": at(12), "until": at(14)}, range(12, 14)),
        ({"until": 1000}, range(30)),
    ],
)
def test_a_part_is_read(log: MiniLog, topic: TopicInfo, bounds: dict[str, Any], expected: range) -> None:
    assert numbers(read(log, partitions=[0], **bounds), 0) == list(expected)


def test_the_end_is_that_of_the_call(log: MiniLog, topic: TopicInfo) -> None:
    records = scan(log.catalog, log.reader, "orders", partitions=[1])
    log.append(topic, 1, numbered(105, 5))
    assert len(list(records)) == 5


def test_only_what_is_needed_is_fetched() -> None:
    log = MiniLog(prefetch_blocks=0)
    topic = log.topic()
    for first in range(0, 100, 10):
        log.append(topic, 0, numbered(first, 10))
    assert len(read(log, start=35, until=45)) == 10
    refs = log.refs(topic)[3:5]
    log.close()
    assert log.watched.gets == [(r.object_name, r.position, r.position + r.length) for r in refs]


def test_deserializers_are_applied(log: MiniLog, topic: TopicInfo) -> None:
    assert [r.value for r in read(log, partitions=[1], value="json")] == list(range(100, 105))
    assert [r.value for r in read(log, partitions=[1], value=int)] == list(range(100, 105))


def test_records_before_a_bad_one_come_first(log: MiniLog) -> None:
    log.append(log.topic(), values=[b"1", b"2", b"{", b"4"])
    records = scan(log.catalog, log.reader, "orders", value="json")
    assert [next(records).value, next(records).value] == [1, 2]
    with pytest.raises(DeserializationError) as caught:
        next(records)
    assert caught.value.offset == 2
    assert [r.value for r in read(log, start=3, value="json")] == [4]


@pytest.mark.parametrize(
    ("topic_name", "options", "error"),
    [
        ("order", {}, TopicNotFoundError),
        ("orders", {"partitions": [3]}, PartitionNotFoundError),
        ("orders", {"partitions": 0}, InvalidInputError),
        ("orders", {"start": 31}, OffsetOutOfRangeError),
        ("orders", {"start": "newest"}, InvalidPositionError),
        ("orders", {"until": "newest"}, InvalidPositionError),
        ("orders", {"start": {0: 1}}, InvalidPositionError),
        ("orders", {"value": "jso"}, InvalidSettingError),
    ],
)
def test_wrong_arguments_raise_at_the_call(
    log: MiniLog, topic: TopicInfo, topic_name: str, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        scan(log.catalog, log.reader, topic_name, **options)  # not even iterated


def test_damage_is_never_passed_over(log: MiniLog, topic: TopicInfo) -> None:
    ref = log.refs(topic)[1]
    log.damage(ref)
    records = scan(log.catalog, log.reader, "orders", partitions=[0])
    assert [int(next(records).value) for _ in range(10)] == list(range(10))
    with pytest.raises(CorruptionError, match=f"{ref.object_name}.*offsets 10 to 19"):
        next(records)


def test_a_topic_deleted_while_it_is_read_is_missed(log: MiniLog, topic: TopicInfo) -> None:
    records = scan(log.catalog, log.reader, "orders", partitions=[0])
    assert next(records).offset == 0
    log.catalog.delete_topic(topic)
    with pytest.raises(TopicNotFoundError, match="'orders' was deleted"):
        list(records)
