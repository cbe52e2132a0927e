"""Saving the folded state, so that opening a log does not fold it from its first commit.

Snapshots are taken every thousand commits at first, and less often as the state grows (a quarter of its
blocks), so that writing them stays a constant share of all writing. In between, a thousand commits
at a time are rolled up into one object, without their blocks.

Neither is needed for safety. A snapshot that cannot be read is passed over for an older one.
"""

from __future__ import annotations

import asyncio
from array import array

import msgspec

from streamhouse.commits.boundary import BoundaryGuard
from streamhouse.commits.groups import GroupState, MemberState, OffsetState
from streamhouse.commits.io import StoreIO
from streamhouse.commits.state import (
    COLUMNS,
    HASHES_REMEMBERED,
    LaneState,
    NamedProducer,
    OpenTransaction,
    PartitionState,
    ProducerState,
    State,
    TopicState,
)
from streamhouse.errors import CorruptionError
from streamhouse.format import names
from streamhouse.format.snapshot import (
    GroupImage,
    LaneImage,
    PartitionImage,
    ProducerImage,
    RolledCommit,
    StateImage,
    TopicImage,
    TransactionImage,
    pack_rollup,
    pack_snapshot,
    unpack_rollup,
    unpack_snapshot,
)

_ROLLUPS_AT_ONCE = 8
_LOADS = 3


