"""Source, stage 1, stage 2: exactly once through three topics, while processes are killed and replaced.

Two processes work at each stage, with :meth:`streamhouse.Log.process` and with transactions by hand, as
members of a group or, in the second stage of every other run, with fixed partitions, where nothing but
the name of the producer keeps out who was replaced. Two feed the source, one looks at ends and group
offsets, both of one commit. Meanwhile processes are killed, stopped (for longer than a session, too),
and replaced while they stand still, so that they find a successor of their name when they wake up.

In the end the last topic is compared with what the first one amounts to; and each look with what the
offsets of the groups say of that moment.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec

import streamhouse
from streamhouse.testing.checker import check_history
from streamhouse.testing.history import Looked, Moved, Observed, Operation, Polled, decode_operations
from streamhouse.verify import verify
from tests.soak import chain_worker
from tests.soak.chain_truth import GROUPS, TOPICS, Look, judge
from tests.soak.chain_worker import FENCED, PARTITIONS, Job
from tests.soak.runner import store

_PRELOAD = ["streamhouse.log", "streamhouse.sql", "s3fs", "tests.soak.chain_worker"]
_STAGE_SLOTS = 2
_PATIENCE_SECONDS = 60.0
_DISPUTE_SECONDS = 5.0
_MISHAPS = ("kill", "kill", "pause", "long pause", "replace", "replace", "restart")
_ASSIGNORS = ("cooperative-sticky", "sticky", "range", "round-robin")
_decode_look = msgspec.json.Decoder(Look).decode


class Slot:
    """A place in the chain, who has it now, and who had it and stands still."""

    def __init__(self, role: str, number: int, partitions: tuple[int, ...] | None) -> None:
        self.role = role
        self.number = number
        self.partitions = partitions
        self.process: BaseProcess | None = None
        self.wakes_at = 0.0
        self.zombies: list[tuple[BaseProcess, float]] = []  # and when each wakes up
        self.disputed_until = 0.0

    @property
    def disputed(self) -> bool:
        """Whether its process may be fenced: one that stood still before it took the name takes it later."""
        return bool(self.zombies) or time.monotonic() < self.disputed_until


class Chain:
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
        self._seed = seed
        self._started = 0
        self._assignor = self._dice.choice(_ASSIGNORS)
        self._context = mp.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        fixed = seed % 2 == 1
        self._slots = [Slot("feed", 0, None), Slot("feed", 1, None), Slot("watch", 0, None)]
        for number in range(_STAGE_SLOTS):
            mine = tuple(range(number, PARTITIONS["first"], _STAGE_SLOTS)) if fixed else None
            self._slots += [Slot("stage-1", number, None), Slot("stage-2", number, mine)]

    def run(self, seconds: float) -> None:
        """Let it work under mishaps, then let it come to its end."""
        try:
            with chain_worker.open_log(self._url, self._options, self._dice) as log:
                for slot in self._slots:
                    self._start(slot)
                self._until(log, lambda: _ends(log)["second", 0] > 0, "nothing comes")
                self._disturb(seconds)
                self._finish(log)
        finally:
            for slot in self._slots:
                for process in [slot.process, *(zombie for zombie, _ in slot.zombies)]:
                    if process is not None and process.is_alive():
                        process.kill()
                        process.join()

    # --- mishaps -----------------------------------------------------------------------------------

    def _disturb(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        due = 0.0
        while (now := time.monotonic()) < ends:
            time.sleep(0.02)
            self._wake(now)
            self._look_after()
            if now >= due:
                due = now + self._dice.expovariate(2.5)
                self._mishap(now)

    def _mishap(self, now: float) -> None:
        weights = {"feed": 1, "watch": 0, "stage-1": 2, "stage-2": 2}
        (slot,) = self._dice.choices(self._slots, [weights[slot.role] for slot in self._slots])
        if slot.process is None or slot.wakes_at:
            return
        what = self._dice.choice(_MISHAPS)
        self.happened[what] += 1
        if what == "kill":
            slot.process.kill()
            self._ended(slot.process)
            self._start(slot)
        elif what == "restart":
            slot.process.terminate()
            self._ended(slot.process)
            self._start(slot)
        else:
            self._send(slot.process, signal.SIGSTOP)
            if what == "replace":
                slot.zombies.append((slot.process, now + self._dice.uniform(0.2, 3.0)))
                self._start(slot)
            else:
                slot.wakes_at = now + (
                    self._dice.uniform(0.0, 0.5) if what == "pause" else self._dice.uniform(2.0, 4.0)
                )

    def _wake(self, now: float) -> None:
        """Continue those whose time has come."""
        for slot in self._slots:
            if slot.process is not None and slot.wakes_at and now >= slot.wakes_at:
                slot.wakes_at = 0.0
                self._send(slot.process, signal.SIGCONT)
            for zombie, at in slot.zombies:
                if now >= at:
                    self._send(zombie, signal.SIGCONT)
            for zombie, at in list(slot.zombies):
                if now >= at and not zombie.is_alive():
                    slot.zombies.remove((zombie, at))
                    slot.disputed_until = now + _DISPUTE_SECONDS
                    self._ended(zombie)

    # --- processes ---------------------------------------------------------------------------------

    def _start(self, slot: Slot) -> None:
        name = f"r{self._seed}-{slot.role}-{slot.number}-{self._started}"
        self._started += 1
        job = Job(
            self._url,
            self._options,
            slot.role,
            slot.number,
            name,
            self._folder,
            slot.partitions,
            self._assignor,
        )
        slot.process = self._context.Process(target=chain_worker.main, args=(job,), name=name)
        slot.process.start()

    def _look_after(self) -> None:
        """Who ended without having been told to has failed, unless it has a successor."""
        for slot in self._slots:
            if slot.process is not None and not slot.process.is_alive():
                self._ended(slot.process, may_be_fenced=slot.disputed)
                self._start(slot)

    def _ended(self, process: BaseProcess, *, may_be_fenced: bool = True) -> None:
        process.join(_PATIENCE_SECONDS)
        if process.exitcode is None:
            self.complaints.append(f"does not end: {self._stack(process)}")
            process.kill()
            process.join()
        elif process.exitcode == FENCED and may_be_fenced:
            self.happened["fenced"] += 1
        elif process.exitcode not in {0, -signal.SIGKILL, -signal.SIGTERM}:  # SIGTERM: before it had begun
            self.complaints.append(f"ended with {process.exitcode}: {self._said(process)}")

    def _send(self, process: BaseProcess, number: signal.Signals) -> None:
        if process.is_alive() and process.pid is not None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(process.pid, number)

    # --- the end -----------------------------------------------------------------------------------

    def _finish(self, log: streamhouse.Log) -> None:
        """Stop feeding, wait until everything is processed, and stop."""
        self._wake(float("inf"))
        for slot in self._slots:
            if slot.role == "feed" and slot.process is not None:
                slot.process.terminate()
                self._ended(slot.process, may_be_fenced=slot.disputed)
                slot.process = None
        self._until(log, lambda: _drained(log), "not all is processed")
        left = [
            process
            for slot in self._slots
            for process in [slot.process, *(zombie for zombie, _ in slot.zombies)]
            if process is not None
        ]
        for process in left:
            process.terminate()
        for process in left:
            self._ended(process)

    def _until(self, log: streamhouse.Log, condition: Callable[[], bool], complaint: str) -> None:
        ends = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            time.sleep(0.05)
            self._wake(float("inf"))
            self._look_after()
            if time.monotonic() >= ends:
                groups = [repr(log.groups[name].describe()) for name in GROUPS]
                alive = [slot.process for slot in self._slots if slot.process is not None]
                said = [f"{complaint} after {_PATIENCE_SECONDS:g} s", *groups, *map(self._stack, alive)]
                self.complaints.append("\n".join(said))
                break

    def _stack(self, process: BaseProcess) -> str:
        """What it is doing."""
        self._send(process, signal.SIGUSR1)
        time.sleep(1.0)
        return self._said(process)

    def _said(self, process: BaseProcess) -> str:
        path = Path(self._folder, f"{process.name}.err")
        return f"{process.name} said {path.read_text() if path.exists() else 'nothing'}"


def _ends(log: streamhouse.Log) -> dict[tuple[str, int], int]:
    return {(topic, partition): end for topic, partition, end in chain_worker.look(log).ends}


def _drained(log: streamhouse.Log) -> bool:
    look = chain_worker.look(log)
    offsets = {(group, partition): offset for group, partition, offset in look.offsets}
    groups = dict(zip(TOPICS, GROUPS, strict=False))
    return all(
        offsets.get((groups[topic], partition), 0) == end
        for topic, partition, end in look.ends
        if topic in groups
    )


class Verdict:
    """What the runs found."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.happened: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        self.records: Counter[str] = Counter()
        self.looks = 0
        self.runs = 0

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return not self.wrong

    def add(self, chain: Chain, url: str, options: dict[str, Any] | None, folder: Path, seed: int) -> None:
        """Judge one run."""
        with streamhouse.Log(url, storage_options=options) as log:
            rows = {topic: chain_worker.read_all(log, topic) for topic in TOPICS}
            final = chain_worker.look(log)
        looks = [
            _decode_look(line)
            for path in folder.glob("*.looks")
            for line in path.read_bytes().split(b"\n")[:-1]
        ]
        wrong = [*chain.complaints, *judge(rows, looks, final)]
        everything = Polled(
            "final", tuple(Observed("source", row.partition, row.offset, row.value) for row in rows["source"])
        )
        start = Moved("final", tuple(("source", number, 0) for number in range(PARTITIONS["source"])))
        history = [*_history(folder), *(Looked("watch", look.ends) for look in looks), start, everything]
        wrong += map(str, check_history(history))
        wrong += map(str, verify(url, storage_options=options).damage)
        self.wrong += [f"seed {seed}: {each}" for each in wrong]
        self.happened += chain.happened
        self.noted.update(_noted(folder))
        self.records.update({topic: len(found) for topic, found in rows.items()})
        self.looks += len(looks)
        self.runs += 1

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, records: {dict(self.records)}, {self.looks:,} looks,"
            f" mishaps: {dict(self.happened)}, transactions: {dict(self.noted)},"
            f" wrong: {len(self.wrong) or 'nothing'}"
        )


def run(kind: str, runs: int, seconds: float, seed: int = 0) -> Verdict:
    """So many runs, each with a log of its own."""
    verdict = Verdict()
    for number in range(seed, seed + runs):
        with store(kind) as (url, options), tempfile.TemporaryDirectory() as folder:
            chain = Chain(url, options, folder, number)
            chain.run(seconds)
            verdict.add(chain, url, options, Path(folder), number)
    return verdict


def main(kind: str, runs: int, seconds: float, seed: int) -> int:
    """Print what was found; the exit code says whether it was clean."""
    verdict = run(kind, runs, seconds, seed)
    print(f"{runs} runs: {verdict}")
    for each in verdict.wrong[:20]:
        print(f"  {each}")
    return int(not verdict.clean)


def _history(folder: Path) -> Iterator[Operation]:
    for path in sorted(folder.glob("*.history")):
        yield from decode_operations(path.read_bytes())


def _noted(folder: Path) -> Iterator[str]:
    for path in folder.glob("*.events"):
        for line in path.read_text().splitlines():
            word, _, count = line.partition(" ")
            yield line if not count.isdigit() else word
