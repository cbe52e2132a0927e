"""Starts, kills and replaces workers, then judges what they wrote down."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamhouse.testing.checker import Anomaly, check_history
from streamhouse.testing.history import Moved, Operation, Sent, decode_operations
from streamhouse.verify import verify
from tests.soak import worker

_LONG = 3600.0
_PRELOAD = ["streamhouse.log", "streamhouse.aio", "s3fs", "tests.soak.worker"]


@contextlib.contextmanager
def store(kind: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """URL and options of an empty place."""
    if kind == "dir":
        with tempfile.TemporaryDirectory(dir=".", prefix=".soak-") as folder:
            yield f"{folder}/log", None
    elif kind == "ministack":
        from streamhouse.testing.ministack import ministack_server

        with ministack_server() as server:
            yield server.url, server.storage_options
    else:
        from streamhouse.testing.s3server import FakeS3Server

        with FakeS3Server() as fake:
            yield fake.url, fake.storage_options


class Verdict:
    """What a soak found."""

    def __init__(self, operations: list[Operation], url: str, options: dict[str, Any] | None) -> None:
        final = worker.read_all(url, options)
        start = Moved("final", tuple((worker.TOPIC, number, 0) for number in range(worker.PARTITIONS)))
        self.anomalies: list[Anomaly] = check_history([*operations, start, final])
        self.damage = verify(url, storage_options=options).damage
        self.records = len(final.records)
        self.acknowledged = Counter(
            operation.producer.split("/")[0]
            for operation in operations
            if isinstance(operation, Sent) and operation.outcome == "ok"
            for _ in operation.records
        )

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return not self.anomalies and not self.damage

    def __str__(self) -> str:
        wrong = Counter(anomaly.kind for anomaly in self.anomalies)
        return (
            f"{self.acknowledged.total():,} acknowledged, {self.records:,} read, "
            f"{len(self.damage)} damaged, anomalies: {dict(wrong) or 'none'}"
        )


def kill(kind: str, runs: int, seed: int = 0) -> Verdict:
    """Kill so many workers at random moments, three writers and a reader at a time.

    Not for ministack: when a client dies in the middle of a PUT, it stores the part that it got, which
    S3 never does.
    """
    dice = random.Random(seed)
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with store(kind) as (url, options), tempfile.TemporaryDirectory() as folder:
        alive: list[Any] = []
        for number in range(runs + 4):
            name = f"w{number}"
            path = Path(folder, name)
            if number % 4 == 3:
                task = context.Process(target=worker.consume, args=(url, options, name, str(path), _LONG))
            else:
                linger = dice.choice((None, 0.0, 0.02))
                arguments = (url, options, name, str(path), _LONG, linger)
                task = context.Process(target=worker.produce, args=arguments)
            task.start()
            alive.append((task, path))
            if len(alive) > 4:
                _kill_one(alive, dice)
        while alive:
            _kill_one(alive, dice)
        return Verdict(_history(folder), url, options)


def _kill_one(alive: list[Any], dice: random.Random) -> None:
    task, path = alive.pop(dice.randrange(len(alive)))
    begun = time.monotonic()
    while task.is_alive() and time.monotonic() - begun < 30:
        if path.exists() and path.stat().st_size:
            break  # it has come as far as its first record
        time.sleep(0.01)
    time.sleep(dice.random() * 0.3)
    assert task.is_alive(), f"worker {path.name} ended by itself with {task.exitcode}"
    task.kill()
    task.join()


def many(kind: str, writers: int, seconds: float) -> Verdict:
    """So many processes write at once, while two read."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with store(kind) as (url, options), tempfile.TemporaryDirectory() as folder:
        worker.open_log(url, options).close()
        tasks = []
        for number in range(writers + 2):
            name = f"w{number}"
            path = str(Path(folder, name))
            if number < writers:
                arguments: tuple[Any, ...] = (url, options, name, path, seconds, 0.0)
                task = context.Process(target=worker.produce, args=arguments)
            else:
                task = context.Process(target=worker.consume, args=(url, options, name, path, seconds))
            tasks.append(task)
        for task in tasks:
            task.start()
        for task in tasks:
            task.join(seconds + 120)
            assert task.exitcode == 0, f"a worker ended with {task.exitcode}"
        return Verdict(_history(folder), url, options)


def _history(folder: str) -> list[Operation]:
    """All operations, process by process; the checker needs no common clock."""
    operations: list[Operation] = []
    for path in sorted(Path(folder).iterdir()):
        operations.extend(decode_operations(path.read_bytes()))
    return operations
