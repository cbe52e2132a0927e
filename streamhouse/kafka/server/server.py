"""Requests of all connections of a gateway, and who answers them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.errors import StreamhouseError
from streamhouse.kafka.protocol.apis import COORDINATED, FETCH, PRODUCE
from streamhouse.kafka.protocol.codec import (
    Fields,
    Header,
    decode_request,
    encode_response,
    error_fields,
)
from streamhouse.kafka.protocol.errors import ErrorCode, code_of, coordinator_code_of
from streamhouse.kafka.protocol.primitives import MalformedRequestError
from streamhouse.kafka.security.sasl import SaslSession
from streamhouse.kafka.server.connection import Connection
from streamhouse.kafka.server.connections import Connections
from streamhouse.kafka.server.metrics import Metrics
from streamhouse.kafka.server.peer import Peer
from streamhouse.kafka.settings import GatewaySettings

_BACKLOG: Final = 1024
_PLAIN_REQUEST_BYTES_MAX: Final = 16 << 20  # of those that bring no records
_INLINE_BYTES_MAX: Final = 64 << 10  # what is longer, or answered with more, is not done on the loop
_INLINE_PARTS_MAX: Final = 1_000
_BY_HAND: Final = frozenset({PRODUCE.key, FETCH.key})
_log: Final = logging.getLogger("streamhouse.kafka")


class Request(msgspec.Struct, frozen=True):
    """A request, for its handler.

    Attributes:
        header: What stands in front of it.
        frame: All of its bytes.
        peer: Who sent it.
        received_at: When it came, on the loop's clock.
        decoded: What it says, if that took long enough to be done elsewhere.
    """

    header: Header
    frame: memoryview
    peer: Peer
    received_at: float
    decoded: Any = None

    @property
    def version(self) -> int:
        """Of the message."""
        return self.header.version

    def body(self) -> Any:
        """What it says, as kio's dataclass.

        Raises:
            MalformedRequestError: It is not what its header says.
        """
        return decode_request(self.header, self.frame) if self.decoded is None else self.decoded


Handler: TypeAlias = Callable[[Request], Awaitable[Fields | Sequence[bytes]]]
"""Answers a kind of request: with fields, or with bytes that were encoded by hand (none: there is no
response)."""


RawSaslStep: TypeAlias = Callable[[Peer, bytes], Awaitable[bytes | None]]


Aside: TypeAlias = Callable[..., Awaitable[Any]]
"""Calls something on another thread."""


class Server:
    """Owned by the gateway; lives on its loop.

    Args:
        settings: Limits.
        new_sasl: Makes what a new connection has to go through before it may do anything; ``None``: nothing.
        unsupported: What to answer to a version that is not served, by number of the API; others are closed.
        aside: For what takes long.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        new_sasl: Callable[[], SaslSession | None],
        unsupported: Mapping[int, Callable[[Header], bytes]],
        aside: Aside,
    ) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.new_sasl = new_sasl
        self.metrics = Metrics()
        self.connections = Connections(settings, self.metrics, self.now)
        self.tls: ssl.SSLContext | None = None
        self._handlers: Mapping[int, Handler] = {}
        self._unsupported = unsupported
        self._aside = aside
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def bind(self, tls: ssl.SSLContext | None) -> int:
        """Take the address, without listening yet; the port.

        Raises:
            OSError: The address cannot be had.
        """
        self.tls = tls
        self._listener = await self.loop.create_server(
            lambda: Connection(self),
            self.settings.host,
            self.settings.port,
            backlog=_BACKLOG,
            start_serving=False,
        )
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def open(self, handlers: Mapping[int, Handler], raw_sasl_step: RawSaslStep) -> None:
        """Accept connections.

        Args:
            handlers: Who answers, by number of the API.
            raw_sasl_step: Takes what clients send that say who they are without a request.
        """
        self.raw_sasl_step = raw_sasl_step
        assert self._listener is not None
        self._handlers = handlers
        await self._listener.start_serving()
        self._sweeper = self.loop.create_task(self.connections.sweep())

    async def close(self, seconds: float) -> None:
        """Accept and read no more, let what is being worked on finish, then close all connections."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._listener is not None:
            self._listener.close()
        await self.connections.close(seconds)

    @property
    def connection_count(self) -> int:
        """How many connections there are."""
        return len(self.connections)

    def request_bytes_max(self, key: int) -> int:
        """How large a request of a kind may be."""
        largest = self.settings.request_bytes_max
        return largest if key == PRODUCE.key else min(largest, _PLAIN_REQUEST_BYTES_MAX)

    # --- requests ----------------------------------------------------------------------------------

    async def answer(self, connection: Connection, header: Header, frame: memoryview) -> Sequence[bytes]:
        """The response to a request; none for those that want none.

        Raises:
            MalformedRequestError: The connection is to be closed.
        """
        api = header.api
        handler = self._handlers.get(header.key)
        if api is None or handler is None:
            say = self._unsupported.get(header.key)
            if say is None:
                raise MalformedRequestError(f"request {header.key} version {header.version} is not served")
            return [say(header)]
        peer = connection.peer
        began = self.now()
        error: ErrorCode | None = None
        try:
            decoded = None
            if len(frame) > _INLINE_BYTES_MAX and header.key not in _BY_HAND:
                decoded = await self._aside(decode_request, header, frame)
            answer = await handler(Request(header, frame, peer, began, decoded))
            return [await self._encode(header, answer)] if isinstance(answer, Mapping) else answer
        except MalformedRequestError:
            error = ErrorCode.invalid_request
            raise
        except asyncio.CancelledError:
            raise
        except Exception as failure:
            if not isinstance(failure, StreamhouseError):
                _log.exception("request %s from %s failed", api.name, peer.host)
            error = coordinator_code_of(failure) if header.key in COORDINATED else code_of(failure)
            fields = error_fields(
                header, error, str(failure) if isinstance(failure, StreamhouseError) else None
            )
            if fields is None:
                raise MalformedRequestError(f"{api.name} failed: {failure}") from failure
            return [encode_response(header, fields)]
        finally:
            self.metrics.note(api.name, len(frame), self.now() - began, error)

    async def _encode(self, header: Header, answer: Fields) -> bytes:
        if _parts(answer) <= _INLINE_PARTS_MAX:
            return encode_response(header, answer)
        encoded: bytes = await self._aside(encode_response, header, answer)
        return encoded


def _parts(answer: Fields) -> int:
    """About how much there is to encode."""
    lists = [value for value in answer.values() if isinstance(value, (list, tuple))]
    parts = sum(map(len, lists))
    if parts <= _INLINE_PARTS_MAX:
        for item in itertools.chain.from_iterable(lists):
            if isinstance(item, Mapping):
                parts += sum(len(value) for value in item.values() if isinstance(value, (list, tuple)))
    return parts
