"""Groups whose members are killed, stopped, replaced, expelled, and come and go; their histories are checked.

Four processes produce, and are members of two groups: one that deals out cooperatively, one that makes
all stop. Members commit automatically or by hand, poll or iterate, are static or not, close in order, with
records in hand, or not at all. Meanwhile processes are killed, stopped for longer than a session, replaced
while they stand still, and partitions and topics are added.

Each process writes down what its members saw. What the log says of the groups is added in the end
(``group_audit``), and :func:`streamhouse.testing.group_checker.check_groups` compares.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import streamhouse
from streamhouse.testing.group_checker import check_groups
from streamhouse.testing.group_history import Delivered, Entry, Given, Noted, Owned, decode_entries
from streamhouse.testing.history import Moved, Observed, Polled, Sent
from streamhouse.verify import verify
from tests.soak import group_worker
from tests.soak.group_audit import audit
from tests.soak.group_worker import LATE_TOPIC, SESSION_SECONDS, TOPICS, GroupPlan, Job, Life
from tests.soak.runner import store
from tests.soak.worker import Notes

_PRELOAD = ["streamhouse.log", "s3fs", "tests.soak.group_worker"]
_SLOTS = 4
_BEGIN_SECONDS = 60.0
_DRAIN_SECONDS = 60.0
_END_SECONDS = 60.0
_EAGER = ("sticky", "range", "round-robin")
_MISHAPS = ("kill", "kill", "pause", "long pause", "long pause", "replace", "restart", "alter")


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
        self._seed = seed
        self._dice = random.Random(seed)
        self._context = mp.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        everything: tuple[str, ...] = ()
        self._groups = tuple(
            GroupPlan(name, assignor, self._dice.choice((everything, tuple(TOPICS), ("soak-a",))))
            for name, assignor in (
                ("together", "cooperative-sticky"),
                ("all-stop", self._dice.choice(_EAGER)),
            )
        )
        self._started = 0
        self._slots: list[BaseProcess | None] = [None] * _SLOTS
        self._starts: list[float] = [0.0] * _SLOTS  # when an empty slot gets a process
        self._asleep: dict[BaseProcess, float] = {}  # until when
        self._replaced: dict[BaseProcess, float] = {}  # who has a successor, and when it has to end

    def run(self, seconds: float) -> None:
        """Let members work under mishaps, then read what is left."""
        try:
            with group_worker.open_log(self._url, self._options) as log:
                for topic, partitions in TOPICS.items():
                    log.create_topic(topic, partitions=partitions)
                self._begin()
                self._disturb(log, seconds)
                self._finish()
                for group in self._groups:
                    self._drain(log, group)
        finally:
            for process in self._processes():
                process.kill()
                process.join()

    # --- mishaps -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Wait until there is work to be disturbed, however slow the machine is."""
        for slot in range(_SLOTS):
            self._start(slot)
        ends = time.monotonic() + _BEGIN_SECONDS
        while time.monotonic() < ends:
            if any(b'"delivered"' in path.read_bytes() for path in Path(self._folder).glob("*.history")):
                return
            time.sleep(0.05)
        self.complaints.append(f"nothing was delivered within {_BEGIN_SECONDS:g} s")

    def _disturb(self, log: streamhouse.Log, seconds: float) -> None:
        ends = time.monotonic() + seconds
        due = time.monotonic() + 1.0
        while (now := time.monotonic()) < ends:
            self._look_after(now)
            if now >= due:
                due = now + self._dice.expovariate(1.2)
                self._mishap(log, now)
            time.sleep(0.02)

    def _look_after(self, now: float) -> None:
        for slot, process in enumerate(self._slots):
            if process is None and now >= self._starts[slot]:
                self._start(slot)
            elif process is not None and not process.is_alive():
                self.complaints.append(f"{process.name} ended by itself")
                self._ended(process)
                self._slots[slot] = None
        for process, until in list(self._asleep.items()):
            if now >= until:
                del self._asleep[process]
                _send(process, signal.SIGCONT)
        for process, until in list(self._replaced.items()):
            if now >= until:
                del self._replaced[process]
                process.terminate()
                self._ended(process)

    def _mishap(self, log: streamhouse.Log, now: float) -> None:
        slot = self._dice.randrange(_SLOTS)
        process = self._slots[slot]
        if process is None or process in self._asleep:
            return
        what = self._dice.choice(_MISHAPS)
        self.happened[what] += 1
        if what == "alter":
            self._alter(log)
        elif what in {"kill", "restart"}:
            if what == "kill":
                process.kill()
            else:
                process.terminate()
            self._ended(process)
            self._slots[slot] = None
            self._starts[slot] = now + self._dice.uniform(0.0, 2.0) * SESSION_SECONDS
        else:
            _send(process, signal.SIGSTOP)
            short = what == "pause"
            wakes = now + SESSION_SECONDS * (
                self._dice.uniform(0.0, 0.7) if short else self._dice.uniform(1.1, 3.0)
            )
            self._asleep[process] = wakes
            if what == "replace":
                self._replaced[process] = wakes + self._dice.uniform(0.5, 3.0)
                self._start(slot)

    def _alter(self, log: streamhouse.Log) -> None:
        if self._dice.random() < 0.5:
            log.create_topic(LATE_TOPIC, partitions=2, exist_ok=True)
        else:
            count = len(log.topic("soak-a").partitions)
            log.alter_topic("soak-a", partitions=min(count + 1, 8))

    # --- processes ---------------------------------------------------------------------------------

    def _processes(self) -> list[BaseProcess]:
        return [process for process in (*self._slots, *self._replaced) if process is not None]

    def _start(self, slot: int) -> None:
        name = f"r{self._seed}-{self._started}"
        self._started += 1
        twice = self._dice.choice(self._groups)
        groups = (*self._groups, twice) if self._dice.random() < 0.5 else self._groups
        job = Job(self._url, self._options, name, slot, self._folder, groups)
        process = self._context.Process(target=group_worker.main, args=(job,), name=name)
        process.start()
        self._slots[slot] = process

    def _ended(self, process: BaseProcess) -> None:
        process.join(_END_SECONDS)
        if process.exitcode is None:
            _send(process, signal.SIGUSR1)
            time.sleep(0.5)
            self.complaints.append(f"{process.name} does not end: {self._said(process)}")
            process.kill()
            process.join()
        elif process.exitcode not in {0, -signal.SIGKILL, -signal.SIGTERM}:  # the last: it had not begun
            self.complaints.append(f"{process.name} ended with {process.exitcode}: {self._said(process)}")

    def _said(self, process: BaseProcess) -> str:
        path = Path(self._folder, f"{process.name}.err")
        return path.read_text()[-5000:] if path.exists() else ""

    # --- the end -----------------------------------------------------------------------------------

    def _finish(self) -> None:
        for process in self._asleep:
            _send(process, signal.SIGCONT)
        processes = self._processes()
        for process in processes:
            process.terminate()
        for process in processes:
            self._ended(process)

    def _drain(self, log: streamhouse.Log, group: GroupPlan) -> None:
        """Be the last member, until everything is delivered."""
        names = group.topics or tuple(log.topics)
        wanted = sum(len(log.topic(name).partitions) for name in names)
        ends = time.monotonic() + _DRAIN_SECONDS

        def done(consumer: Any) -> bool:
            if time.monotonic() > ends:
                self.complaints.append(f"not all was delivered: {log.groups[group.name].describe()}")
                return True
            return len(consumer.assignment) == wanted and consumer.lag() == 0

        notes = Notes(f"{self._folder}/drain.history")
        Life(log, group, notes, f"drain/{group.name}").drain(done)


