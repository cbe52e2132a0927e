"""Whatever is done to the gateway, it complains in its own words, and leaves nothing behind."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing went wrong that nobody thought of."""
    caplog.set_level(logging.WARNING)
    yield
    gc.collect()  # tasks that were dropped with an exception say so now
    assert not [each for each in caplog.get_records("call") if each.exc_info], caplog.text
    asyncio_said = [each for each in caplog.get_records("call") if each.name == "asyncio"]
    assert not asyncio_said, caplog.text


@pytest.fixture(autouse=True, scope="module")
def no_threads_left() -> Iterator[None]:
    """A gateway that was closed has no threads."""
    yield
    deadline = time.monotonic() + 5
    while any(each.name.startswith("streamhouse-kafka") for each in threading.enumerate()):
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)
