"""The classic groups that this gateway coordinates: requests into them, and what they want done.

Who coordinates a group follows from the gateways there are, and gateways may disagree on that for a moment.
What decides is the log: a coordinator puts its own name there before it does anything for a group, and when
another one has done so later, the log refuses what the first one still wants. Then it gives the group up, and
the members, who are told so, ask again who coordinates them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from streamhouse.commits.verdicts import Code
from streamhouse.errors import StreamhouseError
from streamhouse.format.operations import ClassicGroup as KeptGroup
from streamhouse.format.operations import DeleteGroup, KeepClassicGroup, Operation, SetEntry
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.groups.classic import ClassicGroup
from streamhouse.kafka.groups.classic_messages import (
    Answer,
    Effect,
    GroupView,
    HeartbeatAnswer,
    HeartbeatRequest,
    JoinAnswer,
    JoinRequest,
    Keep,
    LeaveAnswer,
    Leaver,
    SyncAnswer,
    SyncRequest,
    Wake,
)
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.tasks import ended

A = TypeVar("A", JoinAnswer, SyncAnswer, HeartbeatAnswer, LeaveAnswer)

_NAME_BYTES: Final = 8
_log: Final = logging.getLogger("streamhouse.kafka")


class Coordinated:
    """A group that this gateway coordinates.

    Attributes:
        name: The group.
        coordinator: What this gateway calls itself in the log as its coordinator. Another name each time:
            what it wanted the last time, and perhaps failed, must not come to pass later.
        machine: Its rules.
        working: What is on its way to the log for it.
        alarm: When it wants to be woken.
    """

    __slots__ = ("alarm", "coordinator", "machine", "name", "working")

    def __init__(self, name: str, coordinator: str, machine: ClassicGroup) -> None:
        self.name = name
        self.coordinator = coordinator
        self.machine = machine
        self.working: asyncio.Task[None] | None = None
        self.alarm: asyncio.TimerHandle | None = None


class ClassicGroups:
    """Those of one gateway. On its loop only.

    Args:
        parts: The gateway's.
        brokers: Who coordinates which group.
    """

    def __init__(self, parts: Parts, brokers: Brokers) -> None:
        self._parts = parts
        self._brokers = brokers
        self._groups: dict[str, Coordinated] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        parts.events.subscribe(self._notice_other, KeepClassicGroup)
        parts.events.subscribe(self._notice_deleted, DeleteGroup)
        parts.events.subscribe(self._notice_gateways, SetEntry)  # behind the brokers, who did so before

    # --- requests of members -----------------------------------------------------------------------

    async def join(self, name: str, request: JoinRequest) -> JoinAnswer:
        """Enter the group; answered when everybody has.

        Raises:
            StreamhouseError: The store fails.
        """
        group = await self._open(name)
        if isinstance(group, ErrorCode):
            return JoinAnswer(group, request.member)
        return await self._ask(group, lambda token, now: group.machine.join(request, token, now))

    async def sync(self, name: str, request: SyncRequest) -> SyncAnswer:
        """Deal out, or wait for what is dealt out."""
        group = await self._known(name)
        if isinstance(group, ErrorCode):
            return SyncAnswer(group)
        return await self._ask(group, lambda token, now: group.machine.sync(request, token, now))

    async def heartbeat(self, name: str, request: HeartbeatRequest) -> HeartbeatAnswer:
        """A sign of life."""
        group = await self._known(name)
        if isinstance(group, ErrorCode):
            return HeartbeatAnswer(group)
        return await self._ask(group, lambda token, now: group.machine.heartbeat(request, token, now))

    async def leave(self, name: str, leavers: Sequence[Leaver]) -> LeaveAnswer:
        """Go."""
        group = await self._known(name)
        if isinstance(group, ErrorCode):
            return LeaveAnswer(group)
        return await self._ask(group, lambda token, now: group.machine.leave(leavers, token, now))

    # --- others ------------------------------------------------------------------------------------

    async def committer(
        self, name: str, member: str, instance: str, generation: int, *, transactional: bool
    ) -> str | ErrorCode:
        """Under which name of a coordinator a member may commit offsets for its group; or why it may not."""
        group = await self._known(name)
        if isinstance(group, ErrorCode):
            return group
        error = group.machine.validate_commit(member, instance, generation, transactional=transactional)
        return group.coordinator if error is ErrorCode.none else error

    async def take(self, name: str) -> str | ErrorCode:
        """Coordinate a group, if it is this gateway's: under which name."""
        group = await self._open(name)
        return group if isinstance(group, ErrorCode) else group.coordinator

    def view(self, name: str) -> GroupView | None:
        """How things stand in a classic group; ``None``: nobody asked this gateway for anything in it yet."""
        group = self._groups.get(name)
        return None if group is None else group.machine.describe()

    async def close(self) -> None:
        """Give all groups up, without a word to the log: whoever takes them over does so at once."""
        groups = self.give_all_up()
        await ended(*[group.working for group in groups if group.working is not None])

    def give_all_up(self) -> list[Coordinated]:
        """Coordinate none any more; those that were."""
        groups, self._groups = list(self._groups.values()), {}
        for group in groups:
            self._abandon(group, ErrorCode.coordinator_not_available)
        return groups

    # --- taking groups over ------------------------------------------------------------------------

    async def _known(self, name: str) -> Coordinated | ErrorCode:
        """A group that has classic members, or had some; for those who do not come to found one."""
        group = self._groups.get(name)
        if group is not None:
            return group
        await self._parts.refresh()
        with self._parts.commits.lock:
            found = self._parts.commits.state.groups.get(name)
            classic = found is not None and found.classic is not None
        return await self._open(name) if classic else ErrorCode.unknown_member_id

    async def _open(self, name: str) -> Coordinated | ErrorCode:
        """A group, taken over from whoever coordinated it if that was somebody else."""
        group = self._groups.get(name)
        if group is not None:
            return group
        lock = self._opening.setdefault(name, asyncio.Lock())
        async with lock:
            opened = self._groups.get(name) or await self._take_over(name)
        if not lock.locked():
            self._opening.pop(name, None)
        return opened

    async def _take_over(self, name: str) -> Coordinated | ErrorCode:
        await self._parts.refresh()
        while self._brokers.coordinates_group(name):
            with self._parts.commits.lock:
                found = self._parts.commits.state.groups.get(name)
                before = "" if found is None else found.coordinator
            mine = self._parts.runtime.random_bytes(_NAME_BYTES).hex()
            verdict = await self._parts.propose(KeepClassicGroup(name, mine, before, None))
            if verdict.code is Code.ACCEPTED:
                return self._begin(name, mine, succeeds=bool(before))
            if verdict.code is Code.OTHER_PROTOCOL:
                return ErrorCode.inconsistent_group_protocol
            if verdict.code is not Code.STALE:
                return ErrorCode.unknown_server_error
        return ErrorCode.not_coordinator

    def _begin(self, name: str, coordinator: str, *, succeeds: bool) -> Coordinated:
        with self._parts.commits.lock:
            found = self._parts.commits.state.groups.get(name)
            kept = None if found is None else found.classic
        now = self._parts.loop.time()
        machine = ClassicGroup.restore(name, kept, self._parts.settings, now, succeeds=succeeds)
        group = self._groups[name] = Coordinated(name, coordinator, machine)
        self._do(group, machine.tick(now))
        return group

    # --- what groups want done ---------------------------------------------------------------------

    async def _ask(self, group: Coordinated, call: Callable[[object, float], Sequence[Effect]]) -> A:
        answer: asyncio.Future[A] = self._parts.loop.create_future()
        self._do(group, call(answer, self._parts.loop.time()))
        return await answer

    def _do(self, group: Coordinated, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Answer):
                future = effect.token
                assert isinstance(future, asyncio.Future)
                if not future.done():  # else the client is gone
                    future.set_result(effect.response)
            elif isinstance(effect, Keep):
                group.working = self._parts.loop.create_task(self._keep(group, effect.content))
            else:
                self._set_alarm(group, effect)

    def _set_alarm(self, group: Coordinated, wake: Wake) -> None:
        if group.alarm is not None:
            group.alarm.cancel()
        group.alarm = self._parts.loop.call_at(wake.at, self._tick, group)

    def _tick(self, group: Coordinated) -> None:
        group.alarm = None
        self._do(group, group.machine.tick(self._parts.loop.time()))

    async def _keep(self, group: Coordinated, content: KeptGroup) -> None:
        try:
            verdict = await self._parts.propose(
                KeepClassicGroup(group.name, group.coordinator, group.coordinator, content)
            )
        except StreamhouseError as error:  # it may have come to pass, or not: take the group over anew
            _log.warning("group %s could not be noted in the log: %s", group.name, error)
            self._give_up(group, ErrorCode.coordinator_not_available)
            return
        if verdict.code is Code.ACCEPTED:
            self._do(group, group.machine.kept(self._parts.loop.time()))
        elif verdict.code is Code.OTHER_PROTOCOL:
            self._give_up(group, ErrorCode.inconsistent_group_protocol)
        else:
            self._give_up(group, ErrorCode.not_coordinator)

    def _give_up(self, group: Coordinated, error: ErrorCode) -> None:
        if self._groups.get(group.name) is group:
            del self._groups[group.name]
        self._abandon(group, error)

    def _abandon(self, group: Coordinated, error: ErrorCode) -> None:
        if group.alarm is not None:
            group.alarm.cancel()
            group.alarm = None
        self._do(group, group.machine.abandon(error))

    # --- what the log says -------------------------------------------------------------------------

    def _notice_other(self, operation: Operation) -> None:
        """Another coordinator took a group over, or an administrator emptied it."""
        if isinstance(operation, KeepClassicGroup):
            group = self._groups.get(operation.group)
            if group is not None and operation.coordinator != group.coordinator:
                self._give_up(group, ErrorCode.not_coordinator)

    def _notice_deleted(self, operation: Operation) -> None:
        if isinstance(operation, DeleteGroup):
            group = self._groups.get(operation.group)
            if group is not None:
                self._give_up(group, ErrorCode.group_id_not_found)

    def _notice_gateways(self, _operation: Operation) -> None:
        """There are others now: some groups are theirs."""
        for group in list(self._groups.values()):
            if not self._brokers.coordinates_group(group.name):
                self._give_up(group, ErrorCode.not_coordinator)
