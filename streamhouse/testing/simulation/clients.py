"""What goes on outside the agents: producers that retry as a gateway's clients do, readers, mishaps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

from streamhouse.commits.fold import NO_PRODUCER
from streamhouse.commits.proposal import append_operation
from streamhouse.errors import (
    CorruptionError,
    DeliveryTimeoutError,
    PartitionNotFoundError,
    ProducerFencedError,
    SequenceError,
    StateDivergedError,
    StoreDurabilityError,
    StoreError,
    TopicNotFoundError,
)
from streamhouse.testing.simulation.checks import HELD_SECONDS, check_blocks, check_held, hold
from streamhouse.testing.simulation.coordinators import coordinate, stand
from streamhouse.testing.simulation.members import Member
from streamhouse.testing.simulation.plan import GroupPlan
from streamhouse.testing.simulation.records import SentAppend
from streamhouse.testing.simulation.transactions import write_transactions
from streamhouse.testing.simulation.world import Agent, AgentDied, World

_TRIES: Final = 4
_REPLACED: Final = 0.5  # chance that a process that stands still is taken for dead


class Client:
    """A producer with or without an identity, that sends to whichever agent is there.

    One with an identity keeps its appends in flight in order, and sends again, with the same sequence
    numbers and perhaps to another agent, what got no clear answer. When it gives up on one, it goes on
    as a new epoch.
    """

    def __init__(self, world: World, number: int) -> None:
        self.name = f"client-{number}"
        self._world = world
        self._dice = world.dice
        self._producer = number if world.dice.random() < 0.7 else NO_PRODUCER
        self._epoch = 0
        self._sequences: dict[tuple[int, int], int] = {}
        self._window = world.dice.choice((1, 1, 3, 8))
        self._batches = 0
        self._thinking = world.dice.choice(world.plan.thinking)
        self._loyal = world.dice.random() < world.plan.loyalty

    async def work(self, appends: int) -> None:
        """Send so many appends, and get them all answered or give them up."""
        while appends > 0 and self._world.agents:
            batch = [self._make() for _ in range(min(appends, self._dice.randint(1, self._window)))]
            appends -= len(batch)
            self._batches += 1
            await self._deliver(batch)
            await asyncio.sleep(self._dice.expovariate(1.0) * self._world.plan.latency.put * self._thinking)

    def _make(self) -> SentAppend:
        dice, ledger = self._dice, self._world.ledger
        topic = dice.choice(list(ledger.topics))
        everywhere = range(ledger.topics[topic])
        partitions = sorted(dice.sample(everywhere, dice.randint(1, len(everywhere))))
        counts = [[dice.randint(1, 5) for _ in range(dice.choice((1, 1, 2)))] for _ in partitions]
        sequences = [self._sequences.get((topic, partition), 0) for partition in partitions]
        for partition, sequence, numbers in zip(partitions, sequences, counts, strict=True):
            self._sequences[topic, partition] = sequence + sum(numbers)
        append = ledger.send(topic, partitions, sequences, counts, self._world.loop.time())
        anonymous = self._producer == NO_PRODUCER
        append.line = (self.name, self._batches) if anonymous else (self.name, "epoch", self._epoch)
        return append

    async def _deliver(self, batch: list[SentAppend]) -> None:
        agent = None
        for _ in range(_TRIES):
            agents = self._world.agents
            if not agents:
                break
            if self._loyal:
                agent = agents[0]
            elif agent not in agents or self._dice.random() < 0.7:
                agent = self._dice.choice(agents)
            answers = [self._send(agent, append) for append in batch]
            if self._dice.random() < 0.5:
                self._world.loop.call_soon(agent.engine.committer.urge, context=agent.context)
            done = [
                await self._outcome(append, answer) for append, answer in zip(batch, answers, strict=True)
            ]
            batch = [append for append, settled in zip(batch, done, strict=True) if not settled]
            if not batch or self._producer == NO_PRODUCER:
                return  # without an identity, sending again would be another record
        self._epoch += 1
        self._sequences.clear()

    def _send(self, agent: Agent, append: SentAppend) -> asyncio.Future[list[int]]:
        operation, blocks = append_operation(append.topic, self._producer, self._epoch, append.parts)
        return agent.propose(operation, blocks)

    async def _outcome(self, append: SentAppend, answer: asyncio.Future[list[int]]) -> bool:
        """Whether nothing more needs to be done about it."""
        try:
            offsets = await answer
        except (AgentDied, DeliveryTimeoutError, StoreDurabilityError):
            append.doubtful = True
        except (SequenceError, StoreError):
            pass  # these say that nothing was written, and the ledger holds them to it
        except (ProducerFencedError, TopicNotFoundError, PartitionNotFoundError):
            return True  # likewise, and it will never be
        except Exception as error:  # noqa: BLE001 - none of these is due here
            append.doubtful = True
            if not (isinstance(error, CorruptionError) and self._world.plan.faults.flipped):
                self._world.ledger.violation("unexpected error", f"append {append.number}: {error!r}")
        else:
            append.acked_at = self._world.loop.time()
            append.offsets = offsets
            return True
        return False


async def consume(world: World) -> None:
    """Read what some agent's state refers to, again and again."""
    dice = world.dice
    agent: Agent | None = None
    while True:
        await asyncio.sleep(dice.expovariate(0.2) * world.plan.latency.put * 10)
        if agent not in world.agents:
            agent = dice.choice(world.agents) if world.agents else None
            if agent is not None:
                world.loop.call_soon(agent.engine.follow, 1, context=agent.context)
        if agent is None or agent.stopped or agent.engine.failure is not None:
            continue
        if dice.random() < 0.3:
            try:
                await agent.ask(agent.engine.refresh)
            except (AgentDied, StoreError, CorruptionError, StateDivergedError):
                continue
        if world.loop.time() - agent.fresh_at < HELD_SECONDS:
            check_blocks(world, agent.state, agent.name, newest=3)
            hold(world, agent)
        check_held(world)


