"""How much memory the requests and responses of all connections take together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from streamhouse.kafka.settings import GatewaySettings


class Waiting(Protocol):
    """Somebody who wants memory."""

    def regulate(self) -> None:
        """There is some again."""


class Memory:
    """Of one gateway; on its loop only.

    Requests are counted from the moment at which their reading begins, with all of their size: one that has
    begun can be finished. So there may be more than is allowed, by one request.

    Args:
        settings: The bounds.

    Attributes:
        request_bytes: What requests take.
        response_bytes: What responses take that clients have not read.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.request_bytes = 0
        self.response_bytes = 0
        self._requests_max = settings.request_memory_bytes_max
        self._responses_max = settings.response_memory_bytes_max
        self._waiting: dict[Waiting, None] = {}  # first come, first served

    @property
    def full(self) -> bool:
        """Whether requests take all that they may."""
        return self.request_bytes >= self._requests_max

    @property
    def response_room(self) -> int:
        """How much more may wait to be read by clients."""
        return max(0, self._responses_max - self.response_bytes)

    @property
    def responses_excess(self) -> int:
        """How much more waits than may."""
        return max(0, self.response_bytes - self._responses_max)

    def take(self, size: int) -> None:
        """A request needs so much."""
        self.request_bytes += size

    def give(self, size: int) -> None:
        """It needs that no more."""
        was_full = self.full
        self.request_bytes -= size
        if was_full and not self.full:
            waiting, self._waiting = self._waiting, {}
            for each in waiting:
                each.regulate()

    @contextmanager
    def more(self, size: int) -> Iterator[Held]:
        """For a request that may become larger than it came.

        Args:
            size: How much it takes already.
        """
        held = Held(self, size)
        try:
            yield held
        finally:
            held.give_back()

    def wait(self, who: Waiting) -> None:
        """Have somebody told when there is some again."""
        self._waiting[who] = None

    def forget(self, who: Waiting) -> None:
        """It waits no more."""
        self._waiting.pop(who, None)


class Held:
    """What a request takes beyond its own size.

    Args:
        memory: Where it comes from.
        size: That of the request.
    """

    def __init__(self, memory: Memory, size: int) -> None:
        self._memory = memory
        self._size = size
        self._needed = 0
        self._extra = 0

    def grow(self, size: int) -> None:
        """It has become so much."""
        self._needed += size
        extra = max(0, self._needed - self._size)
        self._memory.take(extra - self._extra)
        self._extra = extra

    def give_back(self) -> None:
        """It is done with."""
        self._memory.give(self._extra)
        self._extra = 0
