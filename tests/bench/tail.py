"""What following the tail asks of a store: requests a second, counted at the server."""

from __future__ import annotations

import threading
import time

import streamhouse
from streamhouse.store.cost import dollars_per_month
from streamhouse.testing.s3server import FakeS3Server
from tests.bench.data import row

_SECONDS = 10.0


def run() -> None:
    """An idle consumer, one producer at 1 MB/s, eight producers."""
    with FakeS3Server() as server:
        with _open(server, "idle") as log:
            log.create_topic("t")
            with log.consumer("t", start="latest") as consumer:
                consumer.poll(timeout=2.0)
                _measure("an idle consumer", [log], lambda: consumer.poll(timeout=_SECONDS))
        for writers in (1, 8):
            logs = [_open(server, f"{writers}") for _ in range(writers)]
            logs[0].create_topic("t", exist_ok=True)
            _measure(
                f"{writers} producer(s) at {1 / writers:.3g} MB/s each",
                logs,
                lambda logs=logs: _produce(logs, 1_000_000 // len(logs)),
            )
            for log in logs:
                log.close()


def _open(server: FakeS3Server, name: str) -> streamhouse.Log:
    return streamhouse.Log(f"{server.url}-{name}", storage_options=server.storage_options)


def _measure(what: str, logs: list[streamhouse.Log], work) -> None:
    before = [log.stats().counts for log in logs]
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    counts = [log.stats().counts.since(old) for log, old in zip(logs, before, strict=True)]
    puts = sum(c.puts for c in counts) / took
    gets = sum(c.gets for c in counts) / took
    month = sum(dollars_per_month(c, took) for c in counts)  # log.stats() would count opening as well
    row(what, f"{puts:.2f} PUT/s", f"{gets:.2f} GET/s, {month:.2f} dollars a month")


def _produce(logs: list[streamhouse.Log], bytes_per_second: int) -> None:
    threads = [threading.Thread(target=_write, args=(log, bytes_per_second)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _write(log: streamhouse.Log, bytes_per_second: int) -> None:
    value = b"x" * 1000
    with log.producer() as producer:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            for _ in range(bytes_per_second // 1000 // 20):
                producer.send("t", value)
            time.sleep(0.05)
