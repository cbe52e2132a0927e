"""What an open transaction has gathered so far, in bounded memory.

Records wait in open batches, one per topic, become blocks when a batch is full, and beyond a bound the blocks
are uploaded as segments, so a transaction may be far larger than memory. All of it is given up or
becomes one operation in the end.

Not safe for several threads: the transaction has a lock. Only :meth:`Draft.settle` runs on the commit
thread, when nothing else uses the draft any more.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from streamhouse import limits
from streamhouse.catalog.catalog import TopicInfo
from streamhouse.commits.log import CommitLog
from streamhouse.commits.proposal import Block, PartBlocks, append_operation
from streamhouse.commits.segments import Uploader
from streamhouse.config import Settings
from streamhouse.errors import BufferFullError, StoreError, StoreUnavailableError, TransactionError
from streamhouse.format.block import EncodedBlock
from streamhouse.format.columns import Columns
from streamhouse.format.operations import Append
from streamhouse.runtime import Runtime
from streamhouse.write.batch import RECORD_OVERHEAD_BYTES, Batch, Pair
from streamhouse.write.delivery import Bulk
from streamhouse.write.destination import Destination, repeated
from streamhouse.write.encoder import Assign, Rows
from streamhouse.write.frames import frame_parts
from streamhouse.write.gate import Gate
from streamhouse.write.outbox import Outbox
from streamhouse.write.shipment import Parts, Shipment

_HOLD_DIVISOR: Final = 2  # of the memory for pending records: what one transaction may have of it
_OPEN_DIVISOR: Final = 8  # likewise the open batch of one topic
_STEP_DIVISOR: Final = 512  # likewise what is asked for at once
_STEP_BYTES_MAX: Final = 64 << 10
_RETRY_SECONDS_MIN: Final = 0.05
_RETRY_SECONDS_MAX: Final = 2.0

Place = tuple[int, int]
"""Topic id and partition."""


class Draft:
    """Batches, blocks and segments of one transaction.

    Args:
        commits: Lends uploaders.
        outbox: Of the producer: memory and encoder.
        settings: The bounds.
        runtime: Clock.

    Attributes:
        loan: The memory that it holds.
        topics: By id, in the order in which they were first sent to.
        counts: Records per topic and partition, as far as they are encoded.
        proposed: Whether the outcome is on its way, so that waiting for it makes sense.
    """

    def __init__(self, commits: CommitLog, outbox: Outbox, settings: Settings, runtime: Runtime) -> None:
        self.topics: dict[int, TopicInfo] = {}
        self.counts: dict[Place, int] = {}
        self.proposed = False
        self._commits = commits
        self._outbox = outbox
        self._runtime = runtime
        self._patience = settings.delivery_timeout_seconds
        self._block_target = settings.block_bytes_target
        room = settings.buffer_bytes_max
        self._held_max = room // _HOLD_DIVISOR
        self._open_max = room // _OPEN_DIVISOR
        self._step = min(_STEP_BYTES_MAX, room // _STEP_DIVISOR)
        self._segment_bytes = min(limits.TRANSACTION_SEGMENT_BYTES, self._held_max // 2)
        self._open: dict[int, DraftBatch] = {}
        self._blocks: dict[Place, list[Block]] = {}
        self._block_count = 0
        self._waiting: list[tuple[list[Block], int]] = []  # blocks that are not uploaded: list and index
        self._waiting_bytes = 0
        self.loan = outbox.borrow()
        self._left = 0  # of what is held, not used
        self._uploader: Uploader | None = None
        # Whoever keeps a delivery keeps its batch; the others need not be told the outcome.
        self._shipments: weakref.WeakSet[Shipment] = weakref.WeakSet()

    # --- records -----------------------------------------------------------------------------------

    def make_room(self, size: int, timeout: float | None) -> None:
        """Take memory for records, uploading what is there if need be.

        Raises:
            BufferFullError: There was no room in time.
        """
        if size <= self._left:
            self._left -= size
            return
        if self._waiting_bytes < self._segment_bytes and self.loan.size + size <= self._held_max:
            for wanted in (max(self._step, size), size):
                if self._outbox.try_memory(wanted):
                    self.loan.size += wanted
                    self._left += wanted - size
                    return
        if timeout is not None and timeout <= 0:
            raise BufferFullError("the transaction has to upload first, or memory is short: allow it to wait")
        self.upload()
        self._outbox.take_memory(size, timeout)
        self.loan.size += size

    def add(self, destination: Destination, pair: Pair, size: int) -> tuple[Batch, int]:
        """Add a record for which there is room; its batch and its position in that."""
        topic = destination.topic
        batch = self._open.get(topic.id)
        if batch is not None and batch.destination.decoder is not destination.decoder:
            self._encode_batch(batch)  # of an older schema
            batch = None
        if batch is None:
            self._meet(topic)
            batch = self._open[topic.id] = DraftBatch(self, self._outbox, destination)
            self._shipments.add(batch)
        batch.reserve(size)
        batch.set_clock(len(batch.records), self._runtime.time_ms())
        index = batch.add(pair, size)
        if batch.size >= min(self._block_target * topic.partitions, self._open_max):
            self._encode_batch(batch)
        return batch, index

    def add_rows(
        self,
        destination: Destination,
        rows: Rows,
        raw_bytes: int,
        partition: int | None,
        timeout: float | None,
    ) -> DraftBulk:
        """Add many records of one topic.

        Args:
            destination: The topic.
            rows: The records, all of them checked.
            raw_bytes: Of keys, values and headers.
            partition: For all of them, or ``None``.
            timeout: Seconds to wait for memory before the first are added.
        """
        bulk = DraftBulk(self, self._outbox, destination.topic)
        if not rows:
            bulk.settle(None)
            return bulk
        self._meet(destination.topic)
        self._shipments.add(bulk)
        self._encode_open(destination.topic.id)  # what was sent before comes before
        assign: Assign = destination.assign
        if partition is not None:
            chosen = partition
            assign = lambda piece: repeated(chosen, len(piece))  # noqa: E731
        size = raw_bytes + RECORD_OVERHEAD_BYTES * len(rows)
        pieces = max(1, -(-size // self._open_max))
        step = -(-len(rows) // pieces) or 1
        for start in range(0, len(rows), step):
            piece = rows.cut(start, start + step)
            taken = size * len(piece) // len(rows) + 1
            self.make_room(taken, timeout)
            timeout = None
            spread = destination.topic.partitions if partition is None and rows.keys is not None else 1
            raw = raw_bytes * len(piece) // len(rows)
            destination.stamp(piece)
            parts = self._outbox.encoder.begin(piece, assign, raw, spread).finish()
            for part, blocks in parts:
                bulk.counts[part] = bulk.counts.get(part, 0) + _records(blocks)
            self._adopt(bulk, parts, taken)
        return bulk

    def add_columns(
        self,
        destination: Destination,
        columns: Sequence[Columns],
        partition: int | None,
        timeout: float | None,
    ) -> DraftBulk:
        """Add records that come in columns; see :meth:`add_rows`."""
        bulk = DraftBulk(self, self._outbox, destination.topic)
        if not columns:
            bulk.settle(None)
            return bulk
        self._meet(destination.topic)
        self._shipments.add(bulk)
        self._encode_open(destination.topic.id)
        for each in columns:
            taken = each.nbytes
            self.make_room(taken, timeout)
            timeout = None
            if partition is None and not any(each.key.validity or b"\1"):
                partition = destination.assign(Rows([None], None, 0, None))[0]  # all of them stay together
            parts = frame_parts(destination, [each], partition)
            for part, blocks in parts:
                bulk.counts[part] = bulk.counts.get(part, 0) + _records(blocks)
            self._adopt(bulk, parts, taken)
        return bulk

    def _meet(self, topic: TopicInfo) -> None:
        self.topics.setdefault(topic.id, topic)

    # --- blocks ------------------------------------------------------------------------------------

    def _encode_open(self, topic: int) -> None:
        batch = self._open.get(topic)
        if batch is not None:
            self._encode_batch(batch)

    def _encode_all(self) -> None:
        for batch in list(self._open.values()):
            self._encode_batch(batch)

    def _encode_batch(self, batch: DraftBatch) -> None:
        del self._open[batch.topic.id]
        batch.seal()
        assert batch.rows is not None
        parts = self._outbox.encoder.begin(batch.rows, batch.place, batch.raw_bytes).finish()
        batch.drop_rows()
        self._adopt(batch, parts, batch.size)

    def _adopt(self, shipment: Shipment, parts: Parts, size: int) -> None:
        """Take over the blocks of a batch, or of a part of one, that were given ``size`` bytes of memory."""
        topic = shipment.topic.id
        for partition, blocks in parts:
            place = topic, partition
            before = self.counts.get(place, 0)
            shipment.bases.setdefault(partition, before)  # becomes an offset when the outcome is known
            self.counts[place] = before + _records(blocks)
            mine = self._blocks.setdefault(place, [])
            self._waiting.extend((mine, len(mine) + number) for number in range(len(blocks)))
            mine.extend(blocks)
            self._block_count += len(blocks)
            self._waiting_bytes += sum([block.size for block in blocks])
            size -= sum([block.raw_bytes for block in blocks])
        if size > 0:
            self._give(size)
        if self._block_count > limits.TRANSACTION_BLOCKS_MAX:
            raise TransactionError(
                f"the transaction has grown to {self._block_count:,} blocks, more than "
                f"{limits.TRANSACTION_BLOCKS_MAX:,}: end it earlier"
            )

    # --- memory and segments -----------------------------------------------------------------------

    def upload(self) -> None:
        """Encode and upload all there is, and give back its memory.

        Raises:
            StoreError: The store refused, or could not be reached for long.
        """
        self._encode_all()
        if self._waiting:
            if self._uploader is None:
                self._uploader = self._commits.uploaders.take()
            stored = self._patiently(self._put)
            for (blocks, index), block in zip(self._waiting, stored, strict=True):
                blocks[index] = block
            self._waiting.clear()
            self._waiting_bytes = 0
        self._give(self.loan.size)

    def _put(self) -> Sequence[Block]:
        assert self._uploader is not None
        return self._uploader.put([_encoded(blocks[index]) for blocks, index in self._waiting])

    def _patiently(self, put: Callable[[], Sequence[Block]]) -> Sequence[Block]:
        deadline = self._runtime.monotonic() + self._patience
        pause = _RETRY_SECONDS_MIN
        while True:
            try:
                return put()
            except StoreUnavailableError:
                if self._runtime.monotonic() + pause > deadline:
                    raise
            Gate().wait(pause * self._runtime.uniform(0.5, 1.0))
            pause = min(2 * pause, _RETRY_SECONDS_MAX)

    def _give(self, size: int) -> None:
        size = min(size, self.loan.size)
        self.loan.size -= size
        self._left = min(self._left, self.loan.size)
        self._outbox.give_memory(size)

    # --- the end -----------------------------------------------------------------------------------

    def appends(
        self, producer: int, epoch: int, sequence: Callable[[int, int], int]
    ) -> tuple[tuple[Append, ...], list[Block]]:
        """All records as operations, one per topic, with the blocks that they refer to."""
        self._encode_all()
        appends: list[Append] = []
        blocks: list[Block] = []
        for topic in self.topics:
            parts = [
                PartBlocks(partition, sequence(topic, partition), mine)
                for (owner, partition), mine in self._blocks.items()
                if owner == topic
            ]
            if parts:
                append, mine_all = append_operation(topic, producer, epoch, parts, len(blocks))
                appends.append(append)
                blocks.extend(mine_all)
        return tuple(appends), blocks

    def settle(self, bases: dict[Place, int], error: BaseException | None) -> None:
        """Give back the memory and make the outcome known to whoever has a delivery."""
        self._give(self.loan.size)
        self._blocks.clear()
        self._waiting.clear()
        self._open.clear()
        for shipment in list(self._shipments):
            if shipment.settled:
                continue
            if error is None:
                topic = shipment.topic.id
                shipment.bases = {
                    partition: bases[topic, partition] + before
                    for partition, before in shipment.bases.items()
                }
            shipment.settle(error)

    def release(self, *, used: bool = False, doubtful: bool = False) -> None:
        """Return the uploader, once nothing more is uploaded.

        Args:
            used: What was uploaded is referred to now.
            doubtful: It may be, now or later. Otherwise it is deleted.
        """
        uploader, self._uploader = self._uploader, None
        if uploader is None:
            return
        if used:
            uploader.used()
        elif doubtful:
            uploader.taint()
        with suppress(StoreError):  # what cannot be deleted now is collected some time
            uploader.discard()
        self._commits.uploaders.give_back(uploader)


class DraftBatch(Batch):
    """Records of one topic that were sent one by one."""

    __slots__ = ("draft",)

    def __init__(self, draft: Draft, outbox: Outbox, destination: Destination) -> None:
        super().__init__(outbox, destination, float("inf"))
        self.draft = draft

    def check_waiting(self) -> None:
        _check_proposed(self.draft)
        super().check_waiting()


class DraftBulk(Bulk):
    """Records that were sent in one call."""

    __slots__ = ("draft",)

    def __init__(self, draft: Draft, outbox: Outbox, topic: TopicInfo) -> None:
        super().__init__(topic, outbox)
        self.counts = {}
        self.draft = draft

    def check_waiting(self) -> None:
        _check_proposed(self.draft)
        super().check_waiting()


def _check_proposed(draft: Draft) -> None:
    if not draft.proposed:
        raise TransactionError(
            "where a record will be is known once its transaction is committed: ask then, not inside it"
        )


def _records(blocks: Sequence[EncodedBlock]) -> int:
    return sum([block.count for block in blocks])


def _encoded(block: Block) -> EncodedBlock:
    assert isinstance(block, EncodedBlock)
    return block
