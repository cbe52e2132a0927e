"""Stores in which time passes faster: what they hold gets older at a multiple of the usual rate."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from streamhouse.runtime import SystemRuntime
from streamhouse.testing.s3server import FakeS3Server


class Ages(Protocol):
    """What is done to a store so that time passes in it."""

    def step(self) -> None:
        """Give everything the age that it should have by now."""

    def skip(self, seconds: float) -> None:
        """Let that much time have passed."""

    def size(self) -> int:
        """Bytes of all objects."""


class Place(NamedTuple):
    """A store."""

    url: str
    options: dict[str, Any] | None
    ages: Ages


@contextlib.contextmanager
def place(kind: str, factor: float) -> Iterator[Place]:
    """An empty one: ``dir`` or ``fake``."""
    if kind == "dir":
        with tempfile.TemporaryDirectory(dir=".", prefix=".soak-") as where:
            folder = Path(where, "log")
            yield Place(str(folder), None, _Files(folder, factor))
    elif kind == "fake":
        clock = _ServerClock(factor)
        with FakeS3Server(runtime=clock) as server:
            yield Place(server.url, server.storage_options, _Objects(server, clock))
    else:
        raise ValueError(f"time cannot be made to pass faster in {kind!r}; there are dir and fake")


class _Files:
    """Files are given an earlier time, again and again."""

    def __init__(self, folder: Path, factor: float) -> None:
        self._folder = folder
        self._factor = factor
        self._born: dict[Path, tuple[int, int]] = {}  # when written, and what time it was given

    def step(self) -> None:
        now = time.time_ns()
        alive: dict[Path, tuple[int, int]] = {}
        for path in self._files():
            # Not what is only written to be dated, nor what is being written.
            if path.parent.name in {"clock", "hb"} or path.name.startswith("."):
                continue
            with contextlib.suppress(FileNotFoundError):
                mtime = path.stat().st_mtime_ns
                born, given = self._born.get(path, (0, 0))
                if mtime != given:
                    born = mtime  # written anew
                given = now - int((now - born) * self._factor)
                os.utime(path, ns=(given, given))
                alive[path] = born, path.stat().st_mtime_ns
        self._born = alive

    def skip(self, seconds: float) -> None:
        for path in self._files():
            mtime = path.stat().st_mtime_ns - int(seconds * 1e9)
            os.utime(path, ns=(mtime, mtime))

    def size(self) -> int:
        size = 0
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                size += path.stat().st_size
        return size

    def _files(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self._folder):
            yield from (Path(folder, name) for name in names)


class _ServerClock(SystemRuntime):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self._began_ms = super().time_ms()
        self._factor = factor
        self._skipped_ms = 0

    def time_ms(self) -> int:
        passed = (super().time_ms() - self._began_ms) * self._factor
        return self._began_ms + int(passed) + self._skipped_ms

    def skip(self, seconds: float) -> None:
        self._skipped_ms += int(seconds * 1000)


class _Objects:
    """The server has a fast clock."""

    def __init__(self, server: FakeS3Server, clock: _ServerClock) -> None:
        self._server = server
        self._clock = clock

    def step(self) -> None:
        """Nothing to do."""

    def skip(self, seconds: float) -> None:
        self._clock.skip(seconds)

    def size(self) -> int:
        return sum(
            len(stored.content) for bucket in self._server.buckets.values() for stored in [*bucket.values()]
        )
