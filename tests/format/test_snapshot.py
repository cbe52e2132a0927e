"""Snapshots, roll-ups, boundaries and the root: round trips and damage."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.config import TopicSettings
from streamhouse.errors import CorruptionError, NotALogError, UnsupportedFormatError
from streamhouse.format.operations import ClassicGroup, ClassicMember, OffsetEntry
from streamhouse.format.snapshot import (
    Boundary,
    GroupImage,
    LaneImage,
    PartitionImage,
    ProducerImage,
    RolledCommit,
    Root,
    StateImage,
    TopicImage,
    TransactionImage,
    pack_boundary,
    pack_rollup,
    pack_root,
    pack_snapshot,
    unpack_boundary,
    unpack_rollup,
    unpack_root,
    unpack_snapshot,
)

COLUMN = array("q", range(50)).tobytes()
IMAGE = StateImage(
    log_id="log",
    seq=12,
    hashes=[bytes([n]) * 16 for n in range(3)],
    snapshot_seq=9,
    next_topic_id=3,
    topics=[
        TopicImage(
            id=2,
            name="orders",
            partition_count=4,
            created_ms=1_000,
            settings=TopicSettings(retention_ms=5),
            partitions=[PartitionImage(3, 0, 50, [(7, 900)], ("worker", 8), *[COLUMN] * 9)],
        )
    ],
    producers=[ProducerImage(7, 1, [(2, 3, [(0, 50, 0)])])],
    lanes=[LaneImage("a1", 5, sealed=False), LaneImage("b2", 0, sealed=True)],
    named_producers=[("payments", 7, 1, 4, 60_000)],
    groups=[
        GroupImage(
            name="billing",
            generation=3,
            changed_seq=11,
            assignor="range",
            members=[("m1", "p1", "", 10_000, (2,))],
            target=[(2, 0, "m1")],
            owners=[(2, 0, "m1", 3)],
            offsets=[(2, 0, 17, "note", 1_000)],
            classic=None,
            coordinator="",
        ),
        GroupImage(
            name="reports",
            generation=0,
            changed_seq=12,
            assignor="",
            members=[],
            target=[],
            owners=[],
            offsets=[],
            classic=ClassicGroup(
                4,
                "consumer",
                "range",
                "m1",
                (ClassicMember("m1", "i1", "client", "/::1", 10_000, 60_000, (("range", b"s"),), b"a"),),
            ),
            coordinator="c1",
        ),
    ],
    transactions=[
        TransactionImage(
            "payments",
            began_ms=2_000,
            partitions=[(2, PartitionImage(3, 0, 50, [], None, *[COLUMN] * 9))],
            offsets=[("billing", [OffsetEntry(2, 0, 18, "note")])],
        )
    ],
    entries=[("kafka/broker/1", 10, b"value")],
)
BOUNDARY = Boundary(100, "snap/99-abc")
ROLLED = [RolledCommit(5, 40, b"index of five"), RolledCommit(6, 44, b"index of six")]
ROOT = Root(1, "0123abcd", 1_700_000_000_000, shared=True)

Unpack = Callable[[bytes, str], object]
OBJECTS: list[tuple[Unpack, bytes, object]] = [
    (unpack_snapshot, b"".join(pack_snapshot(IMAGE)), IMAGE),
    (unpack_boundary, b"".join(pack_boundary(BOUNDARY)), BOUNDARY),
    (unpack_rollup, b"".join(pack_rollup(ROLLED)), ROLLED),
]
each_object = pytest.mark.parametrize(
    ("unpack", "data", "value"), OBJECTS, ids=["snapshot", "boundary", "rollup"]
)


@each_object
def test_it_comes_back(unpack: Unpack, data: bytes, value: object) -> None:
    assert unpack(data, "here") == value


@each_object
def test_every_flipped_bit_is_found(unpack: Unpack, data: bytes, value: object) -> None:
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptionError, match="here"):
            unpack(bytes(broken), "here")


@each_object
def test_every_truncation_is_found(unpack: Unpack, data: bytes, value: object) -> None:
    for size in range(len(data)):
        with pytest.raises(CorruptionError, match="here"):
            unpack(data[:size], "here")
    with pytest.raises(CorruptionError, match="here"):
        unpack(data + b"\0", "here")


@each_object
def test_it_is_not_taken_for_another_kind(unpack: Unpack, data: bytes, value: object) -> None:
    for _, other, _ in OBJECTS:
        if other is not data:
            with pytest.raises(CorruptionError, match="expected kind"):
                unpack(other, "here")


@given(
    st.lists(st.builds(RolledCommit, st.integers(0, 2**62), st.integers(0, 2**31), st.binary(max_size=99)))
)
def test_any_rollup_comes_back(commits: list[RolledCommit]) -> None:
    assert unpack_rollup(b"".join(pack_rollup(commits)), "here") == commits


def test_the_root_comes_back() -> None:
    assert unpack_root(pack_root(ROOT), "root.json") == ROOT


def test_every_flipped_bit_and_truncation_of_the_root_is_found() -> None:
    data = pack_root(ROOT)
    damaged = [data[:size] for size in range(len(data))]
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(broken))
    for each in damaged:
        with pytest.raises((CorruptionError, NotALogError, UnsupportedFormatError), match=r"root\.json"):
            unpack_root(each, "root.json")


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"format": "one"}', b"PAR1\0\0", b'{"format":1}'])
def test_something_else_is_no_root(text: bytes) -> None:
    with pytest.raises(NotALogError, match=r"root\.json"):
        unpack_root(text, "root.json")


def test_a_newer_root_is_refused() -> None:
    newer: Sequence[bytes] = [
        pack_root(msgspec.structs.replace(ROOT, format=2)),
        b'{"format": 3, "of": "another shape"}',
    ]
    for each in newer:
        with pytest.raises(UnsupportedFormatError, match="upgrade"):
            unpack_root(each, "root.json")
