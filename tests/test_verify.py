"""Every byte of every object counts: a flipped one is noticed, whatever it belonged to."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest

import streamhouse
from streamhouse.errors import CorruptionError, NotALogError, UnsupportedFormatError
from streamhouse.format import names
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import WrappedStore
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


def test_nothing_to_verify() -> None:
    with pytest.raises(NotALogError):
        verify("memory://test-verify-nothing")
