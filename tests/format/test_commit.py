"""Commits and lane objects: round trips, damage, and what a newer version may have written."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.errors import CorruptionError, UnsupportedFormatError
from streamhouse.format.commit import (
    BlockEntry,
    Commit,
    Flush,
    LanePart,
    decode_commit,
    decode_lane,
    pack_commit,
    pack_lane,
)
from streamhouse.format.container import Kind, unpack
from streamhouse.format.operations import (
    AddToTransaction,
    Append,
    AppendPart,
    ClassicGroup,
    ClassicMember,
    CommitOffsets,
    CreateTopic,
    DeleteTopic,
    EndTransaction,
    InitProducer,
    KeepClassicGroup,
    OffsetEntry,
    SealLane,
    SetEntry,
    Snapshotted,
)

numbers = st.integers(0, 2**62)
hashes = st.binary(min_size=16, max_size=16)
agents = st.text("0123456789abcdef", min_size=1, max_size=20)
appends = st.builds(
    Append,
    topic=numbers,
    producer=st.integers(-1, 2**62),
    epoch=numbers,
    parts=st.lists(st.builds(AppendPart, numbers, numbers, numbers, numbers), max_size=3).map(tuple),
)
places = st.lists(st.builds(OffsetEntry, numbers, numbers, numbers, st.text(max_size=3)), max_size=2)
offsets = st.builds(
    CommitOffsets, st.text(max_size=4), st.text(max_size=4), numbers, places.map(tuple), st.text(max_size=4)
)
members = st.builds(
    ClassicMember,
    *[st.text(max_size=4)] * 4,
    numbers,
    numbers,
    st.lists(st.tuples(st.text(max_size=4), st.binary(max_size=4)), max_size=2).map(tuple),
    st.binary(max_size=4),
)
classic_groups = st.builds(
    ClassicGroup, numbers, *[st.text(max_size=4)] * 3, st.lists(members, max_size=2).map(tuple)
)
operations = st.one_of(
    appends,
    st.builds(
        AddToTransaction,
        st.text(max_size=4),
        numbers,
        numbers,
        st.lists(appends, max_size=2).map(tuple),
        st.lists(offsets, max_size=2).map(tuple),
        numbers,
    ),
    st.builds(EndTransaction, st.text(max_size=4), *[numbers] * 3, st.booleans(), st.booleans()),
    st.builds(
        InitProducer,
        st.text(max_size=4),
        numbers,
        st.booleans(),
        st.none() | st.tuples(numbers, numbers),
        numbers,
    ),
    st.builds(KeepClassicGroup, *[st.text(max_size=4)] * 3, st.none() | classic_groups),
    st.builds(SetEntry, st.text(max_size=4), st.none() | st.binary(max_size=4), numbers),
    st.builds(CreateTopic, name=st.text(max_size=8), partitions=numbers),
    st.builds(DeleteTopic, topic=numbers),
    st.builds(SealLane, agent=agents),
    st.builds(Snapshotted, seq=numbers, state_hash=hashes),
)
flushes = st.builds(
    Flush,
    agent=agents,
    number=numbers,
    operations=st.lists(operations, max_size=3).map(tuple),
    blocks=st.lists(st.builds(BlockEntry, *[numbers] * 7), max_size=3).map(tuple),
    body_starts=st.lists(numbers, max_size=2).map(tuple),
)
commits = st.builds(
    Commit,
    nonce=hashes,
    agent=agents,
    time_ms=numbers,
    witness_seq=numbers,
    witness_hash=hashes,
    flushes=st.lists(flushes, max_size=3).map(tuple),
)

APPEND = Append(1, 7, 0, (AppendPart(0, 3, 0, 1),))
FLUSH = Flush("agent", 4, (APPEND,), (BlockEntry(0, 0, 6, 2, 10, 20, 99),))
COMMIT = Commit(b"n" * 16, "agent", 1_000, 3, b"h" * 16, (FLUSH,))


def unpacked(data: bytes) -> Commit:
    return decode_commit(unpack(data, Kind.COMMIT, "log/5").index, "log/5")


@given(commits, st.binary(max_size=40))
def test_a_commit_comes_back(commit: Commit, block: bytes) -> None:
    data = b"".join(pack_commit(commit, [block]))
    assert unpacked(data) == commit
    assert data.endswith(block)


@given(flushes, st.binary(max_size=40))
def test_a_lane_object_comes_back(flush: Flush, block: bytes) -> None:
    part = LanePart(flush.agent, flush.number, 0, flush)
    front = unpack(b"".join(pack_lane(part, [block])), Kind.LANE, "here")
    assert decode_lane(front, LanePart(flush.agent, flush.number, 0), "here") == part


def test_a_commit_is_the_same_whatever_slot_it_is_for() -> None:
    assert pack_commit(COMMIT) == pack_commit(msgspec.structs.replace(COMMIT))


def test_every_flipped_bit_of_a_commit_without_blocks_is_found() -> None:
    data = b"".join(pack_commit(COMMIT))
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptionError, match="log/5"):
            unpacked(bytes(broken))


def test_every_truncation_of_a_commit_is_found() -> None:
    data = b"".join(pack_commit(COMMIT, [b"blocks"]))
    for size in range(len(data)):
        with pytest.raises(CorruptionError, match="log/5"):
            unpacked(data[:size])


@pytest.mark.parametrize("wrong", [("other", 4, 0), ("agent", 5, 0), ("agent", 4, 1)])
def test_a_lane_object_under_a_wrong_name_is_found(wrong: tuple[str, int, int]) -> None:
    front = unpack(b"".join(pack_lane(LanePart("agent", 4, 0, FLUSH), [])), Kind.LANE, "here")
    with pytest.raises(CorruptionError, match="holds part 0 of flush 4 of agent"):
        decode_lane(front, LanePart(*wrong), "here")


def test_an_operation_of_a_later_version_is_refused() -> None:
    index = msgspec.msgpack.decode(msgspec.msgpack.encode(COMMIT))
    index[5][0][2].append([99, "from the future"])
    with pytest.raises(UnsupportedFormatError, match=r"log/5.*upgrade"):
        decode_commit(msgspec.msgpack.encode(index), "log/5")
