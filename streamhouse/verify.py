"""Read everything that a log holds and check every checksum.

It does not open the log: a damaged commit would keep it from opening. The state is folded as far as the
commits can be read, then every object is fetched whole and every block that the state refers to is
decoded. Records that were trimmed or compacted away are no part of the state, and not missed.

Others may be at work on the log meanwhile: commits come that the fold has not seen, objects go that
nothing refers to any more. So what looks wrong only next to an older state is judged by a newer one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import msgspec

from streamhouse import limits
from streamhouse.commits import snapshots
from streamhouse.commits.boundary import BoundaryGuard
from streamhouse.commits.io import StoreIO
from streamhouse.commits.root import open_root
from streamhouse.commits.state import BlockRef, State
from streamhouse.commits.tail import FellBehind, Tail
from streamhouse.config import make_settings
from streamhouse.errors import CorruptionError, ObjectNotFoundError, UnsupportedFormatError
from streamhouse.format import names
from streamhouse.format.block import decode_block
from streamhouse.format.commit import Commit, LanePart, decode_commit, decode_lane, decode_segment
from streamhouse.format.container import Kind, unpack
from streamhouse.format.snapshot import unpack_boundary, unpack_rollup, unpack_snapshot
from streamhouse.read.reader import matches
from streamhouse.read.window import place
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import ObjectInfo, ObjectStore
from streamhouse.store.open import open_store
from streamhouse.store.probe import probe_atomic_create

_READS_AT_ONCE: Final = 16
_READ_BYTES_MAX: Final = 256 * limits.MIB  # held at once, unless a single object is larger
_FOLDS: Final = 5  # a log that is truncated while it is read is read again


class Damage(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        object_name: Where.
        reason: What is wrong with it.
        topic: Topic whose records cannot be read because of it, if any.
        partition: Its partition.
        first_offset: First offset lost. In between may be gaps that compaction by key has left.
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
        records_checked: Records that can be read.
        damage: Everything that is wrong.
    """

    objects_checked: int
    records_checked: int
    damage: list[Damage]


