"""A stage for stories: a few agents on a simulated bucket, where only that happens which the test says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from streamhouse.commits.proposal import PartBlocks, append_operation
from streamhouse.format.block import EncodedBlock, encode_block
from streamhouse.format.columns import columns_from_lists
from streamhouse.format.operations import CreateTopic
from streamhouse.testing.simulation.faults import CALM
from streamhouse.testing.simulation.plan import Profile, draw_plan
from streamhouse.testing.simulation.run import ALL_GUARDS
from streamhouse.testing.simulation.world import Agent, World

HOUR = 3600.0
BLOCK: EncodedBlock = encode_block(columns_from_lists(None, [b"value"], 0, None))


class Stage:
    """The world of one story."""

    def __init__(self, profile: Profile = "pipelined", guards: Any = ALL_GUARDS, **committer: Any) -> None:
        plan, dice = draw_plan(0, guards, profile, "mixed")
        settings = {
            "linger_seconds": 0.0,
            "inline_bytes_max": 0,
            "delivery_timeout_seconds": 20.0,
            **committer,
        }
        options = msgspec.structs.replace(
            plan.options,
            committer=msgspec.structs.replace(plan.options.committer, **settings),
            snapshot_commits=3,
            boundary_step_commits=1,
        )
        plan = msgspec.structs.replace(plan, faults=CALM, options=options, locking=False)
        self.world = World(plan, random.Random(dice.random()), tracing=True)
        self.topics = 0

    def play(self, story: Callable[[], Awaitable[None]]) -> None:
        """Run the story; what agents see must agree all along."""

        async def run() -> None:
            await story()

        self.world.loop.run(run(), 2000.0)
        assert self.world.ledger.violations == []

    async def agent(self) -> Agent:
        agent = await self.world.start_agent()
        assert agent is not None
        return agent

    def create(self, agent: Agent) -> asyncio.Future[Any]:
        """Ask for another topic: the smallest thing that makes a commit."""
        self.topics += 1
        return agent.propose(CreateTopic(f"topic-{self.topics}", 1), [])

    def append(self, agent: Agent, topic: int) -> asyncio.Future[list[int]]:
        """Ask for one record to be written."""
        operation, blocks = append_operation(topic, -1, 0, [PartBlocks(0, 0, [BLOCK])])
        return agent.propose(operation, blocks)

    async def truncate(self, agent: Agent) -> None:
        """Let an agent write so much, and collect so often, that the first slots are gone."""
        for _ in range(12):
            await self.create(agent)
        for _ in range(3):
            await agent.ask(agent.engine.collect)
            self.world.jump(2 * HOUR)
        assert f"log/{3:020d}" not in self.world.bucket.objects

    def calls(self, agent: Agent) -> list[tuple[str, str]]:
        """What an agent asked of the store so far: the call and the object."""
        lines = [line.split() for line in self.world.lines]
        return [(line[2], line[3]) for line in lines if line[1] == agent.name and len(line) > 3]
