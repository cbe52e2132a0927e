"""Whoever coordinates a classic group: takes it over, then commits offsets for its members.

One that stood still may not know that it was replaced.
"""

from __future__ import annotations

import asyncio

from streamhouse.commits.verdicts import Code
from streamhouse.format.operations import (
    ClassicGroup,
    ClassicMember,
    CommitOffsets,
    KeepClassicGroup,
    OffsetEntry,
)
from streamhouse.testing.simulation.world import Agent, World

_COMMITS_MAX = 6
_MEMBER = ClassicMember("member", "", "client", "/127.0.0.1", 10_000, 60_000, (("range", b""),), b"")


async def coordinate(world: World, agent: Agent, name: str) -> None:
    """Coordinate a group again and again; runs inside an agent."""
    coordinator = _Coordinator(world, agent, name)
    while True:
        await coordinator.pause(30)
        if not world.busy:
            return
        try:
            if await coordinator.take_over():
                await coordinator.work()
        except Exception as error:  # noqa: BLE001 - told apart there
            world.expect(agent, error, "coordinator")


class _Coordinator:
    def __init__(self, world: World, agent: Agent, name: str) -> None:
        self._world = world
        self._agent = agent
        self._name = name
        self._dice = world.dice
        self._token = ""
        self._generation = 0

    async def pause(self, puts: float) -> None:
        await asyncio.sleep(self._dice.expovariate(1.0) * self._world.plan.latency.put * puts)

    async def take_over(self) -> bool:
        """Be the coordinator, under a name that was never used."""
        group = self._agent.state.groups.get(self._name)
        present = "" if group is None else group.coordinator
        self._token = self._dice.randbytes(4).hex()
        self._generation += 1
        content = ClassicGroup(self._generation, "consumer", "range", _MEMBER.id, (_MEMBER,))
        take_over = KeepClassicGroup(self._name, self._token, present, content)
        return (await self._agent.commit(take_over)).code is Code.ACCEPTED

    async def work(self) -> None:
        """Commit offsets, each beyond the last."""
        topic = next(iter(self._world.ledger.outputs))
        found = self._agent.state.groups[self._name].offsets.get((topic, 0))
        position = 0 if found is None else found.offset
        for _ in range(self._dice.randint(1, _COMMITS_MAX)):
            position += self._dice.randint(1, 5)
            entry = OffsetEntry(topic, 0, position)
            commit = CommitOffsets(self._name, _MEMBER.id, self._generation, (entry,), self._token)
            if (await self._agent.commit(commit)).code is not Code.ACCEPTED:
                return  # somebody else took over
            await self.pause(10)
