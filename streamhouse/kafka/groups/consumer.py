"""Groups of the newer protocol (KIP-848): Kafka's clients as members of groups like all others.

The log deals partitions out and knows who owns what, and a heartbeat of a client is an exchange of news: what
it has given up, and what it shall have. So its members and native ones can be in one group. A gateway only
speaks for the clients that are connected to it: it notes what they subscribe to, and finds out when one falls
silent.

The epoch of a member is the generation in which it was told its partitions. While it has some to give back it
stays in its epoch; it gets new ones, and the group's epoch, once it has done so.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from streamhouse.commits.verdicts import Code
from streamhouse.errors import StreamhouseError
from streamhouse.format.operations import (
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    JoinGroup,
    LeaveGroup,
    Operation,
    ReleasePartitions,
)
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.groups.consumer_members import ConsumerMember, ConsumerMembers
from streamhouse.kafka.groups.consumer_messages import Beat, News
from streamhouse.kafka.groups.patterns import Pattern, PatternError
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.errors import ErrorCode

_ASSIGNORS: Final = {"uniform": "cooperative-sticky", "range": "range"}
_LOOK_SECONDS: Final = 0.25
_log: Final = logging.getLogger("streamhouse.kafka")


class ConsumerGroups:
    """The members of one gateway. On its loop only.

    Args:
        parts: The gateway's.
        brokers: What this gateway is.
    """

    def __init__(self, parts: Parts, brokers: Brokers) -> None:
        self._parts = parts
        self._brokers = brokers
        self._members = ConsumerMembers(parts)
        self._subscribed_anew = False
        parts.events.subscribe(self._notice, CreateTopic, AlterTopic, DeleteTopic)

    def member(self, group: str, member: str) -> ConsumerMember | None:
        """A client of this gateway. Who asks may hold the lock of the commits."""
        return self._members.find(group, member)

    def spoken_for(self, group: str, member: str) -> ConsumerMember | None:
        """A client of this gateway, unless it has gone to another one since."""
        found = self._members.find(group, member)
        return None if found is None or self._members.spoken_for_elsewhere(found) else found

    async def generation_of(self, group: str, member: str) -> int | None:
        """The generation of a group that has the member, with whichever gateway; ``None``: it has not."""
        await self._parts.refresh()
        with self._parts.commits.lock:
            found = self._parts.commits.state.groups.get(group)
            return found.generation if found is not None and member in found.members else None

    # --- exchanges ---------------------------------------------------------------------------------

    async def heartbeat(self, beat: Beat) -> News:
        """Take in what a client says, and tell it what there is.

        Raises:
            StreamhouseError: The log fails.
        """
        refusal = self._refuse(beat)
        if refusal is not None:
            return refusal
        member = self._members.find(beat.group, beat.member)
        if member is not None and beat.epoch > member.epoch:
            await self._parts.refresh()  # perhaps another gateway has told it so
        if member is not None and self._members.spoken_for_elsewhere(member):
            self._members.forget(member)  # what it was told meanwhile is not known here
            member = None
        if beat.epoch == 0 or member is None:
            found = await self._enter(beat)
            if isinstance(found, News):
                return found
            member = found
        async with member.working:
            return await self._exchange(member, beat)

    async def leave(self, beat: Beat) -> News:
        """A client goes; a static one that will be back keeps its place for its session."""
        known = self._members.find(beat.group, beat.member)
        if known is None and not self._members.is_in_log(beat.group, beat.member):
            return News(ErrorCode.unknown_member_id, f"{beat.member} is no member of {beat.group}")
        if beat.epoch == _AWAY and beat.instance:
            return await self._keep(beat)
        await self._expel(beat.group, beat.member)
        return News(epoch=_GONE)

    async def _keep(self, beat: Beat) -> News:
        """Speak for a client while it is away, also if it was with another gateway before."""
        member = self._members.find(beat.group, beat.member)
        if member is None or self._members.spoken_for_elsewhere(member):
            found = await self._enter(beat)
            if isinstance(found, News):
                return found
            member = found
            wanted = self._members.wanted(member)
            news = await self._subscribe(member, beat, wanted, again=True)
            if news is not None:
                return news
        member.heard_at = self._parts.loop.time()
        member.epoch = _AWAY
        return News(epoch=_AWAY)

    async def watch(self) -> None:
        """End the membership of clients that have fallen silent, for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._look()
            except StreamhouseError as error:
                _log.warning("members that are gone could not be taken out of their groups: %s", error)

    async def close(self) -> None:
        """Speak for nobody any more. Clients go to another gateway, and keep what they have."""
        self.forget_all()

    def forget_all(self) -> None:
        """Likewise, at once."""
        self._members.forget_all()

    # --- entering ----------------------------------------------------------------------------------

    def _refuse(self, beat: Beat) -> News | None:
        with self._parts.commits.lock:
            group = self._parts.commits.state.groups.get(beat.group)
            classic = group is not None and group.has_classic_members
        if classic:
            return News(ErrorCode.group_id_not_found, f"{beat.group} is a group of the classic protocol")
        if beat.assignor and beat.assignor not in _ASSIGNORS:
            known = ", ".join(_ASSIGNORS)
            return News(ErrorCode.unsupported_assignor, f"no assignor {beat.assignor!r}; there are {known}")
        if beat.pattern:
            try:
                Pattern(beat.pattern)
            except PatternError as error:
                return News(ErrorCode.invalid_regular_expression, str(error))
        return None

    async def _enter(self, beat: Beat) -> ConsumerMember | News:
        """A client that joins, or one that was with another gateway before."""
        key = (beat.group, beat.member)
        if beat.epoch != 0:
            await self._parts.refresh()
            if not self._members.is_in_log(*key):
                return News(ErrorCode.unknown_member_id, f"{beat.member} is no member of {beat.group}")
        elif beat.topics is None and beat.pattern is None:
            return News(ErrorCode.invalid_request, "who joins says what it subscribes to")
        namesake = self._members.namesake(beat)
        if namesake is not None and namesake.epoch != _AWAY:
            return News(ErrorCode.unreleased_instance_id, f"instance {beat.instance!r} is {namesake.id}")
        member = self._members.find(*key) or ConsumerMember(beat, self._parts.loop.time())
        if beat.epoch == 0:
            member.epoch, member.assigned = 0, None
        else:
            member.epoch = beat.epoch
            # Names or what a pattern meant, and perhaps said by somebody else.
            member.topics = tuple(filter(beat.may_see, self._members.topics_in_log(*key)))
        member.owned = frozenset()
        if namesake is not None:
            self._members.forget(namesake)
        self._members.add(member)
        return member

    # --- news --------------------------------------------------------------------------------------

    async def _exchange(self, member: ConsumerMember, beat: Beat) -> News:
        if beat.epoch > member.epoch:
            return News(ErrorCode.fenced_member_epoch, f"{member.id} has not come to epoch {beat.epoch} yet")
        member.heard_at = self._parts.loop.time()
        wanted = self._take_in(member, beat)
        group = self._members.group_of(member)
        if group is None or wanted != self._members.subscribed(member):
            news = await self._subscribe(member, beat, wanted, again=group is not None)
            if news is not None:
                return news
        await self._release(member)
        return self._tell(member, beat)

    def _take_in(self, member: ConsumerMember, beat: Beat) -> tuple[int, ...]:
        """Note what it says; the ids of the topics that it subscribes to."""
        member.may_see = beat.may_see
        if beat.rebalance_seconds is not None:
            member.rebalance_seconds = beat.rebalance_seconds
        if beat.topics is not None:
            member.topics = beat.topics
        if beat.pattern is not None:
            member.pattern = Pattern(beat.pattern) if beat.pattern else None
        if beat.owned is not None:
            member.owned = beat.owned
        return self._members.wanted(member)

    async def _subscribe(
        self, member: ConsumerMember, beat: Beat, topics: tuple[int, ...], *, again: bool
    ) -> News | None:
        """Join, or subscribe to something else; why not, if so."""
        join = JoinGroup(
            group=member.group,
            member=member.id,
            process=self._parts.agent.process,
            instance=member.instance,
            assignor=self._assignor(beat),
            session_ms=self._parts.settings.consumer_session_timeout_ms,
            topics=topics,
            again=again or member.epoch > 0,
            standing=self._brokers.standing,
        )
        verdict = await self._parts.propose(join)
        if verdict.code is Code.ACCEPTED:
            return None
        self._members.forget(member)
        if verdict.code is Code.STALE:
            return News(ErrorCode.not_coordinator)
        if verdict.code is Code.UNKNOWN_MEMBER:
            return News(ErrorCode.unknown_member_id, f"{member.id} was taken out of {member.group}")
        if verdict.code is Code.OTHER_ASSIGNOR:
            return News(
                ErrorCode.inconsistent_group_protocol,
                "the members of the group deal partitions out in another way",
            )
        return News(ErrorCode.group_id_not_found, f"{member.group} is a group of the classic protocol")

    def _assignor(self, beat: Beat) -> str:
        """What the group uses, if it has members, else what is asked for."""
        with self._parts.commits.lock:
            group = self._parts.commits.state.groups.get(beat.group)
            if group is not None and any(id_ != beat.member for id_ in group.members):
                return group.assignor if not beat.assignor else _ASSIGNORS[beat.assignor]
        return _ASSIGNORS[beat.assignor or "uniform"]

    async def _release(self, member: ConsumerMember) -> None:
        """Give back what the client has stopped working on."""
        with self._parts.commits.lock:
            group = self._parts.commits.state.groups.get(member.group)
            places = [] if group is None else group.to_release(member.id)
        gone = tuple(place for place in places if place not in member.owned)
        if gone:
            await self._parts.propose(
                ReleasePartitions(member.group, member.id, gone, self._brokers.standing)
            )

    def _tell(self, member: ConsumerMember, beat: Beat) -> News:
        with self._parts.commits.lock:
            group = self._parts.commits.state.groups.get(member.group)
            if group is None or member.id not in group.members:
                self._members.forget(member)
                return News(ErrorCode.unknown_member_id, f"{member.id} was taken out of {member.group}")
            leaving = set(group.to_release(member.id))
            shall_have = frozenset(group.owned(member.id)) - leaving
            generation = group.generation
        if leaving:
            if member.revoking_since is None:
                member.revoking_since = self._parts.loop.time()
        else:
            member.revoking_since = None
            member.epoch = generation
        same = shall_have == member.assigned and beat.epoch != 0 and not beat.is_full
        member.assigned = shall_have
        return News(epoch=member.epoch, assignment=None if same else tuple(sorted(shall_have)))

    # --- leaving -----------------------------------------------------------------------------------

    async def _look(self) -> None:
        now = self._parts.loop.time()
        for member in self._members:
            silent = now - member.heard_at > self._members.session_seconds
            since = member.revoking_since
            slow = since is not None and now - since > member.rebalance_seconds
            if self._members.spoken_for_elsewhere(member):
                if silent:
                    self._members.forget(member)
            elif silent or slow:
                await self._expel(member.group, member.id)
        if self._subscribed_anew:
            self._subscribed_anew = False
            await self._subscribe_anew()

    async def _subscribe_anew(self) -> None:
        """Topics came or went: some who subscribe to names that were not there may have partitions now."""
        for member in self._members:
            async with member.working:
                wanted = self._members.wanted(member)
                if self._members.group_of(member) is not None and wanted != self._members.subscribed(member):
                    beat = _nothing_new(member)
                    await self._subscribe(member, beat, wanted, again=True)

    async def _expel(self, group: str, member: str) -> None:
        known = self._members.find(group, member)
        if known is not None:
            self._members.forget(known)
        await self._parts.propose(LeaveGroup(group, member, self._brokers.standing))

    def _notice(self, _operation: Operation) -> None:
        self._subscribed_anew = True


_GONE: Final = -1
_AWAY: Final = -2


def _nothing_new(member: ConsumerMember) -> Beat:
    return Beat(
        group=member.group,
        member=member.id,
        epoch=member.epoch,
        instance=member.instance,
        rebalance_seconds=None,
        topics=None,
        pattern=None,
        may_see=member.may_see,
        assignor="",
        owned=None,
        client_id=member.client_id,
        host=member.host,
    )
