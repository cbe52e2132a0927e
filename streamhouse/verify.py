"""Read everything that a log holds and check every checksum.

It does not open the log: a damaged commit would keep it from opening. The state is folded as far as the
commits can be read, then every object is fetched whole and every block that the state refers to is
decoded.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from streamhouse.commits import snapshots
from streamhouse.commits.boundary import BoundaryGuard
from streamhouse.commits.io import StoreIO
from streamhouse.commits.root import open_root
from streamhouse.commits.state import BlockRef, State
from streamhouse.commits.tail import Tail
from streamhouse.config import make_settings
from streamhouse.errors import CorruptionError, UnsupportedFormatError
from streamhouse.format import names
from streamhouse.format.block import decode_block
from streamhouse.format.commit import Commit, LanePart, decode_commit, decode_lane, decode_segment
from streamhouse.format.container import Kind, unpack
from streamhouse.format.snapshot import unpack_boundary, unpack_rollup, unpack_snapshot
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import ObjectStore
from streamhouse.store.open import open_store
from streamhouse.store.probe import probe_atomic_create

_READS_AT_ONCE = 16


class Damage(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        object_name: Where.
        reason: What is wrong with it.
        topic: Topic whose records cannot be read because of it, if any.
        partition: Its partition.
        first_offset: First offset lost.
        last_offset: Last offset lost; ``None`` where it cannot be known.
    """

    object_name: str
    reason: str
    topic: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None


class VerifyReport(msgspec.Struct, frozen=True):
    """What a verification found.

    Attributes:
        objects_checked: Objects read.
        records_checked: Records in blocks that are referred to and sound.
        damage: Everything that is wrong.
    """

    objects_checked: int
    records_checked: int
    damage: list[Damage]


def verify(url: str, *, storage_options: Mapping[str, Any] | None = None) -> VerifyReport:
    """Check every object of a log.

    Args:
        url: Directory or fsspec URL.
        storage_options: For the store, as in pandas.

    Returns:
        What was read and what is wrong. Damage is reported, not raised.

    Raises:
        NotALogError: There is no log.
        StoreError: The store cannot be read.
    """
    runtime = SystemRuntime()
    settings = make_settings({"single_writer": True})
    store = open_store(url, storage_options, settings, runtime)
    try:
        return verify_store(store)
    finally:
        store.close()


def verify_store(store: ObjectStore) -> VerifyReport:
    """Check every object in a store; see :func:`verify`."""
    runtime = SystemRuntime()
    try:
        root = open_root(store, runtime, create=False, single_writer=True, probe=probe_atomic_create)
    except CorruptionError as error:
        return VerifyReport(1, 0, [Damage(names.ROOT, str(error))])
    check = _Verification(store)
    state = asyncio.run(check.fold(StoreIO(store, runtime, None), root.log_id))
    check.objects(state)
    return VerifyReport(check.objects_checked, check.records_checked, check.damage)


