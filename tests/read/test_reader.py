import random
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
from tests.format.strategies import as_stored
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
    assert columns == as_stored(columns_from_lists(None, numbered(10, 10), 0, None))
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
    resized = type(ref)(ref.object_name, ref.position, len(block), 0, 10, 10, 0)
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


@pytest.fixture
def remote_topic(remote_log: MiniLog) -> TopicInfo:
    topic = remote_log.topic()
    for first in (0, 10, 20):
        remote_log.append(topic, values=numbered(first, 10))
    return topic


def test_blocks_fetched_ahead_need_no_request_later(remote_log: MiniLog, remote_topic: TopicInfo) -> None:
    reader, refs = remote_log.reader, remote_log.refs(remote_topic)
    assert all(reader.prefetch(ref, SOURCE) for ref in refs)
    until(lambda: reader.stats().misses == 3 and len(reader._jobs) == 0)
    assert all(reader.prefetch(ref, SOURCE) for ref in refs)  # there already: nothing to do
    assert len(remote_log.watched.gets) == 3
    for ref in refs:
        reader.fetch(ref, SOURCE)
    assert len(remote_log.watched.gets) == 3


def test_a_failure_ahead_harms_nobody(remote_log: MiniLog, remote_topic: TopicInfo) -> None:
    reader, ref = remote_log.reader, remote_log.refs(remote_topic)[0]
    remote_log.watched.tamper = flipping(2)
    reader.prefetch(ref, SOURCE)
    until(lambda: len(remote_log.watched.gets) == 2 and len(reader._jobs) == 0)
    reader.fetch(ref, SOURCE)


def test_prefetch_stops_where_unread_blocks_would_push_each_other_out(
    remote_log: MiniLog, remote_topic: TopicInfo
) -> None:
    room = 4 * remote_log.settings.block_bytes_target
    settings = type(remote_log.settings)(cache_bytes_max=room, prefetch_blocks=10)
    reader = BlockReader(remote_log.watched, settings)
    assert reader.prefetch_blocks == 2
    release = threading.Event()

    def hang(data: bytes) -> bytes:
        release.wait(30)
        return data

    remote_log.watched.tamper = hang
    refs = remote_log.refs(remote_topic)
    assert [reader.prefetch(ref, SOURCE) for ref in refs] == [True, True, False]
    release.set()
    reader.close()


def test_no_cache_no_prefetch(remote_log: MiniLog, remote_topic: TopicInfo) -> None:
    settings = type(remote_log.settings)(cache_bytes_max=0)
    reader = BlockReader(remote_log.watched, settings)
    ref = remote_log.refs(remote_topic)[0]
    assert reader.prefetch_blocks == 0
    assert not reader.prefetch(ref, SOURCE)
    reader.fetch(ref, SOURCE)
    reader.close()


def test_on_a_local_store_only_large_blocks_are_worth_a_thread(log: MiniLog) -> None:
    topic = log.topic()
    log.append(topic, values=[b"small"])
    log.append(topic, values=[random.Random(1).randbytes(100_000)])
    small, large = log.refs(topic)
    log.reader.prefetch(small, SOURCE)
    log.reader.prefetch(large, SOURCE)
    until(lambda: log.reader.stats().misses == 1 and len(log.reader._jobs) == 0)
    assert [name for name, _, _ in log.watched.gets] == [large.object_name]


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
    remote_log.reader.prefetch(remote_log.refs(topic)[0], SOURCE)
    assert began.wait(10)
    remote_log.reader.close()
    remote_log.reader.close()
    assert not release.is_set()
    with pytest.raises(ClosedError):
        remote_log.reader.fetch(remote_log.refs(topic)[0], SOURCE)
    release.set()
    until(lambda: not prefetch_threads())
