"""One connection: requests are handled as they come, and answered in the order in which they came.

Handlers start at once and may wait for a long time (for a commit, for the other members of a group), so a
slow one must not hold up those behind it. But Kafka's protocol wants responses in order. So each request gets
a place in a queue, and a response leaves when all before it have left. Requests whose answers may be large
are begun only when it is their turn: there is one such answer in memory, however many a client asks for.

What a connection may hold is bounded: requests being worked on, and unsent responses. Beyond that nothing is
read from it, and TCP tells the client.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Final, cast

from streamhouse.kafka.protocol.apis import LARGE_ANSWERS, PRODUCE, WITHOUT_AUTHENTICATION
from streamhouse.kafka.protocol.codec import Header, decode_header
from streamhouse.kafka.protocol.primitives import MalformedRequestError
from streamhouse.kafka.server.framing import Framer, FrameTooLargeError
from streamhouse.kafka.server.peer import Peer
from streamhouse.kafka.server.tls import distinguished_name, handshake

if TYPE_CHECKING:
    from streamhouse.kafka.server.server import Server

_UNSENT_BYTES_MAX: Final = 1 << 20
_STRANGERS_REQUEST_BYTES_MAX: Final = 64 << 10
_STRANGERS_SECONDS_MAX: Final = 30.0
_FLUSH_SECONDS_MAX: Final = 5.0  # for what is ready when a connection is closed
_FAREWELL_SECONDS: Final = 0.1  # between why it has to go and its going
_STALLED_SECONDS: Final = 5.0  # without a byte of a large request
_REQUEST_SECONDS: Final = 60.0
_CLOGGED_SECONDS: Final = 0.01
_SIZE: Final = struct.Struct(">i")


class _Place:
    """A request's place in the queue of responses."""

    __slots__ = ("answer", "done", "lasting", "size", "turn")

    def __init__(self, size: int, *, lasting: bool) -> None:
        self.size = size
        self.lasting = lasting
        self.done = False
        self.answer: Sequence[bytes] = ()
        self.turn: asyncio.Future[None] | None = None  # it waits to be the first


