"""Record batches become blocks, and go into the log: what a Produce request asks for.

What producers of one connection sent goes into the log in the order in which it came, though large batches
are decoded and compressed beside each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from streamhouse import limits
from streamhouse.catalog.catalog import TopicInfo
from streamhouse.commits.fold import NO_PRODUCER
from streamhouse.commits.proposal import PartBlocks, append_operation
from streamhouse.commits.verdicts import Code
from streamhouse.errors import InvalidRecordError, StreamhouseError
from streamhouse.format.block import BLOCK_RECORDS_MAX, EncodedBlock, encode_block
from streamhouse.format.columns import BinaryColumn, Columns, columns_from_lists, stamped
from streamhouse.format.integers import int64s
from streamhouse.format.joins import cut_columns
from streamhouse.format.lists import binary_list
from streamhouse.format.operations import AddToTransaction, Standing
from streamhouse.kafka.batches.errors import BatchError, BatchTooLargeError
from streamhouse.kafka.batches.parse import Batch, parse_batch
from streamhouse.kafka.configs.topics import batch_bytes_max
from streamhouse.kafka.events import Place
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.declined import DeclinedError
from streamhouse.kafka.protocol.errors import ErrorCode, code_of
from streamhouse.kafka.protocol.produce import PartResult, ProducePart
from streamhouse.kafka.sequences import Sequences
from streamhouse.kafka.server.peer import Peer
from streamhouse.read.window import within_bytes
from streamhouse.schema.rows import row_decoder
from streamhouse.schema.shred import shred
from streamhouse.schema.versions import schema_of

_INLINE_BYTES_MAX: Final = 32 << 10
_INLINE_RAW_BYTES_MAX: Final = 256 << 10  # a few bytes may become many, and take long
_RATIO_MAX: Final = 16  # of records to the block that they became
_BAD_RECORDS_SHOWN: Final = 20
_NO_RECORDS: Final = columns_from_lists(None, [], [], None)


class Ready(msgspec.Struct, frozen=True):
    """Records that only have to be proposed.

    Attributes:
        part: What the request said.
        info: The topic.
        batch: What was decoded, without the records.
        count: How many records there are.
        blocks: The records.
        append_time: The timestamp that all of them got, or -1.
    """

    part: ProducePart
    info: TopicInfo
    batch: Batch
    count: int
    blocks: Sequence[EncodedBlock]
    append_time: int

    @property
    def place(self) -> Place:
        """Where they go."""
        return self.info.id, self.part.partition

    @property
    def stored_bytes(self) -> int:
        """Size of the records as they wait for the log."""
        return sum(block.size for block in self.blocks)


class RecordSink:
    """Stores what producers send.

    Args:
        parts: The gateway's.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sequences = Sequences(parts)

    async def prepare(self, peer: Peer, part: ProducePart, info: TopicInfo, *, transactional: bool) -> Ready:
        """Decode, check and compress the records for a partition.

        Raises:
            DeclinedError: They cannot be stored.
        """
        records = part.records
        if records is None or not len(records):
            raise DeclinedError(ErrorCode.invalid_record, "there is no record batch")
        if len(records) <= _INLINE_BYTES_MAX:
            try:
                batch = self._parsed(info, records, _INLINE_RAW_BYTES_MAX)
            except BatchTooLargeError:
                pass
            else:
                return self._prepared(part, info, batch, transactional)
        async with peer.decoding:
            return await self._parts.aside(self._parsed_and_prepared, part, info, records, transactional)

    def _parsed_and_prepared(
        self, part: ProducePart, info: TopicInfo, records: memoryview, transactional: bool
    ) -> Ready:
        batch = self._parsed(info, records, self._parts.settings.batch_raw_bytes_max)
        return self._prepared(part, info, batch, transactional)

    def _parsed(self, info: TopicInfo, records: memoryview, raw_bytes_max: int) -> Batch:
        settings = self._parts.settings
        allowed, most = batch_bytes_max(info.settings, settings.batch_bytes_max), settings.batch_raw_bytes_max
        if len(records) > allowed:
            raise DeclinedError(
                ErrorCode.message_too_large, f"a batch of {len(records)} bytes; {allowed} are allowed"
            )
        try:
            return parse_batch(records, raw_bytes_max=min(raw_bytes_max, most))
        except BatchTooLargeError as error:
            if raw_bytes_max < most:
                raise  # it is for another thread
            raise DeclinedError(error.code, str(error)) from None
        except BatchError as error:
            raise DeclinedError(error.code, str(error)) from None

    def _prepared(self, part: ProducePart, info: TopicInfo, batch: Batch, transactional: bool) -> Ready:
        if batch.control:
            raise DeclinedError(ErrorCode.invalid_record, "control batches are for brokers to write")
        if batch.transactional != transactional:
            raise DeclinedError(
                ErrorCode.invalid_record if transactional else ErrorCode.invalid_txn_state,
                "a batch of a transaction needs a transactional id, and the other way round",
            )
        columns, append_time = self._stamped(info, batch.columns)
        if info.settings.compacts:
            _refuse_without_keys(columns.key, columns.count)
        columns = _typed(info, columns)
        blocks = [_light(encode_block(each)) for each in self._cut(columns)]
        bare = msgspec.structs.replace(batch, columns=_NO_RECORDS)  # they may be a lot, decompressed
        return Ready(part, info, bare, columns.count, blocks, append_time)

    def _cut(self, columns: Columns) -> Iterator[Columns]:
        """Blocks of the usual size; nearly always one."""
        start = 0
        while start < columns.count:
            most = min(columns.count, start + BLOCK_RECORDS_MAX)
            stop = within_bytes(columns, start, most, self._parts.log_settings.block_bytes_target)
            yield columns if (start, stop) == (0, columns.count) else cut_columns(columns, start, stop)
            start = stop

    def _stamped(self, info: TopicInfo, columns: Columns) -> tuple[Columns, int]:
        """The records with the time that their topic wants them to have; that time, or -1."""
        if info.settings.timestamp_type != "append":
            _refuse_outside_calendars(columns)
            return columns, -1
        now = self._parts.runtime.time_ms()
        return stamped(columns, now), now

    def propose(self, ready: Ready, transaction: OpenedTransaction | None) -> asyncio.Future[Any]:
        """Hand records to the log. Calls in one order are commits in that order.

        Args:
            ready: The records.
            transaction: Which they belong to, if any.

        Returns:
            A future of the base offsets, or of a verdict for those of a transaction.
        """
        answer, answered = self._parts.outcomes.expect()
        batch = ready.batch
        producer, epoch, sequence = NO_PRODUCER, 0, 0
        if batch.producer_id >= 0:
            producer, epoch = batch.producer_id, batch.producer_epoch
            sequence = self._sequences.first(batch, ready.place)
            self._sequences.watch(batch, ready.place, answer)
        blocks = [PartBlocks(ready.part.partition, sequence, ready.blocks)]
        commits = self._parts.commits
        if transaction is None:
            commits.append(ready.info.id, producer, epoch, blocks, answered)
        else:
            append, flat = append_operation(ready.info.id, producer, epoch, blocks)
            add = AddToTransaction(
                transaction.transactional_id,
                producer,
                epoch,
                (append,),
                (),
                transaction.number,
                transaction.standing,
            )
            commits.submit(add, flat, answered)
        return answer

    async def result(self, ready: Ready, answer: asyncio.Future[Any]) -> PartResult:
        """What the log says to records that were proposed."""
        part = ready.part
        log_start = self._log_start(ready)
        try:
            said = await answer
        except StreamhouseError as error:
            code = self._precise(ready, code_of(error))
            return PartResult(part, code, message=str(error), log_start=log_start)
        if isinstance(said, list):
            code = ErrorCode.none if said[0] >= 0 else ErrorCode.duplicate_sequence_number
            return PartResult(part, code, said[0], ready.append_time, log_start)
        code = self._precise(ready, _OF_VERDICTS.get(said.code, ErrorCode.unknown_server_error))
        lowest = said.values[0] if code is ErrorCode.none else -1
        return PartResult(part, code, lowest, ready.append_time, log_start)

    def _precise(self, ready: Ready, code: ErrorCode) -> ErrorCode:
        if code is not ErrorCode.out_of_order_sequence_number:
            return code
        return self._sequences.gap(ready.batch, ready.place)

    def _log_start(self, ready: Ready) -> int:
        try:
            return self._parts.catalog.log_start(ready.info.id, ready.part.partition)
        except StreamhouseError:
            return -1


