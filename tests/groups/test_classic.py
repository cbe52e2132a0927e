"""Groups of Kafka clients of the classic protocol, seen from outside."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.schema.consumer_protocol_assignment.v3.data import ConsumerProtocolAssignment
from kio.schema.consumer_protocol_assignment.v3.data import TopicPartition as Assigned
from kio.schema.consumer_protocol_subscription.v1.data import ConsumerProtocolSubscription
from kio.serial import entity_writer

import streamhouse
from streamhouse.errors import GroupError, GroupNotEmptyError
from streamhouse.format.gateways import GatewayEntry, encode_gateway, entry_name
from streamhouse.format.operations import (
    ClassicGroup,
    ClassicMember,
    CommitOffsets,
    KeepClassicGroup,
    OffsetEntry,
    SetEntry,
)
from streamhouse.groups.classic import assigned_partitions, subscribed_topics

names = st.text(max_size=6)


def written(cls: Any, version: int, **fields: Any) -> bytes:
    out = io.BytesIO()
    out.write(version.to_bytes(2, "big"))
    entity_writer(cls)(out, cls(**fields))
    return out.getvalue()


@given(st.lists(names, max_size=4), st.none() | st.binary(max_size=5))
def test_a_subscription(topics: list[str], user_data: bytes | None) -> None:
    data = written(
        ConsumerProtocolSubscription, 1, topics=tuple(topics), user_data=user_data, owned_partitions=()
    )
    assert subscribed_topics(data) == tuple(topics)


@given(st.lists(st.tuples(names, st.lists(st.integers(0, 1000), max_size=3)), max_size=3))
def test_an_assignment(topics: list[tuple[str, list[int]]]) -> None:
    data = written(
        ConsumerProtocolAssignment,
        3,
        assigned_partitions=tuple(Assigned(topic=name, partitions=tuple(some)) for name, some in topics),
        user_data=None,
    )
    assert assigned_partitions(data) == tuple((name, each) for name, some in topics for each in some)


@given(st.binary(max_size=40))
def test_what_is_neither_is_read_as_nothing_or_something_but_raises_nothing(data: bytes) -> None:
    subscribed_topics(data)
    assigned_partitions(data)


@pytest.fixture
def log() -> Any:
    subscription = b"\0\1" + b"\0\0\0\1" + b"\0\1t" + b"\xff\xff\xff\xff"
    assignment = (
        b"\0\1" + b"\0\0\0\1" + b"\0\1t" + b"\0\0\0\2" + b"\0\0\0\0" + b"\0\0\0\1" + b"\xff\xff\xff\xff"
    )
    member = ClassicMember(
        "m1", "", "client", "/127.0.0.1", 10_000, 60_000, (("range", subscription),), assignment
    )
    with streamhouse.Log("memory://") as log:
        log.create_topic("t", partitions=2)
        content = ClassicGroup(4, "consumer", "range", "m1", (member,))
        log._inside.commits.propose(KeepClassicGroup("g", "c1", "", content))
        yield log


def test_it_is_described(log: streamhouse.Log) -> None:
    group = log.groups["g"].describe()
    assert (group.state, group.assignor, group.generation) == ("stable", "range", 4)
    (member,) = group.members
    assert (member.id, member.topics, member.assignment) == ("m1", ("t",), (("t", 0), ("t", 1)))
    rows = log.sql("select member, partitions from streamhouse.group_members").fetchall()
    assert rows == [("m1", 2)]
    assert log.sql("select state, members from streamhouse.consumer_groups").fetchall() == [("stable", 1)]


def test_lag_and_owners_are_those_of_its_members(log: streamhouse.Log) -> None:
    with log.producer() as producer:
        for partition in range(2):
            producer.send_many("t", ["x"] * 10, partition=partition).result()
    assert log.groups["g"].lag == {("t", 0): 10, ("t", 1): 10}  # before anything was committed
    topic = log.topic("t").id
    committed = CommitOffsets("g", "", 0, (OffsetEntry(topic, 0, 15), OffsetEntry(topic, 1, 4)), "c1")
    log._inside.commits.propose(committed)
    assert log.groups["g"].lag == {("t", 0): 0, ("t", 1): 6}  # nothing is left beyond the end
    rows = log.sql('select partition, "offset", lag, owner from streamhouse.consumer_offsets order by all')
    assert rows.fetchall() == [(0, 15, 0, "m1"), (1, 4, 6, "m1")]


def test_what_members_subscribe_to_is_known_while_they_agree_on_a_protocol(log: streamhouse.Log) -> None:
    (member,) = log._inside.commits.state.groups["g"].classic.members
    joining = ClassicGroup(5, "consumer", "", "", (msgspec.structs.replace(member, assignment=b""),))
    log._inside.commits.propose(KeepClassicGroup("g", "c1", "c1", joining))
    described = log.groups["g"].describe()
    assert (described.state, described.members[0].topics) == ("rebalancing", ("t",))
    assert described.lag == {("t", 0): 0, ("t", 1): 0}


def test_others_do_not_get_in(log: streamhouse.Log) -> None:
    with log.consumer("t", group="g") as consumer, pytest.raises(GroupError, match="classic protocol"):
        consumer.poll(timeout=5)


def test_it_is_reset_when_no_gateway_is_there(log: streamhouse.Log) -> None:
    group = log.groups["g"]
    assert group.reset("latest", topics="t") == {("t", 0): 0, ("t", 1): 0}
    assert group.state == "empty"
    group.delete()
    assert "g" not in log.groups


def test_it_is_reset_when_the_gateway_is_dead(log: streamhouse.Log) -> None:
    dead = encode_gateway(GatewayEntry(1, "127.0.0.1", 9092, "", "gone", 200))
    log._inside.commits.propose(SetEntry(entry_name(1), dead, 0))
    log.groups["g"].delete()
    assert "g" not in log.groups


def test_it_is_left_alone_while_a_gateway_lives(log: streamhouse.Log) -> None:
    serve = pytest.importorskip("streamhouse.kafka").serve
    with serve(log, port=0), pytest.raises(GroupNotEmptyError, match="1 member"):
        log.groups["g"].reset("earliest")
    assert log.groups["g"].state == "stable"
