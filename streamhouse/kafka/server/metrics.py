"""How many requests of each kind there were, how large they were and how long they took."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

from streamhouse.kafka.protocol.errors import ErrorCode

_BOUNDS_MS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class ApiMetrics(msgspec.Struct):
    """Of one kind of request, since the gateway started.

    Attributes:
        requests: How many.
        request_bytes: Their size.
        errors: Those that failed as a whole.
        seconds: Time that answering took, waiting included.
        buckets: How many took at most 0.1, 0.2, 0.5, 1, 2, 5 ... 10,000 milliseconds; the last one is for
            longer ones.
    """

    requests: int = 0
    request_bytes: int = 0
    errors: int = 0
    seconds: float = 0.0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(_BOUNDS_MS) + 1))

    def quantile_ms(self, share: float) -> float:
        """Within how many milliseconds that share of the requests was answered, about."""
        wanted = share * self.requests
        seen = 0
        for bound, count in zip((*_BOUNDS_MS, float("inf")), self.buckets, strict=True):
            seen += count
            if seen >= wanted:
                return bound
        return float("inf")


class Metrics:
    """Counters of a gateway; written on its loop only.

    Attributes:
        apis: By name of the API.
        connections_refused: Connections that there was no room for.
        records_in: Records that producers sent.
        bytes_in: Size of their batches.
        bytes_out: Size of what consumers fetched.
        throttled: Requests after which a client had to wait, for its quota.
    """

    def __init__(self) -> None:
        self.apis: dict[str, ApiMetrics] = {}
        self.connections_refused = 0
        self.records_in = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.throttled = 0

    def note(self, api: str, size: int, seconds: float, error: ErrorCode | None) -> None:
        """Count a request."""
        metrics = self.apis.get(api)
        if metrics is None:
            metrics = self.apis[api] = ApiMetrics()
        metrics.requests += 1
        metrics.request_bytes += size
        metrics.seconds += seconds
        metrics.errors += error is not None
        metrics.buckets[bisect_left(_BOUNDS_MS, seconds * 1000)] += 1
