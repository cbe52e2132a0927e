"""Typed topics beside JSON and DuckDB on LZ4 Parquet with the same rows, in one run."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

import streamhouse
from tests.bench.data import best, folder, row, seconds, taking_turns

_RECORDS = 1_000_000
_BATCH = 250_000
_ROUNDS = 31
_TIMES = 5
_FIELDS = ("BIGINT", "DOUBLE", "INTEGER", "VARCHAR")


def run() -> None:
    """A million records of twenty fields in one partition, from a local directory."""
    schema = {f"f{number}": _FIELDS[number % len(_FIELDS)] for number in range(20)}
    with folder() as place, streamhouse.Log(f"{place}/log", cache_bytes_max=0, upkeep=False) as log:
        log.create_topic("typed", schema=schema)
        log.create_topic("json")
        rows = _rows(schema)
        parquet = f"{place}/rows.parquet"
        plain = duckdb.connect()
        frames = [rows[first : first + _BATCH] for first in range(0, _RECORDS, _BATCH)]
        with log.producer() as producer:
            took = seconds(lambda: [producer.send_many("typed", frame).result() for frame in frames])
            row("send_many of DataFrames, records a second", f"{_RECORDS / took:,.0f}", "twenty fields")
            took = 0.0
            for frame in frames:
                records = frame.to_dicts()
                lines = [json.dumps(record).encode() for record in records]
                took += seconds(lambda lines=lines: producer.send_many("json", lines).result())
            row(
                "send_many of JSON as bytes, records a second", f"{_RECORDS / took:,.0f}", "the same, untyped"
            )
            some = frames[0][:50_000].to_dicts()
            log.create_topic("dicts", schema=schema)
            took = seconds(lambda: producer.send_many("dicts", some).result())
            row(
                "send_many of dicts, records a second",
                f"{len(some) / took:,.0f}",
                "checked against the schema",
            )
        plain.register("rows", rows)
        plain.execute(f"copy rows to '{parquet}' (format parquet, compression lz4_raw)")
        _compare(log, plain, parquet)
        _sizes(log, Path(parquet))
        larger = f"{place}/larger.parquet"
        log.create_topic("larger", schema=schema)
        with log.producer() as producer:
            for frame in frames * _TIMES:
                producer.send_many("larger", frame).result()
        everything = " union all ".join(["from rows"] * _TIMES)
        plain.execute(f"copy ({everything}) to '{larger}' (format parquet, compression lz4_raw)")
        what = f"the same of {_TIMES * _RECORDS:,} records"
        _beside_parquet(log, plain, what, "select sum(f1) from {}", "larger", larger)


def _rows(schema: dict[str, str]) -> Any:
    import polars as pl

    dice = random.Random(1)
    make: dict[str, Callable[[], Any]] = {
        "BIGINT": lambda: dice.randrange(1 << 40),
        "DOUBLE": lambda: dice.random() * 1000,
        "INTEGER": lambda: dice.randrange(10_000),
        "VARCHAR": lambda: f"user-{dice.randrange(10_000)}",
    }
    return pl.DataFrame({name: [make[kind]() for _ in range(_RECORDS)] for name, kind in schema.items()})


def _compare(log: streamhouse.Log, plain: Any, parquet: str) -> None:
    for what, query, over_json in (
        (
            "sum of one field of twenty",
            "select sum(f1) from {}",
            "select sum((value->>'f1')::double) from {}",
        ),
        (
            "sum by another field",
            "select count(*) from (select f3, sum(f1) from {} group by f3)",
            "select count(*) from (select value->>'f3' u, sum((value->>'f1')::double) from {} group by u)",
        ),
        ("three sums", "select sum(f0), sum(f1), sum(f2) from {}", ""),
    ):
        expected: Any = plain.execute(query.format(f"'{parquet}'")).fetchall()
        found = log.sql(query.format("typed")).fetchall()
        assert _rounded(found) == _rounded(expected), (found, expected)
        ours = _beside_parquet(log, plain, what, query, "typed", parquet)
        if over_json:
            slow = best(lambda query=over_json: log.sql(query.format("json")).fetchall(), 3)
            note = f"JSON {slow * 1000:.0f} ms; wanted for one sum: 10"
            row(f"{what}: JSON over typed", f"{slow / ours:.1f}", note)


def _beside_parquet(
    log: streamhouse.Log, plain: Any, what: str, query: str, topic: str, parquet: str
) -> float:
    """Print how a query compares; the seconds that ours takes."""
    took = taking_turns(
        {
            "ours": lambda: log.sql(query.format(topic)).fetchall(),
            "theirs": lambda: plain.execute(query.format(f"'{parquet}'")).fetchall(),
        },
        _ROUNDS,
    )
    ours, theirs = took["ours"].shortest, took["theirs"].shortest
    note = f"{ours * 1000:.1f} ms, Parquet {theirs * 1000:.1f} ms; wanted for one sum: 1.5"
    row(f"{what}: time over that of Parquet", f"{ours / theirs:.2f}", note)
    return ours


def _rounded(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(round(cell, 2) if isinstance(cell, float) else cell for cell in cells) for cells in rows]


def _sizes(log: streamhouse.Log, parquet: Path) -> None:
    stored = {name: log.topic(name).partitions[0].stored_bytes for name in ("typed", "json")}
    row(
        "stored bytes, typed",
        f"{stored['typed']:,}",
        f"Parquet {parquet.stat().st_size:,}; JSON {stored['json']:,}",
    )
