"""Writers, readers, a group, compaction and retention at once: all is read right, and the store stays small.

Writers write to four topics: one that keeps all, one that is compacted by key, one with a limit in bytes, one
with a limit in time. Others scan parts of it, rest in the middle for longer than old objects are kept, follow
it from beginning to end, and share it as a group whose members come and go. Meanwhile processes do the
upkeep, and are killed and replaced.

An hour of grace for objects takes a minute, or a few seconds: all engines get a clock that runs faster, and
objects get older at the same rate. What is compared in the end: each read with what the writers were told;
and the size of the store with what the log holds.
"""

from __future__ import annotations

import multiprocessing as mp
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from streamhouse import limits
from streamhouse.upkeep.report import UpkeepReport
from streamhouse.verify import verify
from tests.soak import compaction_worker as worker
from tests.soak import fasttime
from tests.soak.compaction_truth import Truth, judge
from tests.soak.compaction_worker import PARTITIONS, RING_BYTES, Clock, Counted, Plan, number_in
from tests.soak.fasttime import Ages

_PRELOAD: Final = ["streamhouse.log", "s3fs", "tests.soak.compaction_worker"]
_SIZE_FACTOR_MAX: Final = 1.2
_SMALL_BYTES: Final = 5_000_000  # of so small a log, snapshots and the last commits are a notable part
_PATIENCE_SECONDS: Final = 240.0
_ROUNDS_AFTERWARDS: Final = 6
_HOUR: Final = 3600.0


