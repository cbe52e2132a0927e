"""How far retention moves the log start: whole blocks, from the oldest on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamhouse.commits.state import INLINE, PartitionState
from streamhouse.config import TopicSettings
from streamhouse.upkeep.retention import new_log_start


def partition_of(*blocks: tuple[int, int, int]) -> PartitionState:
    """Blocks of so many records, of that size, the newest record of that time."""
    partition = PartitionState()
    for number, (count, size, timestamp) in enumerate(blocks):
        partition.add(INLINE, number, 0, size, count, (timestamp, timestamp), size)
    return partition


def test_blocks_older_than_the_limit_go() -> None:
    partition = partition_of((10, 1, 100), (10, 1, 200), (10, 1, 300))
    settings = TopicSettings(retention_ms=50)
    assert new_log_start(partition, settings, 150) == 0
    assert new_log_start(partition, settings, 151) == 10
    assert new_log_start(partition, settings, 251) == 20
    assert new_log_start(partition, settings, 351) == 30  # also the newest


def test_a_young_block_keeps_what_comes_after_it() -> None:
    partition = partition_of((10, 1, 100), (10, 1, 900), (10, 1, 100))
    assert new_log_start(partition, TopicSettings(retention_ms=50), 500) == 10


def test_the_size_never_falls_below_what_is_to_be_kept() -> None:
    partition = partition_of((10, 100, 0), (10, 100, 0), (10, 100, 0))
    assert new_log_start(partition, TopicSettings(retention_bytes=300), 0) == 0
    assert new_log_start(partition, TopicSettings(retention_bytes=201), 0) == 0
    assert new_log_start(partition, TopicSettings(retention_bytes=200), 0) == 10
    assert new_log_start(partition, TopicSettings(retention_bytes=1), 0) == 20
    assert new_log_start(partition, TopicSettings(retention_bytes=0), 0) == 30


def test_the_stricter_of_both_counts() -> None:
    partition = partition_of((10, 100, 100), (10, 100, 200), (10, 100, 300))
    assert new_log_start(partition, TopicSettings(retention_bytes=200, retention_ms=50), 251) == 20
    assert new_log_start(partition, TopicSettings(retention_bytes=100, retention_ms=50), 151) == 20


def test_what_is_only_compacted_does_not_expire() -> None:
    partition = partition_of((10, 100, 100))
    for policy, start in (("delete", 10), ("compact", 0), ("compact,delete", 10)):
        settings = TopicSettings(cleanup_policy=policy, retention_ms=1)
        assert new_log_start(partition, settings, 1000) == start


blocks = st.tuples(st.integers(1, 5), st.integers(1, 50), st.integers(-100, 100))


@given(
    st.lists(blocks),
    st.one_of(st.none(), st.integers(0, 200)),
    st.one_of(st.none(), st.integers(0, 300)),
    st.integers(-100, 300),
    st.integers(0, 30),
)
def test_it_is_what_taking_away_one_block_after_the_other_gives(
    blocks: list[tuple[int, int, int]], age: int | None, size: int | None, now: int, trimmed: int
) -> None:
    partition = partition_of(*blocks)
    partition.trim(trimmed)
    left = list(zip(partition.base_offsets, partition.lengths, partition.timestamps, strict=True))
    while left:
        old = age is not None and left[0][2] < now - age
        large = size is not None and sum(length for _, length, _ in left[1:]) >= size
        if not old and not large:
            break
        del left[0]
    found = new_log_start(partition, TopicSettings(retention_ms=age, retention_bytes=size), now)
    if len(left) == len(partition.base_offsets):
        assert found == partition.log_start
    else:
        assert found == (left[0][0] if left else partition.high_watermark)
