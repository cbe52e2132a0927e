"""Logs with a topic for group members."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamhouse import Log
from tests.groups.members import KEPT


@pytest.fixture(params=["memory", "directory"])
def log(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Log]:
    place = "memory://" if request.param == "memory" else str(tmp_path / "log")
    with Log(place, durability="os") as log:
        log.create_topic("orders", partitions=6)
        yield log


@pytest.fixture
def memory() -> Iterator[Log]:
    with Log("memory://") as log:
        log.create_topic("orders", partitions=2)
        yield log


@pytest.fixture(autouse=True)
def keep() -> Iterator[None]:
    """The log closes the consumers; until then nobody shall miss the close."""
    yield
    KEPT.clear()
