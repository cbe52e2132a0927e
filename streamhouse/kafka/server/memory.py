"""How much memory the requests and responses of all connections take together."""

from __future__ import annotations

from streamhouse.kafka.settings import GatewaySettings


class Memory:
    """Of one gateway; on its loop only.

    Requests are counted from the moment at which their reading begins, with all of their size: one that has
    begun can be finished. So there may be more than is allowed, by one request.

    Args:
        settings: The bounds.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._requests_max = settings.request_memory_bytes_max
        self._responses_max = settings.response_memory_bytes_max
        self.request_bytes = 0
        self.response_bytes = 0

    @property
    def full(self) -> bool:
        """Whether requests take all that they may."""
        return self.request_bytes >= self._requests_max

    @property
    def response_room(self) -> int:
        """How much more may wait to be taken by clients."""
        return max(0, self._responses_max - self.response_bytes)

    @property
    def responses_excess(self) -> int:
        """How much more waits than may."""
        return max(0, self.response_bytes - self._responses_max)
