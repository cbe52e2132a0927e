"""Transactions of an agent: several topics at once, offsets with them, blocks perhaps uploaded ahead."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from streamhouse.commits.proposal import Block, append_operation
from streamhouse.format.operations import Append, CommitOffsets, InitProducer, Transaction
from streamhouse.testing.simulation.records import Place, SentAppend, SentTransaction
from streamhouse.testing.simulation.uploads import is_certain

if TYPE_CHECKING:
    from streamhouse.commits.segments import Uploader
    from streamhouse.testing.simulation.world import Agent, World

_SPILLED = 0.4
_ABORTED = 0.1
_DAWDLES = 0.2
_DAWDLE_SECONDS_MAX = 20_000.0


class Writer:
    """A producer that writes transactions, by name or without one.

    What became of a transaction may be unknown. A producer with a name then takes it over anew, which settles
    it; one without goes on as somebody else, and the lost transaction may still appear.
    """

    def __init__(self, world: World, agent: Agent, name: str) -> None:
        self.spoilt = True  # has to be somebody new before it goes on
        self._world = world
        self._agent = agent
        self._name = name
        self._dice = world.dice
        self._identity = self._dice.getrandbits(40)
        self._epoch = 0
        self._sequences: dict[Place, int] = {}

    async def renew(self) -> None:
        """Be somebody of whom everything is known."""
        self._identity = self._dice.getrandbits(40)
        self._epoch = 0
        if self._name:
            verdict = await self._agent.commit(InitProducer(self._name, self._identity))
            self._identity, self._epoch = verdict.values
        self._sequences.clear()
        self.spoilt = False

    async def write(
        self, offsets: tuple[CommitOffsets, ...] = (), ranges: Mapping[Place, tuple[int, int]] | None = None
    ) -> bool:
        """Write a transaction with some records; whether it counted.

        Args:
            offsets: What it commits besides.
            ranges: What it consumed.
        """
        ledger, dice = self._world.ledger, self._dice
        outputs = dice.sample(list(ledger.outputs), dice.randint(1, len(ledger.outputs)))
        sent = SentTransaction(
            len(ledger.transactions), [self._send(topic) for topic in outputs], ranges or {}
        )
        ledger.transactions.append(sent)
        async with AsyncExitStack() as stack:
            uploader: Uploader | None = None
            if dice.random() < _SPILLED:
                uploader = await stack.enter_async_context(self._agent.uploaders.borrow())
                await self._spill(sent, uploader)
                if not offsets and not await dawdle(self._world):
                    return False
            if dice.random() < _ABORTED:
                return False
            await self._commit(sent, offsets, uploader)
        return True

    def _send(self, topic: int) -> SentAppend:
        dice, ledger = self._dice, self._world.ledger
        everywhere = range(ledger.outputs[topic])
        partitions = sorted(dice.sample(everywhere, dice.randint(1, len(everywhere))))
        counts = [[dice.randint(1, 3) for _ in range(dice.choice((1, 1, 2)))] for _ in partitions]
        sequences = [self._sequences.get((topic, partition), 0) for partition in partitions]
        append = ledger.send(topic, partitions, sequences, counts, self._world.loop.time())
        append.line = ("transaction", append.number)
        return append

    async def _spill(self, sent: SentTransaction, uploader: Uploader) -> None:
        """Upload the blocks, in one segment or in one per topic."""
        for append in sent.appends:
            blocks = [block for part in append.parts for block in part.blocks]
            stored = iter(await self._agent.uploaders.put(uploader, blocks))  # type: ignore[arg-type]
            append.parts = [
                msgspec.structs.replace(part, blocks=[next(stored) for _ in part.blocks])
                for part in append.parts
            ]

    async def _commit(
        self, sent: SentTransaction, offsets: tuple[CommitOffsets, ...], uploader: Uploader | None
    ) -> None:
        appends: list[Append] = []
        blocks: list[Block] = []
        for append in sent.appends:
            operation, mine = append_operation(
                append.topic, self._identity, self._epoch, append.parts, len(blocks)
            )
            appends.append(operation)
            blocks.extend(mine)
            append.doubtful = True
        self.spoilt = True
        transaction = Transaction(self._name, self._identity, self._epoch, tuple(appends), offsets)
        try:
            bases = await self._agent.commit(transaction, blocks)
        except (Exception, asyncio.CancelledError) as error:
            if is_certain(error):
                for append in sent.appends:
                    append.doubtful = False
            elif uploader is not None:
                uploader.taint()
            raise
        if uploader is not None:
            uploader.used()
        self.spoilt = False
        self._note(sent, bases)

    def _note(self, sent: SentTransaction, bases: list[int]) -> None:
        rest = iter(bases)
        for append in sent.appends:
            append.acked_at = self._world.loop.time()
            append.offsets = [next(rest) for _ in append.parts]
            for part, counts in zip(append.parts, append.counts, strict=True):
                place = append.topic, part.partition
                self._sequences[place] = self._sequences.get(place, 0) + sum(counts)


async def dawdle(world: World) -> bool:
    """Take hours, now and then, between an upload and the commit that refers to it.

    Returns:
        Whether there is still a point in going on.
    """
    if world.plan.hours and world.dice.random() < _DAWDLES:
        await asyncio.sleep(world.dice.uniform(0.0, _DAWDLE_SECONDS_MAX))
    return world.busy


async def write_transactions(world: World, agent: Agent, name: str) -> None:
    """Write transactions until something goes wrong, then go on; runs inside an agent."""
    writer = Writer(world, agent, name)
    while True:
        await asyncio.sleep(world.dice.expovariate(1.0) * world.plan.latency.put * 20)
        if not world.busy:
            return
        try:
            if writer.spoilt:
                await writer.renew()
            await writer.write()
        except Exception as error:  # noqa: BLE001 - told apart there
            world.expect(agent, error, "transaction")
