"""The writing half of the engine: gather proposals into flushes and get each into the log, once.

Whatever is pending when a place in the pipeline is free becomes one flush (group commit). A flush goes the
direct way, as a commit of its own with its blocks inline or, when it is large, with its blocks
uploaded to the lane first. When races for slots are being lost, it goes by way of a cut (see ``cuts``).

A proposal is answered when its commit is durable and the fold has reached it. Until then the flush is tried
again for as long as the engine lives; a waiter that ran out of patience has been told that the outcome is
unknown. When the store refuses for good (disk full, access denied), everything under way is failed and
the agent goes on under a new name, so that a late write under the old one can have no effect on what
follows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from streamhouse.commits.contention import Contention
from streamhouse.commits.cuts import Cutter
from streamhouse.commits.fold import Applied, Verdict
from streamhouse.commits.io import InDoubt, StoreIO
from streamhouse.commits.proposal import PendingFlush, Proposal
from streamhouse.commits.slots import Slots
from streamhouse.commits.tail import FellBehind, Tail
from streamhouse.errors import (
    DeliveryTimeoutError,
    StateDivergedError,
    StoreDurabilityError,
    StoreError,
    UnsupportedFormatError,
)
from streamhouse.format import names
from streamhouse.format.commit import Commit
from streamhouse.runtime import Runtime

_FLUSH_BLOCKS_MAX = 50_000  # bounds the index of a commit
_FLUSH_BYTES_MAX = 64 << 20
_AGENT_BYTES = 10
_LOCK_SECONDS = 0.25  # after that the lock's holder is taken for stopped


class CommitterOptions(msgspec.Struct, frozen=True):
    """How eagerly to write.

    Attributes:
        linger_seconds: Least time between the starts of two commits, unless urged or full.
        inline_bytes_max: Above this, blocks go to the lane first.
        pipeline_depth: Flushes under way at once.
        delivery_timeout_seconds: When waiters are told that the outcome is unknown.
        lanes: Write by way of lanes and cuts while others contend (remote stores).
    """

    linger_seconds: float
    inline_bytes_max: int
    pipeline_depth: int
    delivery_timeout_seconds: float
    lanes: bool


class Committer:
    """Brings proposals into the log in the order in which they came."""

    def __init__(
        self,
        io: StoreIO,
        tail: Tail,
        slots: Slots,
        runtime: Runtime,
        options: CommitterOptions,
        recover: Callable[[], Awaitable[None]],
        give_up: Callable[[Exception], None],
    ) -> None:
        self.contention = Contention(runtime)
        self.agent = runtime.random_bytes(_AGENT_BYTES).hex()
        self._io = io
        self._tail = tail
        self._slots = slots
        self._runtime = runtime
        self._options = options
        self._recover = recover  # reload the state after the log moved on without us
        self._give_up = give_up  # stop for good
        self._cutter = Cutter(slots, io, tail, self.contention, runtime, options.linger_seconds)
        self._next_number = 0
        self._pending: deque[Proposal] = deque()
        self._pending_bytes = 0
        self._flushes: dict[int, PendingFlush] = {}  # under way, in order of number
        self._placing: set[int] = set()  # slots that our pipelined commits aim at
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        self._room = asyncio.Event()
        self._last_start = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._cutting: asyncio.Task[None] | None = None
        self._closing = False
        tail.listeners.append(self._observe)
        tail.listeners.append(self.contention.observe)

    def submit(self, proposal: Proposal) -> None:
        """Queue a proposal; its future resolves when the outcome is known."""
        self._pending.append(proposal)
        self._pending_bytes += proposal.size
        self._work.set()
        if self._pending_bytes >= self._options.inline_bytes_max:
            self._hurry.set()

    def urge(self) -> None:
        """Somebody waits: do not linger."""
        self._hurry.set()

    @property
    def busy(self) -> bool:
        """Whether anything is pending or under way."""
        return bool(self._pending or self._flushes)

    async def run(self) -> None:
        """Write until told to finish."""
        while True:
            if not self._pending:
                if self._closing:
                    return
                self._work.clear()
                self._hurry.clear()
                await self._work.wait()
                continue
            await self._linger()
            while len(self._flushes) >= self._options.pipeline_depth:
                self._room.clear()
                await self._room.wait()
            if self._pending:
                flush = self._gather()
                if self._options.pipeline_depth == 1:
                    await self._deliver(flush)
                else:
                    self._spawn(self._deliver(flush))

    async def watch(self) -> None:
        """Tell waiters that ran out of patience, as long as the engine lives."""
        while True:
            await self._io.sleep(min(1.0, self._options.delivery_timeout_seconds / 4))
            now = self._runtime.monotonic()
            for flush in self._flushes.values():
                self._expire(flush.proposals, now)
            self._expire(self._pending, now)

    def finish(self) -> None:
        """Take no more work, write what is there without lingering, then end :meth:`run`."""
        self._closing = True
        self._work.set()
        self._hurry.set()

    def reloaded(self) -> None:
        """Note that the state was replaced by a later one, without the commits in between.

        A flush that counted in one of those is over, and nobody knows with what verdicts. The others go on
        as they are: under their name and number they count once, even if an old attempt lands late.
        """
        lane = self._tail.state.lanes.get(self.agent)
        counted = 0 if lane is None else lane.next_number
        for number in [number for number in self._flushes if number < counted]:
            self._flushes[number].fail(
                DeliveryTimeoutError(
                    "this process was away so long that the log was truncated meanwhile; the "
                    "outcome is unknown, the records may be in the log"
                )
            )
            self._over(number, ())
        if counted < min(self._flushes, default=self._next_number):
            # Going on would put commits into the log for ever, none of which can count.
            self._give_up(
                StateDivergedError(
                    f"flush {counted} of this process (agent {self.agent}) was applied and is not in the "
                    "log; this process stops writing"
                )
            )
        if lane is not None and lane.sealed:
            self._requeue()

    def abandon(self, error: BaseException) -> None:
        """Fail everything pending and under way, and go on as a new agent.

        A store error promises that nothing was written. What others may have seen, or may yet see, is
        therefore reported as unknown.
        """
        if isinstance(error, InDoubt):
            error = error.__cause__ or error
        flushes = list(self._flushes.values())
        pending = list(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._rename()
        for flush in flushes:
            flush.fail(_unknown(error) if flush.exposed else error)
        for proposal in pending:
            proposal.fail(error)

    # --- gathering ---------------------------------------------------------------------------------

    async def _linger(self) -> None:
        wait = self._last_start + self._options.linger_seconds - self._runtime.monotonic()
        if wait > 0 and not self._closing and not self._hurry.is_set():
            try:
                async with asyncio.timeout(wait):
                    await self._hurry.wait()
            except TimeoutError:
                pass
        self._hurry.clear()
        self._last_start = self._runtime.monotonic()

    def _gather(self) -> PendingFlush:
        proposals = [self._pending.popleft()]
        size = proposals[0].size
        blocks = len(proposals[0].blocks)
        while self._pending:
            size += self._pending[0].size
            blocks += len(self._pending[0].blocks)
            if size > _FLUSH_BYTES_MAX or blocks > _FLUSH_BLOCKS_MAX:
                break
            proposals.append(self._pending.popleft())
        flush = PendingFlush(self.agent, self._next_number, proposals)
        self._pending_bytes -= flush.size
        self._next_number += 1
        self._flushes[flush.number] = flush
        return flush

    def _expire(self, proposals: list[Proposal] | deque[Proposal], now: float) -> None:
        for proposal in proposals:
            if proposal.deadline <= now:
                proposal.fail(
                    DeliveryTimeoutError(
                        "the store gave no answer within "
                        f"{self._options.delivery_timeout_seconds:g} s (delivery_timeout_seconds); "
                        "the outcome is unknown, the records may still appear in the log"
                    )
                )

    # --- delivering --------------------------------------------------------------------------------

    async def _deliver(self, flush: PendingFlush) -> None:
        try:
            if flush.size > self._options.inline_bytes_max:
                await self._upload(flush)
            while self._owns(flush) and not flush.applied:
                try:
                    if self._by_lane():
                        await self._upload(flush)
                        await self._await_cut(flush)
                    else:
                        await self._place(flush)
                except FellBehind:
                    await self._recover()
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiters must hear of it
            if self._owns(flush):  # else its proposals were failed before, or go another way
                self._failed(error)
        finally:
            flush.over.set()
            self._room.set()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StateDivergedError | UnsupportedFormatError):
            self._give_up(error)
        else:
            self.abandon(error)

    def _owns(self, flush: PendingFlush) -> bool:
        return flush.agent == self.agent

    def _by_lane(self) -> bool:
        return self._options.lanes and (
            self.contention.active(self.agent) or any(flush.waits_for_cut for flush in self._flushes.values())
        )

    async def _upload(self, flush: PendingFlush) -> None:
        """Make the flush durable in our lane; its part 0 last, since that is what others look for."""
        if flush.uploaded is not None:
            return
        uploaded, objects = flush.lane_objects()
        for part in [*range(1, len(objects)), 0]:
            name = names.lane(flush.agent, flush.number, part)
            if part == 0:
                flush.exposed |= self._options.lanes
            await self._io.patiently(partial(self._io.put, name, objects[part]))
        flush.uploaded = uploaded

    async def _place(self, flush: PendingFlush) -> None:
        """One attempt at a commit of our own."""
        with self._io.store.commit_lock(_LOCK_SECONDS) as locked:
            if locked and self.contention.active(self.agent):  # who is alone knows the next slot
                await self._advance()
            if flush.applied or not self._owns(flush):
                return
            seq = max(self._tail.state.seq, *self._placing, 0) + 1
            self._placing.add(seq)
            try:
                if await self._create(seq, flush):
                    await self._predecessor(flush)
                    await self._advance(seq)
                else:
                    self.contention.lost()
                    await self._advance()
            finally:
                self._placing.discard(seq)

    async def _create(self, seq: int, flush: PendingFlush) -> bool:
        inner, body = flush.inline() if flush.uploaded is None else (flush.uploaded, ())
        exposed, flush.exposed = flush.exposed, True
        ours = False
        try:
            ours = await self._slots.create(seq, flush.agent, [inner], body)
        except StoreDurabilityError:
            raise
        except StoreError:
            flush.exposed = exposed
            raise
        if not ours:
            flush.exposed = exposed  # the slot is another's, for good
        return ours

    async def _predecessor(self, flush: PendingFlush) -> None:
        """Wait for the flush before, without which ours has no effect."""
        before = self._flushes.get(flush.number - 1)
        if before is not None and self._owns(flush):
            await before.over.wait()

    async def _await_cut(self, flush: PendingFlush) -> None:
        flush.waits_for_cut = True
        self._see_to_cuts()
        await flush.over.wait()

    def _see_to_cuts(self) -> None:
        if any(flush.waits_for_cut for flush in self._flushes.values()) and (
            self._cutting is None or self._cutting.done()
        ):
            self._cutting = self._spawn(self._cut())

    async def _cut(self) -> None:
        """Take turns until none of our flushes waits for a cut."""
        while waiting := self._next_uploaded():
            agent = self.agent
            try:
                try:
                    await self._io.patiently(partial(self._cutter.turn, agent, waiting))
                except FellBehind:
                    await self._recover()
            except Exception as error:  # noqa: BLE001 - likewise
                if agent == self.agent:
                    self._failed(error)

    def _next_uploaded(self) -> list[PendingFlush]:
        waiting: list[PendingFlush] = []
        for flush in self._flushes.values():
            if flush.uploaded is None:
                break
            waiting.append(flush)
        return waiting

    async def _advance(self, upto: int | None = None) -> None:
        await self._io.patiently(lambda: self._tail.advance(upto))

    # --- what the fold says ------------------------------------------------------------------------

    def _observe(self, applied: Applied, _commit: Commit) -> None:
        for agent, number, verdicts in applied.verdicts:
            if agent != self.agent:
                continue
            flush = self._flushes.get(number)
            if flush is not None:
                self._over(number, verdicts)
                for proposal, verdict in zip(flush.proposals, verdicts, strict=True):
                    proposal.resolve(verdict)
        lane = self._tail.state.lanes.get(self.agent)
        if lane is not None and lane.sealed:
            self._requeue()

    def _over(self, number: int, verdicts: tuple[Verdict, ...]) -> None:
        flush = self._flushes.pop(number)
        flush.verdicts = verdicts
        flush.over.set()
        self._room.set()
        self._see_to_cuts()  # the next one may have waited for this one, on its way without a cut

    def _requeue(self) -> None:
        """Our lane was sealed while we slept: nothing under way counts, so propose it again."""
        proposals = [p for flush in self._flushes.values() for p in flush.proposals]
        self._pending.extendleft(reversed(proposals))
        self._pending_bytes = sum(p.size for p in self._pending)
        self._rename()
        self._work.set()

    def _rename(self) -> None:
        old = list(self._flushes.values())
        self._flushes.clear()
        self.agent = self._runtime.random_bytes(_AGENT_BYTES).hex()
        self._next_number = 0
        for flush in old:
            flush.over.set()
        self._room.set()

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self) -> None:
        """Stop whatever is under way, wherever it is."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _unknown(error: BaseException) -> BaseException:
    if isinstance(error, DeliveryTimeoutError | StoreDurabilityError):
        return error  # these say so
    unknown = DeliveryTimeoutError(f"{error}; the outcome is unknown, the records may still appear")
    unknown.__cause__ = error
    return unknown
