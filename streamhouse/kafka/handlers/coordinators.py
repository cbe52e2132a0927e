"""FindCoordinator: which gateway looks after a group, or after a producer with a name."""

from __future__ import annotations

from typing import Any, Final

from streamhouse.format.gateways import GatewayEntry
from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.security.bindings import Operation
from streamhouse.kafka.server.peer import Peer
from streamhouse.kafka.server.server import Request

_GROUP: Final = 0
_PRODUCER: Final = 1
_MANY_FROM: Final = 4
_NOBODY: Final = {"node_id": -1, "host": "", "port": -1}


class CoordinatorHandler:
    """Says where to go.

    Args:
        brokers: The gateways.
        access: Who may see what.
    """

    def __init__(self, brokers: Brokers, access: Access) -> None:
        self._brokers = brokers
        self._access = access

    async def find(self, request: Request) -> Fields:
        """One coordinator, or several."""
        body = request.body()
        kind = getattr(body, "key_type", _GROUP)
        if request.version >= _MANY_FROM:
            found = [{"key": key, **self._one(request.peer, kind, key)} for key in body.coordinator_keys]
            return {"throttle_time": 0, "coordinators": found}
        return {"throttle_time": 0, **self._one(request.peer, kind, body.key)}

    def _one(self, peer: Peer, kind: int, key: str) -> dict[str, Any]:
        if kind == _GROUP:
            if not self._access.group(peer, Operation.DESCRIBE, key):
                return _refused(ErrorCode.group_authorization_failed)
            return _found(self._brokers.coordinator_of_group(key))
        if kind == _PRODUCER:
            if not self._access.transactional_id(peer, Operation.DESCRIBE, key):
                return _refused(ErrorCode.transactional_id_authorization_failed)
            return _found(self._brokers.coordinator_of_producer(key))
        return _refused(ErrorCode.invalid_request)


def _found(broker: GatewayEntry) -> dict[str, Any]:
    return {
        "error_code": ErrorCode.none,
        "error_message": None,
        "node_id": broker.node_id,
        "host": broker.host,
        "port": broker.port,
    }


def _refused(error: ErrorCode) -> dict[str, Any]:
    return {"error_code": error, "error_message": error.name, **_NOBODY}
