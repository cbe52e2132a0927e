"""A cold scan of blocks on S3 beside raw parallel ranged GETs of the same objects by s3fs, in one run."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import streamhouse
from streamhouse.testing.ministack import ministack_server
from tests.bench.data import row, taking_turns

_RECORDS = 400_000
_BATCH = 20_000
_PAD_BYTES = 220
_ROUNDS = 12
_RANGE_BYTES = 4 << 20
_SERVER = """
import sys
from streamhouse.testing.s3server import FakeS3Server

with FakeS3Server() as server:
    server.latency_seconds = {"GET": 0.05}
    print(server.endpoint_url, flush=True)
    sys.stdin.read()
"""
_QUERIES = {
    "count(value)": "select count(value) from events",  # every value is fetched and decoded, none looked at
    "sum(length(value))": "select sum(length(value)) from events",
    "JSON: sum of a field": "select sum((value->>'amount')::double) from events",
}


def run() -> None:
    """On ministack, and on the fake server with 50 ms for each GET.

    JSON that hardly compresses (184 MB), where the network counts; and JSON that becomes a quarter (six times
    as many records, 180 MB), where on a fast network the processor does.
    """
    with ministack_server() as ministack:
        for kind in _VALUES:
            _measure("ministack", kind, ministack.storage_options)
    with _slow_server() as options:
        for kind in _VALUES:
            _measure("50 ms", kind, options)


@contextmanager
def _slow_server() -> Iterator[Mapping[str, Any]]:
    """The fake server in a process of its own, as ministack is."""
    from streamhouse.testing.s3server import FakeS3Server

    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield {**FakeS3Server().storage_options, "endpoint_url": process.stdout.readline().strip()}
    finally:
        process.stdin.close()
        process.wait()


def _measure(server: str, kind: str, options: Mapping[str, Any]) -> None:
    what, url = f"{server}, {kind}", f"s3://streamhouse/{kind}"
    with streamhouse.Log(url, storage_options=options, upkeep=False) as log:
        _fill(log, *_VALUES[kind])
    with streamhouse.Log(url, storage_options=options, cache_bytes_max=0, upkeep=False) as log:
        concurrency = log.settings.request_concurrency
        spans = log.sql("select object, position, stored_bytes from streamhouse.segments").fetchall()
        total = sum(size for _, _, size in spans)
        with _raw(url, options, spans, concurrency) as fetch:
            works: dict[str, Callable[[], Any]] = {"raw": fetch}
            for name, query in _QUERIES.items():
                works[name] = lambda query=query: log.sql(query).fetchall()
            for work in works.values():
                work()  # opens the connections
            took = taking_turns(works, _ROUNDS)
    raw = took["raw"]
    row(
        f"{what}: s3fs, {concurrency} ranged GETs at once",
        f"{total / raw.shortest / 1e6:.0f} MB/s",
        f"{total / 1e6:.0f} MB in ranges of {_RANGE_BYTES >> 20} MiB",
    )
    for name in _QUERIES:
        ours = took[name]
        note = f"{total / ours.shortest / 1e6:.0f} MB/s; of the medians {raw.median / ours.median:.2f}"
        wanted = "" if name.startswith("JSON") else "; wanted: 0.6"
        row(f"{what}: {name} / s3fs", f"{raw.shortest / ours.shortest:.2f}", note + wanted)


def _fill(log: streamhouse.Log, make: Callable[[random.Random], bytes], times: int) -> None:
    dice = random.Random(1)
    log.create_topic("events", partitions=2)
    with log.producer() as producer:
        for first in range(0, _RECORDS, _BATCH):
            values = [make(dice) for _ in range(_BATCH)]
            for _ in range(times):
                producer.send_many("events", values, partition=first // _BATCH % 2).result()


def _random(dice: random.Random) -> bytes:
    amount = round(dice.random() * 1000, 2)
    pad = dice.randbytes(_PAD_BYTES).hex()
    return json.dumps({"amount": amount, "user": dice.randrange(10_000), "pad": pad}).encode()


def _repetitive(dice: random.Random) -> bytes:
    amount, user = round(dice.random() * 1000, 2), dice.randrange(10_000)
    words = " ".join(dice.choice(_WORDS) for _ in range(_PAD_BYTES // 10))
    return json.dumps({"amount": amount, "user": f"user-{user}", "text": words}).encode()


_WORDS = ("order", "payment", "delivery", "customer", "address", "warehouse", "invoice", "refund")
_VALUES = {"random": (_random, 1), "repetitive": (_repetitive, 6)}


@contextmanager
def _raw(
    url: str, options: Mapping[str, Any], spans: list[tuple[str, int, int]], concurrency: int
) -> Iterator[Callable[[], None]]:
    """Fetches all bytes of the objects with s3fs."""
    import s3fs

    objects: dict[str, int] = {}
    for name, position, length in spans:
        objects[name] = max(objects.get(name, 0), position + length)
    ranges = [
        (f"{url}/{name}", start, min(start + _RANGE_BYTES, end))
        for name, end in objects.items()
        for start in range(0, end, _RANGE_BYTES)
    ]
    paths, starts, ends = map(list, zip(*ranges, strict=True))
    filesystem = s3fs.S3FileSystem(
        **options, config_kwargs={"max_pool_connections": 2 * concurrency}, skip_instance_cache=True
    )

    def fetch() -> None:
        found = filesystem.cat_ranges(paths, starts, ends, batch_size=concurrency)
        assert sum(map(len, found)) == sum(end - start for _, start, end in ranges)

    yield fetch
    filesystem.close_session(filesystem.loop, filesystem._s3)
