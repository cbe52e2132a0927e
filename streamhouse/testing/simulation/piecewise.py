"""Transactions that come bit by bit, each piece by way of whichever agent is there.

So do the clients of a gateway. They outlive the agents. A piece without a clear answer is sent again, to
another one perhaps; so is the end. A client that was told to stop, or cannot go on, takes its name over anew.
"""

from __future__ import annotations

import asyncio
from typing import Any

from streamhouse.commits.proposal import Block, append_operation
from streamhouse.commits.verdicts import Code, Verdict
from streamhouse.format.operations import (
    AddToTransaction,
    CommitOffsets,
    EndTransaction,
    InitProducer,
    OffsetEntry,
    Operation,
)
from streamhouse.testing.simulation.records import Place, SentAppend, SentTransaction
from streamhouse.testing.simulation.world import AgentDied, World

_TRIES = 5
_PIECES_MAX = 3
_ABORTED = 0.2
_LEFT_OPEN = 0.15
_EXPIRED = 0.1


class PiecewiseWriter:
    """A producer with a name, outside of the agents."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._dice = world.dice
        self._name = name
        self._group = f"of {name}"
        self._identity, self._epoch = 0, -1
        self._sequences: dict[Place, int] = {}
        self._offset = 0
        self._ended = 0

    async def work(self) -> None:
        """Write transactions for as long as the world is busy."""
        while True:
            await asyncio.sleep(self._dice.expovariate(1.0) * self._world.plan.latency.put * 20)
            if not self._world.busy:
                return
            if self._epoch < 0 and not await self._take_over():
                continue
            if not await self._write():
                self._epoch = -1

    async def _take_over(self) -> bool:
        identity = self._dice.getrandbits(40)
        verdict = await self._insist(InitProducer(self._name, identity))
        if verdict is None or verdict.code is not Code.ACCEPTED:
            return False
        self._identity, self._epoch = verdict.values
        self._ended = 0
        self._sequences.clear()
        return True

    async def _write(self) -> bool:
        """One transaction; whether the next one may follow it."""
        ledger, dice = self._world.ledger, self._dice
        offset = self._offset + 1
        sent = SentTransaction(len(ledger.transactions), [], {}, (self._group, offset))
        ledger.transactions.append(sent)
        for _ in range(dice.randint(1, _PIECES_MAX)):
            append = self._append(sent)
            operation, blocks = append_operation(append.topic, self._identity, self._epoch, append.parts)
            add = AddToTransaction(
                self._name,
                self._identity,
                self._epoch,
                (operation,),
                self._offsets(offset),
                self._ended,
            )
            verdict = await self._insist(add, blocks)
            if verdict is None or verdict.code not in {Code.ACCEPTED, Code.DUPLICATE}:
                return False  # unknown, fenced, or the store was full: what is there is given up
            self._count(append)
        if dice.random() < _LEFT_OPEN:
            return False
        if dice.random() < _EXPIRED:
            return await self._expire()
        return await self._end(sent, offset, commit=dice.random() >= _ABORTED)

    def _append(self, sent: SentTransaction) -> SentAppend:
        dice, ledger = self._dice, self._world.ledger
        topic = dice.choice(list(ledger.outputs))
        everywhere = range(ledger.outputs[topic])
        partitions = sorted(dice.sample(everywhere, dice.randint(1, len(everywhere))))
        counts = [[dice.randint(1, 3) for _ in range(dice.choice((1, 1, 2)))] for _ in partitions]
        sequences = [self._sequences.get((topic, partition), 0) for partition in partitions]
        append = ledger.send(topic, partitions, sequences, counts, self._world.loop.time())
        append.line = ("piece", append.number)
        append.sent_at = float("inf")  # its place in the log is that of the end of the transaction
        sent.appends.append(append)
        return append

    def _count(self, append: SentAppend) -> None:
        for part, counts in zip(append.parts, append.counts, strict=True):
            place = append.topic, part.partition
            self._sequences[place] = self._sequences.get(place, 0) + sum(counts)

    def _offsets(self, offset: int) -> tuple[CommitOffsets, ...]:
        """How far this writer is, to be compared with what is there in the end."""
        topic = next(iter(self._world.ledger.outputs))
        return (CommitOffsets(self._group, "", 0, (OffsetEntry(topic, 0, offset),)),)

    async def _end(self, sent: SentTransaction, offset: int, *, commit: bool) -> bool:
        now = self._world.loop.time()
        for append in sent.appends:
            append.doubtful = commit
            append.sent_at = now
        end = EndTransaction(self._name, self._identity, self._epoch, self._ended, commit)
        verdict = await self._insist(end)
        if verdict is None or verdict.code not in {Code.ACCEPTED, Code.STALE}:
            return False
        self._ended += 1  # stale: an attempt that got no answer had its effect
        if commit:
            self._offset = offset
            for append in sent.appends:
                append.acked_at = self._world.loop.time()
        return True

    async def _expire(self) -> bool:
        """Somebody finds that it takes too long, and ends it for everybody to hear."""
        end = EndTransaction(self._name, self._identity, self._epoch, self._ended, commit=False, fence=True)
        await self._insist(end)
        return False

    async def _insist(self, operation: Operation, blocks: list[Block] | tuple[()] = ()) -> Verdict | None:
        """Propose it until there is an answer; ``None``: nobody gave one."""
        for _ in range(_TRIES):
            if not self._world.agents:
                return None
            agent = self._dice.choice(self._world.agents)
            try:
                answer: Any = await agent.propose(operation, blocks)
            except AgentDied:
                continue
            except Exception as error:  # noqa: BLE001 - told apart there
                self._world.expect(agent, error, f"piece of {self._name}")
                continue
            return answer if isinstance(answer, Verdict) else None
        return None


async def write_piecewise(world: World, name: str) -> None:
    """Keep such a writer at work."""
    await PiecewiseWriter(world, name).work()
