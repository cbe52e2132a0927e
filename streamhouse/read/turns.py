"""Several partitions taking turns, and records on their way to the application.

A round begins with the partition after the one that the last round ended with, so a partition with an
endless backlog cannot keep the others waiting. When a partition fails, what the others have given in
that round is delivered first; the error comes in the next round, and after it the others again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from operator import length_hint
from typing import Final, Generic

from streamhouse.errors import DeserializationError, NotAssignedError
from streamhouse.read.batch import RecordBatch
from streamhouse.read.cursor import CHUNK_BYTES, Cursor
from streamhouse.records import K, Record, TopicPartition, V

_UNLIMITED: Final = 1 << 62


class Turns(Generic[K, V]):
    """The partitions that a consumer reads. Not safe for several threads; the consumer locks."""

    def __init__(self) -> None:
        self.cursors: dict[TopicPartition, Cursor] = {}
        self.paused: set[TopicPartition] = set()
        self._order: deque[Cursor] = deque()

    def assign(self, cursors: Iterable[Cursor]) -> None:
        """Read these and no others."""
        self.cursors = {cursor.name: cursor for cursor in cursors}
        self.paused &= set(self.cursors)
        self._order = deque(self.cursors.values())

    def take_records(self, records_max: int) -> Handout[K, V]:
        """One round of records; the positions move over them."""
        handout: Handout[K, V] = Handout()

        def hand_out(cursor: Cursor, batch: RecordBatch) -> RecordBatch:
            try:
                records = batch.records()
            except DeserializationError as error:
                batch = batch.before(error.offset)  # these first; the error when it is its turn
                if not len(batch):
                    raise
                records = batch.records()
            handout.add(cursor, records)
            return batch

        try:
            self._go_round(hand_out, records_max, blocks_max=_UNLIMITED)
        except Exception:
            if not handout.records:
                self._order.rotate(-1)
                raise
        except BaseException:
            handout.take_back()  # Ctrl-C: nobody will see them
            raise
        return handout

    def take_batches(self, records_max: int | None) -> list[RecordBatch]:
        """One round of batches, one of each partition; the positions move over them."""
        batches: list[RecordBatch] = []

        def keep(_cursor: Cursor, batch: RecordBatch) -> RecordBatch:
            batches.append(batch)
            return batch

        try:
            self._go_round(keep, records_max or _UNLIMITED, blocks_max=1)
        except Exception:
            if not batches:
                self._order.rotate(-1)
                raise
        return batches

    def _go_round(
        self,
        use: Callable[[Cursor, RecordBatch], RecordBatch],
        records_max: int,
        blocks_max: int,
    ) -> None:
        """Ask each partition once; it is advanced over what ``use`` returns.

        One that fails stays at the front.
        """
        if not self._order:
            raise NotAssignedError("this consumer reads no partition; assign some first")
        records_left, bytes_left = records_max, CHUNK_BYTES
        for _ in range(len(self._order)):
            cursor = self._order[0]
            blocks = 0 if cursor.name in self.paused else blocks_max
            while blocks > 0 and records_left > 0 and bytes_left > 0:
                batch = cursor.next_batch(records_left, bytes_left)
                if batch is None:
                    break
                used = use(cursor, batch)
                cursor.advance(used)
                blocks -= 1
                records_left -= len(used)
                bytes_left -= used.payload_bytes
            self._order.rotate(-1)
            if records_left <= 0 or bytes_left <= 0:
                return


class Handout(Generic[K, V]):
    """Records on their way to the application, and how to take back those it did not get.

    An iteration makes some thousand records at once, but the position is to be that of the record it
    has reached, whatever happens in the loop. Writing it down for each would cost as much as making
    the record; instead the list iterator itself is asked how far it is.
    """

    def __init__(self) -> None:
        self.records: list[Record[K, V]] = []
        self.iterator = iter(self.records)
        self._parts: list[tuple[Cursor, int, int]] = []  # whose, from where to where in the list

    def add(self, cursor: Cursor, records: list[Record[K, V]]) -> None:
        """Append records of one partition."""
        begin = len(self.records)
        self.records.extend(records)
        self._parts.append((cursor, begin, len(self.records)))

    def next_offset(self, cursor: Cursor) -> int | None:
        """Offset of the first record of a partition that was not handed out, if there is one."""
        done = self._done()
        for owner, begin, end in self._parts:
            if owner is cursor and end > done:
                return self.records[max(begin, done)].offset
        return None

    def take_back(self) -> None:
        """Move the cursors back to what was not handed out, and end the iterator."""
        done = self._done()
        for cursor, begin, end in reversed(self._parts):
            if end > done:
                cursor.position = self.records[max(begin, done)].offset
        self.records.clear()

    def _done(self) -> int:
        return len(self.records) - length_hint(self.iterator)
