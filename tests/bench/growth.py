"""How opening and looking up behave as the log grows."""

from __future__ import annotations

import subprocess
import sys
import time

import streamhouse
from tests.bench.data import folder, row

_SIZES = (1_000, 10_000, 100_000)
_PARTITIONS = 10_000

_OPEN = """
import resource, sys, time
import streamhouse
began = time.perf_counter()
with streamhouse.Log(sys.argv[1], create=False) as log:
    opened = time.perf_counter() - began
    partitions = log.topic("growth").partitions
    began = time.perf_counter()
    for number in range(0, len(partitions), max(1, len(partitions) // 100)):
        partitions[number].high_watermark
    looked = (time.perf_counter() - began) / 100
    print(opened, looked, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def run() -> None:
    """Write so many commits, then open the log in a fresh process."""
    for count in _SIZES:
        _measure(count, partitions=1)
    _measure(_PARTITIONS, partitions=_PARTITIONS)


def _measure(commits: int, partitions: int) -> None:
    with folder() as place:
        with streamhouse.Log(place, durability="os") as log:
            log.create_topic("growth", partitions=partitions)
            began = time.perf_counter()
            with log.producer() as producer:
                for number in range(commits):
                    producer.send("growth", b"x", partition=number % partitions).result()
            rate = commits / (time.perf_counter() - began)
        command = [sys.executable, "-c", _OPEN, place]
        answer = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    opened, looked, memory = map(float, answer.split())
    row(
        f"open after {commits:,} commits, {partitions:,} partition(s)",
        f"{opened:.3f} s",
        f"{memory:.0f} MB in all, look-up {looked * 1e6:.0f} us, written at {rate:.0f} commits/s"
        + ("; wanted: under 2 s" if commits == max(_SIZES) else ""),
    )
