"""What a consumer reads, what the application has in hand of it, and what counts as processed.

Three offsets matter in a partition. The *position* is that of the record handed out next. What was
*processed* is everything before the records that the application may still be busy with: the one that an
iteration handed out last, or all that the latest poll returned. Asking for more says that those are done, and
so does committing them. A commit in the background must not go beyond what was processed, else a crash would
skip a record.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar

from streamhouse.catalog.catalog import Catalog
from streamhouse.errors import NotAssignedError
from streamhouse.read.batch import RecordBatch
from streamhouse.read.cursor import Cursor, Reset
from streamhouse.read.deserializers import ListDeserializer
from streamhouse.read.positions import checked_partitions, resolve
from streamhouse.read.reader import BlockReader
from streamhouse.read.turns import Handout, Turns
from streamhouse.records import K, Position, Record, TopicPartition, V

T = TypeVar("T")

_CHUNK_RECORDS: Final = 4096  # objects made at once for an iteration


class Reading(Generic[K, V]):
    """The partitions of one consumer. Hold :attr:`lock` for everything but :meth:`stop`.

    Args:
        catalog: Where topics and blocks are looked up.
        reader: Where blocks come from.
        key: For keys.
        value: For values.
        reset: What happens where a position fell below the log start.
    """

    def __init__(
        self,
        catalog: Catalog,
        reader: BlockReader,
        key: ListDeserializer,
        value: ListDeserializer,
        reset: Reset,
    ) -> None:
        self.lock = threading.RLock()
        self.turns: Turns[K, V] = Turns()
        self.moves = 0  # grows when another thread changed what is read next
        self.reset: Reset = reset
        self.taker = 0  # the thread that took records last
        self._catalog = catalog
        self._reader = reader
        self._keys, self._values = key, value
        self._handout: Handout[Any] | None = None  # what an iteration is busy with, or may yet be fetched
        self._in_hand: dict[TopicPartition, int] = {}  # first offset that may not be processed yet
        self._done: dict[TopicPartition, int] = {}  # all before it is, as the application said
        self._rounds = 0

    # --- which partitions --------------------------------------------------------------------------

    @property
    def cursors(self) -> dict[TopicPartition, Cursor]:
        """The partitions that are read, in the order they were assigned."""
        return self.turns.cursors

    def cursor(self, topic: str, partition: int) -> Cursor:
        """The cursor of a partition.

        Raises:
            NotAssignedError: It is not read.
        """
        cursor = self.turns.cursors.get(TopicPartition(topic, partition))
        if cursor is None:
            raise NotAssignedError(f"this consumer does not read partition {partition} of topic {topic!r}")
        return cursor

    def new_cursor(self, name: TopicPartition, where: Position) -> Cursor:
        """A cursor at a position; it is not read yet.

        Raises:
            TopicNotFoundError: There is no such topic.
            PartitionNotFoundError: It has no such partition.
            OffsetOutOfRangeError: It has no such offset.
            InvalidPositionError: It is no position.
        """
        info = self._catalog.topic(name.topic)
        (partition,) = checked_partitions(info, [name.partition])
        offset = resolve(self._catalog, self._reader, info, partition, where)
        return Cursor(
            self._catalog, self._reader, info, partition, offset, self._keys, self._values, self.reset
        )

    def assign(self, cursors: Iterable[Cursor]) -> None:
        """Read these and no others."""
        self.take_back()
        self.turns.assign(cursors)
        self._in_hand = {name: at for name, at in self._in_hand.items() if name in self.turns.cursors}
        self._done = {name: at for name, at in self._done.items() if name in self.turns.cursors}

    def drop(self, names: Iterable[TopicPartition]) -> None:
        """Read these no longer."""
        gone = set(names)
        self.assign([cursor for name, cursor in self.turns.cursors.items() if name not in gone])

    def seek(self, cursor: Cursor, position: Position) -> None:
        """Go on from there."""
        cursor.high_watermark()  # says it properly when the topic was deleted
        offset = resolve(self._catalog, self._reader, cursor.topic, cursor.partition, position)
        cursor.position = cursor.begun_at = offset
        self._done.pop(cursor.name, None)
        self._in_hand.pop(cursor.name, None)

    # --- taking records ----------------------------------------------------------------------------

    def settle(self) -> None:
        """The application asks for more: what it had in hand is processed."""
        self.take_back()
        self._in_hand.clear()
        self._rounds += 1

    def take_records(self, records_max: int) -> list[Record[K, V]]:
        """One round of records; all of them count as in hand."""
        return self._held(self.turns.take_records(records_max)).items

    def take_batches(self, records_max: int | None) -> list[RecordBatch]:
        """One round of batches; all of them count as in hand."""
        return self._held(self.turns.take_batches(records_max)).items

    def offer_records(self, records_max: int) -> list[Handout[Record[K, V]]]:
        """Likewise records, if there are any, for one who may not come for them.

        Until all are taken from the iterator, they can be taken back.
        """
        return self._offer(self._held(self.turns.take_records(records_max)))

    def offer_batches(self, records_max: int | None) -> list[Handout[RecordBatch]]:
        """Likewise batches."""
        return self._offer(self._held(self.turns.take_batches(records_max)))

    def take_handout(self) -> list[Handout[Record[K, V]]]:
        """One round of records for an iteration, if there are any."""
        return self._offer(self.turns.take_records(_CHUNK_RECORDS))

    def take_back(self) -> None:
        """Move the positions back to what was offered and not handed out, and end the offer."""
        handout, self._handout = self._handout, None
        if handout is not None:
            last = handout.take_back()
            if last is not None:
                self._in_hand.setdefault(*last)  # in a poll, more than the last is in hand

    def stop(self) -> None:
        """Let an iteration come back for more after the record that it is busy with. Needs no lock."""
        handout = self._handout
        if handout is not None:
            handout.stop()

    def _held(self, handout: Handout[T]) -> Handout[T]:
        for name, offset in handout.first_offsets().items():
            self.taker = threading.get_ident()
            self._in_hand.setdefault(name, offset)
        return handout

    def _offer(self, handout: Handout[T]) -> list[Handout[T]]:
        if not handout.items:
            return []
        self.taker = threading.get_ident()
        self._handout = handout
        return [handout]

    # --- positions ---------------------------------------------------------------------------------

    def position(self, cursor: Cursor) -> int:
        """Offset of the record that is handed out next."""
        pending = None if self._handout is None else self._handout.next_offset(cursor)
        return cursor.position if pending is None else pending

    def note_done(self, cursor: Cursor, offset: int) -> None:
        """The application says that it has processed all before an offset."""
        self._done[cursor.name] = offset

    def processed(self, cursor: Cursor) -> int:
        """Offset of the first record that the application may still be busy with, or gets next."""
        return max(self._done.get(cursor.name, 0), self._left_behind(cursor))

    def _left_behind(self, cursor: Cursor) -> int:
        """Likewise, told from what it has asked for."""
        if cursor.name in self._in_hand:
            return self._in_hand[cursor.name]
        pending = None if self._handout is None else self._handout.busy_offset(cursor)
        return cursor.position if pending is None else pending

    @property
    def progress(self) -> tuple[int, int]:
        """Differs whenever the application has asked for more since. Needs no lock."""
        handout = self._handout
        return self._rounds, 0 if handout is None else handout.done
