"""A gateway where one user may do everything and the others nothing, and ACLs for these, made by a client."""

from __future__ import annotations

from typing import Any

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
from tests.kafka.secured.logins import PASSWORD, Login, log_in, topics
from tests.kafka.wire import Wire

ANN, BOB, CAROL = (Login("PLAIN", name) for name in ("ann", "bob", "carol"))
USERS = dict.fromkeys(("ann", "bob", "carol"), PASSWORD)
READ, WRITE, CREATE, DESCRIBE, ALL = (
    AclOperation.READ, AclOperation.WRITE, AclOperation.CREATE, AclOperation.DESCRIBE, AclOperation.ALL,
)  # fmt: skip
TOPIC, GROUP, CLUSTER, PRODUCER = (
    ResourceType.TOPIC, ResourceType.GROUP, ResourceType.BROKER, ResourceType.TRANSACTIONAL_ID,
)  # fmt: skip
TOPICS = {"orders", "orders-eu", "secret"}
EVERYTHING = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)


def serve(log: streamhouse.Log, **settings: Any) -> Gateway:
    """Ann may do everything, the others nothing."""
    strict = {"authorize": True, "super_users": ["User:ann"], "allow_everyone_without_acl": False}
    return streamhouse.kafka.serve(
        log, port=0, **{"sasl_mechanisms": ["PLAIN"], "plain_users": USERS, **strict, **settings}
    )


def serve_topics(log: streamhouse.Log, **settings: Any) -> Gateway:
    """The same, with some topics."""
    for name in sorted(TOPICS):
        log.create_topic(name)
    return serve(log, **settings)


def new_admin(gateway: Gateway, login: Login = ANN) -> AdminClient:
    return AdminClient({"bootstrap.servers": gateway.bootstrap, "log_level": 0, **login.confluent})


def acl(
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    user: str = "bob",
    *,
    host: str = "*",
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
    permission: AclPermissionType = AclPermissionType.ALLOW,
) -> AclBinding:
    return AclBinding(kind, name, pattern, f"User:{user}", host, operation, permission)


def allow(gateway: Gateway, *bindings: AclBinding) -> None:
    admin = new_admin(gateway)
    for future in admin.create_acls(list(dict.fromkeys(bindings))).values():
        future.result(20)


def withdraw(gateway: Gateway, wanted: AclBindingFilter = EVERYTHING) -> None:
    """All ACLs that a filter means."""
    admin = new_admin(gateway)
    for future in admin.delete_acls([wanted]).values():
        future.result(20)


def visible(gateway: Gateway, login: Login = BOB) -> set[str]:
    with Wire(gateway) as wire:
        assert log_in(wire, login.user).error_code == 0
        return topics(wire)
