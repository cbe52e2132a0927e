"""A partition at one moment, copied, so that plans are made without holding the lock of the log."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamhouse.commits.log import CommitLog
from streamhouse.commits.state import (
    COLUMNS,
    INLINE,
    BlockRef,
    PartitionState,
    State,
    TopicState,
    lane_object,
    segment_object,
)
from streamhouse.config import TopicSettings

AGED_COMMITS = 10_000  # inline blocks older than that hold up the deletion of all commits after them
AGED_FLUSHES = 1_000  # likewise blocks in a lane, whose objects are shared by partitions

FIRST_SEGMENT = segment_object(0, 0)[0]  # and below: blocks that were put together already


class Survey(msgspec.Struct, frozen=True):
    """A partition at one moment.

    Attributes:
        topic: Id of its topic.
        name: Name of its topic.
        number: Its number.
        settings: Of its topic.
        partition: Its blocks; a copy.
        aged: Per kind of place (``lanes`` column) the first ``objects`` entry that is not old yet.
    """

    topic: int
    name: str
    number: int
    settings: TopicSettings
    partition: PartitionState
    aged: Mapping[int, int]

    def __str__(self) -> str:
        return f"partition {self.number} of {self.name!r}"


def survey(commits: CommitLog, topic_id: int, number: int) -> Survey | None:
    """A partition as it is now; ``None`` when it is gone or holds nothing."""
    with commits.lock:
        state = commits.state
        topic = state.topics.get(topic_id)
        partition = None if topic is None else topic.partitions.get(number)
        if topic is None or partition is None or not partition.base_offsets:
            return None
        return _survey(state, topic, number, partition)


def references(commits: CommitLog, seen: Survey, indices: range) -> list[BlockRef]:
    """Where those blocks lie."""
    with commits.lock:
        return [commits.state.block_ref(seen.partition, index) for index in indices]


def _survey(state: State, topic: TopicState, number: int, partition: PartitionState) -> Survey:
    copy = PartitionState()
    copy.log_start, copy.high_watermark = partition.log_start, partition.high_watermark
    copy.cleaned, copy.claim = partition.cleaned, partition.claim
    for column in COLUMNS:
        setattr(copy, column, getattr(partition, column)[:])
    return Survey(topic.id, topic.name, number, topic.settings, copy, _aged(state, copy))


def _aged(state: State, partition: PartitionState) -> dict[int, int]:
    aged = {}
    for ordinal in set(partition.lanes):
        if ordinal == INLINE:
            aged[ordinal] = state.seq - AGED_COMMITS
        elif ordinal > INLINE:
            lane = state.lanes[state.agents[ordinal]]
            young = lane.next_number if lane.sealed else max(0, lane.next_number - AGED_FLUSHES)
            aged[ordinal] = lane_object(ordinal, young, 0)[1]
    return aged
