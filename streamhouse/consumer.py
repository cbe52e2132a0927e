"""Reading endlessly: polls, batches or plain iteration over any number of partitions."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Generic

from streamhouse.catalog.catalog import Catalog
from streamhouse.errors import (
    ClosedError,
    ForkedError,
    InvalidInputError,
    NotAssignedError,
    TransactionError,
)
from streamhouse.format.commit import CommitOffsets, OffsetEntry
from streamhouse.read.batch import RecordBatch
from streamhouse.read.cursor import Cursor
from streamhouse.read.deserializers import Deserializer, list_deserializer
from streamhouse.read.positions import checked_partitions, position_for, resolve
from streamhouse.read.reader import BlockReader
from streamhouse.read.turns import Handout, Turns
from streamhouse.records import K, Position, Positions, Record, TopicPartition, V
from streamhouse.runtime import Runtime, process_id

_WAIT_SLICE_SECONDS: Final = 0.1  # Ctrl-C, close() and seek() of another thread get through
_CHUNK_RECORDS: Final = 4096  # objects made at once for an iteration


class Consumer(Generic[K, V]):
    """Reads partitions in order of offset, from a position on, for as long as it likes.

    Made by :meth:`streamhouse.Log.consumer`. Partitions take turns, so a busy one does not hold up the
    others; the order within a partition is kept. All partitions that the topics have now are
    read; partitions and topics that come later are not added.

    A consumer is for one thread at a time. Calls from several threads do not corrupt it, and ``seek``,
    ``pause``, ``resume`` and ``close`` get through to one that waits, but the order of records
    is then shared out between the threads.

    An error in one partition is raised when nothing else is at hand, leaves the position before
    what it concerns, and gives the other partitions their turn at the next poll.

    Args:
        catalog: Where topics and blocks are looked up.
        reader: Where blocks come from.
        runtime: Clock.
        topics: Topics to read; none to ``assign`` later.
        start: Where to begin, for all partitions or per partition number.
        partitions: Partitions of each topic to read; all by default.
        key: Deserialiser for keys: ``"bytes"``, ``"str"``, ``"json"``, ``"msgpack"``, a type that JSON is
            decoded into, or a function. Nulls stay ``None``.
        value: Deserialiser for values.

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
        ...     with log.consumer("orders", value="str") as consumer:
        ...         for record in consumer:
        ...             break
        >>> record.value
        'first'
    """

    def __init__(
        self,
        catalog: Catalog,
        reader: BlockReader,
        runtime: Runtime,
        topics: Sequence[str] | str = (),
        *,
        start: Positions = "earliest",
        partitions: Iterable[int] | None = None,
        key: Deserializer = "bytes",
        value: Deserializer = "bytes",
    ) -> None:
        self._closed = True  # until everything below is there
        self._process = process_id()
        self._catalog = catalog
        self._reader = reader
        self._runtime = runtime
        self._start = start
        self._keys, self._values = list_deserializer(key), list_deserializer(value)
        self._lock = threading.RLock()
        self._turns: Turns[K, V] = Turns()
        self._handout: Handout[K, V] | None = None  # what an iteration is busy with
        self._following = ExitStack()
        self._follows = False
        self._moves = 0
        self._group: str | None = None
        catalog.refresh()
        names = [topics] if isinstance(topics, str) else list(dict.fromkeys(topics))
        wanted = None if partitions is None else list(partitions)
        infos = [catalog.topic(name) for name in names]
        self._place(
            [
                TopicPartition(info.name, partition)
                for info in infos
                for partition in checked_partitions(info, wanted)
            ],
            start,
        )
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._turns.cursors)} partitions"
        return f"Consumer({state})"

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
            ClosedError: The consumer was closed.
            ForkedError: It belongs to the parent process.
        """
        _check_count("max_records", max_records)
        return self._wait_for(lambda: self._turns.take_records(max_records).records, timeout)

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
            _check_count("max_records", max_records)
        return self._wait_for(lambda: self._turns.take_batches(max_records), timeout)

    def __iter__(self) -> Iterator[Record[K, V]]:
        """Record by record, without end; see :meth:`poll` for what is raised.

        The position is always that of the record after the one handed out last, so leaving the loop and
        reading on in another way passes over nothing.
        """
        while True:
            (handout,) = self._wait_for(self._take_handout, None)
            yield from handout.iterator

    # --- positions ---------------------------------------------------------------------------------

    @property
    def assignment(self) -> list[TopicPartition]:
        """The partitions that are read, in the order they were assigned."""
        return list(self._turns.cursors)

    @property
    def paused(self) -> list[TopicPartition]:
        """Those that are paused."""
        return [name for name in self._turns.cursors if name in self._turns.paused]

    def assign(self, partitions: Iterable[tuple[str, int]], *, start: Positions | None = None) -> None:
        """Read these partitions from now on. Those that were read already keep their positions.

        Args:
            partitions: Pairs of topic and partition number.
            start: Where to begin in those that are new; by default as the consumer was told when made.

        Raises:
            TopicNotFoundError: There is no such topic.
            PartitionNotFoundError: The topic has no such partition.
            OffsetOutOfRangeError: ``start`` is an offset that a partition does not have.
        """
        self._check()
        self._catalog.refresh()
        with self._lock:
            self._moved()
            self._place(
                [TopicPartition(*pair) for pair in partitions],
                self._start if start is None else start,
            )

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
        cursor = self._cursor(topic, partition)
        self._catalog.refresh()
        with self._lock:
            self._moved()
            cursor.high_watermark()  # says it properly when the topic was deleted
            cursor.position = resolve(self._catalog, self._reader, cursor.topic, partition, position)

    def position(self, topic: str, partition: int) -> int:
        """Offset of the record that is handed out next.

        Raises:
            NotAssignedError: The partition is not read.
        """
        self._check()
        with self._lock:
            return self._position(self._cursor(topic, partition))

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
                for name, cursor in self._turns.cursors.items()
                if topic in (None, name.topic) and partition in (None, name.partition)
            ]
            if not cursors:
                raise NotAssignedError(
                    f"this consumer does not read partition {partition} of topic {topic!r}"
                )
            return sum(cursor.high_watermark() - self._position(cursor) for cursor in cursors)

    def pause(self, partitions: Iterable[tuple[str, int]] | None = None) -> None:
        """Leave partitions out, without losing the position; all of them by default.

        Raises:
            NotAssignedError: One of them is not read.
        """
        self._check()
        with self._lock:
            self._moved()
            self._turns.paused.update(self._names(partitions))

    def resume(self, partitions: Iterable[tuple[str, int]] | None = None) -> None:
        """Read paused partitions again; all of them by default.

        Raises:
            NotAssignedError: One of them is not read.
        """
        self._check()
        with self._lock:
            self._moved()
            self._turns.paused.difference_update(self._names(partitions))

    # --- transactions ------------------------------------------------------------------------------

    def _offsets_for_transaction(self) -> CommitOffsets:
        """The positions, and who we are, for a transaction to commit.

        Raises:
            TransactionError: The consumer reads without a group.
        """
        self._check()
        if self._group is None:
            raise TransactionError(
                "this consumer has no group whose offsets could be committed: make it with "
                "log.consumer(..., group=...)"
            )
        with self._lock:
            entries = [
                OffsetEntry(cursor.topic.id, cursor.partition, self._position(cursor))
                for cursor in self._turns.cursors.values()
            ]
        return CommitOffsets(self._group, "", 0, tuple(entries))

    def _commit_by_transactions(self) -> None:
        """Commit nothing automatically from now on: transactions do, in :meth:`streamhouse.Log.process`."""

    # --- end ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop reading. Whoever waits in another thread gets ClosedError. Closing twice is fine."""
        if self._closed or self._process != process_id():
            return
        self._closed = True
        with self._lock:
            self._moved()
            self._turns.assign(())
        self._following.close()

    def __enter__(self) -> Consumer[K, V]:
        self._check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and self._process == process_id():
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)
            self._following.close()

    # --- helpers -----------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._process != process_id():  # before any lock: fork may have left it held for ever
            raise ForkedError("this consumer was made before fork; open the log again in this process")
        if self._closed:
            raise ClosedError("the consumer is closed; make a new one")

    def _cursor(self, topic: str, partition: int) -> Cursor:
        cursor = self._turns.cursors.get(TopicPartition(topic, partition))
        if cursor is None:
            raise NotAssignedError(f"this consumer does not read partition {partition} of topic {topic!r}")
        return cursor

    def _names(self, partitions: Iterable[tuple[str, int]] | None) -> list[TopicPartition]:
        if partitions is None:
            return list(self._turns.cursors)
        return [self._cursor(*pair).name for pair in partitions]

    def _position(self, cursor: Cursor) -> int:
        pending = None if self._handout is None else self._handout.next_offset(cursor)
        return cursor.position if pending is None else pending

    def _place(self, names: list[TopicPartition], start: Positions) -> None:
        """Make the cursors for an assignment, all or none."""
        present = self._turns.cursors
        self._turns.assign(
            [present.get(name) or self._new_cursor(name, start) for name in dict.fromkeys(names)]
        )

    def _new_cursor(self, name: TopicPartition, start: Positions) -> Cursor:
        info = self._catalog.topic(name.topic)
        (partition,) = checked_partitions(info, [name.partition])
        where = position_for(start, partition)
        offset = resolve(self._catalog, self._reader, info, partition, where)
        return Cursor(self._catalog, self._reader, info, partition, offset, self._keys, self._values)

    def _wait_for(self, take: Callable[[], list[Any]], timeout: float | None) -> list[Any]:
        """What ``take`` gives as soon as it gives something, or nothing after the time-out."""
        if timeout is not None and not timeout >= 0:
            raise InvalidInputError(f"timeout must be None or 0 seconds and more, not {timeout!r}")
        deadline = None if timeout is None else self._runtime.monotonic() + timeout
        taken: list[Any] = []
        looked = None
        while True:
            self._check()  # for fork before the lock, for close() under it
            version = self._catalog.version  # before looking, so that nothing slips in between
            if looked != (version, self._moves):  # thousands of idle partitions take a while
                looked = (version, self._moves)
                with self._lock:
                    self._check()
                    self._take_back()
                    self._follow()
                    taken = take()
            pause = _WAIT_SLICE_SECONDS
            if deadline is not None:
                pause = min(pause, deadline - self._runtime.monotonic())
            if taken or pause <= 0:
                return taken
            self._catalog.wait(version, pause)

    def _follow(self) -> None:
        if not self._follows:
            self._follows = True
            self._following.enter_context(self._catalog.follow())

    def _moved(self) -> None:
        """Somebody is about to change what is read next; one who waits has to look again."""
        self._take_back()
        self._moves += 1

    def _take_back(self) -> None:
        if self._handout is not None:
            self._handout.take_back()
            self._handout = None

    def _take_handout(self) -> list[Handout[K, V]]:
        handout = self._turns.take_records(_CHUNK_RECORDS)
        if not handout.records:
            return []
        self._handout = handout
        return [handout]


def _check_count(name: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidInputError(f"{name} must be a whole number from 1 on, not {count!r}")
