"""The members of a classic group: who they are, what they can speak, who leads, and who has joined anew."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from streamhouse.format.operations import ClassicMember as KeptMember
from streamhouse.kafka.groups.classic_messages import NO_MEMBER, JoinedMember, JoinRequest, Token
from streamhouse.kafka.protocol.errors import ErrorCode

_MEMBER_BYTES: Final = 64  # for numbers and lengths, generously
_PROTOCOL_BYTES: Final = 16
Protocols = tuple[tuple[str, bytes], ...]


class Member:
    """One member.

    Attributes:
        id: Its name.
        instance: Name of a static member, or empty.
        client_id: What the client calls itself.
        host: Where it is.
        session_ms: After that long without a sign of life it is taken for dead.
        rebalance_ms: How long it may take to join again.
        protocols: Names and metadata, the one it likes best first; no name twice.
        assignment: What it has been given.
        joining: The JoinGroup request that waits for everybody to have joined.
        syncing: The SyncGroup request that waits for the leader's.
        deadline: When it is taken for dead.
        new: It waits for its first generation. It may not know its id, and cannot send heartbeats.
    """

    __slots__ = (
        "assignment",
        "client_id",
        "deadline",
        "host",
        "id",
        "instance",
        "joining",
        "new",
        "protocols",
        "rebalance_ms",
        "session_ms",
        "syncing",
    )

    def __init__(self, id_: str, instance: str, *, new: bool) -> None:
        self.id = id_
        self.instance = instance
        self.new = new
        self.client_id = self.host = ""
        self.session_ms = self.rebalance_ms = 0
        self.protocols: Protocols = ()
        self.assignment = b""
        self.joining: Token | None = None
        self.syncing: Token | None = None
        self.deadline = math.inf

    @property
    def waits(self) -> bool:
        """Whether one of its requests waits: it is there, then, and cannot say so."""
        return self.joining is not None or self.syncing is not None

    @property
    def size(self) -> int:
        """Bytes that it takes in the log, about; without its assignment."""
        return _MEMBER_BYTES + len(self.id) + _size(self.instance, self.client_id, self.host, self.protocols)

    def metadata(self, protocol: str) -> bytes:
        """What it said about a protocol."""
        return next((metadata for name, metadata in self.protocols if name == protocol), b"")

    def take_in(self, request: JoinRequest) -> None:
        """Note what it says of itself."""
        self.client_id = request.client_id
        self.host = request.host
        self.session_ms = request.session_ms
        self.rebalance_ms = request.session_ms if request.rebalance_ms < 0 else request.rebalance_ms
        self.protocols = distinct(request.protocols)

    def kept(self, assignment: bytes) -> KeptMember:
        """What the log has to know of it."""
        return KeptMember(
            self.id,
            self.instance,
            self.client_id,
            self.host,
            self.session_ms,
            self.rebalance_ms,
            self.protocols,
            assignment,
        )

    @staticmethod
    def restored(kept: KeptMember) -> Member:
        """A member as the log knew it."""
        member = Member(kept.id, kept.instance, new=False)
        member.client_id = kept.client_id
        member.host = kept.host
        member.session_ms = max(0, kept.session_ms)
        member.rebalance_ms = max(0, kept.rebalance_ms)
        member.protocols = distinct(kept.protocols)
        member.assignment = kept.assignment
        return member


class Roster:
    """All members of a group.

    Attributes:
        members: By id, in the order in which they joined.
        pending: Ids that were given out and have not joined yet (KIP-394), and until when they may.
        leader: The id of the member that deals out; empty: there are no members.
        protocol_type: What all members form the group for; empty while there never were any.
        joined: How many have a JoinGroup request waiting.
        size: Bytes that they take in the log, about; without assignments.
    """

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.pending: dict[str, float] = {}
        self.leader = NO_MEMBER
        self.protocol_type = ""
        self.joined = 0
        self.size = 0
        self._instances: dict[str, Member] = {}
        self._speakers: Counter[str] = Counter()  # how many members know a protocol

    # --- who is in there -------------------------------------------------------------------------------

    def by_instance(self, instance: str) -> Member | None:
        """The static member with that name."""
        return self._instances.get(instance) if instance else None

    def instances(self) -> Iterator[tuple[str, str]]:
        """Names and ids of static members."""
        return ((name, member.id) for name, member in self._instances.items())

    def refusal(self, id_: str, instance: str) -> ErrorCode:
        """Why somebody who says so is no member."""
        namesake = self._instances.get(instance)
        if instance and namesake is not None and namesake.id != id_:
            return ErrorCode.fenced_instance_id
        if id_ not in self.members or (instance and namesake is None):
            return ErrorCode.unknown_member_id
        return ErrorCode.none

    def is_leader(self, member: Member) -> bool:
        """Whether it is the one that deals out."""
        return member.id == self.leader

    @property
    def all_joined(self) -> bool:
        """Whether nobody has to be waited for."""
        return self.joined == len(self.members) and not self.pending

    def absent(self) -> list[Member]:
        """Those who have not joined anew."""
        return [member for member in self.members.values() if member.joining is None]

    @property
    def rebalance_seconds(self) -> float:
        """How long members may take to join anew: as long as the one that wants the longest."""
        return max((member.rebalance_ms for member in self.members.values()), default=0) / 1000

    def joined_members(self, protocol: str) -> tuple[JoinedMember, ...]:
        """What the leader needs to know to deal out."""
        return tuple(
            JoinedMember(member.id, member.instance, member.metadata(protocol))
            for member in self.members.values()
        )

    # --- coming and going ------------------------------------------------------------------------------

    def add(self, member: Member) -> None:
        """Take somebody in. The first one leads, and says what the group is for."""
        self.members[member.id] = member
        self.pending.pop(member.id, None)
        if member.instance:
            self._instances[member.instance] = member
        if not self.leader:
            self.leader = member.id
        self._count(member, 1)

    def remove(self, member: Member) -> None:
        """Let somebody go whose requests do not wait any more. If it led, another one does now."""
        del self.members[member.id]
        if member.instance:
            self._instances.pop(member.instance, None)
        self._count(member, -1)
        if self.is_leader(member):
            self.leader = next(iter(self.members), NO_MEMBER)

    def rename(self, member: Member, id_: str, request: JoinRequest) -> None:
        """Somebody takes the place of a static member, with all that it has."""
        led = self.is_leader(member)
        self.remove(member)
        member.id = id_
        member.new = False
        member.take_in(request)
        self.add(member)
        if led:
            self.leader = id_

    def update(self, member: Member, request: JoinRequest) -> None:
        """Somebody says something else of itself."""
        self._count(member, -1)
        member.take_in(request)
        self._count(member, 1)

    def _count(self, member: Member, by: int) -> None:
        self.size += by * member.size
        for name, _ in member.protocols:
            self._speakers[name] += by
            if not self._speakers[name]:
                del self._speakers[name]

    # --- requests that wait ----------------------------------------------------------------------------

    def wait_to_join(self, member: Member, token: Token) -> Token | None:
        """Let a JoinGroup request wait; the one that waited before, if there is one."""
        before, member.joining = member.joining, token
        self.joined += before is None
        return before

    def take_joining(self, member: Member) -> Token | None:
        """The JoinGroup request that waits, which is answered now."""
        token, member.joining = member.joining, None
        self.joined -= token is not None
        return token

    # --- what they agree on ----------------------------------------------------------------------------

    def supports(self, protocol_type: str, protocols: Protocols) -> bool:
        """Whether all members could agree with somebody who knows these protocols."""
        everybody = len(self.members)
        return protocol_type == self.protocol_type and any(
            self._speakers[name] == everybody for name, _ in protocols
        )

    def select_protocol(self) -> str:
        """The one that most members like best of those that all know."""
        everybody = len(self.members)
        candidates = {name for name, count in self._speakers.items() if count == everybody}
        votes = Counter(_vote(member, candidates) for member in self.members.values())
        return max(votes, key=votes.__getitem__)

    def elect_leader(self) -> bool:
        """See that somebody leads who has joined. The leader stays, unless it has not."""
        leader = self.members.get(self.leader)
        if leader is None or leader.joining is None:
            joined = (member.id for member in self.members.values() if member.joining is not None)
            elected = next(joined, NO_MEMBER)
            if not elected:
                return False
            self.leader = elected
        return True


def distinct(protocols: Iterable[tuple[str, bytes]]) -> Protocols:
    """Protocols without those that were named before."""
    found: dict[str, bytes] = {}
    for name, metadata in protocols:
        found.setdefault(name, metadata)
    return tuple(found.items())


def size_of(request: JoinRequest) -> int:
    """Bytes that a member would take in the log, about; without its id and its assignment."""
    return _MEMBER_BYTES + _size(request.instance, request.client_id, request.host, request.protocols)


def _size(instance: str, client_id: str, host: str, protocols: Protocols) -> int:
    texts = len(instance) + len(client_id) + len(host)
    return texts + sum(_PROTOCOL_BYTES + len(name) + len(metadata) for name, metadata in protocols)


def _vote(member: Member, candidates: Collection[str]) -> str:
    return next(name for name, _ in member.protocols if name in candidates)
