"""Decisions by ACLs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamhouse.kafka.security import acls
from streamhouse.kafka.security.acls import AclIndex, canonical
from streamhouse.kafka.security.bindings import (
    CLUSTER_NAME,
    OPERATIONS,
    AclBinding,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    ResourceType,
)
from tests.kafka.security import naive

TOPIC, GROUP, CLUSTER = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER
LITERAL, PREFIXED = PatternType.LITERAL, PatternType.PREFIXED
ALLOW, DENY = Permission.ALLOW, Permission.DENY
ALICE, HOST = "User:alice", "10.0.0.1"


def acl(
    name: str,
    operation: Operation = Operation.READ,
    permission: Permission = ALLOW,
    *,
    pattern: PatternType = LITERAL,
    principal: str = ALICE,
    host: str = "*",
    kind: ResourceType = TOPIC,
) -> AclBinding:
    return AclBinding(kind, name, pattern, principal, host, operation, permission)


def index(*bindings: AclBinding, default: bool = False) -> AclIndex:
    return AclIndex(bindings, frozenset({"User:root"}), allowed_by_default=default)


def may(
    made: AclIndex,
    name: str = "orders",
    operation: Operation = Operation.READ,
    *,
    principal: str = ALICE,
    host: str = HOST,
    kind: ResourceType = TOPIC,
) -> bool:
    return made.allows(principal, host, operation, kind, name)


# --- one rule at a time ----------------------------------------------------------------------------------


@pytest.mark.parametrize("default", [True, False])
def test_what_no_acl_speaks_of(default: bool) -> None:
    assert may(index(default=default)) is default
    speaks = index(acl("orders", principal="User:bob"), default=default)
    assert not may(speaks)
    assert may(speaks, "invoices") is default
    assert may(speaks, kind=GROUP) is default
    assert may(speaks, principal="User:bob")


def test_super_users() -> None:
    made = index(acl("*", Operation.ALL, DENY, principal="User:*"))
    assert may(made, principal="User:root")
    assert not may(made, principal="User:roo")
    assert not may(made, principal="user:root")
    assert made.allows_any("User:root", HOST, Operation.WRITE, TOPIC)


def test_denial_wins() -> None:
    for pattern, name in ((LITERAL, "orders"), (LITERAL, "*"), (PREFIXED, "or"), (PREFIXED, "orders")):
        made = index(acl("orders"), acl(name, Operation.READ, DENY, pattern=pattern))
        assert not may(made)
    assert may(index(acl("orders"), acl("orders2", Operation.READ, DENY, pattern=PREFIXED)))
    assert may(index(acl("orders"), acl("orders", Operation.WRITE, DENY)))
    assert may(index(acl("orders"), acl("orders", Operation.READ, DENY, host="10.0.0.2")))
    assert may(index(acl("orders"), acl("orders", Operation.READ, DENY, principal="User:bob")))
    assert not may(index(acl("orders"), acl("orders", Operation.ALL, DENY, principal="User:*")))


def test_patterns() -> None:
    made = index(acl("a", pattern=PREFIXED), acl("b"), acl("*", kind=GROUP))
    assert [may(made, name) for name in ("a", "ab", "A", "b", "bc", "c")] == [
        True,
        True,
        False,
        True,
        False,
        False,
    ]
    assert may(made, "anything", kind=GROUP)
    assert may(made, "*starred", kind=GROUP)


@pytest.mark.parametrize(
    ("granted", "also"),
    [
        (Operation.READ, {Operation.DESCRIBE}),
        (Operation.WRITE, {Operation.DESCRIBE}),
        (Operation.DELETE, {Operation.DESCRIBE}),
        (Operation.ALTER, {Operation.DESCRIBE}),
        (Operation.ALTER_CONFIGS, {Operation.DESCRIBE_CONFIGS}),
        (Operation.CREATE, set()),
        (Operation.DESCRIBE, set()),
        (Operation.DESCRIBE_CONFIGS, set()),
        (Operation.ALL, set(OPERATIONS[TOPIC])),
    ],
)
def test_what_an_operation_includes(granted: Operation, also: set[Operation]) -> None:
    allowed = index(acl("orders", granted))
    assert {each for each in OPERATIONS[TOPIC] if may(allowed, operation=each)} == ({granted} | also) & set(
        OPERATIONS[TOPIC]
    )
    denied = index(acl("orders", granted, DENY), acl("orders", Operation.ALL))
    refused = {each for each in OPERATIONS[TOPIC] if not may(denied, operation=each)}
    assert refused == (set(OPERATIONS[TOPIC]) if granted is Operation.ALL else {granted})


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("fe80::1", "fe80::1%eth0"),
        ("FE80::1", "fe80:0::1"),
        ("*", "anywhere"),
        ("", ""),
    ],
)
def test_addresses(written: str, seen: str) -> None:
    assert may(index(acl("orders", host=written)), host=seen)
    assert not may(
        index(acl("orders", host=written), acl("*", Operation.READ, DENY, host=written)), host=seen
    )


@pytest.mark.parametrize(
    ("written", "seen"),
    [("10.0.0.1", "10.0.0.2"), ("::1", "::2"), ("10.0.0.1", ""), ("a:b", "a:c"), ("10.0.0.01", HOST)],
)
def test_other_addresses(written: str, seen: str) -> None:
    assert not may(index(acl("orders", host=written)), host=seen)


@given(st.text(alphabet="0123456789abcdef:.%x", max_size=20))
def test_any_text_may_stand_for_an_address(host: str) -> None:
    assert canonical(canonical(host)) == canonical(host)


# --- against the naive way -------------------------------------------------------------------------------

names = st.text(alphabet="ab", min_size=1, max_size=4)
principals = st.sampled_from(["User:alice", "User:bob", "User:root"])
hosts = st.sampled_from(["10.0.0.1", "10.0.0.2"])
kinds = st.sampled_from([TOPIC, GROUP])
operations = st.sampled_from(OPERATIONS[TOPIC])
bindings = st.builds(
    AclBinding,
    kinds,
    st.one_of(names, st.just("*")),
    st.sampled_from([LITERAL, PREFIXED]),
    st.one_of(principals, st.just("User:*")),
    st.one_of(hosts, st.just("*")),
    st.one_of(operations, st.just(Operation.ALL)),
    st.sampled_from([ALLOW, ALLOW, DENY]),
)
questions = st.tuples(principals, hosts, operations, kinds, st.one_of(names, st.sampled_from(["*", "*a"])))


@given(st.lists(bindings, max_size=12), st.booleans(), st.lists(questions, min_size=1, max_size=20))
def test_decisions_are_those_of_the_naive_way(
    held: list[AclBinding], default: bool, asked: list[tuple[Any, ...]]
) -> None:
    made = index(*held, default=default)
    for question in asked * 2:  # the second time it is remembered
        assert made.allows(*question) is naive.decide(held, ["User:root"], default, *question)


@given(st.lists(bindings, max_size=8), st.booleans(), principals, hosts, kinds, names)
def test_bits_are_the_decisions(
    held: list[AclBinding], default: bool, principal: str, host: str, kind: ResourceType, name: str
) -> None:
    bits = index(*held, default=default).operations(principal, host, kind, name)
    for operation in Operation:
        expected = operation in OPERATIONS[kind] and naive.decide(
            held, ["User:root"], default, principal, host, operation, kind, name
        )
        assert bool(bits & 1 << operation) is expected
    assert bits < 1 << 15


pertinent = st.builds(
    acl,
    st.one_of(st.text(alphabet="ab", min_size=1, max_size=2), st.just("*")),
    st.sampled_from([Operation.WRITE, Operation.WRITE, Operation.ALL, Operation.READ]),
    st.sampled_from([ALLOW, DENY]),
    pattern=st.sampled_from([LITERAL, PREFIXED]),
    principal=st.sampled_from([ALICE, ALICE, "User:*", "User:bob"]),
    host=st.sampled_from([HOST, "*", "10.0.0.2"]),
)


@given(st.lists(pertinent, max_size=5), st.booleans())
@example(
    [acl("*", Operation.WRITE), *(acl(p, Operation.WRITE, DENY, pattern=PREFIXED) for p in ("hard", "*"))],
    False,
)
@example([acl("a", Operation.WRITE, DENY), acl("*", Operation.WRITE, DENY)], True)
@example([acl("a", Operation.WRITE), acl("*", Operation.WRITE, DENY)], False)
@example([acl("a", Operation.WRITE), acl("a", Operation.WRITE, DENY)], False)
@example([acl("a", Operation.WRITE), acl("a", Operation.WRITE, DENY, pattern=PREFIXED)], False)
@example([acl("a", Operation.WRITE, pattern=PREFIXED), acl("a", Operation.WRITE, DENY)], False)
def test_any_means_some(held: list[AclBinding], default: bool) -> None:
    """``allows_any`` says whether there could be a resource with which it is allowed."""
    made = index(*held, default=default)
    # Beside those that are named: one that begins with each of the prefixes, and one that is like none.
    universe = (
        {binding.name for binding in held} | {f"{binding.name}~" for binding in held} | {"hardcode", "~"}
    )
    some = any(made.allows(ALICE, HOST, Operation.WRITE, TOPIC, name) for name in universe)
    for _ in range(2):  # the second time it is remembered
        assert made.allows_any(ALICE, HOST, Operation.WRITE, TOPIC) is some


def test_any_does_not_count_what_is_implied() -> None:
    """As in Kafka."""
    made = index(acl("orders", Operation.READ))
    assert may(made, operation=Operation.DESCRIBE)
    assert not made.allows_any(ALICE, HOST, Operation.DESCRIBE, TOPIC)
    assert made.allows_any(ALICE, HOST, Operation.READ, TOPIC)
    assert not made.allows_any(ALICE, HOST, Operation.READ, GROUP)
    assert not made.allows_any("User:bob", HOST, Operation.READ, TOPIC)


def test_any_where_nothing_is_said() -> None:
    assert index(default=True).allows_any(ALICE, HOST, Operation.WRITE, TOPIC)
    assert not index(default=False).allows_any(ALICE, HOST, Operation.WRITE, TOPIC)
    spoken = index(acl("*", Operation.WRITE, principal="User:bob"), default=True)
    assert not spoken.allows_any(ALICE, HOST, Operation.WRITE, TOPIC)


def test_bits() -> None:
    made = index()
    assert made.operations("User:root", HOST, CLUSTER, CLUSTER_NAME) == 0x1FA0
    assert made.operations("User:root", HOST, TOPIC, "orders") == 0xDF8
    assert made.operations("User:root", HOST, GROUP, "readers") == 0xD48
    assert made.operations("User:root", HOST, ResourceType.TRANSACTIONAL_ID, "payments") == 0x110
    assert made.operations(ALICE, HOST, CLUSTER, CLUSTER_NAME) == 0


def test_few_decisions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients may ask for whatever name they like."""
    monkeypatch.setattr(acls, "_DECISIONS_MAX", 10)
    made = index(acl("topic-7"))
    for number in [*range(100), *range(100)]:
        assert may(made, f"topic-{number}") is (number == 7)
        assert len(made._decisions) <= 10
    assert not may(made, "topic-7" + "x" * 1000)
    assert max(len(name or "") for *_, name in made._decisions) < 10


