"""Many clients at once, and clients that vanish in the middle of what they asked for."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from contextlib import ExitStack, suppress

from kio.index import load_request_schema

from streamhouse import Log
from streamhouse.kafka import Gateway, serve
from streamhouse.kafka.protocol import apis
from tests.kafka.hostile.corpus import kind_of, load
from tests.kafka.hostile.fuzzing import GoodClient
from tests.kafka.hostile.test_limits import until
from tests.kafka.protocol.frames import frame_of
from tests.kafka.wire import Wire

CONNECTIONS = 500


def test_five_hundred_at_once(gateway: Gateway) -> None:
    frames = [frame for frame in load() if kind_of(frame)[0] in {apis.API_VERSIONS.key, apis.METADATA.key}]

    async def one(dice: random.Random) -> int:
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
        answered = 0
        for _ in range(4):
            frame = dice.choice(frames)
            writer.write(struct.pack(">i", len(frame)) + frame)
            if dice.random() < 0.1:
                writer.transport.abort()  # gone without a word
                return answered
            size = await asyncio.wait_for(reader.readexactly(4), 20)
            await reader.readexactly(int.from_bytes(size, "big"))
            answered += 1
        writer.close()
        return answered

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*[one(random.Random(seed)) for seed in range(CONNECTIONS)])

    good = GoodClient(gateway.bootstrap)
    good.work()
    answered = asyncio.run(all_of_them())
    assert sum(answered) > 2 * CONNECTIONS
    good.work()
    good.close()
    until(lambda: gateway.connections <= 2)


def join(wire: Wire, group: str) -> None:
    wire.send(
        apis.JOIN_GROUP.key, 5, group_id=group, session_timeout=10_000, rebalance_timeout=10_000,
        member_id="", group_instance_id=None, protocol_type="consumer",
        protocols=[{"name": "range", "metadata": b"\0" * 8}],
    )  # fmt: skip


def fetch(wire: Wire, topic: str) -> None:
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20}
    wire.send(
        apis.FETCH.key, 4, replica_id=-1, max_wait=20_000, min_bytes=1, max_bytes=1 << 20, isolation_level=0,
        topics=[{"topic": topic, "partitions": [partition]}],
    )  # fmt: skip


def test_clients_that_vanish_while_they_wait(log: Log, gateway: Gateway) -> None:
    log.create_topic("empty")
    good = GoodClient(gateway.bootstrap)
    good.work()
    tasks = _tasks(gateway)
    for _ in range(20):
        with ExitStack() as stack:
            waiting = [stack.enter_context(Wire(gateway)) for _ in range(4)]
            fetch(waiting[0], "empty")
            join(waiting[1], "vanishing")
            join(waiting[2], "vanishing")
            waiting[3].socket.sendall(struct.pack(">i", 100_000) + bytes(50_000))  # half a request
        good.work(2)
    until(lambda: gateway.connections <= 3)
    until(lambda: _tasks(gateway) <= tasks + 2)
    good.close()


def _tasks(gateway: Gateway) -> int:
    """Tasks on the gateway's loop."""
    return len(asyncio.all_tasks(gateway._loop))


def test_closing_ends_all_waits_at_once(log: Log) -> None:
    log.create_topic("empty")
    with serve(log, port=0) as gateway, ExitStack() as stack:
        for _ in range(10):
            wire = stack.enter_context(Wire(gateway))
            fetch(wire, "empty")
            join(stack.enter_context(Wire(gateway)), "waiting")
        until(lambda: gateway.connections == 20)
        began = time.monotonic()
        gateway.close(timeout=1.0)
        assert time.monotonic() - began < 5


def test_the_log_may_be_closed_under_the_gateway(log: Log) -> None:
    with serve(log, port=0) as gateway, ExitStack() as stack:
        log.create_topic("t")
        fetch(stack.enter_context(Wire(gateway)), "t")
        wire = stack.enter_context(Wire(gateway))
        log.close()
        partition = {"index": 0, "records": b"\0" * 80}
        fields = {
            "transactional_id": None,
            "acks": -1,
            "timeout": 1_000,
            "topic_data": [{"name": "t", "partition_data": [partition]}],
        }
        for _ in range(3):  # an error each, or the connection is closed
            with suppress(ConnectionError):
                wire.send_frame(frame_of(load_request_schema(apis.PRODUCE.key, 9), fields))
                response = wire.receive(apis.PRODUCE.key, 9)
                assert response.responses[0].partition_responses[0].error_code != 0
