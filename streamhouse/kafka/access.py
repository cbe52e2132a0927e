"""Who may do what, as the handlers ask it."""

from __future__ import annotations

from typing import Final

from streamhouse.kafka.server.connection import Peer

_ALL_OF_TOPIC: Final = 0x1F8 | 1 << 10 | 1 << 11
_ALL_OF_CLUSTER: Final = 0x1FA0
_ALL_OF_GROUP: Final = 1 << 3 | 1 << 6 | 1 << 8


class Access:
    """Everybody may do everything."""

    def topic(self, peer: Peer, operation: str, name: str) -> bool:
        return True

    def creates_topic(self, peer: Peer, name: str) -> bool:
        return True

    def group(self, peer: Peer, operation: str, name: str) -> bool:
        return True

    def cluster(self, peer: Peer, operation: str) -> bool:
        return True

    def transactional_id(self, peer: Peer, operation: str, name: str) -> bool:
        return True

    def idempotent_write(self, peer: Peer) -> bool:
        return True

    def topic_operations(self, peer: Peer, name: str) -> int:
        return _ALL_OF_TOPIC

    def cluster_operations(self, peer: Peer) -> int:
        return _ALL_OF_CLUSTER

    def group_operations(self, peer: Peer, name: str) -> int:
        return _ALL_OF_GROUP
