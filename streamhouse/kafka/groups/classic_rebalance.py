"""The states of a classic group, and what leads from one to the next.

``Empty`` → ``PreparingRebalance``, where all members have to join anew → ``CompletingRebalance``, where they
wait for the leader to deal out → ``Stable``, until somebody comes, goes or wants something else. A group that
its coordinator has given up is ``Dead``. The rules are those of Kafka's group coordinator.

**Generations.** Each round has a higher number than all before, also when another coordinator goes on: a
number that was given out twice would let a member of the one round pass for one of the other. But a number is
given out when all have joined, and is in the log only once they have their assignments. So nobody gives out a
number that is more than :data:`GENERATIONS_AHEAD_MAX` above the one in the log, and whoever takes over begins
beyond that, after having noted so. It costs a commit when the coordinator changes, and none otherwise.

**Static members.** Who took the place of one must not be told of its new id before the log has it: for
another coordinator, which knows the id before, it would be the one whose place was taken, and its client
would give up.
"""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Sequence
from typing import Final

from streamhouse import limits
from streamhouse.format.operations import ClassicGroup as KeptGroup
from streamhouse.kafka.groups.classic_desk import Desk
from streamhouse.kafka.groups.classic_keeping import Then
from streamhouse.kafka.groups.classic_members import Member, Roster
from streamhouse.kafka.groups.classic_messages import JoinAnswer, SyncAnswer, some
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.settings import GatewaySettings

GENERATIONS_AHEAD_MAX: Final = 16
CONTENT_BYTES_MAX: Final = limits.COMMIT_BYTES_MAX // 2
NEW_MEMBER_SECONDS: Final = 300.0  # who joins for the first time waits no longer than this
_POSTPONED_SECONDS_MIN: Final = 1.0
_log: Final = logging.getLogger("streamhouse.kafka")


