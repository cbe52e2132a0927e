"""Topics that another process has altered, for producers of one that neither commits nor reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from streamhouse import Log, Producer
from streamhouse.errors import InvalidRecordError, PartitionNotFoundError
from streamhouse.testing.clock import ManualRuntime


class Two(NamedTuple):
    """The producer of one process, and the log of another one."""

    producer: Producer
    elsewhere: Log
    runtime: ManualRuntime


@pytest.fixture
def two(tmp_path: Any) -> Iterator[Two]:
    runtime = ManualRuntime()
    with Log(tmp_path) as elsewhere, Log(tmp_path, runtime=runtime) as log, log.producer() as producer:
        elsewhere.create_topic("plain")
        elsewhere.create_topic("compact", cleanup_policy="compact")
        elsewhere.create_topic("typed", cleanup_policy="compact", schema={"a": "BIGINT"})
        for topic in ("plain", "compact"):
            producer.send(topic, "value", key="key").result()
        producer.send("typed", {"a": 1}, key="key").result()
        yield Two(producer, elsewhere, runtime)


def in_transaction(producer: Producer, add: Callable[[Any], Any]) -> None:
    with producer.transaction() as tx:
        add(tx)


PARTITION: dict[str, Callable[[Producer], Any]] = {
    "send": lambda p: p.send("plain", "value", partition=2).result(),
    "send_many": lambda p: p.send_many("plain", ["value"], partition=2).result(),
    "tx.send": lambda p: in_transaction(p, lambda tx: tx.send("plain", "value", partition=2)),
    "tx.send_many": lambda p: in_transaction(p, lambda tx: tx.send_many("plain", ["value"], partition=2)),
    "tx.commit_offsets": lambda p: in_transaction(
        p, lambda tx: tx.commit_offsets(group="g", offsets={("plain", 2): 0})
    ),
}

FRAME = pa.table({"a": [2]})

KEYLESS: dict[str, Callable[[Producer], Any]] = {
    "send": lambda p: p.send("compact", "value").result(),
    "send_many": lambda p: p.send_many("compact", ["value"]).result(),
    "frame": lambda p: p.send_many("typed", FRAME).result(),
    "tx.send": lambda p: in_transaction(p, lambda tx: tx.send("compact", "value")),
    "tx.send after one with a key": lambda p: in_transaction(
        p, lambda tx: (tx.send("compact", "value", key="key"), tx.send("compact", "value"))
    ),
    "tx.send_many": lambda p: in_transaction(p, lambda tx: tx.send_many("compact", ["value"])),
    "tx.frame": lambda p: in_transaction(p, lambda tx: tx.send_many("typed", FRAME)),
}


@pytest.mark.parametrize("how", PARTITION)
def test_partitions_that_were_added_can_be_sent_to(two: Two, how: str) -> None:
    two.elsewhere.alter_topic("plain", partitions=3)
    PARTITION[how](two.producer)


@pytest.mark.parametrize("how", KEYLESS)
def test_what_is_not_compacted_any_more_takes_records_without_a_key(two: Two, how: str) -> None:
    for topic in ("compact", "typed"):
        two.elsewhere.alter_topic(topic, cleanup_policy="delete")
    KEYLESS[how](two.producer)


def test_a_record_without_a_key_may_come_behind_one_with_a_key(two: Two) -> None:
    with_key = two.producer.send("compact", "value", key="key")
    two.elsewhere.alter_topic("compact", cleanup_policy="delete")
    without_key = two.producer.send("compact", "value")
    two.producer.flush()
    assert [with_key.result().offset, without_key.result().offset] == [1, 2]


def test_what_nobody_has_altered_is_refused_with_a_look_once_a_second(two: Two) -> None:
    refused = [(PARTITION, PartitionNotFoundError), (KEYLESS, InvalidRecordError)]
    for ways, error in refused:
        for send in ways.values():  # type: ignore[attr-defined]
            with pytest.raises(error):
                send(two.producer)
    for topic in ("compact", "typed"):
        two.elsewhere.alter_topic(topic, cleanup_policy="delete")
    two.elsewhere.alter_topic("plain", partitions=3)
    with pytest.raises(PartitionNotFoundError, match="0 to 0, not 2"):
        PARTITION["send"](two.producer)
    two.runtime.advance(1)
    with pytest.raises(PartitionNotFoundError, match="0 to 2, not 3"):
        two.producer.send("plain", "value", partition=3)
    for way in [*PARTITION.values(), *KEYLESS.values()]:
        way(two.producer)


@pytest.mark.parametrize("frame", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_a_topic_made_anew_with_fewer_partitions_is_named(tmp_path: Any, frame: bool, within: bool) -> None:
    with Log(tmp_path) as elsewhere, Log(tmp_path) as log, log.producer() as producer:
        elsewhere.create_topic("again", partitions=4, schema={"a": "BIGINT"})
        producer.send("again", {"a": 1}, partition=3).result()
        elsewhere.delete_topic("again")
        elsewhere.create_topic("again", partitions=2, schema={"a": "VARCHAR"})
        sender = producer.transaction() if within else producer
        with pytest.raises(PartitionNotFoundError, match="topic 'again' has partitions 0 to 1, not 3"):
            sender.send_many("again", pa.table({"a": ["x"]}) if frame else [{"a": "x"}], partition=3)
