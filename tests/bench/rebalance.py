"""How long a group takes to settle, and what moves: 16 members join one by one or all at once.

In one process and across four. A partition has moved when it went from one member to another. What had to is
the least for each join, one by one; and the least from the first owners to the last, at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import streamhouse
from streamhouse.testing.s3server import FakeS3Server
from tests.bench.data import folder as bench_folder
from tests.bench.data import row

_MEMBERS = 16
_PROCESSES = 4
_PARTITIONS = 64

# Adds members when told to; each has a thread that polls, as in an application.
_WORKER = """
import json, sys, threading
import streamhouse

log = streamhouse.Log(sys.argv[1], storage_options=json.loads(sys.argv[2]), upkeep=False)
stop = threading.Event()

def poll(consumer):
    while not stop.is_set():
        consumer.poll(timeout=0.5)
    consumer.close()

threads = []
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        consumer = log.consumer("t", group="g")
        threads.append(threading.Thread(target=poll, args=(consumer,)))
        threads[-1].start()
stop.set()
for thread in threads:
    thread.join()
log.close()
"""


def run() -> None:
    """One by one and all at once, in one process and across four."""
    for place in ("memory://", "directory"):
        for together in (False, True):
            _in_process(place, together=together)
    for together in (False, True):
        with bench_folder() as folder:
            _across_processes("directory", folder, {}, together=together)
    for together in (False, True):
        with FakeS3Server() as server:
            _across_processes("S3 without latency", server.url, server.storage_options, together=together)


def _in_process(place: str, *, together: bool) -> None:
    with bench_folder() as folder, streamhouse.Log(folder if place == "directory" else place) as log:
        log.create_topic("t", partitions=_PARTITIONS)
        stop = threading.Event()
        threads: list[threading.Thread] = []

        def work() -> None:
            with log.consumer("t", group="g") as consumer:
                while not stop.is_set():
                    consumer.poll(timeout=0.5)

        def add(count: int) -> None:
            for _ in range(count):
                threads.append(threading.Thread(target=work))
                threads[-1].start()

        kind = "in process, " + ("memory" if place == "memory://" else "directory")
        _measure(kind, log, lambda count, _number: add(count), together=together)
        stop.set()
        for thread in threads:
            thread.join()


def _across_processes(kind: str, url: str, options: dict[str, Any], *, together: bool) -> None:
    with streamhouse.Log(url, storage_options=options, upkeep=False) as log:
        log.create_topic("t", partitions=_PARTITIONS)
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", _WORKER, url, json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            for _ in range(_PROCESSES)
        ]
        for worker in workers:
            worker.stdout.readline()

        def add(count: int, number: int) -> None:
            if count == 1:
                workers[number % _PROCESSES].stdin.write("1\n")
            else:
                for worker in workers:
                    worker.stdin.write(f"{count // _PROCESSES}\n")

        _measure(f"{_PROCESSES} processes, {kind}", log, add, together=together)
        for worker in workers:
            worker.stdin.close()
        for worker in workers:
            worker.wait()
            worker.stdout.close()


def _measure(kind: str, log: streamhouse.Log, add: Callable[[int, int], None], *, together: bool) -> None:
    moves = _Moves(log)
    began = time.perf_counter()
    longest = 0.0
    if together:
        add(_MEMBERS, 0)
        _settle(log, _MEMBERS)
        fewest = moves.fewest()
    else:
        for number in range(_MEMBERS):
            before = time.perf_counter()
            add(1, number)
            _settle(log, number + 1)
            longest = max(longest, time.perf_counter() - before)
        fewest = sum(_PARTITIONS // members for members in range(2, _MEMBERS + 1))
    took = time.perf_counter() - began
    moved = f"{moves.count} partitions moved, {fewest} had to"
    if together:
        row(f"{kind}: {_MEMBERS} at once", f"{took:.3f} s in all", moved)
    else:
        row(
            f"{kind}: {_MEMBERS} one by one",
            f"{took / _MEMBERS:.3f} s each",
            f"{longest:.3f} s at most; {moved}",
        )


class _Moves:
    """Counts how often a partition went from one member to another, commit by commit."""

    def __init__(self, log: streamhouse.Log) -> None:
        self.count = 0
        self._log = log
        self._first: dict[tuple[int, int], str] = {}
        self._last: dict[tuple[int, int], str] = {}
        log._commits.listen(self._look)

    def fewest(self) -> int:
        """How many had to, for everybody to have the same in the end."""
        share = _PARTITIONS // _MEMBERS
        return sum(max(0, had - share) for had in Counter(self._first.values()).values())

    def _look(self, _applied: object, _commit: object) -> None:
        group = self._log._commits.state.groups.get("g")
        for place, (owner, _) in () if group is None else group.owners.items():
            self._first.setdefault(place, owner)
            self.count += self._last.get(place, owner) != owner
            self._last[place] = owner


def _settle(log: streamhouse.Log, members: int) -> None:
    while True:
        if "g" in log.groups:
            found = log.groups["g"].describe()
            if len(found.members) == members and found.state == "stable":
                return
        time.sleep(0.002)
