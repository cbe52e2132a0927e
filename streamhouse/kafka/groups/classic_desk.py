"""Where the members of a classic group are heard and answered, and where their sessions end."""

from __future__ import annotations

import math

from streamhouse.format.operations import ClassicGroup as KeptGroup
from streamhouse.kafka.groups.classic_keeping import Keeping, Then
from streamhouse.kafka.groups.classic_members import Member, Roster
from streamhouse.kafka.groups.classic_messages import (
    NO_MEMBER,
    Answer,
    Effect,
    JoinAnswer,
    LeaveAnswer,
    Response,
    SyncAnswer,
    Token,
    Wake,
)
from streamhouse.kafka.protocol.errors import ErrorCode


class Desk:
    """What there is to do for one group: answers, something for the log, the next look at the clock.

    Args:
        content: What is in the log.

    Attributes:
        roster: The members.
        keeping: What is on its way to the log.
    """

    def __init__(self, content: KeptGroup | None) -> None:
        self.roster = Roster()
        self.keeping = Keeping(content)
        self._effects: list[Effect] = []
        self._wake_at = math.inf

    def take_effects(self) -> list[Effect]:
        """What is to be done."""
        effects, self._effects = self._effects, []
        return effects

    # --- answers ---------------------------------------------------------------------------------------

    def answer(self, token: Token, response: Response) -> None:
        """Answer a request."""
        self._effects.append(Answer(token, response))

    def answer_once_kept(self, token: Token, response: LeaveAnswer) -> None:
        """Likewise, but not before what is on its way to the log is there."""
        answer = self.keeping.hold(Answer(token, response))
        if answer is not None:
            self._effects.append(answer)

    def answer_join(self, member: Member, response: JoinAnswer, now: float) -> None:
        """Answer a member whose JoinGroup request waits, if it does."""
        token = self.roster.take_joining(member)
        if token is not None:
            self.answer(token, response)
            self.extend(member, now)

    def answer_sync(self, member: Member, response: SyncAnswer, now: float) -> None:
        """Answer a member whose SyncGroup request waits, if it does."""
        token, member.syncing = member.syncing, None
        if token is not None:
            self.answer(token, response)
            self.extend(member, now)

    def dismiss(self, member: Member, error: ErrorCode, id_: str) -> None:
        """Answer all requests of a member that wait with an error, and the id that it shall have."""
        token, member.syncing = member.syncing, None
        if token is not None:
            self.answer(token, SyncAnswer(error))
        token = self.roster.take_joining(member)
        if token is not None:
            self.answer(token, JoinAnswer(error, id_))

    def remove(self, member: Member) -> None:
        """Let a member go. If one of its requests waits it is told to join as somebody new."""
        self.dismiss(member, ErrorCode.unknown_member_id, NO_MEMBER)
        self.roster.remove(member)

    def abandon(self, error: ErrorCode) -> None:
        """Answer everything that waits, and know nobody any more."""
        for member in self.roster.members.values():
            self.dismiss(member, error, member.id)
        self._effects += self.keeping.abandon(error)
        self.roster = Roster()

    # --- the log ---------------------------------------------------------------------------------------

    def keep(self, content: KeptGroup, then: Then | None = None) -> None:
        """Have the log told how things stand, and do something once it knows."""
        more = self.keeping.keep(content, then)
        if more is not None:
            self._effects.append(more)

    def kept(self, now: float) -> None:
        """What was on its way to the log is there."""
        answers, more = self.keeping.kept(now)
        self._effects += answers
        if more is not None:
            self._effects.append(more)

    # --- time ------------------------------------------------------------------------------------------

    def alarm(self, at: float) -> float:
        """See that the group is told when it is so late; the same time."""
        if at < self._wake_at:
            self._wake_at = at
            self._effects.append(Wake(at))
        return at

    def set_alarm(self, *others: float) -> None:
        """See that the group is told when the first session ends, or it is as late as any of these times."""
        self._wake_at = math.inf
        deadlines = (member.deadline for member in self.roster.members.values())
        self.alarm(min((*others, *self.roster.pending.values(), *deadlines), default=math.inf))

    def extend(self, member: Member, now: float) -> None:
        """A member shows that it lives."""
        member.deadline = self.alarm(now + member.session_ms / 1000)

    def silent(self, now: float) -> list[Member]:
        """Members whose session is over. That of one that waits is not, unless it is new."""
        gone = []
        for member in self.roster.members.values():
            if member.deadline <= now:
                if member.waits and not member.new:
                    member.deadline = math.inf  # until it has its answer
                else:
                    gone.append(member)
        return gone