class Verdict:
    """What the runs found."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.happened: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return not self.wrong

    def add(self, soak: Soak, url: str, options: dict[str, Any] | None, folder: Path, seed: int) -> None:
        """Judge one run."""
        history: list[Entry] = []
        for path in sorted(folder.glob("*.history")):
            history += decode_entries(path.read_bytes())
        log = audit(url, options)
        Notes(str(folder / "log.history")).write(*log)
        history += log
        history += _read_all(url, options)
        wrong = [*soak.complaints, *map(str, check_groups(history))]
        wrong += map(str, verify(url, storage_options=options).damage)
        self.wrong += [f"seed {seed}: {each}" for each in wrong]
        self.happened += soak.happened
        self._count(history)

    def _count(self, history: list[Entry]) -> None:
        seen: set[tuple[str, str, int, int]] = set()
        for entry in history:
            match entry:
                case Sent(outcome="ok"):
                    self.counts["acknowledged"] += len(entry.records)
                case Delivered():
                    places = {(entry.group, r.topic, r.partition, r.offset) for r in entry.records}
                    self.counts["delivered"] += len(places)
                    self.counts["again"] += len(places & seen)
                    seen |= places
                case Noted():
                    self.counts["commits" if entry.accepted else "commits refused"] += 1
                case Given():
                    self.counts[entry.how] += len(entry.partitions)
                case Owned():
                    self.counts[entry.how] += 1
        self.counts["runs"] += 1

    def __str__(self) -> str:
        return (
            f"{self.counts['runs']} runs, {dict(self.counts)}, mishaps: {dict(self.happened)},"
            f" wrong: {len(self.wrong) or 'nothing'}"
        )


def run(kind: str, seconds: float, seed: int, verdict: Verdict, keep: str | None = None) -> None:
    """One run, with a log of its own; what was written down is kept if something was wrong."""
    with store(kind) as (url, options), tempfile.TemporaryDirectory() as folder:
        soak = Soak(url, options, folder, seed)
        soak.run(seconds)
        told = len(verdict.wrong)
        verdict.add(soak, url, options, Path(folder), seed)
        if keep and len(verdict.wrong) > told:
            shutil.copytree(folder, f"{keep}/{kind}-{seed}", dirs_exist_ok=True)


def main(kind: str, runs: int, seconds: float, seed: int, keep: str | None) -> int:
    """Print what was found, run by run; the exit code says whether all were clean."""
    verdict = Verdict()
    for number in range(seed, seed + runs):
        told = len(verdict.wrong)
        run(kind, seconds, number, verdict, keep)
        for each in verdict.wrong[told:][:20]:
            print(f"  {each}", flush=True)
    print(verdict)
    return int(not verdict.clean)


def _read_all(url: str, options: dict[str, Any] | None) -> list[Entry]:
    """Everything that the log holds, as a fresh process sees it."""
    with streamhouse.Log(url, storage_options=options) as log:
        partitions = [(name, p.number, 0) for name, topic in log.topics.items() for p in topic.partitions]
        records = tuple(
            Observed(r.topic, r.partition, r.offset, r.value)
            for name in log.topics
            for r in log.read(name, value="str")
        )
    return [Moved("final", tuple(partitions)), Polled("final", records)]


def _send(process: BaseProcess, number: signal.Signals) -> None:
    if process.is_alive() and process.pid is not None:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(process.pid, number)
