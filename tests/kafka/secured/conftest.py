"""Whoever may not come in leaves no traceback behind, and no thread."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator

import pytest

from tests.kafka.clients.samples import until


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Refusals are not mistakes of the gateway."""
    caplog.set_level(logging.WARNING, "streamhouse")
    yield
    gc.collect(1)  # tasks that were dropped with an exception say so now
    said = [each for each in caplog.get_records("call") if each.name.startswith(("streamhouse", "asyncio"))]
    assert not [each for each in said if each.exc_info or each.name == "asyncio"], caplog.text


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """A gateway that was closed has no threads."""
    yield
    until(lambda: not [each for each in threading.enumerate() if each.name.startswith("streamhouse-kafka")])
