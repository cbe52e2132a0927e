"""What has become due since the last look, told from the state in memory: a look costs no request."""

from __future__ import annotations

from typing import Final

import msgspec

from streamhouse.commits.log import CommitLog
from streamhouse.commits.state import PartitionState, TopicState
from streamhouse.format.operations import Trim
from streamhouse.runtime import Runtime
from streamhouse.upkeep.retention import new_log_start
from streamhouse.upkeep.survey import FIRST_SEGMENT, Survey

_NEW_BLOCKS_MIN: Final = 16  # fewer are no reason to plan anew ...
_COMMITS_MIN: Final = 1_000  # ... unless some may have become old
_LOOK_SECONDS: Final = 300.0  # how often to look whether time alone has made something removable
_FAILED_SECONDS: Final = 3_600.0  # what went wrong there will most likely go wrong again

Place = tuple[int, int]
"""Id of a topic and number of a partition."""


def expired(commits: CommitLog, runtime: Runtime) -> list[Trim]:
    """What retention lets go of now, a trim per topic."""
    now_ms = runtime.time_ms()
    trims = []
    with commits.lock:
        for topic in commits.state.topics.values():
            if topic.settings.deletes and _keeps_less_than_all(topic):
                parts = tuple(
                    (number, start)
                    for number, partition in topic.partitions.items()
                    if (start := new_log_start(partition, topic.settings, now_ms)) > partition.log_start
                )
                if parts:
                    trims.append(Trim(topic.id, parts))
    return trims


def expires(commits: CommitLog) -> bool:
    """Whether anything may become due by time alone."""
    with commits.lock:
        topics = commits.state.topics.values()
        return any(_keeps_less_than_all(topic) or topic.settings.compacts for topic in topics)


def places(commits: CommitLog) -> list[Place]:
    """All partitions with records."""
    with commits.lock:
        return [
            (topic.id, number)
            for topic in commits.state.topics.values()
            for number, partition in topic.partitions.items()
            if partition.base_offsets
        ]


class Looked(msgspec.Struct, frozen=True):
    """How a partition was when nothing was left to do."""

    blocks: int
    seq: int
    seconds: float
    unsettled: bool  # some blocks were not put together yet
    failed: bool = False


class Due:
    """Remembers which partitions were looked at, and how they were."""

    def __init__(self, commits: CommitLog, runtime: Runtime) -> None:
        self._commits = commits
        self._runtime = runtime
        self._looked: dict[Place, Looked] = {}
        self._new = Looked(0, commits.state.seq, runtime.monotonic(), unsettled=True)

    def now(self) -> list[Place]:
        """Partitions where there may be something to do."""
        seconds = self._runtime.monotonic()
        with self._commits.lock:
            state = self._commits.state
            return [
                (topic.id, number)
                for topic in state.topics.values()
                for number, partition in topic.partitions.items()
                if self._is_due(topic, number, partition, state.seq, seconds)
            ]

    def note(self, seen: Survey, *, failed: bool = False) -> None:
        """There is nothing to do there for now, or it failed."""
        partition = seen.partition
        self._looked[seen.topic, seen.number] = Looked(
            len(partition.base_offsets),
            self._commits.state.seq,
            self._runtime.monotonic(),
            max(partition.lanes, default=FIRST_SEGMENT) > FIRST_SEGMENT,
            failed,
        )

    def forget(self, seen: Survey) -> None:
        """Something was done there: look again."""
        self._looked.pop((seen.topic, seen.number), None)

    def _is_due(
        self, topic: TopicState, number: int, partition: PartitionState, seq: int, seconds: float
    ) -> bool:
        blocks = len(partition.base_offsets)
        looked = self._looked.get((topic.id, number), self._new)
        passed = seconds - looked.seconds
        if not blocks or looked.failed:
            return bool(blocks) and passed >= _FAILED_SECONDS
        if topic.settings.compacts and (blocks != looked.blocks or passed >= _LOOK_SECONDS):
            return True
        if blocks - looked.blocks >= _NEW_BLOCKS_MIN:
            return True
        return looked.unsettled and seq - looked.seq >= _COMMITS_MIN


def _keeps_less_than_all(topic: TopicState) -> bool:
    settings = topic.settings
    return settings.deletes and (settings.retention_ms is not None or settings.retention_bytes is not None)
