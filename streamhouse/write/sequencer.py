"""One producer's shipments enter the log in the order in which they were closed.

They are encoded by whichever thread is at hand, so they get ready in any order; they are appended in
order. Each append carries the producer's identity and, per partition, the number of its first
record. The fold refuses what does not follow on, so a retry inside the commit protocol can neither double
nor reorder records.

When an append fails, nobody knows whether the log holds it. The next one goes out under a fresh identity,
and what was already appended after it under the old one is refused (``SequenceError``) unless the failed
one did get in: records of one partition are never stored around a hole.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Final

from streamhouse.commits.log import CommitLog
from streamhouse.commits.proposal import PartBlocks
from streamhouse.errors import ClosedError, TopicNotFoundError, topic_deleted
from streamhouse.runtime import Runtime
from streamhouse.write.identity import draw_identity
from streamhouse.write.memory import Memory
from streamhouse.write.shipment import Shipment

_EPOCH: Final = 0
_FAILURES_MAX: Final = 1000


class Sequencer:
    """Order and identity of one producer.

    Args:
        commits: Where records go.
        runtime: Draws identities.
        memory: Gets back what a settled shipment held.
        failed: Told of every shipment that failed, before those who wait for it.
    """

    def __init__(
        self,
        commits: CommitLog,
        runtime: Runtime,
        memory: Memory,
        failed: Callable[[Shipment, BaseException], None],
    ) -> None:
        self._commits = commits
        self._runtime = runtime
        self._memory = memory
        self._failed = failed
        self._lock = threading.Lock()
        self._queue: deque[Shipment] = deque()
        self._unsettled: set[Shipment] = set()
        self._sequences: dict[tuple[int, int], int] = {}
        self._producer_id = draw_identity(runtime)
        self._spoilt = -1  # identity under which an append failed
        self._failures: deque[Shipment] = deque(maxlen=_FAILURES_MAX)

    def enter(self, shipment: Shipment) -> None:
        """Give a shipment its place in the order; it need not be encoded yet."""
        if not self.holds(shipment):
            self._queue.append(shipment)
        self._unsettled.add(shipment)

    def holds(self, shipment: Shipment) -> bool:
        """Whether it has its place and was not appended yet."""
        return shipment in self._queue

    def took(self, shipment: Shipment) -> bool:
        """Whether it was taken over: it is waiting, on its way, or settled."""
        # In this order, for meanwhile another thread may move it from one to the next.
        return self.holds(shipment) or shipment in self._unsettled or shipment.settled

    def submit(self) -> None:
        """Append what is encoded, as far as nothing before it is not."""
        urgent = False
        with self._lock:
            while self._queue and self._queue[0].ready:
                # Taken off only when all is done, for Ctrl-C may strike anywhere in here. Then the next
                # call appends the same again, and the fold finds that it has it.
                shipment = self._queue[0]
                self._append(shipment)
                self._queue.popleft()
                urgent |= shipment.urgent
                self._release(shipment)
        if urgent:
            with suppress(ClosedError):  # then they hear of it anyway
                self._commits.urge()

    def unsettled(self) -> list[Shipment]:
        """What is on its way."""
        return list(self._unsettled)

    def first_failure(self) -> BaseException | None:
        """The first error that nobody was told of; from now on all count as told."""
        first = None
        while self._failures:
            shipment = self._failures.popleft()
            if not shipment.seen:
                shipment.seen = True
                first = first or shipment.error
        return first

    def _append(self, shipment: Shipment) -> None:
        if shipment.error is not None:
            self._settle(shipment, shipment.error)
            return
        if shipment.numbered is None:
            shipment.numbered = self._number(shipment)
        producer_id, parts = shipment.numbered
        topic = shipment.topic.id
        for part in parts:
            following = part.sequence + sum([block.count for block in part.blocks])
            self._sequences[topic, part.partition] = following
        if shipment.settled:
            return  # appended before Ctrl-C
        try:
            answered = partial(self._answered, shipment)
            self._commits.append(topic, producer_id, _EPOCH, parts, answered)
        except Exception as error:  # noqa: BLE001 - the log is closed, most likely
            self._settle(shipment, error)

    def _number(self, shipment: Shipment) -> tuple[int, list[PartBlocks]]:
        if self._spoilt == self._producer_id:
            self._sequences.clear()
            self._producer_id = draw_identity(self._runtime)
        topic = shipment.topic.id
        return self._producer_id, [
            PartBlocks(partition, self._sequences.get((topic, partition), 0), blocks)
            for partition, blocks in shipment.parts or ()
        ]

    def _answered(self, shipment: Shipment, future: Future[list[int]]) -> None:
        error = future.exception()
        if isinstance(error, TopicNotFoundError):  # the commit log knows ids only
            error = topic_deleted(shipment.topic.name, "send the records again, for none of them was written")
        if error is None and not shipment.settled:
            partitions = [partition for partition, _ in shipment.parts or ()]
            shipment.bases = dict(zip(partitions, future.result(), strict=True))
        self._settle(shipment, error)

    def _settle(self, shipment: Shipment, error: BaseException | None) -> None:
        if shipment.settled:
            return
        if error is not None:
            if shipment.numbered is not None:
                self._spoilt = shipment.numbered[0]
            self._failures.append(shipment)
            self._failed(shipment, error)
        held, shipment.size = shipment.size, 0
        self._memory.give(held)
        shipment.settle(error)
        self._unsettled.discard(shipment)
        self._release(shipment)

    def _release(self, shipment: Shipment) -> None:
        """Let go of the blocks once nobody needs them: whoever comes last does it."""
        if shipment.settled and not self.holds(shipment):
            shipment.parts = ()
            shipment.numbered = None
