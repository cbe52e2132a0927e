"""ACLs and filters that make sense, and others."""

from __future__ import annotations

import msgspec
import pytest

from streamhouse.errors import InvalidInputError
from streamhouse.kafka.security.bindings import (
    CLUSTER_OPERATIONS,
    AclBinding,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    ResourceType,
    check_binding,
    check_filter,
    known,
)

GOOD = AclBinding(
    ResourceType.TOPIC, "orders", PatternType.LITERAL, "User:alice", "*", Operation.READ, Permission.ALLOW
)


def changed(**values: object) -> AclBinding:
    return msgspec.structs.replace(GOOD, **values)


@pytest.mark.parametrize(
    "binding",
    [
        GOOD,
        changed(name="*"),
        changed(name="or", pattern_type=PatternType.PREFIXED),
        changed(operation=Operation.ALL, permission=Permission.DENY),
        changed(resource_type=ResourceType.CLUSTER, name="kafka-cluster"),
        changed(resource_type=ResourceType.USER, name="User:bob", operation=Operation.CREATE_TOKENS),
        changed(principal="User:*", host="10.0.0.1"),
        changed(principal="Group:a:b"),
        changed(name="x" * 1000),
    ],
)
def test_sense(binding: AclBinding) -> None:
    check_binding(binding)


@pytest.mark.parametrize(
    ("binding", "why"),
    [
        (changed(resource_type=ResourceType.ANY), "Invalid resourceType ANY"),
        (changed(resource_type=ResourceType.UNKNOWN), "Invalid resourceType UNKNOWN"),
        (changed(pattern_type=PatternType.ANY), "Invalid patternType ANY"),
        (changed(pattern_type=PatternType.MATCH), "Invalid patternType MATCH"),
        (changed(pattern_type=PatternType.UNKNOWN), "Invalid patternType UNKNOWN"),
        (changed(operation=Operation.ANY), "Invalid operation ANY"),
        (changed(operation=Operation.UNKNOWN), "Invalid operation UNKNOWN"),
        (changed(permission=Permission.ANY), "Invalid permissionType ANY"),
        (changed(permission=Permission.UNKNOWN), "Invalid permissionType UNKNOWN"),
        (changed(name=""), "Invalid empty resource name"),
        (
            changed(resource_type=ResourceType.CLUSTER),
            "only valid name for the CLUSTER resource is kafka-cluster",
        ),
        (changed(resource_type=ResourceType.CLUSTER, name="*"), "only valid name"),
        (changed(principal="alice"), "no colon"),
        (changed(name="x" * 1001), "1001"),
        (changed(principal="User:" + "x" * 1000), "1005"),
        (changed(host="x" * 1001), "1001"),
    ],
)
def test_nonsense(binding: AclBinding, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        check_binding(binding)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (AclFilter(resource_type=ResourceType.UNKNOWN), "Unknown patternFilter."),
        (AclFilter(pattern_type=PatternType.UNKNOWN), "Unknown patternFilter."),
        (AclFilter(operation=Operation.UNKNOWN), "Unknown entryFilter."),
        (AclFilter(permission=Permission.UNKNOWN), "Unknown entryFilter."),
    ],
)
def test_filters_that_nobody_understands(wanted: AclFilter, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        check_filter(wanted)
    check_filter(AclFilter())


def test_numbers() -> None:
    assert known(Operation, 3) is Operation.READ
    assert known(Operation, 99) is Operation.UNKNOWN
    assert known(ResourceType, -1) is ResourceType.UNKNOWN
    assert known(PatternType, 4) is PatternType.PREFIXED
    assert known(Permission, 4) is Permission.UNKNOWN
    assert CLUSTER_OPERATIONS == 0x1FA0


def test_stored_and_read_again() -> None:
    stored = msgspec.msgpack.encode(GOOD)
    assert stored == msgspec.msgpack.encode((2, "orders", 3, "User:alice", "*", 3, 3))
    assert msgspec.msgpack.decode(stored, type=AclBinding) == GOOD
