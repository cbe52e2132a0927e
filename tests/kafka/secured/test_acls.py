"""ACLs that real clients make, and what real clients may do then."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from tests.kafka.clients import confluent
from tests.kafka.secured.logins import PASSWORD, Login, log_in, sample, topics
from tests.kafka.wire import Wire

with warnings.catch_warnings():  # it reads its files in an old way
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaAdminClient
    from kafka.admin import (
        ACL,
        ACLFilter,
        ACLOperation,
        ACLPermissionType,
        ACLResourcePatternType,
        ResourcePattern,
        ResourcePatternFilter,
    )
    from kafka.admin import ResourceType as KafkaPythonType

USERS = {"root": PASSWORD, "ann": PASSWORD, "bob": PASSWORD}
NAMES = ("open", "secret", "team.a", "team.b")
ANYTHING = AclBindingFilter(
    ResourceType.ANY,
    None,
    ResourcePatternType.ANY,
    None,
    None,
    AclOperation.ANY,
    AclPermissionType.ANY,
)


@contextmanager
def serve(log: streamhouse.Log, *, open_by_default: bool = False) -> Iterator[Gateway]:
    with streamhouse.kafka.serve(
        log, port=0, authorize=True, allow_everyone_without_acl=open_by_default, super_users=["User:root"],
        sasl_mechanisms=["PLAIN"], plain_users=USERS, auto_create_topics=False,
    ) as gateway:  # fmt: skip
        yield gateway


@pytest.fixture
def gateway(log: streamhouse.Log) -> Iterator[Gateway]:
    for name in NAMES:
        log.create_topic(name)
    with serve(log) as gateway:
        yield gateway


def acl(
    name: str,
    operation: AclOperation,
    *,
    kind: ResourceType = ResourceType.TOPIC,
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
    user: str = "User:ann",
    host: str = "*",
    permission: AclPermissionType = AclPermissionType.ALLOW,
) -> AclBinding:
    return AclBinding(kind, name, pattern, user, host, operation, permission)


class Admin:
    """confluent-kafka's, as the super user."""

    def __init__(self, gateway: Gateway) -> None:
        login = Login("PLAIN", "root").confluent
        self._client = AdminClient({"bootstrap.servers": gateway.bootstrap, "log_level": 0, **login})

    def create(self, *bindings: AclBinding) -> None:
        for future in self._client.create_acls(list(bindings)).values():
            assert future.result(20) is None

    def held(self, wanted: AclBindingFilter = ANYTHING) -> set[AclBinding]:
        return set(self._client.describe_acls(wanted).result(20))

    def delete(self, wanted: AclBindingFilter) -> set[AclBinding]:
        (future,) = self._client.delete_acls([wanted]).values()
        return set(future.result(20))


def visible(gateway: Gateway, user: str) -> set[str]:
    """The topics that somebody gets a list of."""
    with Wire(gateway) as wire:
        assert log_in(wire, user).error_code == 0
        return topics(wire)


def sends(gateway: Gateway, user: str, topic: str) -> bool:
    """Whether somebody may write there, as far as librdkafka knows."""
    producer = confluent.new_producer(gateway.bootstrap, **Login("PLAIN", user).confluent)
    try:
        confluent.send(producer, topic, [sample(b"v")])
    except KafkaException as refused:
        if refused.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise
        return False
    return True


# --- making them -----------------------------------------------------------------------------------------


def test_confluent_makes_lists_and_deletes_them(gateway: Gateway) -> None:
    admin = Admin(gateway)
    assert admin.held() == set()
    made = {
        acl("open", AclOperation.READ),
        acl("team.", AclOperation.ALL, pattern=ResourcePatternType.PREFIXED, user="User:bob"),
        acl("g", AclOperation.READ, kind=ResourceType.GROUP, host="127.0.0.1"),
        acl("secret", AclOperation.WRITE, user="User:*", permission=AclPermissionType.DENY),
    }
    admin.create(*made)
    admin.create(*made)  # nothing new
    assert admin.held() == made
    of_bob = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, "User:bob", None, AclOperation.ANY,
        AclPermissionType.ANY,
    )  # fmt: skip
    match = AclBindingFilter(
        ResourceType.TOPIC, "team.a", ResourcePatternType.MATCH, None, None, AclOperation.ANY,
        AclPermissionType.ANY,
    )  # fmt: skip
    assert admin.held(of_bob) == admin.held(match) == admin.delete(of_bob)
    assert len(admin.held()) == 3
    assert admin.delete(of_bob) == set()
    assert len(admin.delete(ANYTHING)) == 3
    assert admin.held() == set()


