"""What a sender gets in return: a handle on the outcome, to wait for, await or be called back from."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from streamhouse.records import RecordMetadata
from streamhouse.write.batch import Batch
from streamhouse.write.shipment import Shipment

if TYPE_CHECKING:
    import asyncio

    from streamhouse.catalog.catalog import TopicInfo
    from streamhouse.write.outbox import Outbox


class Delivery(msgspec.Struct, gc=False, eq=False):
    """The outcome of one ``send``.

    Await it, or ask with :meth:`result`. On a local log, asking ends the linger time at once.

    Example:
        >>> import streamhouse
        >>> with streamhouse.Log("memory://") as log:
        ...     topic = log.create_topic("orders")
        ...     with log.producer() as producer:
        ...         producer.send("orders", "hello", timestamp=0).result()
        RecordMetadata(topic='orders', partition=0, offset=0, timestamp=0)
    """

    # A Struct without a place in the garbage collector costs a third of an object with slots. It must
    # not be part of a cycle then: batches do not keep deliveries beyond their callbacks.
    _batch: Batch
    _index: int

    def __repr__(self) -> str:
        return f"<Delivery to {self._batch.topic.name!r}, {_state(self._batch)}>"

    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._batch.settled

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Wait until the record is durable; where it was stored.

        Args:
            timeout: Seconds; ``None``: until ``delivery_timeout_seconds`` after the records were handed
                to the store.

        Raises:
            DeliveryTimeoutError: Not known in time; the record may still be written.
            DeliveryError: It was not written; the class says why.
            TopicNotFoundError: The topic was deleted meanwhile.
            StoreError: The store refused.
        """
        batch, index = self._batch, self._index
        batch.wait(timeout)
        batch.check()
        return RecordMetadata(
            batch.topic.name,
            batch.partition_of(index),
            batch.offset_of(index),
            batch.timestamp_of(index),
        )

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait until the outcome is known; the error, or ``None`` when the record is durable.

        Raises:
            DeliveryTimeoutError: Not known in time.
        """
        return _exception(self._batch, timeout)

    def add_done_callback(self, callback: Callable[[Delivery], object]) -> None:
        """Call ``callback(delivery)`` once the outcome is known, at once if it is known already.

        It runs on the thread that commits, so it must be quick. What would wait for the log there, such as
        another delivery, raises InvalidInputError; an error that the callback raises is logged.
        """
        self._batch.add_callback(lambda: callback(self))

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        yield from _settled(self._batch)
        return self.result()


class BatchMetadata(msgspec.Struct, frozen=True):
    """Where the records of one ``send_many`` were stored.

    Attributes:
        topic: Name of the topic.
        count: Number of records.
        partitions: Their offsets in each partition that got some.
    """

    topic: str
    count: int
    partitions: dict[int, range]


class Bulk(Shipment):
    """Records that were sent in one call.

    Attributes:
        counts: Records per partition.
        outbox: Whose it is.
    """

    __slots__ = ("counts", "outbox")

    counts: dict[int, int]

    def __init__(self, topic: TopicInfo, outbox: Outbox) -> None:
        super().__init__(topic)
        self.outbox = outbox

    def check_waiting(self) -> None:
        self.outbox.check_waiting()


class BatchDelivery(msgspec.Struct, gc=False, eq=False):
    """The outcome of one ``send_many``: all of its records are durable, or none is stored.

    ``len()`` is the number of records.
    """

    _bulk: Bulk

    def __repr__(self) -> str:
        return f"<BatchDelivery of {len(self)} to {self._bulk.topic.name!r}, {_state(self._bulk)}>"

    def __len__(self) -> int:
        return sum(self._bulk.counts.values())

    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._bulk.settled

    def result(self, timeout: float | None = None) -> BatchMetadata:
        """Wait until the records are durable; where they were stored.

        Args:
            timeout: Seconds; ``None``: until ``delivery_timeout_seconds`` after they were sent.

        Raises:
            DeliveryTimeoutError: Not known in time; the records may still be written.
            DeliveryError: They were not written; the class says why.
            TopicNotFoundError: The topic was deleted meanwhile.
            StoreError: The store refused.
        """
        bulk = self._bulk
        bulk.wait(timeout)
        bulk.check()
        partitions = {
            partition: range(bulk.bases[partition], bulk.bases[partition] + count)
            for partition, count in bulk.counts.items()
        }
        return BatchMetadata(bulk.topic.name, len(self), partitions)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait until the outcome is known; the error, or ``None`` when all is durable.

        Raises:
            DeliveryTimeoutError: Not known in time.
        """
        return _exception(self._bulk, timeout)

    def add_done_callback(self, callback: Callable[[BatchDelivery], object]) -> None:
        """Call ``callback(delivery)`` once the outcome is known, at once if it is known already.

        It runs on the thread that commits, so it must be quick. What would wait for the log there, such as
        another delivery, raises InvalidInputError; an error that the callback raises is logged.
        """
        self._bulk.add_callback(lambda: callback(self))

    def __await__(self) -> Generator[Any, None, BatchMetadata]:
        yield from _settled(self._bulk)
        return self.result()


def _exception(shipment: Shipment, timeout: float | None) -> BaseException | None:
    shipment.wait(timeout)
    shipment.seen = True
    return shipment.error


def _settled(shipment: Shipment) -> Generator[Any, None, None]:
    """Suspend the running task until the outcome is known."""
    if shipment.settled:
        return
    shipment.check_waiting()
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop was closed and nobody waits any more
            loop.call_soon_threadsafe(_resolve, future)

    shipment.add_callback(wake)
    # Not at once: other tasks that are ready to run may want to send, and should share the batch.
    loop.call_soon(shipment.hurry)
    yield from future


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _state(shipment: Shipment) -> str:
    if not shipment.settled:
        return "on its way"
    return "durable" if shipment.error is None else f"failed: {type(shipment.error).__name__}"
