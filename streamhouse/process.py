"""Consume, transform, produce: each record has its effect exactly once.

What a function makes of some records is sent in one transaction with the offsets after them. So the log
either has both or neither, whatever dies in between. Two things keep somebody who was replaced from having
an effect afterwards: offsets of a partition that a member of a group does not own any more are refused
together with the whole transaction, and so is a transaction of a producer whose name was taken over.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec

from streamhouse.catalog.catalog import Catalog
from streamhouse.commits.log import CommitLog
from streamhouse.consumer import Consumer, check_count
from streamhouse.errors import (
    InvalidInputError,
    NotAssignedError,
    StaleMemberError,
    StreamhouseError,
    TransactionError,
)
from streamhouse.producer import Producer, Transaction
from streamhouse.records import Record, TopicPartition
from streamhouse.runtime import Runtime
from streamhouse.write.fields import HeadersInput

_POLL_SECONDS: Final = 0.2  # how long stopping may take when nothing comes


class Output(msgspec.Struct, frozen=True):
    """A record that :meth:`streamhouse.Log.process` is to send.

    Attributes:
        topic: Name of the topic.
        value: Bytes, text, ``None`` (a tombstone), or what becomes JSON.
        key: Bytes, text or ``None``.
        headers: A mapping, or pairs of name and value.
        partition: Which; by default the key decides.
        timestamp: Milliseconds since 1970 or a ``datetime``; by default that of the record it comes from.
    """

    topic: str
    value: Any = None
    key: Any = None
    headers: HeadersInput = None
    partition: int | None = None
    timestamp: Any = None


Starts: TypeAlias = dict[TopicPartition, int]

Outputs: TypeAlias = Output | tuple[Any, ...] | Iterable[Any] | Any | None
"""Nothing, an :class:`Output`, a tuple ``(topic, value)`` or ``(topic, value, key)``, several of these in a
list or from a generator, or a bare value for the topic that was named to ``process``."""


class Stop(Protocol):
    """A ``threading.Event``, or what looks like one."""

    def is_set(self) -> bool:
        """Whether to stop."""


class Process:
    """One run of :meth:`streamhouse.Log.process`, which has the parameters.

    Attributes:
        count: Records whose transactions were committed.
    """

    def __init__(
        self,
        commits: CommitLog,
        catalog: Catalog,
        runtime: Runtime,
        consumer: Consumer[Any, Any],
        producer: Producer,
        function: Callable[[Record[Any, Any]], Outputs],
        *,
        topic: str | None,
        batch_records: int,
        batch_seconds: float,
        until: Literal["end"] | None,
        stop: Stop | None,
    ) -> None:
        if until not in {None, "end"}:
            raise InvalidInputError(f"until must be None or 'end', not {until!r}")
        if not batch_seconds > 0:
            raise InvalidInputError(f"batch_seconds must be above 0, not {batch_seconds!r}")
        check_count("batch_records", batch_records)
        for name, log_id in (("consumer", consumer._catalog.log_id), ("producer", producer._commits.log_id)):
            if log_id != commits.log_id:
                raise InvalidInputError(
                    f"the {name} is of another log than this; a transaction does not span two"
                )
        if not producer.transactional_id:
            raise TransactionError(
                "process needs a producer with a name, so that what it began before a crash cannot take "
                "effect afterwards: log.producer(transactional_id=...), another one for each process"
            )
        self.count = 0
        self._commits = commits
        self._catalog = catalog
        self._runtime = runtime
        self._consumer = consumer
        self._producer = producer
        self._function = function
        self._topic = topic
        self._batch_records = batch_records
        self._batch_seconds = batch_seconds
        self._bounded = until == "end"
        self._stop = stop
        self._group = consumer._offsets_for_transaction().group
        self._ends: dict[TopicPartition, int] = {}

    def run(self) -> int:
        """Work until the end, or until told to stop; how many records were processed."""
        self._rewind()
        self._look_for_ends()
        while not self._stopped():
            records = self._consumer.poll(_POLL_SECONDS, self._batch_records)
            starts = self._starts()
            if records or starts:
                self._work(records, starts)
            if self._bounded and self._at_end():
                break
        return self.count

    def _stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    # --- one batch ---------------------------------------------------------------------------------

    def _work(self, records: list[Record[Any, Any]], starts: Starts) -> None:
        try:
            while (records or starts) and not self._stopped():
                done = self._transact(records, starts)
                self.count += done
                records, starts = records[done:], {}
            if records:
                self._rewind()
        except StaleMemberError:
            self._rewind()
            if not self._consumer._offsets_for_transaction().member:
                raise  # no member that could join anew
        except BaseException as error:
            with suppress(StreamhouseError):  # the error is what matters; the next run rewinds as well
                if isinstance(error, Exception) or self._producer.settled:
                    self._rewind()
            raise

    def _transact(self, records: list[Record[Any, Any]], starts: Starts) -> int:
        """Process some of the records in one transaction; how many."""
        deadline = self._runtime.monotonic() + self._batch_seconds
        done = 0
        offsets: dict[tuple[str, int], int] = {(*name,): start for name, start in starts.items()}
        with self._producer.transaction() as tx:
            for record in records:
                self._send(tx, record)
                offsets[record.topic, record.partition] = record.offset + 1
                done += 1
                if self._runtime.monotonic() >= deadline:
                    break
            tx.commit_offsets(self._consumer, offsets=offsets)
        return done

    def _send(self, tx: Transaction, record: Record[Any, Any]) -> None:
        for output in _outputs(self._function(record), record, self._topic):
            stamp = record.timestamp if output.timestamp is None else output.timestamp
            tx.send(output.topic, output.value, output.key, output.headers, output.partition, stamp)

    # --- positions ---------------------------------------------------------------------------------

    def _starts(self) -> Starts:
        """Where the group begins in partitions for which it has committed nothing.

        The next transaction commits that, with or without records. Otherwise whoever comes after us, with
        ``start="latest"``, would begin where the end is by then.
        """
        return {
            name: offset
            for name, offset in self._consumer._begun_at().items()
            if self._committed(name) is None
        }

    def _rewind(self) -> None:
        """Go back to what is committed, once nothing can move that any more."""
        self._producer.settle()
        self._catalog.refresh()
        for name, begun_at in self._consumer._begun_at().items():
            offset = self._committed(name)
            with suppress(NotAssignedError):  # a rebalance in between
                self._consumer._return_to(name, begun_at if offset is None else offset)

    def _committed(self, name: TopicPartition) -> int | None:
        """The next offset that the group wants of a partition, if it ever said."""
        topic = self._catalog.topic(name.topic).id
        with self._commits.lock:
            group = self._commits.state.groups.get(self._group)
            found = None if group is None else group.offsets.get((topic, name.partition))
        return None if found is None else found.offset

    def _look_for_ends(self) -> None:
        """Note where the partitions end now that we got since the last look."""
        missing = [name for name in self._consumer.assignment if name not in self._ends]
        if self._bounded and missing:
            self._catalog.refresh()
            for name in missing:
                topic = self._catalog.topic(name.topic).id
                self._ends[name] = self._catalog.high_watermark(topic, name.partition)

    def _at_end(self) -> bool:
        self._look_for_ends()
        names = self._consumer.assignment
        if not names:  # others have all partitions, unless they are about to give us some
            with self._commits.lock:
                group = self._commits.state.groups.get(self._group)
                return group is None or group.settled
        try:
            return all(self._consumer.position(*name) >= self._ends[name] for name in names)
        except NotAssignedError:
            return False


def _outputs(result: Outputs, record: Record[Any, Any], topic: str | None) -> Iterator[Output]:
    """What a function returned, one by one."""
    if result is None:
        return
    if isinstance(result, list | types.GeneratorType):
        for each in result:
            yield from _outputs(each, record, topic)
    elif isinstance(result, Output):
        yield result
    elif isinstance(result, tuple):
        if not (2 <= len(result) <= 3 and isinstance(result[0], str)):
            raise InvalidInputError(
                f"a tuple of {len(result)} cannot be sent: return (topic, value), (topic, value, key) or "
                "an Output"
            )
        yield Output(*result)
    elif topic is None:
        raise InvalidInputError(
            f"where to send a {type(result).__qualname__}? Return (topic, value), (topic, value, key) or an "
            "Output, or name the topic: log.process(..., topic=...)"
        )
    else:
        yield Output(topic, result, record.key)
