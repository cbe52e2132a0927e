"""SQL over blocks beside DuckDB on LZ4 Parquet with the same rows, in one run."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import duckdb

import streamhouse
from tests.bench.data import best, folder, row

_RECORDS = 1_000_000
_BATCH = 50_000
_DAY_MS = 86_400_000
_BEGIN_MS = 1_790_000_000_000
_ROUNDS = 5

_AGGREGATES = {
    "scan: sum(length(value))": "select sum(length(value)), count(*) from {}",
    "scan: counts by key": "select count(*) from (select key, count(*), max(timestamp) from {} group by key)",
    "scan: every column": (
        'select max(topic), max(partition), max("offset"), max(timestamp), max(key), max(value) from {}'
    ),
    "JSON: sum of a field": "select sum((value->>'amount')::double) from {}",
    "JSON: sum by another field": (
        "select count(*) from (select value->>'user' u, sum((value->>'amount')::double) from {} group by u)"
    ),
}


def run() -> None:
    """A million JSON records over a day in one partition, from a local directory."""
    with folder() as place, streamhouse.Log(f"{place}/log", cache_bytes_max=0) as log:
        _fill(log)
        _against_parquet(log, Path(place) / "rows.parquet")
        _pruned(log)
    with folder() as place, streamhouse.Log(f"{place}/log") as log:
        _fill(log)
        _points(log)


def _fill(log: streamhouse.Log) -> None:
    dice = random.Random(1)
    log.create_topic("events")
    with log.producer() as producer:
        for first in range(0, _RECORDS, _BATCH):
            numbers = range(first, first + _BATCH)
            values = [_value(dice) for _ in numbers]
            keys = [b"user-%011d" % dice.randrange(10_000) for _ in numbers]
            times = [_BEGIN_MS + number * _DAY_MS // _RECORDS for number in numbers]
            producer.send_many("events", values, keys=keys, timestamps=times).result()


def _value(dice: random.Random) -> bytes:
    user = dice.randrange(10_000)
    path = f"core/src/{dice.randrange(1 << 30):x}/{dice.randrange(1 << 30):x}.java"
    return json.dumps(
        {"amount": round(dice.random() * 1000, 2), "user": f"user-{user}", "path": path}
    ).encode()


def _against_parquet(log: streamhouse.Log, parquet: Path) -> None:
    log.sql(
        f"copy (select * exclude headers from events) to '{parquet}' (format parquet, compression lz4_raw)"
    )
    plain = duckdb.connect()
    plain.execute("set TimeZone = 'UTC'")
    for name, query in _AGGREGATES.items():
        ours = query.format("events")
        theirs = query.format(f"'{parquet}'")
        expected: Any = plain.execute(theirs).fetchall()
        found = log.sql(ours).fetchall()
        assert [_rounded(cells) for cells in found] == [_rounded(cells) for cells in expected], (
            found,
            expected,
        )
        yardstick = best(lambda query=theirs: plain.execute(query).fetchall(), _ROUNDS)
        took = best(lambda query=ours: log.sql(query).fetchall(), _ROUNDS)
        row(
            f"{name}, Parquet / ours",
            f"{yardstick / took:.2f}",
            f"{took * 1000:.0f} ms, Parquet {yardstick * 1000:.0f} ms; wanted: 1.0",
        )


def _rounded(cells: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(round(cell, 3) if isinstance(cell, float) else cell for cell in cells)


def _pruned(log: streamhouse.Log) -> None:
    begin = _BEGIN_MS + _DAY_MS // 2
    query = (
        "select count(*), sum((value->>'amount')::double) from events"
        " where timestamp >= make_timestamp_ms($a) and timestamp < make_timestamp_ms($b)"
    )
    result = log.sql(query, a=begin, b=begin + 60_000)
    ((count, _),) = result.fetchall()
    assert count in {694, 695}, count
    (scan,) = result.stats.scans
    row(
        "a minute of a day: bytes read",
        f"{100 * scan.bytes_read / scan.bytes_stored:.2f} %",
        f"{scan.bytes_read:,} of {scan.bytes_stored:,}; wanted: below 1 %",
    )
    took = best(lambda: log.sql("select count(*) from events").fetchall(), _ROUNDS)
    row("count(*)", f"{took * 1000:.1f} ms", "no block read")


def _points(log: streamhouse.Log) -> None:
    def point() -> None:
        query = 'select value from events where partition = 0 and "offset" = ?'
        assert len(log.sql(query, 777_777).fetchall()) == 1

    took = best(point, 50)
    row("point read by partition and offset, warm", f"{took * 1000:.2f} ms", "wanted: below 5 ms")
