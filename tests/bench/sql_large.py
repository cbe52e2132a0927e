"""SQL over ten gigabytes of segments, each query in a process of its own with bounded and measured memory.

``SQL_LARGE_GIGABYTES=1 python -m tests.bench sql_large`` is a shorter run.
"""

from __future__ import annotations

import os
import random
import textwrap
import time
from pathlib import Path

import streamhouse
from tests.bench.bounded import is_enforced, run_bounded
from tests.bench.data import folder, row, seconds

_GIGABYTES = float(os.environ.get("SQL_LARGE_GIGABYTES", "10"))
_BATCH = 20_000
_PAD_BYTES = 460
_LIMIT_BYTES = 1_500_000_000
_DISTINCT_PADS = 5_000

_PROGRAM = """
import streamhouse
with streamhouse.Log({place!r}, create=False, upkeep=False) as log:
{work}
"""
_WORKS = {
    "aggregate by one field of JSON (10,000 groups)": """
        rows = log.sql(
            "select value->>'user', count(*), sum((value->>'amount')::double) from large group by all"
        ).fetchall()
        answer = sum(row[1] for row in rows)
    """,
    "rows, one by one": """
        answer = sum(1 for offset, value in log.sql("select offset, value from large"))
    """,
    "Arrow batches of all columns": """
        import pyarrow as pa
        reader = pa.RecordBatchReader.from_stream(log.sql("from large"))
        answer = sum(batch.num_rows for batch in reader)
    """,
    "to_parquet": """
        answer = log.topic("large").to_parquet({exports!r}).records
    """,
    "ordered by a field, spilled to disk": """
        log.sql("set global memory_limit = '700MB'; set global temp_directory = '{spilled}'")
        answer = sum(1 for row in log.sql("select value from large order by value->>'user', offset"))
    """,
}


def run() -> None:
    """A topic of incompressible JSON; aggregated, streamed out in several ways, exported, sorted."""
    how = "enforced by a control group" if is_enforced() else "measured only"
    row("memory", f"{_LIMIT_BYTES / 1e6:,.0f} MB", how)
    with folder() as relative:
        place = str(Path(relative).resolve())
        records, stored = _fill(f"{place}/log")
        for name, work in _WORKS.items():
            made = textwrap.dedent(work).format(exports=f"{place}/lake", spilled=f"{place}/spilled")
            program = _PROGRAM.format(place=f"{place}/log", work=textwrap.indent(made, "    "))
            begun = time.perf_counter()
            done = run_bounded(program, _LIMIT_BYTES)
            took = time.perf_counter() - begun
            if done.problem:
                row(name, "FAILED", done.problem[:100])
                continue
            assert done.answer == records, (name, done.answer, records)
            peak = f"{done.peak_bytes / 1e6:,.0f} MB"
            row(name, peak, f"at most; {took:.0f} s, {stored / took / 1e6:.0f} MB/s; wanted: below 1,500 MB")


def _fill(place: str) -> tuple[int, int]:
    dice = random.Random(1)
    pads = [dice.randbytes(_PAD_BYTES).hex() for _ in range(_DISTINCT_PADS)]
    records = int(_GIGABYTES * 1e9 / (2 * _PAD_BYTES + 50)) // _BATCH * _BATCH
    with streamhouse.Log(place, upkeep=False) as log:
        log.create_topic("large", partitions=4)

        def write() -> None:
            with log.producer() as producer:
                for first in range(0, records, _BATCH):
                    values = [_value(dice, pads) for _ in range(_BATCH)]
                    producer.send_many("large", values, partition=first // _BATCH % 4).result()

        took = seconds(write)
        query = "select sum(stored_bytes), sum(raw_bytes) from streamhouse.partitions"
        ((stored, raw),) = log.sql(query).fetchall()
    note = f"{raw / 1e9:.1f} GB, {stored / 1e9:.1f} GB stored, written in {took:.0f} s"
    row("records", f"{records:,}", note)
    return records, int(stored)


def _value(dice: random.Random, pads: list[str]) -> bytes:
    """Of about a kilobyte. A pad that comes again lies too far back for LZ4 to see."""
    user, amount = dice.randrange(10_000), round(dice.random() * 1000, 2)
    return f'{{"user": "u{user}", "amount": {amount}, "pad": "{dice.choice(pads)}"}}'.encode()
