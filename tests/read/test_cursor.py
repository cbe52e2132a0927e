from array import array
from typing import Any

import msgspec
import pytest

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.commits.state import BlockRef
from streamhouse.config import Settings
from streamhouse.errors import ObjectNotFoundError, OffsetOutOfRangeError, TopicNotFoundError
from streamhouse.format.block import encode_block
from streamhouse.format.columns import columns_from_lists
from streamhouse.read.cursor import Cursor
from streamhouse.read.deserializers import AS_BYTES
from streamhouse.read.reader import BlockReader
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from tests.read.minilog import MiniLog, WatchedStore, numbered
from tests.read.test_prefetch import until


def cursor_on(log: Any, topic: TopicInfo, position: int = 0, partition: int = 0) -> Cursor:
    return Cursor(log.catalog, log.reader, topic, partition, position, AS_BYTES, AS_BYTES)


def drain(cursor: Cursor, until: int | None = None, records_max: int = 1000) -> list[int]:
    """The offsets it gives."""
    offsets: list[int] = []
    while (batch := cursor.next_batch(records_max, until=until)) is not None:
        offsets.extend(batch.offsets)
        cursor.advance(batch)
    return offsets


@pytest.fixture
def topic(log: MiniLog) -> TopicInfo:
    topic = log.topic()
    for first in (0, 10, 20):
        log.append(topic, values=numbered(first, 10))
    return topic


def test_a_batch_is_what_is_left_of_a_block(log: MiniLog, topic: TopicInfo) -> None:
    batch = cursor_on(log, topic, 13).next_batch(1000)
    assert batch is not None
    assert (batch.first_offset, batch.last_offset) == (13, 19)
    assert batch.values() == numbered(13, 7)


def test_it_moves_only_when_told(log: MiniLog, topic: TopicInfo) -> None:
    cursor = cursor_on(log, topic)
    first = cursor.next_batch(4)
    again = cursor.next_batch(4)
    assert first is not None
    assert again is not None
    assert list(first.offsets) == list(again.offsets) == [0, 1, 2, 3]
    cursor.advance(first)
    assert cursor.position == 4


@pytest.mark.parametrize("records_max", [1, 3, 10, 11, 1000])
def test_batches_follow_each_other_without_gap(log: MiniLog, topic: TopicInfo, records_max: int) -> None:
    assert drain(cursor_on(log, topic), records_max=records_max) == list(range(30))
    assert drain(cursor_on(log, topic, 5), until=25, records_max=records_max) == list(range(5, 25))


def test_a_batch_is_bounded_in_bytes(log: MiniLog) -> None:
    topic = log.topic()
    log.append(topic, values=[b"x" * 100] * 10)
    cursor = cursor_on(log, topic)
    sizes = [len(cursor.next_batch(1000, bytes_max) or ()) for bytes_max in (0, 100, 250, 5000)]
    assert sizes == [1, 1, 2, 10]


def test_at_the_end_it_waits_for_more(log: MiniLog, topic: TopicInfo) -> None:
    cursor = cursor_on(log, topic, 30)
    assert cursor.next_batch(10) is None
    log.append(topic, values=numbered(30, 1))
    assert drain(cursor) == [30]


def test_it_may_be_moved_anywhere(log: MiniLog, topic: TopicInfo) -> None:
    cursor = cursor_on(log, topic)
    for position in (25, 3, 14, 0, 29, 30, 11):
        cursor.position = position
        assert drain(cursor) == list(range(position, 30))


def test_a_deleted_topic_is_named(log: MiniLog, topic: TopicInfo) -> None:
    cursor = cursor_on(log, topic)
    assert cursor.next_batch(1) is not None
    log.catalog.delete_topic(topic)
    with pytest.raises(TopicNotFoundError, match="'orders' was deleted"):
        cursor.next_batch(1)


def test_reading_in_order_fetches_ahead(remote_log: MiniLog) -> None:
    topic = remote_log.topic()
    for first in range(0, 60, 10):
        remote_log.append(topic, values=numbered(first, 10))
    assert cursor_on(remote_log, topic).next_batch(1) is not None
    until(lambda: len(remote_log.watched.gets) == 5)  # this one and four more
    assert drain(cursor_on(remote_log, topic)) == list(range(60))
    assert len(remote_log.watched.gets) == 6