def _light(block: EncodedBlock) -> EncodedBlock:
    """A block that waits for the log: without its records, if these would be a burden until it is there."""
    if block.raw_bytes <= max(_INLINE_RAW_BYTES_MAX, _RATIO_MAX * block.size):
        return block
    return msgspec.structs.replace(block, columns=_NO_RECORDS)


class OpenedTransaction(msgspec.Struct, frozen=True):
    """Which transaction records belong to.

    Attributes:
        transactional_id: Name of its producer.
        number: How many that one has ended before, in its epoch.
        standing: What the gateway was when it took them.
    """

    transactional_id: str
    number: int
    standing: Standing


def _refuse_outside_calendars(columns: Columns) -> None:
    """Refuse times that native producers cannot send either, and SQL cannot show."""
    least, most = limits.TIMESTAMP_MS_MIN, limits.TIMESTAMP_MS_MAX
    if least <= columns.timestamp_min and columns.timestamp_max <= most:
        return
    bad = [
        (place, f"timestamp {time} is outside the years 1 to 9999: it is in milliseconds since 1970")
        for place, time in enumerate(int64s(columns.timestamps))
        if not least <= time <= most
    ]
    raise DeclinedError(ErrorCode.invalid_timestamp, bad[0][1], bad[:_BAD_RECORDS_SHOWN])


