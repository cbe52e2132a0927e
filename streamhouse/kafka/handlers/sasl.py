"""SaslHandshake and SaslAuthenticate: who a client is."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from streamhouse.errors import StreamhouseError
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.codec import Fields
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.security.sasl import Continue, Done, Failed, SaslSession, Step
from streamhouse.kafka.server.peer import Peer
from streamhouse.kafka.server.server import Request

_PAUSE_SECONDS: Final = 0.1  # before a refusal, as ``connection.failed.authentication.delay.ms``


class SaslHandlers:
    """Lets clients say who they are.

    Args:
        parts: The gateway's.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def handshake(self, request: Request) -> Fields:
        """A client chooses a mechanism."""
        body = request.body()
        session = request.peer.sasl
        if session is None:  # there is nothing to say
            return {"error_code": ErrorCode.illegal_sasl_state, "mechanisms": ()}
        error = session.handshake(body.mechanism, request.version)
        return {"error_code": error, "mechanisms": session.mechanisms}

    async def authenticate(self, request: Request) -> Fields:
        """A step of the mechanism."""
        body = request.body()
        step = await self._step(request.peer, body.auth_bytes)
        fields: dict[str, Any] = {
            "error_code": ErrorCode.none,
            "error_message": None,
            "auth_bytes": b"",
            "session_lifetime": 0,
        }
        if isinstance(step, Failed):
            return fields | {"error_code": step.error, "error_message": step.message}
        if isinstance(step, Done):
            fields["session_lifetime"] = step.session_lifetime_ms
        return fields | {"auth_bytes": step.data}

    async def raw_step(self, peer: Peer, data: bytes) -> bytes | None:
        """Likewise for clients that send it without a request around it; ``None``: refused."""
        step = await self._step(peer, data)
        return None if isinstance(step, Failed) else step.data

    async def _step(self, peer: Peer, data: bytes) -> Step:
        session: SaslSession | None = peer.sasl
        if session is None:
            return Failed("this gateway does not ask who you are", ErrorCode.illegal_sasl_state)
        try:
            step: Continue | Done | Failed = await self._parts.aside(session.authenticate, data)
        except StreamhouseError as error:
            step = Failed(f"users cannot be looked up: {error}")
        if isinstance(step, Failed):
            await asyncio.sleep(_PAUSE_SECONDS)
        elif isinstance(step, Done):
            peer.principal = step.principal
        return step