def test_jumping_into_a_block_fetches_that_one_only(remote_log: MiniLog) -> None:
    topic = remote_log.topic()
    for first in range(0, 60, 10):
        remote_log.append(topic, values=numbered(first, 10))
    for position in (15, 41, 23):
        assert cursor_on(remote_log, topic, position).next_batch(1) is not None
    assert len(remote_log.reader._jobs) == 0
    assert len(remote_log.watched.gets) == 3


class Compacted:
    """A partition as compaction will leave it: offsets with gaps, blocks that move.

    The catalog's look-ups, over blocks that a test lays out by hand.
    """

    def __init__(self, blocks: list[list[int]], log_start: int, end: int) -> None:
        self.store = WatchedStore(MemoryStore(SystemRuntime()))
        self.reader = BlockReader(self.store, Settings(prefetch_blocks=0))
        self.catalog = self
        self.refreshed = 0
        self._log_start, self._end = log_start, end
        self.lay_out(blocks)

    def lay_out(self, blocks: list[list[int]], name: str = "seg") -> None:
        self._refs = []
        for number, offsets in enumerate(blocks):
            base = offsets[0]
            columns = columns_from_lists(None, [b"%d" % offset for offset in offsets], 0, None)
            deltas = array("q", [offset - base for offset in offsets]).tobytes()
            data = encode_block(msgspec.structs.replace(columns, deltas=deltas)).data
            self.store.put(f"{name}/{number}", [data])
            following = blocks[number + 1][0] if number + 1 < len(blocks) else self._end
            self._refs.append(
                BlockRef(f"{name}/{number}", 0, len(data), base, following - base, len(offsets), 0)
            )

    def log_start(self, _topic: int, _partition: int) -> int:
        return self._log_start

    def high_watermark(self, _topic: int, _partition: int) -> int:
        return self._end

    def blocks(self, _topic: int, _partition: int, offset: int, limit: int) -> list[BlockRef]:
        return [ref for ref in self._refs if ref.next_offset > offset][:limit]

    def refresh(self) -> None:
        self.refreshed += 1


TOPIC = TopicInfo(1, "orders", 1, 0)


@pytest.mark.parametrize("records_max", [1, 2, 100])
@pytest.mark.parametrize("start", range(21))
@pytest.mark.parametrize("until", [None, 5, 12, 20])
def test_gaps_are_passed_over(start: int, until: int | None, records_max: int) -> None:
    offsets = [[0, 1, 4], [5], [9, 11, 12, 15]]  # nothing from 16 to 19
    cursor = cursor_on(Compacted(offsets, 0, 20), TOPIC, start)
    end = 20 if until is None else until
    expected = [offset for block in offsets for offset in block if start <= offset < end]
    assert drain(cursor, until, records_max) == expected
    assert cursor.position == max(start, end)


def test_what_was_trimmed_is_out_of_range() -> None:
    cursor = cursor_on(Compacted([[10, 11]], 10, 12), TOPIC, 4)
    with pytest.raises(OffsetOutOfRangeError, match=r"begins at offset 10; 4 was removed"):
        cursor.next_batch(10)


def test_a_block_that_moved_is_found_again() -> None:
    log = Compacted([[0, 1], [2, 3]], 0, 4)
    cursor = cursor_on(log, TOPIC)
    batch = cursor.next_batch(10)
    assert batch is not None
    cursor.advance(batch)
    log.store.delete_many(["seg/0", "seg/1"])
    log.lay_out([[0, 1, 2, 3]], "compacted")
    assert drain(cursor) == [2, 3]
    assert log.refreshed == 1


def test_a_block_that_is_gone_is_an_error() -> None:
    log = Compacted([[0, 1], [2, 3]], 0, 4)
    log.store.delete_many(["seg/1"])
    cursor = cursor_on(log, TOPIC, 2)
    for _ in range(2):
        with pytest.raises(ObjectNotFoundError, match=r"seg/1.*offsets 2 to 3"):
            cursor.next_batch(10)
    assert cursor.position == 2
