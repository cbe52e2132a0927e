"""The state as it was: folded anew, up to an earlier commit.

A snapshot at or before that commit, and the commits from there on, give it as long as they are there. The
boundary says which slots may be gone; what lies before the oldest snapshot that is kept cannot be had
again, and is refused rather than guessed.

A time is looked up among the commits by bisection. Their authors' clocks need not agree, so it means: the
state before a commit that says it is later, and so do those after it.
"""

from __future__ import annotations

import datetime as dt

from streamhouse.commits import snapshots
from streamhouse.commits.boundary import BoundaryGuard
from streamhouse.commits.fold import apply
from streamhouse.commits.io import StoreIO
from streamhouse.commits.state import State
from streamhouse.errors import HistoryGoneError, InvalidPositionError
from streamhouse.format import names
from streamhouse.format.commit import Commit, decode_commit
from streamhouse.format.container import Kind
from streamhouse.runtime import Runtime


class History:
    """Finds earlier states of a log.

    Args:
        io: The store.
        runtime: Its clock says how old a look at the boundary is.
        log_id: Whose snapshots count.
        last: The newest commit that was read.
    """

    def __init__(self, io: StoreIO, runtime: Runtime, log_id: str, last: int) -> None:
        self._io = io
        self._guard = BoundaryGuard(io, runtime)
        self._log_id = log_id
        self._last = last

    async def state_at(self, seq: int) -> State:
        """The state after a commit; 0 is the empty log.

        Raises:
            InvalidPositionError: There is no such commit yet.
            HistoryGoneError: It cannot be had any more.
        """
        if seq > self._last or seq < 0:
            raise InvalidPositionError(f"the last commit is {self._last}; there is no commit {seq}")
        await self._guard.load()
        state = await self._start(seq)
        for rolled in await snapshots.rollups_from(self._io, state.seq + 1):
            if rolled.seq <= seq:
                commit = decode_commit(rolled.index, names.commit(rolled.seq))
                apply(state, rolled.seq, commit, rolled.body_start)
        while state.seq < seq:
            await self._read_on(state, seq)
        return state

    async def seq_at(self, time: dt.datetime) -> int:
        """The last commit up to a time.

        Raises:
            InvalidPositionError: The time has no zone.
            HistoryGoneError: It is before what can be had.
        """
        if time.tzinfo is None:
            raise InvalidPositionError(
                f"{time.isoformat()} has no time zone; add tzinfo=datetime.timezone.utc or call"
                " .astimezone() to mean local time"
            )
        await self._guard.load()
        time_ms = int(time.timestamp() * 1000)
        first = low = max(names.FIRST_SEQ, self._guard.boundary.seq)
        high = self._last + 1
        while low < high:  # the first commit that is later
            middle = (low + high) // 2
            if (await self._commit(middle)).time_ms > time_ms:
                high = middle
            else:
                low = middle + 1
        if low == first > names.FIRST_SEQ:
            raise HistoryGoneError(
                f"the log as of {time.isoformat()} cannot be had any more: the oldest commit that is"
                f" kept, {first}, is later"
            )
        return low - 1

    async def _start(self, seq: int) -> State:
        """The state in the newest snapshot that is not too new."""
        for info in reversed(await self._io.list(names.SNAPSHOTS)):
            if names.seq_of_snapshot(info.name) <= seq:
                state = await snapshots.read(self._io, info.name, self._log_id)
                if state is not None:
                    return state
        if self._guard.boundary.seq > names.FIRST_SEQ:
            raise self._gone(seq)
        return State()

    async def _read_on(self, state: State, seq: int) -> None:
        following = state.seq + 1
        front = await self._io.front(names.commit(following), Kind.COMMIT)
        await self._guard.check()  # after the reading: what lies in a slot below it may be a late writer's
        if front is None or following < self._guard.boundary.seq:
            raise self._gone(seq)
        commit = decode_commit(front.index, names.commit(following))
        apply(state, following, commit, front.body_start)

    async def _commit(self, seq: int) -> Commit:
        front = await self._io.front(names.commit(seq), Kind.COMMIT)
        if front is None:
            raise self._gone(seq)
        return decode_commit(front.index, names.commit(seq))

    def _gone(self, seq: int) -> HistoryGoneError:
        return HistoryGoneError(
            f"the log as of commit {seq} cannot be had any more: commits below"
            f" {self._guard.boundary.seq} were removed, and no snapshot leads there"
        )
