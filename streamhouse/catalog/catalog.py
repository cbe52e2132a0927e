"""Look-ups in the folded state, for threads other than the one that folds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from streamhouse.commits.log import CommitLog
from streamhouse.commits.state import BlockRef, PartitionState, TopicState
from streamhouse.commits.verdicts import Applied, Code, Verdict
from streamhouse.config import TopicSettings
from streamhouse.errors import (
    InvalidPartitionCountError,
    PartitionNotFoundError,
    TopicExistsError,
    TopicNotFoundError,
    nearest,
    topic_deleted,
)
from streamhouse.format.commit import Commit
from streamhouse.format.operations import AlterTopic, CreateTopic, DeleteTopic, Trim
from streamhouse.runtime import process_id

_NO_RECORDS = PartitionState()


class TopicInfo(msgspec.Struct, frozen=True):
    """A topic as it is now.

    Attributes:
        id: Number that is never used again, also when a topic of the same name is made anew.
        name: Its name.
        partitions: How many it has.
        created_ms: When it was made, milliseconds since 1970 by its maker's clock.
        settings: What it keeps.
    """

    id: int
    name: str
    partitions: int
    created_ms: int
    settings: TopicSettings = TopicSettings()


class PartitionInfo(msgspec.Struct, frozen=True):
    """A partition as it is now.

    Attributes:
        log_start: Offset of the oldest record.
        high_watermark: Offset that the next record will get.
        records: How many it holds; an upper bound when the log start lies within a block that has gaps.
        blocks: Blocks that hold them.
        stored_bytes: Their size in the store.
        raw_bytes: Keys, values and headers before compression.
        timestamp_min: The smallest timestamp in these blocks, in milliseconds; ``None`` when there are none.
        timestamp_max: The largest there ever was, perhaps of a record that was removed.
    """

    log_start: int
    high_watermark: int
    records: int
    blocks: int
    stored_bytes: int
    raw_bytes: int
    timestamp_min: int | None
    timestamp_max: int | None


class Totals(msgspec.Struct, frozen=True):
    """What a topic holds in all its partitions; the fields are those of :class:`PartitionInfo`."""

    records: int
    blocks: int
    stored_bytes: int
    raw_bytes: int
    timestamp_min: int | None
    timestamp_max: int | None


class Catalog:
    """Topics, partitions and blocks as far as the log was read."""

    def __init__(self, commits: CommitLog) -> None:
        self._commits = commits
        self._changed = threading.Condition()
        self._followers = 0
        commits.listen(self._notify)

    @property
    def log_id(self) -> str:
        """Of which log it is."""
        return self._commits.log_id

    # --- topics ------------------------------------------------------------------------------------

    def topic(self, name: object) -> TopicInfo:
        """The topic of that name; what is no text names none.

        Raises:
            TopicNotFoundError: There is none; the message has the nearest match.
        """
        with self._commits.lock:
            state = self._commits.state
            id_ = state.topic_ids.get(name) if isinstance(name, str) else None
            if id_ is not None:
                return _info(state.topics[id_])
            known = list(state.topic_ids)
        raise TopicNotFoundError(f"no topic {name!r}{nearest(str(name), known)}")

    def topics(self) -> list[TopicInfo]:
        """All topics, in order of name."""
        with self._commits.lock:
            topics = [_info(topic) for topic in self._commits.state.topics.values()]
        return sorted(topics, key=lambda topic: topic.name)

    def create_topic(
        self,
        name: str,
        partitions: int,
        settings: TopicSettings = TopicSettings(),  # noqa: B008 - frozen
        *,
        exist_ok: bool,
    ) -> TopicInfo:
        """Make a topic, or return the present one when that is allowed.

        Raises:
            TopicExistsError: The name is taken, and ``exist_ok`` is not set or the number of
                partitions or the schema is another.
        """
        verdict = self._commits.propose(CreateTopic(name, partitions, settings))
        info = self.topic(name)
        if verdict.code is Code.TOPIC_EXISTS:
            if not exist_ok:
                raise TopicExistsError(f"topic {name!r} exists; pass exist_ok=True to accept it")
            if info.partitions != partitions:
                raise TopicExistsError(
                    f"topic {name!r} exists with {info.partitions} partitions, not {partitions}"
                )
            if settings.schemas and info.settings.schemas[-1:] != settings.schemas:
                raise TopicExistsError(
                    f"topic {name!r} exists with another schema; alter it with alter_topic(schema=...)"
                    if info.settings.schemas
                    else f"topic {name!r} exists without a schema"
                )
        return info

    def alter_topic(
        self, info: TopicInfo, partitions: int | None, change: Callable[[TopicSettings], TopicSettings] | None
    ) -> TopicInfo:
        """Change a topic; how it is then.

        Args:
            info: The topic.
            partitions: How many it shall have; ``None``: as many as now.
            change: Makes the new settings of the present ones. It is called again when somebody else
                altered them in between. ``None``: they stay.

        Raises:
            InvalidPartitionCountError: It has more partitions already.
            TopicNotFoundError: It was deleted.
        """
        while True:
            before = None if change is None else self.current(info).settings
            settings = None if change is None or before is None else change(before)
            verdict = self._propose(info, AlterTopic(info.id, partitions or 0, settings, before))
            if verdict.code is not Code.STALE:
                break
        now = self.current(info)
        if verdict.code is Code.FEWER_PARTITIONS:
            raise InvalidPartitionCountError(
                f"topic {info.name!r} has {now.partitions} partitions, {partitions} are fewer; partitions can"
                " be added, but not taken away, for their records would be gone"
            )
        return now

    def delete_records(self, info: TopicInfo, before: Mapping[int, int]) -> dict[int, int]:
        """Remove the records of partitions before an offset; their log starts then.

        Raises:
            TopicNotFoundError: The topic was deleted.
        """
        if before:
            self._propose(info, Trim(info.id, tuple(before.items())))
        return {partition: self.log_start(info.id, partition) for partition in before}

    def current(self, info: TopicInfo) -> TopicInfo:
        """The same topic as it is now: the very object while nothing has changed, also when it was deleted.

        Cheap enough to be asked for with every record: no lock is taken.
        """
        topic = self._commits.state.topics.get(info.id)
        if topic is None or (
            topic.partition_count == info.partitions
            and (topic.settings is info.settings or topic.settings == info.settings)
        ):
            return info
        return _info(topic)

    def delete_topic(self, info: TopicInfo) -> None:
        """Remove a topic and its records.

        Raises:
            TopicNotFoundError: Somebody else was faster.
        """
        self._propose(info, DeleteTopic(info.id))

    def _propose(self, info: TopicInfo, operation: AlterTopic | DeleteTopic | Trim) -> Verdict:
        try:
            return self._commits.propose(operation)
        except TopicNotFoundError:
            raise topic_deleted(info.name, "log.topic() gives that one") from None

    # --- partitions --------------------------------------------------------------------------------

    def partition(self, topic_id: int, partition: int) -> PartitionInfo:
        """What a partition holds."""
        with self._commits.lock:
            p = self._partition(topic_id, partition)
            return PartitionInfo(
                p.log_start,
                p.high_watermark,
                p.record_count,
                len(p.base_offsets),
                p.stored_bytes,
                p.raw_bytes,
                min(p.timestamp_mins, default=None),
                p.timestamps[-1] if p.timestamps else None,  # a running maximum
            )

    def totals(self, topic_id: int) -> Totals:
        """What a topic holds.

        Raises:
            TopicNotFoundError: It was deleted.
        """
        with self._commits.lock:
            topic = self._commits.state.topics.get(topic_id)
            if topic is None:
                raise TopicNotFoundError(f"topic id {topic_id} was deleted")
            stored = [p for p in topic.partitions.values() if p.base_offsets]
            return Totals(
                sum(p.record_count for p in stored),
                sum(len(p.base_offsets) for p in stored),
                sum(p.stored_bytes for p in stored),
                sum(p.raw_bytes for p in stored),
                min((min(p.timestamp_mins) for p in stored), default=None),
                max((p.timestamps[-1] for p in stored), default=None),
            )

    def log_start(self, topic_id: int, partition: int) -> int:
        """Offset of the oldest record."""
        with self._commits.lock:
            return self._partition(topic_id, partition).log_start

    def high_watermark(self, topic_id: int, partition: int) -> int:
        """Offset that the next record will get."""
        with self._commits.lock:
            return self._partition(topic_id, partition).high_watermark

    def blocks(self, topic_id: int, partition: int, offset: int, limit: int) -> list[BlockRef]:
        """The block that holds ``offset`` (or the next one after it) and those that follow it."""
        with self._commits.lock:
            p = self._partition(topic_id, partition)
            first = p.index_of(offset)
            state = self._commits.state
            last = min(first + limit, len(p.base_offsets))
            return [state.block_ref(p, index) for index in range(first, last)]

    def block_at_time(self, topic_id: int, partition: int, timestamp_ms: int) -> BlockRef | None:
        """The first block with a record at or after that time."""
        with self._commits.lock:
            p = self._partition(topic_id, partition)
            index = p.index_at_time(timestamp_ms)
            return self._commits.state.block_ref(p, index) if index < len(p.timestamps) else None

    def times(self, topic_id: int, partition: int) -> list[tuple[int, int]]:
        """Of each block its first offset and the largest timestamp so far, perhaps of a removed record."""
        with self._commits.lock:
            p = self._partition(topic_id, partition)
            return list(zip(p.base_offsets, p.timestamps, strict=True))

    def _partition(self, topic_id: int, partition: int) -> PartitionState:
        topic = self._commits.state.topics.get(topic_id)
        if topic is None:
            raise TopicNotFoundError(f"topic id {topic_id} was deleted")
        if not 0 <= partition < topic.partition_count:
            raise PartitionNotFoundError(
                f"topic {topic.name!r} has partitions 0 to {topic.partition_count - 1}, not {partition}"
            )
        return topic.partitions.get(partition, _NO_RECORDS)

    # --- change ------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """A number that grows with every commit that was read.

        Also when a state was loaded instead of the commits, which nobody is told of.
        """
        return self._commits.state.seq

    def wait(self, version: int, timeout: float) -> int:
        """Wait until the version is another one than that, at most ``timeout`` seconds; what it is.

        Raises:
            StreamhouseError: The log cannot be read on.
        """
        with self._changed:
            if self.version == version:
                self._changed.wait(timeout)
        if self._commits.failure is not None:
            raise self._commits.failure
        return self.version

    def wake(self) -> None:
        """Let those who wait see whether they still should."""
        with self._changed:
            self._changed.notify_all()

    def refresh(self) -> None:
        """Read the log up to its present end."""
        self._commits.refresh()

    @property
    def may_wait(self) -> bool:
        """Whether this thread may wait for the log to be read: not in a callback of a delivery."""
        return self._commits.may_wait

    @contextmanager
    def follow(self) -> Iterator[None]:
        """While this is held, commits of other processes are looked for in the background."""
        process = process_id()
        self._count(+1)
        try:
            yield
        finally:
            if process_id() == process:  # a forked child follows nothing
                self._count(-1)

    @property
    def followed(self) -> bool:
        """Whether anybody in this process reads the tail."""
        return self._followers > 0

    def _count(self, change: int) -> None:
        with self._changed:
            self._followers += change
        self._commits.follow(change)

    def _notify(self, _applied: Applied, _commit: Commit) -> None:
        self.wake()


def _info(topic: TopicState) -> TopicInfo:
    return TopicInfo(topic.id, topic.name, topic.partition_count, topic.created_ms, topic.settings)