def verify(url: str, *, storage_options: Mapping[str, Any] | None = None) -> VerifyReport:
    """Check every object of a log. Others may go on working on it.

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
    check = _Verification(store, StoreIO(store, runtime, None), root.log_id)
    check.run()
    return VerifyReport(check.objects_checked, check.records_checked, check.damage)


class _Held(NamedTuple):
    """A block that the state refers to."""

    topic: int
    name: str
    partition: int
    log_start: int
    ref: BlockRef

    def lost(self, reason: str) -> Damage:
        """What it costs that the block cannot be read."""
        ref = self.ref
        first = max(ref.base_offset, self.log_start)
        return Damage(ref.object_name, reason, self.name, self.partition, first, ref.next_offset - 1)


class _Found(NamedTuple):
    """What there is to say about an object."""

    damage: list[Damage]
    records: int
    witness: int


class _Verification:
    def __init__(self, store: ObjectStore, io: StoreIO, log_id: str) -> None:
        self.damage: list[Damage] = []
        self.objects_checked = 0
        self.records_checked = 0
        self._store = store
        self._io = io
        self._log_id = log_id
        self._gone: list[_Held] = []  # whose objects are not there
        self._witness = (0, "")  # the latest commit that an author of another saw, and that other

    def run(self) -> None:
        """Check all of it."""
        state, readable = self._fold()
        self._check_all(state, readable)
        if not readable:
            self.damage.extend(held.lost("the object is missing") for held in self._gone)
        elif self._gone or self._witness[0] > state.seq:
            self._judge_again()

    # --- the state ---------------------------------------------------------------------------------

    def _fold(self) -> tuple[State, bool]:
        """The state as far as the commits can be read, and whether that is all of them."""
        state = State()
        try:
            for _ in range(_FOLDS):
                try:
                    asyncio.run(self._advance(state))
                    break
                except FellBehind:
                    state = State()
        except (CorruptionError, UnsupportedFormatError) as error:
            name = names.commit(state.seq + 1)
            self._note(name, f"{error}; nothing after this commit can be read")
            for topic in state.topics.values():
                for number in range(topic.partition_count):
                    held = topic.partitions.get(number)
                    first = held.high_watermark if held else 0
                    self._note(name, "unreachable", topic.name, number, first)
            return state, False
        return state, True

    async def _advance(self, state: State) -> None:
        guard = BoundaryGuard(self._io, self._io.runtime)
        await guard.load()
        saved = await snapshots.load(self._io, guard, self._log_id)
        rolled = await snapshots.rollups_from(self._io, saved.seq + 1)
        tail = Tail(self._io, guard, state)
        await tail.restart(saved, rolled, lambda: None)
        await tail.advance(live=False)

    def _judge_again(self) -> None:
        """Whether what seemed to be missing is missed by the log as it is by now."""
        state, readable = self._fold()
        if not readable:
            return  # and that was noted
        wanted = {(held.topic, held.partition, held.ref.object_name) for held in _blocks(state)}
        for held in self._gone:
            if (held.topic, held.partition, held.ref.object_name) in wanted:
                self.damage.append(held.lost("the object is missing"))
        seq, name = self._witness
        # A writer that was killed with several commits on their way leaves gaps, but nobody has folded a
        # gap: an author who witnessed a slot that is not there saw a commit that is gone.
        if seq > state.seq:
            gone = names.commit(state.seq + 1)
            self._note(gone, f"the commit is missing; {name} was written on top of it")

    # --- the objects -------------------------------------------------------------------------------

    def _check_all(self, state: State, readable: bool) -> None:
        """Check every object, and every block that the state refers to."""
        wanted: dict[str, list[_Held]] = defaultdict(list)
        for held in _blocks(state):
            wanted[held.ref.object_name].append(held)
        known = {damage.object_name for damage in self.damage}
        with ThreadPoolExecutor(_READS_AT_ONCE if self._store.capabilities.remote else 1) as threads:
            for some in _portions(self._store.list("")):
                for name, data in zip(some, threads.map(self._get, some), strict=True):
                    held_there = wanted.pop(name, [])
                    if data is None:
                        self._gone.extend(held_there)
                        continue
                    found = self._examine(name, data, held_there)
                    self.objects_checked += 1
                    self.records_checked += found.records
                    self._witness = max(self._witness, (found.witness, name))
                    if name not in known:
                        self.damage.extend(_said_plainly(found.damage, readable))
        for missing in wanted.values():
            self._gone.extend(missing)

    def _get(self, name: str) -> bytes | None:
        try:
            return self._store.get(name)
        except ObjectNotFoundError:
            return None  # removed since it was listed

    def _examine(self, name: str, data: bytes, held_there: Sequence[_Held]) -> _Found:
        found = _examine(name, data, held_there)
        if found.damage and (again := self._get(name)) is not None:
            return _examine(name, again, held_there)  # a bit that flipped on the way is right now
        return found

    def _note(self, *fields: Any) -> None:
        self.damage.append(Damage(*fields))


def _portions(listed: Sequence[ObjectInfo]) -> Iterator[list[str]]:
    """A few objects at a time: they may be large, and a log may have millions."""
    portion: list[str] = []
    size = 0
    for info in listed:
        if portion and (len(portion) == _READS_AT_ONCE or size + info.size > _READ_BYTES_MAX):
            yield portion
            portion, size = [], 0
        portion.append(info.name)
        size += info.size
    if portion:
        yield portion


def _blocks(state: State) -> Iterator[_Held]:
    for topic in state.topics.values():
        for number, partition in topic.partitions.items():
            for index in range(len(partition.base_offsets)):
                ref = state.block_ref(partition, index)
                yield _Held(topic.id, topic.name, number, partition.log_start, ref)


def _examine(name: str, data: bytes, held_there: Sequence[_Held]) -> _Found:
    damage: list[Damage] = []
    records = witness = 0
    try:
        commit = check_object(name, data)
        witness = 0 if commit is None else commit.witness_seq
    except (CorruptionError, UnsupportedFormatError) as error:
        damage.append(Damage(name, str(error)))
    for held in held_there:
        try:
            records += _records(held, data)
        except (CorruptionError, UnsupportedFormatError) as error:
            damage.append(held.lost(str(error)))
    return _Found(damage, records, witness)


def _records(held: _Held, data: bytes) -> int:
    """How many records of a block can be read.

    Raises:
        CorruptionError: It is damaged, or another one.
    """
    ref = held.ref
    columns = decode_block(memoryview(data)[ref.position : ref.position + ref.length], ref.object_name)
    if not matches(columns, ref):
        raise CorruptionError(f"{ref.object_name}: the block holds {columns.count} records, not these")
    return columns.count - place(columns, ref.base_offset, held.log_start)


def _said_plainly(damage: list[Damage], readable: bool) -> list[Damage]:
    """Damage to an object whose blocks are lost is told by these; else that none is lost."""
    lost = [each for each in damage if each.topic is not None]
    if lost or not readable:
        return lost or damage
    said = "no record that can be read now is lost by it"
    return [msgspec.structs.replace(each, reason=f"{each.reason}; {said}") for each in damage]


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
