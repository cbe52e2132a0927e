"""The handle for writing."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from streamhouse import limits
from streamhouse.catalog.catalog import Catalog
from streamhouse.commits.log import CommitLog
from streamhouse.config import Settings
from streamhouse.errors import InvalidRecordError, TransactionError
from streamhouse.runtime import Runtime, check_wait
from streamhouse.schema.frames import is_frame
from streamhouse.write.batch import RECORD_OVERHEAD_BYTES
from streamhouse.write.batcher import Batcher
from streamhouse.write.bulk import payload_bytes
from streamhouse.write.delivery import BatchDelivery, BatchMetadata, Bulk, Delivery
from streamhouse.write.destination import Destination, repeated
from streamhouse.write.encoder import Rows
from streamhouse.write.fields import HeadersInput
from streamhouse.write.frames import frame_parts
from streamhouse.write.identity import Identity
from streamhouse.write.inputs import Inputs
from streamhouse.write.outbox import Outbox
from streamhouse.write.serializers import Serializer, SerializerName, Serializers
from streamhouse.write.transaction import Transaction, TransactionMetadata, check_timeout

__all__ = ["BatchDelivery", "BatchMetadata", "Delivery", "Producer", "Transaction", "TransactionMetadata"]


class Producer:
    """Sends records. Made by :meth:`streamhouse.Log.producer`; any thread may use it.

    Records are gathered in memory and written in batches, in the order in which they were sent. What was
    sent is durable when its delivery says so, or after :meth:`flush` or :meth:`close`; leaving a ``with``
    block closes. Each producer has an identity of its own and numbers its records, so a retry behind
    the scenes stores nothing twice.

    When records cannot be written, their deliveries raise. Those sent after them to the same
    partitions may fail likewise (:class:`~streamhouse.errors.SequenceError`), so that nothing is stored
    behind a gap. The producer goes on; whether to send them again is the caller's decision, who alone
    knows whether a record that may already be stored does harm.

    Args:
        key_serializer: For keys that are not ``None``: a callable that returns bytes or text, or
            ``"json"`` or ``"msgpack"``. By default keys are bytes or text (UTF-8).
        value_serializer: Likewise for values. By default bytes and text are stored as they are; dicts,
            lists, tuples, dataclasses and msgspec Structs as JSON.
        transactional_id: A name for what this producer does. Whoever makes another producer of that
            name takes over: transactions of the older ones are refused from then on
            (:class:`~streamhouse.errors.ProducerFencedError`). A named producer sends in transactions only.
    """

    def __init__(
        self,
        commits: CommitLog,
        catalog: Catalog,
        batcher: Batcher,
        settings: Settings,
        runtime: Runtime,
        *,
        key_serializer: Serializer | SerializerName | None = None,
        value_serializer: Serializer | SerializerName | None = None,
        transactional_id: str | None = None,
    ) -> None:
        self._serializers = Serializers(key_serializer, value_serializer)
        self._identity = Identity(commits, runtime, transactional_id)
        self._outbox = Outbox(commits, catalog, batcher, settings, runtime)
        # With own serialisers bytes do not stay bytes, so no record goes the fast way.
        self._open = self._outbox.plain if self._serializers.plain else {}
        self._commits = commits
        self._settings = settings
        self._runtime = runtime
        self._inputs = Inputs(self._serializers, self._outbox, settings.record_bytes_max, runtime)
        self._transaction: Transaction | None = None

    def __repr__(self) -> str:
        return f"<Producer{'' if self._outbox.pending else ', closed'}>"

    def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: HeadersInput = None,
        partition: int | None = None,
        timestamp: Any = None,
        timeout: float | None = None,
    ) -> Delivery:
        """Send one record.

        Args:
            topic: Name of the topic.
            value: Bytes, text, ``None`` (a tombstone), or what becomes JSON. In a typed topic a dict, a
                Struct, a dataclass or JSON that fits the schema.
            key: Bytes, text or ``None``. Records of one key go to one partition, in order.
            headers: A mapping, or pairs of name and value; order and duplicates are kept.
            partition: Which; by default the key decides, as with Kafka's own producers, and records
                without a key keep to one partition per batch.
            timestamp: Milliseconds since 1970 or a ``datetime`` with a time zone; now by default.
            timeout: Seconds to wait while the memory for pending records is full; 0: not at all.

        Returns:
            The delivery, to wait for or await; it may be ignored.

        Raises:
            InvalidRecordError: Something of a type that cannot be stored, or does not fit the schema; the
                message names the field.
            RecordTooLargeError: The record exceeds ``record_bytes_max``.
            TopicNotFoundError: There is no such topic.
            PartitionNotFoundError: The topic has no such partition.
            BufferFullError: The memory stayed full for ``timeout`` seconds.
            ClosedError: The producer is closed.
        """
        # The fast way: see write/batch.py for why it needs no lock. Whatever is special in the least
        # falls through, or raises, before anything was added.
        try:
            batch = self._open[topic]
            if headers is None and partition is None and timestamp is None:
                if type(value) is not bytes:
                    value = self._serializers.value(value)
                if type(key) is bytes:
                    left = batch.left - len(value) - len(key) - RECORD_OVERHEAD_BYTES
                elif key is None:
                    left = batch.left - len(value) - RECORD_OVERHEAD_BYTES
                else:
                    key = self._serializers.key(key)
                    left = batch.left - len(value) - len(key) - RECORD_OVERHEAD_BYTES
                if left >= 0:
                    batch.left = left
                    records = batch.records
                    position = len(records)
                    pair = (key, value)
                    records.append(pair)
                    if records[position] is pair and not batch.flag:
                        return Delivery(batch, position)
                    found = self._outbox.resolve(batch, records, pair)
                    if found is not None:
                        return Delivery(batch, found)
        except (KeyError, TypeError, AttributeError):
            pass  # no open batch, a null value, bad input, or a batch sealed this very moment
        return self._send(topic, value, key, headers, partition, timestamp, timeout)

    def send_many(
        self,
        topic: str,
        values: Iterable[Any],
        *,
        keys: Iterable[Any] | str | None = None,
        headers: HeadersInput | Sequence[HeadersInput] = None,
        partition: int | None = None,
        timestamps: Any = None,
        timeout: float | None = None,
    ) -> BatchDelivery:
        """Send many records at once, all or none: the fast way, and the atomic one.

        They are stored by one commit, after everything this producer sent before. If one of them is bad,
        none is sent. Each list is as long as ``values``.

        Args:
            topic: Name of the topic.
            values: As in :meth:`send`. To a typed topic also columns: a pandas or Polars DataFrame, a PyArrow
                table, or whatever else speaks the Arrow PyCapsule protocol.
            keys: As in :meth:`send`. With columns also the name of one.
            headers: One entry per record, or a mapping for all of them; with columns only the latter.
            partition: For all records; by default their keys decide.
            timestamps: One per record, or one for all; now by default. With columns also the name of one.
            timeout: Seconds to wait while the memory for pending records is full; 0: not at all. A batch
                larger than that memory is let in when nothing else is pending.

        Returns:
            The delivery of all of them; of those that fit, where the others go to a dead-letter topic.

        Raises:
            InvalidRecordError: Some record cannot be stored, or the lists differ in length.
            RecordTooLargeError: Some record exceeds ``record_bytes_max``.
            TopicNotFoundError: There is no such topic.
            PartitionNotFoundError: The topic has no such partition.
            BufferFullError: The memory stayed full for ``timeout`` seconds.
            ClosedError: The producer is closed.

        Example:
            >>> import streamhouse
            >>> with streamhouse.Log("memory://") as log:
            ...     topic = log.create_topic("orders")
            ...     with log.producer() as producer:
            ...         producer.send_many("orders", ["a", "b", "c"]).result().partitions
            {0: range(0, 3)}
        """
        self._check_unnamed()
        destination = self._outbox.destination(topic)
        if partition is not None:
            destination.check_partition(partition)
        if is_frame(values):
            return self._send_frame(destination, values, keys, headers, partition, timestamps, timeout)
        lists = self._inputs.lists(values, keys, headers, timestamps)
        try:
            # Looking at the type of every record costs a tenth of the whole. If the first is bytes, the
            # others are believed to be; when one is not, joining them fails, before anything is sent.
            rows = self._inputs.rows(destination, lists, trust=True)
            return self._send_rows(rows, partition, timeout)
        except TypeError as error:
            if isinstance(error, InvalidRecordError):
                raise
            rows = self._inputs.rows(destination, lists)
            return self._send_rows(rows, partition, timeout)

    def transaction(self, *, transaction_timeout: float = limits.TRANSACTION_SECONDS_MAX) -> Transaction:
        """Begin a transaction: a ``with`` block whose records become visible together or not at all.

        A producer has one transaction open at a time.

        Args:
            transaction_timeout: Seconds for which it may be open, at most 900. Then it raises
                TransactionError when it is used the next time.

        Raises:
            InvalidInputError: The time is impossible.
            TransactionError: There is an open transaction already.
            ProducerFencedError: A newer producer has the same ``transactional_id``.
            StoreError: The outcome of the transaction before is unknown, and could not be settled now.
            DeliveryTimeoutError: Likewise.
            ClosedError: The producer is closed.

        Example:
            >>> import streamhouse
            >>> with streamhouse.Log("memory://") as log:
            ...     topics = log.create_topic("debits"), log.create_topic("credits")
            ...     with log.producer() as producer:
            ...         with producer.transaction() as tx:
            ...             debit = tx.send("debits", {"account": 1, "amount": 5})
            ...             credit = tx.send("credits", {"account": 2, "amount": 5})
            ...         tx.result.count
            2
        """
        check_timeout(transaction_timeout)
        self._outbox.check()
        if self._transaction is not None and self._transaction.open:
            raise TransactionError(
                "this producer has an open transaction; commit or abort it before beginning another one"
            )
        self._identity.renew()
        self._transaction = Transaction(
            self._commits,
            self._outbox,
            self._inputs,
            self._identity,
            self._settings,
            self._runtime,
            transaction_timeout,
        )
        return self._transaction

    @property
    def transactional_id(self) -> str | None:
        """The name it was given, if any."""
        return self._identity.name or None

    @property
    def settled(self) -> bool:
        """Whether the outcome of all its transactions is known."""
        return self._identity.settled

    def settle(self) -> None:
        """See to it that a transaction whose outcome is unknown takes no effect from now on.

        It either has taken effect then, or never will. Beginning the next transaction does the same. Only a
        producer with a ``transactional_id`` can do that; for another one this does nothing.

        Raises:
            ProducerFencedError: A newer producer has the same ``transactional_id``.
            StoreError: The store failed.
            DeliveryTimeoutError: It gave no answer in time.
        """
        self._outbox.check()
        self._identity.renew()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything that was sent is durable.

        Args:
            timeout: Seconds; ``None``: as long as the store may take (``delivery_timeout_seconds``).

        Raises:
            DeliveryTimeoutError: It is not in time; it stays on its way.
            DeliveryError: Some records were not written and nobody has looked at their deliveries. The
                first such error is raised, once. It may also be a StoreError or TopicNotFoundError.
            InvalidInputError: ``timeout`` is no time.
            ClosedError: The producer is closed.
        """
        check_wait(timeout)
        self._outbox.check()
        self._outbox.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Flush, and take no more records; an open transaction is aborted. Closing twice is fine.

        Args:
            timeout: Seconds; ``None``: as long as the store may take (``delivery_timeout_seconds``).

        Raises:
            DeliveryError: As in :meth:`flush`. The producer is closed all the same.
            InvalidInputError: ``timeout`` is no time; it is not closed.
        """
        check_wait(timeout)
        if self._transaction is not None and self._transaction.open:
            self._transaction.abort()
        self._outbox.close(timeout)

    def __enter__(self) -> Self:
        self._outbox.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        outbox = getattr(self, "_outbox", None)  # not there when __init__ raised
        if outbox is not None and outbox.pending:
            warnings.warn(
                "a producer was never closed: use it in a with block, or call close() or flush() to learn "
                "whether everything was written",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    def _check_unnamed(self) -> None:
        if self._identity.name:
            self._identity.check()
            raise TransactionError(
                f"the producer with transactional_id={self._identity.name!r} sends in transactions only: "
                "with producer.transaction() as tx: tx.send(...)"
            )

    def _send(
        self,
        topic: str,
        value: Any,
        key: Any,
        headers: HeadersInput,
        partition: int | None,
        timestamp: Any,
        timeout: float | None,
    ) -> Delivery:
        """The thorough way."""
        self._check_unnamed()
        destination = self._outbox.destination(topic)
        destination, pair, size = self._inputs.pair(destination, value, key, headers, partition, timestamp)
        return Delivery(*self._outbox.add(destination, pair, size + RECORD_OVERHEAD_BYTES, timeout))

    def _send_frame(
        self,
        destination: Destination,
        frame: Any,
        keys: Any,
        headers: Any,
        partition: int | None,
        timestamps: Any,
        timeout: float | None,
    ) -> BatchDelivery:
        destination, columns = self._inputs.columns(destination, frame, keys, headers, timestamps)
        if partition is not None:
            destination.check_partition(partition)  # of the topic as it is by now
        bulk = Bulk(destination.topic, self._outbox)
        bulk.counts = {}
        if not columns:
            bulk.settle(None)
            return BatchDelivery(bulk)
        size = sum([each.nbytes for each in columns])
        self._outbox.seal_all()
        self._outbox.take_memory(size, timeout)
        try:
            parts = frame_parts(destination, columns, partition)
            bulk.counts = {part: sum([block.count for block in blocks]) for part, blocks in parts}
            bulk.parts = parts
            bulk.size = size
            self._outbox.ship(bulk)
        except BaseException:
            if not self._outbox.owns(bulk):
                self._outbox.give_memory(size)
            raise
        return BatchDelivery(bulk)

    def _send_rows(
        self, made: Sequence[tuple[Destination, Rows]], partition: int | None, timeout: float | None
    ) -> BatchDelivery:
        """Send what :meth:`Inputs.rows` made; the delivery of those that were no dead letters."""
        destination, _ = made[-1]
        if partition is not None:
            destination.check_partition(partition)  # of the topic as it is by now
        bulks = [self._bulk(target, rows) for target, rows in made]
        last = bulks[-1]
        if not last.size:
            last.settle(None)
        full = [(bulk, *each) for bulk, each in zip(bulks, made, strict=True) if bulk.size]
        if not full:
            return BatchDelivery(last)
        self._outbox.seal_all()  # what was sent before comes before
        self._outbox.take_memory(sum([bulk.size for bulk in bulks]), timeout)
        try:
            # None is shipped before all are encoded, for that may fail.
            for bulk, target, rows in full:
                self._encode(bulk, target, rows, partition if bulk is last else None)
            for bulk, _, _ in full:
                self._outbox.ship(bulk)
        except BaseException:
            self._outbox.give_memory(sum([bulk.size for bulk, _, _ in full if not self._outbox.owns(bulk)]))
            raise
        return BatchDelivery(last)

    def _bulk(self, destination: Destination, rows: Rows) -> Bulk:
        bulk = Bulk(destination.topic, self._outbox)
        bulk.counts = {}
        bulk.size = payload_bytes(rows, self._inputs.record_bytes_max) + RECORD_OVERHEAD_BYTES * len(rows)
        return bulk

    def _encode(
        self,
        bulk: Bulk,
        destination: Destination,
        rows: Rows,
        partition: int | None,
    ) -> None:
        begin = self._outbox.encoder.begin
        raw_bytes = bulk.size - RECORD_OVERHEAD_BYTES * len(rows)
        destination.stamp(rows)
        if partition is not None:
            parts = begin(rows, lambda piece: repeated(partition, len(piece)), raw_bytes, spread=1).finish()
        else:
            spread = 1 if rows.keys is None else destination.topic.partitions
            parts = begin(rows, destination.assign, raw_bytes, spread).finish()
        bulk.counts = {part: sum([block.count for block in blocks]) for part, blocks in parts}
        bulk.parts = parts
