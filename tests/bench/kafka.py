"""The Kafka gateway: throughput beside librdkafka's own mock broker, latency, and what idle clients cost.

The mock broker lives in the client's process, in C, and stores nothing. The gateway is another process, with
a log on a directory with fsync. The client is the same, confluent-kafka, with the same settings. Since the
mock broker keeps 5 MB of a partition, what is consumed is spread over many.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import confluent_kafka

import streamhouse
import streamhouse.kafka
from tests.bench.data import folder, row

_MESSAGES: Final = 1_000_000
_VALUE: Final = b"x" * 100
_TOPIC: Final = "bench"
_TOPICS: Final = 16
_PARTITIONS: Final = 4  # what the mock broker makes
_EACH: Final = _MESSAGES // (_TOPICS * _PARTITIONS)
_ACKS: Final = 500
_IDLE: Final = 1_000
_IDLE_SECONDS: Final = 10.0
_ROUNDS: Final = 3

spawn = multiprocessing.get_context("spawn")


class Gateway:
    """One in a process of its own."""

    def __init__(self, bootstrap: str, pipe: Connection) -> None:
        self.bootstrap = bootstrap
        self._pipe = pipe

    def used(self) -> tuple[float, int]:
        """Seconds of CPU so far, and memory now, in bytes."""
        self._pipe.send("used")
        seconds, memory = self._pipe.recv()
        return float(seconds), int(memory)


@contextmanager
def gateway(url: str) -> Iterator[Gateway]:
    """Start one, and end it."""
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(url, there))
    process.start()
    try:
        yield Gateway(here.recv(), here)
        here.send("end")
        process.join(30)
    finally:
        process.kill()
        process.join()


def _serve(url: str, pipe: Connection) -> None:
    with (
        streamhouse.Log(url) as log,
        streamhouse.kafka.serve(log, port=0, default_partitions=_PARTITIONS) as served,
    ):
        pipe.send(served.bootstrap)
        while pipe.recv() == "used":
            used = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send((used.ru_utime + used.ru_stime, _memory()))


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@contextmanager
def mock_broker() -> Iterator[str]:
    """Librdkafka's, in this process."""
    owner = confluent_kafka.Producer({"test.mock.num.brokers": 1})
    (broker,) = owner.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"


def run() -> None:
    """All of it."""
    with folder() as place:
        _throughput(f"{place}/throughput")
        _latency(f"{place}/latency")
        _idle(f"{place}/idle")


# --- throughput ------------------------------------------------------------------------------------------


def _throughput(url: str) -> None:
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    cpu: list[tuple[float, float]] = []
    with gateway(url) as served, mock_broker() as mock:
        _fill(mock)
        _fill(served.bootstrap)
        for number in range(_ROUNDS):
            topic = f"{_TOPIC}-{number}"
            theirs.append((_produce(mock, topic), _consume(mock)))
            before = served.used()[0]
            produced = _produce(served.bootstrap, topic)
            between = served.used()[0]
            ours.append((produced, _consume(served.bootstrap)))
            cpu.append((between - before, served.used()[0] - between))
        _, memory = served.used()
    for place, what in enumerate(("produce", "consume")):
        mine = min(each[place] for each in ours)
        mock_seconds = min(each[place] for each in theirs)
        row(
            f"Kafka: {what} {_MESSAGES:,} x {len(_VALUE)} B, gateway / mock broker, messages/s",
            f"{mock_seconds / mine:.2f}",
            f"{_MESSAGES / mine / 1e3:,.0f}k/s / {_MESSAGES / mock_seconds / 1e3:,.0f}k/s"
            + ("; wanted: 0.7" if what == "produce" else ""),
        )
        spent = min(each[place] for each in cpu)
        row(
            f"Kafka: CPU of the gateway for that ({what})",
            f"{spent:.2f} s",
            f"{memory >> 20} MiB of memory after all",
        )


def _producer(bootstrap: str) -> confluent_kafka.Producer:
    return confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 2 * _MESSAGES}
    )


def _produce(bootstrap: str, topic: str) -> float:
    producer = _producer(bootstrap)
    producer.list_topics(topic, timeout=10)  # connected, and the topic is there
    began = time.perf_counter()
    produce = producer.produce
    for _ in range(_MESSAGES):
        produce(topic, _VALUE, partition=0)
    assert producer.flush(120) == 0
    return time.perf_counter() - began


def _spread() -> list[confluent_kafka.TopicPartition]:
    """Where the messages are that are consumed."""
    return [
        confluent_kafka.TopicPartition(f"{_TOPIC}-spread-{topic}", partition, 0)
        for topic in range(_TOPICS)
        for partition in range(_PARTITIONS)
    ]


