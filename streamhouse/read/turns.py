"""Several partitions taking turns, and records or batches on their way to the application.

A round begins with the partition after the one that the last round ended with, so a partition with an
endless backlog cannot keep the others waiting. When a partition fails, what the others have given in
that round is delivered first; the error comes in the next round, and after it the others again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter, itemgetter
from typing import Final, Generic, TypeVar, cast

from streamhouse.errors import DeserializationError, NotAssignedError
from streamhouse.read.batch import RecordBatch
from streamhouse.read.cursor import CHUNK_BYTES, Cursor
from streamhouse.records import K, Record, TopicPartition, V

T = TypeVar("T")

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

    def take_records(self, records_max: int) -> Handout[Record[K, V]]:
        """One round of records; the positions move over them."""
        handout: Handout[Record[K, V]] = Handout(attrgetter("offset"))

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

        self._fill(handout, hand_out, records_max, blocks_max=_UNLIMITED)
        return handout

    def take_batches(self, records_max: int | None) -> Handout[RecordBatch]:
        """One round of batches, one of each partition; the positions move over them."""
        handout: Handout[RecordBatch] = Handout(attrgetter("first_offset"))

        def hand_out(cursor: Cursor, batch: RecordBatch) -> RecordBatch:
            handout.add(cursor, [batch])
            return batch

        self._fill(handout, hand_out, records_max or _UNLIMITED, blocks_max=1)
        return handout

    def _fill(
        self,
        handout: Handout[T],
        hand_out: Callable[[Cursor, RecordBatch], RecordBatch],
        records_max: int,
        blocks_max: int,
    ) -> None:
        """Let a hand-out have one round; an error only when it got nothing."""
        try:
            self._go_round(hand_out, records_max, blocks_max)
        except Exception:
            if not handout.items:
                self._order.rotate(-1)
                raise
        except BaseException:
            handout.take_back()  # Ctrl-C: nobody will see them
            raise

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


class Handout(Generic[T]):
    """Records, or batches, on their way to the application, and how to take back those it did not get.

    An iteration makes some thousand records at once, but the position is to be that of the record it
    has reached, whatever happens in the loop. Writing it down for each would cost as much as making
    the record; instead the iterator itself is asked how far it is. Another thread may end the iteration
    at any moment, without a lock: the list that it runs over is emptied, and ``enumerate`` still knows how
    many records it gave out.

    Args:
        offset_of: Offset of the first record of an item.
    """

    def __init__(self, offset_of: Callable[[T], int]) -> None:
        self.items: list[T] = []
        self._offset_of = offset_of
        self._feed: list[T] = []
        self._parts: list[tuple[Cursor, int, int]] = []  # whose, from where to where in the list
        self._counter = enumerate(self._feed)
        self.iterator: Iterator[T] = map(itemgetter(1), self._counter)

    def add(self, cursor: Cursor, items: list[T]) -> None:
        """Append items of one partition."""
        begin = len(self.items)
        self.items.extend(items)
        self._feed.extend(items)
        self._parts.append((cursor, begin, len(self.items)))

    @property
    def done(self) -> int:
        """How many were handed out."""
        return cast(int, self._counter.__reduce__()[1][1])

    def first_offsets(self) -> dict[TopicPartition, int]:
        """Offset of the first record of each partition."""
        first: dict[TopicPartition, int] = {}
        for cursor, begin, _ in self._parts:
            first.setdefault(cursor.name, self._offset_of(self.items[begin]))
        return first

    def next_offset(self, cursor: Cursor) -> int | None:
        """Offset of the first record of a partition that was not handed out, if there is one."""
        return self._offset_from(self.done, cursor)

    def busy_offset(self, cursor: Cursor) -> int | None:
        """The same, but the item handed out last does not count as handed out."""
        return self._offset_from(max(0, self.done - 1), cursor)

    def _offset_from(self, index: int, cursor: Cursor) -> int | None:
        for owner, begin, end in self._parts:
            if owner is cursor and end > index:
                return self._offset_of(self.items[max(begin, index)])
        return None

    def stop(self) -> None:
        """Hand out no more. May be called by any thread."""
        self._feed.clear()

    def take_back(self) -> tuple[TopicPartition, int] | None:
        """Move the cursors back to what was not handed out, and end the iterator.

        Returns:
            Partition and offset of what was handed out last.
        """
        self.stop()
        done = self.done
        last = None
        for cursor, begin, end in reversed(self._parts):
            if end > done:
                cursor.position = self._offset_of(self.items[max(begin, done)])
            if begin < done <= end:
                last = cursor.name, self._offset_of(self.items[done - 1])
        return last
