"""SQL over blocks beside DuckDB on LZ4 Parquet with the same rows, in one run."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import duckdb

import streamhouse
from tests.bench.data import best, folder, row, taking_turns

_RECORDS = 1_000_000
_BATCH = 50_000
_DAY_MS = 86_400_000
_BEGIN_MS = 1_790_000_000_000
_ROUNDS = 25
_BUSY_DAY_RECORDS = 5_000_000

_WANTED = {
    "scan: sum(length(value))": "select sum(length(value)), count(*) from {}",
    "JSON: sum of a field": "select sum((value->>'amount')::double) from {}",
    "JSON: sum by another field": (
        "select count(*) from (select value->>'user' u, sum((value->>'amount')::double) from {} group by u)"
    ),
}
_OTHERS = {
    "scan: hash of every column": (
        'select bit_xor(hash(topic, partition, "offset", timestamp, key, value)) from {}'
    ),
    # Parquet keeps keys that repeat in a dictionary, and columns apart, which untyped blocks do not:
    "scan: sums by key": (
        "select max(c), max(t) from (select count(*) c, max(timestamp) t from {} group by key)"
    ),
}


def run() -> None:
    """A million JSON records over a day in one partition of a local directory; and five million."""
    with folder() as place, streamhouse.Log(f"{place}/log", cache_bytes_max=0) as log:
        _fill(log, _RECORDS)
        _against_parquet(log, Path(place) / "rows.parquet")
        _pruned(log, _RECORDS)
    with folder() as place, streamhouse.Log(f"{place}/log", cache_bytes_max=0) as log:
        _fill(log, _BUSY_DAY_RECORDS)
        _pruned(log, _BUSY_DAY_RECORDS)
    with folder() as place, streamhouse.Log(f"{place}/log") as log:
        _fill(log, _RECORDS)
        _points(log)


def _fill(log: streamhouse.Log, records: int) -> None:
    dice = random.Random(1)
    log.create_topic("events")
    with log.producer() as producer:
        for first in range(0, records, _BATCH):
            numbers = range(first, first + _BATCH)
            values = [_value(dice) for _ in numbers]
            keys = [b"user-%011d" % dice.randrange(10_000) for _ in numbers]
            times = [_BEGIN_MS + number * _DAY_MS // records for number in numbers]
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
    for name, query in (_WANTED | _OTHERS).items():
        ours, theirs = query.format("events"), query.format(f"'{parquet}'")
        expected: Any = plain.execute(theirs).fetchall()
        found = log.sql(ours).fetchall()
        assert list(map(_rounded, found)) == list(map(_rounded, expected)), (found, expected)
        took = taking_turns(
            {
                "ours": lambda query=ours: log.sql(query).fetchall(),
                "theirs": lambda query=theirs: plain.execute(query).fetchall(),
            },
            _ROUNDS,
        )
        wanted = "; wanted: 1.0" if name in _WANTED else ""
        us, them = took["ours"], took["theirs"]
        row(
            f"{name}, Parquet / ours",
            f"{them.shortest / us.shortest:.2f}",
            f"{us.shortest * 1000:.0f} ms, Parquet {them.shortest * 1000:.0f} ms;"
            f" of the medians {them.median / us.median:.2f}{wanted}",
        )


def _rounded(cells: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(round(cell, 3) if isinstance(cell, float) else cell for cell in cells)


def _pruned(log: streamhouse.Log, records: int) -> None:
    begin = _BEGIN_MS + _DAY_MS // 2
    query = (
        "select count(*), sum((value->>'amount')::double) from events"
        " where timestamp >= make_timestamp_ms($a) and timestamp < make_timestamp_ms($b)"
    )
    result = log.sql(query, a=begin, b=begin + 60_000)
    ((count, _),) = result.fetchall()
    assert abs(count - records / 1440) < 2, count
    (scan,) = result.stats.scans
    row(
        f"a minute of a day of {records:,}: bytes read",
        f"{100 * scan.bytes_read / scan.bytes_stored:.2f} %",
        f"{scan.blocks_read} of {scan.blocks} blocks, {scan.bytes_read:,} of {scan.bytes_stored:,} bytes;"
        " wanted: below 1 %",
    )
    took = best(lambda: log.sql("select count(*) from events").fetchall(), _ROUNDS)
    row("count(*)", f"{took * 1000:.1f} ms", "no block read")


def _points(log: streamhouse.Log) -> None:
    def point() -> None:
        query = 'select value from events where partition = 0 and "offset" = ?'
        assert len(log.sql(query, 777_777).fetchall()) == 1

    took = best(point, 50)
    row("point read by partition and offset, warm", f"{took * 1000:.2f} ms", "wanted: below 5 ms")
