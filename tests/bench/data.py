"""What the benchmarks write: realistic records, and a place on the disk."""

from __future__ import annotations

import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

VALUE_BYTES = 100


def records(count: int, seed: int = 1) -> tuple[list[bytes], list[bytes]]:
    """16-byte keys of 10,000 users and 100-byte JSON values that do not repeat."""
    dice = random.Random(seed)
    keys, values = [], []
    for _ in range(count):
        user = dice.randrange(10_000)
        value = {
            "amount": round(dice.random() * 1000, 2),
            "user": f"user-{user}",
            "path": f"core/src/{dice.randrange(1 << 30):x}/{dice.randrange(1 << 30):x}.java",
        }
        keys.append(b"user-%011d" % user)
        values.append(json.dumps(value).encode().ljust(VALUE_BYTES)[:VALUE_BYTES])
    return keys, values


@contextmanager
def folder() -> Iterator[str]:
    """A directory on the disk under test (the working directory's), removed afterwards."""
    path = tempfile.mkdtemp(prefix=".bench-", dir=".")
    try:
        yield path
    finally:
        shutil.rmtree(path)


def seconds(work: Callable[[], Any]) -> float:
    """How long something takes, once."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def best(work: Callable[[], Any], times: int = 3) -> float:
    """The shortest of several runs, for yardsticks without a state."""
    return min(seconds(work) for _ in range(times))


class Took(NamedTuple):
    """Seconds that something took."""

    shortest: float
    median: float


def taking_turns(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Took]:
    """How long each of several works takes.

    They take turns, so that a machine that is busy with something else for a while is so for all of them.
    """
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            took[name].append(seconds(work))
    return {name: Took(min(each), statistics.median(each)) for name, each in took.items()}


def row(what: str, value: str, note: str = "") -> None:
    """Print one line of the table."""
    print(f"{what:<58} {value:>14}  {note}", flush=True)
