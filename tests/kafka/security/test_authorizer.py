"""The ACLs of a log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from kio.schema.errors import ErrorCode

from streamhouse import Log, limits
from streamhouse.commits.log import CommitLog
from streamhouse.errors import InvalidInputError, InvalidSettingError, UnsupportedFormatError
from streamhouse.format.operations import SetEntry
from streamhouse.kafka.security.authorizer import Authorizer, Created
from streamhouse.kafka.security.bindings import (
    AclBinding,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    ResourceType,
)
from tests.kafka.security.test_acls import ALICE, DENY, GROUP, HOST, PREFIXED, TOPIC, acl

EVERYTHING = AclFilter()


def authorizer_of(commits: CommitLog, *super_users: str, default: bool = False) -> Authorizer:
    return Authorizer(commits, super_users, allowed_by_default=default)


@pytest.fixture
def authorizer(commits: CommitLog) -> Authorizer:
    return authorizer_of(commits)


def reads(authorizer: Authorizer, name: str = "orders", principal: str = ALICE) -> bool:
    return authorizer.allows(principal, HOST, Operation.READ, TOPIC, name)


def test_creating_and_deleting(authorizer: Authorizer) -> None:
    assert not reads(authorizer)
    assert authorizer.create([acl("orders"), acl("inv", pattern=PREFIXED)]) == [Created(), Created()]
    assert reads(authorizer)
    assert reads(authorizer, "invoices")
    assert authorizer.create([acl("orders", Operation.READ, DENY)]) == [Created()]
    assert not reads(authorizer)
    deleted = authorizer.delete([AclFilter(permission=DENY), AclFilter(name="nothing")])
    assert [each.bindings for each in deleted] == [(acl("orders", Operation.READ, DENY),), ()]
    assert reads(authorizer)
    assert authorizer.describe(EVERYTHING) == sorted([acl("orders"), acl("inv", pattern=PREFIXED)])
    authorizer.delete([EVERYTHING])
    assert not reads(authorizer)
    assert authorizer.describe(EVERYTHING) == []


def test_settings(commits: CommitLog) -> None:
    authorizer = authorizer_of(commits, "User:root", default=True)
    assert reads(authorizer)
    authorizer.create([acl("*", Operation.ALL, DENY, principal="User:*")])
    assert not reads(authorizer)
    assert reads(authorizer, principal="User:root")
    assert authorizer.allows_any("User:root", HOST, Operation.WRITE, TOPIC)
    assert not authorizer.allows_any(ALICE, HOST, Operation.WRITE, TOPIC)
    assert authorizer.operations("User:root", HOST, GROUP, "g") > 0
    with pytest.raises(InvalidSettingError, match="'User:root'"):
        authorizer_of(commits, "root")


def test_what_is_there_already(commits: CommitLog, authorizer: Authorizer) -> None:
    binding = acl("orders")
    assert authorizer.create([binding, binding]) == [Created(), Created()]
    before = commits.state.seq
    assert authorizer.create([binding]) == [Created()]
    assert commits.state.seq == before
    assert authorizer.describe(EVERYTHING) == [binding]


def test_some_make_no_sense(authorizer: Authorizer) -> None:
    created = authorizer.create(
        [acl(""), acl("orders"), acl("orders", Operation.ANY), acl("x", principal="alice")]
    )
    assert [each.error for each in created] == [
        ErrorCode.invalid_request,
        ErrorCode.none,
        ErrorCode.invalid_request,
        ErrorCode.invalid_request,
    ]
    assert [each.message for each in created[:3]] == [
        "Invalid empty resource name",
        None,
        "Invalid operation ANY",
    ]
    assert authorizer.describe(EVERYTHING) == [acl("orders")]


def test_filters_that_nobody_understands(authorizer: Authorizer) -> None:
    authorizer.create([acl("orders")])
    unknown = AclFilter(operation=Operation.UNKNOWN)
    deleted = authorizer.delete([unknown, AclFilter(name="orders")])
    assert [(each.error, len(each.bindings)) for each in deleted] == [
        (ErrorCode.invalid_request, 0),
        (ErrorCode.none, 1),
    ]
    with pytest.raises(InvalidInputError, match="Unknown entryFilter"):
        authorizer.describe(unknown)


def test_filters_that_overlap_both_tell(authorizer: Authorizer) -> None:
    authorizer.create([acl("a"), acl("b")])
    deleted = authorizer.delete([AclFilter(name="a"), EVERYTHING])
    assert [len(each.bindings) for each in deleted] == [1, 2]


def test_a_full_log(authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENTRIES_MAX", 2)
    created = authorizer.create([acl("a"), acl("b"), acl("c"), acl("")])
    assert sorted(each.error for each in created) == [
        ErrorCode.none,
        ErrorCode.none,
        ErrorCode.invalid_request,
        ErrorCode.policy_violation,
    ]


@pytest.mark.parametrize("value", [b"\xc0", msgspec.msgpack.encode((2, "orders", 3, "User:bob", "*", 99, 2))])
def test_what_a_newer_version_wrote_allows_nothing(
    commits: CommitLog, authorizer: Authorizer, value: bytes
) -> None:
    """It may be a prohibition."""
    authorizer.create([acl("orders")])
    assert reads(authorizer)
    commits.propose(SetEntry("kafka/acls/x", value, 0))
    with pytest.raises(UnsupportedFormatError, match="kafka/acls/x"):
        reads(authorizer)


# --- several gateways ------------------------------------------------------------------------------------


def test_two_gateways(two: tuple[CommitLog, CommitLog]) -> None:
    here, there = map(authorizer_of, two)
    assert not reads(there)
    here.create([acl("orders")])
    two[1].refresh()
    assert reads(there)
    assert there.describe(EVERYTHING) == [acl("orders")]
    assert len(there.delete([EVERYTHING])[0].bindings) == 1
    assert here.delete([EVERYTHING])[0].bindings == ()
    assert not reads(here)


def test_what_was_deleted_elsewhere_is_created_again(two: tuple[CommitLog, CommitLog]) -> None:
    here, there = map(authorizer_of, two)
    here.create([acl("orders")])
    there.delete([EVERYTHING])
    assert here.create([acl("orders")]) == [Created()]
    assert there.describe(EVERYTHING) == [acl("orders")]


def test_what_was_created_elsewhere_is_deleted(two: tuple[CommitLog, CommitLog]) -> None:
    here, there = map(authorizer_of, two)
    here.create([acl("orders")])
    assert there.delete([EVERYTHING])[0].bindings == (acl("orders"),)


def test_each_acl_is_deleted_by_one(two: tuple[CommitLog, CommitLog]) -> None:
    gateways = [authorizer_of(commits) for commits in two]
    made = [acl(f"topic-{number}") for number in range(50)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda gateway: gateway.create(made), gateways))
        assert gateways[0].describe(EVERYTHING) == sorted(made)
        deleted = list(threads.map(lambda gateway: gateway.delete([EVERYTHING])[0].bindings, gateways))
    assert sorted([*deleted[0], *deleted[1]]) == sorted(made)


def test_they_outlive_the_gateway(tmp_path: object) -> None:
    bindings = [
        AclBinding(kind, name, pattern, "User:a", "*", Operation.DESCRIBE, Permission.ALLOW)
        for kind, name in ((ResourceType.TRANSACTIONAL_ID, "Zoë"), (ResourceType.CLUSTER, "kafka-cluster"))
        for pattern in (PatternType.LITERAL, PatternType.PREFIXED)
    ]
    with Log(f"{tmp_path}/log", durability="os") as log:
        authorizer_of(log._inside.commits).create(bindings)
    with Log(f"{tmp_path}/log", durability="os") as log:
        assert authorizer_of(log._inside.commits).describe(EVERYTHING) == sorted(bindings)
