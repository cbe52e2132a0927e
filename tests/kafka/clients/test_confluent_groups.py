"""Groups by way of confluent-kafka, in both protocols, alone and together with native members."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

import streamhouse
import streamhouse.errors
import streamhouse.kafka
from streamhouse.kafka import Gateway
from tests.kafka.clients.confluent import new_consumer, take
from tests.kafka.clients.members import member_process
from tests.kafka.clients.samples import Sample, store, until

PROTOCOLS = ("classic", "consumer")


@pytest.fixture
def gateway(log: streamhouse.Log) -> Iterator[Gateway]:
    with streamhouse.kafka.serve(
        log, port=0, consumer_session_timeout_ms=1500, consumer_heartbeat_interval_ms=50
    ) as gateway:
        yield gateway


def settings_of(protocol: str) -> dict[str, Any]:
    if protocol == "consumer":
        return {"group.protocol": "consumer"}
    return {"session.timeout.ms": 1500, "heartbeat.interval.ms": 100}


@contextmanager
def member(
    gateway: Gateway, protocol: str, topic: str = "t", group: str = "g", **settings: Any
) -> Iterator[Consumer]:
    given = settings_of(protocol) | {"topic.metadata.refresh.interval.ms": 200} | settings
    with new_consumer(gateway.bootstrap, group, **given) as consumer:
        consumer.subscribe([topic])
        yield consumer


def settle(*consumers: Consumer, counts: list[int]) -> None:
    """Poll all until they have so many partitions, whoever has which."""

    def settled() -> bool:
        for consumer in consumers:
            consumer.poll(0.02)
        return sorted(len(consumer.assignment()) for consumer in consumers) == sorted(counts)

    until(settled)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_come_and_go(log: streamhouse.Log, gateway: Gateway, protocol: str) -> None:
    log.create_topic("t", partitions=4)
    with member(gateway, protocol) as first:
        settle(first, counts=[4])
        with member(gateway, protocol) as second:
            settle(first, second, counts=[2, 2])
            numbers = [{each.partition for each in consumer.assignment()} for consumer in (first, second)]
            assert numbers[0] | numbers[1] == {0, 1, 2, 3}
        settle(first, counts=[4])


@pytest.mark.parametrize("strategy", ["roundrobin", "cooperative-sticky"])
def test_strategies_of_the_classic_protocol(log: streamhouse.Log, gateway: Gateway, strategy: str) -> None:
    log.create_topic("t", partitions=3)
    with member(gateway, "classic", **{"partition.assignment.strategy": strategy}) as first:
        settle(first, counts=[3])
        with member(gateway, "classic", **{"partition.assignment.strategy": strategy}) as second:
            settle(first, second, counts=[1, 2])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_member_that_dies_without_a_word(log: streamhouse.Log, gateway: Gateway, protocol: str) -> None:
    log.create_topic("t", partitions=4)
    with member_process("confluent", gateway.bootstrap, "g", "t", **settings_of(protocol)) as dying:
        dying.wait_for(4)
        with member(gateway, protocol) as consumer:
            settle(consumer, counts=[2])
            dying.kill()
            settle(consumer, counts=[4])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_static_member_comes_back_to_its_place(
    log: streamhouse.Log, gateway: Gateway, protocol: str
) -> None:
    log.create_topic("t", partitions=2)
    given = {} if protocol == "consumer" else {"session.timeout.ms": 10_000}
    with member(gateway, protocol, **given, **{"group.instance.id": "stays"}) as other:
        with member(gateway, protocol, **given, **{"group.instance.id": "goes"}) as first:
            settle(first, other, counts=[1, 1])
            mine = first.assignment()
        with member(gateway, protocol, **given, **{"group.instance.id": "goes"}) as again:
            settle(again, other, counts=[1, 1])
            assert again.assignment() == mine


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_offsets_are_kept_with_their_metadata(log: streamhouse.Log, gateway: Gateway, protocol: str) -> None:
    log.create_topic("t")
    store(log, "t", [Sample(None, b"%d" % n) for n in range(10)])
    with member(gateway, protocol) as consumer:
        assert len(take(consumer, 4)) == 4
        consumer.commit(offsets=[TopicPartition("t", 0, 4, metadata="so far")], asynchronous=False)
        (found,) = consumer.committed([TopicPartition("t", 0)], 10)
        assert (found.offset, found.metadata) == (4, "so far")
    assert log.groups["g"].lag == {("t", 0): 6}
    with member(gateway, protocol) as consumer:
        messages = take(consumer, 6)
        assert [message.offset() for message in messages] == list(range(4, 10))
        consumer.commit(messages[-1], asynchronous=False)
    assert log.groups["g"].lag == {("t", 0): 0}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_subscriptions_by_pattern(log: streamhouse.Log, gateway: Gateway, protocol: str) -> None:
    for name in ("a-1", "a-2", "b-a-1"):
        log.create_topic(name)
        store(log, name, [Sample(None, name.encode())])
    with member(gateway, protocol, "^a-.*") as consumer:
        messages = take(consumer, 2)
        assert sorted(message.value() for message in messages) == [b"a-1", b"a-2"]
        consumer.commit(asynchronous=False)
        log.create_topic("a-3")
        store(log, "a-3", [Sample(None, b"a-3")])
        assert take(consumer, 1)[0].value() == b"a-3"


def test_members_of_the_newer_protocol_and_native_ones_share_a_group(
    log: streamhouse.Log, gateway: Gateway
) -> None:
    log.create_topic("t", partitions=4)
    with ExitStack() as stack:
        client = stack.enter_context(member(gateway, "consumer"))
        settle(client, counts=[4])
        native = stack.enter_context(log.consumer("t", group="g", assignor="cooperative-sticky"))

        def shared() -> bool:
            client.poll(0.02)
            native.poll(0)
            return len(client.assignment()) == len(native.assignment) == 2

        until(shared)
        theirs = {each.partition for each in client.assignment()}
        assert theirs | {partition for _, partition in native.assignment} == {0, 1, 2, 3}
        with log.producer() as producer:
            for n in range(40):
                producer.send("t", b"%d" % n, partition=n % 4)
        assert {message.partition() for message in take(client, 20)} == theirs
        assert len(log.groups["g"].members) == 2


def test_protocols_do_not_mix(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    with member(gateway, "classic", group="old") as client:
        settle(client, counts=[1])
        with (
            pytest.raises(streamhouse.errors.GroupError, match="classic"),
            log.consumer("t", group="old") as native,
        ):
            native.poll(0)
    with log.consumer("t", group="new") as native:
        native.poll(0)
        with member(gateway, "classic", group="new") as client:
            message = None
            while message is None:
                message = client.poll(1)
            assert message.error().code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL


def test_native_tools_administer_groups_of_clients(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    store(log, "t", [Sample(None, b"%d" % n) for n in range(10)])
    with member(gateway, "classic") as client:
        take(client, 10)
        client.commit(asynchronous=False)
        with pytest.raises(streamhouse.errors.GroupNotEmptyError):
            log.groups["g"].reset(0)
    log.groups["g"].reset(7)
    with member(gateway, "classic") as client:
        assert take(client, 1)[0].offset() == 7


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_whoever_is_no_member_may_not_commit(log: streamhouse.Log, gateway: Gateway, protocol: str) -> None:
    log.create_topic("t")
    with member(gateway, protocol) as client:
        settle(client, counts=[1])
        with new_consumer(gateway.bootstrap, "g") as stranger:
            with pytest.raises(KafkaException) as caught:
                stranger.commit(offsets=[TopicPartition("t", 0, 1)], asynchronous=False)
            assert caught.value.args[0].code() == KafkaError.UNKNOWN_MEMBER_ID