# --- filters ---------------------------------------------------------------------------------------------

filters = st.builds(
    AclFilter,
    st.one_of(kinds, st.just(ResourceType.ANY)),
    st.one_of(st.none(), names, st.just("*")),
    st.sampled_from([PatternType.ANY, PatternType.MATCH, LITERAL, PREFIXED]),
    st.one_of(st.none(), principals, st.just("User:*")),
    st.one_of(st.none(), hosts, st.just("*")),
    st.one_of(operations, st.just(Operation.ALL), st.just(Operation.ANY)),
    st.sampled_from([ALLOW, DENY, Permission.ANY]),
)


def is_meant(wanted: AclFilter, binding: AclBinding) -> bool:
    """One attribute after the other, as Kafka documents them."""
    if wanted.resource_type != ResourceType.ANY and wanted.resource_type != binding.resource_type:
        return False
    if wanted.pattern_type in (LITERAL, PREFIXED) and wanted.pattern_type != binding.pattern_type:
        return False
    if wanted.name is not None:
        if wanted.pattern_type == PatternType.MATCH:
            if not naive.is_meant(binding, wanted.name):
                return False
        elif wanted.name != binding.name:
            return False
    for there, here in ((wanted.principal, binding.principal), (wanted.host, binding.host)):
        if there is not None and there != here:
            return False
    if wanted.operation != Operation.ANY and wanted.operation != binding.operation:
        return False
    return wanted.permission == Permission.ANY or wanted.permission == binding.permission


@given(st.lists(bindings, max_size=12, unique=True), filters)
def test_filters(held: list[AclBinding], wanted: AclFilter) -> None:
    found = index(*held).matching(wanted)
    assert set(found) == {binding for binding in held if is_meant(wanted, binding)}
    assert found == sorted(found)


@given(st.lists(bindings, max_size=12, unique=True))
def test_the_filter_of_everything(held: list[AclBinding]) -> None:
    assert index(*held).matching(AclFilter()) == sorted(held)
