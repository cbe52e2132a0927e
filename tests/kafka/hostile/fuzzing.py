"""Sends damaged requests over real connections, and looks at what comes back."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tests.kafka.hostile.mutations import mutated, packed

_CONNECTIONS = 16
_BURST = 40
_PATIENCE_SECONDS = 0.3
_AT_ONCE = 0.2


class Fuzzer:
    """Sends frames to a gateway.

    Args:
        port: Where it listens, on this machine.
        corpus: What clients really send.
        seed: Of the dice.

    Attributes:
        outcomes: How many frames were answered, how many closed their connection, and how many were left
            waiting (a fetch for records, a member for others). What came behind one of these is not counted.
    """

    def __init__(self, port: int, corpus: Sequence[bytes], seed: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._port = port
        self._corpus = corpus
        self._dice = random.Random(seed)
        self._left = 0

    @property
    def tried(self) -> int:
        """Frames that the gateway has looked at."""
        return self.outcomes["answered"] + self.outcomes["closed"] + self.outcomes["waiting"]

    def run(self, frames: int) -> None:
        """Send so many more."""
        self._left = self.tried + frames
        asyncio.run(self._run())

    async def _run(self) -> None:
        await asyncio.gather(*[self._send() for _ in range(_CONNECTIONS)])

    async def _send(self) -> None:
        while self.tried < self._left:
            await self._burst()

    async def _burst(self) -> None:
        """Some frames over one connection, one by one or all at once."""
        frames = [mutated(self._dice, self._corpus) for _ in range(self._dice.randrange(1, _BURST))]
        data = [packed(self._dice, frame) for frame in frames]
        writes = [b"".join(data)] if self._dice.random() < _AT_ONCE else data
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            for each in writes:
                writer.write(each)
                for _ in range(len(frames) // len(writes)):
                    await asyncio.wait_for(_answer(reader), _PATIENCE_SECONDS)
                    self.outcomes["answered"] += 1
        except TimeoutError:
            self.outcomes["waiting"] += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            self.outcomes["closed"] += 1
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> None:
    size = await reader.readexactly(4)
    await reader.readexactly(int.from_bytes(size, "big"))


class GoodClient:
    """Works on meanwhile, and checks that it gets what it sent, in order, and nothing else.

    Args:
        bootstrap: Address of the gateway.
    """

    topic = "good"

    def __init__(self, bootstrap: str) -> None:
        self.sent = self.received = 0
        self.slowest_seconds = 0.0
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0}
        )
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "good", "auto.offset.reset": "earliest"}
        )
        self._consumer.assign([TopicPartition(self.topic, 0, 0)])

    def work(self, count: int = 20) -> None:
        """Send some records, and receive them.

        Raises:
            AssertionError: They did not come as they were sent.
        """
        began = time.monotonic()
        expected = [b"%d" % number for number in range(self.sent, self.sent + count)]
        for value in expected:
            self._producer.produce(self.topic, value, partition=0)
        assert self._producer.flush(30) == 0
        self.sent += count
        got: list[Message] = []
        while len(got) < count:
            some = self._consumer.consume(count - len(got), timeout=30)
            assert some, f"{len(got)} of {count} came"
            got += some
        came = [(message.offset(), message.value(), message.error()) for message in got]
        wanted = [(offset, value, None) for offset, value in enumerate(expected, self.received)]
        assert came == wanted, f"{came} instead of {wanted}"
        self.received += count
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)

    def close(self) -> None:
        self._consumer.close()
