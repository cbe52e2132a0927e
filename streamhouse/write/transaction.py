"""Transactions: records for any topics, and offsets of groups, in one commit.

Nothing is begun in the log. What a transaction gathers waits in its draft, in memory or in segments that
nothing refers to, and becomes visible with the one operation that :meth:`Transaction.commit`
proposes. So readers need not look for markers or wait for the end of somebody's transaction, and one that is
given up leaves nothing behind.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec

from streamhouse import limits
from streamhouse.commits.log import CommitLog
from streamhouse.commits.proposal import Proposal
from streamhouse.config import Settings
from streamhouse.errors import (
    BufferFullError,
    ClosedError,
    DeliveryError,
    DeliveryTimeoutError,
    GroupError,
    InvalidInputError,
    PartitionNotFoundError,
    StoreDurabilityError,
    StoreError,
    StreamhouseError,
    TopicNotFoundError,
    TransactionError,
)
from streamhouse.format.operations import Transaction as TransactionOperation
from streamhouse.records import TopicPartition
from streamhouse.runtime import Runtime
from streamhouse.schema.frames import is_frame
from streamhouse.write.batch import RECORD_OVERHEAD_BYTES
from streamhouse.write.bulk import payload_bytes
from streamhouse.write.delivery import BatchDelivery, Delivery
from streamhouse.write.draft import Draft, DraftBulk, Place
from streamhouse.write.fields import HeadersInput
from streamhouse.write.gate import Gate
from streamhouse.write.identity import Identity
from streamhouse.write.inputs import Inputs
from streamhouse.write.offsets import Offsets, OffsetSource, TransactionOffsets
from streamhouse.write.outbox import Outbox

Phase = Literal["open", "committing", "committed", "aborted", "failed", "unknown"]


class TransactionMetadata(msgspec.Struct, frozen=True):
    """Where the records of a transaction were stored.

    Attributes:
        count: Number of records.
        offsets: Their offsets in each partition that got some.
    """

    count: int
    offsets: dict[TopicPartition, range]


class Transaction:
    """Records and offsets that become visible together or not at all.

    Made by :meth:`streamhouse.Producer.transaction`, for a ``with`` block. Leaving it commits, and waits
    until that is durable; leaving it by an exception aborts. Readers see nothing of it before the commit, and
    all of it from then on: everything lies in one entry of the log.

    A transaction may be larger than memory: beyond a part of ``buffer_bytes_max`` it uploads what it has.

    Example:
        >>> import streamhouse
        >>> with streamhouse.Log("memory://") as log:
        ...     topics = log.create_topic("orders"), log.create_topic("payments")
        ...     with log.producer() as producer, producer.transaction() as tx:
        ...         order = tx.send("orders", {"id": 7})
        ...         payment = tx.send("payments", {"order": 7})
        ...     order.result().offset, payment.result().offset
        (0, 0)
    """

    def __init__(
        self,
        commits: CommitLog,
        outbox: Outbox,
        inputs: Inputs,
        identity: Identity,
        settings: Settings,
        runtime: Runtime,
        timeout: float,
    ) -> None:
        self._commits = commits
        self._outbox = outbox
        self._inputs = inputs
        self._identity = identity
        self._runtime = runtime
        self._timeout = timeout
        self._deadline = runtime.monotonic() + timeout
        self._lock = threading.Lock()
        self._draft = Draft(commits, outbox, settings, runtime)
        self._offsets = TransactionOffsets(outbox)
        self._phase: Phase = "open"
        self._doom: BaseException | None = None  # why it cannot be committed any more
        self._numbers = (0, 0)
        self._answered = Gate()
        self._error: BaseException | None = None
        self._doubtful = False
        self._result: TransactionMetadata | None = None
        outbox.register(self)
        # Forgotten while open: its segments are collected some time, its memory somebody waits for.
        weakref.finalize(self, self._draft.loan.forsake).atexit = False

    def __repr__(self) -> str:
        return f"<Transaction, {self._phase}>"

    # --- content -----------------------------------------------------------------------------------

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
        """Add one record; the arguments are those of :meth:`streamhouse.Producer.send`.

        Args:
            topic: Name of the topic.
            value: Bytes, text, ``None`` (a tombstone), or what becomes JSON.
            key: Bytes, text or ``None``.
            headers: A mapping, or pairs of name and value.
            partition: Which; by default the key decides.
            timestamp: Milliseconds since 1970 or a ``datetime`` with a time zone; now by default.
            timeout: Seconds to wait while the memory for pending records is full; 0: neither wait nor
                upload.

        Returns:
            The delivery. It can be waited for once the transaction is committed; before,
            :class:`~streamhouse.errors.TransactionError` is raised.

        Raises:
            TransactionError: The transaction has ended, or took too long.
            InvalidRecordError: Something of a type that cannot be stored.
            RecordTooLargeError: The record exceeds ``record_bytes_max``.
            TopicNotFoundError: There is no such topic.
            PartitionNotFoundError: The topic has no such partition.
            BufferFullError: The memory stayed full for ``timeout`` seconds.
            StoreError: An upload failed.
            ProducerFencedError: A newer producer has the same ``transactional_id``.
        """
        with self._lock:
            self._check()
        # Without the lock, for this may look at the log, and a callback that sends would keep that waiting.
        destination = self._outbox.destination(topic)
        destination, pair, size = self._inputs.pair(destination, value, key, headers, partition, timestamp)
        size += RECORD_OVERHEAD_BYTES
        with self._lock:
            self._check()
            try:
                self._draft.make_room(size, timeout)
                return Delivery(*self._draft.add(destination, pair, size))
            except BufferFullError:
                raise  # nothing has changed
            except BaseException as error:
                self._doom = error
                raise

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
        """Add many records; the arguments are those of :meth:`streamhouse.Producer.send_many`.

        If one of them is bad, none is added.

        Args:
            topic: Name of the topic.
            values: As in :meth:`send`.
            keys: As in :meth:`send`.
            headers: One entry per record, or a mapping for all of them.
            partition: For all records; by default their keys decide.
            timestamps: One per record, or one for all; now by default.
            timeout: As in :meth:`send`, before the first is added.

        Raises:
            StreamhouseError: As in :meth:`send`.
        """
        with self._lock:
            self._check()
        adds = self._adds(topic, values, keys, headers, partition, timestamps, timeout)
        with self._lock:
            self._check()
            try:
                return BatchDelivery([add() for add in adds][-1])
            except BufferFullError:
                raise
            except BaseException as error:
                self._doom = error
                raise

    def commit_offsets(
        self,
        consumer: OffsetSource | None = None,
        *,
        group: str | None = None,
        offsets: Offsets | None = None,
    ) -> None:
        """Let a group's offsets move with the transaction.

        Args:
            consumer: Whose group; without ``offsets`` its positions are committed, which is after all the
                records that it has handed out, and its automatic commits end. When a rebalance takes
                partitions away before the transaction is committed, all of it is refused
                (StaleMemberError).
            group: The name of a group without members, in place of a consumer.
            offsets: The next offset wanted, per ``(topic, partition)``; a pair of it and a note of at most
                4096 bytes is possible.

        Raises:
            InvalidInputError: Neither a consumer nor a group with offsets, or they make no sense, or the
                consumer is of another log.
            OffsetOutOfRangeError: The partition ends before that offset.
            TransactionError: The transaction has ended, or the consumer has no group.
            TopicNotFoundError: There is no such topic.
            PartitionNotFoundError: The topic has no such partition.
            StaleMemberError: The consumer is no member of its group any more.
        """
        with self._lock:
            self._check()
        wanted = self._offsets.asked(consumer, group, offsets)  # without the lock, as in send
        with self._lock:
            self._check()
            self._offsets.note(wanted)

    # --- the end -----------------------------------------------------------------------------------

    def commit(self) -> TransactionMetadata:
        """Make all of it visible and wait until it is durable.

        What the same producer sent outside of the transaction before this call comes before it.

        Returns:
            Where the records are, also as :attr:`result`.

        Raises:
            TransactionError: The transaction has ended, or took too long; nothing of it was written.
            StaleMemberError: The offsets come from a consumer that does not own the partitions any
                more; nothing of it was written.
            ProducerFencedError: A newer producer has the same ``transactional_id``; likewise.
            SequenceError: The log misses earlier transactions of this producer; likewise.
            TopicNotFoundError: A topic was deleted meanwhile; likewise.
            StoreError: The store refused; likewise.
            DeliveryTimeoutError: The outcome is unknown, it may yet take effect. With a
                ``transactional_id`` the producer's next transaction makes sure that it does not do so
                any more.
        """
        with self._lock:
            self._check()
            try:
                self._commits.check_may_wait()
                self._outbox.drain()
                proposal = self._prepare()
            except BaseException as error:
                self._abandon(error)
                raise
            if proposal is None:
                self._phase, self._result = "committed", TransactionMetadata(0, {})
            else:
                self._propose(proposal)
            return self.result

    def abort(self) -> None:
        """Give all of it up, and remove what was uploaded. Aborting twice is fine.

        Raises:
            TransactionError: It was committed before.
        """
        with self._lock:
            if self._phase == "open":
                self._abandon(None)
            elif self._phase not in {"aborted", "failed"}:
                raise TransactionError(f"{_STATES[self._phase]}; it cannot be aborted any more")

    @property
    def open(self) -> bool:
        """Whether it can still be added to."""
        return self._phase == "open"

    @property
    def result(self) -> TransactionMetadata:
        """Where the records are, once it is committed.

        Raises:
            TransactionError: It is not committed.
            StreamhouseError: What :meth:`commit` raised.
        """
        if self._result is not None:
            return self._result
        if self._error is not None:
            raise self._error.with_traceback(None)
        raise TransactionError(f"{_STATES[self._phase]}: there is no result yet")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.open:
            return  # committed or aborted in the block
        if error is None:
            self.commit()
        else:
            self.abort()

    def _relieve(self) -> None:
        """Upload what is there, for others need memory; nothing while somebody is at work in here."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._phase == "open" and self._doom is None:
                self._draft.upload()
        except Exception as error:  # noqa: BLE001 - its owner is told, at the next use
            self._doom = error
        finally:
            self._lock.release()

    # --- helpers -----------------------------------------------------------------------------------

    def _adds(
        self,
        topic: str,
        values: Any,
        keys: Any,
        headers: Any,
        partition: int | None,
        timestamps: Any,
        timeout: float | None,
    ) -> list[Callable[[], DraftBulk]]:
        """What adds records that are checked; those that are no dead letters come last."""
        destination = self._outbox.destination(topic)
        if partition is not None:
            destination.check_partition(partition)
        if is_frame(values):
            destination, columns = self._inputs.columns(destination, values, keys, headers, timestamps)
            if partition is not None:
                destination.check_partition(partition)  # of the topic as it is by now
            return [partial(self._draft.add_columns, destination, columns, partition, timeout)]
        made = self._inputs.rows(destination, self._inputs.lists(values, keys, headers, timestamps))
        if partition is not None:
            made[-1][0].check_partition(partition)
        adds: list[Callable[[], DraftBulk]] = []
        for target, rows in made:
            raw_bytes = payload_bytes(rows, self._inputs.record_bytes_max)
            chosen = partition if rows is made[-1][1] else None
            adds.append(
                partial(self._draft.add_rows, target, rows, raw_bytes, chosen, None if adds else timeout)
            )
        return adds

    def _check(self) -> None:
        if self._phase != "open":
            raise TransactionError(f"{_STATES[self._phase]}; begin another one")
        self._outbox.check()
        if self._runtime.monotonic() > self._deadline:
            self._doom = TransactionError(
                f"the transaction was open for more than {self._timeout:g} s (transaction_timeout); "
                "nothing of it was written"
            )
        if self._doom is not None:
            doom = self._doom
            if not isinstance(doom, TransactionError):
                doom = TransactionError(
                    f"the transaction was cut short ({type(doom).__name__}); nothing of it was written"
                )
            self._abandon(doom)
            raise doom from (None if doom is self._doom else self._doom)

    def _prepare(self) -> Proposal | None:
        """What is to be proposed; ``None`` when there is nothing."""
        if not self._draft.topics and not self._offsets:
            return None
        self._identity.check()
        producer, epoch = self._numbers = self._identity.current
        appends, blocks = self._draft.appends(producer, epoch, self._identity.sequence)
        offsets = self._offsets.operations()
        operation = TransactionOperation(self._identity.name, producer, epoch, appends, offsets)
        places = [(append.topic, part.partition) for append in appends for part in append.parts]
        return self._commits.prepare(operation, blocks, partial(self._answer, places))

    def _propose(self, proposal: Proposal) -> None:
        """Propose it and wait for the answer."""
        self._phase = "committing"
        self._draft.proposed = True
        self._identity.proposed()
        try:
            self._enter(proposal)
            self._answered.wait()
        except BaseException:  # Ctrl-C: the answer will come, but nobody waits here to act on it
            self._outbox.adopt(partial(self._enter, proposal))
            self._draft.release(doubtful=True)
            raise
        self._draft.release(used=self._result is not None, doubtful=self._doubtful)

    def _enter(self, proposal: Proposal) -> None:
        try:
            self._commits.enter(proposal)
        except ClosedError as error:
            proposal.fail(error)
            return
        with suppress(ClosedError):  # then it is answered anyway
            self._commits.urge()

    def _answer(self, places: list[Place], future: Future[list[int]]) -> None:
        """Take in the outcome; on the commit thread."""
        error = future.exception()
        try:
            bases = {} if error is not None else dict(zip(places, future.result(), strict=True))
            if error is None or _nothing_written(error):
                self._identity.concluded(self._numbers, self._draft.counts, error)
            if error is None:
                self._result = self._metadata(bases)
                self._phase = "committed"
            else:
                self._error = error
                self._doubtful = not _nothing_written(error)
                self._phase = "unknown" if self._doubtful else "failed"
            if isinstance(error, TopicNotFoundError | PartitionNotFoundError):
                self._outbox.forget(topic.name for topic in self._draft.topics.values())
            self._draft.settle(bases, error)
        finally:
            self._answered.open()

    def _metadata(self, bases: dict[Place, int]) -> TransactionMetadata:
        counts, topics = self._draft.counts, self._draft.topics
        offsets = {
            TopicPartition(topics[place[0]].name, place[1]): range(base, base + counts[place])
            for place, base in bases.items()
        }
        return TransactionMetadata(sum(counts.values()), offsets)

    def _abandon(self, reason: BaseException | None) -> None:
        """End it without a proposal."""
        self._phase = "aborted" if reason is None else "failed"
        if reason is None:
            self._error = TransactionError("the transaction was aborted; nothing of it was written")
        elif isinstance(reason, StreamhouseError):
            self._error = reason
        else:
            self._error = TransactionError(
                f"the transaction was cut short by {type(reason).__name__}; nothing of it was written"
            )
        self._draft.settle({}, self._error)
        self._draft.release()


_STATES: Final[Mapping[Phase, str]] = {
    "open": "the transaction is open",
    "committing": "the transaction is being committed",
    "committed": "the transaction was committed",
    "aborted": "the transaction was aborted",
    "failed": "the transaction failed",
    "unknown": "the outcome of the transaction is unknown",
}


def _nothing_written(error: BaseException) -> bool:
    """Whether the log or the store refused, so that it certainly has no effect."""
    if isinstance(error, DeliveryTimeoutError | StoreDurabilityError):
        return False
    refusals = DeliveryError | GroupError | TopicNotFoundError | PartitionNotFoundError | ClosedError
    return isinstance(error, refusals | StoreError)


def check_timeout(timeout: Any) -> None:
    """Refuse a time that a transaction cannot stay open.

    Raises:
        InvalidInputError: It is no number of seconds above 0, or too many.
    """
    good = isinstance(timeout, int | float) and 0 < timeout <= limits.TRANSACTION_SECONDS_MAX
    if isinstance(timeout, bool) or not good:
        raise InvalidInputError(
            f"transaction_timeout is above 0 and at most {limits.TRANSACTION_SECONDS_MAX:g} seconds, "
            f"not {timeout!r}: what it uploads may be collected later"
        )
