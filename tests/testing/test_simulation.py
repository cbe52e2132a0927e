"""The commit engine keeps its promises under the simulator, which notices when a rule is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from streamhouse.testing.simulation import GUARDS, guards_without, simulate
from streamhouse.testing.simulation.__main__ import main
from streamhouse.testing.simulation.plan import PROFILES, WEATHERS, Weather
from streamhouse.testing.simulation.sweep import sweep

SEEDS_MAX = 1000
SEEDS_FIRST = {"transaction_number": 1080}  # the first thousand seeds have nothing that it is for
WHERE_IT_HURTS: dict[str, Weather] = {
    "flush_number": "storm",
    "producer_sequence": "mixed",
    "sealed_lane": "storm",
    "reread": "mixed",
    "boundary": "cleaning",
    "boundary_first": "cleaning",
    "keep_slots": "cleaning",
    "seal_first": "cleaning",
    "segments_in_order": "rewriting",
    "sources": "rewriting",
    "owner": "rebalancing",
    "atomic": "rebalancing",
    "fenced": "rebalancing",
    "abandoned": "rebalancing",
    "transaction_number": "rebalancing",
    "coordinator": "rebalancing",
    "standing": "rebalancing",
    "grace": "rewriting",
}
BUSY_WITH: dict[Weather, list[str]] = {
    "rebalancing": ["transactions", "consumed"],
    "rewriting": ["transactions", "rewritten"],
}


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_acknowledged_is_lost_doubled_or_reordered(profile):
    for seed in range(40):
        assert simulate(seed, profile=profile).violations == []


@pytest.mark.parametrize("weather", WEATHERS)
def test_nor_in_bad_weather(weather):
    outcomes = [simulate(seed, weather=weather) for seed in range(1000, 1030)]
    assert [violation for outcome in outcomes for violation in outcome.violations] == []
    # It would be easy to break no promise by doing nothing.
    assert sum(outcome.acknowledged for outcome in outcomes) > 8 * len(outcomes)
    for figure in BUSY_WITH.get(weather, ()):
        assert sum(getattr(outcome, figure) for outcome in outcomes) > len(outcomes)


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_is_needed(guard):
    weather = WHERE_IT_HURTS[guard]
    guards = guards_without(guard)
    first = SEEDS_FIRST.get(guard, 0)
    seeds = range(first, first + SEEDS_MAX)
    assert any(simulate(seed, guards, weather=weather).violations for seed in seeds)


def test_a_guard_that_does_not_exist():
    with pytest.raises(KeyError, match="no guard"):
        guards_without("seat_belt")


def test_a_seed_repeats_itself():
    for seed in range(10):
        assert simulate(seed, tracing=True) == simulate(seed, tracing=True)


def test_a_seed_repeats_itself_in_another_process():
    def trace(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-m", "streamhouse.testing.simulation", "--start", "7", "--trace"]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    first = trace("1")
    assert first.count("\n") > 50
    assert trace("2") == first


def test_two_processes_find_what_one_finds():
    alone = list(sweep(range(50), without=["producer_sequence"]))
    shared = list(sweep(range(50), without=["producer_sequence"], jobs=2))
    assert alone == shared
    assert any(tally.findings for tally in alone)


def test_the_command_line(capsys):
    assert main(["--seeds", "3"]) == 0
    assert "3 seeds, 0 with violations" in capsys.readouterr().out
    assert main(["--seeds", "5", "--without", "producer_sequence"]) == 1
    assert "duplicate" in capsys.readouterr().out
    assert main(["--seeds", "1", "--table"]) == 1  # of one seed each, most find nothing
    assert capsys.readouterr().out.count("\n") == len(GUARDS) + 2
