"""Compaction of an agent: blocks are put together, or runs of records dropped as compaction by key does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from streamhouse.commits.fold import Code
from streamhouse.commits.proposal import StoredBlock
from streamhouse.commits.state import BlockRef, PartitionState
from streamhouse.format.operations import ClaimCompaction, Cleaned, Replace
from streamhouse.testing.simulation.records import Place, Run, merged_block, read_runs
from streamhouse.testing.simulation.transactions import dawdle
from streamhouse.testing.simulation.uploads import is_certain

if TYPE_CHECKING:
    from streamhouse.testing.simulation.world import Agent, World

_BLOCKS_MAX = 12
_CLEANS = 0.4
_DROPS = 0.4
_CLAIMS = 0.3


async def rewrite(world: World, agent: Agent) -> None:
    """Rewrite some blocks of a partition; runs inside the agent."""
    try:
        await _Rewriting(world, agent).all()
    except Exception as error:  # noqa: BLE001 - told apart there
        world.expect(agent, error, "rewriting")


class _Rewriting:
    def __init__(self, world: World, agent: Agent) -> None:
        self._world = world
        self._agent = agent
        self._dice = world.dice

    async def all(self) -> None:
        dice, state = self._dice, self._agent.state
        if dice.random() < 0.5:
            await self._agent.engine.refresh()
        places = [
            ((topic.id, number), partition)
            for topic in state.topics.values()
            for number, partition in topic.partitions.items()
            if len(partition.base_offsets) > 1
        ]
        if not places:
            return
        place, partition = dice.choice(places)
        if dice.random() < _CLAIMS:
            claim = ClaimCompaction(*place, self._agent.name, dice.choice((0, state.seq)))
            verdict = await self._agent.commit(claim)
            if verdict.code is not Code.ACCEPTED:
                return
        await self._rewrite(place, partition)
        if partition.claim is not None and partition.claim[0] == self._agent.name:
            await self._agent.commit(Cleaned(*place, self._agent.name, 0))

    async def _rewrite(self, place: Place, partition: PartitionState) -> None:
        dice = self._dice
        total = len(partition.base_offsets)
        if not total:
            return
        first = dice.randrange(total)
        span = range(first, min(total, first + dice.randint(1, _BLOCKS_MAX)))
        refs = [self._agent.state.block_ref(partition, index) for index in span]
        sources = partition.fingerprint(span)
        runs = await self._read(refs)
        if runs is None:
            return
        kept = runs
        if dice.random() < _CLEANS:
            last = runs[-1]
            kept = [run for run in runs if run is last or dice.random() >= _DROPS]
        await self._replace(place, refs, sources, runs, kept)

    async def _read(self, refs: Sequence[BlockRef]) -> list[Run] | None:
        runs: list[Run] = []
        for ref in refs:
            data = await self._agent.io.get(ref.object_name, ref.position, ref.position + ref.length)
            true = self._world.bucket.objects.get(ref.object_name, b"")
            if data is None or data != true[ref.position : ref.position + ref.length]:
                return None  # gone meanwhile; or flipped on the way, which a checksum tells
            found = read_runs(data, ref)
            if found is None:
                return None  # the checks report it
            runs += found
        return runs

    async def _replace(
        self, place: Place, refs: Sequence[BlockRef], sources: int, runs: list[Run], kept: list[Run]
    ) -> None:
        ledger, dice = self._world.ledger, self._dice
        cuts = sorted({0, len(kept), *[dice.randrange(len(kept)) for _ in range(dice.randint(0, 2))]})
        pieces = [kept[start:stop] for start, stop in pairwise(cuts)]
        bases = tuple(piece[0].offset for piece in pieces)
        operation = Replace(*place, refs[0].base_offset, refs[-1].next_offset, sources, bases, 0)
        blocks = [merged_block(piece) for piece in pieces]
        async with self._agent.uploaders.borrow() as uploader:
            stored: list[StoredBlock] = await self._agent.uploaders.put(uploader, blocks)
            if not await dawdle(self._world):
                return
            dropped = {run.stamp for run in runs} - {run.stamp for run in kept}
            segment = stored[0].segment
            ledger.rewrites[operation, f"{segment.agent}/{segment.number}"] = dropped
            ledger.cleanable |= dropped
            ledger.thinned.add(place)
            try:
                verdict = await self._agent.commit(operation, stored)
            except (Exception, asyncio.CancelledError) as error:
                if not is_certain(error):
                    uploader.taint()
                raise
            if verdict.code is Code.ACCEPTED:
                uploader.used()
