"""The processes of a run: agents that are started, stopped, killed and started anew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from streamhouse.commits.engine import Engine
from streamhouse.commits.fold import Applied
from streamhouse.commits.proposal import Block, Proposal
from streamhouse.commits.state import State
from streamhouse.errors import (
    CorruptionError,
    DeliveryTimeoutError,
    PartitionNotFoundError,
    ProducerFencedError,
    StaleMemberError,
    StoreError,
    StreamhouseError,
    TopicNotFoundError,
    TransactionError,
)
from streamhouse.format.commit import Commit
from streamhouse.format.operations import Operation
from streamhouse.testing.simulation.loop import Process, SimLoop
from streamhouse.testing.simulation.members import Registry
from streamhouse.testing.simulation.observer import Observer
from streamhouse.testing.simulation.plan import Plan
from streamhouse.testing.simulation.records import Ledger
from streamhouse.testing.simulation.store import Bucket, Endpoint, Network, SimIO
from streamhouse.testing.simulation.uploads import AgentUploaders

T = TypeVar("T")

LOG_ID = "simulated"
_DUE = (
    StoreError,
    DeliveryTimeoutError,
    ProducerFencedError,
    TransactionError,
    StaleMemberError,
    TopicNotFoundError,
    PartitionNotFoundError,
)
_PAUSES_SECONDS = (0.05, 0.5, 5.0, 25.0, 60.0)
_WALL_MS = 1_700_000_000_000


class AgentDied(Exception):  # noqa: N818 - what a client sees, not an error
    """The agent was killed while it was asked something."""


class AgentRuntime:
    """An agent's clocks and dice: the monotonic clock is right, the wall clock need not be."""

    def __init__(self, loop: SimLoop, dice: random.Random) -> None:
        self.wall_skew_ms = int(dice.uniform(-1e8, 1e8))
        self._loop = loop
        self._dice = dice
        self._offset = dice.uniform(0.0, 1e6)

    def monotonic(self) -> float:
        return self._loop.time() + self._offset

    def time_ms(self) -> int:
        return _WALL_MS + int(self._loop.time() * 1000) + self.wall_skew_ms

    def random_bytes(self, count: int) -> bytes:
        return self._dice.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._dice.uniform(low, high)


