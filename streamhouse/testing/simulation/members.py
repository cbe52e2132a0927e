"""Members of consumer groups, as processes run them: they own partitions and note how far they are.

A member acts on what its process has read of the log, which may be old. It works on a partition from the time
when it finds itself the owner until it has proposed to release it; what has an unknown outcome ends the
membership, because it may take effect at any time later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from streamhouse.commits.fold import Code
from streamhouse.commits.groups import GroupState
from streamhouse.commits.state import State
from streamhouse.errors import StaleMemberError
from streamhouse.format.operations import CommitOffsets, JoinGroup, LeaveGroup, OffsetEntry, ReleasePartitions
from streamhouse.testing.simulation.plan import GroupPlan
from streamhouse.testing.simulation.records import Place
from streamhouse.testing.simulation.transactions import Writer
from streamhouse.testing.simulation.uploads import is_certain

if TYPE_CHECKING:
    from streamhouse.testing.simulation.world import Agent, World

_SESSION_MS = 10_000
_LOOKS = 0.3  # share of the turns in which it reads the log to its end
_EVICTS = 0.5  # chance that it takes a silent member for dead
_EVICTS_WRONGLY = 0.05  # ... and one that lives
_RESUBSCRIBES = 0.2
_WATCHES = 0.2


def unfinished(state: State, groups: Iterable[GroupPlan]) -> list[str]:
    """What groups have not come to yet: a settled assignment, and the end of every partition."""
    found = []
    for plan in groups:
        group = state.groups.get(plan.name)
        if group is None or not group.members or not group.settled:
            found.append(f"{plan.name} is not settled")
            continue
        for topic, number in group.owners:
            partition = state.topics[topic].partitions.get(number)
            end = 0 if partition is None else partition.high_watermark
            offset = group.offsets.get((topic, number))
            if end > (0 if offset is None else offset.offset):
                found.append(f"{plan.name} has {offset} of {end} in {topic}/{number}")
    return found


class Registry:
    """Which member really lives, and works on what."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._alive: dict[str, Member] = {}
        self._working: dict[tuple[str, Place], dict[str, Member]] = {}

    def enter(self, member: Member) -> None:
        """A member goes by a new name."""
        self._alive[member.id] = member

    def responds(self, id_: str) -> bool:
        """Whether a heartbeat of that member would be seen."""
        member = self._alive.get(id_)
        if member is None or member.id != id_ or not member.running:
            return False
        return not (member.agent.dead or member.agent.stopped)

    def begin(self, member: Member, place: Place) -> None:
        """A member begins to work on a partition: nobody else in the group may be at it.

        Either of the two may have been evicted and not know it yet.
        """
        present = self._world.observer.members[member.plan.name]
        working = self._working.setdefault((member.plan.name, place), {})
        for id_, other in list(working.items()):
            if other.agent.dead or other.id != id_:
                del working[id_]
            elif id_ != member.id and {id_, member.id} <= present:
                self._world.ledger.violation(
                    "two owners", f"{member.plan.name} {place}: {id_} and {member.id}"
                )
        working[member.id] = member

    def end(self, member: Member, place: Place) -> None:
        """It has stopped."""
        self._working.get((member.plan.name, place), {}).pop(member.id, None)