def _fill(bootstrap: str) -> None:
    producer = _producer(bootstrap)
    for place in _spread():
        for _ in range(_EACH):
            producer.produce(place.topic, _VALUE, partition=place.partition)
        assert producer.flush(120) == 0


def _consume(bootstrap: str) -> float:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False}
    )
    consumer.assign(_spread())
    count, wanted, began = 0, len(_spread()) * _EACH, 0.0
    while count < wanted:
        messages = consumer.consume(10_000, timeout=10)
        if not count:
            began = time.perf_counter()  # from the first ones on: without connecting
        count += len(messages)
        assert messages, f"{count} of {wanted}"
    seconds = time.perf_counter() - began
    consumer.close()
    return seconds


# --- latency ---------------------------------------------------------------------------------------------


def _latency(url: str) -> None:
    with (
        gateway(url) as served,
        mock_broker() as mock,
        streamhouse.Log(f"{url}-native") as log,
        log.producer() as native,
    ):
        log.create_topic(_TOPIC)
        asked = {
            "gateway": _asking(served.bootstrap),
            "mock": _asking(mock),
            "native": lambda: native.send(_TOPIC, _VALUE).result(),
        }
        times: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(_ACKS):
            for name, ask in asked.items():  # in turn, so that all see the same disk
                began = time.perf_counter()
                ask()
                times[name].append((time.perf_counter() - began) * 1e3)
    for name, percentile in (("p50", 50), ("p99", 99)):
        at = {key: statistics.quantiles(each, n=100)[percentile - 1] for key, each in times.items()}
        row(
            f"Kafka: acks=all of one record, fsync, {name}: gateway / native",
            f"{at['gateway'] / at['native']:.2f}",
            f"{at['gateway']:.2f} ms / {at['native']:.2f} ms; a mock broker's answer {at['mock']:.2f} ms",
        )


def _asking(bootstrap: str) -> Callable[[], object]:
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"})
    producer.list_topics(_TOPIC, timeout=10)

    def ask() -> None:
        producer.produce(_TOPIC, _VALUE)
        assert producer.flush(30) == 0

    return ask


# --- idle consumers --------------------------------------------------------------------------------------


def _idle(url: str) -> None:
    """Connections that do what an idle consumer does: a fetch after the other, each empty after 500 ms."""
    with gateway(url) as served:
        confluent_kafka.Producer({"bootstrap.servers": served.bootstrap}).list_topics(_TOPIC, timeout=10)
        before, memory = served.used()
        latencies, after, during = asyncio.run(_idle_consumers(served))
    p50, p99 = (statistics.quantiles(latencies, n=100)[place] * 1e3 for place in (49, 98))
    row(
        f"Kafka: {_IDLE:,} idle consumers, CPU of the gateway",
        f"{(after - before) / _IDLE_SECONDS:.1%}",
        f"of a core; {(during - memory) / _IDLE / 1024:.0f} KiB each; an empty fetch of 500 ms took"
        f" {p50:.0f} ms, p99 {p99:.0f}",
    )


async def _idle_consumers(served: Gateway) -> tuple[list[float], float, int]:
    """How long fetches took, and what the gateway used when all consumers were still there."""
    host, _, port = served.bootstrap.rpartition(":")
    ends = time.perf_counter() + _IDLE_SECONDS
    end = asyncio.Event()
    consumers = [asyncio.create_task(_idle_consumer(host, int(port), ends, end)) for _ in range(_IDLE)]
    await asyncio.sleep(_IDLE_SECONDS + 1)
    seconds, memory = served.used()
    end.set()
    found = await asyncio.gather(*consumers)
    return [each for times in found for each in times], seconds, memory


async def _idle_consumer(host: str, port: int, ends: float, end: asyncio.Event) -> list[float]:
    reader, writer = await asyncio.open_connection(host, port)
    request = _fetch_request()
    times = []
    while time.perf_counter() < ends:
        began = time.perf_counter()
        writer.write(request)
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        await reader.readexactly(size)
        times.append(time.perf_counter() - began)
    await end.wait()
    writer.close()
    await writer.wait_closed()
    return times


def _fetch_request() -> bytes:
    """Fetch 4: the end of the topic, for up to 500 ms."""
    name = _TOPIC.encode()
    body = struct.pack(">hhih", 1, 4, 7, -1)  # no client id
    body += struct.pack(">iiiibi", -1, 500, 1, 50 << 20, 0, 1)
    body += struct.pack(">h", len(name)) + name + struct.pack(">iiqi", 1, 0, 0, 1 << 20)
    return struct.pack(">i", len(body)) + body