class Soak:
    """One run.

    Args:
        plan: For all processes.
        ages: Of its store.
        seed: Decides when who is killed.
        pause_seconds: Between two writes of a writer.
    """

    def __init__(self, plan: Plan, ages: Ages, seed: int, pause_seconds: float) -> None:
        self.happened: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.largest_bytes = 0
        self._plan = plan
        self._ages = ages
        self._pause_seconds = pause_seconds
        self._dice = random.Random(seed)
        self._context = mp.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        self._writers: list[BaseProcess] = []
        self._readers: list[BaseProcess] = []
        self._keepers: list[tuple[BaseProcess, bool]] = []
        self._keepers_started = 0

    def run(self, seconds: float, tombstone_ms: int) -> None:
        """Let them all work, then come to an end one after the other."""
        with worker.open_log(self._plan) as log:
            worker.create_topics(log, tombstone_ms)
        try:
            self._start_all()
            self._disturb(time.monotonic() + seconds)
            self._say("enough")
            self._join(self._writers)
            self._say("written")
            self._join(self._readers)
            for keeper, _ in self._keepers:
                keeper.terminate()
            self._join([keeper for keeper, _ in self._keepers])
        finally:
            for process in (*self._writers, *self._readers, *(keeper for keeper, _ in self._keepers)):
                process.kill()
                process.join()

    def _start_all(self) -> None:
        for number in range(2):
            self._writers.append(self._start(worker.write, number, self._pause_seconds))
            self._keep(thorough=bool(number))
        self._readers += [
            self._start(worker.scan, "scan-0", 20_000),
            self._start(worker.scan, "scan-1", 500),
            self._start(worker.follow, "follow"),
            self._start(worker.share, "share-0"),
            self._start(worker.share, "share-1"),
        ]

    def _start(self, work: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = self._context.Process(target=work, args=(self._plan, *arguments))
        process.start()
        return process

    def _keep(self, *, thorough: bool) -> None:
        name = f"keeper-{self._keepers_started}"
        self._keepers_started += 1
        self._keepers.append((self._start(worker.look_after, name, thorough), thorough))

    def _say(self, what: str) -> None:
        Path(self._plan.folder, what).touch()

    def _disturb(self, ends: float) -> None:
        kill_at = time.monotonic() + 2.0
        while (now := time.monotonic()) < ends and not self.complaints:
            self._pass_time()
            if now >= kill_at:
                kill_at = now + self._dice.uniform(0.5, 6.0)
                keeper, thorough = self._keepers.pop(self._dice.randrange(len(self._keepers)))
                self._check(keeper)
                keeper.kill()
                keeper.join()
                self.happened["upkeep processes killed"] += 1
                self._keep(thorough=thorough)
            for process in (*self._writers, *self._readers):
                self._check(process)

    def _check(self, process: BaseProcess) -> None:
        if process.exitcode is not None:
            self.complaints.append(f"{process.name} ended by itself with {process.exitcode}")

    def _join(self, processes: list[BaseProcess]) -> None:
        ends = time.monotonic() + _PATIENCE_SECONDS
        for process in processes:
            while process.is_alive() and time.monotonic() < ends:
                self._pass_time()
                process.join(0.05)
            if process.exitcode != 0:
                self.complaints.append(f"{process.name} ended with {process.exitcode}")

    def _pass_time(self) -> None:
        """Give objects their age; often enough for an hour to pass in small steps."""
        self._ages.step()
        self.largest_bytes = max(self.largest_bytes, self._ages.size())
        time.sleep(min(4.0, _HOUR / self._plan.factor / 15))

    # --- afterwards --------------------------------------------------------------------------------

    def tidy_up(self, truth: Truth) -> tuple[int, int]:
        """Let some hours pass with upkeep; sizes of what is stored and what is alive."""
        with worker.open_log(self._plan, 1.0) as log:
            clock = log._runtime
            assert isinstance(clock, Clock)
            for _ in range(_ROUNDS_AFTERWARDS):
                self._ages.skip(1.5 * _HOUR)
                clock.skip(1.5 * _HOUR)
                report: UpkeepReport = log.upkeep()
            self.complaints += [f"left alone in the end: {reason}" for reason in report.skipped]
            live = sum(
                log.topic(topic).partitions[number].stored_bytes
                for topic, count in PARTITIONS.items()
                for number in range(count)
            )
            self._judge_what_is_left(log, truth)
        stored = self._ages.size()
        if stored > _SIZE_FACTOR_MAX * max(live, _SMALL_BYTES):
            self.complaints.append(f"the store has {stored:,} bytes for {live:,} that are alive")
        damage = verify(self._plan.url, storage_options=self._plan.options).damage
        self.complaints += [f"damaged: {each}" for each in damage]
        return stored, live

    def _judge_what_is_left(self, log: Any, truth: Truth) -> None:
        for place, numbers in truth.numbers.items():
            topic, partition = place
            info = log.topic(topic).partitions[partition].info()
            found = [(record.offset, number_in(record)) for record in log.read(topic, partitions=[partition])]
            expected = list(enumerate(numbers))[info.log_start :]
            if topic == "keys":
                latest = set(truth.latest(place).values())
                expected = [row for row in expected if row[0] in latest]
                gone = {row for row in expected if truth.is_tombstone(place, row[0])} - set(found)
                expected = [row for row in expected if row not in gone]
            if found != expected:
                self.complaints.append(f"{place}: {len(found)} records are left, not these {len(expected)}")
            least = RING_BYTES // 2 if info.log_start else 0  # what is put together takes less room
            if topic == "ring" and not least <= info.stored_bytes < RING_BYTES + 2 * worker.BLOCK_BYTES:
                self.complaints.append(f"{place}: {info.stored_bytes:,} bytes were kept")
            if topic in {"plain", "keys"} and info.log_start:
                self.complaints.append(f"{place}: begins at {info.log_start}")
            if info.high_watermark != len(numbers):
                self.complaints.append(f"{place}: ends at {info.high_watermark}, not {len(numbers)}")


def run(
    seconds: float,
    seed: int = 0,
    *,
    store: str = "dir",
    hour_seconds: float = 60.0,
    pause_seconds: float = 0.02,
) -> tuple[list[str], dict[str, float]]:
    """One run: what was wrong, and figures.

    Args:
        seconds: How long they write.
        seed: Decides when who is killed.
        store: ``dir`` or ``fake``.
        hour_seconds: What an hour takes.
        pause_seconds: Between two writes of a writer.
    """
    segment_bytes = limits.SEGMENT_BYTES_MIN
    factor = _HOUR / hour_seconds
    with fasttime.place(store, factor) as place, tempfile.TemporaryDirectory(prefix="soak-notes-") as folder:
        small = 4 << 20  # so that a short run has segments that are full
        plan = Plan(place.url, place.options, folder, factor, small if seconds < 60 else segment_bytes)
        soak = Soak(plan, place.ages, seed, pause_seconds)
        try:
            soak.run(seconds, tombstone_ms=int(min(20_000, seconds * 500)))
            truth = Truth(worker.read_notes(folder))
            wrong, read = judge(truth, worker.read_notes(folder))
            stored, live = soak.tidy_up(truth)
        finally:
            limits.SEGMENT_BYTES_MIN = segment_bytes  # type: ignore[misc]
        figures: Counter[str] = Counter()
        for note in worker.read_notes(folder):
            if isinstance(note, Counted):
                figures.update(note.figures)
        return soak.complaints + truth.complaints + wrong, {
            "records written": truth.records,
            **{f"records read by {name}": count for name, count in read.items()},
            **soak.happened,
            **figures,
            "largest size of the store": soak.largest_bytes,
            "size of the store in the end": stored,
            "live bytes": live,
        }


def main(store: str, seconds: float, seed: int) -> bool:
    """Run once and print; whether something was wrong."""
    wrong, figures = run(seconds, seed, store=store)
    for what, figure in figures.items():
        print(f"{what}: {figure:,.0f}")
    print(f"stored / live: {figures['size of the store in the end'] / figures['live bytes']:.3f}")
    for complaint in wrong[:20]:
        print(f"  {complaint}")
    print(f"{len(wrong)} complaints")
    return bool(wrong)
