"""What one producer has sent and the log does not have yet.

The handle (``Producer``) adds to open batches by itself as long as nothing special is the matter. All
else comes here: opening, sealing and encoding batches, asking for memory, waiting, flushing, closing.
An outbox does not know its handle, so a forgotten handle is noticed at once, while what it sent still
goes out.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final

from streamhouse.catalog.catalog import Catalog
from streamhouse.commits.log import CommitLog
from streamhouse.config import Settings
from streamhouse.errors import (
    BufferFullError,
    ClosedError,
    DeliveryTimeoutError,
    ForkedError,
    PartitionNotFoundError,
    TopicNotFoundError,
)
from streamhouse.runtime import Runtime, process_id
from streamhouse.write.batch import OPEN, RECORD_OVERHEAD_BYTES, SEALED, STALE, Batch, Pair
from streamhouse.write.batcher import Batcher, Hoard
from streamhouse.write.destination import Destination, Destinations
from streamhouse.write.encoder import Encoder
from streamhouse.write.memory import Loan
from streamhouse.write.sequencer import Sequencer
from streamhouse.write.shipment import Shipment

_STEP_BYTES_MIN: Final = 4 << 10
_STEP_BYTES_MAX: Final = 128 << 10  # how much memory is asked for at once: some hundred records
_EARLY_SECONDS: Final = 0.001  # a busy sender seals just before the batcher would step in

_outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()


class Outbox:
    """The writing side of one producer. Any thread may use it.

    Attributes:
        catalog: Where topics are looked up.
        open: The open batch of each topic.
        plain: Likewise of topics without a schema. Senders look into it without a lock.
    """

    def __init__(
        self,
        commits: CommitLog,
        catalog: Catalog,
        batcher: Batcher,
        settings: Settings,
        runtime: Runtime,
    ) -> None:
        self.open: dict[str, Batch] = {}
        self.plain: dict[str, Batch] = {}
        self.catalog = catalog
        self._commits = commits
        self._batcher = batcher
        self._memory = batcher.memory
        self._runtime = runtime
        self._target = settings.block_bytes_target
        # Never more room than one record may take: then whatever fits is not too large either.
        self._step_max = settings.record_bytes_max + RECORD_OVERHEAD_BYTES
        self._destinations = Destinations(catalog, runtime)
        self._sequencer = Sequencer(commits, runtime, self._memory, self._failed)
        self._lock = threading.Lock()
        self._process = process_id()
        self._closed = False
        _outboxes.add(self)

    @property
    def encoder(self) -> Encoder:
        """Makes blocks."""
        return self._batcher.encoder

    @property
    def pending(self) -> bool:
        """Whether it is this process's and still takes records."""
        return not self._closed and self._process == process_id()

    def check(self) -> None:
        """Refuse to work once closed, and in a forked child."""
        if self._process != process_id():
            raise ForkedError("this producer was made before fork; open the log again in the child process")
        if self._closed:
            raise ClosedError("the producer is closed; make a new one with log.producer()")

    def destination(self, name: str) -> Destination:
        """The topic of that name.

        Raises:
            TopicNotFoundError: There is none, also after reading the log to its end.
        """
        self.check()
        return self._destinations.find(name)

    def newer(self, destination: Destination) -> Destination | None:
        """A typed topic as it is by now, after a look at the log; ``None``: as it was known."""
        return self._destinations.newer(destination)

    def forget(self, topics: Iterable[str]) -> None:
        """Look these topics up again the next time: one of them was deleted, perhaps made anew."""
        for name in topics:
            self._destinations.forget(name)

    # --- records one by one ------------------------------------------------------------------------

    def add(
        self,
        destination: Destination,
        pair: Pair,
        size: int,
        timeout: float | None,
    ) -> tuple[Batch, int]:
        """Add a record to the open batch of a topic, opening, sealing and waiting as need be.

        Args:
            destination: The topic.
            pair: Key and value, and what else the record has.
            size: Bytes of key, value and headers, and the overhead.
            timeout: Seconds to wait for memory; ``None``: as long as it takes.

        Returns:
            The batch and the record's position in it.

        Raises:
            BufferFullError: There was no room in time.
        """
        credit = 0
        try:
            while True:
                with self._lock:
                    self.check()
                    batch = self.open.get(destination.topic.name)
                    over = batch is not None and self._over(batch, size, destination)
                    if not over:
                        entered = batch or self._new_batch(destination)
                        if self._reserve(entered, size, credit):
                            credit = 0
                            self._tell_time(entered, len(entered.records))
                            index = entered.add(pair, size)
                            if batch is None:
                                self.open[destination.topic.name] = entered
                                if destination.decoder is None:
                                    self.plain[destination.topic.name] = entered
                                self._batcher.watch(entered)
                            return entered, index
                if batch is not None and over:
                    self.seal(batch)
                else:
                    self.take_memory(size, timeout)
                    credit = size
        finally:
            if credit:
                self._memory.give(credit)

    def resolve(self, batch: Batch, records: list[Pair], pair: Pair) -> int | None:
        """Where a record lies that was appended without a lock; ``None``: too late, it was sealed."""
        with self._lock:
            index = Batch.position(records, pair)
            if batch.flag == SEALED:
                batch.seal()  # in case Ctrl-C cut it short
                return index if index < batch.count else None
            if batch.flag == STALE:
                self._tell_time(batch, index)
            return index

    def age(self, batch: Batch) -> None:
        """Make the next sender ask the clock."""
        with self._lock:
            if batch.flag == OPEN:
                batch.flag = STALE

    def _over(self, batch: Batch, size: int, destination: Destination) -> bool:
        """Whether a batch is full or due, or of an older schema."""
        if not batch.records:
            return False
        if batch.destination.decoder is not destination.decoder:
            return True
        if batch.raw_bytes + size - RECORD_OVERHEAD_BYTES > self._target:
            return True
        return self._runtime.monotonic() >= batch.deadline - _EARLY_SECONDS

    def _reserve(self, batch: Batch, size: int, credit: int) -> bool:
        """Let in a record and, when memory is no matter, some more to come."""
        if credit:
            batch.reserve(credit)
            return True
        if size <= batch.left:
            return True
        step = min(batch.size, self._target - batch.raw_bytes, _STEP_BYTES_MAX)
        step = min(max(step, _STEP_BYTES_MIN), self._step_max)
        for wanted in (max(size, step) - batch.left, size - batch.left):
            if self._memory.try_take(wanted):
                batch.reserve(wanted)
                return True
        return False

    def _new_batch(self, destination: Destination) -> Batch:
        return Batch(self, destination, self._runtime.monotonic() + self._batcher.linger())

    def _tell_time(self, batch: Batch, index: int) -> None:
        batch.set_clock(index, self._runtime.time_ms())
        batch.flag = OPEN

    # --- sealing and encoding ----------------------------------------------------------------------

    def hurry(self, batch: Batch) -> None:
        """Somebody waits for a record in that batch."""
        if self._process != process_id():
            self.check()
        if batch.flag != SEALED and self._commits.urged_by_waiters:
            self.seal(batch, here=True)

    def seal(self, batch: Batch, *, here: bool = False) -> None:
        """Close a batch and send it on its way; nothing when somebody else was faster.

        Args:
            batch: Which.
            here: Encode it in this thread, which would only wait otherwise.
        """
        try:
            with self._lock:
                if batch.flag == SEALED:
                    return
                self._close_batch(batch)
            self._encode(batch, here=here)
        except BaseException:  # Ctrl-C: another thread brings it to an end
            self._batcher.adopt(partial(self.finish, batch))
            raise

    def seal_all(self) -> None:
        """Close all open batches."""
        for batch in list(self.open.values()):
            self.seal(batch)

    def finish(self, batch: Batch) -> None:
        """Seal, encode and append whatever of it was cut short."""
        with self._lock:
            if not batch.ready:
                self._close_batch(batch)
        if batch.ready:
            self._sequencer.submit()
        else:
            self._encode(batch, here=True)

    def complete(self, batch: Batch) -> None:
        """Frame the blocks of a batch, once they are compressed, and append them."""
        begun = batch.begun
        if begun is None or batch.ready:
            return
        try:
            parts, error = begun.finish(), None
        except Exception as failure:  # noqa: BLE001 - out of memory, say: who waits must hear of it
            parts, error = None, failure
        except BaseException:
            self._batcher.adopt(partial(self.finish, batch))
            raise
        with self._lock:
            if not batch.ready:
                batch.parts, batch.error = parts, error
                batch.drop_rows()
        self._sequencer.submit()

    def _close_batch(self, batch: Batch) -> None:
        # In this order, for Ctrl-C: as long as it has no place in the order, it must stay open, or
        # records sent after it would come before.
        self._sequencer.enter(batch)
        name = batch.topic.name
        if self.plain.get(name) is batch:
            del self.plain[name]
        if self.open.get(name) is batch:
            del self.open[name]
        batch.seal()

    def _encode(self, batch: Batch, *, here: bool) -> None:
        rows = batch.rows
        if rows is None:
            return
        try:
            batch.destination.check_keys(rows.keys)
            batch.begun = self.encoder.begin(rows, batch.place, batch.raw_bytes)
        except Exception as error:  # noqa: BLE001 - likewise
            batch.error = error
            batch.drop_rows()
            self._sequencer.submit()
            return
        if here or not batch.begun.waiting:
            self.complete(batch)
        else:
            self._batcher.cook(batch)
        self._batcher.collect()

    # --- many records at once ----------------------------------------------------------------------

    def try_memory(self, size: int) -> bool:
        """Take memory if there is some."""
        return self._memory.try_take(size)

    def take_memory(self, size: int, timeout: float | None) -> None:
        """Wait for memory, and see to it that some gets free.

        Raises:
            BufferFullError: There was no room in time.
            InvalidInputError: This is the thread that would make room.
        """
        if self._memory.try_take(size):
            return
        if timeout is None or timeout > 0:
            self.check_waiting()
            self.seal_all()
            self._urge()
            self._batcher.relieve()
            if self._memory.take(size, timeout):
                return
        raise BufferFullError(
            f"{self._memory.used:,} bytes wait to be written, of buffer_bytes_max="
            f"{self._memory.bytes_max:,}: wait longer, send later, or raise that setting"
        )

    def give_memory(self, size: int) -> None:
        """Give back what was taken and not used."""
        self._memory.give(size)

    def borrow(self) -> Loan:
        """An account of what somebody takes who may be forgotten."""
        return Loan(self._memory)

    def register(self, hoard: Hoard) -> None:
        """Ask that for memory when it runs out."""
        self._batcher.register(hoard)

    def adopt(self, work: Callable[[], None]) -> None:
        """Have that done by another thread, for Ctrl-C got into the way."""
        self._batcher.adopt(work)

    def ship(self, shipment: Shipment) -> None:
        """Append encoded records, after all that was sent before."""
        with self._lock:
            self.check()
            self._sequencer.enter(shipment)
        try:
            self._sequencer.submit()
        except BaseException:
            self._batcher.adopt(self._sequencer.submit)
            raise

    def owns(self, shipment: Shipment) -> bool:
        """Whether it was taken over, and will be settled."""
        return self._sequencer.took(shipment)

    # --- waiting -----------------------------------------------------------------------------------

    def check_waiting(self) -> None:
        """Refuse to wait for what this very thread would bring, in a callback of a delivery.

        Raises:
            InvalidInputError: It is that thread.
        """
        self._commits.check_may_wait()

    def flush(self, timeout: float | None) -> None:
        """Wait until all that was sent is settled; raise the first error that nobody knows of yet."""
        self.drain(timeout)
        failure = self._sequencer.first_failure()
        if failure is not None:
            raise failure.with_traceback(None)

    def drain(self, timeout: float | None = None) -> None:
        """Wait until all that was sent is settled, one way or the other."""
        if self._unsettled:
            self.check_waiting()
        deadline = None if timeout is None else self._runtime.monotonic() + timeout
        self.seal_all()
        self._urge()
        for shipment in self._sequencer.unsettled():
            try:
                shipment.wait(deadline and max(0.0, deadline - self._runtime.monotonic()))
            except DeliveryTimeoutError:
                raise DeliveryTimeoutError(
                    f"{len(self._sequencer.unsettled())} batches are not confirmed after {timeout:g} s; "
                    "they are still on their way"
                ) from None

    def close(self, timeout: float | None) -> None:
        """Take no more records, then flush. Closing twice is fine."""
        if self._unsettled:
            self.check_waiting()
        with self._lock:
            if not self.pending:
                return
            self._closed = True
        self.flush(timeout)

    @property
    def _unsettled(self) -> bool:
        """Whether there is anything to wait for."""
        return bool(self.open) or not all(each.settled for each in self._sequencer.unsettled())

    def _urge(self) -> None:
        for shipment in self._sequencer.unsettled():
            shipment.urgent = True
        with suppress(ClosedError):  # then they hear of it anyway
            self._commits.urge()

    def _failed(self, shipment: Shipment, error: BaseException) -> None:
        if isinstance(error, TopicNotFoundError | PartitionNotFoundError):
            self.forget((shipment.topic.name,))

    def _after_fork(self) -> None:
        """In the child: somebody may have held the lock, and no batch here will ever be sent."""
        self._lock = threading.Lock()
        self.open.clear()
        self.plain.clear()


def _after_fork() -> None:
    for outbox in list(_outboxes):
        outbox._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
