"""Logs, alone and two on one directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamhouse import Log
from streamhouse.commits.log import CommitLog


@pytest.fixture
def commits() -> Iterator[CommitLog]:
    with Log("memory://") as log:
        yield log._inside.commits


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[CommitLog, CommitLog]]:
    """As two gateways, on two hosts, have them."""
    place = str(tmp_path / "log")
    with Log(place, durability="os") as one, Log(place, durability="os") as other:
        yield one._inside.commits, other._inside.commits
