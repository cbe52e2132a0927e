"""One run from its seed: bursts of work under mishaps, hours in between, and the checks at the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from streamhouse.commits.engine import EngineGuards
from streamhouse.commits.fold import Code
from streamhouse.errors import DeliveryTimeoutError, StreamhouseError
from streamhouse.format.operations import AlterTopic, CreateTopic, DeleteTopic, Trim
from streamhouse.testing.simulation.checks import check_agreement, check_appends
from streamhouse.testing.simulation.clients import (
    Client,
    collect,
    consume,
    keep_coordinating,
    keep_member,
    keep_standing,
    keep_writing,
)
from streamhouse.testing.simulation.faults import CALM
from streamhouse.testing.simulation.loop import Stuck
from streamhouse.testing.simulation.members import unfinished
from streamhouse.testing.simulation.piecewise import write_piecewise
from streamhouse.testing.simulation.plan import Plan, Profile, Weather, draw_plan
from streamhouse.testing.simulation.records import Place, Violation
from streamhouse.testing.simulation.rewriting import rewrite
from streamhouse.testing.simulation.world import Agent, AgentDied, World

ALL_GUARDS = EngineGuards()
_LIMIT_SECONDS = 3_000.0
_ROUND_SECONDS = 40.0
_SETTLE_SECONDS = 150.0
_DRAIN_SECONDS = 300.0
_LATE_SECONDS = 16_000.0  # later than anything late
_HOUR = 3_600.0


class Outcome(msgspec.Struct, frozen=True):
    """What a run came to.

    Attributes:
        seed: Repeats it.
        violations: Broken promises; none, one hopes.
        commits: In the log at the end.
        appends: That clients sent.
        acknowledged: Of these.
        transactions: That are in the log.
        consumed: Offsets that groups got past.
        rewritten: Compactions that took effect.
        trace: What happened, when that was asked for.
    """

    seed: int
    violations: Sequence[Violation]
    commits: int
    appends: int
    acknowledged: int
    transactions: int
    consumed: int
    rewritten: int
    trace: Sequence[str]


def simulate(
    seed: int,
    guards: EngineGuards = ALL_GUARDS,
    profile: Profile | None = None,
    weather: Weather | None = None,
    *,
    tracing: bool = False,
) -> Outcome:
    """Run the commit engine through what the seed holds in store for it.

    Args:
        seed: Of the dice.
        guards: Rules that hold.
        profile: The kind of store, instead of one drawn by the seed.
        weather: The kind of trouble, likewise.
        tracing: Write down what happens.
    """
    plan, dice = draw_plan(seed, guards, profile, weather)
    world = World(plan, dice, tracing=tracing)
    try:
        world.loop.run(_Run(world, plan, dice).all(), _LIMIT_SECONDS)
    except Stuck as error:
        world.ledger.violation("stuck", str(error))
    appends = world.ledger.appends
    return Outcome(
        seed=seed,
        violations=world.ledger.violations,
        commits=len(world.ledger.hashes),
        appends=len(appends),
        acknowledged=sum(append.acked_at is not None for append in appends),
        transactions=world.observer.transactions,
        consumed=world.observer.consumed,
        rewritten=world.observer.rewritten,
        trace=world.lines,
    )


class _Run:
    def __init__(self, world: World, plan: Plan, dice: random.Random) -> None:
        self._world = world
        self._plan = plan
        self._dice = dice
        self._working: dict[Client, asyncio.Task[None]] = {}
        self._background: list[asyncio.Task[Any]] = []
        self._members: list[asyncio.Task[None]] = []
        self._topics = 0

    async def all(self) -> None:
        plan = self._plan
        if not await self._begin():
            return
        clients = [Client(self._world, number) for number in range(plan.clients)]
        self._background += [asyncio.ensure_future(consume(self._world)) for _ in range(plan.consumers)]
        nuisances = [
            asyncio.ensure_future(work()) for work in (self._mishaps, self._collections, self._rewritings)
        ]
        self._world.busy = True
        self._inhabit()
        for _ in range(plan.rounds):
            await self._round(clients)
        for nuisance in nuisances:
            nuisance.cancel()
        await self._end()

    async def _begin(self) -> bool:
        for _ in range(20):
            if len(self._world.agents) < self._plan.agents:
                await self._world.start_agent()
        if not self._world.agents:
            return False
        for _ in range(20):
            if not self._world.ledger.topics:
                await self._create_topic()
            elif self._writes and not self._world.ledger.outputs:
                await self._create_topic(output=True)
        ledger = self._world.ledger
        return bool(ledger.topics and (ledger.outputs or not self._writes))

    @property
    def _writes(self) -> bool:
        """Whether there are transactions."""
        plan = self._plan
        chains = any(group.chain for group in plan.groups)
        return bool(plan.writers or plan.piecewise or plan.classic or plan.gateways or chains)

    def _inhabit(self) -> None:
        """Start what runs inside the agents."""
        world = self._world
        for group in self._plan.groups:
            for number in range(group.members):
                self._members.append(asyncio.ensure_future(keep_member(world, group, number)))
        for number in range(self._plan.writers):
            self._aside(keep_writing(world, f"writer-{number}"))
        for number in range(self._plan.piecewise):
            self._aside(write_piecewise(world, f"piecewise-{number}"))
        for number in range(self._plan.classic):
            self._aside(keep_coordinating(world, f"classic-{number}"))
        for number in range(self._plan.gateways):
            self._aside(keep_standing(world, f"gateway-{number}"))

    async def _round(self, clients: list[Client]) -> None:
        dice, world = self._dice, self._world
        remote = self._plan.profile != "local"
        seconds = _ROUND_SECONDS * (1.0 if remote else 0.02)
        for client in clients:
            task = self._working.get(client)
            if task is None or task.done():
                self._working[client] = asyncio.ensure_future(client.work(self._plan.appends))
        for agent in list(world.agents):
            if dice.random() < self._plan.long_pauses:
                delay = dice.random() * dice.choice((0.1, 1.0)) * seconds / 10
                world.loop.call_later(delay, world.fall_asleep, agent, context=world.loop.outside)
        await asyncio.wait(self._working.values(), timeout=seconds)
        if dice.random() < self._plan.hours:
            for _ in range(dice.randint(1, 3)):
                await self._collect()
                world.jump(dice.uniform(0.3, 1.2) * dice.choice((600.0, _HOUR, _HOUR, 2 * _HOUR)))
            await self._collect()
        for agent in list(world.agents):
            if agent.asleep and dice.random() < 0.5:
                world.resume(agent)

    async def _collect(self) -> None:
        awake = [agent for agent in self._world.agents if not agent.stopped]
        if awake:
            agent = self._dice.choice(awake)
            await asyncio.wait({asyncio.ensure_future(collect(self._world, agent))}, timeout=20.0)

    # --- mishaps -----------------------------------------------------------------------------------

    async def _mishaps(self) -> None:
        dice = self._dice
        while True:
            await asyncio.sleep(dice.expovariate(1.0 / self._plan.trouble))
            if self._world.agents:
                await dice.choice(_MISHAPS)(self, dice.choice(self._world.agents))

    async def _collections(self) -> None:
        while True:
            await asyncio.sleep(self._dice.expovariate(1.0 / self._plan.collecting))
            await self._collect()

    async def _rewritings(self) -> None:
        world = self._world
        while True:
            await asyncio.sleep(self._dice.expovariate(1.0 / self._plan.rewriting))
            if world.agents:
                agent = self._dice.choice(world.agents)
                self._aside(_quietly(agent.ask(partial(rewrite, world, agent))))

    async def _trim(self, agent: Agent) -> None:
        if not self._plan.trimming:
            return
        places = [
            ((topic.id, number), partition.high_watermark)
            for topic in agent.state.topics.values()
            for number, partition in topic.partitions.items()
        ]
        if places:
            place, end = self._dice.choice(places)
            self._aside(self._trim_before(agent, place, self._dice.randint(0, end)))

    async def _trim_before(self, agent: Agent, place: Place, before: int) -> None:
        ledger = self._world.ledger
        ledger.trims_asked[place] = max(before, ledger.trims_asked.get(place, 0))
        operation = Trim(place[0], ((place[1], before),))
        verdict = await _quietly(agent.ask(lambda: agent.engine.propose(operation)))
        if verdict is not None:
            ledger.trims_done[place] = max(before, ledger.trims_done.get(place, 0))

    async def _widen(self, agent: Agent) -> None:
        if self._plan.trimming and self._world.ledger.topics:
            self._aside(self._add_partition(agent, self._dice.choice(list(self._world.ledger.topics))))

    async def _add_partition(self, agent: Agent, topic: int) -> None:
        ledger = self._world.ledger
        count = ledger.topics[topic] + 1
        verdict = await _quietly(agent.ask(lambda: agent.engine.propose(AlterTopic(topic, count, None))))
        if verdict is not None and verdict.code is Code.ACCEPTED and topic in ledger.topics:
            ledger.topics[topic] = max(count, ledger.topics[topic])

    async def _crash(self, agent: Agent) -> None:
        self._world.kill(agent)
        for _ in range(10):
            if await self._world.start_agent():
                return

    async def _leave(self, agent: Agent) -> None:
        if len(self._world.agents) == 1 or agent.stopped:
            return
        self._world.agents.remove(agent)
        self._world.note(agent.name, "closes")
        try:
            await asyncio.wait({agent.ask(lambda: agent.engine.close(5.0))}, timeout=30.0)
        finally:
            self._world.kill(agent)
        await self._world.start_agent()

    async def _outage(self, agent: Agent) -> None:
        until = self._world.loop.time() + self._plan.latency.put * self._dice.uniform(1.0, 100.0)
        self._world.network.outages[agent.name] = until

    async def _wall_jump(self, agent: Agent) -> None:
        agent.runtime.wall_skew_ms += int(self._dice.uniform(-1e7, 1e7))

    async def _save(self, agent: Agent) -> None:
        self._aside(_quietly(agent.ask(agent.engine.save_snapshot)))

    async def _garbage(self, agent: Agent) -> None:
        self._aside(collect(self._world, agent))

    async def _new_topic(self, _agent: Agent) -> None:
        self._aside(self._create_topic())

    async def _drop_topic(self, agent: Agent) -> None:
        topics = self._world.ledger.topics
        if len(topics) < 2:
            return
        topic = self._dice.choice(list(topics))
        self._world.ledger.deleted.add(topic)
        del topics[topic]
        self._aside(_quietly(agent.ask(lambda: agent.engine.propose(DeleteTopic(topic)))))

    def _aside(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do not wait for it: the agent may be asleep."""
        self._background.append(asyncio.ensure_future(work))

    async def _create_topic(self, *, output: bool = False) -> None:
        ledger = self._world.ledger
        agent = self._dice.choice(self._world.agents)
        operation = CreateTopic(f"topic-{self._topics}", self._plan.partitions)
        self._topics += 1
        verdict = await _quietly(agent.ask(lambda: agent.engine.propose(operation)))
        if verdict is not None:
            topics = ledger.outputs if output else ledger.topics
            topics[verdict.values[0]] = self._plan.partitions

    # --- the end -----------------------------------------------------------------------------------

    async def _end(self) -> None:
        world = self._world
        world.busy = False
        world.network.faults = CALM
        world.network.outages.clear()
        world.note("world", "faults are over")
        for agent in world.agents:
            world.resume(agent)
        for task in self._background:
            task.cancel()
        await self._drain()
        await self._settle()
        if self._dice.random() < 0.3:
            await self._everybody_writes()
        world.jump(_LATE_SECONDS)
        await asyncio.sleep(1.0)
        if self._plan.hours or self._dice.random() < 0.2:
            await self._collect()
            world.jump(_HOUR * 1.1)
            await self._collect()
        await self._everybody_writes()
        fresh = await world.start_agent()
        if fresh is None:
            world.ledger.violation("does not open", "after all faults were over")
            return
        sound = [agent for agent in world.agents if agent.engine.failure is None]
        for _ in range(20):
            for agent in sound:
                await self._refresh(agent)
            if len({agent.state.seq for agent in sound}) == 1:
                break  # nobody saved a snapshot in between
        check_agreement(world, fresh, sound)
        check_appends(world, fresh.state)
        world.observer.check_end(fresh.state)

    async def _refresh(self, agent: Agent) -> None:
        try:
            await agent.ask(agent.engine.refresh)
        except Exception as error:  # noqa: BLE001 - none is due any more
            self._world.ledger.violation("cannot read", f"{agent.name}: {error!r}")

    async def _drain(self) -> None:
        """Groups come to rest, and to the end of what there is to consume."""
        world = self._world
        if not self._members:
            return
        agent = next((agent for agent in world.agents if agent.engine.failure is None), None)
        over = world.loop.time() + _DRAIN_SECONDS
        left = ["nobody to ask"]
        while agent is not None and world.loop.time() < over:
            await self._refresh(agent)
            left = unfinished(agent.state, world.plan.groups)
            if not left:
                break
            await asyncio.sleep(1.0)
        if agent is not None and left:
            world.ledger.violation("group stuck", "; ".join(left))
        for task in self._members:
            task.cancel()
        await asyncio.gather(*self._members, return_exceptions=True)

    async def _settle(self) -> None:
        """Everything under way comes to an end, without anybody pushing."""
        world = self._world
        over = world.loop.time() + _SETTLE_SECONDS
        while any(agent.engine.committer.busy for agent in world.agents):
            if world.loop.time() > over:
                busy = [agent.name for agent in world.agents if agent.engine.committer.busy]
                world.ledger.violation("stuck", f"{', '.join(busy)} with work that nobody does")
                break
            await asyncio.sleep(0.25)
        if self._working:
            _, waiting = await asyncio.wait(self._working.values(), timeout=_SETTLE_SECONDS * 4)
            if waiting:
                world.ledger.violation("stuck", f"{len(waiting)} clients never got an answer")

    async def _everybody_writes(self) -> None:
        for agent in list(self._world.agents):
            failure = agent.engine.failure
            if failure is None:
                await self._write(agent)
            else:
                self._world.ledger.violation("agent failed", f"{agent.name}: {failure!r}")

    async def _write(self, agent: Agent) -> None:
        """An agent that is alive can write again, though perhaps not at the first try."""
        operation = CreateTopic(f"last-{agent.name}", 1)
        error: BaseException | None = None
        for _ in range(5):
            try:
                await asyncio.wait_for(agent.ask(lambda: agent.engine.propose(operation)), 60.0)
            except DeliveryTimeoutError as unknown:
                error = unknown
            except Exception as refusal:  # noqa: BLE001 - none is due here
                error = refusal
                break
            else:
                return
        self._world.ledger.violation("cannot write", f"{agent.name}: {error!r}")


_MISHAPS = (
    _Run._crash,
    _Run._crash,
    _Run._leave,
    _Run._outage,
    _Run._wall_jump,
    _Run._save,
    _Run._garbage,
    _Run._new_topic,
    _Run._drop_topic,
    _Run._trim,
    _Run._widen,
)


async def _quietly(answer: asyncio.Future[Any]) -> Any:
    """What comes of it, or ``None`` when it fails, as it may while there are faults."""
    try:
        return await answer
    except (AgentDied, StreamhouseError):
        return None
