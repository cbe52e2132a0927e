import threading
from collections.abc import Callable

import pytest

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.errors import (
    ClosedError,
    CorruptionError,
    ObjectNotFoundError,
    StoreUnavailableError,
)
from streamhouse.format.columns import columns_from_lists
from streamhouse.read.reader import BlockReader
from tests.read.minilog import MiniLog, numbered
from tests.read.test_prefetch import prefetch_threads, until

SOURCE = "partition 0 of 'orders'"


@pytest.fixture
def topic(log: MiniLog) -> TopicInfo:
    topic = log.topic()
    for first in (0, 10, 20):
        log.append(topic, values=numbered(first, 10))
    return topic


def flipping(times: int) -> Callable[[bytes], bytes]:
    """Flip one bit in the first answers."""
    left = [times]

    def tamper(data: bytes) -> bytes:
        if not left[0]:
            return data
        left[0] -= 1
        return data[:-1] + bytes([data[-1] ^ 1])

    return tamper


def test_exactly_the_block_is_requested_and_only_once(log: MiniLog, topic: TopicInfo) -> None:
    ref = log.refs(topic)[1]
    columns = log.reader.fetch(ref, SOURCE)
    assert columns == columns_from_lists(None, numbered(10, 10), 0, None)
    assert log.reader.fetch(ref, SOURCE) is columns
    assert log.watched.gets == [(ref.object_name, ref.position, ref.position + ref.length)]


def test_a_block_that_was_offered_is_not_requested(log: MiniLog, topic: TopicInfo) -> None:
    ref = log.refs(topic)[0]
    columns = columns_from_lists(None, numbered(0, 10), 0, None)
    log.reader.offer(ref, columns)
    assert log.reader.fetch(ref, SOURCE) is columns
    assert not log.watched.gets


def test_a_bit_flipped_on_the_way_is_fetched_again(log: MiniLog, topic: TopicInfo) -> None:
    log.watched.tamper = flipping(1)
    log.reader.fetch(log.refs(topic)[0], SOURCE)
    assert len(log.watched.gets) == 2


def test_a_bit_flipped_for_good_names_object_and_offsets(log: MiniLog, topic: TopicInfo) -> None:
    ref = log.refs(topic)[1]
    log.watched.tamper = flipping(2)
    with pytest.raises(CorruptionError) as caught:
        log.reader.fetch(ref, SOURCE)
    for part in (ref.object_name, "offsets 10 to 19", SOURCE):
        assert part in str(caught.value)
    log.reader.fetch(ref, SOURCE)  # not remembered


def test_an_object_cut_short_names_object_and_offsets(log: MiniLog, topic: TopicInfo) -> None:
    ref = log.refs(topic)[0]
    log.watched.tamper = lambda data: data[:-1]
    with pytest.raises(CorruptionError, match=rf"{ref.object_name}.*offsets 0 to 9.*cut short"):
        log.reader.fetch(ref, SOURCE)


def test_an_object_that_is_gone_names_object_and_offsets(log: MiniLog, topic: TopicInfo) -> None:
    ref = log.refs(topic)[2]
    log.store.delete_many([ref.object_name])
    with pytest.raises(ObjectNotFoundError, match=rf"{ref.object_name}.*offsets 20 to 29"):
        log.reader.fetch(ref, SOURCE)


def test_a_sound_block_in_the_wrong_place_is_refused(log: MiniLog, topic: TopicInfo) -> None:
    five = log.topic("five")
    log.append(five, values=numbered(0, 5))
    (wrong,) = log.refs(five)
    block = log.store.get(wrong.object_name, wrong.position, wrong.position + wrong.length)
    ref = log.refs(topic)[0]
    log.watched.tamper = lambda _data: block + b"\0" * (ref.length - len(block))
    with pytest.raises(CorruptionError):
        log.reader.fetch(ref, SOURCE)
    log.watched.tamper = lambda _data: block
    resized = type(ref)(ref.object_name, ref.position, len(block), 0, 10, 0)
    with pytest.raises(CorruptionError, match="holds 5 records"):
        log.reader.fetch(resized, SOURCE)


def test_errors_of_the_store_come_through(log: MiniLog, topic: TopicInfo) -> None:
    def fail(_data: bytes) -> bytes:
        raise StoreUnavailableError("no network")

    log.watched.tamper = fail
    with pytest.raises(StoreUnavailableError):
        log.reader.fetch(log.refs(topic)[0], SOURCE)
    log.watched.tamper = bytes
    log.reader.fetch(log.refs(topic)[0], SOURCE)


def test_blocks_fetched_ahead_need_no_request_later(log: MiniLog, topic: TopicInfo) -> None:
    refs = log.refs(topic)
    log.reader.prefetch(refs, SOURCE)
    until(lambda: log.reader.stats().misses == 3 and len(log.reader._jobs) == 0)
    log.watched.gets.clear()
    for ref in refs:
        log.reader.fetch(ref, SOURCE)
    assert not log.watched.gets


def test_a_failure_ahead_harms_nobody(log: MiniLog, topic: TopicInfo) -> None:
    log.watched.tamper = flipping(2)
    log.reader.prefetch(log.refs(topic)[:1], SOURCE)
    until(lambda: len(log.watched.gets) == 2 and len(log.reader._jobs) == 0)
    log.reader.fetch(log.refs(topic)[0], SOURCE)


def test_prefetch_stops_where_unread_blocks_would_push_each_other_out(log: MiniLog, topic: TopicInfo) -> None:
    room = 4 * log.settings.block_bytes_target
    reader = BlockReader(log.watched, type(log.settings)(cache_bytes_max=room, prefetch_blocks=10))
    assert reader.prefetch_blocks == 2
    reader.prefetch(log.refs(topic), SOURCE)
    until(lambda: len(reader._jobs) == 0)
    assert len(log.watched.gets) <= 2
    reader.close()


def test_no_cache_no_prefetch(log: MiniLog, topic: TopicInfo) -> None:
    reader = BlockReader(log.watched, type(log.settings)(cache_bytes_max=0))
    reader.prefetch(log.refs(topic), SOURCE)
    assert len(reader._jobs) == 0
    reader.fetch(log.refs(topic)[0], SOURCE)
    reader.close()


def test_close_neither_waits_for_the_store_nor_leaves_threads(
    remote_log: MiniLog,
) -> None:
    topic = remote_log.topic()
    remote_log.append(topic)
    release, began = threading.Event(), threading.Event()

    def hang(data: bytes) -> bytes:
        began.set()
        release.wait(30)
        return data

    remote_log.watched.tamper = hang
    remote_log.reader.prefetch(remote_log.refs(topic), SOURCE)
    assert began.wait(10)
    remote_log.reader.close()
    remote_log.reader.close()
    assert not release.is_set()
    with pytest.raises(ClosedError):
        remote_log.reader.fetch(remote_log.refs(topic)[0], SOURCE)
    release.set()
    until(lambda: not prefetch_threads())
