"""The durable acknowledgement of a single record, against the bare system calls that it needs."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import streamhouse
from tests.bench.data import folder, row

_TIMES = 500


def run() -> None:
    """Take turns, so that both see the same disk."""
    with folder() as place, streamhouse.Log(f"{place}/log") as log:
        log.create_topic("acks")
        bare_folder = Path(place, "bare")
        bare_folder.mkdir()
        descriptor = os.open(bare_folder, os.O_RDONLY)
        bare, ours = [], []
        with log.producer() as producer:
            for number in range(_TIMES):
                began = time.perf_counter()
                _bare(bare_folder, descriptor, number)
                middle = time.perf_counter()
                producer.send("acks", b"x" * 100, key=b"k" * 16).result()
                ours.append(time.perf_counter() - middle)
                bare.append(middle - began)
        os.close(descriptor)
    for name, mine, theirs in (
        ("p50", statistics.median(ours), statistics.median(bare)),
        ("p99", statistics.quantiles(ours, n=100)[98], statistics.quantiles(bare, n=100)[98]),
    ):
        row(
            f"durable ack of one record, {name}: ours / bare calls",
            f"{mine / theirs:.2f}",
            f"{mine * 1e6:.0f} us / {theirs * 1e6:.0f} us" + ("; wanted: 2" if name == "p50" else ""),
        )


def _bare(place: Path, descriptor: int, number: int) -> None:
    temporary, final = place / f"tmp{number}", place / f"{number:020d}"
    file = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL)
    os.write(file, b"x" * 400)
    os.fdatasync(file)
    os.close(file)
    os.link(temporary, final)
    temporary.unlink()
    os.fsync(descriptor)
