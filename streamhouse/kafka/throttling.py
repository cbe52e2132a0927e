"""Quotas enforced: who sends or fetches too much is answered, told to wait, and not listened to for so long.

A token bucket for each quota. It holds what the quota allows in a second, and may be overdrawn: a request is
never cut up, and who has taken too much waits until it is made up for (KIP-219). As in Kafka quotas hold per
gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from streamhouse.kafka.security.quota_store import QuotaStore
from streamhouse.kafka.security.quotas import CONSUMER_BYTE_RATE, PRODUCER_BYTE_RATE, Limit
from streamhouse.kafka.server.metrics import Metrics
from streamhouse.kafka.server.peer import Peer
from streamhouse.kafka.settings import GatewaySettings

BURST_SECONDS: Final = 1.0
_BUCKETS_MAX: Final = 10_000
_WAIT_SECONDS_MAX: Final = (2**31 - 1) / 1000  # answers have 31 bits for it, in milliseconds
_USER: Final = "User:"


class Bucket(msgspec.Struct):
    """What may be taken now, under one quota. Below zero: somebody has to wait.

    Attributes:
        rate: What comes in, bytes a second.
        level: What there is, as of ``at``.
        at: The time, seconds.
    """

    rate: float
    level: float
    at: float

    def take(self, amount: float, rate: float, now: float) -> float:
        """Take that much; for how many seconds nothing more may be taken."""
        full = rate * BURST_SECONDS
        self.level = min(full, self.level + (now - self.at) * rate) - amount
        self.rate, self.at = rate, now
        return max(0.0, -self.level / rate)

    def is_full(self, now: float) -> bool:
        """Whether it is as good as a new one."""
        return self.level + (now - self.at) * self.rate >= self.rate * BURST_SECONDS


class Throttle:
    """Of one gateway; on its loop only.

    Args:
        settings: Quotas of those who have none of their own.
        quotas: Those that are set.
        metrics: Counts who had to wait.
        clock: Seconds.
    """

    def __init__(
        self, settings: GatewaySettings, quotas: QuotaStore, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._quotas = quotas
        self._metrics = metrics
        self._clock = clock
        self._defaults = {
            PRODUCER_BYTE_RATE: settings.produce_bytes_per_second_max,
            CONSUMER_BYTE_RATE: settings.fetch_bytes_per_second_max,
        }
        self._buckets: dict[tuple[str, str, str], Bucket] = {}

    def produced(self, peer: Peer, size: int) -> int:
        """Note what a client sent; for how many milliseconds it has to wait now."""
        return self._charge(PRODUCER_BYTE_RATE, peer, size)

    def fetched(self, peer: Peer, size: int) -> int:
        """Note what a client got."""
        return self._charge(CONSUMER_BYTE_RATE, peer, size)

    def fetchable_bytes(self, peer: Peer) -> int | None:
        """How much a client may get at once, so that it need not wait for ever; ``None``: anything."""
        limit = self._limit(CONSUMER_BYTE_RATE, peer)
        return None if limit is None else int(limit.value * BURST_SECONDS)

    def _charge(self, key: str, peer: Peer, size: int) -> int:
        limit = self._limit(key, peer)
        if limit is None or not size:
            return 0
        now = self._clock()
        shared = (key, limit.user, limit.client_id)
        bucket = self._buckets.get(shared)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[shared] = Bucket(limit.value, limit.value * BURST_SECONDS, now)
        wait = min(bucket.take(size, limit.value, now), _WAIT_SECONDS_MAX)
        if wait > 0:
            peer.muted_until = max(peer.muted_until, now + wait)
            self._metrics.throttled += 1
        return round(wait * 1000)

    def _limit(self, key: str, peer: Peer) -> Limit | None:
        user, client_id = peer.principal.removeprefix(_USER), peer.client_id or ""
        limit = self._quotas.limit(key, user, client_id)
        default = self._defaults[key]
        return limit if limit is not None or default is None else Limit(default, user, client_id)

    def _make_room(self, now: float) -> None:
        """Forget those who need not wait, if there are many: clients may call themselves what they like."""
        if len(self._buckets) >= _BUCKETS_MAX:
            self._buckets = {key: each for key, each in self._buckets.items() if not each.is_full(now)}
