"""The coordinator of one classic group: told of requests and of the time, it says what is to be done.

In the older protocol of Kafka's consumers the members deal out among themselves. All join; the coordinator
names one of them the leader, tells it who the others are, and hands round what it deals out. Here is all of
that for one group, without a clock, a connection or the log: whoever drives it calls the methods one after
the other, with the present time (any seconds that do not go backwards), and does what they return:

* :class:`Answer`: send the response. Each request is answered once.
* :class:`Keep`: propose ``KeepClassicGroup`` with the content. Once it was accepted, call
  :meth:`ClassicGroup.kept`; what may not be known before the log knows comes out of there. If it was refused,
  or nobody knows what became of it, call :meth:`ClassicGroup.abandon`, take over anew under another name of a
  coordinator, and go on with :meth:`ClassicGroup.restore` from what the log then has.
* :class:`Wake`: call :meth:`ClassicGroup.tick` when it is so late. The last one counts.

What has to be in the log, and when:

* the assignments of a generation, before a member is told its own. So whoever goes on from there knows them:
  members of that generation keep theirs, and their offsets are good;
* the new id of a static member whose place somebody took, before that one is told of it; another coordinator
  would take it for the one before otherwise, and its client would give up;
* that there are no members any more, before the last one is told that it has left. Another coordinator may
  still know those who left before, or were not heard of any more; it misses them after their session;
* how far generations may have come, before the first one that another coordinator begins: each number is
  given out once.

All else is told again by the members themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from streamhouse.format.operations import ClassicGroup as KeptGroup
from streamhouse.kafka.groups.classic_joins import Joins
from streamhouse.kafka.groups.classic_members import Member
from streamhouse.kafka.groups.classic_messages import (
    Answer,
    Effect,
    GroupView,
    HeartbeatAnswer,
    HeartbeatRequest,
    JoinRequest,
    Keep,
    LeaveAnswer,
    Leaver,
    LeftMember,
    MemberView,
    SyncAnswer,
    SyncRequest,
    Token,
    Wake,
    shown,
    some,
)
from streamhouse.kafka.groups.classic_rebalance import Phase, Rebalance
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.settings import GatewaySettings

__all__ = ["Answer", "ClassicGroup", "Effect", "Keep", "Wake"]


class ClassicGroup:
    """One group. Begin with :meth:`restore`."""

    def __init__(self, course: Rebalance) -> None:
        self._course = course
        self._desk = course.desk
        self._joins = Joins(course)

    @classmethod
    def restore(
        cls,
        name: str,
        content: KeptGroup | None,
        settings: GatewaySettings,
        now: float,
        *,
        succeeds: bool,
    ) -> ClassicGroup:
        """A group as the log knows it. Call :meth:`tick` at once.

        Args:
            name: Of the group.
            content: What was kept last, as it is in the log *after* this coordinator has taken over: until
                then the one that it succeeds may keep something.
            settings: The gateway's.
            now: The time, in seconds. All sessions begin anew.
            succeeds: Whether another coordinator came before, which may have given out generations although
                it has kept nothing.
        """
        return cls(Rebalance(name, content, settings, succeeds=succeeds, now=now))

    # --- requests --------------------------------------------------------------------------------------

    def join(self, request: JoinRequest, token: Token, now: float) -> list[Effect]:
        """JoinGroup. The answer comes when all have joined."""
        self._joins.join(request, token, now)
        return self._desk.take_effects()

    def sync(self, request: SyncRequest, token: Token, now: float) -> list[Effect]:
        """SyncGroup. The answer comes when the leader has dealt out, and the log knows."""
        course = self._course
        error = self._refuse_sync(request)
        if error is not ErrorCode.none:
            self._desk.answer(token, SyncAnswer(error))
            return self._desk.take_effects()
        member = course.roster.members[request.member]
        course.synced(member)
        self._desk.extend(member, now)
        if course.phase is Phase.STABLE:
            self._desk.answer(token, course.assigned(member))
        else:
            self._desk.answer_sync(member, SyncAnswer(ErrorCode.rebalance_in_progress), now)
            member.syncing = token
            if course.roster.is_leader(member):
                course.deal(dict(request.assignments), now)
        return self._desk.take_effects()

    def heartbeat(self, request: HeartbeatRequest, token: Token, now: float) -> list[Effect]:
        """Heartbeat. It counts also while members have to join anew."""
        course = self._course
        error = self._refuse(request.member, request.instance, request.generation)
        if error is ErrorCode.none:
            self._desk.extend(course.roster.members[request.member], now)
            if course.phase is Phase.PREPARING:
                error = ErrorCode.rebalance_in_progress
        self._desk.answer(token, HeartbeatAnswer(error))
        return self._desk.take_effects()

    def leave(self, leavers: Sequence[Leaver], token: Token, now: float) -> list[Effect]:
        """LeaveGroup, of one member or of several; also what administrators use to put members out."""
        course = self._course
        if course.phase is Phase.DEAD:
            self._desk.answer(token, LeaveAnswer(course.dead_error))
            return self._desk.take_effects()
        reasons: list[str] = []
        results = tuple(self._let_go(leaver, reasons) for leaver in leavers)
        if reasons:
            course.removed(some(reasons), now)
        else:
            course.complete_if_joined(now)  # nobody has to wait for ids that were given back
        answer = LeaveAnswer(ErrorCode.none, results)
        if course.phase is Phase.EMPTY:
            self._desk.answer_once_kept(token, answer)
        else:
            self._desk.answer(token, answer)
        return self._desk.take_effects()

    def _let_go(self, leaver: Leaver, reasons: list[str]) -> LeftMember:
        roster = self._course.roster
        if leaver.member in roster.pending:
            del roster.pending[leaver.member]
            return LeftMember(leaver.member, leaver.instance, ErrorCode.none)
        namesake = None if leaver.member else roster.by_instance(leaver.instance)
        id_ = leaver.member if namesake is None else namesake.id
        error = roster.refusal(id_, leaver.instance)
        if error is ErrorCode.none:
            self._course.remove(roster.members[id_])
            reasons.append(f"{id_!r} leaves: {shown(leaver.reason)}")
        return LeftMember(leaver.member, leaver.instance, error)

    # --- what the driver has to say --------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """It is later now: sessions may have ended, and rounds be over."""
        if self._course.phase is not Phase.DEAD:
            self._course.tick(now)
        return self._desk.take_effects()

    def kept(self, now: float) -> list[Effect]:
        """The log has what it was given with the last :class:`Keep`."""
        if self._course.phase is not Phase.DEAD:
            self._desk.kept(now)
        return self._desk.take_effects()

    def abandon(self, error: ErrorCode = ErrorCode.not_coordinator) -> list[Effect]:
        """Coordinate the group no longer: all requests that wait are answered, and later ones likewise.

        Args:
            error: With what. Clients that are told ``coordinator_not_available`` or ``not_coordinator`` look
                for the coordinator anew, and go on there.
        """
        self._course.abandon(error)
        return self._desk.take_effects()

    # --- questions -------------------------------------------------------------------------------------

    def validate_commit(
        self, member: str, instance: str, generation: int, *, transactional: bool = False
    ) -> ErrorCode:
        """Why offsets must not be committed, if so. It is no sign of life.

        Args:
            member: Its id; empty: somebody who is no member.
            instance: Name of a static member, or empty.
            generation: The one it knows; negative: none.
            transactional: Whether it is part of a transaction (TxnOffsetCommit), for which less is asked:
                older clients do not say who they are, and the producer's epoch speaks for it.
        """
        course = self._course
        if course.phase is Phase.DEAD:
            return course.dead_error
        if generation < 0 and course.phase is Phase.EMPTY:
            return ErrorCode.none
        if generation < 0 and not member and not instance:
            return ErrorCode.none if transactional else ErrorCode.unknown_member_id
        error = self._refuse(member, instance, generation)
        if error is ErrorCode.none and course.phase is Phase.COMPLETING and not transactional:
            return ErrorCode.rebalance_in_progress
        return error

    def describe(self) -> GroupView:
        """The group, for administrators."""
        course = self._course
        stable = course.phase is Phase.STABLE
        protocol = course.protocol if stable else ""
        members = tuple(_view(member, protocol) for member in course.roster.members.values())
        return GroupView(course.phase.value, course.roster.protocol_type, protocol, members)

    @property
    def generation(self) -> int:
        """The last one that was given out."""
        return self._course.generation

    @property
    def idle(self) -> bool:
        """Whether nothing is lost if it is forgotten, and restored when somebody asks for it."""
        empty = self._course.phase is Phase.EMPTY
        busy = self._desk.keeping.busy or bool(self._course.roster.pending)
        return self._course.phase is Phase.DEAD or (empty and not busy)

    # --- helpers ---------------------------------------------------------------------------------------

    def _refuse(self, member: str, instance: str, generation: int) -> ErrorCode:
        if self._course.phase is Phase.DEAD:
            return self._course.dead_error
        error = self._course.roster.refusal(member, instance)
        if error is ErrorCode.none and generation != self._course.generation:
            return ErrorCode.illegal_generation
        return error

    def _refuse_sync(self, request: SyncRequest) -> ErrorCode:
        course = self._course
        error = self._refuse(request.member, request.instance, request.generation)
        if error is not ErrorCode.none:
            return error
        if request.protocol_type not in {None, course.roster.protocol_type}:
            return ErrorCode.inconsistent_group_protocol
        if request.protocol is not None and course.protocol and request.protocol != course.protocol:
            return ErrorCode.inconsistent_group_protocol
        return ErrorCode.rebalance_in_progress if course.phase is Phase.PREPARING else ErrorCode.none


def _view(member: Member, protocol: str) -> MemberView:
    metadata = member.metadata(protocol) if protocol else b""
    return MemberView(member.id, member.instance, member.client_id, member.host, metadata, member.assignment)
