import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.errors import (
    InvalidInputError,
    InvalidPositionError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
)
from streamhouse.format.operations import Trim
from streamhouse.read.positions import (
    checked_offset,
    checked_partitions,
    milliseconds,
    newest,
    position_for,
    resolve,
    resolve_end,
)
from tests.read.minilog import MiniLog, numbered


@pytest.fixture
def topic(log: MiniLog) -> TopicInfo:
    topic = log.topic(partitions=2)
    log.append(topic, values=numbered(0, 5), timestamps=[100, 101, 102, 103, 104])
    log.append(topic, values=numbered(5, 5), timestamps=[50, 300, 200, 300, 400])
    return topic


def at(ms: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=ms)


@pytest.mark.parametrize(
    ("position", "offset"),
    [
        ("earliest", 0),
        ("latest", 10),
        (0, 0),
        (7, 7),
        (10, 10),
        (at(0), 0),
        (at(101), 1),
        (at(105), 6),
        (at(301), 9),
        (at(400), 9),
        (at(401), 10),
    ],
)
def test_positions_mean_offsets(log: MiniLog, topic: TopicInfo, position: Any, offset: int) -> None:
    assert resolve(log.catalog, log.reader, topic, 0, position) == offset


@pytest.mark.parametrize("position", ["earliest", "latest", 0, at(0), at(10**12)])
def test_in_an_empty_partition_everything_means_0(log: MiniLog, topic: TopicInfo, position: Any) -> None:
    assert resolve(log.catalog, log.reader, topic, 1, position) == 0


def test_an_offset_beyond_the_end_is_out_of_range(log: MiniLog, topic: TopicInfo) -> None:
    with pytest.raises(OffsetOutOfRangeError, match=r"offsets 0 to 9.*11 is out of range"):
        resolve(log.catalog, log.reader, topic, 0, 11)


@pytest.mark.parametrize("position", [-1, "end", "newest", 1.5, True, None, dt.datetime(2026, 1, 1)])  # noqa: DTZ001
def test_what_is_no_position_is_refused(log: MiniLog, topic: TopicInfo, position: Any) -> None:
    with pytest.raises(InvalidPositionError):
        resolve(log.catalog, log.reader, topic, 0, position)


@pytest.mark.parametrize(
    ("until", "offset"),
    [("end", 10), ("latest", 10), ("earliest", 0), (0, 0), (4, 4), (10, 10), (99, 10), (at(102), 2)],
)
def test_ends_go_no_further_than_the_log(log: MiniLog, topic: TopicInfo, until: Any, offset: int) -> None:
    assert resolve_end(log.catalog, log.reader, topic, 0, until) == offset


@pytest.mark.parametrize("until", [-1, "never", 2.5, True])
def test_what_is_no_end_is_refused(log: MiniLog, topic: TopicInfo, until: Any) -> None:
    with pytest.raises(InvalidPositionError):
        resolve_end(log.catalog, log.reader, topic, 0, until)


def test_milliseconds_are_rounded_up_and_exact() -> None:
    assert milliseconds(at(5)) == 5
    assert milliseconds(at(5) + dt.timedelta(microseconds=1)) == 6
    assert milliseconds(at(-5)) == -5
    zone = dt.timezone(dt.timedelta(hours=2))
    assert milliseconds(dt.datetime(1970, 1, 1, 2, tzinfo=zone)) == 0
    far = dt.datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=dt.UTC)
    assert milliseconds(far) == 253402300799999


def test_positions_may_differ_per_partition() -> None:
    assert position_for("latest", 3) == "latest"
    assert position_for({0: 5, 1: "earliest"}, 1) == "earliest"
    with pytest.raises(InvalidPositionError, match=r"partition 2, only for \[0, 1\]"):
        position_for({0: 5, 1: 6}, 2)


def test_partitions_are_checked(topic: TopicInfo) -> None:
    assert checked_partitions(topic, None) == [0, 1]
    assert checked_partitions(topic, [1, 1]) == [1]
    for wrong in (2, -1, "0", 0.0, False, np.float64(0), np.bool_(False), None):
        with pytest.raises(PartitionNotFoundError, match="partitions 0 to 1, not"):
            checked_partitions(topic, [wrong])
    with pytest.raises(InvalidInputError, match="partitions are a list of numbers, not 0"):
        checked_partitions(topic, 0)  # type: ignore[arg-type]


def test_partitions_and_offsets_of_numpy_become_numbers(topic: TopicInfo) -> None:
    partitions = checked_partitions(topic, np.arange(2))
    assert partitions == [0, 1]
    assert set(map(type, partitions)) == {int}
    assert type(checked_offset(np.int64(3))) is int
    for wrong in (0.0, False, np.float64(0), np.bool_(False), None, "0", -1):
        with pytest.raises(InvalidPositionError, match="a position is"):
            checked_offset(wrong)


STAMPS = st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=4), max_size=6)


@contextmanager
def of_blocks(blocks: list[list[int]]) -> Iterator[tuple[MiniLog, TopicInfo]]:
    """A log with a topic of records that have these timestamps."""
    log = MiniLog()
    try:
        topic = log.topic()
        for stamps in blocks:
            log.append(topic, values=[b""] * len(stamps), timestamps=stamps)
        yield log, topic
    finally:
        log.close()


@settings(max_examples=25, deadline=None)
@given(
    STAMPS,
    st.lists(st.integers(0, 32), min_size=1, max_size=5),
)
def test_a_time_means_the_first_record_at_or_after_it(blocks: list[list[int]], times: list[int]) -> None:
    with of_blocks(blocks) as (log, topic):
        everything = [stamp for stamps in blocks for stamp in stamps]
        for time in times:
            later = [offset for offset, stamp in enumerate(everything) if stamp >= time]
            expected = later[0] if later else len(everything)
            assert resolve(log.catalog, log.reader, topic, 0, at(time)) == expected


@settings(max_examples=100, deadline=None)
@given(
    STAMPS,
    st.integers(0, 24),
)
def test_the_newest_record_is_one_that_is_there(blocks: list[list[int]], log_start: int) -> None:
    with of_blocks(blocks) as (log, topic):
        everything = [stamp for stamps in blocks for stamp in stamps]
        log.commits.propose(Trim(topic.id, ((0, min(log_start, len(everything))),)))
        left = dict(enumerate(everything[log_start:], log_start))
        found = newest(log.catalog, log.reader, topic, 0)
        if not left:
            assert found is None
        else:
            largest, offset = found
            assert left[offset] == largest == max(left.values())
            if log_start == 0:
                assert offset == everything.index(largest)