class _Verification:
    def __init__(self, store: ObjectStore) -> None:
        self.damage: list[Damage] = []
        self.objects_checked = 0
        self.records_checked = 0
        self._store = store

    async def fold(self, io: StoreIO, log_id: str) -> State:
        """The state as far as the commits can be read."""
        guard = BoundaryGuard(io, io.runtime)
        state = State()
        try:
            await guard.load()
            saved = await snapshots.load(io, guard, log_id)
            rolled = await snapshots.rollups_from(io, saved.seq + 1)
            tail = Tail(io, guard, state)
            await tail.restart(saved, rolled, lambda: None)
            await tail.advance(live=False)
        except (CorruptionError, UnsupportedFormatError) as error:
            self._note(names.commit(state.seq + 1), f"{error}; nothing after this commit can be read")
            for topic in state.topics.values():
                for number in range(topic.partition_count):
                    held = topic.partitions.get(number)
                    first = held.high_watermark if held else 0
                    self._note(names.commit(state.seq + 1), "unreachable", topic.name, number, first)
        return state

    def objects(self, state: State) -> None:
        """Check every object, and every block that the state refers to."""
        refs = _references(state)
        listed = [info.name for info in self._store.list("")]
        with ThreadPoolExecutor(_READS_AT_ONCE if self._store.capabilities.remote else 1) as threads:
            # A few ahead only: objects are large, and a log may have millions.
            for at in range(0, len(listed), _READS_AT_ONCE):
                some = listed[at : at + _READS_AT_ONCE]
                for name, data in zip(some, threads.map(self._store.get, some), strict=True):
                    self._check(state, name, data)
                    for topic, partition, ref in refs.pop(name, ()):
                        self._check_block(topic, partition, ref, data)
        for name, missing in refs.items():
            for topic, partition, ref in missing:
                self._lost(name, "the object is missing", topic, partition, ref)

    def _check(self, state: State, name: str, data: bytes) -> None:
        self.objects_checked += 1
        try:
            commit = check_object(name, data)
        except (CorruptionError, UnsupportedFormatError) as error:
            self._note(name, str(error))
            return
        # A writer that was killed with several commits on their way leaves gaps, but nobody has folded a
        # gap: an author who witnessed a slot that is not there saw a commit that is gone.
        if commit is not None and commit.witness_seq > state.seq:
            gone = names.commit(state.seq + 1)
            self._note(gone, f"the commit is missing; {name} was written on top of it")

    def _check_block(self, topic: str, partition: int, ref: BlockRef, data: bytes) -> None:
        try:
            block = memoryview(data)[ref.position : ref.position + ref.length]
            columns = decode_block(block, ref.object_name)
        except (CorruptionError, UnsupportedFormatError) as error:
            self._lost(ref.object_name, str(error), topic, partition, ref)
        else:
            self.records_checked += columns.count

    def _lost(self, name: str, reason: str, topic: str, partition: int, ref: BlockRef) -> None:
        self._note(name, reason, topic, partition, ref.base_offset, ref.next_offset - 1)

    def _note(self, *fields: Any) -> None:
        self.damage.append(Damage(*fields))


def _references(state: State) -> dict[str, list[tuple[str, int, BlockRef]]]:
    """Topic, partition and place of every block, by the object that holds it."""
    refs: dict[str, list[tuple[str, int, BlockRef]]] = defaultdict(list)
    for topic, number, ref in _blocks(state):
        refs[ref.object_name].append((topic, number, ref))
    return refs


def _blocks(state: State) -> Iterator[tuple[str, int, BlockRef]]:
    for topic in state.topics.values():
        for number, partition in topic.partitions.items():
            for index in range(len(partition.base_offsets)):
                yield topic.name, number, state.block_ref(partition, index)


def check_object(name: str, data: bytes) -> Commit | None:
    """Check an object on its own, whether or not anything refers to it; the commit, if it is one.

    Raises:
        CorruptionError: A byte of it is not what was written.
        UnsupportedFormatError: It claims to be of a newer version.
    """
    if name.startswith(names.LOG):
        front = unpack(data, Kind.COMMIT, name)
        commit = decode_commit(front.index, name)
        inline = [block for flush in commit.flushes if flush.inline for block in flush.blocks]
        spans = [(block.position, block.length) for block in inline if block.part == 0]
        _check_body(name, memoryview(data)[front.body_start :], spans)
        return commit
    if name.startswith(names.LANES):
        front = unpack(data, Kind.LANE, name)
        lane = decode_lane(front, LanePart(*names.parse_lane(name)), name)
        if lane.flush is not None:
            spans = [(b.position, b.length) for b in lane.flush.blocks if b.part == 0]
            _check_body(name, memoryview(data)[front.body_start :], spans)
    elif name.startswith(names.SEGMENTS):
        front = unpack(data, Kind.SEGMENT, name)
        segment = decode_segment(front, *names.parse_segment(name), name)
        spans = [(b.position, b.length) for b in segment.blocks]
        _check_body(name, memoryview(data)[front.body_start :], spans)
    elif name.startswith(names.SNAPSHOTS):
        unpack_snapshot(data, name)
    elif name.startswith(names.ROLLUPS):
        unpack_rollup(data, name)
    elif name.startswith(names.BOUNDARIES):
        unpack_boundary(data, name)
    return None


def _check_body(name: str, body: memoryview, spans: list[tuple[int, int]]) -> None:
    for position, length in spans:
        decode_block(body[position : position + length], name)