def _refuse_without_keys(keys: BinaryColumn, count: int) -> None:
    if keys.validity is None:
        return
    missing = [place for place, key in enumerate(binary_list(keys, 0, count)) if key is None]
    if missing:
        message = "a record of a compacted topic needs a key"
        raise DeclinedError(
            ErrorCode.invalid_record, message, [(place, message) for place in missing[:_BAD_RECORDS_SHOWN]]
        )


def _typed(info: TopicInfo, columns: Columns) -> Columns:
    """The records with values as columns, where the topic has a schema."""
    schema = schema_of(info.settings)
    if schema is None:
        return columns
    decoder = row_decoder(schema)
    assert isinstance(columns.value, BinaryColumn)
    packed: list[bytes | None] = []
    bad: list[tuple[int, str]] = []
    for place, value in enumerate(binary_list(columns.value, 0, columns.count)):
        try:
            packed.append(decoder.pack(value))
        except InvalidRecordError as error:
            bad.append((place, str(error)))
    if bad:
        raise DeclinedError(ErrorCode.invalid_record, bad[0][1], bad[:_BAD_RECORDS_SHOWN])
    return msgspec.structs.replace(columns, value=shred(schema, decoder.unpack(packed)))


_OF_VERDICTS: Final = {
    Code.ACCEPTED: ErrorCode.none,
    Code.DUPLICATE: ErrorCode.none,
    Code.FENCED: ErrorCode.invalid_producer_epoch,
    Code.STALE: ErrorCode.not_leader_or_follower,  # we had not heard yet; the client asks again
    Code.OUT_OF_SEQUENCE: ErrorCode.out_of_order_sequence_number,
    Code.FULL: ErrorCode.message_too_large,
    Code.EXPIRED: ErrorCode.invalid_txn_state,
}