def test_kafka_python_makes_lists_and_deletes_them(gateway: Gateway) -> None:
    client = KafkaAdminClient(bootstrap_servers=gateway.bootstrap, **Login("PLAIN", "root").python)
    try:
        pattern = ResourcePattern(KafkaPythonType.TOPIC, "team.", ACLResourcePatternType.PREFIXED)
        made = ACL("User:ann", "*", ACLOperation.WRITE, ACLPermissionType.ALLOW, pattern)
        client.create_acls([made])
        anything = ACLFilter(
            None, None, ACLOperation.ANY, ACLPermissionType.ANY,
            ResourcePatternFilter(KafkaPythonType.ANY, None, ACLResourcePatternType.ANY),
        )  # fmt: skip
        assert made in _acls(client.describe_acls(anything))
        assert sends(gateway, "ann", "team.a")
        client.delete_acls([anything])
        assert not sends(gateway, "ann", "team.a")
        assert Admin(gateway).held() == set()
    finally:
        client.close()


def _acls(answer: Any) -> list[Any]:
    """Those in an answer; versions of kafka-python differ in what is around them."""
    return list(answer[0] if isinstance(answer, tuple) else answer)


def test_they_hold_at_the_other_gateways(log: streamhouse.Log, gateway: Gateway) -> None:
    with serve(log) as other:
        assert not sends(other, "ann", "open")
        Admin(gateway).create(acl("open", AclOperation.WRITE))
        assert sends(other, "ann", "open")
        assert Admin(other).held() == Admin(gateway).held()
        Admin(other).delete(ANYTHING)
        assert not sends(gateway, "ann", "open")
    with serve(log) as later:
        assert not sends(later, "ann", "open")


# --- what they do ----------------------------------------------------------------------------------------


def test_lists_have_what_one_may_see(gateway: Gateway) -> None:
    assert visible(gateway, "root") == set(NAMES)
    assert visible(gateway, "ann") == set()
    admin = Admin(gateway)
    admin.create(acl("open", AclOperation.DESCRIBE))
    assert visible(gateway, "ann") == {"open"}
    admin.create(acl("team.", AclOperation.READ, pattern=ResourcePatternType.PREFIXED))  # implies seeing
    assert visible(gateway, "ann") == {"open", "team.a", "team.b"}
    admin.create(acl("team.b", AclOperation.DESCRIBE, permission=AclPermissionType.DENY))
    assert visible(gateway, "ann") == {"open", "team.a"}
    admin.create(acl("*", AclOperation.ALL, user="User:*"))
    assert visible(gateway, "ann") == {"open", "secret", "team.a"}
    assert visible(gateway, "bob") == set(NAMES)
    admin.create(acl("secret", AclOperation.ALL, user="User:*", permission=AclPermissionType.DENY))
    assert visible(gateway, "bob") == set(NAMES) - {"secret"}
    assert visible(gateway, "root") == set(NAMES)


def test_hosts_count(gateway: Gateway) -> None:
    admin = Admin(gateway)
    admin.create(acl("open", AclOperation.WRITE, host="192.0.2.1"))
    assert not sends(gateway, "ann", "open")
    admin.create(acl("open", AclOperation.WRITE, host="127.0.0.1"))
    assert sends(gateway, "ann", "open")


def test_what_no_acl_speaks_of(log: streamhouse.Log, gateway: Gateway) -> None:
    with serve(log, open_by_default=True) as generous:
        assert sends(generous, "ann", "open")
        assert not sends(gateway, "ann", "open")
        Admin(generous).create(acl("open", AclOperation.READ, user="User:bob"))
        assert not sends(generous, "ann", "open")
        assert sends(generous, "ann", "secret")
        assert sends(generous, "root", "open")


def test_a_consumer_needs_its_group_and_its_topic(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("read", exist_ok=True)
    assert sends(gateway, "root", "read")
    admin = Admin(gateway)
    steps = [
        (acl("readers", AclOperation.READ, kind=ResourceType.GROUP), KafkaError.GROUP_AUTHORIZATION_FAILED),
        (acl("read", AclOperation.READ), KafkaError.TOPIC_AUTHORIZATION_FAILED),
    ]
    with ExitStack() as stack:
        for binding, error in steps:
            consumer = stack.enter_context(
                confluent.new_consumer(gateway.bootstrap, "readers", **Login("PLAIN", "ann").confluent)
            )
            consumer.subscribe(["read"])
            assert error in _codes(consumer)
            admin.create(binding)
    with confluent.new_consumer(gateway.bootstrap, "readers", **Login("PLAIN", "ann").confluent) as consumer:
        consumer.subscribe(["read"])
        assert _first(consumer) == b"v"
        consumer.commit(asynchronous=False)
        assert sum(log.groups["readers"].lag.values()) == 0


def _codes(consumer: Any) -> set[int]:
    """What a consumer hears first."""
    for _ in range(100):
        message = consumer.poll(0.2)
        if message is not None:
            return {message.error().code() if message.error() else 0}
    return set()


def _first(consumer: Any) -> bytes | None:
    for _ in range(100):
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            value: bytes | None = message.value()
            return value
    return None
