"""All connections of a gateway: who may connect, how much memory requests may take, who handles them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.errors import StreamhouseError
from streamhouse.kafka.protocol.apis import WITHOUT_AUTHENTICATION
from streamhouse.kafka.protocol.codec import (
    Fields,
    Header,
    decode_request,
    encode_response,
    error_fields,
)
from streamhouse.kafka.protocol.errors import ErrorCode, code_of
from streamhouse.kafka.protocol.primitives import MalformedRequestError
from streamhouse.kafka.security.sasl import SaslSession
from streamhouse.kafka.server.connection import Connection, Peer
from streamhouse.kafka.server.metrics import Metrics
from streamhouse.kafka.settings import GatewaySettings
from streamhouse.kafka.tasks import ended

_SWEEP_SECONDS: Final = 1.0
_BACKLOG: Final = 1024
_log: Final = logging.getLogger("streamhouse.kafka")


class Request(msgspec.Struct, frozen=True):
    """A request, for its handler.

    Attributes:
        header: What stands in front of it.
        frame: All of its bytes.
        peer: Who sent it.
        received_at: When it came, on the loop's clock.
    """

    header: Header
    frame: memoryview
    peer: Peer
    received_at: float

    @property
    def version(self) -> int:
        """Of the message."""
        return self.header.version

    def body(self) -> Any:
        """What it says, as kio's dataclass.

        Raises:
            MalformedRequestError: It is not what its header says.
        """
        return decode_request(self.header, self.frame)


Handler: TypeAlias = Callable[[Request], Awaitable[Fields | Sequence[bytes]]]
"""Answers a kind of request: with fields, or with bytes that were encoded by hand (none: there is no
response)."""


RawSaslStep: TypeAlias = Callable[[Peer, bytes], Awaitable[bytes | None]]


class Server:
    """Owned by the gateway; lives on its loop.

    Args:
        settings: Limits.
        new_sasl: Makes what a new connection has to go through before it may do anything; ``None``: nothing.
        unsupported: What to answer to a version that is not served, by number of the API; others are closed.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        new_sasl: Callable[[], SaslSession | None],
        unsupported: Mapping[int, Callable[[Header], bytes]],
    ) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.new_sasl = new_sasl
        self.metrics = Metrics()
        self.waiting: set[Connection] = set()  # nothing is read from these for now
        self._handlers: Mapping[int, Handler] = {}
        self._unsupported = unsupported
        self._connections: set[Connection] = set()
        self._per_host: Counter[str] = Counter()
        self._held_bytes = 0
        self._lasting: set[asyncio.Task[None]] = set()  # they go on when their connections are gone
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.closing = False
        self._at_rest = asyncio.Event()  # nothing is being worked on
        self._gone = asyncio.Event()  # no connection is left

    # --- life --------------------------------------------------------------------------------------

    async def bind(self, tls: Any) -> int:
        """Take the address, without listening yet; the port.

        Raises:
            OSError: The address cannot be had.
        """
        self._listener = await self.loop.create_server(
            lambda: Connection(self),
            self.settings.host,
            self.settings.port,
            ssl=tls,
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
        self._sweeper = self.loop.create_task(self._sweep())

    async def close(self, seconds: float) -> None:
        """Accept and read no more, let what is being worked on finish, then close all connections."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._listener is not None:
            self._listener.close()
        self.closing = True
        for connection in list(self._connections):
            connection.regulate()
        self._note_rest()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._at_rest.wait(), seconds)
        for connection in list(self._connections):
            connection.abort()
        self._note_gone()
        await self._gone.wait()
        await ended(*self._lasting)

    # --- connections -------------------------------------------------------------------------------

    @property
    def connection_count(self) -> int:
        """How many there are."""
        return len(self._connections)

    def admit(self, connection: Connection) -> bool:
        """Let a new connection in, if there is room."""
        settings, host = self.settings, connection.peer.host
        if (
            len(self._connections) >= settings.connections_max
            or self._per_host[host] >= settings.connections_per_host_max
        ):
            self.metrics.connections_refused += 1
            return False
        self._connections.add(connection)
        self._per_host[host] += 1
        return True

    def leave(self, connection: Connection) -> None:
        """It is gone."""
        self.waiting.discard(connection)
        if connection in self._connections:
            self._connections.discard(connection)
            self._per_host[connection.peer.host] -= 1
            if not self._per_host[connection.peer.host]:
                del self._per_host[connection.peer.host]
        self._note_gone()

    def _note_rest(self) -> None:
        if self.closing and not self._held_bytes and all(each.idle for each in self._connections):
            self._at_rest.set()

    def _note_gone(self) -> None:
        if self.closing and not self._connections:
            self._gone.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            horizon = self.now() - self.settings.idle_seconds_max
            for connection in list(self._connections):
                if connection.idle and connection.active_at < horizon:
                    connection.close()

    def outlast(self, task: asyncio.Task[None]) -> None:
        """Have a request worked on to its end, whatever becomes of its connection."""
        self._lasting.add(task)
        task.add_done_callback(self._lasting.discard)

    # --- memory ------------------------------------------------------------------------------------

    @property
    def memory_full(self) -> bool:
        """Whether requests take all the memory they may."""
        return self._held_bytes >= self.settings.request_memory_bytes_max

    def take(self, size: int) -> None:
        """A request came in."""
        self._held_bytes += size

    def give(self, size: int) -> None:
        """Requests were answered."""
        was_full = self.memory_full
        self._held_bytes -= size
        if was_full and not self.memory_full:
            for connection in list(self.waiting):
                connection.regulate()
        self._note_rest()

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
        if peer.sasl is not None and not peer.sasl.done and header.key not in WITHOUT_AUTHENTICATION:
            raise MalformedRequestError(f"{api.name} before authentication")
        began = self.now()
        error: ErrorCode | None = None
        try:
            answer = await handler(Request(header, frame, peer, began))
            return [encode_response(header, answer)] if isinstance(answer, Mapping) else answer
        except MalformedRequestError:
            error = ErrorCode.invalid_request
            raise
        except asyncio.CancelledError:
            raise
        except Exception as failure:
            if not isinstance(failure, StreamhouseError):
                _log.exception("request %s from %s failed", api.name, peer.host)
            error = code_of(failure)
            fields = error_fields(
                header, error, str(failure) if isinstance(failure, StreamhouseError) else None
            )
            if fields is None:
                raise MalformedRequestError(f"{api.name} failed: {failure}") from failure
            return [encode_response(header, fields)]
        finally:
            self.metrics.note(api.name, len(frame), self.now() - began, error)
