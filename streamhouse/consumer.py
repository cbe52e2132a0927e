"""Reading endlessly: polls, batches or plain iteration over any number of partitions, alone or in a group."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Final, Generic

from streamhouse import markup
from streamhouse.catalog.catalog import Catalog
from streamhouse.catalog.offsets import checked_place
from streamhouse.errors import (
    ClosedError,
    DeliveryTimeoutError,
    ForkedError,
    InvalidInputError,
    NotAssignedError,
    OffsetOutOfRangeError,
    StreamhouseError,
    TransactionError,
)
from streamhouse.format.operations import CommitOffsets
from streamhouse.groups.agent import GroupAgent
from streamhouse.groups.offsets import What
from streamhouse.groups.options import GroupOptions, check_topics
from streamhouse.groups.session import Session
from streamhouse.read.batch import RecordBatch
from streamhouse.read.cursor import Cursor, Reset
from streamhouse.read.deserializers import Deserializer, list_deserializer
from streamhouse.read.positions import checked_partitions, position_for
from streamhouse.read.reader import BlockReader
from streamhouse.read.reading import Reading
from streamhouse.read.turns import Handout
from streamhouse.records import (
    K,
    OffsetAndMetadata,
    Position,
    Positions,
    Record,
    TopicPartition,
    V,
)
from streamhouse.runtime import Runtime, check_wait, process_id

_WAIT_SLICE_SECONDS: Final = 0.1  # Ctrl-C, close() and seek() of another thread get through
_CLOSE_SECONDS: Final = 120.0
_WANTED: Final = threading.Event()  # never set: whoever asked waits for the answer


class Consumer(Generic[K, V]):
    """Reads partitions in order of offset, from a position on, for as long as it likes.

    Made by :meth:`streamhouse.Log.consumer`. Partitions take turns, so a busy one does not hold up the
    others; the order within a partition is kept. Without a group, all partitions that the topics have
    when it is made are read; partitions and topics that come later are not added.

    In a group, the partitions are shared out between its members, and shared out anew whenever a
    member comes or goes. The consumer joins at its first poll. What was processed is committed, so whoever
    gets a partition next goes on where the last owner stopped. Every record is delivered at least once: an
    automatic commit covers a record only when the next one was asked for (in a loop), or the next poll
    was made.

    A consumer is for one thread at a time. Calls from several threads do not corrupt it, and ``seek``,
    ``pause``, ``resume`` and ``close`` get through to one that waits, but the order of records
    is then shared out between the threads.

    An error in one partition is raised when nothing else is at hand, leaves the position before
    what it concerns, and gives the other partitions their turn at the next poll.

    Args:
        catalog: Where topics and blocks are looked up.
        reader: Where blocks come from.
        runtime: Clock.
        topics: Topics to read, or patterns of them in a group; none to ``assign`` later.
        start: Where to begin, for all partitions or per partition number; in a group, where nothing was
            committed.
        partitions: Partitions of each topic to read; all by default.
        key: Deserialiser for keys: ``"bytes"``, ``"str"``, ``"json"``, ``"msgpack"``, a type that JSON is
            decoded into, or a function. Nulls stay ``None``.
        value: Deserialiser for values; by default dicts in a typed topic.
        reset: Where to go on when what is at the position was removed.
        group: How to take part in a group.
        agent: Takes care of the group members in this process.

    Raises:
        TopicNotFoundError: There is no such topic.
        PartitionNotFoundError: A topic has no such partition.
        OffsetOutOfRangeError: ``start`` is an offset that a partition does not have.
        InvalidPositionError: ``start`` is no position, or lacks a partition.
        InvalidSettingError: An unknown deserialiser.

    Example:
        >>> import streamhouse
        >>> with streamhouse.Log("memory://") as log:
        ...     topic = log.create_topic("orders")
        ...     with log.producer() as producer:
        ...         stored = producer.send("orders", "first", key="k").result()
        ...     with log.consumer("orders", group="billing", value="str") as consumer:
        ...         for record in consumer:
        ...             break
        ...     log.groups["billing"].offsets[("orders", 0)].offset
        1
        >>> record.value
        'first'
    """

    def __init__(
        self,
        catalog: Catalog,
        reader: BlockReader,
        runtime: Runtime,
        topics: Sequence[str | re.Pattern[str]] | str = (),
        *,
        start: Positions = "earliest",
        partitions: Iterable[int] | None = None,
        key: Deserializer = None,
        value: Deserializer = None,
        reset: Reset | None = None,
        group: GroupOptions | None = None,
        agent: GroupAgent | None = None,
    ) -> None:
        self._closed = True  # until everything below is there
        self._closer = 0  # the thread that is closing it
        self._process = process_id()
        self._catalog = catalog
        self._runtime = runtime
        self._start = start
        names = [topics] if isinstance(topics, str) else list(topics)
        check_topics(names, group=group is not None)
        names = list(dict.fromkeys(names))
        self._reading: Reading[K, V] = Reading(
            catalog,
            reader,
            list_deserializer(key),
            list_deserializer(value),
            reset or _default_reset(start, group),
        )
        self._lock = self._reading.lock
        self._following = ExitStack()
        self._follows = False
        self._polled_by_loop = False  # on many threads, but one after the other
        self._agent = agent
        self._session: Session | None = None
        self._subscribed = group is not None and bool(names) and partitions is None
        catalog.refresh()
        wanted = list(partitions) if isinstance(partitions, Iterable) else partitions
        infos = [catalog.topic(name) for name in names if isinstance(name, str)]
        if group is not None and agent is not None:
            subscription = names if self._subscribed else None
            self._session = agent.session(group, self._reading, catalog, start, subscription)
        if not self._subscribed:
            self._place(
                [
                    TopicPartition(info.name, partition)
                    for info in infos
                    for partition in checked_partitions(info, wanted)
                ],
                start,
            )
        if self._session is not None and agent is not None:
            agent.register(self._session)
        self._closed = False

    def __repr__(self) -> str:
        if self._closed:
            return "Consumer(closed)"
        group = "" if self._session is None else f"group {self._session.options.group!r}, "
        return f"Consumer({group}{len(self._reading.cursors)} partitions)"

    def _repr_html_(self) -> str:
        if self._closed:
            return markup.heading("consumer", "closed")
        self._check()
        self._catalog.refresh()
        with self._lock:
            found = [
                (name, self._reading.position(cursor), cursor.high_watermark())
                for name, cursor in self._reading.cursors.items()
            ]
        most = max((high - at for _, at, high in found), default=0)
        group = () if self._session is None else (f"member of {self._session.options.group!r}",)
        head = markup.heading("consumer", f"{len(found):,} partitions", *group)
        rows = (
            (name.topic, name.partition, at, high, markup.bar(high - at, most)) for name, at, high in found
        )
        columns = ("topic", "partition", "position", "high watermark", "lag")
        return head + markup.table(columns, rows, count=len(found))

    # --- reading -----------------------------------------------------------------------------------

    def poll(self, timeout: float | None = 1.0, max_records: int = 500) -> list[Record[K, V]]:
        """The next records; an empty list when none came in time.

        Args:
            timeout: Seconds to wait for the first record; 0: only what is there; ``None``: for ever. A
                block that has to be fetched is waited for even if that takes longer.
            max_records: At most so many. Fewer come when together they are very large.

        Raises:
            OffsetOutOfRangeError: What is at the position was removed meanwhile.
            DeserializationError: A deserialiser refuses the next record.
            TopicNotFoundError: The topic was deleted.
            CorruptionError: What is stored is damaged.
            StoreError: The store fails.
            NotAssignedError: There is nothing to read from.
            StaleMemberError: In a group: another consumer took over its ``instance_id``.
            InconsistentAssignorError: In a group: the other members use another assignor.
            ClosedError: The consumer was closed.
            ForkedError: It belongs to the parent process.
        """
        check_count("max_records", max_records)
        return self._wait_for(lambda: self._reading.take_records(max_records), timeout)

    def poll_batches(self, timeout: float | None = 1.0, max_records: int | None = None) -> list[RecordBatch]:
        """The next records as columns: at most one batch, which is one stored block, per partition.

        Args:
            timeout: As for :meth:`poll`.
            max_records: At most so many in all batches together.

        Raises:
            StreamhouseError: As for :meth:`poll`. Deserialisers are not applied before a batch is asked
                for its keys, values or records.
        """
        if max_records is not None:
            check_count("max_records", max_records)
        return self._wait_for(lambda: self._reading.take_batches(max_records), timeout)

    def __iter__(self) -> Iterator[Record[K, V]]:
        """Record by record, without end; see :meth:`poll` for what is raised.

        The position is always that of the record after the one handed out last, so leaving the loop and
        reading on in another way passes over nothing.
        """
        while True:
            (handout,) = self._take_handout(None)
            yield from handout.iterator

    # --- for those who may not wait for the end ----------------------------------------------------

    def _take_handout(
        self, timeout: float | None, given_up: threading.Event = _WANTED
    ) -> list[Handout[Record[K, V]]]:
        """Records for an iteration, as for :meth:`poll`: at most one hand-out.

        Args:
            timeout: As for :meth:`poll`.
            given_up: Nobody wants them any more once this is set.
        """
        return self._wait_for(self._reading.take_handout, timeout, given_up)

    def _offer_records(
        self, timeout: float | None, max_records: int, given_up: threading.Event
    ) -> list[Handout[Record[K, V]]]:
        """Like :meth:`poll`, but only what is taken from the iterator has been handed out."""
        check_count("max_records", max_records)
        return self._wait_for(lambda: self._reading.offer_records(max_records), timeout, given_up)

    def _offer_batches(
        self, timeout: float | None, max_records: int | None, given_up: threading.Event
    ) -> list[Handout[RecordBatch]]:
        """Likewise :meth:`poll_batches`."""
        if max_records is not None:
            check_count("max_records", max_records)
        return self._wait_for(lambda: self._reading.offer_batches(max_records), timeout, given_up)

    def _give_up(self, given_up: threading.Event) -> None:
        """Let the call come back that was made with this event."""
        given_up.set()
        self._catalog.wake()

    # --- positions ---------------------------------------------------------------------------------

    @property
    def assignment(self) -> list[TopicPartition]:
        """The partitions that are read, in the order they were assigned."""
        return list(self._reading.cursors)

    @property
    def paused(self) -> list[TopicPartition]:
        """Those that are paused."""
        return [name for name in self._reading.cursors if name in self._reading.turns.paused]

    def assign(self, partitions: Iterable[tuple[str, int]], *, start: Positions | None = None) -> None:
        """Read these partitions from now on. Those that were read already keep their positions.

        With a group, this is for consumers that were made without topics: they join nothing, and commit
        offsets for the group while it has no members.

        Args:
            partitions: Pairs of topic and partition number.
            start: Where to begin in those that are new; by default as the consumer was told when made.

        Raises:
            TopicNotFoundError: There is no such topic.
            PartitionNotFoundError: The topic has no such partition.
            OffsetOutOfRangeError: ``start`` is an offset that a partition does not have.
            InvalidInputError: A group says what this consumer reads, or these are no pairs.
        """
        self._check()
        if self._subscribed:
            raise InvalidInputError(
                "this consumer is given its partitions by its group; make one without topics to assign them"
            )
        names = _named(partitions)
        self._catalog.refresh()
        with self._lock:
            self._moved()
            self._place(names, self._start if start is None else start)

    def seek(self, topic: str, partition: int, position: Position) -> None:
        """Read on from there.

        Args:
            topic: Name of the topic.
            partition: Number of the partition.
            position: ``"earliest"``, ``"latest"``, an offset or a datetime.

        Raises:
            NotAssignedError: The partition is not read.
            OffsetOutOfRangeError: The partition has no such offset.
            InvalidPositionError: It is no position.
        """
        self._check()
        cursor = self._reading.cursor(topic, partition)
        self._catalog.refresh()
        with self._lock:
            self._moved()
            self._reading.seek(cursor, position)

    def position(self, topic: str, partition: int) -> int:
        """Offset of the record that is handed out next.

        Raises:
            NotAssignedError: The partition is not read.
        """
        self._check()
        with self._lock:
            return self._reading.position(self._reading.cursor(topic, partition))

    def lag(self, topic: str | None = None, partition: int | None = None) -> int:
        """How many offsets lie between the position and the end of the log at this moment.

        Args:
            topic: Only of this topic.
            partition: Only of this partition.

        Raises:
            NotAssignedError: Nothing of that is read.
            TopicNotFoundError: The topic was deleted.
        """
        self._check()
        self._catalog.refresh()
        with self._lock:
            cursors = [
                cursor
                for name, cursor in self._reading.cursors.items()
                if topic in (None, name.topic) and partition in (None, name.partition)
            ]
            if not cursors:
                raise NotAssignedError(
                    f"this consumer does not read partition {partition} of topic {topic!r}"
                )
            return sum(cursor.high_watermark() - self._reading.position(cursor) for cursor in cursors)

    def pause(self, partitions: Iterable[tuple[str, int]] | None = None) -> None:
        """Leave partitions out, without losing the position; all of them by default.

        Raises:
            NotAssignedError: One of them is not read.
        """
        self._check()
        with self._lock:
            self._moved()
            self._reading.turns.paused.update(self._names(partitions))

    def resume(self, partitions: Iterable[tuple[str, int]] | None = None) -> None:
        """Read paused partitions again; all of them by default.

        Raises:
            NotAssignedError: One of them is not read.
        """
        self._check()
        with self._lock:
            self._moved()
            self._reading.turns.paused.difference_update(self._names(partitions))

    # --- transactions ------------------------------------------------------------------------------

    def _offsets_for_transaction(self) -> CommitOffsets:
        """The positions, and who we are, for a transaction to commit. From now on only transactions do.

        Raises:
            TransactionError: The consumer reads without a group.
        """
        self._check()
        if self._session is None:
            raise TransactionError(
                "this consumer has no group whose offsets could be committed: make it with "
                "log.consumer(..., group=...)"
            )
        self._session.auto_commit = False  # it would take back what a transaction has committed
        return self._session.transaction_offsets()

    def _begun_at(self) -> dict[TopicPartition, int]:
        """Where reading began in each partition, or was sent by a seek."""
        with self._lock:
            return {name: cursor.begun_at for name, cursor in self._reading.cursors.items()}

    def _return_to(self, name: TopicPartition, offset: int) -> None:
        """Read on from an earlier place; from where ``reset`` says if that was removed meanwhile.

        Raises:
            OffsetOutOfRangeError: It was removed, and ``reset`` is ``"error"``.
            NotAssignedError: The partition is not read.
        """
        if self.position(*name) == offset:
            return
        try:
            self.seek(*name, offset)
        except OffsetOutOfRangeError:
            if self._reading.reset == "error":
                raise
            self.seek(*name, self._reading.reset)

    # --- the group ---------------------------------------------------------------------------------

    @property
    def group(self) -> str | None:
        """Name of the group, if there is one."""
        return None if self._session is None else self._session.options.group

    @property
    def member_id(self) -> str | None:
        """What the group calls this consumer, once it has joined; another name each time it joins."""
        membership = None if self._session is None else self._session.membership
        return membership.id or None if membership is not None else None

    @property
    def generation(self) -> int | None:
        """The generation of the group that gave this consumer its partitions, once it has joined."""
        membership = None if self._session is None else self._session.membership
        return membership.generation if membership is not None and membership.id else None

    def commit(self, what: What | None = None, *, metadata: str = "") -> None:
        """Note how far the group has come, and wait until that is durable.

        Args:
            what: A record: everything up to it, in its partition, is processed. Or a mapping of ``(topic,
                partition)`` to the next offset wanted, or to a pair of that and a text to note with it.
                By default the positions of all partitions: everything that was handed out is processed.
            metadata: Text to note with each offset, at most 4096 bytes.

        Raises:
            StaleMemberError: Nothing was committed: this consumer is no member any more, or a partition
                is another's. Poll to join anew.
            GroupNotEmptyError: Its partitions are fixed, and the group has members.
            InvalidInputError: There is no group, or ``what`` makes no sense.
            OffsetOutOfRangeError: The partition ends before that offset.
            TopicNotFoundError: There is no such topic.
            StreamhouseError: The store fails.
        """
        session = self._group_session()
        session.commit(session.commit_operation(what, metadata))

    def commit_async(self, what: What | None = None, *, metadata: str = "") -> Future[None]:
        """Like :meth:`commit`, without waiting.

        Returns:
            A future that raises what :meth:`commit` says of the group and the store.

        Raises:
            StaleMemberError: The consumer has not joined yet.
            InvalidInputError: There is no group, or ``what`` makes no sense.
        """
        session = self._group_session()
        return session.offsets.submit(session.commit_operation(what, metadata))

    def committed(self, topic: str, partition: int) -> OffsetAndMetadata | None:
        """What the group has committed for a partition, by whichever member; ``None``: nothing yet.

        Raises:
            TopicNotFoundError: There is no such topic.
            PartitionNotFoundError: It has no such partition.
            InvalidInputError: There is no group.
        """
        session = self._group_session()
        self._catalog.refresh()
        info = self._catalog.topic(topic)
        (number,) = checked_partitions(info, [partition])
        return session.offsets.committed(info.id, number)

    def _group_session(self) -> Session:
        self._check()
        if self._session is None:
            raise InvalidInputError("this consumer has no group to commit for; make it with group='name'")
        return self._session

    # --- end ---------------------------------------------------------------------------------------

    def close(self, timeout: float | None = None, *, finished: bool = True) -> None:
        """Stop reading. Whoever waits in another thread gets ClosedError. Closing twice is fine.

        In a group, what was processed is committed (unless ``auto_commit`` is off), and the partitions go to
        others at once. A member with an ``instance_id`` stays in the group for its session, so that it can
        come back.

        Args:
            timeout: Seconds to wait for the store, in a group; by default two minutes.
            finished: Everything that was handed out is processed. Otherwise the record that a loop handed
                out last, or all that the latest poll returned, will be delivered again. When another
                thread polled last, it may be busy with them, and they count as not processed anyway.

        Raises:
            DeliveryTimeoutError: In a group: the store gave no answer in time, or another thread was in a
                poll or a callback all the time.
            StreamhouseError: The offsets could not be committed; the consumer is closed all the same.
            InvalidInputError: ``timeout`` is no time; it is not closed.
        """
        check_wait(timeout)
        if self._closed or self._closer or self._process != process_id():
            return
        self._closer = threading.get_ident()
        if not self._polled_by_loop:
            finished = finished and self._reading.taker in {0, self._closer}
        deadline = self._runtime.monotonic() + (_CLOSE_SECONDS if timeout is None else timeout)
        if self._session is not None:
            self._session.interrupt()
        locked = self._lock.acquire(timeout=self._seconds_until(deadline))
        try:
            self._close_session(deadline, finished=finished, locked=locked)
        finally:
            self._closed = True
            if locked:
                self._moved()
                self._reading.assign(())
                self._lock.release()
            self._following.close()

    def _close_session(self, deadline: float, *, finished: bool, locked: bool) -> None:
        session, agent = self._session, self._agent
        if session is None or agent is None:
            return
        try:
            if locked:
                session.close(finished=finished, timeout=self._seconds_until(deadline))
            else:
                session.desert()
                raise DeliveryTimeoutError(
                    "another thread was in a poll of this consumer, or in a callback of it, all the time; it"
                    f" leaves group {session.options.group!r} without a commit"
                )
        finally:
            agent.unregister(session)

    def _seconds_until(self, deadline: float) -> float:
        return min(max(0.0, deadline - self._runtime.monotonic()), threading.TIMEOUT_MAX)

    def __enter__(self) -> Consumer[K, V]:
        self._check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            with suppress(StreamhouseError):  # the error that is on its way out says more
                self.close(finished=False)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and self._process == process_id():
            if self._session is not None:
                self._session.forsaken = True  # no more: a lock may be held by whom the collector interrupts
            self._following.close()
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    # --- helpers -----------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._process != process_id():  # before any lock: fork may have left it held for ever
            raise ForkedError("this consumer was made before fork; open the log again in this process")
        if self._closed or self._closer not in {0, threading.get_ident()}:
            raise ClosedError("the consumer is closed; make a new one")

    def _names(self, partitions: Iterable[tuple[str, int]] | None) -> list[TopicPartition]:
        if partitions is None:
            return list(self._reading.cursors)
        return [self._reading.cursor(*name).name for name in _named(partitions)]

    def _place(self, names: list[TopicPartition], start: Positions) -> None:
        """Make the cursors for an assignment, all or none."""
        present = self._reading.cursors
        self._reading.assign(
            [present.get(name) or self._new_cursor(name, start) for name in dict.fromkeys(names)]
        )

    def _new_cursor(self, name: TopicPartition, start: Positions) -> Cursor:
        if self._session is not None:
            return self._session.new_cursor(name, start)
        return self._reading.new_cursor(name, position_for(start, name.partition))

    def _wait_for(
        self, take: Callable[[], list[Any]], timeout: float | None, given_up: threading.Event = _WANTED
    ) -> list[Any]:
        """What ``take`` gives as soon as it gives something, or nothing after the time-out."""
        check_wait(timeout)
        self._check()  # for fork before the lock, for close() under it
        if self._session is None:
            return self._wait(take, timeout, given_up)
        self._session.enter()
        try:
            return self._wait(take, timeout, given_up)
        finally:
            self._session.exit()

    def _wait(
        self, take: Callable[[], list[Any]], timeout: float | None, given_up: threading.Event
    ) -> list[Any]:
        deadline = None if timeout is None else self._runtime.monotonic() + timeout
        taken: list[Any] = []
        looked = None
        while True:
            version = self._catalog.version  # before looking, so that nothing slips in between
            if looked != (version, self._reading.moves):  # thousands of idle partitions take a while
                with self._lock:
                    self._check()
                    if given_up.is_set():
                        return []
                    if looked is None:
                        self._reading.settle()
                    looked = (version, self._reading.moves)
                    self._follow()
                    taken = self._take(take)
            pause = _WAIT_SLICE_SECONDS
            if deadline is not None:
                pause = min(pause, deadline - self._runtime.monotonic())
            if taken or pause <= 0 or given_up.is_set():
                return taken
            self._catalog.wait(version, pause)
            self._check()

    def _take(self, take: Callable[[], list[Any]]) -> list[Any]:
        self._reading.take_back()
        if self._session is not None:
            self._session.sync()
            self._check()  # a callback may have closed it
            if self._subscribed and not self._reading.cursors:
                return []  # there may be more members than partitions
        return take()

    def _follow(self) -> None:
        if not self._follows:
            self._follows = True
            self._following.enter_context(self._catalog.follow())

    def _moved(self) -> None:
        """Somebody is about to change what is read next; one who waits has to look again."""
        self._reading.take_back()
        self._reading.moves += 1


def _default_reset(start: Positions, group: GroupOptions | None) -> Reset:
    """Where to go on by default when what is at the position was removed."""
    if group is not None and start in ("earliest", "latest"):
        return "earliest" if start == "earliest" else "latest"
    return "error"


def _named(partitions: object) -> list[TopicPartition]:
    """Pairs of topic and number.

    Raises:
        InvalidInputError: They are none.
    """
    if not isinstance(partitions, Iterable):
        raise InvalidInputError(f"partitions are pairs of topic and number, not {partitions!r}")
    return [TopicPartition(*checked_place(pair)) for pair in partitions]


def check_count(name: str, count: object) -> None:
    """Refuse what is no number of records.

    Raises:
        InvalidInputError: It is no whole number above 0.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidInputError(f"{name} must be a whole number from 1 on, not {count!r}")
