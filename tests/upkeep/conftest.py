"""A log in memory whose clock the test moves, and nothing happens in the background."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import streamhouse
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.clock import ManualRuntime


@pytest.fixture
def runtime() -> ManualRuntime:
    return ManualRuntime()


@pytest.fixture
def store(runtime: ManualRuntime) -> MemoryStore:
    return MemoryStore(runtime)


class Opener:
    """Opens the log any number of times."""

    def __init__(self, store: MemoryStore, runtime: ManualRuntime) -> None:
        self.store = store
        self.runtime = runtime
        self.opened: list[streamhouse.Log] = []

    def __call__(self, store: Any = None, **settings: Any) -> streamhouse.Log:
        runtime = settings.pop("runtime", self.runtime)
        log = streamhouse.Log(store or self.store, runtime=runtime, **{"upkeep": False, **settings})
        self.opened.append(log)
        return log


@pytest.fixture
def open_log(store: MemoryStore, runtime: ManualRuntime) -> Iterator[Opener]:
    opener = Opener(store, runtime)
    yield opener
    for log in opener.opened:
        log.close()


@pytest.fixture
def log(open_log: Opener) -> streamhouse.Log:
    return open_log()
