"""Cuts: one commit for the durable flushes of all live lanes.

When several agents write, racing for every slot wastes most of their requests and lets one starve.
Instead each uploads its flushes to its own lane, without asking anybody, and a *cut* commits whatever lies
there, also that of others. Whose turn it is rotates with the sequence number: rank 0 goes at once, rank r
waits r steps to see whether the log moves. A dead committer costs a step and a wrong guess a refused
request; safety rests on put-if-absent and on the numbering of flushes alone.

Flushes of others are found by asking for the next object of their lane, whose name is predictable: no
listing. Their metadata is copied into the cut, so readers need the cut only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from streamhouse.commits.contention import Contention
from streamhouse.commits.io import StoreIO
from streamhouse.commits.proposal import PendingFlush
from streamhouse.commits.slots import Slots
from streamhouse.commits.tail import Tail
from streamhouse.errors import CorruptionError, StoreError
from streamhouse.format import names
from streamhouse.format.commit import Flush, LanePart, decode_lane
from streamhouse.format.container import Kind
from streamhouse.runtime import Runtime

_STEP = 1.3  # in round trips: a little more than the one ahead in rank needs
_FLUSHES_PER_LANE_MAX = 64
_LOST_MAX = 3
_AHEAD_MAX = 32
_BLOCKS_MAX = 50_000


class Cutter:
    """Writes cuts when it is this agent's turn."""

    def __init__(
        self,
        slots: Slots,
        io: StoreIO,
        tail: Tail,
        contention: Contention,
        runtime: Runtime,
        linger_seconds: float,
    ) -> None:
        self._slots = slots
        self._io = io
        self._tail = tail
        self._contention = contention
        self._runtime = runtime
        self._linger_seconds = linger_seconds  # least time between two cuts, so that each has much
        self._lost = 0  # cuts in a row
        self._waiting: tuple[str, int] | None = None  # our first flush in want of a commit ...
        self._since = 0.0  # ... and since when

    async def turn(self, agent: str, waiting: Sequence[PendingFlush]) -> None:
        """Wait until the log moves or it is our turn, and then cut.

        Args:
            agent: Ourselves.
            waiting: Our uploaded flushes without gaps, the next one of our lane first.
        """
        await self._tail.advance()
        if waiting[0].over.is_set():
            return
        live = self._contention.live(agent)
        step = _STEP * (self._io.put_seconds + self._io.get_seconds)
        patience = self._linger_seconds + 2 * len(live) * step
        if not self._starved(agent, waiting[0].number, patience):
            rank = (live.index(agent) - self._tail.state.seq - 1) % len(live)
            if await self._moved_within(rank * step):
                return
        flushes = [flush.uploaded for flush in waiting if flush.uploaded is not None]
        others = [other for other in live if other != agent]
        for found in await asyncio.gather(*map(self._durable, others)):
            flushes.extend(found)
        seq = self._tail.state.seq + 1 + self._ahead()
        if await self._slots.create(seq, agent, _bounded(flushes)):
            self._lost = 0
        else:
            self._lost += 1
            self._contention.lost()
        await self._tail.advance()

    async def _moved_within(self, seconds: float) -> bool:
        """Wait for our turn, which comes when the log stands still for so long; whether it moved."""
        deadline = self._contention.progress_at + self._linger_seconds + seconds
        deadline = max(deadline, self._runtime.monotonic() + seconds)
        while (left := deadline - self._runtime.monotonic()) > 0:
            await self._io.sleep(min(left, max(self._io.get_seconds, self._linger_seconds)))
            if await self._tail.advance():
                return True
        return False

    def _starved(self, agent: str, number: int, patience_seconds: float) -> bool:
        """Whether the rotation passes us over: somebody writes without regard to it.

        The log that moves all the time would otherwise begin our wait anew, all the time.
        """
        now = self._runtime.monotonic()
        if self._waiting != (agent, number):
            self._waiting, self._since = (agent, number), now
        return now - self._since > patience_seconds

    def _ahead(self) -> int:
        """How many slots to leave free, when the next ones are lost again and again.

        An agent that believes itself alone has several commits on their way, so its next slots are as good
        as taken. One further on stops it, and then it knows of us. Should the gap not fill, our
        next turn does: the flushes count in the first commit that has them.
        """
        return 0 if self._lost < _LOST_MAX else min(1 << self._lost, _AHEAD_MAX)

    async def _durable(self, agent: str) -> list[Flush]:
        """Flushes in another agent's lane that no commit has taken yet."""
        lane = self._tail.state.lanes.get(agent)
        if lane is None or lane.sealed:
            return []
        found: list[Flush] = []
        for number in range(lane.next_number, lane.next_number + _FLUSHES_PER_LANE_MAX):
            try:
                flush = await self._read(agent, number)
            except (CorruptionError, StoreError):
                break  # its owner still has it in memory and will cut it
            if flush is None:
                break
            found.append(flush)
        return found

    async def _read(self, agent: str, number: int) -> Flush | None:
        name = names.lane(agent, number)
        front = await self._io.front(name, Kind.LANE)
        if front is None:
            return None
        flush = decode_lane(front, LanePart(agent, number, 0), name).flush
        if flush is None:
            raise CorruptionError(f"{name}: holds no flush")
        # Where its own body begins, part 0 could not say inside itself.
        return msgspec.structs.replace(flush, body_starts=(front.body_start, *flush.body_starts[1:]))


def _bounded(flushes: list[Flush]) -> list[Flush]:
    """As many as an index may hold; those left out come with the next cut."""
    blocks = 0
    for count, flush in enumerate(flushes):
        blocks += len(flush.blocks)
        if blocks > _BLOCKS_MAX and count:
            return flushes[:count]
    return flushes
