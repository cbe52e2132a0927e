"""Every request without the rights that it needs: refused in Kafka's words, and nothing has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import pytest
from kio.schema.errors import ErrorCode

import streamhouse
import streamhouse.kafka
from streamhouse.kafka.protocol import apis
from streamhouse.kafka.security.bindings import Operation, PatternType, Permission, ResourceType
from tests.kafka.secured.locks import watch_the_lock
from tests.kafka.secured.logins import PASSWORD, log_in
from tests.kafka.test_versions import GOOD, SASL
from tests.kafka.wire import Wire
from tests.kafka.world import NONE, World, errors

ADMIN, EVE = "admin", "eve"
ANY_HOST = "*"


class Right(NamedTuple):
    """What is needed for something.

    Attributes:
        kind: Of the resource.
        operation: What is done with it.
        name: Its name; ``{}`` is the version of the request.
        error: What is said without the right; ``None``: what is not to be seen is left out.
    """

    kind: ResourceType
    operation: Operation
    name: str
    error: ErrorCode | None


def topic(operation: Operation, name: str = "t") -> Right:
    return Right(ResourceType.TOPIC, operation, name, ErrorCode.topic_authorization_failed)


def group(operation: Operation, name: str = "g{}") -> Right:
    return Right(ResourceType.GROUP, operation, name, ErrorCode.group_authorization_failed)


def named(operation: Operation) -> Right:
    return Right(
        ResourceType.TRANSACTIONAL_ID, operation, "x{}", ErrorCode.transactional_id_authorization_failed
    )


def cluster(operation: Operation) -> Right:
    return Right(ResourceType.CLUSTER, operation, "kafka-cluster", ErrorCode.cluster_authorization_failed)


def unseen(right: Right) -> Right:
    return right._replace(error=None)


NEEDED: Final[dict[apis.Api, list[Right]]] = {
    apis.PRODUCE: [topic(Operation.WRITE)],
    apis.FETCH: [topic(Operation.READ)],
    apis.LIST_OFFSETS: [topic(Operation.DESCRIBE)],
    apis.METADATA: [topic(Operation.DESCRIBE)],
    apis.OFFSET_COMMIT: [group(Operation.READ), topic(Operation.READ)],
    apis.OFFSET_FETCH: [group(Operation.DESCRIBE), topic(Operation.DESCRIBE)],
    apis.FIND_COORDINATOR: [group(Operation.DESCRIBE, "g")],
    apis.JOIN_GROUP: [group(Operation.READ)],
    apis.HEARTBEAT: [group(Operation.READ)],
    apis.LEAVE_GROUP: [group(Operation.READ)],
    apis.SYNC_GROUP: [group(Operation.READ)],
    apis.DESCRIBE_GROUPS: [group(Operation.DESCRIBE)],
    apis.LIST_GROUPS: [unseen(group(Operation.DESCRIBE))],
    apis.API_VERSIONS: [],
    apis.CREATE_TOPICS: [topic(Operation.CREATE, "new{}")],
    apis.DELETE_TOPICS: [topic(Operation.DELETE, "old{}")],
    apis.DELETE_RECORDS: [topic(Operation.DELETE)],
    apis.INIT_PRODUCER_ID: [named(Operation.WRITE)],
    apis.OFFSET_FOR_LEADER_EPOCH: [topic(Operation.DESCRIBE)],
    apis.ADD_PARTITIONS_TO_TXN: [named(Operation.WRITE), topic(Operation.WRITE)],
    apis.ADD_OFFSETS_TO_TXN: [named(Operation.WRITE), group(Operation.READ, "g")],
    apis.END_TXN: [named(Operation.WRITE)],
    apis.TXN_OFFSET_COMMIT: [named(Operation.WRITE), group(Operation.READ, "g"), topic(Operation.READ)],
    apis.DESCRIBE_ACLS: [cluster(Operation.DESCRIBE)],
    apis.CREATE_ACLS: [cluster(Operation.ALTER)],
    apis.DELETE_ACLS: [cluster(Operation.ALTER)],
    apis.DESCRIBE_CONFIGS: [topic(Operation.DESCRIBE_CONFIGS)],
    apis.ALTER_CONFIGS: [topic(Operation.ALTER_CONFIGS)],
    apis.DESCRIBE_LOG_DIRS: [cluster(Operation.DESCRIBE)],
    apis.CREATE_PARTITIONS: [topic(Operation.ALTER)],
    apis.DELETE_GROUPS: [group(Operation.DELETE)],
    apis.INCREMENTAL_ALTER_CONFIGS: [topic(Operation.ALTER_CONFIGS)],
    apis.OFFSET_DELETE: [group(Operation.DELETE), topic(Operation.READ)],
    apis.DESCRIBE_CLIENT_QUOTAS: [cluster(Operation.DESCRIBE_CONFIGS)],
    apis.ALTER_CLIENT_QUOTAS: [cluster(Operation.ALTER_CONFIGS)],
    apis.DESCRIBE_USER_SCRAM_CREDENTIALS: [cluster(Operation.DESCRIBE)],
    apis.ALTER_USER_SCRAM_CREDENTIALS: [cluster(Operation.ALTER)],
    apis.DESCRIBE_CLUSTER: [],
    apis.DESCRIBE_PRODUCERS: [topic(Operation.READ)],
    apis.DESCRIBE_TRANSACTIONS: [named(Operation.DESCRIBE)],
    apis.LIST_TRANSACTIONS: [unseen(named(Operation.DESCRIBE))],
    apis.CONSUMER_GROUP_HEARTBEAT: [group(Operation.READ), topic(Operation.DESCRIBE)],
    apis.CONSUMER_GROUP_DESCRIBE: [group(Operation.DESCRIBE), topic(Operation.DESCRIBE)],
    apis.DESCRIBE_TOPIC_PARTITIONS: [topic(Operation.DESCRIBE)],
}


@dataclass
class Said:
    """All that counts of a response."""

    error_code: ErrorCode


# Configs of a new topic are shown to those who may see them, which is another right.
SHOWN_WITH_MORE: Final = {apis.CREATE_TOPICS: [ErrorCode.topic_authorization_failed]}
WITHOUT_ERRORS: Final = {(apis.DESCRIBE_LOG_DIRS, 1)}


class Stage:
    """A gateway where nobody but an administrator may do anything; and eve, who may do nothing yet."""

    def __init__(self, log: streamhouse.Log, admin: World, eve: World) -> None:
        self.log = log
        self.admin = admin
        self.eve = eve

    def allow(self, right: Right, version: int) -> None:
        """Make an ACL for eve, as an administrator does."""
        creation = {
            "resource_type": right.kind,
            "resource_name": right.name.format(version),
            "resource_pattern_type": PatternType.LITERAL,
            "principal": f"User:{EVE}",
            "host": ANY_HOST,
            "operation": right.operation,
            "permission_type": Permission.ALLOW,
        }
        assert errors(self.admin.ask(apis.CREATE_ACLS, 3, {"creations": [creation]})) == NONE

    def commits(self) -> int:
        """How many there are in the log: one that is refused makes none."""
        return self.log._commits.state.seq


@pytest.fixture
def stage() -> Iterator[Stage]:
    with (
        streamhouse.Log("memory://") as log,
        streamhouse.kafka.serve(
            log, port=0, authorize=True, allow_everyone_without_acl=False, super_users=(f"User:{ADMIN}",),
            sasl_mechanisms=("PLAIN",), plain_users={ADMIN: PASSWORD, EVE: PASSWORD},
            auto_create_topics=False,
        ) as gateway,
        Wire(gateway) as admin,
        Wire(gateway) as eve,
    ):  # fmt: skip
        watch_the_lock(gateway)
        log.create_topic("t", partitions=2)
        with log.producer() as producer:
            producer.send("t", b"v", key=b"k", partition=0)
        for wire, user in ((admin, ADMIN), (eve, EVE)):
            assert log_in(wire, user).error_code == 0
        yield Stage(log, World(log, gateway, admin), World(log, gateway, eve))


def asked(stage: Stage, api: apis.Api, version: int) -> Callable[[], Any]:
    """A request for which all is prepared but the rights."""
    values = GOOD[api](stage.admin, version)
    if api is apis.JOIN_GROUP:
        first = stage.admin.ask(api, version, values)
        values = {**values, "member_id": first.member_id}
    if api is apis.DESCRIBE_TRANSACTIONS:
        return lambda: _described(stage, values)
    return lambda: stage.eve.ask(api, version, values)


def _described(stage: Stage, values: dict[str, Any]) -> Any:
    """kio reads no time before 1970, but -1 is what Kafka says when there is none."""
    stage.eve.wire.send(apis.DESCRIBE_TRANSACTIONS.key, 0, **values)
    frame = stage.eve.wire.receive_frame()
    error_start = 4 + 1 + 4 + 1  # correlation, tags, throttle time, count
    return Said(ErrorCode(int.from_bytes(frame[error_start : error_start + 2], "big")))


def test_every_api_has_a_row() -> None:
    assert {*NEEDED, *SASL} == set(apis.APIS.values())


@pytest.mark.parametrize("api", NEEDED, ids=lambda api: api.name)
def test_without_any_right(stage: Stage, api: apis.Api) -> None:
    for version in {api.first, api.last}:
        ask = asked(stage, api, version)
        before = stage.commits()
        response = ask()
        assert stage.commits() == before
        needed = NEEDED[api]
        if not needed:
            assert errors(response) <= NONE
        elif needed[0].error is None:
            assert not seen(response), response
        elif (api, version) in WITHOUT_ERRORS:
            assert not response.results
        else:
            assert needed[0].error in errors(response), (version, response)


@pytest.mark.parametrize(
    ("api", "missing"), [(api, place) for api, rights in NEEDED.items() for place in range(len(rights))],
    ids=lambda value: value.name if isinstance(value, apis.Api) else str(value),
)  # fmt: skip
def test_every_right_is_needed_and_all_are_enough(stage: Stage, api: apis.Api, missing: int) -> None:
    version = api.last
    ask = asked(stage, api, version)
    rights = NEEDED[api]
    for place, right in enumerate(rights):
        if place != missing:
            stage.allow(right, version)
    before = stage.commits()
    response = ask()
    lacking = rights[missing]
    if lacking.error is None:
        assert not seen(response)
    elif lacking.error not in errors(response):
        assert lacking.kind is ResourceType.TOPIC
        assert "'t'" not in repr(response), response  # a topic that one may not see is left out
    assert stage.commits() == before or len(rights) > 1
    stage.allow(lacking, version)
    response = ask()
    said = errors(response)
    assert said <= {*NONE, *SHOWN_WITH_MORE.get(api, ())}, response
    assert not said or said >= NONE, response
    assert lacking.error is not None or seen(response)


def seen(response: Any) -> tuple[Any, ...]:
    """What a list shows."""
    return tuple(getattr(response, "groups", ())) + tuple(getattr(response, "transaction_states", ()))
