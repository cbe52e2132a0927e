"""Quotas hold: who is above is slowed down to them, and nobody else is."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.format.columns import columns_from_lists
from streamhouse.kafka import Gateway
from streamhouse.kafka.batches.build import build_batch
from streamhouse.kafka.protocol import apis
from tests.kafka.clients import confluent
from tests.kafka.clients.samples import until
from tests.kafka.secured.logins import PASSWORD, TOPIC, Login, log_in, sample
from tests.kafka.wire import Wire, ask

RATE = 400_000
SECONDS = 3.0
WINDOWS = 5
VALUE = random.Random(1).randbytes(10_000)
GREEDY = {"client.id": "greedy"}


@pytest.fixture
def gateway(log: streamhouse.Log) -> Iterator[Gateway]:
    log.create_topic(TOPIC)
    with streamhouse.kafka.serve(log, port=0) as gateway:
        yield gateway


def limit(gateway: Gateway, key: str, rate: float | None, **entity: str | None) -> None:
    """Set a quota, as an administrator does."""
    parts = [{"entity_type": kind.replace("_", "-"), "entity_name": name} for kind, name in entity.items()]
    entry = {"entity": parts, "ops": [{"key": key, "value": rate or 0.0, "remove": rate is None}]}
    response = ask(gateway, apis.ALTER_CLIENT_QUOTAS.key, 1, entries=[entry], validate_only=False)
    assert response.entries[0].error_code == 0, response


def check_rate(gateway: Gateway, total_bytes: Callable[[], int]) -> None:
    """It has no more than its quota once what was saved up is used up; and all of it, if only for a while."""
    until(lambda: gateway.metrics.throttled > 0)
    rate = 0.0
    for _ in range(WINDOWS):
        began, before = time.monotonic(), total_bytes()
        time.sleep(SECONDS)
        rate = (total_bytes() - before) / (time.monotonic() - began)
        assert rate < 1.25 * RATE
        if rate > 0.75 * RATE:
            return
    pytest.fail(f"in {WINDOWS} windows it never came near its {RATE} bytes a second; the last had {rate:.0f}")


def test_a_producer_gets_its_rate_and_others_more(gateway: Gateway) -> None:
    limit(gateway, "producer_byte_rate", RATE, client_id="greedy")
    stop = threading.Event()
    acknowledged: list[int] = []

    def send() -> None:
        producer = confluent.new_producer(gateway.bootstrap, **GREEDY, **{"batch.size": 20_000})
        while not stop.is_set():
            if len(producer) < 20:
                producer.produce(
                    TOPIC, VALUE, partition=0, on_delivery=lambda *_: acknowledged.append(len(VALUE))
                )
            producer.poll(0.001)
        producer.purge()
        producer.flush(10)

    with ExitStack() as stack:
        sending = threading.Thread(target=send)
        sending.start()
        stack.callback(sending.join)
        stack.callback(stop.set)
        check_rate(gateway, lambda: sum(acknowledged))
        modest = confluent.new_producer(gateway.bootstrap)
        began = time.monotonic()
        confluent.send(modest, TOPIC, [sample(VALUE)] * 200)
        assert time.monotonic() - began < len(VALUE) * 200 / RATE / 2


def test_a_consumer_gets_its_rate_and_others_more(gateway: Gateway) -> None:
    producer = confluent.new_producer(gateway.bootstrap, **{"batch.size": 20_000})
    confluent.send(producer, TOPIC, [sample(VALUE)] * 300)
    limit(gateway, "consumer_byte_rate", RATE, client_id="greedy")
    stop = threading.Event()
    settings = {"message.max.bytes": 20_000, "fetch.max.bytes": 20_000, "max.partition.fetch.bytes": 20_000}

    def receive() -> None:
        with confluent.new_consumer(gateway.bootstrap, **GREEDY, **settings) as consumer:
            consumer.assign([confluent.TopicPartition(TOPIC, 0, 0)])
            while not stop.is_set():
                consumer.consume(100, timeout=0.05)

    with ExitStack() as stack:
        receiving = threading.Thread(target=receive)
        receiving.start()
        stack.callback(receiving.join)
        stack.callback(stop.set)
        check_rate(gateway, lambda: gateway.metrics.bytes_out)
        began = time.monotonic()
        assert len(confluent.read(gateway.bootstrap, TOPIC, 300)) == 300
        assert time.monotonic() - began < len(VALUE) * 300 / RATE / 2


def produce(wire: Wire, size: int) -> int:
    """Send that many bytes; for how many milliseconds the client is told to wait."""
    batch = build_batch(columns_from_lists(None, [bytes(size)], [1], None), 0, 1, 0)
    response = wire.ask(
        apis.PRODUCE.key, 9, transactional_id=None, acks=-1, timeout=5_000,
        topic_data=[{"name": TOPIC, "partition_data": [{"index": 0, "records": batch}]}],
    )  # fmt: skip
    assert response.responses[0].partition_responses[0].error_code == 0
    return round(response.throttle_time.total_seconds() * 1000)


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def greet(wire: Wire) -> None:
    wire.ask(apis.API_VERSIONS.key, 0)


def test_who_is_above_is_told_and_not_listened_to(log: streamhouse.Log, gateway: Gateway) -> None:
    limit(gateway, "producer_byte_rate", 100_000, client_id=None)  # of all who have none of their own
    with Wire(gateway) as wire, Wire(gateway) as other:
        assert produce(wire, 90_000) == 0
        wait_ms = produce(wire, 80_000)
        assert 400 < wait_ms <= 800
        assert seconds_of(lambda: greet(other)) < 0.3
        assert seconds_of(lambda: greet(wire)) > wait_ms / 1000 - 0.1
        assert gateway.metrics.throttled == 1
        limit(gateway, "producer_byte_rate", None, client_id=None)
        assert produce(wire, 500_000) == produce(wire, 500_000) == 0
    assert len(list(log.read(TOPIC))) == 4


def test_quotas_of_users_hold_whatever_they_call_themselves(log: streamhouse.Log) -> None:
    log.create_topic(TOPIC)
    with (
        streamhouse.kafka.serve(log, port=0) as administration,
        streamhouse.kafka.serve(
            log, port=0, sasl_mechanisms=["PLAIN"], plain_users={"ann": PASSWORD, "bob": PASSWORD}
        ) as gateway,
    ):
        limit(administration, "producer_byte_rate", 50_000, user="ann")  # made at another gateway
        for user, waits in (("ann", True), ("bob", False)):
            with Wire(gateway) as first, Wire(gateway) as second:
                for wire in (first, second):
                    assert log_in(wire, user).error_code == 0
                produce(first, 45_000)
                assert (produce(second, 45_000) > 0) == waits  # one quota for both
        confluent.send(
            confluent.new_producer(gateway.bootstrap, **Login("PLAIN", "bob").confluent),
            TOPIC,
            [sample(VALUE)] * 50,
        )


def test_a_wait_that_has_no_end_is_the_longest_that_can_be_said(log: streamhouse.Log) -> None:
    """Otherwise there would be no answer, and the client would send the same again and again."""
    log.create_topic(TOPIC)
    with (
        streamhouse.kafka.serve(log, port=0, produce_bytes_per_second_max=1) as gateway,
        Wire(gateway) as wire,
    ):
        assert produce(wire, 3_000_000) == 2**31 - 1
        assert len(list(log.read(TOPIC))) == 1


def test_the_gateways_own_quotas(log: streamhouse.Log) -> None:
    log.create_topic(TOPIC)
    with (
        streamhouse.kafka.serve(log, port=0, produce_bytes_per_second_max=100_000) as gateway,
        Wire(gateway) as wire,
    ):
        assert produce(wire, 150_000) > 0
        began = time.monotonic()
        gateway.close(timeout=1.0)  # it does not wait for who has to wait
        assert time.monotonic() - began < 3
