"""What goes into a classic group and what comes out of it: requests, answers, and what is to be done.

Texts that a client may leave out are empty here: an instance, a reason. What a client is told may be nothing,
though (``None``): JoinGroup before version 7 has an empty text instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from streamhouse.format.operations import ClassicGroup as KeptGroup
from streamhouse.kafka.protocol.errors import ErrorCode

Token: TypeAlias = object
"""Stands for a request that waits for its answer. Anything but ``None``; nobody looks into it."""

NO_GENERATION: Final = -1
NO_MEMBER: Final = ""
_REASON_CHARS_MAX: Final = 255
_SHOWN_MAX: Final = 5

# --- requests ------------------------------------------------------------------------------------------


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """JoinGroup.

    Attributes:
        version: Of the request.
        member: Its id; empty: it has none yet.
        instance: Name of a static member (KIP-345), or empty.
        client_id: What the client calls itself.
        host: Where it is.
        session_ms: After that long without a heartbeat it is taken for dead.
        rebalance_ms: How long it may take to join again; negative (version 0): as long as a session.
        protocol_type: ``consumer``, or what other programs form groups for.
        protocols: How it could get its share: names, the one it likes best first, each with metadata.
        reason: Why it joins, for the log (KIP-800).
        fresh: A random text that was never used: the id of a new member ends with it.
    """

    version: int
    member: str
    instance: str = ""
    client_id: str
    host: str
    session_ms: int
    rebalance_ms: int
    protocol_type: str
    protocols: tuple[tuple[str, bytes], ...]
    reason: str = ""
    fresh: str


class SyncRequest(msgspec.Struct, frozen=True, kw_only=True):
    """SyncGroup.

    Attributes:
        member: Its id.
        instance: Name of a static member, or empty.
        generation: The one it knows.
        protocol_type: What it takes the group for; ``None``: it does not say (before version 5; KIP-559).
        protocol: ... and the protocol that was agreed on.
        assignments: What the leader gives to whom, by member id.
    """

    member: str
    instance: str = ""
    generation: int
    protocol_type: str | None = None
    protocol: str | None = None
    assignments: tuple[tuple[str, bytes], ...] = ()


class HeartbeatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Heartbeat.

    Attributes:
        member: Its id.
        instance: Name of a static member, or empty.
        generation: The one it knows.
    """

    member: str
    instance: str = ""
    generation: int


class Leaver(msgspec.Struct, frozen=True, kw_only=True):
    """One of those who leave with a LeaveGroup request; before version 3 there is one.

    Attributes:
        member: Its id; empty: whoever has the instance now, as administrators want it.
        instance: Name of a static member, or empty.
        reason: Why it leaves, for the log (KIP-800).
    """

    member: str
    instance: str = ""
    reason: str = ""


# --- answers -------------------------------------------------------------------------------------------


class JoinedMember(msgspec.Struct, frozen=True):
    """What a leader is told of a member.

    Attributes:
        id: Its id.
        instance: Name of a static member, or empty.
        metadata: What it said about the protocol that was agreed on.
    """

    id: str
    instance: str
    metadata: bytes


class JoinAnswer(msgspec.Struct, frozen=True):
    """What JoinGroup is answered with.

    Attributes:
        error: Why it has not joined.
        member: Its id, which it may not have known.
        generation: The group's.
        protocol_type: What the group is for.
        protocol: What its members agreed on.
        leader: The one who deals out.
        skip_assignment: The leader must not deal out: things stay as they are (version 9; KIP-814).
        members: All of them, for the leader.
    """

    error: ErrorCode
    member: str
    generation: int = NO_GENERATION
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str = NO_MEMBER
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()


class SyncAnswer(msgspec.Struct, frozen=True):
    """What SyncGroup is answered with.

    Attributes:
        error: Why there is no assignment.
        protocol_type: What the group is for.
        protocol: What its members agreed on.
        assignment: What the member has been given.
    """

    error: ErrorCode
    protocol_type: str | None = None
    protocol: str | None = None
    assignment: bytes = b""


class HeartbeatAnswer(msgspec.Struct, frozen=True):
    """What Heartbeat is answered with.

    Attributes:
        error: What the member has to do, if anything.
    """

    error: ErrorCode


class LeftMember(msgspec.Struct, frozen=True):
    """What became of one of those who leave.

    Attributes:
        member: Its id, as the request had it.
        instance: Its instance, likewise.
        error: Why it has not left.
    """

    member: str
    instance: str
    error: ErrorCode


class LeaveAnswer(msgspec.Struct, frozen=True):
    """What LeaveGroup is answered with.

    Attributes:
        error: Why nobody has left.
        members: What became of each.
    """

    error: ErrorCode
    members: tuple[LeftMember, ...] = ()

    @property
    def first_error(self) -> ErrorCode:
        """What there is to say before version 3, where answers are about one member."""
        errors = (self.error, *(member.error for member in self.members))
        return next((error for error in errors if error is not ErrorCode.none), ErrorCode.none)


Response: TypeAlias = JoinAnswer | SyncAnswer | HeartbeatAnswer | LeaveAnswer

# --- what is to be done --------------------------------------------------------------------------------


class Answer(msgspec.Struct, frozen=True):
    """Send a response.

    Attributes:
        token: To whom.
        response: The response.
    """

    token: Token
    response: Response


class Keep(msgspec.Struct, frozen=True):
    """Note something in the log. There is no other one until the group was told that this one is durable.

    Attributes:
        content: How things stand in the group.
    """

    content: KeptGroup


class Wake(msgspec.Struct, frozen=True):
    """Let the group know when it is so late. The last one counts.

    Attributes:
        at: When, in the seconds that the group is told everywhere.
    """

    at: float


Effect: TypeAlias = Answer | Keep | Wake

# --- for administrators --------------------------------------------------------------------------------


class MemberView(msgspec.Struct, frozen=True):
    """A member, as DescribeGroups shows it.

    Attributes:
        id: Its id.
        instance: Name of a static member, or empty.
        client_id: What the client calls itself.
        host: Where it is.
        metadata: What it said about the protocol that was agreed on; nothing while the group is not stable.
        assignment: What it has been given.
    """

    id: str
    instance: str
    client_id: str
    host: str
    metadata: bytes
    assignment: bytes


class GroupView(msgspec.Struct, frozen=True):
    """A group, as DescribeGroups and ListGroups show it.

    Attributes:
        state: As Kafka calls it.
        protocol_type: What the group is for; empty while it never had members.
        protocol: What its members agreed on; empty while it is not stable.
        members: In the order in which they joined.
    """

    state: str
    protocol_type: str
    protocol: str
    members: tuple[MemberView, ...]


# --- for people who read what was logged ---------------------------------------------------------------


def shown(reason: str) -> str:
    """A reason that a client gave, or did not give (KIP-800)."""
    return repr(reason[:_REASON_CHARS_MAX]) if reason else "no reason given"


def some(texts: Sequence[str]) -> str:
    """The first few of many texts."""
    more = len(texts) - _SHOWN_MAX
    return ", ".join(texts[:_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
