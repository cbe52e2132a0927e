"""What a client says in a heartbeat of the newer protocol, and what it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from streamhouse.kafka.protocol.errors import ErrorCode

Place: TypeAlias = tuple[int, int]
"""Topic id and partition."""


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says.

    Attributes:
        group: The group.
        member: Its name, which it has made up itself.
        epoch: The one it is in; 0 to join, below 0 to leave.
        instance: Name of a static member, or empty.
        rebalance_seconds: How long it may take to give partitions back; ``None``: as said before.
        topics: Names it subscribes to; ``None``: as said before.
        pattern: ... and a pattern that names may match.
        may_see: Whether it may know that there is a topic of a name. It is for ACLs to say, which are looked
            up under the lock of the commits: do not hold that.
        assignor: Which one it would like; empty: any.
        owned: What it has now; ``None``: as said before.
        client_id: What it calls itself.
        host: Where it is.
    """

    group: str
    member: str
    epoch: int
    instance: str
    rebalance_seconds: float | None
    topics: tuple[str, ...] | None
    pattern: str | None
    may_see: Callable[[str], bool]
    assignor: str
    owned: frozenset[Place] | None
    client_id: str
    host: str

    @property
    def is_full(self) -> bool:
        """Whether it says everything: a client that joins does, and one that has missed an answer."""
        subscription = self.topics is not None or self.pattern is not None
        return subscription and self.owned is not None and self.rebalance_seconds is not None


class News(msgspec.Struct, frozen=True):
    """What a client is told.

    Attributes:
        error: Why there is nothing to tell.
        message: Says more.
        epoch: The one it is in now.
        assignment: What it shall have; ``None``: what it has.
    """

    error: ErrorCode = ErrorCode.none
    message: str | None = None
    epoch: int = 0
    assignment: tuple[Place, ...] | None = None
