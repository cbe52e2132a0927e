"""One connection: requests are handled as they come, and answered in the order in which they came.

Handlers start at once and may wait for a long time (for a commit, for records, for the other members of a
group), so a slow one must not hold up those behind it. But Kafka's protocol wants responses in order. So each
request gets a place in a queue, and a response leaves when all before it have left.

What a connection may hold is bounded: requests being worked on, and unsent responses. Beyond that nothing is
read from it, and TCP tells the client.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from streamhouse.kafka.protocol.apis import PRODUCE
from streamhouse.kafka.protocol.codec import Header, decode_header
from streamhouse.kafka.protocol.primitives import MalformedRequestError
from streamhouse.kafka.server.framing import Framer, FrameTooLargeError
from streamhouse.kafka.tasks import Turns

if TYPE_CHECKING:
    from streamhouse.kafka.security.sasl import SaslSession
    from streamhouse.kafka.server.server import Server

_UNSENT_BYTES_MAX: Final = 16 << 20
_NOBODY: Final = "User:ANONYMOUS"
_STRANGERS_REQUEST_BYTES_MAX: Final = 64 << 10
_SIZE: Final = struct.Struct(">i")
_log: Final = logging.getLogger("streamhouse.kafka")


class Peer:
    """Who is at the other end.

    Attributes:
        host: Its address.
        principal: Who it is, such as ``User:alice``.
        client_id: What it called itself in its last request.
        software: Name and version of its library, if it told them.
        sasl: How far it has come in saying who it is; ``None`` where it need not.
        produces: The order of what it sent to be stored.
        muted_until: Nothing is read from it before, for it is above a quota; on the loop's clock.
    """

    __slots__ = ("client_id", "host", "muted_until", "principal", "produces", "sasl", "software")

    def __init__(self, host: str, sasl: SaslSession | None) -> None:
        self.host = host
        self.principal = _NOBODY
        self.client_id: str | None = None
        self.software = ("", "")
        self.sasl = sasl
        self.produces = Turns()
        self.muted_until = 0.0


class _Place:
    """A request's place in the queue of responses."""

    __slots__ = ("answer", "done", "lasting", "size")

    def __init__(self, size: int, *, lasting: bool) -> None:
        self.size = size
        self.lasting = lasting
        self.done = False
        self.answer: Sequence[bytes] = ()


