"""Answers of a log are those of a plain DuckDB table; see ``differential.py`` for the long run."""

from __future__ import annotations

import pytest

from tests.sql.differential import story


@pytest.mark.parametrize("seed", [1, 2])
def test_the_answers_are_the_same(seed: int) -> None:
    told = story(seed, 200)
    assert told.checked >= 200
    assert told.rows > 1000
    assert (told.ruled_out > 0) == (seed % 2 == 1)  # where nothing is in memory
