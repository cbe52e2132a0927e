"""All connections of a gateway: who may connect, and who has to go."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from streamhouse.kafka.server.memory import Memory
from streamhouse.kafka.server.metrics import Metrics
from streamhouse.kafka.settings import GatewaySettings
from streamhouse.kafka.tasks import ended

if TYPE_CHECKING:
    from streamhouse.kafka.server.connection import Connection

_SWEEP_SECONDS: Final = 1.0
_STALLED_SECONDS: Final = 10.0  # nothing of its responses was taken
_COMPLAINTS_MAX: Final = 10  # a second
_SAID_CHARS_MAX: Final = 200
_log: Final = logging.getLogger("streamhouse.kafka")


class Connections:
    """Of one gateway; on its loop only.

    Args:
        settings: How many there may be.
        metrics: Counts those that were refused.
        clock: Seconds.

    Attributes:
        memory: What their requests and responses take.
        closing: Whether nothing new is taken on.
    """

    def __init__(self, settings: GatewaySettings, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.memory = Memory(settings)
        self.closing = False
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._all: set[Connection] = set()
        self._per_host: Counter[str] = Counter()
        self._lasting: set[asyncio.Task[None]] = set()  # they go on when their connections are gone
        self._at_rest = asyncio.Event()  # nothing is being worked on
        self._gone = asyncio.Event()  # no connection is left
        self._complaints = 0

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, connection: Connection) -> bool:
        """Let a new connection in, if there is room."""
        settings, host = self._settings, connection.peer.host
        if (
            self.closing
            or len(self._all) >= settings.connections_max
            or self._per_host[host] >= settings.connections_per_host_max
        ):
            self._metrics.connections_refused += 1
            return False
        self._all.add(connection)
        self._per_host[host] += 1
        return True

    def leave(self, connection: Connection) -> None:
        """It is gone."""
        self.memory.forget(connection)
        if connection in self._all:
            self._all.discard(connection)
            self._per_host[connection.peer.host] -= 1
            if not self._per_host[connection.peer.host]:
                del self._per_host[connection.peer.host]
        self._note_gone()

    def outlast(self, task: asyncio.Task[None]) -> None:
        """Have a request worked on to its end, whatever becomes of its connection."""
        self._lasting.add(task)
        task.add_done_callback(self._end_lasting)

    def _end_lasting(self, task: asyncio.Task[None]) -> None:
        self._lasting.discard(task)
        self.note_rest()

    def complain(self, host: str, why: str) -> None:
        """Say in the log why a client was disconnected; not so often that the log becomes the problem."""
        self._complaints += 1
        if self._complaints <= _COMPLAINTS_MAX:
            _log.warning("connection from %s closed: %r", host, why[:_SAID_CHARS_MAX])

    # --- in the background -------------------------------------------------------------------------

    async def sweep(self) -> None:
        """End connections that are of no use, for ever."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self._clock()
            for connection in list(self._all):
                connection.look_after(now)
            self._make_room(now)
            if self._complaints > _COMPLAINTS_MAX:
                _log.warning("%d more connections were closed likewise", self._complaints - _COMPLAINTS_MAX)
            self._complaints = 0

    def _make_room(self, now: float) -> None:
        """Disconnect those who have not taken anything for the longest time, if responses take too much."""
        if not self.memory.responses_excess:
            return
        stalled = [
            each for each in self._all if each.unsent_bytes and each.progress_at < now - _STALLED_SECONDS
        ]
        for connection in sorted(stalled, key=lambda each: each.progress_at):
            if not self.memory.responses_excess:
                return
            self.complain(connection.peer.host, "it does not read its responses, and memory is short")
            connection.give_up_unsent()

    def drop_all(self) -> None:
        """Close all connections now; what their requests began is given up, but for records on their way."""
        for connection in list(self._all):
            connection.abort()

    # --- the end -----------------------------------------------------------------------------------

    async def close(self, seconds: float) -> None:
        """Let what is being worked on finish, for so long at most; then close all."""
        self.closing = True
        for connection in list(self._all):
            connection.regulate()
        self.note_rest()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._at_rest.wait()
                for connection in list(self._all):
                    connection.close()  # when the last answers have been taken
                self._note_gone()
                await self._gone.wait()
        for connection in list(self._all):
            connection.abort()
        self._note_gone()
        await self._gone.wait()
        await ended(*self._lasting)

    def note_rest(self) -> None:
        """See whether nothing is being worked on any more."""
        if self.closing and not self._lasting and all(each.idle for each in self._all):
            self._at_rest.set()

    def _note_gone(self) -> None:
        if self.closing and not self._all:
            self._gone.set()
