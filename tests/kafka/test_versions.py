"""Every request in every version that is served, by way of kio: done if it can be, refused if not."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence

import pytest
from kio.schema.errors import ErrorCode

import streamhouse
import streamhouse.kafka
from streamhouse.kafka.protocol import apis
from tests.kafka.wire import Wire
from tests.kafka.world import NONE, OFFSET, Values, World, batch, committing, errors, joining, new_world


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as world:
        yield world


# --- requests ----------------------------------------------------------------------------------------------

_ANY: Values = {
    "resource_type_filter": 1,
    "pattern_type_filter": 1,
    "operation": 1,
    "permission_type": 1,
}
_ACL: Values = {
    "resource_type": 2,
    "resource_name": "t",
    "resource_pattern_type": 3,
    "principal": "User:a",
    "host": "*",
    "operation": 3,
    "permission_type": 3,
}
_SHORT: Values = {"name": "retention.ms", "value": "1000", "config_operation": 0}


def _produce(topic: str) -> Values:
    parts = [{"index": 0, "records": batch()}]
    return {"acks": -1, "timeout": 5000, "topic_data": [{"name": topic, "partition_data": parts}]}


def _fetch(topic: str, topic_id: uuid.UUID) -> Values:
    parts = [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}]
    wanted = [{"topic": topic, "topic_id": topic_id, "partitions": parts}]
    return {"max_wait": 0, "min_bytes": 0, "topics": wanted}


def _list_offsets(topic: str) -> Values:
    parts = [{"partition_index": 0, "timestamp": -1}]
    return {"replica_id": -1, "topics": [{"name": topic, "partitions": parts}]}


def _epochs(topic: str) -> Values:
    return {"topics": [{"topic": topic, "partitions": [{"partition": 0, "leader_epoch": 0}]}]}


def _delete_records(topic: str) -> Values:
    return {"topics": [{"name": topic, "partitions": [{"partition_index": 0, "offset": 1}]}], "timeout": 1000}


def _offset_fetch(group: str) -> Values:
    topics = [{"name": "t", "partition_indexes": [0]}]
    return {"group_id": group, "topics": topics, "groups": [{"group_id": group, "topics": topics}]}


def _member(world: World, version: int) -> Values:
    member, generation = world.member(f"g{version}")
    return _as_member(f"g{version}", member, generation)


def _as_member(group: str, member: str, generation: int) -> Values:
    return {
        "group_id": group,
        "generation_id": generation,
        "member_id": member,
        "members": [{"member_id": member}],
        "protocol_type": "consumer",
        "protocol_name": "range",
    }


def _producer(world: World, version: int) -> Values:
    return _as_producer(f"x{version}", *world.producer(f"x{version}"), "t")


def _as_producer(name: str, producer: int, epoch: int, topic: str) -> Values:
    partitions = [{"name": topic, "partitions": [0]}]
    own = {"transactional_id": name, "producer_id": producer, "producer_epoch": epoch}
    below = {f"v3_and_below_{key}": value for key, value in own.items()}
    return {
        **own,
        **below,
        "v3_and_below_topics": partitions,
        "group_id": "g",
        "generation_id": -1,
        "committed": True,
        "topics": [OFFSET],
    }


def _configs(topic: str) -> Values:
    return {"resources": [{"resource_type": 2, "resource_name": topic, "configs": [_SHORT]}]}


def _quota(key: str) -> Values:
    entity = [{"entity_type": "user", "entity_name": "u"}]
    return {"entries": [{"entity": entity, "ops": [{"key": key, "value": 1000.0}]}]}


def _subscribing(group: str, epoch: int) -> Values:
    return {
        "group_id": group,
        "member_id": "m",
        "member_epoch": epoch,
        "rebalance_timeout": 1000,
        "subscribed_topic_names": ["t"],
        "topic_partitions": [],
    }


def _described(world: World, version: int) -> Values:
    group = f"g{version}"
    assert errors(world.ask(apis.CONSUMER_GROUP_HEARTBEAT, 1, _subscribing(group, 0))) == NONE
    return {"group_ids": [group]}


_SCRAM: Values = {
    "name": "u",
    "mechanism": 1,
    "iterations": 4096,
    "salt": b"salt" * 4,
    "salted_password": bytes(32),
}

GOOD: dict[apis.Api, Callable[[World, int], Values]] = {
    apis.PRODUCE: lambda _w, _v: _produce("t"),
    apis.FETCH: lambda w, _v: _fetch("t", w.topic_id),
    apis.LIST_OFFSETS: lambda _w, _v: _list_offsets("t"),
    apis.METADATA: lambda _w, _v: {"topics": [{"name": "t"}]},
    apis.OFFSET_COMMIT: lambda _w, v: committing(f"g{v}"),
    apis.OFFSET_FETCH: lambda w, v: _offset_fetch(w.offsets(f"g{v}")),
    apis.FIND_COORDINATOR: lambda _w, _v: {"key": "g", "coordinator_keys": ["g"]},
    apis.JOIN_GROUP: lambda _w, v: joining(f"g{v}"),
    apis.HEARTBEAT: _member,
    apis.LEAVE_GROUP: _member,
    apis.SYNC_GROUP: _member,
    apis.DESCRIBE_GROUPS: lambda w, v: {"groups": [_member(w, v)["group_id"]]},
    apis.LIST_GROUPS: lambda w, v: {"states_filter": [], "x": w.offsets(f"g{v}")},
    apis.API_VERSIONS: lambda _w, _v: {"client_software_name": "test", "client_software_version": "1"},
    apis.CREATE_TOPICS: lambda _w, v: {
        "topics": [{"name": f"new{v}", "num_partitions": 1, "replication_factor": 1, "configs": [_SHORT]}]
    },
    apis.DELETE_TOPICS: lambda w, v: _doomed(w, f"old{v}"),
    apis.DELETE_RECORDS: lambda _w, _v: _delete_records("t"),
    apis.INIT_PRODUCER_ID: lambda _w, v: {"transactional_id": f"x{v}", "transaction_timeout": 1000},
    apis.OFFSET_FOR_LEADER_EPOCH: lambda _w, _v: _epochs("t"),
    apis.ADD_PARTITIONS_TO_TXN: _producer,
    apis.ADD_OFFSETS_TO_TXN: _producer,
    apis.END_TXN: _producer,
    apis.TXN_OFFSET_COMMIT: _producer,
    apis.DESCRIBE_ACLS: lambda _w, _v: _ANY,
    apis.CREATE_ACLS: lambda _w, _v: {"creations": [_ACL]},
    apis.DELETE_ACLS: lambda _w, _v: {"filters": [_ANY]},
    apis.DESCRIBE_CONFIGS: lambda _w, _v: _configs("t"),
    apis.ALTER_CONFIGS: lambda _w, _v: _configs("t"),
    apis.DESCRIBE_LOG_DIRS: lambda _w, _v: {"topics": None},
    apis.CREATE_PARTITIONS: lambda _w, v: {"topics": [{"name": "t", "count": 3 + v}], "timeout": 1000},
    apis.DELETE_GROUPS: lambda w, v: {"groups_names": [w.offsets(f"g{v}")]},
    apis.INCREMENTAL_ALTER_CONFIGS: lambda _w, _v: _configs("t"),
    apis.OFFSET_DELETE: lambda w, v: {
        "group_id": w.offsets(f"g{v}"),
        "topics": [{"name": "t", "partitions": [{"partition_index": 0}]}],
    },
    apis.DESCRIBE_CLIENT_QUOTAS: lambda _w, _v: {"components": []},
    apis.ALTER_CLIENT_QUOTAS: lambda _w, _v: _quota("producer_byte_rate"),
    apis.DESCRIBE_USER_SCRAM_CREDENTIALS: lambda _w, _v: {"users": None},
    apis.ALTER_USER_SCRAM_CREDENTIALS: lambda _w, _v: {"deletions": [], "upsertions": [_SCRAM]},
    apis.DESCRIBE_CLUSTER: lambda _w, _v: {},
    apis.DESCRIBE_PRODUCERS: lambda _w, _v: {"topics": [{"name": "t", "partition_indexes": [0]}]},
    apis.DESCRIBE_TRANSACTIONS: lambda w, v: {"transactional_ids": [_opened(w, v)]},
    apis.LIST_TRANSACTIONS: lambda w, v: {"state_filters": [], "x": _opened(w, v)},
    apis.CONSUMER_GROUP_HEARTBEAT: lambda _w, v: _subscribing(f"g{v}", 0),
    apis.CONSUMER_GROUP_DESCRIBE: _described,
    apis.DESCRIBE_TOPIC_PARTITIONS: lambda _w, _v: {
        "topics": [{"name": "t"}],
        "response_partition_limit": 10,
    },
}


def _opened(world: World, version: int) -> str:
    """The name of a producer that has a transaction open."""
    producer = _producer(world, version)
    assert errors(world.ask(apis.TXN_OFFSET_COMMIT, 3, producer)) == NONE
    return f"x{version}"


def _doomed(world: World, name: str) -> Values:
    world.log.create_topic(name)
    return {"topic_names": [name], "topics": [{"name": name, "topic_id": None}], "timeout": 1000}


_STRANGER = _as_member("t", "nobody", 1)
_IMPOSTOR = _as_producer("unknown", 5, 0, "none")

# What each may say of a request that asks for what is not there; APIs that have nothing to say are not here.
BAD: dict[apis.Api, tuple[Values, Sequence[ErrorCode]]] = {
    apis.PRODUCE: (_produce("none"), [ErrorCode.unknown_topic_or_partition]),
    apis.FETCH: (
        _fetch("none", uuid.uuid4()),
        [ErrorCode.unknown_topic_or_partition, ErrorCode.unknown_topic_id],
    ),
    apis.LIST_OFFSETS: (_list_offsets("none"), [ErrorCode.unknown_topic_or_partition]),
    apis.METADATA: ({"topics": [{"name": "none"}]}, [ErrorCode.unknown_topic_or_partition]),
    apis.OFFSET_COMMIT: (
        {**committing("g"), "member_id": "nobody", "generation_id_or_member_epoch": 1},
        [ErrorCode.unknown_member_id, ErrorCode.illegal_generation],
    ),
    apis.JOIN_GROUP: ({**joining("g"), "member_id": "nobody"}, [ErrorCode.unknown_member_id]),
    apis.HEARTBEAT: (_STRANGER, [ErrorCode.unknown_member_id]),
    apis.LEAVE_GROUP: (_STRANGER, [ErrorCode.unknown_member_id]),
    apis.SYNC_GROUP: (_STRANGER, [ErrorCode.unknown_member_id]),
    apis.CREATE_TOPICS: (
        {"topics": [{"name": "a/b", "num_partitions": 1, "replication_factor": 1}]},
        [ErrorCode.invalid_topic_exception],
    ),
    apis.DELETE_TOPICS: (
        {"topic_names": ["none"], "topics": [{"name": "none", "topic_id": None}]},
        [ErrorCode.unknown_topic_or_partition],
    ),
    apis.DELETE_RECORDS: (_delete_records("none"), [ErrorCode.unknown_topic_or_partition]),
    apis.INIT_PRODUCER_ID: (
        {"transactional_id": "x", "transaction_timeout": 2**31 - 1},
        [ErrorCode.invalid_transaction_timeout],
    ),
    apis.OFFSET_FOR_LEADER_EPOCH: (_epochs("none"), [ErrorCode.unknown_topic_or_partition]),
    apis.ADD_PARTITIONS_TO_TXN: (_IMPOSTOR, [ErrorCode.invalid_producer_id_mapping]),
    apis.ADD_OFFSETS_TO_TXN: (_IMPOSTOR, [ErrorCode.invalid_producer_id_mapping]),
    apis.END_TXN: (_IMPOSTOR, [ErrorCode.invalid_producer_id_mapping]),
    apis.TXN_OFFSET_COMMIT: (_IMPOSTOR, [ErrorCode.invalid_producer_id_mapping]),
    apis.CREATE_ACLS: ({"creations": [{**_ACL, "principal": "nonsense"}]}, [ErrorCode.invalid_request]),
    apis.DESCRIBE_CONFIGS: (_configs("none"), [ErrorCode.unknown_topic_or_partition]),
    apis.ALTER_CONFIGS: (_configs("none"), [ErrorCode.unknown_topic_or_partition]),
    apis.CREATE_PARTITIONS: (
        {"topics": [{"name": "t", "count": 1}], "timeout": 1000},
        [ErrorCode.invalid_partitions],
    ),
    apis.DELETE_GROUPS: ({"groups_names": ["none"]}, [ErrorCode.group_id_not_found]),
    apis.INCREMENTAL_ALTER_CONFIGS: (_configs("none"), [ErrorCode.unknown_topic_or_partition]),
    apis.OFFSET_DELETE: ({"group_id": "none", "topics": []}, [ErrorCode.group_id_not_found]),
    apis.ALTER_CLIENT_QUOTAS: (_quota("nonsense"), [ErrorCode.invalid_request]),
    apis.DESCRIBE_USER_SCRAM_CREDENTIALS: (
        {"users": [{"name": "nobody"}]},
        [ErrorCode.resource_not_found],
    ),
    apis.ALTER_USER_SCRAM_CREDENTIALS: (
        {"deletions": [{"name": "nobody", "mechanism": 1}], "upsertions": []},
        [ErrorCode.resource_not_found],
    ),
    apis.DESCRIBE_PRODUCERS: (
        {"topics": [{"name": "none", "partition_indexes": [0]}]},
        [ErrorCode.unknown_topic_or_partition],
    ),
    apis.CONSUMER_GROUP_HEARTBEAT: (_subscribing("g", 5), [ErrorCode.unknown_member_id]),
    apis.CONSUMER_GROUP_DESCRIBE: ({"group_ids": ["none"]}, [ErrorCode.group_id_not_found]),
    apis.DESCRIBE_TOPIC_PARTITIONS: (
        {"topics": [{"name": "none"}], "response_partition_limit": 10},
        [ErrorCode.unknown_topic_or_partition],
    ),
}
SASL = (apis.SASL_HANDSHAKE, apis.SASL_AUTHENTICATE)


# --- tests -------------------------------------------------------------------------------------------------


def test_every_api_is_tried() -> None:
    assert {*GOOD, *SASL} == set(apis.APIS.values())


def test_every_api_has_a_handler(world: World) -> None:
    # What has none would have its connection closed, and what is not listed nobody would ask for.
    listed = world.ask(apis.API_VERSIONS, 4, {"client_software_name": "a", "client_software_version": "b"})
    found = {each.api_key: (each.min_version, each.max_version) for each in listed.api_keys}
    assert found == {api.key: (api.lowest_listed, api.last) for api in apis.APIS.values()}
    assert set(world.gateway._broker.server._handlers) == set(apis.APIS)


@pytest.mark.parametrize("api", GOOD, ids=lambda api: api.name)
def test_what_can_be_done_is_done(world: World, api: apis.Api) -> None:
    for version in range(api.first, api.last + 1):
        response = world.ask(api, version, GOOD[api](world, version))
        said = errors(response)
        if api is apis.JOIN_GROUP and version >= 4:
            assert said == {ErrorCode.member_id_required}
            response = world.ask(api, version, {**GOOD[api](world, version), "member_id": response.member_id})
            said = errors(response)
        assert said <= NONE, (version, said)
        if api is apis.FETCH:
            assert response.responses[0].partitions[0].records, version


@pytest.mark.parametrize("api", BAD, ids=lambda api: api.name)
def test_what_cannot_be_done_is_said(world: World, api: apis.Api) -> None:
    values, expected = BAD[api]
    for version in range(api.first, api.last + 1):
        said = errors(world.ask(api, version, values)) - NONE
        assert said, version
        assert said <= {*expected}, (version, said)


def test_a_transaction_that_is_not_known(world: World) -> None:
    # kio reads no time before 1970, but -1 is what Kafka says when there is none
    world.wire.send(apis.DESCRIBE_TRANSACTIONS.key, 0, transactional_ids=["none"])
    frame = world.wire.receive_frame()
    error_start = 4 + 1 + 4 + 1  # correlation, tags, throttle time, count
    assert int.from_bytes(frame[error_start : error_start + 2], "big") == 105


def test_sasl() -> None:
    settings: Values = {"sasl_mechanisms": ("PLAIN",), "plain_users": {"u": "secret"}}
    with streamhouse.Log("memory://") as log, streamhouse.kafka.serve(log, port=0, **settings) as gateway:
        for password, expected in (("secret", ErrorCode.none), ("no", ErrorCode.sasl_authentication_failed)):
            for version in range(apis.SASL_AUTHENTICATE.first, apis.SASL_AUTHENTICATE.last + 1):
                with Wire(gateway) as wire:
                    world = World(log, gateway, wire)
                    assert errors(world.ask(apis.SASL_HANDSHAKE, 1, {"mechanism": "PLAIN"})) == NONE
                    token = f"\0u\0{password}".encode()
                    answer = world.ask(apis.SASL_AUTHENTICATE, version, {"auth_bytes": token})
                    assert errors(answer) == {expected}
        for version in range(apis.SASL_HANDSHAKE.first, apis.SASL_HANDSHAKE.last + 1):
            with Wire(gateway) as wire:
                world = World(log, gateway, wire)
                answer = world.ask(apis.SASL_HANDSHAKE, version, {"mechanism": "NONSENSE"})
                assert errors(answer) == {ErrorCode.unsupported_sasl_mechanism}
                assert answer.mechanisms == ("PLAIN",)
