"""What gateways do when nothing happens, and how they end."""

from __future__ import annotations

import asyncio
import time

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.kafka.cluster import brokers


def test_gateways_sleep_when_there_is_nothing_to_do(
    log: streamhouse.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that wait for a change look from time to time, and do not wake each other up by that."""
    monkeypatch.setattr(brokers, "_LOOK_SECONDS", 0.1)
    looks = []
    load = brokers.Brokers._load
    monkeypatch.setattr(brokers.Brokers, "_load", lambda self: (looks.append(self), load(self)))
    with streamhouse.kafka.serve(log, port=0):
        with streamhouse.kafka.serve(log, port=0):
            time.sleep(0.3)
        time.sleep(0.3)
        before = len(looks)
        time.sleep(1.0)
        assert 2 <= len(looks) - before < 60  # two that wait, ten times a second


@pytest.mark.parametrize("turns", range(4))
def test_waiting_for_a_change_ends_whenever_it_is_to_end(log: streamhouse.Log, turns: int) -> None:
    """Some turns of the loop after a change: `wait_for` of Python 3.11 may take that for nothing."""
    with streamhouse.kafka.serve(log, port=0) as gateway:
        services = gateway._broker._services
        assert services is not None
        time.sleep(0.05)  # now they wait
        gateway._loop.call_soon_threadsafe(_change_and_end, services.brokers, turns)
        deadline = time.monotonic() + 3
        while not all(task.done() for task in services.brokers._tasks):
            assert time.monotonic() < deadline
            time.sleep(0.001)


def _change_and_end(of: brokers.Brokers, turns: int) -> None:
    of._changed.set()
    _end(of, turns)


def _end(of: brokers.Brokers, turns: int) -> None:
    if turns:
        asyncio.get_running_loop().call_soon(_end, of, turns - 1)
        return
    for task in of._tasks:
        task.cancel()
