"""Putting one commit into one slot, and believing in it only when that is safe."""

from __future__ import annotations

from collections.abc import Sequence

from streamhouse.commits.boundary import BoundaryGuard
from streamhouse.commits.io import StoreIO
from streamhouse.commits.tail import FellBehind, Tail
from streamhouse.format.commit import Commit, Flush, pack_commit
from streamhouse.format.container import PREAMBLE_BYTES, Buffer
from streamhouse.format.snapshot import RolledCommit
from streamhouse.runtime import Runtime

_NONCE_BYTES = 16


class Slots:
    """Creates commits."""

    def __init__(
        self,
        io: StoreIO,
        tail: Tail,
        guard: BoundaryGuard,
        runtime: Runtime,
        *,
        reread: bool = True,
    ) -> None:
        self._io = io
        self._tail = tail
        self._guard = guard
        self._runtime = runtime
        self._reread = reread

    async def create(
        self, seq: int, agent: str, flushes: Sequence[Flush], body: Sequence[Buffer] = ()
    ) -> bool:
        """Try to make these flushes commit ``seq``; whether they are.

        Raises:
            FellBehind: The slot was deleted long ago; the commit that now lies there means nothing.
            StoreError: The store refused.
        """
        state = self._tail.state
        commit = Commit(
            nonce=self._runtime.random_bytes(_NONCE_BYTES),
            agent=agent,
            time_ms=self._runtime.time_ms(),
            witness_seq=state.seq,
            witness_hash=state.hash,
            flushes=tuple(flushes),
        )
        data = pack_commit(commit, body)
        if not await self._io.create_commit(seq, commit.nonce, data, reread=self._reread):
            return False
        if not await self._io.patiently(lambda: self._guard.covers(seq)):
            raise FellBehind
        front = bytes(data[0])
        rolled = RolledCommit(seq, len(front), front[PREAMBLE_BYTES:])
        self._tail.learn(seq, commit, rolled)
        return True