class Phase(enum.Enum):
    """The state of a group, by Kafka's names."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


class Rebalance:
    """The course of one group.

    Args:
        name: The group.
        kept: What the log knows of it.
        settings: The gateway's.
        succeeds: Whether another coordinator may have given out generations, though it has kept nothing.
        now: The time, in seconds.

    Attributes:
        name: The group.
        settings: The gateway's.
        phase: Its state.
        generation: The last one that was given out.
        protocol: What the members agreed on; empty: nothing yet.
        desk: Where its members are answered.
        dead_error: What requests are told once the coordinator has given the group up.
    """

    def __init__(
        self, name: str, kept: KeptGroup | None, settings: GatewaySettings, *, succeeds: bool, now: float
    ) -> None:
        self.name = name
        self.settings = settings
        self.phase = Phase.EMPTY
        self.protocol = ""
        self.desk = Desk(kept)
        self.generation = self.desk.keeping.generation
        self.dead_error = ErrorCode.not_coordinator
        others = succeeds or kept is not None
        self._floor = self.generation + (GENERATIONS_AHEAD_MAX if others else 0)
        self._unsynced: set[Member] = set()
        self._dealing = False  # the leader has dealt out, and the log has to be told
        self._reserving = False  # all have joined, and the log has to know who, and of the generation
        self._first_round = False  # nobody was there before: more may come (KIP-134)
        self._newcomers = False
        self._first_round_left = 0.0
        self._join_until = math.inf
        self._sync_until = math.inf
        if kept is not None:
            self._restore(kept, now)

    @property
    def roster(self) -> Roster:
        """The members."""
        return self.desk.roster

    # --- beginning anew --------------------------------------------------------------------------------

    def rebalance(self, reason: str, now: float) -> None:
        """Somebody came, or wants something else: all have to join, if they do not do so already."""
        if self.phase is Phase.PREPARING:
            self.complete_if_joined(now)
        else:
            self.prepare(reason, now)

    def removed(self, reason: str, now: float) -> None:
        """Members have gone: deal out what they had."""
        if self.phase in {Phase.STABLE, Phase.COMPLETING}:
            self.prepare(reason, now)
        else:
            self.complete_if_joined(now)

    def prepare(self, reason: str, now: float) -> None:
        """Have all members join anew."""
        _log.info("group %r leaves generation %d: %s", self.name, self.generation, reason)
        if self.phase is Phase.COMPLETING:
            self._call_off_sync(ErrorCode.rebalance_in_progress, now)
        self._sync_until = math.inf
        self._dealing = False
        self._first_round = self.phase is Phase.EMPTY
        self.phase = Phase.PREPARING
        delay = self.settings.group_initial_rebalance_delay_ms / 1000
        if self._first_round and delay:
            self._newcomers = False
            self._first_round_left = max(0.0, self.roster.rebalance_seconds - delay)
            self._join_until = self.desk.alarm(now + delay)
        elif self._first_round or self.roster.all_joined or not self.roster.members:
            self._complete_join(now)
        else:
            self._join_until = self.desk.alarm(now + self.roster.rebalance_seconds)

    def note_newcomer(self) -> None:
        """Somebody joins who was not there: in the first round there may be more of them to come."""
        self._newcomers = True

    def complete_if_joined(self, now: float) -> None:
        """Go on if nobody has to be waited for."""
        waiting = self.phase is Phase.PREPARING and not self._first_round
        if waiting and self.roster.all_joined:
            self._complete_join(now)

    # --- everybody has joined --------------------------------------------------------------------------

    def _join_time_over(self, now: float) -> None:
        if self._first_round and self._newcomers and self._first_round_left:
            delay = self.settings.group_initial_rebalance_delay_ms / 1000
            self._newcomers = False
            self._join_until = self.desk.alarm(now + min(delay, self._first_round_left))
            self._first_round_left = max(0.0, self._first_round_left - delay)
        else:
            self._complete_join(now)

    def _complete_join(self, now: float) -> None:
        """Begin a generation with those who have joined, and the static members, who may come later."""
        if self._reserving:
            return
        self._join_until = math.inf
        coming = max(self.generation, self._floor) + 1
        if self.roster.joined and self._has_to_be_kept(coming):
            self._reserve(coming - 1)
            return
        for member in self.roster.absent():
            if not member.instance:
                self.remove(member)
        if self.roster.members and not self.roster.elect_leader():
            wait = max(self.roster.rebalance_seconds, _POSTPONED_SECONDS_MIN)
            self._join_until = self.desk.alarm(now + wait)
            return
        self.generation = coming
        if self.roster.members:
            self._begin_generation(now)
        else:
            self._become_empty()

    def _has_to_be_kept(self, coming: int) -> bool:
        """Whether something is to be told to members of which another coordinator has to know."""
        known = self.desk.keeping
        renamed = any(known.instances.get(name, id_) != id_ for name, id_ in self.roster.instances())
        return renamed or coming > known.generation + GENERATIONS_AHEAD_MAX

    def _reserve(self, generation: int) -> None:
        """Note who the members are, and how far generations may have come."""
        self._reserving = True
        content = self._content(generation, protocol="", assignments={})
        self.desk.keep(content, self._reserved)

    def _reserved(self, now: float) -> None:
        self._reserving = False
        self._complete_join(now)

    def _become_empty(self) -> None:
        _log.info("group %r is empty in generation %d", self.name, self.generation)
        self.phase = Phase.EMPTY
        self.protocol = ""
        self.desk.keep(self._content(self.generation, protocol="", assignments={}))

    def _begin_generation(self, now: float) -> None:
        self.protocol = self.roster.select_protocol()
        self.phase = Phase.COMPLETING
        self._unsynced = set(self.roster.members.values())
        self._sync_until = self.desk.alarm(now + self.roster.rebalance_seconds)
        members = len(self.roster.members)
        _log.info("group %r: generation %d has %d members", self.name, self.generation, members)
        for member in self.roster.members.values():
            if member.joining is not None:
                self.desk.answer_join(member, self.joined(member), now)
            else:
                self.desk.extend(member, now)
            member.new = False

    def joined(self, member: Member) -> JoinAnswer:
        """What a member is told of the present generation."""
        leads = self.roster.is_leader(member)
        return JoinAnswer(
            ErrorCode.none,
            member.id,
            self.generation,
            self.roster.protocol_type,
            self.protocol,
            self.roster.leader,
            members=self.roster.joined_members(self.protocol) if leads else (),
        )

    # --- everybody gets an assignment ------------------------------------------------------------------

    def synced(self, member: Member) -> None:
        """Note that a member has asked for its assignment."""
        self._unsynced.discard(member)
        if not self._unsynced:
            self._sync_until = math.inf

    def deal(self, assignments: dict[str, bytes], now: float) -> None:
        """The leader has dealt out. It is told to the others once the log knows."""
        if self._dealing:
            return
        given = {id_: assignments.get(id_, b"") for id_ in self.roster.members}
        size = self.roster.size + sum(map(len, given.values()))
        if size > CONTENT_BYTES_MAX:
            self._call_off_sync(ErrorCode.unknown_server_error, now)
            self.prepare(f"assignments of {size} bytes are too large for the log", now)
            return
        generation = self.generation
        self._dealing = True

        def dealt(now: float) -> None:
            if self.phase is Phase.COMPLETING and self.generation == generation:
                self._stabilize(given, now)

        self.desk.keep(self._content(generation, self.protocol, given), dealt)

    def _stabilize(self, assignments: dict[str, bytes], now: float) -> None:
        self.phase = Phase.STABLE
        self._dealing = False
        for member in self.roster.members.values():
            member.assignment = assignments[member.id]
            if member.syncing is not None:
                self.desk.answer_sync(member, self.assigned(member), now)

    def assigned(self, member: Member) -> SyncAnswer:
        """What a member is told of its assignment."""
        return SyncAnswer(ErrorCode.none, self.roster.protocol_type, self.protocol, member.assignment)

    def _call_off_sync(self, error: ErrorCode, now: float) -> None:
        for member in self.roster.members.values():
            member.assignment = b""
            if member.syncing is not None:
                self.desk.answer_sync(member, SyncAnswer(error), now)

    # --- the log ---------------------------------------------------------------------------------------

    def keep_stable(self, then: Then) -> None:
        """Have the log told who the members are now, while nothing else changes."""
        assignments = {member.id: member.assignment for member in self.roster.members.values()}
        self.desk.keep(self._content(self.generation, self.protocol, assignments), then)

    def _content(self, generation: int, protocol: str, assignments: dict[str, bytes]) -> KeptGroup:
        roster = self.roster
        members = tuple(member.kept(assignments.get(member.id, b"")) for member in roster.members.values())
        return KeptGroup(generation, roster.protocol_type, protocol, roster.leader, members)

    def _restore(self, kept: KeptGroup, now: float) -> None:
        """Go on from what the log knows. All sessions begin anew: nobody was listening meanwhile."""
        self.roster.protocol_type = kept.protocol_type
        for each in {each.id: each for each in kept.members}.values():
            member = Member.restored(each)
            self.roster.add(member)
            self.desk.extend(member, now)
        if kept.leader in self.roster.members:
            self.roster.leader = kept.leader
        self.protocol = kept.protocol
        if not kept.members:
            return
        self.phase = Phase.STABLE
        if not kept.protocol:  # they were about to join when it was noted
            self.prepare("its members have not agreed on anything yet", now)
        elif len(kept.members) > self.settings.group_members_max:
            self.prepare(f"it has {len(kept.members)} members, which is more than may be now", now)

    # --- time ------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._join_until <= now:
            self._join_time_over(now)
        gone = self.desk.silent(now)
        for member in gone:
            self.remove(member)
        if gone:
            self.removed(f"nothing was heard any more of {_ids(gone)}", now)
        self._expire_pending(now)
        if self._sync_until <= now:
            self._expire_unsynced(now)
        self.desk.set_alarm(self._join_until, self._sync_until)

    def _expire_pending(self, now: float) -> None:
        pending = self.roster.pending
        late = [id_ for id_, until in pending.items() if until <= now]
        for id_ in late:
            del pending[id_]
        if late:
            self.complete_if_joined(now)

    def _expire_unsynced(self, now: float) -> None:
        gone = list(self._unsynced)
        for member in gone:
            self.remove(member)
        self.prepare(f"{_ids(gone)} did not ask for an assignment in time", now)

    # --- going -----------------------------------------------------------------------------------------

    def remove(self, member: Member) -> None:
        """Let a member go. :meth:`removed` has to be called once all are gone who go at once."""
        self.desk.remove(member)
        self._unsynced.discard(member)

    def abandon(self, error: ErrorCode) -> None:
        """Give the group up: somebody else coordinates it, or shall."""
        if self.phase is not Phase.DEAD:
            self.phase = Phase.DEAD
            self.dead_error = error
            self.desk.abandon(error)


def _ids(members: Sequence[Member]) -> str:
    return some([repr(member.id) for member in members])
