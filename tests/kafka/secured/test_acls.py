"""ACLs: who may make them, with which clients, and whom they bind, where and when."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from tests.kafka.admin.clients import code, outcomes
from tests.kafka.clients.samples import until
from tests.kafka.secured.acls import (
    ALL,
    ANN,
    BOB,
    CAROL,
    CLUSTER,
    CREATE,
    DESCRIBE,
    EVERYTHING,
    GROUP,
    PRODUCER,
    READ,
    TOPIC,
    TOPICS,
    WRITE,
    acl,
    allow,
    new_admin,
    serve,
    serve_topics,
    visible,
    withdraw,
)
from tests.kafka.secured.logins import log_in, topics
from tests.kafka.wire import Wire

with warnings.catch_warnings():  # it reads its files in an old way
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka.admin
    import kafka.errors


@pytest.fixture
def gateway(log: streamhouse.Log) -> Iterator[Gateway]:
    with serve_topics(log) as gateway:
        yield gateway


# --- administration ----------------------------------------------------------------------------------------


def test_confluent_administers_them(gateway: Gateway) -> None:
    assert held(gateway) == set()
    prefixed = ResourcePatternType.PREFIXED
    of_groups = acl(GROUP, "mail", ALL, pattern=prefixed)
    of_carol = {acl(TOPIC, "team.", ALL, "carol", pattern=prefixed), acl(TOPIC, "orders", READ, "carol")}
    others = {
        acl(TOPIC, "orders", READ),
        acl(TOPIC, "orders", WRITE, permission=AclPermissionType.DENY, host="10.0.0.1"),
        acl(CLUSTER, "kafka-cluster", CREATE, "*"),
        acl(PRODUCER, "mover", WRITE),
    }
    allow(gateway, of_groups, *of_carol, *others)
    allow(gateway, of_groups, *others)  # nothing new
    assert held(gateway) == {of_groups, *of_carol, *others}
    for name, resource, principal, meant in (
        ("mailer", GROUP, None, {of_groups}),
        (None, ResourceType.ANY, "User:carol", of_carol),
        (None, ResourceType.ANY, None, others),
    ):
        pattern = ResourcePatternType.ANY if name is None else ResourcePatternType.MATCH
        wanted = AclBindingFilter(
            resource, name, pattern, principal, None, AclOperation.ANY, AclPermissionType.ANY
        )
        before = held(gateway)
        assert held(gateway, wanted) == deleted(gateway, wanted) == meant
        assert held(gateway) == before - meant
        assert deleted(gateway, wanted) == set()


def held(gateway: Gateway, wanted: AclBindingFilter = EVERYTHING) -> set[AclBinding]:
    admin = new_admin(gateway)
    return set(admin.describe_acls(wanted).result(20))


def deleted(gateway: Gateway, wanted: AclBindingFilter) -> set[AclBinding]:
    admin = new_admin(gateway)
    (gone,) = admin.delete_acls([wanted]).values()
    return set(gone.result(20))


def test_kafka_python_administers_them(gateway: Gateway) -> None:
    admin = kafka.admin.KafkaAdminClient(bootstrap_servers=gateway.bootstrap, **ANN.python)
    try:
        binding = kafka.admin.ACL(
            "User:bob",
            "*",
            kafka.admin.ACLOperation.READ,
            kafka.admin.ACLPermissionType.ALLOW,
            kafka.admin.ResourcePattern(
                kafka.admin.ResourceType.TOPIC, "ord", kafka.admin.ACLResourcePatternType.PREFIXED
            ),
        )
        everything = kafka.admin.ACLFilter(
            None,
            None,
            kafka.admin.ACLOperation.ANY,
            kafka.admin.ACLPermissionType.ANY,
            kafka.admin.ResourcePatternFilter(
                kafka.admin.ResourceType.ANY, None, kafka.admin.ACLResourcePatternType.ANY
            ),
        )
        made = admin.create_acls([binding])
        assert (made["succeeded"], made["failed"]) == ([binding], [])
        assert visible(gateway) == {"orders", "orders-eu"}
        found, error = admin.describe_acls(everything)
        assert (found, error) == ([binding], kafka.errors.NoError)
        ((_, deleted, error),) = admin.delete_acls([everything])
        assert (deleted, error) == ([binding], kafka.errors.NoError)
        assert visible(gateway) == set()
    finally:
        admin.close()


def test_others_may_not(gateway: Gateway) -> None:
    allow(gateway, acl(TOPIC, "*", ALL), acl(GROUP, "*", ALL))
    admin = new_admin(gateway, BOB)
    mine = acl(CLUSTER, "kafka-cluster", ALL)
    assert [code(each) for each in outcomes(admin.create_acls([mine])).values()] == [
        KafkaError.CLUSTER_AUTHORIZATION_FAILED
    ]
    for future in admin.delete_acls([EVERYTHING]).values():
        assert refusal(future) == KafkaError.CLUSTER_AUTHORIZATION_FAILED
    assert admin.describe_acls(EVERYTHING).result(20) == []  # it does not pass the refusal on
    assert len(held(gateway)) == 2
    allow(gateway, acl(CLUSTER, "kafka-cluster", AclOperation.ALTER))
    assert outcomes(admin.create_acls([mine])) == {"kafka-cluster": None}


def test_where_nobody_asks_there_are_none(log: streamhouse.Log) -> None:
    with serve(log, authorize=False, super_users=[]) as gateway:
        admin = new_admin(gateway)
        for future in admin.create_acls([acl(TOPIC, "t", READ)]).values():
            assert refusal(future) == KafkaError.SECURITY_DISABLED


def refusal(future: Any) -> int:
    with pytest.raises(KafkaException) as refused:
        future.result(20)
    error: int = refused.value.args[0].code()
    return error


# --- what they mean ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bindings", "seen"),
    [
        ([acl(TOPIC, "orders", READ)], {"orders"}),
        ([acl(TOPIC, "orders", WRITE)], {"orders"}),
        ([acl(TOPIC, "orders", CREATE)], set()),
        ([acl(TOPIC, "*", DESCRIBE)], TOPICS),
        ([acl(TOPIC, "*", DESCRIBE, "*")], TOPICS),
        ([acl(TOPIC, "*", DESCRIBE, "carol")], set()),
        ([acl(GROUP, "*", ALL)], set()),
        ([acl(TOPIC, "orders", READ, pattern=ResourcePatternType.PREFIXED)], {"orders", "orders-eu"}),
        ([acl(TOPIC, "orders", READ, host="127.0.0.1")], {"orders"}),
        ([acl(TOPIC, "orders", READ, host="10.1.2.3")], set()),
        (
            [
                acl(TOPIC, "orders", READ, pattern=ResourcePatternType.PREFIXED),
                acl(TOPIC, "orders-eu", DESCRIBE, permission=AclPermissionType.DENY),
            ],
            {"orders"},
        ),
        (
            [acl(TOPIC, "*", ALL), acl(TOPIC, "secret", DESCRIBE, "*", permission=AclPermissionType.DENY)],
            {"orders", "orders-eu"},
        ),
        (
            [
                acl(TOPIC, "secret", ALL),
                acl(TOPIC, "s", ALL, pattern=ResourcePatternType.PREFIXED, permission=AclPermissionType.DENY),
            ],
            set(),
        ),
    ],
)
def test_patterns_hosts_and_denials(gateway: Gateway, bindings: Sequence[AclBinding], seen: set[str]) -> None:
    allow(gateway, *bindings)
    assert visible(gateway) == seen
    assert visible(gateway, ANN) == TOPICS  # whatever ACLs say
    withdraw(gateway)
    assert visible(gateway) == set()


def test_what_no_acl_speaks_of_may_be_everybodys(log: streamhouse.Log) -> None:
    with serve_topics(log, allow_everyone_without_acl=True) as gateway:
        assert visible(gateway) == TOPICS
        allow(gateway, acl(TOPIC, "secret", READ, "carol"))
        assert visible(gateway) == {"orders", "orders-eu"}
        assert visible(gateway, CAROL) == TOPICS


def test_who_need_not_log_in_is_anonymous(log: streamhouse.Log) -> None:
    log.create_topic("t")
    with serve(log) as administration, serve(log, sasl_mechanisms=[]) as gateway, Wire(gateway) as wire:
        assert topics(wire) == set()
        allow(administration, acl(TOPIC, "t", READ, "ANONYMOUS"))
        assert topics(wire) == {"t"}


def test_they_hold_at_other_gateways_and_for_connections_that_are_open(tmp_path: Path) -> None:
    """Two logs on one store, as two processes would have them."""
    with (
        streamhouse.Log(tmp_path) as log,
        streamhouse.Log(tmp_path) as other_log,
        serve(log) as gateway,
        serve(other_log) as other,
        Wire(gateway) as here,
        Wire(other) as there,
    ):
        log.create_topic("orders")
        for wire in (here, there):
            assert log_in(wire, "bob").error_code == 0
            assert topics(wire) == set()
        allow(gateway, acl(TOPIC, "orders", READ))
        assert topics(here) == {"orders"}
        until(lambda: topics(there) == {"orders"}, seconds=2)
        withdraw(gateway)
        assert topics(here) == set()
        until(lambda: topics(there) == set(), seconds=2)


def test_clients_are_told_what_they_may_do(gateway: Gateway) -> None:
    allow(gateway, acl(TOPIC, "orders", READ), acl(TOPIC, "orders", AclOperation.ALTER_CONFIGS))
    admin = new_admin(gateway, BOB)
    described = admin.describe_topics(TopicCollection(["orders"]), include_authorized_operations=True)
    assert {each.name for each in described["orders"].result(20).authorized_operations} == {
        "READ", "DESCRIBE", "ALTER_CONFIGS", "DESCRIBE_CONFIGS",
    }  # fmt: skip
    cluster = admin.describe_cluster(include_authorized_operations=True)
    assert cluster.result(20).authorized_operations in (None, [])
    administrator = new_admin(gateway)
    cluster = administrator.describe_cluster(include_authorized_operations=True)
    assert {each.name for each in cluster.result(20).authorized_operations} == {
        "CREATE", "ALTER", "DESCRIBE", "CLUSTER_ACTION", "DESCRIBE_CONFIGS", "ALTER_CONFIGS",
        "IDEMPOTENT_WRITE",
    }  # fmt: skip
