"""Who is at the other end of a connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from streamhouse.kafka.tasks import Turns

if TYPE_CHECKING:
    from streamhouse.kafka.security.sasl import SaslSession

_NOBODY: Final = "User:ANONYMOUS"
_DECODED_AT_ONCE: Final = 4


class Peer:
    """Who is at the other end.

    Attributes:
        host: Its address.
        principal: Who it is, such as ``User:alice``.
        client_id: What it called itself in its last request.
        software: Name and version of its library, if it told them.
        sasl: How far it has come in saying who it is; ``None`` where it need not.
        produces: The order of what it sent to be stored.
        decoding: So much of that is decoded at once: the threads for it are there for others, too.
        muted_until: Nothing is read from it before, for it is above a quota; on the loop's clock.
    """

    __slots__ = (
        "client_id",
        "decoding",
        "host",
        "muted_until",
        "principal",
        "produces",
        "sasl",
        "software",
    )

    def __init__(self, host: str, sasl: SaslSession | None) -> None:
        self.host = host
        self.principal = _NOBODY
        self.client_id: str | None = None
        self.software = ("", "")
        self.sasl = sasl
        self.produces = Turns()
        self.decoding = asyncio.Semaphore(_DECODED_AT_ONCE)
        self.muted_until = 0.0
