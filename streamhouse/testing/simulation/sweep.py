"""Many runs, on several processor cores, and what they amount to."""

from __future__ import annotations

import gc
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import msgspec

from streamhouse.testing.simulation.guards import guards_without
from streamhouse.testing.simulation.plan import Profile, Weather
from streamhouse.testing.simulation.run import simulate

_CHUNK = 25  # seeds at a time
FIGURES = ("commits", "appends", "acknowledged", "transactions", "consumed", "rewritten")
_GARBAGE = 50_000  # objects between two looks of Python's garbage collector


class Finding(msgspec.Struct, frozen=True):
    """A seed that broke promises.

    Attributes:
        seed: Repeats it.
        violations: Kind and particulars of each.
    """

    seed: int
    violations: list[tuple[str, str]]


class Tally(msgspec.Struct):
    """What a number of runs came to."""

    seeds: int = 0
    commits: int = 0
    appends: int = 0
    acknowledged: int = 0
    transactions: int = 0
    consumed: int = 0
    rewritten: int = 0
    findings: list[Finding] = []

    def add(self, other: Tally) -> None:
        """Add the runs of another tally."""
        self.seeds += other.seeds
        for figure in FIGURES:
            setattr(self, figure, getattr(self, figure) + getattr(other, figure))
        self.findings.extend(other.findings)

    def kinds(self) -> Counter[str]:
        """In how many runs each promise was broken."""
        return Counter(kind for finding in self.findings for kind in {kind for kind, _ in finding.violations})


def sweep(
    seeds: range,
    *,
    without: Sequence[str] = (),
    profile: Profile | None = None,
    weather: Weather | None = None,
    jobs: int = 1,
) -> Iterator[Tally]:
    """Run the seeds, and yield a tally for every few of them.

    Args:
        seeds: Which.
        without: Guards that are switched off.
        profile: Always this one, instead of one drawn by the seed.
        weather: Likewise.
        jobs: Processes.
    """
    chunks = [seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)]
    work = partial(_run, without=tuple(without), profile=profile, weather=weather)
    if jobs == 1:
        yield from map(work, chunks)
        return
    # Spawned, not forked: what runs the tests may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(work, chunks)


def _run(seeds: range, without: tuple[str, ...], profile: Profile | None, weather: Weather | None) -> Tally:
    before = gc.get_threshold()
    gc.set_threshold(_GARBAGE, *before[1:])
    try:
        tally = Tally()
        guards = guards_without(*without)
        for seed in seeds:
            outcome = simulate(seed, guards, profile, weather)
            tally.seeds += 1
            for figure in FIGURES:
                setattr(tally, figure, getattr(tally, figure) + getattr(outcome, figure))
            if outcome.violations:
                tally.findings.append(Finding(seed, [(v.kind, v.what) for v in outcome.violations]))
        return tally
    finally:
        gc.set_threshold(*before)
