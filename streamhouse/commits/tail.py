"""The reading half of the engine: fold the log forward, commit by commit.

One coroutine at a time reads on from where the state is; whoever needs the log up to some slot waits for
it. Commits that this process wrote are folded from memory, those of others are fetched, one at first
and then more at once while there are more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from streamhouse import limits
from streamhouse.commits.boundary import BoundaryGuard
from streamhouse.commits.fold import ALL_GUARDS, Applied, Guards, apply
from streamhouse.commits.io import StoreIO
from streamhouse.commits.state import State
from streamhouse.errors import StateDivergedError
from streamhouse.format import names
from streamhouse.format.commit import Commit, decode_commit
from streamhouse.format.container import Kind
from streamhouse.format.snapshot import RolledCommit

_WINDOW_MAX = 32
_RECENT_BYTES_MAX = 32 * limits.MIB
# A look at the boundary this old is renewed before what was read is believed: slots that were there may
# be gone, and what lies in their place may be the work of a writer that slept.
_STALE_SECONDS = limits.SLOT_KEEP_SECONDS / 4

Listener = Callable[[Applied, Commit], None]


_Found = tuple[Commit, RolledCommit] | None


class FellBehind(Exception):  # noqa: N818 - a signal to reload, not an error
    """The next commit was deleted long ago: go on from a snapshot."""


class Tail:
    """The state, and the way to move it forward."""

    def __init__(self, io: StoreIO, guard: BoundaryGuard, state: State, guards: Guards = ALL_GUARDS) -> None:
        self.state = state
        self.lock = threading.Lock()  # held while the state changes, for readers on other threads
        self.listeners: list[Listener] = []
        self.recent: dict[int, RolledCommit] = {}  # the last commits, for roll-ups
        self._io = io
        self._guard = guard
        self._guards = guards
        self._own: dict[int, tuple[Commit, RolledCommit]] = {}
        self._recent_bytes = 0
        self._reading = asyncio.Lock()

    def learn(self, seq: int, commit: Commit, rolled: RolledCommit) -> None:
        """Remember a commit of our own that is in slot ``seq``, so that it need not be read."""
        if seq > self.state.seq:  # else somebody has read it already
            self._own[seq] = (commit, rolled)

    async def restart(
        self, state: State, rolled: Sequence[RolledCommit], reloaded: Callable[[], None]
    ) -> None:
        """Go on from another, newer state and the commits that follow it.

        Args:
            state: Loaded from a snapshot.
            rolled: Consecutive commits after it, as far as roll-ups hold them.
            reloaded: Called between the two.
        """
        async with self._reading:  # whoever reads on would fold onto the wrong state
            if state.seq > self.state.seq:
                with self.lock:
                    self.state.replace(state)
                self._own = {seq: own for seq, own in self._own.items() if seq > state.seq}
                reloaded()
            for commit in rolled:
                if commit.seq == self.state.seq + 1:
                    self._replay(commit)

    async def advance(self, upto: int | None = None, *, live: bool = True) -> int:
        """Fold what the log has beyond the state, to its end or up to a slot; how many that were.

        Args:
            upto: The last slot of interest.
            live: A commit whose author saw another state than ours is news, and one of us is wrong. In
                a log that is being opened it is history: the fold has passed it over.

        Raises:
            FellBehind: The next slot is below the boundary.
            CorruptionError: A commit cannot be read.
            StateDivergedError: Another process computes another state.
        """
        async with self._reading:
            before = self.state.seq
            window = 1
            while upto is None or self.state.seq < upto:
                first = self.state.seq + 1
                own = self._own.get(first)
                if own is not None:
                    self._fold(first, *own, live=live)
                    continue
                if window == 1:  # most looks find nothing: no task for those
                    found: Sequence[_Found | BaseException] = [await self._read(first)]
                else:
                    reads = map(self._read, range(first, first + window))
                    found = await asyncio.gather(*reads, return_exceptions=True)
                # After the reading, not before: hours may have passed in between.
                await self._check_boundary()
                for seq, item in enumerate(found, first):
                    if item is None:
                        break
                    if isinstance(item, BaseException):
                        raise item  # now that the sound ones before it are folded
                    self._fold(seq, *item, live=live)
                if self.state.seq + 1 < first + window:
                    break
                window = min(window * 2, _WINDOW_MAX)
            return self.state.seq - before

    def _replay(self, rolled: RolledCommit) -> None:
        commit = decode_commit(rolled.index, names.commit(rolled.seq))
        self._fold(rolled.seq, commit, rolled, live=False)

    async def _read(self, seq: int) -> _Found:
        name = names.commit(seq)
        front = await self._io.front(name, Kind.COMMIT)
        if front is None:
            return None
        commit = decode_commit(front.index, name)
        return commit, RolledCommit(seq, front.body_start, front.index)

    async def _check_boundary(self) -> None:
        """Make sure that what was found in the next slot is what was first written there."""
        if self._guard.age() >= _STALE_SECONDS:
            await self._guard.check()
        if self._guard.boundary.seq > self.state.seq + 1:
            raise FellBehind

    def _fold(self, seq: int, commit: Commit, rolled: RolledCommit, *, live: bool = True) -> None:
        with self.lock:
            applied = apply(self.state, seq, commit, rolled.body_start, self._guards)
        self._own.pop(seq, None)
        self._keep(rolled)
        for listener in self.listeners:
            listener(applied, commit)
        if applied.diverged and live:
            raise StateDivergedError(
                f"commit {seq} by agent {commit.agent} was written on another state than ours "
                f"(state hash at commit {commit.witness_seq} differs); this process stops writing. "
                "Different versions of StreamHouse on one log are the likeliest cause."
            )

    def _keep(self, rolled: RolledCommit) -> None:
        self.recent[rolled.seq] = rolled
        self._recent_bytes += len(rolled.index)
        while len(self.recent) > limits.SNAPSHOT_COMMITS or self._recent_bytes > _RECENT_BYTES_MAX:
            oldest = self.recent.pop(next(iter(self.recent)))
            self._recent_bytes -= len(oldest.index)