class Member:
    """One place in a group: joins, works, and joins anew when it lost its membership."""

    def __init__(self, world: World, agent: Agent, plan: GroupPlan, number: int) -> None:
        self.id = ""
        self.agent = agent
        self.plan = plan
        self.retired = False  # its place was given to another process
        self.running = True
        self._world = world
        self._dice = world.dice
        self._instance = f"{plan.name}-{number}" if plan.static else ""
        self._positions: dict[Place, int] = {}
        self._topics: tuple[int, ...] = ()
        self._writer: Writer | None = None
        self._doubt = False  # something it proposed may still take effect
        if plan.chain:
            self._writer = Writer(world, agent, f"{plan.name}-{number}" if plan.named else "")

    async def live(self) -> None:
        """Be a member until told to stop; runs inside the agent."""
        self.agent.engine.follow(1)
        try:
            while not self.retired and self.agent.engine.failure is None:
                try:
                    await self._join()
                    while await self._turn():
                        await self._pause(8)
                except Exception as error:  # noqa: BLE001 - told apart there
                    self._world.expect(self.agent, error, "member")
                self._stop_all()
                await self._pause(20)
        finally:
            self._stop_all()
            self.running = False
            self.agent.engine.follow(-1)

    async def _pause(self, puts: float) -> None:
        await asyncio.sleep(self._dice.expovariate(1.0) * self._world.plan.latency.put * puts)

    # --- membership --------------------------------------------------------------------------------

    async def _join(self) -> None:
        if self.id and (self._doubt or self._dice.random() < 0.5):
            # What is in doubt can have no effect once this name has left.
            await self.agent.commit(LeaveGroup(self.plan.name, self.id))
            self._doubt = False
        self.id = self._dice.randbytes(4).hex()
        self._world.members.enter(self)
        await self._subscribe()

    async def _subscribe(self, *, again: bool = False) -> None:
        self._topics = tuple(self._world.ledger.topics)
        plan = self.plan
        operation = JoinGroup(
            *(plan.name, self.id, self.agent.name, self._instance, plan.assignor, _SESSION_MS, self._topics),
            again,
        )
        verdict = await self.agent.commit(operation)
        if again and verdict.code is Code.UNKNOWN_MEMBER:
            return  # evicted meanwhile
        if verdict.code is not Code.ACCEPTED:
            self._world.ledger.violation("cannot join", f"{plan.name}: {verdict}")

    def _group(self) -> GroupState | None:
        """The group, if this is a member of it as far as its process knows."""
        group = self.agent.state.groups.get(self.plan.name)
        return group if group is not None and self.id in group.members else None

    def _stop(self, place: Place) -> None:
        self._positions.pop(place, None)
        self._world.members.end(self, place)

    def _stop_all(self) -> None:
        for place in list(self._positions):
            self._stop(place)

    # --- work --------------------------------------------------------------------------------------

    async def _turn(self) -> bool:
        """Do one thing; whether it is a member still."""
        dice = self._dice
        if dice.random() < _LOOKS:
            await self.agent.engine.refresh()
        group = self._group()
        if group is None or self.retired:
            return False
        if await self._give_back(group):
            return True
        if set(self._topics) != set(self._world.ledger.topics) and dice.random() < _RESUBSCRIBES:
            await self._subscribe(again=True)
            return True
        self._take_up(group)
        if dice.random() < _WATCHES:
            await self._watch(group)
        elif places := self._behind():
            await self._work(dice.choice(places), group.generation)
        return True

    async def _give_back(self, group: GroupState) -> bool:
        for place in list(self._positions):
            if group.owners.get(place, ("", 0))[0] != self.id:
                if place[0] in self.agent.state.topics:
                    self._world.ledger.violation("robbed", f"{self.plan.name} {place}: {self.id}")
                self._stop(place)
        places = group.to_release(self.id)
        if not places:
            return False
        for place in places:
            self._stop(place)
        operation = ReleasePartitions(self.plan.name, self.id, tuple(places))
        await self._propose(operation)
        return True

    def _take_up(self, group: GroupState) -> None:
        for place in group.owned(self.id):
            if place not in self._positions:
                self._world.members.begin(self, place)
                self._positions[place] = self._committed(place)

    def _committed(self, place: Place) -> int:
        group = self.agent.state.groups[self.plan.name]
        offset = group.offsets.get(place)
        return 0 if offset is None else offset.offset

    def _behind(self) -> list[Place]:
        found = []
        for place, position in self._positions.items():
            topic = self.agent.state.topics.get(place[0])
            partition = None if topic is None else topic.partitions.get(place[1])
            if partition is not None and partition.high_watermark > position:
                found.append(place)
        return found

    async def _work(self, place: Place, generation: int) -> None:
        partition = self.agent.state.topics[place[0]].partitions[place[1]]
        first = self._positions[place]
        # What was trimmed meanwhile is skipped.
        stop = min(max(first, partition.log_start) + self._dice.randint(1, 12), partition.high_watermark)
        await self._pause(2)
        if self._writer is not None:
            await self._consume(self._writer, place, (first, stop), generation)
            return
        operation = CommitOffsets(self.plan.name, self.id, generation, (OffsetEntry(*place, stop),))
        self._positions[place] = stop
        try:
            verdict = await self.agent.commit(operation)
        except (Exception, asyncio.CancelledError) as error:
            if not is_certain(error):
                self._world.ledger.doubtful_offsets.add((self.plan.name, place, stop))
            raise
        self._check(verdict.code, place)

    async def _consume(
        self, writer: Writer, place: Place, consumed: tuple[int, int], generation: int
    ) -> None:
        """Consume, transform, produce: exactly once."""
        if writer.spoilt:
            if self._doubt and not self.plan.named:
                raise StaleMemberError("simulated: only a new member can be sure")
            await writer.renew()
            self._doubt = False
            for owned in self._positions:
                self._positions[owned] = self._committed(owned)
            return
        number = len(self._world.ledger.transactions)
        entry = OffsetEntry(*place, consumed[1], str(number))
        offsets = CommitOffsets(self.plan.name, self.id, generation, (entry,))
        try:
            counted = await writer.write((offsets,), {place: consumed})
        except (Exception, asyncio.CancelledError) as error:
            self._doubt |= not is_certain(error)
            if self.plan.named and self._doubt and isinstance(error, TimeoutError):
                return  # the name is taken over anew, and then all is known
            raise
        if counted and place in self._positions:
            self._positions[place] = consumed[1]

    async def _watch(self, group: GroupState) -> None:
        """Evict who gives no sign of life, and now and then somebody who does."""
        others = [id_ for id_ in group.members if id_ != self.id]
        if not others:
            return
        other = self._dice.choice(others)
        silent = not self._world.members.responds(other)
        wrongly = self._world.busy and self._dice.random() < _EVICTS_WRONGLY
        if (silent and self._dice.random() < _EVICTS) or wrongly:
            self._world.note(self.id, f"evicts {other}")
            await self._propose(LeaveGroup(self.plan.name, other))

    async def _propose(self, operation: Any) -> None:
        try:
            verdict = await self.agent.commit(operation)
        except (Exception, asyncio.CancelledError) as error:
            self._doubt |= not is_certain(error)
            raise
        if isinstance(operation, ReleasePartitions):
            self._check(verdict.code, operation.partitions)

    def _check(self, code: Code, what: object) -> None:
        """Stale members are told so; nothing else can go wrong here, but that a topic is gone."""
        if code in {Code.UNKNOWN_MEMBER, Code.NOT_OWNED}:
            raise StaleMemberError(f"{self.id}: {what}")
