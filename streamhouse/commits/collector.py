"""Collection: remove what nothing can refer to any more, and nothing else.

Three kinds of garbage: slots below the boundary, objects in lanes and segments that no live block points
to, and superseded snapshots and roll-ups. The rules that make it safe:

* The boundary is published before slots below it are deleted, and they are kept for an hour after that by
  the *store's* clock, which is read from an object written for the purpose.
* A flush in a lane can still be committed by anybody until its lane is sealed *in the log*, and so can what
  refers to a segment. So an unknown or unsealed lane loses only what was applied and is no longer
  referred to; the rest goes after the seal. An agent that was only asleep finds its lane sealed and
  goes on under a new name.
* What compaction or a trim took out of the log may be in the hands of a reader. It goes when a snapshot
  that is an hour old by the store's clock did not refer to it either: nothing is referred to again once it
  is not, so nobody was given it since.
* Fail closed: a listing that could not be completed raises, and nothing is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from streamhouse import limits
from streamhouse.commits import snapshots
from streamhouse.commits.boundary import BoundaryGuard
from streamhouse.commits.io import StoreIO
from streamhouse.commits.state import INLINE, State, lane_object, segment_object
from streamhouse.format import names
from streamhouse.format.operations import SealLane
from streamhouse.format.snapshot import Boundary
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectInfo

_SNAPSHOTS_KEPT = 2
_SUPERSEDED_MAX = 8  # snapshots that nobody needs; more are worth a boundary, so that they can go


class CollectReport(msgspec.Struct, frozen=True):
    """What a collection did.

    Attributes:
        boundary: Slots below this one may be gone.
        lanes_sealed: Agents that will not be heard of again.
        objects_deleted: How many.
        bytes_deleted: Their total size.
    """

    boundary: int
    lanes_sealed: int
    objects_deleted: int
    bytes_deleted: int


class CollectGuards(msgspec.Struct, frozen=True):
    """Rules that the simulator can switch off, to show that it would notice."""

    boundary_first: bool = True
    keep_slots: bool = True
    seal_first: bool = True
    grace: bool = True


class Collector:
    """One collection at a time, by any agent."""

    def __init__(
        self,
        io: StoreIO,
        guard: BoundaryGuard,
        state: State,
        runtime: Runtime,
        seal: Callable[[SealLane], Awaitable[object]],
        boundary_step_commits: int,
        guards: CollectGuards = CollectGuards(),  # noqa: B008 - frozen
    ) -> None:
        self._io = io
        self._guard = guard
        self._state = state
        self._runtime = runtime
        self._seal = seal
        self._step = boundary_step_commits
        self._guards = guards
        self._collecting = asyncio.Lock()
        self._first_seen: dict[str, float] = {}  # lanes, by our own clock

    async def collect(self, agent: str, active: set[str]) -> CollectReport:
        """Collect once.

        Args:
            agent: Ourselves.
            active: Agents known to be alive.
        """
        async with self._collecting:
            return await self._collect(agent, active)

    async def _collect(self, agent: str, active: set[str]) -> CollectReport:
        await self._guard.check()
        now_ms = await self._store_time(agent)
        sealed = await self._seal_idle(now_ms, active | {agent})
        await self._advance_boundary()
        garbage = await self._garbage(now_ms)
        await self._io.delete_many([info.name for info in garbage])
        await self._io.call(self._io.store.sweep, limits.SLOT_KEEP_SECONDS)
        return CollectReport(
            boundary=self._guard.boundary.seq,
            lanes_sealed=sealed,
            objects_deleted=len(garbage),
            bytes_deleted=sum(info.size for info in garbage),
        )

    async def _store_time(self, agent: str) -> int:
        name = names.clock(agent)
        await self._io.put(name, [b"now"])
        info = await self._io.head(name)
        return 0 if info is None else info.modified_ms  # 0: everything looks too young to delete

    def _old(self, info: ObjectInfo, now_ms: int) -> bool:
        return not self._guards.keep_slots or (now_ms - info.modified_ms >= limits.SLOT_KEEP_SECONDS * 1000)

    # --- boundary and slots ------------------------------------------------------------------------

    async def _advance_boundary(self) -> None:
        saved = await self._io.list(names.SNAPSHOTS)
        usable = [i for i in saved if names.seq_of_snapshot(i.name) <= self._state.snapshot_seq]
        if len(usable) < _SNAPSHOTS_KEPT:
            return
        # Not the newest: should a bit of that flip, the other still has all the commits it needs.
        base = usable[-_SNAPSHOTS_KEPT].name
        seq = min(names.seq_of_snapshot(base) + 1, self._oldest_live_slot())
        superseded = sum(info.name < base for info in saved)
        worth_it = seq >= self._guard.boundary.seq + self._step or superseded > _SUPERSEDED_MAX
        if self._guards.boundary_first:
            if worth_it:
                await self._guard.advance(Boundary(max(seq, self._guard.boundary.seq), base))
        else:
            old = await self._io.list(names.LOG)
            await self._io.delete_many([i.name for i in old if names.seq_of_commit(i.name) < seq])
            await self._guard.advance(Boundary(seq, base))

    def _oldest_live_slot(self) -> int:
        """The first commit with a block that somebody may still read."""
        oldest = self._state.seq + 1
        for partition in self._state.partitions():
            # Not the first that comes: where blocks were replaced they are not in order of commit.
            places = zip(partition.lanes, partition.objects, strict=True)
            oldest = min(oldest, min((obj for lane, obj in places if lane == INLINE), default=oldest))
        return oldest

    async def _garbage(self, now_ms: int) -> list[ObjectInfo]:
        saved = await self._io.list(names.SNAPSHOTS)
        ripe = [info for info in saved if self._old(info, now_ms)]
        found = await self._old_slots(now_ms)
        found += await self._unreferenced(ripe)
        found += self._old_snapshots(ripe)
        found += await self._old_rollups(saved, now_ms)
        found += await self._old_heartbeats(now_ms)
        clocks = await self._io.list(names.CLOCKS)
        found += [info for info in clocks if self._old(info, now_ms)]
        return found

    async def _old_slots(self, now_ms: int) -> list[ObjectInfo]:
        """Slots below a boundary that was published long enough ago."""
        boundaries = [i for i in await self._io.list(names.BOUNDARIES) if self._old(i, now_ms)]
        if not boundaries:
            return []
        ripe = await self._guard.read(names.epoch_of_boundary(boundaries[-1].name))
        if ripe is None:
            return []
        slots = await self._io.list(names.LOG)
        return [info for info in slots if names.seq_of_commit(info.name) < ripe.seq]

    # --- lanes and segments ------------------------------------------------------------------------

    async def _seal_idle(self, now_ms: int, active: set[str]) -> int:
        """Seal lanes of agents that were silent for long, by their clock and by ours."""
        newest: dict[str, int] = {}
        for item in await self._uploads():
            newest[item.agent] = max(newest.get(item.agent, 0), item.info.modified_ms)
        now = self._runtime.monotonic()
        self._first_seen = {agent: self._first_seen.get(agent, now) for agent in newest}
        sealed = 0
        for agent, modified_ms in newest.items():
            lane = self._state.lanes.get(agent)
            if agent in active or (lane is not None and lane.sealed):
                continue
            keep = limits.SLOT_KEEP_SECONDS
            if self._guards.keep_slots and (
                now_ms - modified_ms < keep * 1000 or now - self._first_seen[agent] < keep
            ):
                continue
            await self._seal(SealLane(agent))
            sealed += 1
        return sealed

    async def _uploads(self) -> list[_Upload]:
        """What lies in lanes, and the segments."""
        lanes = [_Upload(info, *names.parse_lane(info.name)) for info in await self._io.list(names.LANES)]
        segments = [
            _Upload(info, *names.parse_segment(info.name)) for info in await self._io.list(names.SEGMENTS)
        ]
        return lanes + segments

    async def _unreferenced(self, ripe: list[ObjectInfo]) -> list[ObjectInfo]:
        """Uploads that nothing refers to, nor did when the newest ripe snapshot was taken."""
        uploads = await self._uploads()
        if not self._guards.seal_first:
            unknown = [u.info for u in uploads if self._state.lanes.get(u.agent) is None]
            return unknown + [u.info for u in _unused(self._state, uploads, past_only=False)]
        candidates = _unused(self._state, uploads)
        if not candidates:
            return []
        if self._guards.grace:
            before = await self._ripe_state(ripe)
            candidates = [] if before is None else _unused(before, candidates)
        return [upload.info for upload in candidates]

    async def _ripe_state(self, ripe: list[ObjectInfo]) -> State | None:
        if not ripe:
            return None
        return await snapshots.read(self._io, ripe[-1].name)

    # --- snapshots, roll-ups and heartbeats --------------------------------------------------------

    def _old_snapshots(self, ripe: list[ObjectInfo]) -> list[ObjectInfo]:
        """Snapshots before the one that the boundary rests on.

        A later one may be what another collector is about to let the next boundary rest on, however many
        newer ones there are. The newest ripe one tells what was referred to an hour ago.
        """
        base = self._guard.boundary.snapshot
        return [info for info in ripe[:-1] if info.name < base]

    async def _old_rollups(self, saved: list[ObjectInfo], now_ms: int) -> list[ObjectInfo]:
        """Roll-ups that the older of the two snapshots we keep makes superfluous."""
        if len(saved) < _SNAPSHOTS_KEPT:
            return []
        floor = names.seq_of_snapshot(saved[-_SNAPSHOTS_KEPT].name)
        return [
            info
            for info in await self._io.list(names.ROLLUPS)
            if names.range_of_rollup(info.name)[1] <= floor and self._old(info, now_ms)
        ]

    async def _old_heartbeats(self, now_ms: int) -> list[ObjectInfo]:
        """Heartbeats of processes that are in no group."""
        processes = {m.process for group in self._state.groups.values() for m in group.members.values()}
        return [
            info
            for info in await self._io.list(names.HEARTBEATS)
            if names.process_of_heartbeat(info.name) not in processes and self._old(info, now_ms)
        ]


class _Upload(NamedTuple):
    """An object in a lane, or a segment, which has no parts."""

    info: ObjectInfo
    agent: str
    number: int
    part: int | None = None


def _unused(state: State, uploads: list[_Upload], *, past_only: bool = True) -> list[_Upload]:
    """Those that no block refers to and no flush can refer to any more."""
    live: set[tuple[int, int]] = set()
    for partition in state.partitions():
        live.update(zip(partition.lanes, partition.objects, strict=True))
    unused = []
    for upload in uploads:
        lane = state.lanes.get(upload.agent)
        if lane is None:
            continue
        past = lane.sealed or upload.number < lane.next_number
        if upload.part is None:
            place = segment_object(lane.ordinal, upload.number)
        else:
            place = lane_object(lane.ordinal, upload.number, upload.part)
        if (past or not past_only) and place not in live:
            unused.append(upload)
    return unused
