"""The commit log through its public face, on stores that work and stores that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from streamhouse.catalog.catalog import Catalog
from streamhouse.commits.log import CommitLog
from streamhouse.commits.proposal import PartBlocks
from streamhouse.config import make_settings
from streamhouse.errors import (
    ClosedError,
    CorruptionError,
    InvalidInputError,
    PartitionNotFoundError,
    SequenceError,
    StateDivergedError,
    StoreFullError,
    TopicExistsError,
    TopicNotFoundError,
    UnsupportedFormatError,
)
from streamhouse.format import names
from streamhouse.format.block import EncodedBlock, encode_block
from streamhouse.format.columns import columns_from_lists
from streamhouse.format.container import PREAMBLE_BYTES, Kind, pack
from streamhouse.format.operations import (
    CommitOffsets,
    DeleteGroup,
    OffsetEntry,
    Operation,
    Transaction,
    Trim,
)
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import FaultyStore, SlowStore

Open = Callable[..., tuple[CommitLog, Catalog]]


def block(*values: bytes) -> EncodedBlock:
    return encode_block(columns_from_lists(None, values, 1_000, None))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(SystemRuntime())


@pytest.fixture
def open_log(store: MemoryStore) -> Iterator[Open]:
    with ExitStack() as stack:

        def opened(on: Any = None, **settings: Any) -> tuple[CommitLog, Catalog]:
            commits = CommitLog(on or store, make_settings(settings), SystemRuntime(), "log")
            stack.callback(commits.close, 5.0)
            return commits, Catalog(commits)

        yield opened


def append(commits: CommitLog, topic: int, sequence: int, *values: bytes, producer: int = 7) -> list[int]:
    part = PartBlocks(0, sequence, [block(*values)])
    return commits.append(topic, producer, 0, [part]).result(timeout=30)


def test_an_append_goes_to_several_partitions_or_to_none(open_log: Open) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 2, exist_ok=False).id
    parts = [PartBlocks(0, 0, [block(b"a"), block(b"b", b"c")]), PartBlocks(1, 0, [block(b"d")])]
    assert commits.append(topic, 1, 0, parts).result() == [0, 0]
    beyond = [PartBlocks(0, 3, [block(b"e")]), PartBlocks(2, 0, [block(b"f")])]
    with pytest.raises(PartitionNotFoundError):
        commits.append(topic, 1, 0, beyond).result()
    assert catalog.high_watermark(topic, 0) == 3
    assert catalog.high_watermark(topic, 1) == 1
    assert [ref.count for ref in catalog.blocks(topic, 0, 0, 10)] == [1, 2]
    assert [ref.base_offset for ref in catalog.blocks(topic, 0, 2, 10)] == [1]


def test_a_partition_may_occur_once_in_an_append(open_log: Open) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    with pytest.raises(ValueError, match="once"):
        commits.append(topic, 1, 0, [PartBlocks(0, 0, [block(b"a")]), PartBlocks(0, 1, [block(b"b")])])


def test_repeated_and_missing_sequences(open_log: Open) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    assert append(commits, topic, 0, b"a", b"b") == [0]
    assert append(commits, topic, 2, b"c") == [2]
    assert append(commits, topic, 0, b"a", b"b") == [0]  # the offset it got the first time
    with pytest.raises(SequenceError):
        append(commits, topic, 9, b"z")
    assert append(commits, topic, 0, b"anything", producer=-1) == [3]  # no identity, no check
    assert catalog.high_watermark(topic, 0) == 4


def test_topics(open_log: Open) -> None:
    commits, catalog = open_log()
    first = catalog.create_topic("orders", 2, exist_ok=False)
    with pytest.raises(TopicExistsError):
        catalog.create_topic("orders", 2, exist_ok=False)
    with pytest.raises(TopicExistsError, match="2 partitions"):
        catalog.create_topic("orders", 3, exist_ok=True)
    assert catalog.create_topic("orders", 2, exist_ok=True) == first
    with pytest.raises(TopicNotFoundError, match="did you mean 'orders'"):
        catalog.topic("order")
    append(commits, first.id, 0, b"a")
    catalog.delete_topic(first)
    with pytest.raises(TopicNotFoundError):
        append(commits, first.id, 1, b"b")
    with pytest.raises(TopicNotFoundError):
        catalog.delete_topic(first)
    again = catalog.create_topic("orders", 2, exist_ok=False)
    assert again.id != first.id
    assert catalog.high_watermark(again.id, 0) == 0


def test_two_agents_see_each_other(open_log: Open) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    other_commits, other = open_log()
    for number in range(5):
        assert append(commits, topic, number, b"x", producer=1) == [2 * number]
        assert append(other_commits, topic, number, b"y", producer=2) == [2 * number + 1]
    other.refresh()
    catalog.refresh()
    assert commits.state.hash == other_commits.state.hash
    assert catalog.high_watermark(topic, 0) == 10


def test_a_follower_hears_of_the_commits_of_others(open_log: Open) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    _, other = open_log()
    with other.follow():
        version = other.version
        append(commits, topic, 0, b"x")
        while other.high_watermark(topic, 0) == 0:
            version = other.wait(version, timeout=5.0)
    assert other.high_watermark(topic, 0) == 1


def test_who_waits_notices_a_state_that_was_loaded(open_log: Open) -> None:
    """As after an absence so long that the commits in between are gone."""
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    _, other = open_log()
    append(commits, topic, 0, b"x")
    version = other.version
    engine = other._commits._engine
    other._commits._call(engine.tail.restart(commits.state, (), lambda: None))
    assert other.wait(version, timeout=0) > version
    assert other.high_watermark(topic, 0) == 1


@pytest.mark.parametrize("settings", [{}, {"inline_bytes_max": 0}, {"snapshot_commits": 10}])
def test_reopened_it_is_the_same(open_log: Open, settings: dict[str, Any]) -> None:
    commits, catalog = open_log(**settings)
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    for number in range(57):
        append(commits, topic, number, b"x%d" % number)
    commits.close(5.0)
    again, catalog = open_log()
    assert again.state.hash == commits.state.hash
    assert catalog.high_watermark(topic, 0) == 57
    assert len(catalog.blocks(topic, 0, 0, 100)) == 57
    assert append(again, topic, 57, b"next") == [57]  # the sequence check survived, too


def test_snapshots_and_rollups_are_used_and_a_broken_one_is_passed_over(
    open_log: Open, store: MemoryStore
) -> None:
    commits, catalog = open_log(snapshot_commits=10)
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    for number in range(45):
        append(commits, topic, number, b"x")
    commits.close(5.0)
    snapshots = [info.name for info in store.list(names.SNAPSHOTS)]
    assert len(snapshots) >= 3
    assert store.list(names.ROLLUPS)
    broken = bytearray(store.get(snapshots[-1]))
    broken[-1] ^= 1
    store.put(snapshots[-1], [bytes(broken)])
    again, _ = open_log()
    assert again.state.hash == commits.state.hash


def test_many_at_once_share_commits(open_log: Open, store: MemoryStore) -> None:
    slow = SlowStore(store, put_seconds=0.01, get_seconds=0.0)
    commits, catalog = open_log(slow, linger_seconds=0.0)
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    before = commits.state.seq
    futures = [commits.append(topic, 7, 0, [PartBlocks(0, number, [block(b"x")])]) for number in range(200)]
    assert [future.result(timeout=30) for future in futures] == [[number] for number in range(200)]
    assert commits.state.seq - before < 20


def test_a_full_disk_fails_what_waits_and_later_records_go_through(
    open_log: Open, store: MemoryStore
) -> None:
    faulty = FaultyStore(store)
    commits, catalog = open_log(faulty)
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    append(commits, topic, 0, b"before")
    faulty.script("put_if_absent", "full", times=1)
    with pytest.raises(StoreFullError):
        append(commits, topic, 1, b"lost")
    assert append(commits, topic, 1, b"after") == [1]
    assert catalog.high_watermark(topic, 0) == 2


_HALF = CommitOffsets("\ud800", "", 0, (OffsetEntry(1, 0, 0),))


@pytest.mark.parametrize(
    "operation",
    [
        Trim(1, ((0.0, 1),)),  # type: ignore[arg-type]
        Trim(1, ((False, 1),)),
        Trim(1, ((0, 1 << 70),)),
        DeleteGroup("\ud800"),
        _HALF,
        Transaction("", 7, 0, (), (_HALF,)),
        Transaction("\ud800", 7, 0, (), ()),
    ],
)
def test_what_nobody_could_read_fails_who_proposed_it_and_nobody_else(
    open_log: Open, operation: Operation
) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    others = commits.append(topic, 7, 0, [PartBlocks(0, 0, [block(b"x")])])
    for propose in (commits.propose, commits.submit, lambda it: commits.prepare(it, (), print)):
        with pytest.raises(InvalidInputError, match="cannot be stored"):
            propose(operation)
    assert others.result(timeout=30) == [0]
    assert append(commits, topic, 1, b"y") == [1]
    again, _ = open_log()
    assert again.state.hash == commits.state.hash


def test_a_partition_number_of_a_subclass_is_stored_as_a_number(open_log: Open) -> None:
    class Number(int):
        pass

    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    part = PartBlocks(Number(0), 0, [block(b"x")])
    assert commits.append(topic, 7, 0, [part]).result(timeout=30) == [0]


@pytest.mark.parametrize("kind", ["lost-answer", "late", "unavailable"])
@pytest.mark.parametrize("inline", [0, 1_000_000])
def test_doubtful_writes_count_once(open_log: Open, store: MemoryStore, kind: Any, inline: int) -> None:
    faulty = FaultyStore(store)
    commits, catalog = open_log(faulty, inline_bytes_max=inline)
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    for number in range(10):
        faulty.script("put_if_absent", kind, times=2)
        assert append(commits, topic, number, b"%d" % number) == [number]
        faulty.land()
    commits.refresh()
    assert catalog.high_watermark(topic, 0) == 10
    other, _ = open_log()
    assert other.state.hash == commits.state.hash


def test_an_operation_of_a_newer_version_is_refused(open_log: Open, store: MemoryStore) -> None:
    commits, catalog = open_log()
    catalog.create_topic("t", 1, exist_ok=False)
    name = names.commit(commits.state.seq + 1)
    index = store.get(names.commit(1))[PREAMBLE_BYTES:]
    newer = index.replace(b"\x94\x02\xa1t", b"\x94\x7f\xa1t")
    assert newer != index
    store.put_if_absent(name, pack(Kind.COMMIT, newer))
    with pytest.raises(UnsupportedFormatError, match="upgrade"):
        commits.refresh()
    with pytest.raises(UnsupportedFormatError):
        append(commits, 1, 0, b"x")


def test_a_process_whose_state_differs_stops_writing(open_log: Open) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    other, _ = open_log()
    with other.lock:  # as a bug of another version would have it
        other.state.hash = bytes(16)
        other.state.hashes[-1] = other.state.hash
    append(commits, topic, 0, b"x")
    with pytest.raises(StateDivergedError):
        other.refresh()
    with pytest.raises(StateDivergedError):
        append(other, topic, 0, b"y", producer=8)
    append(commits, topic, 1, b"z")  # the one that is right goes on
    with pytest.raises(StateDivergedError):
        append(other, topic, 0, b"y", producer=8)


def test_a_commit_on_a_wrong_state_is_history_to_those_who_open_later(open_log: Open) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    other, _ = open_log()
    with other.lock:
        other.state.hash = bytes(16)
        other.state.hashes[-1] = other.state.hash
    with pytest.raises((StateDivergedError, SequenceError)):
        append(other, topic, 5, b"wrong", producer=8)
    with pytest.raises(StateDivergedError):
        commits.refresh()
    again, fresh = open_log()
    assert append(again, topic, 0, b"right") == [0]
    assert fresh.high_watermark(topic, 0) == 1


def test_the_sound_commits_before_a_broken_one_are_read(open_log: Open, store: MemoryStore) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    reader, fresh = open_log()
    for number in range(30):
        append(commits, topic, number, b"x")
    broken = names.commit(20)
    content = bytearray(store.get(broken))
    content[30] ^= 1
    store.put(broken, [bytes(content)])
    with pytest.raises(CorruptionError, match=broken):
        reader.refresh()
    assert fresh.high_watermark(topic, 0) == 18  # commit 1 made the topic


def test_closed(open_log: Open) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("t", 1, exist_ok=False).id
    future = commits.append(topic, 1, 0, [PartBlocks(0, 0, [block(b"x")])])
    assert commits.close(5.0)
    assert future.result() == [0]  # closing writes what is pending
    assert commits.close(5.0)
    with pytest.raises(ClosedError):
        commits.refresh()
    with pytest.raises(ClosedError):
        append(commits, topic, 1, b"y")


def test_upkeep_frees_the_slots_of_a_deleted_topic(open_log: Open, store: MemoryStore) -> None:
    commits, catalog = open_log()
    topic = catalog.create_topic("gone", 1, exist_ok=False)
    for number in range(150):
        append(commits, topic.id, number, b"x" * 100)
    catalog.delete_topic(topic)
    kept = catalog.create_topic("kept", 1, exist_ok=False)
    append(commits, kept.id, 0, b"y", producer=9)
    commits.save_snapshot()
    assert commits.collect().boundary == 1  # two snapshots are kept, and the older one must do
    commits.save_snapshot()
    assert commits.collect().boundary > 150
    assert store.list(names.LOG)[0].name == names.commit(1)  # they are kept for an hour yet
    again, _ = open_log()
    assert again.state.hash == commits.state.hash
