"""What gateways note about themselves in the log: entries that others than gateways look at, too.

A gateway speaks for clients of another protocol. Who wants to know whether such clients can still be there
asks whether any gateway is: it sets the entry :data:`ROLL_CALL`, and each one that lives writes its
heartbeat.
"""

from __future__ import annotations

from typing import Final

import msgspec

PREFIX: Final = "kafka/brokers/"
ROLL_CALL: Final = "kafka/roll-call"


class GatewayEntry(msgspec.Struct, array_like=True, frozen=True):
    """A gateway.

    Attributes:
        node_id: Its number.
        host: Where clients find it ...
        port: ... and at which port.
        rack: Where it is, or nothing.
        process: Whose heartbeat it is.
        session_ms: After so long without one it is dead.
    """

    node_id: int
    host: str
    port: int
    rack: str
    process: str
    session_ms: int


def entry_name(node_id: int) -> str:
    """The name of a gateway's entry."""
    return f"{PREFIX}{node_id}"


def encode_gateway(entry: GatewayEntry) -> bytes:
    """A gateway as it is noted."""
    return msgspec.msgpack.encode(entry)


def decode_gateway(value: bytes) -> GatewayEntry | None:
    """A gateway that was noted; ``None``: these bytes are none."""
    try:
        return msgspec.msgpack.decode(value, type=GatewayEntry)
    except msgspec.DecodeError:
        return None