async def collect(world: World, agent: Agent) -> None:
    """Have an agent collect garbage."""
    world.note(agent.name, "collects")
    # It may give up; what matters is what it deleted before.
    with suppress(AgentDied, StoreError, CorruptionError, DeliveryTimeoutError, StateDivergedError):
        await agent.ask(agent.engine.collect)
    check_held(world)


async def keep_member(world: World, plan: GroupPlan, number: int) -> None:
    """Keep a place in a group filled: when its process dies or stands still, start a member in another.

    The one that stood still may wake up and not know of it for a while.
    """
    while True:
        agent = await _some_agent(world)
        member = Member(world, agent, plan, number)
        living = agent.ask(member.live)
        try:
            await _until_missed(world, agent, living)
        finally:
            member.retired = True
        if living.done():
            _outcome(world, living, plan.name)


async def keep_writing(world: World, name: str) -> None:
    """Keep a producer of transactions running, likewise."""
    await _keep_at_it(world, name, write_transactions)


async def keep_coordinating(world: World, name: str) -> None:
    """Keep a coordinator of a classic group running, likewise."""
    await _keep_at_it(world, name, coordinate)


async def keep_standing(world: World, name: str) -> None:
    """Keep somebody running who speaks for clients, likewise."""
    await _keep_at_it(world, name, stand)


async def _keep_at_it(
    world: World, name: str, work: Callable[[World, Agent, str], Coroutine[Any, Any, None]]
) -> None:
    while True:
        agent = await _some_agent(world)
        working = agent.ask(partial(work, world, agent, name))
        await _until_missed(world, agent, working)
        if working.done():
            _outcome(world, working, name)


async def _until_missed(world: World, agent: Agent, living: asyncio.Future[None]) -> None:
    living.add_done_callback(lambda done: done.exception())  # perhaps nobody else looks at it
    while not living.done():
        await asyncio.wait({living}, timeout=world.dice.uniform(5.0, 40.0))
        if agent.stopped and world.dice.random() < _REPLACED and len(world.agents) > 1:
            return


async def _some_agent(world: World) -> Agent:
    while True:
        able = [agent for agent in world.agents if agent.engine.failure is None and not agent.stopped]
        if able:
            return world.dice.choice(able)
        await asyncio.sleep(1.0)


def _outcome(world: World, living: asyncio.Future[None], who: str) -> None:
    error = living.exception()
    if error is not None and not isinstance(error, AgentDied):
        world.ledger.violation("exception", f"{who}: {error!r}")
