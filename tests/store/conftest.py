import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from streamhouse.config import Settings
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import ObjectStore
from streamhouse.store.open import open_store
from streamhouse.testing.s3server import FakeS3Server

Open = Callable[..., ObjectStore]


@pytest.fixture
def runtime() -> SystemRuntime:
    return SystemRuntime()


@pytest.fixture
def s3() -> Iterator[FakeS3Server]:
    with FakeS3Server() as server:
        yield server


@pytest.fixture
def open_s3(s3: FakeS3Server, runtime: SystemRuntime) -> Iterator[Open]:
    """Opens stores on the fake server, with other options if wanted, and closes them."""
    with ExitStack() as stack:

        def opened(url: str = "", **options: Any) -> ObjectStore:
            store = open_store(url or s3.url, s3.storage_options | options, Settings(), runtime)
            stack.callback(store.close)
            return store

        yield opened


@pytest.fixture
def worker() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `worker.py` with arguments, in a process of its own that does not outlive the test."""
    started: list[subprocess.Popen[str]] = []
    script = Path(__file__).with_name("worker.py")

    def start(*arguments: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