def snapshot_due(state: State, interval: int) -> int:
    """The commit at which the next snapshot should be taken."""
    return state.snapshot_seq + max(interval, state.block_count // 4)


async def save(io: StoreIO, image: StateImage, unique: str) -> str:
    """Write a snapshot; its name."""
    name = names.snapshot(image.seq, unique)
    await io.put(name, pack_snapshot(image))
    return name


async def load(io: StoreIO, guard: BoundaryGuard, log_id: str) -> State:
    """The newest state that can be had without reading single commits.

    Raises:
        CorruptionError: Commits were deleted, and no snapshot that covers them can be read.
    """
    problems: list[str] = []
    for _ in range(_LOADS):
        listed = [info.name for info in await io.list(names.SNAPSHOTS)]
        if guard.boundary.snapshot and guard.boundary.snapshot not in listed:
            listed.append(guard.boundary.snapshot)  # a listing may lag behind
        state = State()
        problems = []
        for name in sorted(listed, reverse=True):
            try:
                image = await _read(io, name)
            except CorruptionError as error:
                problems.append(str(error))
                continue
            if image is not None and image.log_id == log_id:
                state = restore(image)
                break
        if state.seq + 1 >= guard.boundary.seq:
            return state
        # This process may have slept since it listed them, and all were superseded and removed.
        await guard.check()
    raise CorruptionError(
        f"commits below {guard.boundary.seq} were removed and no snapshot covers them"
        + "".join(f"; {problem}" for problem in problems)
    )


async def read(io: StoreIO, name: str, log_id: str = "") -> State | None:
    """The state in one snapshot; ``None`` when it is gone, damaged, or another log's than the one named."""
    try:
        image = await _read(io, name)
    except CorruptionError:
        return None
    return None if image is None or log_id not in {"", image.log_id} else restore(image)


async def rollups_from(io: StoreIO, seq: int) -> list[RolledCommit]:
    """Consecutive commits from ``seq`` on, as far as roll-ups hold them."""
    usable = []
    expected = seq
    for info in await io.list(names.ROLLUPS):
        first, last = names.range_of_rollup(info.name)
        if first <= expected <= last:
            usable.append(info.name)
            expected = last + 1
    commits: list[RolledCommit] = []
    for at in range(0, len(usable), _ROLLUPS_AT_ONCE):
        chunk = usable[at : at + _ROLLUPS_AT_ONCE]
        for name, data in zip(chunk, await asyncio.gather(*map(io.get, chunk)), strict=True):
            if data is None:
                return commits
            try:
                rolled = unpack_rollup(data, name)
            except CorruptionError:
                return commits  # the commits themselves are still there
            commits.extend(c for c in rolled if c.seq == seq + len(commits))
    return commits


async def save_rollup(io: StoreIO, commits: list[RolledCommit]) -> None:
    """Write one roll-up of consecutive commits."""
    await io.put(names.rollup(commits[0].seq, commits[-1].seq), pack_rollup(commits))


async def _read(io: StoreIO, name: str) -> StateImage | None:
    data = await io.get(name)
    return None if data is None else unpack_snapshot(data, name)


def image_of(state: State, log_id: str) -> StateImage:
    """The state as it is stored."""
    return StateImage(
        log_id=log_id,
        seq=state.seq,
        hashes=list(state.hashes),
        snapshot_seq=state.snapshot_seq,
        next_topic_id=state.next_topic_id,
        topics=[_topic_image(topic) for topic in state.topics.values()],
        producers=[
            ProducerImage(id_, p.epoch, [(t, n, list(b)) for (t, n), b in p.batches.items()])
            for id_, p in state.producers.items()
        ],
        lanes=[
            LaneImage(agent, lane.next_number, lane.sealed)
            for agent, lane in ((agent, state.lanes[agent]) for agent in state.agents)
        ],
        named_producers=[
            (name, *msgspec.structs.astuple(named)) for name, named in state.named_producers.items()
        ],
        groups=[_group_image(name, group) for name, group in state.groups.items()],
        transactions=[_transaction_image(name, opened) for name, opened in state.transactions.items()],
        entries=[(name, *entry) for name, entry in state.entries.items()],
    )


def _group_image(name: str, group: GroupState) -> GroupImage:
    return GroupImage(
        name=name,
        generation=group.generation,
        changed_seq=group.changed_seq,
        assignor=group.assignor,
        members=[msgspec.structs.astuple(member) for member in group.members.values()],
        target=[(*place, member) for place, member in group.target.items()],
        owners=[(*place, *owner) for place, owner in group.owners.items()],
        offsets=[(*place, *msgspec.structs.astuple(o)) for place, o in group.offsets.items()],
        classic=group.classic,
        coordinator=group.coordinator,
    )


def _transaction_image(name: str, opened: OpenTransaction) -> TransactionImage:
    return TransactionImage(
        transactional_id=name,
        began_ms=opened.began_ms,
        partitions=[
            (topic, _partition_image(number, aside)) for (topic, number), aside in opened.partitions.items()
        ],
        offsets=[(group, list(entries.values())) for group, entries in opened.offsets.items()],
    )


def _topic_image(topic: TopicState) -> TopicImage:
    return TopicImage(
        id=topic.id,
        name=topic.name,
        partition_count=topic.partition_count,
        created_ms=topic.created_ms,
        settings=topic.settings,
        partitions=[_partition_image(number, p) for number, p in topic.partitions.items()],
    )


def _partition_image(number: int, partition: PartitionState) -> PartitionImage:
    return PartitionImage(
        number,
        partition.log_start,
        partition.high_watermark,
        partition.cleaned,
        partition.claim,
        *(getattr(partition, column).tobytes() for column in COLUMNS),
    )


def restore(image: StateImage) -> State:
    """The state that an image shows."""
    state = State()
    state.seq = image.seq
    state.hash = image.hashes[-1]
    state.hashes.clear()
    state.hashes.extend(image.hashes[-HASHES_REMEMBERED:])
    state.snapshot_seq = image.snapshot_seq
    state.next_topic_id = image.next_topic_id
    for topic_image in image.topics:
        topic = TopicState(
            topic_image.id,
            topic_image.name,
            topic_image.partition_count,
            topic_image.created_ms,
            topic_image.settings,
        )
        for partition_image in topic_image.partitions:
            topic.partitions[partition_image.partition] = _restore_partition(partition_image)
        state.topics[topic.id] = topic
        state.topic_ids[topic.name] = topic.id
        state.block_count += sum(len(p.base_offsets) for p in topic.partitions.values())
    for producer_image in image.producers:
        producer = state.producers[producer_image.id] = ProducerState(producer_image.epoch)
        producer.batches = {(t, p): batches for t, p, batches in producer_image.batches}
    for ordinal, lane in enumerate(image.lanes):
        state.agents.append(lane.agent)
        state.lanes[lane.agent] = LaneState(ordinal, lane.next_number, lane.sealed)
    state.named_producers = {name: NamedProducer(*fields) for name, *fields in image.named_producers}
    state.groups = {group.name: _restore_group(group) for group in image.groups}
    for transaction_image in image.transactions:
        opened = _restore_transaction(transaction_image)
        state.transactions[transaction_image.transactional_id] = opened
        state.block_count += opened.block_count
    state.entries = {name: (version, value) for name, version, value in image.entries}
    return state


def _restore_group(image: GroupImage) -> GroupState:
    group = GroupState()
    group.generation = image.generation
    group.changed_seq = image.changed_seq
    group.assignor = image.assignor
    group.members = {fields[0]: MemberState(*fields) for fields in image.members}
    group.target = {(t, p): member for t, p, member in image.target}
    group.owners = {(t, p): (member, since) for t, p, member, since in image.owners}
    group.offsets = {(t, p): OffsetState(o, note, ms) for t, p, o, note, ms in image.offsets}
    group.classic = image.classic
    group.coordinator = image.coordinator
    return group


def _restore_transaction(image: TransactionImage) -> OpenTransaction:
    opened = OpenTransaction(image.began_ms)
    for topic, partition in image.partitions:
        opened.partitions[topic, partition.partition] = _restore_partition(partition)
    for group, entries in image.offsets:
        opened.offsets[group] = {(entry.topic, entry.partition): entry for entry in entries}
    return opened


def _restore_partition(image: PartitionImage) -> PartitionState:
    partition = PartitionState()
    partition.log_start = image.log_start
    partition.high_watermark = image.high_watermark
    partition.cleaned = image.cleaned
    partition.claim = image.claim
    for column in COLUMNS:
        values: array[int] = getattr(partition, column)
        values.frombytes(getattr(image, column))
    return partition
