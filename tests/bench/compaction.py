"""Reading what many small commits left, before and after compaction.

A million commits of one record each would take most of an hour to write. What they leave is a million blocks
of one record, so those are made directly: encoded once per distinct record, handed to the commit log as an
operation each, and gathered by it into large commits. A smaller log is really written commit by commit, to
show what difference that makes to the reader. Readers open the log anew, with nothing in their cache.
Before compaction, a part of the records has to do: the rate does not depend on how many follow.
"""

from __future__ import annotations

import time
from typing import Any

import streamhouse
from streamhouse.commits.proposal import PartBlocks
from streamhouse.format.block import EncodedBlock, encode_block
from streamhouse.format.columns import columns_from_lists
from streamhouse.testing.s3server import FakeS3Server
from tests.bench.data import folder, records, row, seconds

_RECORDS = 1_000_000
_DISTINCT = 50_000
_REAL_COMMITS = 20_000
_REAL_COMMITS_REMOTE = 2_000
_LATENCY_SECONDS = 0.02
_PENDING_MAX = 20_000
_NOBODY = -1
_WANTED = "wanted: 5"


def run() -> None:
    """In a directory, and on S3 with 20 ms per request."""
    with folder() as place:
        _measure("directory", place, None, before=200_000, real=_REAL_COMMITS)
    with FakeS3Server() as server:
        place = server.url
        server.latency_seconds = dict.fromkeys(("PUT", "GET", "HEAD", "LIST", "DELETE"), _LATENCY_SECONDS)
        _measure("S3, 20 ms", place, server.storage_options, before=5_000, real=_REAL_COMMITS_REMOTE)


def _measure(where: str, place: str, options: dict[str, Any] | None, *, before: int, real: int) -> None:
    keys, values = records(_DISTINCT)
    opening: dict[str, Any] = {"storage_options": options, "durability": "os", "upkeep": False}
    with streamhouse.Log(place, linger_seconds=0, **opening) as log:
        took = seconds(lambda: _fill(log, keys, values))
        row(f"{where}: {_RECORDS:,} blocks of one record written", f"{took:.0f} s")
        took = seconds(lambda: _commit_each(log, keys[:real], values[:real]))
        row(f"{where}: {real:,} commits of one record", f"{took:.0f} s", f"{real / took:.0f} commits/s")
    old_real = _rate(place, options, "real", values[:real], real)
    old = _rate(place, options, "many", values, before)
    with streamhouse.Log(place, **opening) as log:
        began = time.perf_counter()
        report = log.upkeep()
        took = time.perf_counter() - began
        row(
            f"{where}: compaction",
            f"{took:.0f} s",
            f"{report.blocks_before:,} blocks became {report.blocks_after:,} in"
            f" {report.segments_written} segments",
        )
        assert not report.skipped, report.skipped
    new_real = _rate(place, options, "real", values[:real], real)
    new = _rate(place, options, "many", values, _RECORDS)
    for what, mine, other in (("many", new, old), ("commit by commit", new_real, old_real)):
        row(
            f"{where}: reading {what}, after / before",
            f"{mine / other:.1f}",
            f"{mine:,.0f} / {other:,.0f} records/s; {_WANTED}",
        )


def _fill(log: streamhouse.Log, keys: list[bytes], values: list[bytes]) -> None:
    topic = log.create_topic("many").id
    blocks = [_block(key, value) for key, value in zip(keys, values, strict=True)]
    pending = []
    for number in range(_RECORDS):
        part = PartBlocks(0, 0, [blocks[number % len(blocks)]])
        pending.append(log._commits.append(topic, _NOBODY, 0, [part]))
        if len(pending) == _PENDING_MAX:
            log._commits.urge()
            for future in pending:
                future.result()
            pending.clear()


def _block(key: bytes, value: bytes) -> EncodedBlock:
    return encode_block(columns_from_lists([key], [value], [int(time.time() * 1000)], None))


def _commit_each(log: streamhouse.Log, keys: list[bytes], values: list[bytes]) -> None:
    log.create_topic("real")
    with log.producer() as producer:
        for key, value in zip(keys, values, strict=True):
            producer.send("real", value, key=key).result()


def _rate(place: str, options: dict[str, Any] | None, topic: str, values: list[bytes], wanted: int) -> float:
    """Records a second of a consumer with an empty cache, which reads the right ones."""
    with (
        streamhouse.Log(place, storage_options=options, upkeep=False) as log,
        log.consumer(topic) as consumer,
    ):
        count = 0
        began = time.perf_counter()
        while count < wanted:
            for batch in consumer.poll_batches(timeout=1.0):
                found = batch.values()
                first = batch.first_offset
                assert first == count
                assert found == [values[n % len(values)] for n in range(first, first + len(found))]
                count += len(found)
        return count / (time.perf_counter() - began)
