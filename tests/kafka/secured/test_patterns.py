"""Groups of the newer protocol by pattern: no member hears of a topic that it may not describe (KIP-848)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol import apis
from tests.kafka.clients import confluent
from tests.kafka.clients.samples import store, until
from tests.kafka.secured.acls import ANN, BOB, GROUP, READ, TOPIC, acl, allow, serve, withdraw
from tests.kafka.secured.locks import watch_the_lock
from tests.kafka.secured.logins import Login, log_in, sample
from tests.kafka.wire import Wire

PATTERN = "^(hidden|shown)-.*"
HIDDEN = AclBindingFilter(
    TOPIC, "hidden-1", ResourcePatternType.LITERAL, None, None, AclOperation.ANY, AclPermissionType.ANY
)


@pytest.fixture
def gateway(log: streamhouse.Log) -> Iterator[Gateway]:
    for name in ("hidden-1", "other-1", "shown-1"):
        log.create_topic(name)
        store(log, name, [sample(name.encode())])
    with new_gateway(log) as gateway:
        allow(
            gateway, acl(TOPIC, "shown-", READ, pattern=ResourcePatternType.PREFIXED), acl(GROUP, "g", READ)
        )
        yield gateway


def new_gateway(log: streamhouse.Log) -> Gateway:
    gateway = serve(log, consumer_heartbeat_interval_ms=50)
    watch_the_lock(gateway)
    return gateway


@contextmanager
def member(gateway: Gateway, login: Login) -> Iterator[Consumer]:
    settings = {**login.confluent, "group.protocol": "consumer"}
    with confluent.new_consumer(gateway.bootstrap, "g", **settings) as consumer:
        consumer.subscribe([PATTERN])
        yield consumer


def values(consumer: Consumer, count: int) -> set[bytes | None]:
    return {message.value() for message in confluent.take(consumer, count)}


def subscribed(log: streamhouse.Log) -> set[str]:
    """The topics that the pattern of the only member of the group means, as the log has it."""
    (found,) = log.groups["g"].members
    return set(found.topics)


def settled(log: streamhouse.Log, consumer: Consumer, topics: set[str]) -> bool:
    """Whether it has these topics, for itself and for the log."""
    consumer.poll(0.02)
    return assigned(consumer) == subscribed(log) == topics


def assigned(consumer: Consumer) -> set[str]:
    return {each.topic for each in consumer.assignment()}


def test_members_get_the_topics_that_they_may_describe(log: streamhouse.Log, gateway: Gateway) -> None:
    with member(gateway, BOB) as consumer:
        assert values(consumer, 1) == {b"shown-1"}
        assert subscribed(log) == {"shown-1"}
    with member(gateway, ANN) as consumer:
        assert values(consumer, 2) == {b"hidden-1", b"shown-1"}
        assert subscribed(log) == {"hidden-1", "shown-1"}


def test_members_of_one_group_may_differ(log: streamhouse.Log, gateway: Gateway) -> None:
    with member(gateway, BOB) as bob, member(gateway, ANN) as ann:

        def shared() -> bool:
            for consumer in (bob, ann):
                consumer.poll(0.02)
            return assigned(bob) == {"shown-1"} and assigned(ann) == {"hidden-1"}

        until(shared)
        topics = [set(each.topics) for each in log.groups["g"].members]
        assert sorted(topics, key=len) == [{"shown-1"}, {"hidden-1", "shown-1"}]


def test_topics_that_are_made_later(log: streamhouse.Log, gateway: Gateway) -> None:
    with member(gateway, BOB) as consumer:
        assert values(consumer, 1) == {b"shown-1"}
        for name in ("hidden-2", "shown-2"):
            log.create_topic(name)
        until(lambda: settled(log, consumer, {"shown-1", "shown-2"}))


def test_what_acls_say_later_holds_from_the_next_heartbeat(log: streamhouse.Log, gateway: Gateway) -> None:
    with member(gateway, BOB) as consumer:
        assert values(consumer, 1) == {b"shown-1"}
        allow(gateway, acl(TOPIC, "hidden-1", READ))
        assert values(consumer, 1) == {b"hidden-1"}
        until(lambda: settled(log, consumer, {"hidden-1", "shown-1"}))
        withdraw(gateway, HIDDEN)
        until(lambda: settled(log, consumer, {"shown-1"}))


def test_whoever_goes_on_as_somebody_else(log: streamhouse.Log, gateway: Gateway) -> None:
    """Another gateway only knows from the log what a member subscribed to."""
    with Wire(gateway) as wire:
        joined = beat(wire, ANN, 0, subscribed_topic_regex=PATTERN, topic_partitions=[])
        assert subscribed(log) == {"hidden-1", "shown-1"}
    gateway.close()
    with new_gateway(log) as other, Wire(other) as wire:
        answer = beat(wire, BOB, joined.member_epoch)
        assert subscribed(log) == {"shown-1"}
        assert len(answer.assignment.topic_partitions) == 1


def beat(wire: Wire, login: Login, epoch: int, **said: Any) -> Any:
    assert log_in(wire, login.user).error_code == 0
    unsaid = dict.fromkeys(
        ("instance_id", "rack_id", "subscribed_topic_names", "subscribed_topic_regex", "server_assignor",
         "topic_partitions")
    )  # fmt: skip
    answer = wire.ask(
        apis.CONSUMER_GROUP_HEARTBEAT.key, 1, group_id="g", member_id="m", member_epoch=epoch,
        **{"rebalance_timeout": 10_000, **unsaid, **said},
    )  # fmt: skip
    assert answer.error_code == 0, answer
    return answer
