"""Idempotence and transactions by way of confluent-kafka."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from tests.kafka.clients.confluent import new_consumer, new_producer, send, take
from tests.kafka.clients.samples import Sample, store, until


def transactional(gateway: Gateway, name: str = "x", **settings: object) -> Producer:
    producer = new_producer(gateway.bootstrap, **{"transactional.id": name, **settings})
    producer.init_transactions(20)
    return producer


def values(log: streamhouse.Log, topic: str = "t") -> list[bytes | None]:
    return [record.value for record in log.read(topic)]


def test_commit_and_abort(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=2)
    producer = transactional(gateway)
    for number in range(4):
        producer.begin_transaction()
        for partition in range(2):
            producer.produce("t", b"%d" % number, partition=partition)
        assert producer.flush(10) == 0
        if number % 2:
            producer.commit_transaction(10)
        else:
            producer.abort_transaction(10)
    assert sorted(filter(None, values(log))) == [b"1", b"1", b"3", b"3"]


@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
def test_nothing_is_seen_before_the_end(log: streamhouse.Log, gateway: Gateway, isolation: str) -> None:
    log.create_topic("t")
    producer = transactional(gateway)
    with new_consumer(gateway.bootstrap, **{"isolation.level": isolation}) as consumer:
        consumer.assign([TopicPartition("t", 0, 0)])
        producer.begin_transaction()
        producer.produce("t", b"open")
        assert producer.flush(10) == 0
        store(log, "t", [Sample(None, b"beside")])
        assert take(consumer, 1)[0].value() == b"beside"
        assert consumer.poll(0.2) is None
        producer.commit_transaction(10)
        assert take(consumer, 1)[0].value() == b"open"


def _copy(consumer: Consumer, producer: Producer, count: int, *, commit: bool) -> None:
    """A part of the source, as stream processors do it."""
    producer.begin_transaction()
    for message in take(consumer, count):
        producer.produce("t", message.value())
    positions = consumer.position(consumer.assignment())
    producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), 10)
    if commit:
        producer.commit_transaction(10)
    else:
        producer.abort_transaction(10)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_offsets_move_with_the_records(log: streamhouse.Log, gateway: Gateway, protocol: str) -> None:
    log.create_topic("source")
    log.create_topic("t")
    store(log, "source", [Sample(None, b"%d" % n) for n in range(10)])
    producer = transactional(gateway)
    for count, commit in ((4, True), (3, False), (6, True)):
        with new_consumer(gateway.bootstrap, "g", **{"group.protocol": protocol}) as consumer:
            consumer.subscribe(["source"])
            _copy(consumer, producer, count, commit=commit)
    assert values(log) == [b"%d" % n for n in range(10)]
    assert log.groups["g"].lag == {("source", 0): 0}


def test_a_zombie_is_fenced(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    zombie = transactional(gateway)
    zombie.begin_transaction()
    zombie.produce("t", b"of the past")
    assert zombie.flush(10) == 0
    successor = transactional(gateway)
    with pytest.raises(KafkaException) as caught:
        zombie.commit_transaction(10)
    assert caught.value.args[0].fatal()
    assert caught.value.args[0].code() == KafkaError._FENCED
    successor.begin_transaction()
    successor.produce("t", b"of the present")
    successor.commit_transaction(10)
    assert values(log) == [b"of the present"]


def test_a_transaction_that_takes_too_long(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    producer = transactional(gateway, **{"transaction.timeout.ms": 1000})
    producer.begin_transaction()
    producer.produce("t", b"slow")
    assert producer.flush(10) == 0
    until(lambda: not log._inside.commits.state.transactions)
    with pytest.raises(KafkaException):
        producer.commit_transaction(10)
    assert values(log) == []


def test_a_time_out_that_is_too_long(log: streamhouse.Log) -> None:
    with streamhouse.kafka.serve(log, port=0, transaction_timeout_max_ms=5000) as gateway:
        producer = new_producer(
            gateway.bootstrap, **{"transactional.id": "x", "transaction.timeout.ms": 6000}
        )
        with pytest.raises(KafkaException) as caught:
            producer.init_transactions(10)
        assert caught.value.args[0].code() == KafkaError.INVALID_TRANSACTION_TIMEOUT


def test_a_transaction_goes_on_after_a_restart(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path) as log:
        log.create_topic("t")
        with streamhouse.kafka.serve(log, port=0) as first:
            port = first.port
            producer = transactional(first, **{"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 50})
            producer.begin_transaction()
            producer.produce("t", b"before")
            assert producer.flush(10) == 0
        with streamhouse.kafka.serve(log, port=port):
            producer.produce("t", b"after")
            producer.commit_transaction(20)
        assert values(log) == [b"before", b"after"]


def test_an_idempotent_producer_across_restarts(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path) as log:
        log.create_topic("t")
        with streamhouse.kafka.serve(log, port=0) as gateway:
            port = gateway.port
            settings = {
                "enable.idempotence": True,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 50,
                "retry.backoff.ms": 20,
            }
            producer = new_producer(gateway.bootstrap, **settings)
            send(producer, "t", [Sample(None, b"%d" % n) for n in range(100)])
        for n in range(100, 200):
            producer.produce("t", b"%d" % n, partition=0)
        with streamhouse.kafka.serve(log, port=port):
            assert producer.flush(20) == 0
        assert values(log) == [b"%d" % n for n in range(200)]
