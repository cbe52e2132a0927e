"""Whoever speaks for others: takes a classic group over, or an entry, then commits offsets for its clients.

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
    SetEntry,
    Standing,
)
from streamhouse.testing.simulation.world import Agent, World

_COMMITS_MAX = 6
_NEVER_SET = 0
_MEMBER = ClassicMember("member", "", "client", "/127.0.0.1", 10_000, 60_000, (("range", b""),), b"")


async def coordinate(world: World, agent: Agent, name: str) -> None:
    """Coordinate a group again and again; runs inside an agent."""
    await _speak(_Coordinator(world, agent, name))


async def stand(world: World, agent: Agent, name: str) -> None:
    """Speak for clients that are no members of a group, again and again; likewise."""
    await _speak(_Gateway(world, agent, name))


async def _speak(speaker: _Speaker) -> None:
    while True:
        await speaker.pause(30)
        if not speaker.world.busy:
            return
        try:
            if await speaker.take_over():
                await speaker.work()
        except Exception as error:  # noqa: BLE001 - told apart there
            speaker.world.expect(speaker.agent, error, "coordinator")


class _Speaker:
    def __init__(self, world: World, agent: Agent, name: str) -> None:
        self.world = world
        self.agent = agent
        self._name = name
        self._dice = world.dice

    async def pause(self, puts: float) -> None:
        await asyncio.sleep(self._dice.expovariate(1.0) * self.world.plan.latency.put * puts)

    async def take_over(self) -> bool:
        """Begin, whoever did so before; whether that is so."""
        raise NotImplementedError

    def _commit(self, entry: OffsetEntry) -> CommitOffsets:
        raise NotImplementedError

    async def work(self) -> None:
        """Commit offsets, each beyond the last."""
        topic = next(iter(self.world.ledger.outputs))
        group = self.agent.state.groups.get(self._name)
        found = None if group is None else group.offsets.get((topic, 0))
        position = 0 if found is None else found.offset
        for _ in range(self._dice.randint(1, _COMMITS_MAX)):
            position += self._dice.randint(1, 5)
            commit = self._commit(OffsetEntry(topic, 0, position))
            if (await self.agent.commit(commit)).code is not Code.ACCEPTED:
                return  # somebody else took over
            await self.pause(10)


class _Coordinator(_Speaker):
    """Of a classic group, under a name that was never used."""

    def __init__(self, world: World, agent: Agent, name: str) -> None:
        super().__init__(world, agent, name)
        self._token = ""
        self._generation = 0

    async def take_over(self) -> bool:
        group = self.agent.state.groups.get(self._name)
        present = "" if group is None else group.coordinator
        self._token = self._dice.randbytes(4).hex()
        self._generation += 1
        content = ClassicGroup(self._generation, "consumer", "range", _MEMBER.id, (_MEMBER,))
        take_over = KeepClassicGroup(self._name, self._token, present, content)
        return (await self.agent.commit(take_over)).code is Code.ACCEPTED

    def _commit(self, entry: OffsetEntry) -> CommitOffsets:
        return CommitOffsets(self._name, _MEMBER.id, self._generation, (entry,), self._token)


class _Gateway(_Speaker):
    """For clients that are no members, on the strength of an entry."""

    async def take_over(self) -> bool:
        # Compared and set: two that one commit sets have the same version.
        version, _ = self.agent.state.entries.get(self._name, (_NEVER_SET, b""))
        verdict = await self.agent.commit(SetEntry(self._name, self._dice.randbytes(4), version))
        if verdict.code is not Code.ACCEPTED:
            return False
        self._standing = Standing(self._name, verdict.values[0])
        return True

    def _commit(self, entry: OffsetEntry) -> CommitOffsets:
        return CommitOffsets(self._name, "", 0, (entry,), standing=self._standing)
