"""JoinGroup in a classic group: who is taken in, under which name, and whether all have to join anew for it.

A client that has no id yet gets one. From version 4 on it has to come back with it before it is taken in, so
that one whose connection broke does not stay as a member nobody knows of (KIP-394). A static member has a
name of its own (KIP-345): whoever comes with that name and without an id takes the place of the one before,
also its assignment, and the group goes on as it is unless it would agree on another protocol now. What the
new one subscribes to is not compared, as Kafka does not: some assignors put into it what a member has, which
is another thing for one that starts.
"""

from __future__ import annotations

from typing import Final

import msgspec

from streamhouse.kafka.groups.classic_members import Member, distinct, size_of
from streamhouse.kafka.groups.classic_messages import NO_MEMBER, JoinAnswer, JoinRequest, Token, shown
from streamhouse.kafka.groups.classic_rebalance import (
    CONTENT_BYTES_MAX,
    NEW_MEMBER_SECONDS,
    Phase,
    Rebalance,
)
from streamhouse.kafka.protocol.errors import ErrorCode

_ID_REQUIRED_FROM: Final = 4
_SKIP_ASSIGNMENT_FROM: Final = 9


class Joins:
    """Answers JoinGroup.

    Args:
        course: The group.
    """

    def __init__(self, course: Rebalance) -> None:
        self._course = course
        self._desk = course.desk

    def join(self, request: JoinRequest, token: Token, now: float) -> None:
        """Take somebody in, or say why not. The answer may have to wait."""
        error = self._refusal(request)
        if error is not ErrorCode.none:
            self._desk.answer(token, JoinAnswer(error, request.member))
        elif not self._has_place(request):
            self._turn_away(request, token, now)
        elif not self._agrees(request):
            self._desk.answer(token, JoinAnswer(ErrorCode.inconsistent_group_protocol, request.member))
        elif request.member:
            self._join_known(request, token, now)
        else:
            self._join_unknown(request, token, now)

    # --- who is not taken in ---------------------------------------------------------------------------

    def _refusal(self, request: JoinRequest) -> ErrorCode:
        course, settings = self._course, self._course.settings
        shortest, longest = settings.group_session_timeout_min_ms, settings.group_session_timeout_max_ms
        if course.phase is Phase.DEAD:
            return course.dead_error
        if not shortest <= request.session_ms <= longest:
            return ErrorCode.invalid_session_timeout
        return ErrorCode.none if self._fits(request) else ErrorCode.group_max_size_reached

    def _fits(self, request: JoinRequest) -> bool:
        """Whether the log could take the group with this member, and memory another id."""
        roster = self._course.roster
        present = self._present(request)
        size = roster.size + size_of(request) - (0 if present is None else present.size)
        known = bool(request.member or request.instance)
        return size <= CONTENT_BYTES_MAX and (
            known or len(roster.pending) < self._course.settings.group_members_max
        )

    def _has_place(self, request: JoinRequest) -> bool:
        roster, most = self._course.roster, self._course.settings.group_members_max
        member = self._present(request)
        if self._course.phase is Phase.EMPTY:
            return True
        if self._course.phase is Phase.PREPARING:
            # When there are too many, those who are late to join anew lose their places.
            return (member is not None and member.joining is not None) or roster.joined < most
        return member is not None or len(roster.members) < most

    def _present(self, request: JoinRequest) -> Member | None:
        """The member that joins anew, or whose place is taken."""
        roster = self._course.roster
        return roster.members.get(request.member) if request.member else roster.by_instance(request.instance)

    def _turn_away(self, request: JoinRequest, token: Token, now: float) -> None:
        """All places are taken. Nobody waits for this one any more."""
        course = self._course
        self._desk.answer(token, JoinAnswer(ErrorCode.group_max_size_reached, NO_MEMBER))
        course.roster.pending.pop(request.member, None)
        if course.roster.refusal(request.member, request.instance) is ErrorCode.none:
            course.remove(course.roster.members[request.member])
        course.complete_if_joined(now)

    def _agrees(self, request: JoinRequest) -> bool:
        if self._course.phase is Phase.EMPTY:
            return bool(request.protocol_type) and bool(request.protocols)
        return self._course.roster.supports(request.protocol_type, request.protocols)

    # --- without an id ---------------------------------------------------------------------------------

    def _join_unknown(self, request: JoinRequest, token: Token, now: float) -> None:
        id_ = f"{request.instance or request.client_id}-{request.fresh}"
        before = self._course.roster.by_instance(request.instance)
        if before is not None:
            self._replace(before, id_, request, token, now)
        elif request.instance or request.version < _ID_REQUIRED_FROM:
            self._add(id_, request, token, now)
        else:
            until = self._desk.alarm(now + request.session_ms / 1000)
            self._course.roster.pending[id_] = until
            self._desk.answer(token, JoinAnswer(ErrorCode.member_id_required, id_))

    def _replace(self, member: Member, id_: str, request: JoinRequest, token: Token, now: float) -> None:
        """Somebody comes with the name of a static member."""
        course, roster = self._course, self._course.roster
        leader = roster.leader
        self._desk.dismiss(member, ErrorCode.fenced_instance_id, member.id)
        roster.rename(member, id_, request)
        roster.wait_to_join(member, token)
        if course.phase is Phase.STABLE and roster.select_protocol() == course.protocol:
            generation = course.generation

            def replaced(now: float) -> None:
                if course.phase is Phase.STABLE and course.generation == generation and member.id == id_:
                    answer = self._in_place(member, request.version, leader)
                    self._desk.answer_join(member, answer, now)

            course.keep_stable(replaced)
        else:
            reason = f"static member {request.instance!r} is {id_!r} now: {shown(request.reason)}"
            course.rebalance(reason, now)

    def _in_place(self, member: Member, version: int, leader_before: str) -> JoinAnswer:
        """What somebody is told who took the place of a static member while nothing else changed.

        One that leads must not deal out, since nobody would get anything of that. Versions that cannot say so
        name the leader as it was called before, which nobody is any more.
        """
        answer = self._course.joined(member)
        if version >= _SKIP_ASSIGNMENT_FROM:
            leads = self._course.roster.is_leader(member)
            return msgspec.structs.replace(answer, skip_assignment=leads)
        return msgspec.structs.replace(answer, leader=leader_before, members=())

    def _add(self, id_: str, request: JoinRequest, token: Token, now: float) -> None:
        """Somebody who was not there before."""
        course, roster = self._course, self._course.roster
        member = Member(id_, request.instance, new=True)
        member.take_in(request)
        if not roster.members:
            roster.protocol_type = request.protocol_type
        roster.add(member)
        roster.wait_to_join(member, token)
        # It may have given up and come again under another name, and cannot be heard while it waits.
        member.deadline = self._desk.alarm(now + NEW_MEMBER_SECONDS)
        course.note_newcomer()
        course.rebalance(f"{id_!r} joins: {shown(request.reason)}", now)

    # --- with an id ------------------------------------------------------------------------------------

    def _join_known(self, request: JoinRequest, token: Token, now: float) -> None:
        course, roster = self._course, self._course.roster
        if request.member in roster.pending and not request.instance:
            self._add(request.member, request, token, now)
            return
        error = roster.refusal(request.member, request.instance)
        if error is not ErrorCode.none:
            self._desk.answer(token, JoinAnswer(error, request.member))
            return
        member = roster.members[request.member]
        same = member.protocols == distinct(request.protocols)
        leads = course.phase is Phase.STABLE and roster.is_leader(member)
        if course.phase is Phase.PREPARING or leads or not same:
            # The leader may know of something that others do not, such as new partitions.
            self._join_anew(member, request, token, now)
        else:
            self._desk.extend(member, now)
            self._desk.answer(token, course.joined(member))  # it seems to have missed the answer

    def _join_anew(self, member: Member, request: JoinRequest, token: Token, now: float) -> None:
        course, roster = self._course, self._course.roster
        roster.update(member, request)
        before = roster.wait_to_join(member, token)
        if before is not None:
            self._desk.answer(before, JoinAnswer(ErrorCode.rebalance_in_progress, member.id))
        course.rebalance(f"{member.id!r} joins anew: {shown(request.reason)}", now)