class Connection(asyncio.BufferedProtocol):
    """Made by the server for each client."""

    def __init__(self, server: Server) -> None:
        self.peer = Peer("", None)
        self._server = server
        self._connections = server.connections
        self._framer = Framer(server.settings.request_bytes_max, server.request_bytes_max)
        self._socket: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None  # with TLS another one, once that is agreed upon
        self._securing: asyncio.Task[None] | None = None
        self._places: deque[_Place] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held_bytes = 0
        self._granted_bytes = 0  # of these, for a large request that is being read
        self._granted_at = 0.0
        self._unsent_bytes = 0
        self._read_paused = False
        self._write_paused = False
        self._alarms: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._closing = False
        self._lost = False
        self.made_at = self.active_at = self.progress_at = server.now()

    # --- called by asyncio -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast("asyncio.Transport", transport)
        address = transport.get_extra_info("peername")
        self.peer = Peer(str(address[0]) if address else "", self._server.new_sasl())
        if self.peer.sasl is not None:
            self._framer.frame_bytes_max = min(self._framer.frame_bytes_max, _STRANGERS_REQUEST_BYTES_MAX)
        if not self._connections.admit(self):
            self.abort()
        elif self._server.tls is None:
            self._open(self._socket)
        else:
            self._securing = self._server.loop.create_task(self._secure(self._socket))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        if self._lost:
            return
        self._lost = self._closing = True
        for task in list(self._tasks):
            task.cancel()
        for alarm in self._alarms.values():
            alarm.cancel()
        self._note_unsent(0)
        self._places = deque(place for place in self._places if place.lasting and not place.done)
        self._give_back(self._held_bytes - sum(place.size for place in self._places))
        self._connections.leave(self)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - likewise
        return cast("bytearray", self._framer.buffer())

    def buffer_updated(self, nbytes: int) -> None:
        self.active_at = self._server.now()
        self._framer.received(nbytes)
        self.regulate()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._write_paused = True
        self._note_unsent()
        self.regulate()

    def resume_writing(self) -> None:
        self._write_paused = False
        self.progress_at = self._server.now()
        self._look_again()

    # --- opening and closing -----------------------------------------------------------------------

    async def _secure(self, transport: asyncio.Transport) -> None:
        assert self._server.tls is not None
        secured = await handshake(self._server.loop, transport, self, self._server.tls)
        if secured is None or self._lost:
            self.connection_lost(None)
            return
        certificate = secured.get_extra_info("peercert")
        if certificate:
            self.peer.principal = f"User:{distinguished_name(certificate)}"
        self._open(secured)

    def _open(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=_UNSENT_BYTES_MAX)
        self.regulate()

    def refuse(self, why: str) -> None:
        """Close, for what the client does makes no sense."""
        if not self._closing:
            self._connections.complain(self.peer.host, why)
            self.close()

    def close(self) -> None:
        """Send what is ready, then close."""
        self._closing = True
        if self._transport is None:
            self.abort()
        elif not self._lost:
            self._transport.close()
            self._set_alarm(self.abort, _FLUSH_SECONDS_MAX)  # who does not read would keep it for ever

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        transport = self._transport or self._socket
        if transport is not None and not self._lost:
            transport.abort()

    def _set_alarm(self, call: Callable[[], None], seconds: float) -> None:
        if call not in self._alarms:
            self._alarms[call] = self._server.loop.call_later(seconds, self._alarm, call)

    def _alarm(self, call: Callable[[], None]) -> None:
        del self._alarms[call]
        call()

    # --- for the server ----------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing of it is being worked on."""
        return not self._places

    @property
    def unsent_bytes(self) -> int:
        """How much of its responses the client has not taken, as far as that was noted."""
        return self._unsent_bytes

    def give_up_unsent(self) -> None:
        """Close at once: the client does not take what it asked for."""
        self._note_unsent(0)
        self.abort()

    def look_after(self, now: float) -> None:
        """Close it if it has been of no use for too long."""
        before = self._unsent_bytes
        self._note_unsent()
        if self._unsent_bytes < before or not self._unsent_bytes:
            self.progress_at = now
        horizon = now - self._server.settings.idle_seconds_max
        alive_at = max(self.active_at, self.progress_at) if self._unsent_bytes else self.active_at
        sasl = self.peer.sasl
        if sasl is not None and sasl.principal is None and self.made_at < now - _STRANGERS_SECONDS_MAX:
            self.refuse(f"it did not say who it is within {_STRANGERS_SECONDS_MAX:g} seconds")
        elif (self.idle or self._unsent_bytes) and alive_at < horizon:
            self.close()
        elif self._connections.memory.full and self._dawdles(now):
            self.refuse("it has begun a large request and does not go on, while memory is short")

    def _dawdles(self, now: float) -> bool:
        """Whether it holds memory for a request that does not come."""
        stalled = self.active_at < now - _STALLED_SECONDS or self._granted_at < now - _REQUEST_SECONDS
        return self._framer.filling and stalled

    def regulate(self) -> None:
        """Take on what there is room for, and read on or do not for now."""
        transport = self._transport
        if transport is None or self._closing:
            return
        try:
            self._take_on()
        except (FrameTooLargeError, MalformedRequestError) as error:
            self.refuse(str(error))
            return
        paused = not self._reads_on()
        if paused != self._read_paused:
            self._read_paused = paused
            if paused:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _reads_on(self) -> bool:
        if self._framer.filling:  # it holds memory until it is complete
            return not self._connections.closing and not self._is_muted()
        return not self._framer.claimed and not self._is_full()

    def _is_full(self) -> bool:
        if self._connections.memory.full:
            self._connections.memory.wait(self)
            return True
        return (
            self._is_clogged()
            or len(self._places) >= self._server.settings.requests_in_flight_max
            or self._connections.closing
            or self._is_muted()
        )

    def _is_clogged(self) -> bool:
        """Whether too much waits to be taken by the client. TLS does not tell, so it is looked at again."""
        socket = self._socket
        if self._write_paused or socket is None or socket is self._transport:
            return self._write_paused
        clogged = socket.get_write_buffer_size() > _UNSENT_BYTES_MAX
        if clogged:
            self._set_alarm(self._look_again, _CLOGGED_SECONDS)
        return clogged

    def _look_again(self) -> None:
        self._note_unsent()
        self._call_first()
        self.regulate()

    def _is_muted(self) -> bool:
        """Whether its client is above a quota; if so it is looked at again in time."""
        left = self.peer.muted_until - self._server.now()
        if left > 0:
            self._set_alarm(self.regulate, left)
        return left > 0

    def _note_unsent(self, size: int | None = None) -> None:
        if size is None:
            transports = {self._socket, self._transport} - {None}
            size = sum(cast("asyncio.Transport", each).get_write_buffer_size() for each in transports)
        self._connections.memory.response_bytes += size - self._unsent_bytes
        self._unsent_bytes = size

    # --- requests ----------------------------------------------------------------------------------

    def _take_on(self) -> None:
        """Begin with requests that are complete, and make room for a large one."""
        while not self._closing and (self._framer.filling or not self._is_full()):
            frame = self._framer.next()  # a large one has its memory already
            if frame is not None:
                self._begin(frame)
                continue
            if self._framer.claimed:
                self._granted_bytes, self._granted_at = self._framer.claimed, self._server.now()
                self._hold(self._granted_bytes)
                self._framer.grant()
            return

    def _begin(self, frame: memoryview) -> None:
        place = _Place(len(frame), lasting=False)
        if self._granted_bytes:
            self._granted_bytes = 0  # it is held already
        else:
            self._hold(len(frame))
        sasl = self.peer.sasl
        if sasl is not None and sasl.raw and not sasl.done:
            self._start(self._work_raw(bytes(frame), place), place)
            return
        header = decode_header(frame)
        if sasl is not None and not sasl.done and header.key not in WITHOUT_AUTHENTICATION:
            raise MalformedRequestError(f"request {header.key} before authentication")
        self.peer.client_id = header.client_id
        # Who asks for no acknowledgement may be gone as soon as it has sent its records.
        place.lasting = header.key == PRODUCE.key
        self._start(self._work(header, frame, place), place)

    def _start(self, work: Coroutine[None, None, None], place: _Place) -> None:
        self._places.append(place)
        task = self._server.loop.create_task(work)
        if place.lasting:
            self._connections.outlast(task)
        else:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, header: Header, frame: memoryview, place: _Place) -> None:
        answer: Sequence[bytes] = ()
        try:
            if header.key in LARGE_ANSWERS:
                await self._turn(place)
            answer = await self._server.answer(self, header, frame)
        except MalformedRequestError as error:
            self.refuse(str(error))
        finally:
            self._finish(place, answer)
        self._heed_sasl()

    async def _work_raw(self, token: bytes, place: _Place) -> None:
        """A step of SASL without a request around it (after SaslHandshake 0)."""
        answer: bytes | None = None
        try:
            answer = await self._server.raw_sasl_step(self.peer, token)
        finally:
            self._finish(place, () if answer is None else (_SIZE.pack(len(answer)) + answer,))
        self._heed_sasl()

    def _heed_sasl(self) -> None:
        """Listen to who has said who it is, and do not to who could not."""
        sasl = self.peer.sasl
        if sasl is None:
            return
        if sasl.failed and not self._closing:
            self._connections.complain(self.peer.host, "it could not say who it is")
            self._closing = True  # nothing more is taken on, but some clients lose what comes with the end
            if self._transport is not None:
                self._transport.pause_reading()
            self._set_alarm(self.close, _FAREWELL_SECONDS)
        elif sasl.done:
            self._framer.frame_bytes_max = self._server.settings.request_bytes_max

    async def _turn(self, place: _Place) -> None:
        """Wait until everything before is answered, and the client has taken most of that."""
        while self._places and (self._places[0] is not place or self._is_clogged()):
            place.turn = self._server.loop.create_future()
            await place.turn

    def _call_first(self) -> None:
        turn = self._places[0].turn if self._places else None
        if turn is not None and not turn.done():
            turn.set_result(None)

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
            self._note_unsent()
        self._give_back(freed)
        self._call_first()
        self.regulate()

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        self._connections.memory.take(size)

    def _give_back(self, size: int) -> None:
        self._held_bytes -= size
        self._connections.memory.give(size)
        self._connections.note_rest()
