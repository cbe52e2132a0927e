"""Every byte of every object counts: a flipped one is noticed, whatever it belonged to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256

import pytest

import streamhouse
from streamhouse.errors import CorruptionError, NotALogError, UnsupportedFormatError
from streamhouse.format import names
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import ObjectInfo
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import FaultyStore, WrappedStore
from streamhouse.verify import check_object, verify, verify_store

RECORDS = 40


class Altered(WrappedStore):
    """A store in which one object reads differently, or is gone."""

    def __init__(self, inner: MemoryStore, name: str, content: bytes | None) -> None:
        super().__init__(inner)
        self._name = name
        self._content = content

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        if name != self._name:
            return super().get(name, start, end)
        assert self._content is not None
        return self._content[start:end]


@pytest.fixture(scope="module")
def small_log() -> tuple[str, MemoryStore]:
    """A log with an object of every kind: lane blocks, a segment, snapshot, roll-up, boundary."""
    url = "memory://test-verify"
    with streamhouse.Log(url, snapshot_commits=60, inline_bytes_max=500) as log:
        log.create_topic("gone")
        with log.producer() as producer:
            for number in range(130):
                producer.send("gone", b"%d" % number).result()
            log.delete_topic("gone")
            log.create_topic("kept", partitions=2)
            for number in range(RECORDS // 2):
                producer.send("kept", {"number": number}, key=b"key", headers={"h": b"1"}).result()
            log.upkeep()  # puts those in a segment
            batch = [sha256(b"%d" % number).digest() for number in range(RECORDS // 2)]
            producer.send_many("kept", batch, partition=1).result()
    return url, MemoryStore(SystemRuntime(), "test-verify")


def test_there_is_an_object_of_every_kind(small_log: tuple[str, MemoryStore]) -> None:
    present = {info.name for info in small_log[1].list("")}
    kinds = (names.LANES, names.SEGMENTS, names.SNAPSHOTS, names.ROLLUPS, names.BOUNDARIES)
    for prefix in (names.ROOT, names.LOG, *kinds):
        assert any(name.startswith(prefix) for name in present), prefix


def test_a_sound_log_has_no_damage(small_log: tuple[str, MemoryStore]) -> None:
    report = verify(small_log[0])
    assert report.damage == []
    assert report.records_checked == RECORDS
    assert report.objects_checked == len(small_log[1].list(""))


def test_every_flipped_byte_is_noticed(small_log: tuple[str, MemoryStore]) -> None:
    """Each byte on its own by the check of its object; some of each object by the whole verification."""
    store = small_log[1]
    for info in store.list(""):
        if info.name.startswith(names.CLOCKS):
            continue  # says nothing: only the time at which it was written counts
        content = store.get(info.name)
        for position in range(len(content)):
            flipped = bytearray(content)
            flipped[position] ^= 1 << position % 8
            if info.name != names.ROOT:
                with pytest.raises((CorruptionError, UnsupportedFormatError)):
                    check_object(info.name, bytes(flipped))
            if info.name == names.ROOT or (position * 7 + info.size) % len(content) == 0:
                assert _noticed(Altered(store, info.name, bytes(flipped))), (info.name, position)


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: c[: len(c) // 2], lambda c: c + b"x", lambda _: b""]
)
def test_lost_and_added_bytes_are_noticed(
    small_log: tuple[str, MemoryStore], change: Callable[[bytes], bytes]
) -> None:
    store = small_log[1]
    for info in store.list(""):
        if not info.name.startswith(names.CLOCKS):
            altered = Altered(store, info.name, change(store.get(info.name)))
            assert _noticed(altered), info.name


def _noticed(store: WrappedStore) -> bool:
    try:
        return bool(verify_store(store).damage)
    except (CorruptionError, NotALogError, UnsupportedFormatError):
        return True


def test_damage_names_the_offsets_that_it_costs(small_log: tuple[str, MemoryStore]) -> None:
    store = small_log[1]
    lane = store.list(names.LANES)[-1].name
    content = bytearray(store.get(lane))
    content[-1] ^= 1
    damage = verify_store(Altered(store, lane, bytes(content))).damage
    lost = [d for d in damage if d.topic is not None]
    assert [(d.object_name, d.topic, d.partition) for d in lost] == [(lane, "kept", 1)]
    assert (lost[0].first_offset, lost[0].last_offset) == (RECORDS // 2, RECORDS - 1)


def test_a_missing_object_is_named_with_its_offsets() -> None:
    with streamhouse.Log("memory://test-verify-missing", inline_bytes_max=0) as log:
        log.create_topic("t")
        with log.producer() as producer:
            producer.send_many("t", [b"a", b"b"]).result()
            store = MemoryStore(SystemRuntime(), "test-verify-missing")
            store.delete_many([info.name for info in store.list(names.LANES)])
            damage = verify("memory://test-verify-missing").damage
            assert [(d.topic, d.first_offset, d.last_offset) for d in damage] == [("t", 0, 1)]
            assert "missing" in damage[0].reason


def test_a_commit_that_is_gone_is_noticed() -> None:
    with streamhouse.Log("memory://test-verify-gap") as log:
        log.create_topic("t")
        with log.producer() as producer:
            for number in range(9):
                producer.send("t", b"%d" % number).result()
    store = MemoryStore(SystemRuntime(), "test-verify-gap")
    store.delete_many([names.commit(5)])
    damage = verify("memory://test-verify-gap").damage
    assert damage
    assert {d.object_name for d in damage} == {names.commit(5)}


@pytest.fixture
def compacted(request: pytest.FixtureRequest) -> Iterator[tuple[streamhouse.Log, MemoryStore]]:
    """A log of two topics in segments of several blocks: one whole, one compacted by key."""
    name = f"test-verify-{request.node.name}"
    with streamhouse.Log(f"memory://{name}", upkeep=False, block_bytes_target=1024) as log:
        log.create_topic("whole")
        log.create_topic("keys", cleanup_policy="compact")
        with log.producer() as producer:
            for number in range(120):
                value = sha256(b"%d" % number).digest()
                producer.send("whole", value).result()
                producer.send("keys", value, key=b"%d" % (number % 60)).result()
        log.upkeep()
        yield log, MemoryStore(SystemRuntime(), name)


def test_gaps_and_trimmed_ranges_are_not_missed(compacted: tuple[streamhouse.Log, MemoryStore]) -> None:
    log, store = compacted
    assert log.topic("whole").partitions[0].info().blocks > 3
    assert log.delete_records("whole", {0: 41}) == {0: 41}
    report = verify_store(store)
    assert report.damage == []
    assert report.records_checked == (120 - 41) + 60


def test_damage_in_a_segment_costs_the_offsets_of_the_block(
    compacted: tuple[streamhouse.Log, MemoryStore],
) -> None:
    """Every byte of the segment in turn: it is named with what it costs, and nothing else is."""
    log, store = compacted
    log.delete_records("whole", {0: 5})
    state = log._commits.state
    partition = state.topics[state.topic_ids["whole"]].partitions[0]
    refs = [state.block_ref(partition, index) for index in range(len(partition.base_offsets))]
    assert refs[0].next_offset > 6
    assert len({ref.object_name for ref in refs}) == 1
    content = store.get(refs[0].object_name)
    for position in range(0, len(content), 97):
        spoilt = bytearray(content)
        spoilt[position] ^= 4
        report = verify_store(Altered(store, refs[0].object_name, bytes(spoilt)))
        (damage,) = report.damage
        assert damage.object_name == refs[0].object_name
        hit = [ref for ref in refs if ref.position <= position < ref.position + ref.length]
        if hit:
            lost = max(hit[0].base_offset, 5), hit[0].next_offset - 1
            assert (damage.topic, damage.partition) == ("whole", 0)
            assert (damage.first_offset, damage.last_offset) == lost
            assert report.records_checked == 115 + 60 - (lost[1] - lost[0] + 1)
        else:
            assert damage.topic is None
            assert "no record that can be read now is lost" in damage.reason
            assert report.records_checked == 115 + 60


def test_a_segment_with_gaps_that_is_gone_costs_its_range(
    compacted: tuple[streamhouse.Log, MemoryStore],
) -> None:
    log, store = compacted
    state = log._commits.state
    partition = state.topics[state.topic_ids["keys"]].partitions[0]
    name = state.block_ref(partition, 0).object_name
    store.delete_many([name])
    damage = verify_store(store).damage
    assert {each.object_name for each in damage} == {name}
    assert {each.topic for each in damage} == {"keys"}
    assert (damage[0].first_offset, damage[-1].last_offset) == (60, 119)


def test_another_sound_segment_in_its_place_is_damage(
    compacted: tuple[streamhouse.Log, MemoryStore],
) -> None:
    """Bytes that are right on their own, but not those that the log put there."""
    _, store = compacted
    one, other = (info.name for info in store.list(names.SEGMENTS))
    damage = verify_store(Altered(store, one, store.get(other))).damage
    assert {each.object_name for each in damage} == {one}
    assert any(each.topic is not None for each in damage)


class Busy(WrappedStore):
    """Others go on working after the listing, before anything was read."""

    def __init__(self, inner: MemoryStore, work: Callable[[], None]) -> None:
        super().__init__(inner)
        self._work = work

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        found = super().list(prefix, start_after, limit)
        if not prefix:
            self._work()
        return found


def test_a_log_that_others_work_on_has_no_damage(compacted: tuple[streamhouse.Log, MemoryStore]) -> None:
    log, store = compacted
    with log.producer() as producer:
        for number in range(20):
            producer.send("whole", b"%d" % number).result()

        def work() -> None:
            for number in range(20):
                producer.send("whole", b"%d" % number).result()
            old = [info.name for info in store.list(names.SEGMENTS)]
            log.upkeep()
            log.delete_topic("keys")
            state = log._commits.state
            (topic,) = state.topics.values()
            kept = {state.block_ref(topic.partitions[0], index).object_name for index in range(2)}
            store.delete_many(set(old) - kept)

        report = verify_store(Busy(store, work))
    assert report.damage == []
    assert 0 < report.records_checked <= 140 + 60


def test_what_goes_missing_while_others_work_is_damage(
    compacted: tuple[streamhouse.Log, MemoryStore],
) -> None:
    log, store = compacted

    def work() -> None:
        with log.producer() as producer:
            producer.send("whole", b"x").result()
        store.delete_many([info.name for info in store.list(names.SEGMENTS)])

    damage = verify_store(Busy(store, work)).damage
    assert {each.topic for each in damage} == {"whole", "keys"}
    assert all("missing" in each.reason for each in damage)


def test_a_bit_that_flips_on_the_way_is_no_damage(small_log: tuple[str, MemoryStore]) -> None:
    store = FaultyStore(small_log[1])
    for prefix in (names.LOG, names.SEGMENTS, names.LANES):
        store.script("get", "flip", prefix=prefix)
    assert verify_store(store).damage == []
    assert store.injected.total() == 3


def test_a_damaged_commit_is_told_once(small_log: tuple[str, MemoryStore]) -> None:
    store = small_log[1]
    last = store.list(names.LOG)[-1].name
    damage = verify_store(Altered(store, last, b"SH" + bytes(98))).damage
    assert damage[0].object_name == last
    assert "nothing after this commit can be read" in damage[0].reason
    assert [each.reason for each in damage[1:]] == ["unreachable"] * 2


def test_nothing_to_verify() -> None:
    with pytest.raises(NotALogError):
        verify("memory://test-verify-nothing")
