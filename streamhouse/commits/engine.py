"""The commit engine: everything of the log that runs on one event loop, put together.

It has no threads and does no I/O of its own, so the simulator runs this very class on a loop with virtual
time. :class:`~streamhouse.commits.log.CommitLog` gives it a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from streamhouse import limits
from streamhouse.commits import snapshots
from streamhouse.commits.boundary import BoundaryGuard
from streamhouse.commits.collector import CollectGuards, Collector, CollectReport
from streamhouse.commits.committer import Committer, CommitterOptions
from streamhouse.commits.fold import ALL_GUARDS, Applied, Guards
from streamhouse.commits.io import StoreIO
from streamhouse.commits.proposal import Proposal
from streamhouse.commits.slots import Slots
from streamhouse.commits.state import State
from streamhouse.commits.tail import FellBehind, Tail
from streamhouse.errors import (
    CorruptionError,
    DeliveryError,
    DeliveryTimeoutError,
    StateDivergedError,
    StoreError,
    UnsupportedFormatError,
)
from streamhouse.format.commit import Commit
from streamhouse.format.operations import Operation, Snapshotted
from streamhouse.runtime import Runtime

_LATE = 1.1  # anybody saves the state when the one whose turn it was has not
_COLLECT_SECONDS = 600.0
_UNIQUE_BYTES = 4


class EngineOptions(msgspec.Struct, frozen=True):
    """How the engine behaves; see :class:`~streamhouse.config.Settings` for the meanings.

    ``boundary_step_commits`` is by how much the truncation boundary moves at least: an advance leaves an
    object behind for ever.
    """

    committer: CommitterOptions
    poll_seconds_min: float
    poll_seconds_max: float
    snapshot_commits: int
    boundary_step_commits: int = limits.BOUNDARY_STEP_COMMITS


class EngineGuards(msgspec.Struct, frozen=True):
    """Every safety rule that the simulator can switch off."""

    fold: Guards = ALL_GUARDS
    collect: CollectGuards = CollectGuards()
    reread: bool = True
    boundary: bool = True


class Engine:
    """One agent on one log."""

    def __init__(
        self,
        io: StoreIO,
        runtime: Runtime,
        log_id: str,
        options: EngineOptions,
        guards: EngineGuards = EngineGuards(),  # noqa: B008 - frozen
    ) -> None:
        self.state = State()
        self.failure: Exception | None = None  # why this process can go on no more
        self._io = io
        self._runtime = runtime
        self._log_id = log_id
        self._options = options
        self.guard = BoundaryGuard(io, runtime, enabled=guards.boundary)
        self.tail = Tail(io, self.guard, self.state, guards.fold)
        slots = Slots(io, self.tail, self.guard, runtime, reread=guards.reread)
        self.committer = Committer(
            io, self.tail, slots, runtime, options.committer, self._recover, self._fail
        )
        self._collector = Collector(
            io, self.guard, self.state, runtime, self.propose, options.boundary_step_commits, guards.collect
        )
        self._recovering = asyncio.Lock()
        self._chores = asyncio.Event()
        self._save_due = False
        self._rollup_due = 0
        self._collected_at = float("-inf")
        self._followers = 0
        self._followed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.tail.listeners.append(self._observe)

    # --- life --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Load the state and start working."""
        await self._load()
        self._collected_at = self._runtime.monotonic()
        for work in (self.committer.run, self.committer.watch, self._follow, self._do_chores):
            self._tasks.append(asyncio.ensure_future(self._guarded(work)))
        if self.state.seq >= snapshots.snapshot_due(self.state, self._options.snapshot_commits):
            self._save_due = True
            self._chores.set()

    async def close(self, timeout_seconds: float) -> bool:
        """Write what is pending, then stop; whether all of it was written."""
        self.committer.finish()
        done, _ = await asyncio.wait({self._tasks[0]}, timeout=timeout_seconds)
        deadline = self._runtime.monotonic() + timeout_seconds
        while done and self.committer.busy and self._runtime.monotonic() < deadline:
            await self._io.sleep(min(0.005, timeout_seconds))
        clean = not self.committer.busy
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.committer.cancel()
        self.committer.abandon(
            DeliveryTimeoutError(
                f"the log was closed before the store answered (waited {timeout_seconds:g} s); "
                "the outcome is unknown, the records may still appear"
            )
        )
        return clean

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a task that dies silently would hang its waiters
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Stop for good: nothing can be written or followed any more."""
        if self.failure is None:
            self.failure = error
        self.committer.abandon(error)

    # --- proposals ---------------------------------------------------------------------------------

    def submit(self, proposal: Proposal) -> None:
        """Queue a proposal."""
        if self.failure is not None:
            proposal.fail(self.failure)
        else:
            self.committer.submit(proposal)

    async def propose(self, operation: Operation) -> Any:
        """Propose an operation without blocks and await its verdict."""
        timeout = self._options.committer.delivery_timeout_seconds
        proposal = Proposal(operation, (), self._runtime.monotonic() + timeout)
        self.submit(proposal)
        self.committer.urge()
        return await asyncio.wrap_future(proposal.future)

    # --- reading -----------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read the log up to its present end."""
        if self.failure is not None:
            raise self.failure
        try:
            await self.tail.advance()
        except FellBehind:
            await self._recover()
            if self.failure is not None:
                raise self.failure from None
        except (StateDivergedError, UnsupportedFormatError) as error:
            self._fail(error)
            raise

    def follow(self, change: int) -> None:
        """Count the readers for whom the tail is followed."""
        self._followers += change
        if self._followers:
            self._followed.set()
        else:
            self._followed.clear()

    async def _follow(self) -> None:
        """Ask for the next commit, often while there is news and ever less often while there is none."""
        pause = self._options.poll_seconds_min
        while True:
            await self._followed.wait()
            seq = self.state.seq
            try:
                await self.refresh()
            except (StoreError, CorruptionError):
                pause = self._options.poll_seconds_max  # readers that wait ask, and are told
            if self.state.seq != seq:
                pause = self._options.poll_seconds_min
            await self._io.sleep(pause)
            pause = min(pause * 1.5, self._options.poll_seconds_max)

    async def _load(self) -> None:
        await self.guard.load()
        state = await snapshots.load(self._io, self.guard, self._log_id)
        rolled = await snapshots.rollups_from(self._io, state.seq + 1)
        await self.tail.restart(state, rolled, self.committer.reloaded)
        try:
            await self.tail.advance(live=False)
        except FellBehind:
            # Slots went away between the look at the boundary and the reading: once more.
            await self._load()

    async def _recover(self) -> None:
        """The log went on without us until our next commit was deleted: start from a snapshot."""
        async with self._recovering:
            if self.state.seq + 1 < self.guard.boundary.seq:
                await self._io.patiently(self._load)

    # --- chores ------------------------------------------------------------------------------------

    def _observe(self, applied: Applied, commit: Commit) -> None:
        if commit.agent != self.committer.agent:
            return  # the author of the commit at which something falls due does it
        interval = self._options.snapshot_commits
        due = snapshots.snapshot_due(self.state, interval)
        late = self.state.snapshot_seq + (due - self.state.snapshot_seq) * _LATE
        if applied.seq == due or applied.seq >= late:
            self._save_due = True
            self._chores.set()
        if applied.seq % min(interval, limits.SNAPSHOT_COMMITS) == 0:
            self._rollup_due = applied.seq
            self._chores.set()

    async def _do_chores(self) -> None:
        while True:
            await self._chores.wait()
            self._chores.clear()
            try:
                if self._rollup_due:
                    await self._save_rollup()
                if self._save_due:
                    await self.save_snapshot()
                    if self._runtime.monotonic() - self._collected_at > _COLLECT_SECONDS:
                        await self.collect()
            except (StoreError, DeliveryError, CorruptionError):
                pass  # it falls due again; writers and readers meet the same trouble and tell of it

    async def save_snapshot(self) -> None:
        """Save the state, and tell the others that it was saved."""
        self._save_due = False
        image = snapshots.image_of(self.state, self._log_id)
        unique = self._runtime.random_bytes(_UNIQUE_BYTES).hex()
        await snapshots.save(self._io, image, unique)
        await self.propose(Snapshotted(image.seq, image.hashes[-1]))

    async def _save_rollup(self) -> None:
        last, self._rollup_due = self._rollup_due, 0
        count = min(self._options.snapshot_commits, limits.SNAPSHOT_COMMITS)
        wanted = range(last - count + 1, last + 1)
        recent = self.tail.recent
        if all(seq in recent for seq in wanted):
            await snapshots.save_rollup(self._io, [recent[seq] for seq in wanted])

    async def collect(self) -> CollectReport:
        """Remove what nothing refers to any more."""
        self._collected_at = self._runtime.monotonic()
        await self.refresh()
        active = set(self.committer.contention.live(self.committer.agent))
        return await self._collector.collect(self.committer.agent, active)
