"""The simulator: quiet on the code as it is, repeatable, and loud when a rule is switched off."""

from __future__ import annotations

import itertools

import pytest

from streamhouse.testing.simulation.guards import GUARDS, guards_without
from streamhouse.testing.simulation.run import simulate
from streamhouse.testing.simulation.sweep import sweep

SEEDS = 250


@pytest.mark.parametrize("start", range(0, SEEDS, 50))
def test_all_promises_are_kept(start: int) -> None:
    tallies = list(sweep(range(start, start + 50)))
    assert [finding for tally in tallies for finding in tally.findings] == []
    assert sum(tally.acknowledged for tally in tallies) > 500


def test_a_seed_repeats_a_run_to_the_letter() -> None:
    first, second = (simulate(3, tracing=True) for _ in range(2))
    assert first == second
    assert len(first.trace) > 100


@pytest.mark.parametrize("guard", ["producer_sequence", "reread", "seal_first", "flush_number"])
def test_without_a_rule_promises_are_broken(guard: str) -> None:
    """The others take thousands of seeds; ``python -m streamhouse.testing.simulation --table`` has them."""
    assert guard in GUARDS
    tallies = sweep(range(600), without=[guard])
    assert any(tally.findings for tally in tallies)


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        guards_without("nonsense")


def test_chunks_cover_every_seed_once() -> None:
    tallies = itertools.islice(sweep(range(7)), 10)
    assert sum(tally.seeds for tally in tallies) == 7
