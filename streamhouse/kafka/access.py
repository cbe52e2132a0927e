"""Who may do what, as the handlers ask it: everybody everything, or what ACLs say."""

from __future__ import annotations

from typing import Final

from streamhouse.kafka.security.authorizer import Authorizer
from streamhouse.kafka.security.bindings import OPERATIONS, Operation, ResourceType
from streamhouse.kafka.server.peer import Peer

_CLUSTER: Final = "kafka-cluster"


class Access:
    """Answers for one gateway.

    Args:
        authorizer: Knows the ACLs; ``None``: everybody may do everything.
    """

    def __init__(self, authorizer: Authorizer | None) -> None:
        self.authorizer = authorizer

    def topic(self, peer: Peer, operation: Operation, name: str) -> bool:
        """Whether a client may do something with a topic."""
        return self._allows(peer, operation, ResourceType.TOPIC, name)

    def creates_topic(self, peer: Peer, name: str) -> bool:
        """Whether it may make one: that one, or any."""
        return self.cluster(peer, Operation.CREATE) or self.topic(peer, Operation.CREATE, name)

    def group(self, peer: Peer, operation: Operation, name: str) -> bool:
        """Whether it may do something with a group."""
        return self._allows(peer, operation, ResourceType.GROUP, name)

    def transactional_id(self, peer: Peer, operation: Operation, name: str) -> bool:
        """Whether it may do something under a producer's name."""
        return self._allows(peer, operation, ResourceType.TRANSACTIONAL_ID, name)

    def cluster(self, peer: Peer, operation: Operation) -> bool:
        """Whether it may do something with the cluster."""
        return self._allows(peer, operation, ResourceType.CLUSTER, _CLUSTER)

    def idempotent_write(self, peer: Peer) -> bool:
        """Whether it may number what it writes: who may write anywhere may (KIP-679)."""
        if self.cluster(peer, Operation.IDEMPOTENT_WRITE) or self.authorizer is None:
            return True
        return self.authorizer.allows_any(peer.principal, peer.host, Operation.WRITE, ResourceType.TOPIC)

    def operations(self, peer: Peer, kind: ResourceType, name: str = _CLUSTER) -> int:
        """All that it may do with a resource, a bit per operation (KIP-430)."""
        if self.authorizer is None:
            return sum(1 << operation for operation in OPERATIONS[kind])
        return self.authorizer.operations(peer.principal, peer.host, kind, name)

    def _allows(self, peer: Peer, operation: Operation, kind: ResourceType, name: str) -> bool:
        if self.authorizer is None:
            return True
        return self.authorizer.allows(peer.principal, peer.host, operation, kind, name)
