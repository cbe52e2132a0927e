"""The fixtures do what their users' tests rely on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

import streamhouse
from streamhouse.errors import ClosedError
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.plugin import S3Location


@pytest.mark.parametrize("_", range(2))
def test_every_test_has_a_memory_log_of_its_own(streamhouse_log: streamhouse.Log, _: int) -> None:
    assert list(streamhouse_log.topics) == []
    streamhouse_log.create_topic("orders")


@pytest.fixture
def afterwards() -> Iterator[list[streamhouse.Log]]:
    """Looks at logs after the test: asked for before the fixture that makes them, it ends after it."""
    logs: list[streamhouse.Log] = []
    yield logs
    assert logs
    for log in logs:
        with pytest.raises(ClosedError):
            log.create_topic("late")


def test_the_log_is_closed_after_the_test(
    afterwards: list[streamhouse.Log], streamhouse_log: streamhouse.Log
) -> None:
    streamhouse_log.create_topic("orders")
    afterwards.append(streamhouse_log)


def test_a_directory_log_is_in_the_folder_of_the_test(
    streamhouse_dir_log: streamhouse.Log, tmp_path: Path
) -> None:
    streamhouse_dir_log.create_topic("orders")
    assert (tmp_path / "streamhouse" / "root.json").exists()


@pytest.mark.parametrize("_", range(2))
def test_every_test_has_a_prefix_of_its_own_on_s3(streamhouse_s3: S3Location, _: int) -> None:
    options = streamhouse_s3.storage_options
    with streamhouse.Log(streamhouse_s3.url, storage_options=options) as log:
        assert list(log.topics) == []
        log.create_topic("orders")
    assert streamhouse_s3.server.requests


@pytest.mark.parametrize("_", range(2))
def test_every_test_has_a_kafka_cluster_of_its_own(
    streamhouse_kafka: str, streamhouse_log: streamhouse.Log, _: int
) -> None:
    producer = Producer({"bootstrap.servers": streamhouse_kafka})
    producer.produce("orders", b"paid", key=b"user-1")
    assert producer.flush(10) == 0
    assert [(record.key, record.value) for record in streamhouse_log.read("orders")] == [(b"user-1", b"paid")]
    consumer = Consumer(
        {"bootstrap.servers": streamhouse_kafka, "group.id": "test", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["orders"])
    message = consumer.poll(10)
    assert message is not None
    assert message.value() == b"paid"
    consumer.close()


def test_the_clock_stands_still(streamhouse_clock: ManualRuntime) -> None:
    before = streamhouse_clock.monotonic()
    assert streamhouse_clock.monotonic() == before
    streamhouse_clock.advance(2.5)
    assert streamhouse_clock.monotonic() == before + 2.5
