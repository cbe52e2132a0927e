"""Logs that outlive the gateways in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway

Serve: TypeAlias = Callable[[], AbstractContextManager[Gateway]]
"""Serves the same log each time, as a process that starts anew does."""


@pytest.fixture(params=["memory", "dir", "s3"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """In memory the log stays open, for it would be gone; elsewhere it is opened anew."""
    if request.param == "memory":
        with streamhouse.Log("memory://") as log:
            yield lambda: streamhouse.kafka.serve(log, port=0)
        return
    if request.param == "dir":
        url, options = str(tmp_path / "log"), None
    else:
        url, options, _ = request.getfixturevalue("streamhouse_s3")

    @contextmanager
    def opened() -> Iterator[Gateway]:
        with (
            streamhouse.Log(url, storage_options=options) as log,
            streamhouse.kafka.serve(log, port=0) as gateway,
        ):
            yield gateway

    yield opened
