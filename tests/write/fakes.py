"""A commit log that answers when the test says so, with the fold's rule about sequence numbers."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.commits.proposal import PartBlocks
from streamhouse.config import make_settings
from streamhouse.errors import SequenceError, TopicNotFoundError
from streamhouse.format.lists import binary_list
from streamhouse.producer import Producer
from streamhouse.runtime import Runtime, SystemRuntime
from streamhouse.write.batcher import Batcher


class FakeCommits:
    """Keeps values per topic id and partition.

    Attributes:
        hold: Answer nothing until :meth:`release`.
        failures: Raised, first to last, instead of storing anything.
        appends: Topic id, producer id and parts of every append, in order.
        urged: How often somebody was in a hurry.
    """

    def __init__(self, linger: float = 0.005, *, remote: bool = False) -> None:
        self.hold = False
        self.failures: list[Exception] = []
        self.appends: list[tuple[int, int, list[PartBlocks]]] = []
        self.urged = 0
        self.stored: defaultdict[tuple[int, int], list[bytes | None]] = defaultdict(list)
        self.urged_by_waiters = not remote
        self._linger = linger
        self._expected: dict[tuple[int, int, int], int] = {}
        self._held: list[tuple[int, int, list[PartBlocks], Future[list[int]]]] = []
        self._lock = threading.Lock()

    def default_linger(self) -> float:
        return self._linger

    def urge(self) -> None:
        self.urged += 1

    def check_may_wait(self) -> None:
        """Whoever waits is some other thread."""

    def append(
        self,
        topic_id: int,
        producer_id: int,
        epoch: int,
        parts: Sequence[PartBlocks],
        answered: Callable[[Future[list[int]]], object],
    ) -> Future[list[int]]:
        future: Future[list[int]] = Future()
        future.add_done_callback(answered)
        with self._lock:
            self.appends.append((topic_id, producer_id, list(parts)))
            self._held.append((topic_id, producer_id, list(parts), future))
        if not self.hold:
            self.release()
        return future

    def release(self) -> None:
        """Answer what was held back, and hold back no more."""
        self.hold = False
        while True:
            with self._lock:
                if not self._held:
                    return
                topic_id, producer_id, parts, future = self._held.pop(0)
                try:
                    bases = self._store(topic_id, producer_id, parts)
                except Exception as error:  # noqa: BLE001
                    answer: Any = error
                else:
                    answer = bases
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _store(self, topic_id: int, producer_id: int, parts: list[PartBlocks]) -> list[int]:
        if self.failures:
            raise self.failures.pop(0)
        for part in parts:
            expected = self._expected.get((producer_id, topic_id, part.partition), 0)
            if part.sequence != expected:
                raise SequenceError(f"sequence {part.sequence}, not {expected}")
        bases = []
        for part in parts:
            values = self.stored[topic_id, part.partition]
            bases.append(len(values))
            for block in part.blocks:
                values.extend(binary_list(block.columns.value, 0, block.count))
            following = part.sequence + sum(block.count for block in part.blocks)
            self._expected[producer_id, topic_id, part.partition] = following
        return bases


class FakeCatalog:
    """Topics by name; one that is not there yet may appear on refreshing."""

    def __init__(self, topics: dict[str, int]) -> None:
        self.infos = {
            name: TopicInfo(id=number, name=name, partitions=count, created_ms=0)
            for number, (name, count) in enumerate(topics.items(), 1)
        }
        self.appearing: dict[str, TopicInfo] = {}
        self.refreshed = 0

    def topic(self, name: str) -> TopicInfo:
        if name not in self.infos:
            raise TopicNotFoundError(f"no topic {name!r}")
        return self.infos[name]

    def current(self, info: TopicInfo) -> TopicInfo:
        return info

    def refresh(self) -> None:
        self.refreshed += 1
        self.infos.update(self.appearing)


class Rig:
    """A producer on a fake log."""

    def __init__(self, commits: FakeCommits, runtime: Runtime | None, settings: dict[str, Any]) -> None:
        self.commits = commits
        self.catalog = FakeCatalog({"one": 1, "three": 3})
        self.settings = make_settings(settings)
        self.runtime = runtime or SystemRuntime()
        self.batcher = Batcher(commits, self.settings, self.runtime)  # type: ignore[arg-type]
        self.memory = self.batcher.memory
        self.producer = self.another()

    def another(self, **options: Any) -> Producer:
        return Producer(
            self.commits,  # type: ignore[arg-type]
            self.catalog,  # type: ignore[arg-type]
            self.batcher,
            self.settings,
            self.runtime,
            **options,
        )

    @property
    def one(self) -> list[bytes | None]:
        """Values in the only partition of topic "one"."""
        return self.commits.stored[1, 0]


@contextmanager
def rig(
    linger: float = 0.005, *, remote: bool = False, runtime: Runtime | None = None, **settings: Any
) -> Iterator[Rig]:
    """A rig that is taken down afterwards, and must have given all memory back."""
    made = Rig(FakeCommits(linger, remote=remote), runtime, settings)
    try:
        yield made
        made.commits.release()
        made.producer.close(timeout=20)
        assert made.memory.used == 0
    finally:
        made.commits.release()
        made.batcher.close()
