"""Two gateways on one log, killed and stopped in turn, and what their clients make of it.

Idempotent producers fill a topic; so does a native one. Two groups, one of each protocol, copy it in
transactions of consume, transform and produce; two more read it and commit. Meanwhile gateways and clients
are killed with SIGKILL and started again, and gateways are stopped for longer than their session.

In the end everything is copied, and judged: what producers were told and readers saw by
:func:`streamhouse.testing.checker.check_history`, the log after each of its commits by ``kafka_truth``.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import random
import shutil
import signal
import socket
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import streamhouse
from streamhouse.errors import GroupNotFoundError
from streamhouse.testing.checker import check_history
from streamhouse.testing.history import Moved, Observed, Operation, Polled, Sent, decode_operations
from streamhouse.verify import verify
from tests.soak import kafka_worker
from tests.soak.kafka_truth import (
    COPIES,
    PARTITIONS,
    READERS,
    SOURCE,
    Look,
    decode_seen,
    judge_copies,
    judge_looks,
    judge_readers,
    looks,
)
from tests.soak.kafka_worker import BROKER_SESSION_SECONDS, STUCK, Job
from tests.soak.runner import store

_PRELOAD = ["streamhouse.log", "streamhouse.kafka", "s3fs", "tests.soak.kafka_worker"]
_PATIENCE_SECONDS = 240.0
_GATEWAYS = 2
_MISHAPS = ("gateway", "gateway", "gateway", "restart", "pause", "client", "client")
_CLIENTS: tuple[tuple[str, str, int], ...] = (
    ("produce", "", 2),
    ("write", "", 1),
    ("watch", "", 1),
    *(("copy", group, 2) for group in COPIES),
    *(("read", group, 2) for group in READERS),
)


class Slot:
    """A place for a process."""

    def __init__(self, role: str, group: str, number: int, port: int = 0) -> None:
        self.role = role
        self.group = group
        self.number = number
        self.port = port
        self.process: BaseProcess | None = None
        self.due = 0.0  # when it gets a process, or its process wakes up
        self.asleep = False


class Soak:
    """One run.

    Args:
        url: Where the log is.
        options: For its store.
        folder: For what the processes write down.
        seed: Decides what happens to them.
    """

    def __init__(self, url: str, options: dict[str, Any] | None, folder: str, seed: int) -> None:
        self.happened: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._url = url
        self._options = options
        self._folder = folder
        self._dice = random.Random(seed)
        self._started = 0
        self._context = mp.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        self._gateways = [Slot("gateway", "", number, _free_port()) for number in range(_GATEWAYS)]
        self._clients = [
            Slot(role, group, number) for role, group, many in _CLIENTS for number in range(many)
        ]
        self._turn = 0

    def run(self, seconds: float) -> None:
        """Let clients work under mishaps, then let them come to an end."""
        with kafka_worker.open_log(self._url, self._options) as log:
            for topic in (SOURCE, *COPIES.values()):
                log.create_topic(topic, partitions=PARTITIONS)

            def left() -> int:
                """How many records are still to be copied or read."""
                ends = {p.number: p.high_watermark for p in log.topic(SOURCE).partitions}
                return sum(
                    abs(ends[p.number] - p.high_watermark)
                    for copy in COPIES.values()
                    for p in log.topic(copy).partitions
                ) + sum(
                    end - _offsets(log, group).get(number, 0)
                    for group in READERS
                    for number, end in ends.items()
                )

            try:
                for slot in (*self._gateways, *self._clients):
                    self._start(slot)
                self._wait(
                    lambda: int(not log.topic(COPIES["copy-classic"]).partitions[0].high_watermark), "nothing"
                )
                self._disturb(seconds)
                self._calm()
                for slot in self._clients:
                    if slot.role in {"produce", "write"}:
                        self._end(slot)
                        slot.due = float("inf")  # it does not come back
                self._wait(left, "not all is copied and read")
                for slot in (*self._clients, *self._gateways):
                    self._end(slot)
            finally:
                for slot in (*self._clients, *self._gateways):
                    if slot.process is not None:
                        slot.process.kill()
                        slot.process.join()

    # --- mishaps -----------------------------------------------------------------------------------

    def _disturb(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        due = 0.0
        while (now := time.monotonic()) < ends:
            time.sleep(0.05)
            self._look_after(now)
            if now >= due:
                due = now + self._dice.uniform(1.0, 6.0)
                self._mishap(now)

    def _mishap(self, now: float) -> None:
        what = self._dice.choice(_MISHAPS)
        if what == "client":
            slot = self._dice.choice(self._clients)
        else:
            self._turn += 1
            slot = self._gateways[self._turn % _GATEWAYS]
            other = self._gateways[(self._turn + 1) % _GATEWAYS]
            if (other.process is None or other.asleep) and self._dice.random() < 0.8:
                return  # seldom both at once
        if slot.process is None or slot.asleep:
            return
        self.happened[what] += 1
        if what == "pause":
            os.kill(slot.process.pid or 0, signal.SIGSTOP)
            slot.asleep, slot.due = True, now + BROKER_SESSION_SECONDS * self._dice.uniform(0.2, 4.0)
        elif what == "restart":
            self._end(slot)
            slot.due = now + self._dice.uniform(0.0, 3.0)
        else:
            slot.process.kill()
            slot.process.join()
            slot.process, slot.due = None, now + self._dice.uniform(0.0, 2.5 * BROKER_SESSION_SECONDS)

    def _look_after(self, now: float) -> None:
        for slot in (*self._gateways, *self._clients):
            if slot.asleep and now >= slot.due:
                slot.asleep = False
                os.kill(slot.process.pid or 0 if slot.process else 0, signal.SIGCONT)
            elif slot.process is None and now >= slot.due:
                self._start(slot)
            elif slot.process is not None and not slot.process.is_alive():
                if slot.process.exitcode == STUCK:
                    self.happened["stuck"] += 1
                else:
                    self.complaints.append(f"ended with {slot.process.exitcode}: {self._said(slot.process)}")
                slot.process = None

    def _calm(self) -> None:
        """Everybody is there from here on."""
        self._look_after(float("inf"))

    # --- processes ---------------------------------------------------------------------------------

    def _start(self, slot: Slot) -> None:
        name = f"{slot.role}-{slot.group}-{slot.number}-{self._started}"
        self._started += 1
        bootstrap = ",".join(f"127.0.0.1:{each.port}" for each in self._gateways)
        job = Job(
            self._url,
            self._options,
            slot.role,
            name,
            slot.number,
            self._folder,
            slot.port,
            bootstrap,
            slot.group,
        )
        slot.process = self._context.Process(target=kafka_worker.main, args=(job,), name=name)
        slot.process.start()

    def _end(self, slot: Slot) -> None:
        process, slot.process = slot.process, None
        if process is None:
            return
        process.terminate()
        process.join(_PATIENCE_SECONDS)
        if process.exitcode is None:
            self.complaints.append(f"does not end: {self._stack(process)}")
            process.kill()
            process.join()
        elif process.exitcode == STUCK:
            self.happened["stuck"] += 1
        elif process.exitcode not in {0, -signal.SIGTERM}:  # the last: it had not begun
            self.complaints.append(f"ended with {process.exitcode}: {self._said(process)}")

    def _wait(self, left: Callable[[], int], complaint: str) -> None:
        """Until nothing is left, and no longer than it takes for less to be."""
        least, ends = left(), time.monotonic() + _PATIENCE_SECONDS
        while now := left():
            if now < least:
                least, ends = now, time.monotonic() + _PATIENCE_SECONDS
            time.sleep(0.1)
            self._look_after(time.monotonic())
            if time.monotonic() >= ends:
                self.complaints.append(f"{complaint}: {now} left, no less for {_PATIENCE_SECONDS:g} s")
                return

    def _stack(self, process: BaseProcess) -> str:
        os.kill(process.pid or 0, signal.SIGUSR1)
        time.sleep(1.0)
        return self._said(process)

    def _said(self, process: BaseProcess) -> str:
        path = Path(self._folder, f"{process.name}.err")
        return f"{process.name} said {path.read_text()[-3000:] if path.exists() else 'nothing'}"


class Verdict:
    """What a run found."""

    def __init__(self, soak: Soak, url: str, options: dict[str, Any] | None, folder: Path) -> None:
        self.happened = soak.happened
        self.events = Counter(
            f"{path.name.split('-')[0]}: {line}"
            for path in folder.glob("*.events")
            for line in path.read_text().splitlines()
        )
        rows = _read_all(url, options)
        operations = [
            operation
            for path in sorted(folder.glob("*.history"))
            for operation in decode_operations(path.read_bytes())
        ]
        self.acknowledged = sum(
            len(each.records) for each in operations if isinstance(each, Sent) and each.outcome == "ok"
        )
        self.records = {topic: sum(map(len, parts.values())) for topic, parts in rows.items()}
        seen = [
            decode_seen(line)
            for path in folder.glob("*.seen")
            for line in path.read_bytes().split(b"\n")[:-1]
        ]
        history = list(looks(url, options))
        self.commits = len(history)
        self.wrong = [
            *soak.complaints,
            *map(str, check_history([*operations, *_final(rows)])),
            *judge_copies(rows),
            *judge_looks(history),
            *judge_readers(seen, history[-1] if history else Look(0, {}, {})),
            *map(str, verify(url, storage_options=options).damage),
        ]

    def __str__(self) -> str:
        return (
            f"{self.acknowledged:,} acknowledged, records: {self.records}, {self.commits:,} commits,"
            f" mishaps: {dict(self.happened)}, told: {dict(self.events)},"
            f" wrong: {len(self.wrong) or 'nothing'}"
        )


def _read_all(url: str, options: dict[str, Any] | None) -> dict[str, dict[int, list[str]]]:
    """Every record of every topic, as a fresh process sees it."""
    rows: dict[str, dict[int, list[str]]] = {}
    with kafka_worker.open_log(url, options) as log:
        for topic in (SOURCE, *COPIES.values()):
            rows[topic] = defaultdict(list)
            for record in log.read(topic, value="str"):
                assert record.offset == len(rows[topic][record.partition]), "there is a gap"
                rows[topic][record.partition].append(record.value)
    return rows


def _final(rows: dict[str, dict[int, list[str]]]) -> list[Operation]:
    records = tuple(
        Observed(SOURCE, number, offset, value)
        for number, values in rows[SOURCE].items()
        for offset, value in enumerate(values)
    )
    return [Moved("final", tuple((SOURCE, number, 0) for number in rows[SOURCE])), Polled("final", records)]


def run(kind: str, seconds: float, seed: int = 0, keep: str | None = None) -> Verdict:
    """One run, with a log of its own; what was written down is kept if something was wrong."""
    with store(kind) as (url, options), tempfile.TemporaryDirectory() as folder:
        soak = Soak(url, options, folder, seed)
        soak.run(seconds)
        verdict = Verdict(soak, url, options, Path(folder))
        if keep and verdict.wrong:
            shutil.copytree(folder, f"{keep}/kafka-{kind}-{seed}", dirs_exist_ok=True)
        return verdict


def main(kind: str, seconds: float, seed: int, keep: str | None) -> int:
    """Print what was found; the exit code says whether it was clean."""
    verdict = run(kind, seconds, seed, keep)
    print(verdict)
    for each in verdict.wrong[:20]:
        print(f"  {each}")
    return int(bool(verdict.wrong))


def _offsets(log: streamhouse.Log, group: str) -> dict[int, int]:
    try:
        offsets = log.groups[group].offsets
    except GroupNotFoundError:
        return {}
    return {place.partition: found.offset for place, found in offsets.items()}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
