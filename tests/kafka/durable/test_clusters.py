"""Several gateways on one log: one cluster, whatever becomes of each of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.format import names
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.clients.confluent import new_consumer, new_producer, take
from tests.kafka.clients.samples import until
from tests.kafka.durable.asking import (
    NO_ERROR,
    beat,
    commit,
    committed,
    create,
    end_of,
    end_transaction,
    join,
    nodes,
    produce,
    sync,
    take_over,
)
from tests.kafka.wire import ask

SESSION_SECONDS = 1.0
GROUP, PRODUCER = 0, 1


class Cluster:
    """Gateways on one log, each with a log object of its own, as in processes of their own."""

    def __init__(self) -> None:
        self.url = f"memory://{uuid.uuid4().hex}"
        self.gateways: list[Gateway] = []
        self.settings: dict[str, Any] = {}
        self._stack = ExitStack()

    def add(self, count: int = 1) -> Gateway:
        for _ in range(count):
            log = self._stack.enter_context(streamhouse.Log(self.url))
            gateway = streamhouse.kafka.serve(
                log, port=0, broker_session_seconds=SESSION_SECONDS, **self.settings
            )
            self.gateways.append(self._stack.enter_context(gateway))
        self.agree()
        return self.gateways[-1]

    def remove(self, gateway: Gateway) -> None:
        gateway.close()
        self.gateways.remove(gateway)
        self.agree()

    def agree(self) -> None:
        """Wait until all know all."""
        everybody = {gateway.node_id for gateway in self.gateways}
        until(lambda: all(nodes(gateway) == everybody for gateway in self.gateways))

    def coordinator(self, kind: int, name: str) -> Gateway:
        found = {ask(each, 10, 1, key=name, key_type=kind).node_id for each in self.gateways}
        assert len(found) == 1, "they do not agree"
        return next(each for each in self.gateways if each.node_id in found)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


@pytest.fixture
def three(cluster: Cluster) -> Cluster:
    create(cluster.add(3), "t", 12)
    return cluster


def moving_name(cluster: Cluster, kind: int) -> tuple[str, Gateway]:
    """A name, and the gateway that looks after it."""
    name = uuid.uuid4().hex
    return name, cluster.coordinator(kind, name)


def test_work_is_spread(three: Cluster) -> None:
    answers = [ask(each, 3, 1, topics=({"name": "t"},)) for each in three.gateways]
    leaders = [{p.partition_index: p.leader_id for p in each.topics[0].partitions} for each in answers]
    assert leaders[0] == leaders[1] == leaders[2]
    assert set(leaders[0].values()) == nodes(three.gateways[0])
    for kind in (GROUP, PRODUCER):
        assert {three.coordinator(kind, f"name-{n}").node_id for n in range(30)} == nodes(three.gateways[0])


def test_any_gateway_serves_any_partition(three: Cluster) -> None:
    for number, gateway in enumerate(three.gateways):
        assert produce(gateway, "t", [b"v"]) == (NO_ERROR, number)
    assert {end_of(gateway, "t") for gateway in three.gateways} == {3}


def test_only_the_coordinator_coordinates(three: Cluster) -> None:
    group, home = moving_name(three, GROUP)
    name, producers_home = moving_name(three, PRODUCER)
    for gateway in three.gateways:
        right = commit(gateway, group, "t", 1)
        assert right is (NO_ERROR if gateway is home else ErrorCode.not_coordinator)
        error = take_over(gateway, name).error_code
        assert error is (NO_ERROR if gateway is producers_home else ErrorCode.not_coordinator)


def test_members_go_on_when_their_coordinator_leaves(three: Cluster) -> None:
    group, home = moving_name(three, GROUP)
    member = join(home, group, join(home, group).member_id)
    me = member.member_id, member.generation_id
    assert sync(home, group, *me, assignment=b"mine").error_code is NO_ERROR
    three.remove(home)
    heir = three.coordinator(GROUP, group)
    assert beat(heir, group, *me) is NO_ERROR
    assert sync(heir, group, *me).assignment == b"mine"
    assert commit(heir, group, "t", 2, *me) is NO_ERROR
    assert commit(heir, group, "t", 1, me[0], me[1] - 1) is ErrorCode.illegal_generation
    assert committed(heir, group, "t") == 2


def test_members_go_on_when_a_gateway_comes(cluster: Cluster) -> None:
    create(cluster.add(), "t")
    groups = {}
    for number in range(8):
        (home,) = cluster.gateways
        group = f"group-{number}"
        member = join(home, group, join(home, group).member_id)
        groups[group] = member.member_id, member.generation_id
        assert sync(home, group, *groups[group], assignment=b"mine").error_code is NO_ERROR
    cluster.add()
    homes = {group: cluster.coordinator(GROUP, group) for group in groups}
    assert len({home.node_id for home in homes.values()}) == 2
    for group, me in groups.items():
        for gateway in cluster.gateways:
            right = beat(gateway, group, *me)
            assert right is (NO_ERROR if gateway is homes[group] else ErrorCode.not_coordinator)
        assert commit(homes[group], group, "t", 1, *me) is NO_ERROR


def test_transactions_go_on_when_their_coordinator_leaves(three: Cluster) -> None:
    name, home = moving_name(three, PRODUCER)
    taken = take_over(home, name)
    me = taken.producer_id, taken.producer_epoch
    assert produce(home, "t", [b"a"], me, 0, name)[0] is NO_ERROR
    three.remove(home)
    heir = three.coordinator(PRODUCER, name)
    assert produce(heir, "t", [b"b"], me, 1, name)[0] is NO_ERROR
    assert end_transaction(heir, name, me, commit=True) is NO_ERROR
    assert end_of(heir, "t") == 2


def test_a_gateway_that_leaves_is_missed_at_once(cluster: Cluster) -> None:
    """Not after a session: it says so."""
    cluster.add()
    logs = [streamhouse.Log(cluster.url)]
    with logs[0], streamhouse.kafka.serve(logs[0], port=0, broker_session_seconds=600.0) as one:
        until(lambda: len(nodes(cluster.gateways[0])) == 2)
        one.close()
        until(lambda: len(nodes(cluster.gateways[0])) == 1, 10.0)


def test_a_gateway_alone_writes_no_heartbeats(cluster: Cluster) -> None:
    gateway = cluster.add()
    store = gateway._broker.parts.store
    time.sleep(2 * SESSION_SECONDS)
    assert list(store.list(names.HEARTBEATS)) == []
    cluster.add()
    until(lambda: len(list(store.list(names.HEARTBEATS))) == 2)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_consumer_goes_on_whichever_gateway_leaves(cluster: Cluster, protocol: str) -> None:
    """Each record once, in order, with commits in between; nobody is thrown out of the group."""
    create(cluster.add(2), "t")
    bootstrap = ",".join(gateway.bootstrap for gateway in cluster.gateways)
    classic = {"session.timeout.ms": 6000} if protocol == "classic" else {}
    producer = new_producer(bootstrap, **{"reconnect.backoff.max.ms": 100, "enable.idempotence": True})
    assigned: list[object] = []
    with new_consumer(
        bootstrap, "g", **{"group.protocol": protocol, "reconnect.backoff.max.ms": 100, **classic}
    ) as consumer:
        consumer.subscribe(["t"], on_assign=lambda _consumer, parts: assigned.append(parts))
        seen: list[bytes] = []
        for turn in range(4):
            for number in range(10):
                producer.produce("t", f"{turn}:{number}")
            assert producer.flush(20) == 0
            seen += [message.value() or b"" for message in take(consumer, 10, 30.0)]
            consumer.commit(asynchronous=False)
            if turn % 2 == 0:
                cluster.remove(cluster.coordinator(GROUP, "g"))
            else:
                consumer_home = cluster.add()
                assert consumer_home.node_id in nodes(cluster.gateways[0])
                bootstrap = consumer_home.bootstrap
        assert seen == [f"{turn}:{number}".encode() for turn in range(4) for number in range(10)]
    assert len(assigned) == 1


def test_who_went_to_another_gateway_is_not_missed(cluster: Cluster) -> None:
    """The one that it came from does not throw it out of its group when it hears no more of it."""
    cluster.settings = {"consumer_session_timeout_ms": 1_000, "consumer_heartbeat_interval_ms": 200}
    first = cluster.add()
    create(first, "t")
    assigned: list[object] = []
    with new_consumer(
        first.bootstrap, "g", **{"group.protocol": "consumer", "reconnect.backoff.max.ms": 100}
    ) as consumer:
        consumer.subscribe(["t"], on_assign=lambda _consumer, parts: assigned.append(parts))
        until(lambda: consumer.consume(1, 0.05) or assigned)
        while cluster.coordinator(GROUP, "g") is first:
            cluster.add()
        ends = time.monotonic() + 3.0
        while time.monotonic() < ends:
            consumer.consume(1, 0.1)
        assert produce(first, "t", [b"v"])[0] is NO_ERROR
        assert [message.value() for message in take(consumer, 1)] == [b"v"]
        consumer.commit(asynchronous=False)
    assert len(assigned) == 1