class Connection(asyncio.BufferedProtocol):
    """Made by the server for each client."""

    def __init__(self, server: Server) -> None:
        self.peer = Peer("", None)
        self._server = server
        self._framer = Framer(server.settings.request_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._places: deque[_Place] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held_bytes = 0
        self._read_paused = False
        self._write_paused = False
        self._unmute: asyncio.TimerHandle | None = None
        self._closing = False
        self.active_at = server.now()

    # --- called by asyncio -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES_MAX)
        address = transport.get_extra_info("peername")
        self.peer = Peer(str(address[0]) if address else "", self._server.new_sasl())
        if self.peer.sasl is not None:
            self._framer.frame_bytes_max = min(self._framer.frame_bytes_max, _STRANGERS_REQUEST_BYTES_MAX)
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self.peer.principal = f"User:{distinguished_name(certificate)}"
        if not self._server.admit(self):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        if self._unmute is not None:
            self._unmute.cancel()
        self._places = deque(place for place in self._places if place.lasting and not place.done)
        self._give_back(self._held_bytes - sum(place.size for place in self._places))
        self._server.leave(self)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - likewise
        return cast("bytearray", self._framer.buffer())

    def buffer_updated(self, nbytes: int) -> None:
        self.active_at = self._server.now()
        try:
            for frame in self._framer.received(nbytes):
                if self._closing:
                    return
                self._begin(frame)
        except (FrameTooLargeError, MalformedRequestError) as error:
            self.refuse(str(error))
        self.regulate()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._write_paused = True
        self.regulate()

    def resume_writing(self) -> None:
        self._write_paused = False
        self.regulate()

    # --- for the server ----------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing of it is being worked on."""
        return not self._places

    def regulate(self) -> None:
        """Read on, or do not for now."""
        transport = self._transport
        if transport is None or self._closing:
            return
        full = (
            self._write_paused
            or len(self._places) >= self._server.settings.requests_in_flight_max
            or self._server.memory_full
            or self._server.closing
            or self._is_muted()
        )
        if full and not self._read_paused:
            self._read_paused = True
            transport.pause_reading()
            self._server.waiting.add(self)
        elif not full and self._read_paused:
            self._read_paused = False
            self._server.waiting.discard(self)
            transport.resume_reading()

    def _is_muted(self) -> bool:
        """Whether its client is above a quota; if so it is looked at again in time."""
        left = self.peer.muted_until - self._server.now()
        if left > 0 and self._unmute is None:
            self._unmute = self._server.loop.call_later(left, self._end_mute)
        return left > 0

    def _end_mute(self) -> None:
        self._unmute = None
        self.regulate()

    def refuse(self, why: str) -> None:
        """Close, for what the client does makes no sense."""
        if not self._closing:
            _log.warning("connection from %s closed: %s", self.peer.host, why)
            self.close()

    def close(self) -> None:
        """Send what is ready, then close."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # --- requests ----------------------------------------------------------------------------------

    def _begin(self, frame: memoryview) -> None:
        sasl = self.peer.sasl
        if sasl is not None and sasl.raw and not sasl.done:
            self._start(lambda place: self._work_raw(bytes(frame), place), _Place(len(frame), lasting=False))
            return
        header = decode_header(frame)
        self.peer.client_id = header.client_id
        # Who asks for no acknowledgement may be gone as soon as it has sent its records.
        place = _Place(len(frame), lasting=header.key == PRODUCE.key)
        self._start(lambda place: self._work(header, frame, place), place)

    def _start(self, work: Callable[[_Place], Coroutine[None, None, None]], place: _Place) -> None:
        self._places.append(place)
        self._held_bytes += place.size
        self._server.take(place.size)
        task = self._server.loop.create_task(work(place))
        if place.lasting:
            self._server.outlast(task)
            task.add_done_callback(lambda _: self._end_lasting(place))
        else:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _end_lasting(self, place: _Place) -> None:
        """Forget a request that ended without an answer, after its connection did."""
        if self._closing and not place.done and place in self._places:
            self._finish(place, ())

    async def _work(self, header: Header, frame: memoryview, place: _Place) -> None:
        try:
            answer = await self._server.answer(self, header, frame)
        except MalformedRequestError as error:
            self.refuse(str(error))
            return
        self._finish(place, answer)
        self._heed_sasl()

    async def _work_raw(self, token: bytes, place: _Place) -> None:
        """A step of SASL without a request around it (after SaslHandshake 0)."""
        answer = await self._server.raw_sasl_step(self.peer, token)
        self._finish(place, () if answer is None else (_SIZE.pack(len(answer)) + answer,))
        self._heed_sasl()

    def _heed_sasl(self) -> None:
        """Listen to who has said who it is, and do not to who could not."""
        sasl = self.peer.sasl
        if sasl is None:
            return
        if sasl.failed and not self._closing:
            _log.warning("connection from %s closed: it could not say who it is", self.peer.host)
            self.close()
        elif sasl.done:
            self._framer.frame_bytes_max = self._server.settings.request_bytes_max

    def _finish(self, place: _Place, answer: Sequence[bytes]) -> None:
        place.answer = answer
        place.done = True
        ready: list[bytes] = []
        freed = 0
        while self._places and self._places[0].done:
            first = self._places.popleft()
            ready += first.answer
            freed += first.size
        if ready and self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(ready)
        self._give_back(freed)
        self.regulate()

    def _give_back(self, size: int) -> None:
        self._held_bytes -= size
        self._server.give(size)


def distinguished_name(certificate: Mapping[str, Any]) -> str:
    """Whose certificate it is, as RFC 4514 writes it: for Kafka the name of the user, with mutual TLS."""
    parts = [pair for group in certificate.get("subject", ()) for pair in group]
    return ",".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in reversed(parts))


def _escaped(value: str) -> str:
    text = "".join(f"\\{c}" if c in _SPECIAL else c for c in value).replace("\0", "\\00")
    if text.startswith((" ", "#")):
        text = "\\" + text
    return f"{text[:-1]}\\ " if text.endswith(" ") and len(value) > 1 else text


_SPECIAL: Final = frozenset('"+,;<=>\\')
_SHORT: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def joined(pieces: Iterable[bytes]) -> list[bytes]:
    """Pieces of a response, small ones put together: each costs a call into the transport."""
    out: list[bytes] = []
    small: list[bytes] = []
    for piece in pieces:
        if len(piece) < _WORTH_A_CALL_BYTES:
            small.append(piece)
            continue
        if small:
            out.append(b"".join(small))
            small = []
        out.append(piece)
    if small:
        out.append(b"".join(small))
    return out


_WORTH_A_CALL_BYTES: Final = 16 << 10
