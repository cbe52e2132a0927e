"""The gateways of a log, as they are registered there.

Each has an entry with its address. One that ends in order removes its entry; of one that was killed the
others find out by its heartbeat (see :mod:`streamhouse.groups.heartbeat`), and remove the entry for it. While
a gateway is alone it writes no heartbeats: nobody would look.

One that only stood still finds its entry removed when it goes on. Its clients have gone elsewhere meanwhile,
so it begins anew: without their connections, and under another entry. What it proposes for clients names the
entry that it has, and so what it took from them before has no effect any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Final

from streamhouse.commits.verdicts import Code
from streamhouse.errors import StreamhouseError
from streamhouse.format.gateways import (
    PREFIX,
    ROLL_CALL,
    GatewayEntry,
    decode_gateway,
    encode_gateway,
    entry_name,
)
from streamhouse.format.operations import Operation, SetEntry, Standing
from streamhouse.groups.heartbeat import Heartbeat, Watch, beat_seconds
from streamhouse.kafka.cluster.placement import chosen, of_group, of_partition, of_transactional_id
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.tasks import ended

_PROCESS_BYTES: Final = 8
_NEW: Final = 0  # the version of an entry that is not there
_TWO: Final = 2
_LOOK_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 1.0
_log: Final = logging.getLogger("streamhouse.kafka")


class Brokers:
    """What one gateway knows of all, and its own place among them. On the gateway's loop only.

    Args:
        parts: The gateway's.
        host: What clients are told.
        port: Likewise.
        superseded: Called with the reason when another gateway has this one's number.
        fallen: Called when this one was taken for dead: what it began for clients is void.
    """

    def __init__(
        self,
        parts: Parts,
        host: str,
        port: int,
        superseded: Callable[[str], None],
        fallen: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._host = host
        self._port = port
        self._superseded = superseded
        self._fallen = fallen
        self._begin_anew()
        self._watch = Watch(parts.store, parts.runtime)
        self._present: dict[int, tuple[int, GatewayEntry]] = {}  # with the commit that registered it
        self._own: GatewayEntry | None = None
        self._version = _NEW
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []
        self._again: asyncio.Task[None] | None = None
        self._answer: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        parts.events.subscribe(self._notice, SetEntry)

    # --- looking -----------------------------------------------------------------------------------

    @property
    def own(self) -> GatewayEntry:
        """This gateway."""
        assert self._own is not None
        return self._own

    @property
    def standing(self) -> Standing:
        """On the strength of what this gateway speaks for clients."""
        return Standing(entry_name(self.own.node_id), self._version)

    @property
    def all(self) -> list[GatewayEntry]:
        """All gateways, by number. This one is always among them."""
        known = {number: broker for number, (_, broker) in self._present.items()}
        known[self.own.node_id] = self.own
        return [known[number] for number in sorted(known)]

    @property
    def nodes(self) -> list[int]:
        """Their numbers."""
        return [broker.node_id for broker in self.all]

    def leader(self, topic: int, partition: int) -> int:
        """Who leads a partition."""
        return chosen(of_partition(topic, partition), self.nodes)

    def coordinator_of_group(self, group: str) -> GatewayEntry:
        """Who coordinates a group."""
        return self._broker(chosen(of_group(group), self.nodes))

    def coordinator_of_producer(self, transactional_id: str) -> GatewayEntry:
        """Who coordinates the transactions of a producer."""
        return self._broker(chosen(of_transactional_id(transactional_id), self.nodes))

    def coordinates_group(self, group: str) -> bool:
        """Whether this gateway coordinates a group."""
        return self.coordinator_of_group(group).node_id == self.own.node_id

    def coordinates_producer(self, transactional_id: str) -> bool:
        """Whether this gateway coordinates the transactions of a producer."""
        return self.coordinator_of_producer(transactional_id).node_id == self.own.node_id

    def _broker(self, node: int) -> GatewayEntry:
        return next(broker for broker in self.all if broker.node_id == node)

    # --- being there -------------------------------------------------------------------------------

    async def register(self) -> None:
        """Take a number.

        That is the one that was asked for, that of a gateway that was at this address, or a free one. Whoever
        had it before is told so by the log, and gives up.

        Raises:
            StreamhouseError: The store fails.
        """
        await self._parts.refresh()
        while True:
            self._load()
            if self._gives_way():
                return
            number = self._number()
            broker = GatewayEntry(
                node_id=number,
                host=self._host,
                port=self._port,
                rack=self._parts.settings.rack or "",
                process=self._process,
                session_ms=round(self._parts.settings.broker_session_seconds * 1000),
            )
            version, present = self._present.get(number, (_NEW, None))
            if present == broker:
                break  # an earlier attempt, whose outcome was unknown
            entry = SetEntry(entry_name(number), encode_gateway(broker), version)
            verdict = await self._parts.propose(entry)
            if verdict.code is Code.ACCEPTED:
                (version,) = verdict.values
                break
        self._own, self._version = broker, version
        self._load()
        if not self._tasks:
            self._tasks = [self._parts.loop.create_task(work) for work in (self._beat_on(), self._watch_on())]

    async def leave(self) -> None:
        """Give the number back."""
        self._over = True
        tasks, self._tasks = self._tasks, []
        await ended(*tasks, *[task for task in (self._again, self._answer) if task is not None])
        own = self._own  # it stays: what others ask in the meantime is asked of this gateway still
        if own is not None:
            version, present = self._present.get(own.node_id, (_NEW, None))
            if present == own:
                await self._parts.propose(SetEntry(entry_name(own.node_id), None, version))

    def _number(self) -> int:
        if self._own is not None and self._own.node_id not in self._present:
            return self._own.node_id
        if self._parts.settings.node_id is not None:
            return self._parts.settings.node_id
        for number, (_, broker) in self._present.items():
            if (broker.host, broker.port) == (self._host, self._port):
                return number  # it cannot be there any more, for we are
        return next(number for number in count(1) if number not in self._present)

    # --- heartbeats --------------------------------------------------------------------------------

    async def _beat_on(self) -> None:
        pause = beat_seconds(self.own.session_ms / 1000)
        while True:
            if len(self._present) < _TWO:
                await self._next_change()
                continue
            await self._beat()
            await asyncio.sleep(pause)

    async def _beat(self) -> None:
        try:
            await self._parts.aside(self._heartbeat.beat)
        except StreamhouseError:
            self._watch.distrust()  # if we cannot write, the others perhaps cannot either

    async def _watch_on(self) -> None:
        while True:
            others = {
                broker.process: broker.session_ms / 1000
                for _, broker in self._present.values()
                if broker.node_id != self.own.node_id
            }
            if not others:
                await self._next_change()
                continue
            dead, pause = await self._parts.aside(self._watch.look, others)
            self._look()
            for version, broker in list(self._present.values()):
                if broker.process in dead:
                    await self._bury(version, broker)
            await asyncio.sleep(min(max(pause, 0.05), 1.0))

    async def _bury(self, version: int, broker: GatewayEntry) -> None:
        try:
            await self._parts.propose(SetEntry(entry_name(broker.node_id), None, version))
        except StreamhouseError:
            return  # the next look tries again
        self._load()

    async def _next_change(self) -> None:
        self._changed.clear()
        with suppress(TimeoutError):  # a state that was loaded is told to nobody
            async with asyncio.timeout(_LOOK_SECONDS):  # `wait_for` may miss that it is to end
                await self._changed.wait()
        self._look()

    # --- the log -----------------------------------------------------------------------------------

    def _notice(self, operation: Operation) -> None:
        if not isinstance(operation, SetEntry):
            return
        if operation.name == ROLL_CALL:
            self._answer = self._parts.loop.create_task(self._beat())
        elif operation.name.startswith(PREFIX):
            self._look()

    def _look(self) -> None:
        self._load()
        self._stand_up()

    def _load(self) -> None:
        with self._parts.commits.lock:
            entries = [
                entry for name, entry in self._parts.commits.state.entries.items() if name.startswith(PREFIX)
            ]
        found = [(version, decode_gateway(value)) for version, value in entries]
        present = {broker.node_id: (version, broker) for version, broker in found if broker is not None}
        if present != self._present:  # else those who wait would wake each other up for ever
            self._present = present
            self._changed.set()

    def _stand_up(self) -> None:
        """Begin anew if somebody took this gateway for dead, or took its number."""
        own = self._own
        if own is None or self._over or (self._again is not None and not self._again.done()):
            return
        version, present = self._present.get(own.node_id, (_NEW, None))
        if present is not None and present.process == self._process:
            self._version = version
        elif not self._gives_way():
            _log.warning("gateway %d was taken for dead, and begins anew", own.node_id)
            self._fallen()
            self._begin_anew()
            self._again = self._parts.loop.create_task(self._register_again())

    def _begin_anew(self) -> None:
        self._process = self._parts.runtime.random_bytes(_PROCESS_BYTES).hex()
        self._heartbeat = Heartbeat(self._parts.store, self._process)

    async def _register_again(self) -> None:
        while not self._over:
            try:
                await self.register()
                break
            except StreamhouseError as error:
                _log.warning("gateway cannot register: %s", error)
                await asyncio.sleep(_AGAIN_SECONDS)

    def _gives_way(self) -> bool:
        """Whether this gateway has to end: another one is in its place, and was meant to be."""
        if self._own is None:
            return False
        _, present = self._present.get(self._own.node_id, (_NEW, None))
        if present is None or present.process == self._process:
            return False
        same_address = (present.host, present.port) == (self._host, self._port)
        if self._parts.settings.node_id is None and not same_address:
            return False  # it took a number that was free
        if not self._over:
            self._over = True
            self._superseded(
                f"another gateway, at {present.host}:{present.port}, took node_id={present.node_id}; give"
                " each one a number of its own, or none"
            )
        return True
