"""Who wants too much gets as much as the settings allow, and others get theirs."""

from __future__ import annotations

import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from os import getpid

import pytest

from streamhouse import Log
from streamhouse.format.columns import columns_from_lists
from streamhouse.kafka import Gateway, serve
from streamhouse.kafka.batches.build import build_batch
from streamhouse.kafka.protocol import apis
from tests.kafka.hostile.fuzzing import GoodClient
from tests.kafka.hostile.test_garbage import is_closed
from tests.kafka.wire import Wire

MIB = 1 << 20


def is_served(wire: Wire) -> bool:
    try:
        return wire.ask(apis.API_VERSIONS.key, 0).error_code == 0
    except ConnectionError:
        return False


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def resident_bytes() -> int:
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(getpid())], capture_output=True, check=True)
    return int(done.stdout) * 1024


@pytest.mark.parametrize("setting", ["connections_max", "connections_per_host_max"])
def test_only_so_many_connections(log: Log, setting: str) -> None:
    with serve(log, port=0, **{setting: 5}) as gateway, ExitStack() as stack:
        first = [stack.enter_context(Wire(gateway)) for _ in range(5)]
        assert all(map(is_served, first))
        assert not is_served(stack.enter_context(Wire(gateway)))
        assert all(map(is_served, first))
        first[0].close()
        until(lambda: gateway.connections < 5)
        assert is_served(stack.enter_context(Wire(gateway)))
        assert gateway.metrics.connections_refused == 1


def test_requests_above_the_limit_end_the_connection(log: Log) -> None:
    with serve(log, port=0, request_bytes_max=MIB) as gateway:
        for size in (MIB + 1, 2**31 - 1):
            with Wire(gateway) as wire:
                wire.socket.sendall(struct.pack(">ihh", size, apis.PRODUCE.key, 9))
                assert is_closed(wire)


def test_only_records_make_large_requests(gateway: Gateway) -> None:
    with Wire(gateway) as wire:
        wire.socket.sendall(struct.pack(">ihh", 17 * MIB, apis.METADATA.key, 9) + bytes(60_000))
        assert is_closed(wire)


def test_silence_ends(log: Log) -> None:
    with serve(log, port=0, idle_seconds_max=1.0) as gateway, Wire(gateway) as silent, Wire(gateway) as busy:
        assert is_served(silent)
        for _ in range(12):
            assert is_served(busy)
            time.sleep(0.2)
        assert is_closed(silent)
        assert is_served(busy)


def test_memory_is_not_given_for_what_is_claimed(gateway: Gateway) -> None:
    before = resident_bytes()
    with ExitStack() as stack:
        for _ in range(50):  # five gigabytes
            wire = stack.enter_context(Wire(gateway))
            wire.socket.sendall(struct.pack(">ihh", 99 * MIB, apis.PRODUCE.key, 9) + bytes(60_000))
        good = GoodClient(gateway.bootstrap)  # small requests find their way
        good.close()
        assert resident_bytes() - before < 100 * MIB


def test_requests_that_wait_are_bounded_by_memory(log: Log) -> None:
    """Many connections begin large requests; those who finish them are served, one after the other."""
    log.create_topic("t")
    columns = columns_from_lists(None, [bytes(3 * MIB)], [1], None)
    batch = build_batch(columns, 0, 1, 0)
    before = resident_bytes()
    with serve(log, port=0, request_memory_bytes_max=8 * MIB) as gateway, ExitStack() as stack:
        wires = [stack.enter_context(Wire(gateway, timeout=30)) for _ in range(16)]
        for wire in wires:
            wire.socket.setblocking(False)
        frames = {wire: bytearray(_produce_frame(batch)) for wire in wires}
        answered = set()
        deadline = time.monotonic() + 60
        while len(answered) < len(wires):
            assert time.monotonic() < deadline
            for wire, rest in frames.items():
                if rest:
                    try:
                        del rest[: wire.socket.send(rest[:200_000])]
                    except BlockingIOError:
                        continue
                elif wire not in answered:
                    try:
                        answered.add(wire) if wire.socket.recv(4) else pytest.fail("closed")
                    except BlockingIOError:
                        continue
            time.sleep(0.001)
    assert [len(record.value or b"") for record in log.read("t")] == [3 * MIB] * 16
    assert resident_bytes() - before < 250 * MIB


def _produce_frame(batch: bytes) -> bytes:
    from kio.index import load_request_schema

    from tests.kafka.protocol.frames import frame_of

    partition = {"index": 0, "records": batch}
    fields = {
        "transactional_id": None,
        "acks": -1,
        "timeout": 30_000,
        "topic_data": [{"name": "t", "partition_data": [partition]}],
    }
    frame = frame_of(load_request_schema(apis.PRODUCE.key, 9), fields)
    return struct.pack(">i", len(frame)) + frame


def test_who_does_not_read_has_one_answer_waiting(log: Log) -> None:
    """Hundreds of fetches of megabytes, and nobody takes the answers."""
    log.create_topic("t")
    with log.producer() as producer:
        producer.send_many("t", [bytes(MIB)] * 32).result()
    with serve(log, port=0) as gateway, ExitStack() as stack:
        good = GoodClient(gateway.bootstrap)
        good.work()
        before = resident_bytes()
        for _ in range(10):
            wire = stack.enter_context(Wire(gateway))
            for _ in range(90):
                wire.send(
                    apis.FETCH.key, 4, replica_id=-1, max_wait=0, min_bytes=1, max_bytes=32 * MIB,
                    isolation_level=0,
                    topics=[
                        {
                            "topic": "t",
                            "partitions": [
                                {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 32 * MIB}
                            ],
                        }
                    ],
                )  # fmt: skip
        for _ in range(5):
            good.work()
            assert resident_bytes() - before < 600 * MIB  # of 28 GB
            time.sleep(0.2)
        good.close()


def test_requests_in_flight_are_bounded_and_answered_in_order(log: Log) -> None:
    with serve(log, port=0, requests_in_flight_max=2) as gateway, Wire(gateway) as wire:
        for version in (0, 2, 1) * 50:
            wire.send(apis.API_VERSIONS.key, version)
        for version in (0, 2, 1) * 50:
            assert wire.receive(apis.API_VERSIONS.key, version).error_code == 0