class Agent(Process):
    """One process with an engine, as the real one runs it."""

    def __init__(self, world: World, name: str, plan: Plan) -> None:
        super().__init__(name)
        self.runtime = AgentRuntime(world.loop, world.dice)
        self.asleep = False  # stopped until somebody wakes it
        self._world = world
        self._plan = plan
        self._waiting: dict[asyncio.Future[Any], None] = {}  # in order, unlike a set
        self._seq = 0
        endpoint = Endpoint(world.bucket, name, remote=plan.options.committer.lanes, locking=plan.locking)
        self.io = SimIO(endpoint, self.runtime, world.network, self)
        self.engine = Engine(self.io, self.runtime, LOG_ID, plan.options, plan.guards)
        self.engine.tail.listeners.append(self._observe)
        self.uploaders = AgentUploaders(self)
        self.fresh_at = float("-inf")  # the log was read to the end that it had at that time
        self._advance = self.engine.tail.advance
        self.engine.tail.advance = self._advance_timed  # type: ignore[method-assign]

    @property
    def state(self) -> State:
        """What it has folded."""
        return self.engine.state

    def ask(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Future[T]:
        """Have it run a coroutine; the future is the outcome, or :class:`AgentDied`."""
        answer = self._answer()

        def start() -> None:
            task = self._world.loop.create_task(work())
            task.add_done_callback(lambda task: _settle(answer, task))

        self._world.loop.call_soon(start, context=self.context)
        return answer

    def propose(self, operation: Operation, blocks: Sequence[Block]) -> asyncio.Future[Any]:
        """Submit a proposal; the future is the outcome, or :class:`AgentDied`."""
        answer = self._answer()

        def submit() -> None:
            deadline = self.runtime.monotonic() + self._plan.options.committer.delivery_timeout_seconds
            proposal = Proposal(operation, blocks, deadline)
            proposal.future.add_done_callback(lambda future: _settle(answer, future))
            self.engine.submit(proposal)

        self._world.loop.call_soon(submit, context=self.context)
        return answer

    async def commit(self, operation: Operation, blocks: Sequence[Block] = ()) -> Any:
        """Propose and wait for the outcome: for those who run inside the agent."""
        deadline = self.runtime.monotonic() + self._plan.options.committer.delivery_timeout_seconds
        proposal = Proposal(operation, blocks, deadline)
        self.engine.submit(proposal)
        self.engine.committer.urge()
        return await asyncio.wrap_future(proposal.future)

    def died(self) -> None:
        """Tell those who wait for it."""
        for answer in list(self._waiting):
            if not answer.done():
                answer.set_exception(AgentDied(self.name))

    def _answer(self) -> asyncio.Future[Any]:
        answer = self._world.loop.create_future()
        self._waiting[answer] = None
        answer.add_done_callback(self._forget, context=self._world.loop.outside)
        if self.dead:
            answer.set_exception(AgentDied(self.name))
        return answer

    def _forget(self, answer: asyncio.Future[Any]) -> None:
        del self._waiting[answer]

    async def _advance_timed(self, upto: int | None = None, *, live: bool = True) -> int:
        began = self._world.loop.time()
        count = await self._advance(upto, live=live)
        if upto is None:
            self.fresh_at = began
        return count

    def _observe(self, applied: Applied, commit: Commit) -> None:
        """All agents have the same state at the same commit, and none goes back."""
        ledger = self._world.ledger
        if applied.seq not in ledger.hashes:
            self._world.observer.observe(applied, commit, self.state)
        known = ledger.hashes.setdefault(applied.seq, self.state.hash)
        if known != self.state.hash:
            ledger.violation("state differs", f"{self.name} at commit {applied.seq}")
        if applied.seq <= self._seq:
            ledger.violation("state went back", f"{self.name} from {self._seq} to {applied.seq}")
        self._seq = applied.seq
        trace = self._world.trace
        if trace is not None:
            verdicts = [(a[:4], n, [v.code.name for v in vs]) for a, n, vs in applied.verdicts]
            trace(self.name, "fold", str(applied.seq), f"{verdicts}")


def _settle(answer: asyncio.Future[Any], outcome: Any) -> None:
    if answer.done():
        return
    if outcome.cancelled():
        answer.set_exception(AgentDied("closed"))
    elif (error := outcome.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(outcome.result())


class World:
    """All there is in one run."""

    def __init__(self, plan: Plan, dice: random.Random, *, tracing: bool) -> None:
        self.plan = plan
        self.dice = dice
        self.lines: list[str] = []
        self.trace = self._write if tracing else None
        self.loop = SimLoop(self._on_error)
        self.ledger = Ledger(self.trace)
        self.bucket = Bucket(self.loop, plan.store_skew_seconds)
        self.network = Network(self.loop, dice, plan.latency, plan.faults, self._pause_somewhat, self.trace)
        self.observer = Observer(self.ledger)
        self.members = Registry(self)
        self.agents: list[Agent] = []
        self.busy = False  # between the beginning and the end
        self._started = 0

    async def start_agent(self) -> Agent | None:
        """A new process; ``None`` when it did not come up."""
        agent = Agent(self, f"agent-{self._started}", self.plan)
        self._started += 1
        self.note(agent.name, "starts")
        try:
            await asyncio.wait_for(agent.ask(agent.engine.open), 30.0)
        except AgentDied:
            return None
        except (StoreError, TimeoutError):
            self.kill(agent)
            return None
        except StreamhouseError as error:
            self.kill(agent)
            if not (isinstance(error, CorruptionError) and self.plan.faults.flipped):
                self.ledger.violation("does not open", f"{agent.name}: {error!r}")
            return None
        self.agents.append(agent)
        return agent

    def kill(self, agent: Agent) -> None:
        """Send SIGKILL."""
        self.note(agent.name, "is killed")
        self.loop.kill_process(agent)
        if agent in self.agents:
            self.agents.remove(agent)
        if self.bucket.lock_holder == agent.name:
            self.bucket.lock_holder = None
        agent.died()

    def stop(self, agent: Agent) -> None:
        """Send SIGSTOP."""
        if not agent.stopped:
            self.note(agent.name, "is stopped")
            self.loop.stop_process(agent)

    def resume(self, agent: Agent) -> None:
        """Send SIGCONT."""
        agent.asleep = False
        if agent.stopped:
            self.note(agent.name, "goes on")
            self.loop.continue_process(agent)

    def fall_asleep(self, agent: Agent) -> bool:
        """Stop it until somebody wakes it, unless it is the last one; whether it was stopped."""
        others = any(not other.asleep and other is not agent for other in self.agents)
        if others and agent in self.agents and self.busy:
            agent.asleep = True
            self.stop(agent)
        return agent.asleep

    def jump(self, seconds: float) -> None:
        """Let hours pass at once."""
        self.note("world", f"{seconds:.0f} seconds pass")
        self.loop.jump(seconds)

    def expect(self, agent: Agent, error: Exception, what: str) -> None:
        """Let pass what may go wrong for those who run inside an agent."""
        due = isinstance(error, _DUE) or error is agent.engine.failure
        if not due and not (isinstance(error, CorruptionError) and self.plan.faults.flipped):
            self.ledger.violation("unexpected error", f"{agent.name}, {what}: {error!r}")

    def note(self, who: str, what: str) -> None:
        """Write a line into the trace."""
        if self.trace is not None:
            self.trace(who, what, "", "")

    def _pause_somewhat(self, process: Process) -> None:
        assert isinstance(process, Agent)
        if process.dead or process.stopped or self.network.faults.pause == 0.0:
            return
        if self.dice.random() < self.plan.long_pauses and self.fall_asleep(process):
            return
        self.stop(process)
        seconds = self.dice.choice(_PAUSES_SECONDS) * self.dice.uniform(0.5, 1.0)
        self.loop.call_later(seconds, self._resume_awake, process, context=self.loop.outside)

    def _resume_awake(self, agent: Agent) -> None:
        if not agent.asleep:
            self.resume(agent)

    def _write(self, who: str, what: str, target: str, result: str) -> None:
        self.lines.append(f"{self.loop.time():14.4f}  {who:10} {what:14} {target:48} {result}".rstrip())

    def _on_error(self, message: str) -> None:
        self.ledger.violation("exception", message)
