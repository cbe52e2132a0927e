"""What tests of the fold share: commits around operations, and what holds of every state."""

from __future__ import annotations

from itertools import zip_longest

import msgspec

from streamhouse.commits.fold import Verdict, apply
from streamhouse.commits.groups import GroupState
from streamhouse.commits.snapshots import image_of, restore
from streamhouse.commits.state import PartitionState, State
from streamhouse.format.commit import BlockEntry, Commit, Flush, Segment
from streamhouse.format.operations import Operation
from streamhouse.format.snapshot import StateImage, pack_snapshot, unpack_snapshot

AUTHOR = "a1"
_as_stored = msgspec.msgpack.Decoder(Commit).decode


def block(
    count: int = 1, part: int = 0, position: int = 0, length: int = 10, timestamp: int = 0
) -> BlockEntry:
    return BlockEntry(part, position, length, count, timestamp, timestamp, 7)


def commit(seq: int, *flushes: Flush) -> Commit:
    """A commit whose witness nobody remembers, as it comes back from the store."""
    made = Commit(b"%016d" % (seq % 10**16), "author", 1_000 + seq, 10**9, b"", flushes)
    return _as_stored(msgspec.msgpack.encode(made))


def do(
    state: State,
    *operations: Operation,
    blocks: tuple[BlockEntry, ...] = (),
    segments: tuple[Segment, ...] = (),
    body_starts: tuple[int, ...] = (),
) -> list[Verdict]:
    """Fold one more commit with these operations in one flush; what the fold says to them."""
    number = state.lane(AUTHOR).next_number
    flush = Flush(AUTHOR, number, operations, blocks, body_starts, segments)
    applied = apply(state, state.seq + 1, commit(state.seq + 1, flush), 64)
    return list(applied.verdicts[0][2])


def do_one(state: State, operation: Operation, **flush: object) -> Verdict:
    return do(state, operation, **flush)[0]  # type: ignore[arg-type]


def content(state: State) -> StateImage:
    """All of a state but what every commit changes: its number, the hashes, and how far lanes are."""
    image = image_of(state, "log")
    return msgspec.structs.replace(image, seq=0, hashes=[], lanes=[])


def through_the_store(state: State) -> State:
    stored = b"".join(map(bytes, pack_snapshot(image_of(state, "log"))))
    return restore(unpack_snapshot(stored, "snap"))


def check_state(state: State) -> None:
    """What holds of every state that can be reached, and that it can be stored."""
    assert image_of(through_the_store(state), "log") == image_of(state, "log")
    found = 0
    for topic in state.topics.values():
        assert state.topic_ids[topic.name] == topic.id < state.next_topic_id
        for number, partition in topic.partitions.items():
            assert 0 <= number < topic.partition_count
            check_partition(state, partition)
            found += len(partition.base_offsets)
    for transaction in state.transactions.values():
        for (topic_id, number), partition in transaction.partitions.items():
            assert 0 <= number < state.topics[topic_id].partition_count
            check_partition(state, partition)
            found += len(partition.base_offsets)
    assert state.block_count == found
    assert [state.lanes[agent].ordinal for agent in state.agents] == list(range(len(state.agents)))
    for group in state.groups.values():
        check_group(state, group)
        assert not (group.members and group.has_classic_members)


def check_partition(state: State, partition: PartitionState) -> None:
    refs = [state.block_ref(partition, index) for index in range(len(partition.base_offsets))]
    assert 0 <= partition.log_start <= partition.high_watermark
    assert list(partition.timestamps) == sorted(partition.timestamps)
    for ref, following in zip_longest(refs, refs[1:]):
        assert 0 < ref.records <= ref.count
        assert ref.base_offset >= 0
        end = following.base_offset if following else partition.high_watermark
        assert ref.next_offset == end
        assert ref.next_offset > partition.log_start
        assert ref.position >= 0
        assert ref.object_name
    for offset, _ in partition.cleaned:
        assert offset <= partition.high_watermark


def check_group(state: State, group: GroupState) -> None:
    """Who has what, and who shall: only members, only what there is, and all that is subscribed to."""
    wanted = {
        (topic, number)
        for member in group.members.values()
        for topic in member.topics
        if topic in state.topics
        for number in range(state.topics[topic].partition_count)
    }
    assert set(group.target) == wanted
    for (topic, _), member in group.target.items():
        assert topic in group.members[member].topics
    for name, (owner, since) in group.owners.items():
        assert owner in group.members
        assert since <= group.generation
        assert name in group.target or name in group.to_release(owner)
    if group.settled:
        assert {name: owner for name, (owner, _) in group.owners.items()} == group.target
