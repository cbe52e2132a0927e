"""Gateways as processes of their own: killed, stopped for too long, and missed by the others."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import socket
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from tests.kafka.clients.confluent import new_consumer, new_producer, take
from tests.kafka.clients.samples import until
from tests.kafka.durable.asking import create, nodes

SESSION_SECONDS = 1.5


def serve_for_ever(url: str, port: int) -> None:
    """What the other process does."""
    with (
        streamhouse.Log(url) as log,
        streamhouse.kafka.serve(log, port=port, broker_session_seconds=SESSION_SECONDS) as gateway,
    ):
        gateway.wait()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "log")


@pytest.fixture
def gateway(url: str) -> Iterator[Gateway]:
    with (
        streamhouse.Log(url) as log,
        streamhouse.kafka.serve(log, port=0, broker_session_seconds=SESSION_SECONDS) as gateway,
    ):
        create(gateway, "t", 4)
        yield gateway


@pytest.fixture
def other(url: str, gateway: Gateway) -> Iterator[tuple[BaseProcess, str]]:
    """Another gateway, and its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = mp.get_context("forkserver").Process(target=serve_for_ever, args=(url, port))
    process.start()
    try:
        until(lambda: len(nodes(gateway)) == 2, 60.0)
        yield process, f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_clients_go_on_when_a_gateway_is_gone(
    gateway: Gateway, other: tuple[BaseProcess, str], how: signal.Signals
) -> None:
    process, address = other
    settings = {"socket.timeout.ms": 2000, "reconnect.backoff.max.ms": 100}
    errors: list[object] = []
    producer = new_producer(f"{address},{gateway.bootstrap}", **settings, **{"enable.idempotence": True})

    def send(first: int) -> None:
        for number in range(first, first + 40):
            producer.produce(
                "t",
                str(number),
                partition=number % 4,
                on_delivery=lambda error, _message: errors.append(error),
            )
        producer.poll(0)

    send(0)
    assert producer.flush(30) == 0
    send(40)
    assert process.pid is not None
    os.kill(process.pid, how)
    send(80)
    until(lambda: nodes(gateway) == {gateway.node_id})
    assert producer.flush(60) == 0
    if how is signal.SIGSTOP:
        os.kill(process.pid, signal.SIGCONT)  # and it comes back
        until(lambda: len(nodes(gateway)) == 2)
    send(120)
    assert producer.flush(60) == 0
    assert errors == [None] * 160
    with new_consumer(f"{gateway.bootstrap},{address}", "g", **settings) as consumer:
        consumer.subscribe(["t"])
        found: dict[int, list[int]] = {}
        for message in take(consumer, 160, 60.0):
            found.setdefault(message.partition() or 0, []).append(int(message.value() or b""))
    assert found == {partition: list(range(partition, 160, 4)) for partition in range(4)}
