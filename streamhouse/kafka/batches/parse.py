"""A record batch as a producer sent it becomes columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from streamhouse.format.columns import Columns
from streamhouse.format.integers import INT64_BYTES
from streamhouse.kafka.batches import layout
from streamhouse.kafka.batches.checksum import crc32c
from streamhouse.kafka.batches.compression import Codec, decompress
from streamhouse.kafka.batches.errors import (
    CorruptBatchError,
    InvalidRecordsError,
    UnsupportedCodecError,
    UnsupportedMagicError,
)
from streamhouse.kafka.batches.few import decode_few
from streamhouse.kafka.batches.many import decode_many
from streamhouse.limits import MIB

_FEW_MAX: Final = 48  # up to that many, records are decoded faster one by one
_CODECS: Final = frozenset(map(int, Codec))


class Batch(msgspec.Struct, frozen=True):
    """A record batch.

    Attributes:
        columns: Its records, with timestamps in milliseconds since 1970.
        producer_id: Of an idempotent producer; -1: there is none.
        producer_epoch: Which of those that had this id.
        base_sequence: Number of the first record among the producer's for this partition.
        transactional: Whether it belongs to a transaction.
        control: Whether the records are marks that brokers write.
        append_time: Whether the timestamp, one for all records, is when a broker stored them.
        codec: What the records were compressed with.
        size: Bytes of the batch as it was sent.
    """

    columns: Columns
    producer_id: int
    producer_epoch: int
    base_sequence: int
    transactional: bool
    control: bool
    append_time: bool
    codec: Codec
    size: int


def parse_batch(data: memoryview | bytes, *, raw_bytes_max: int = 64 * MIB) -> Batch:
    """Decode a batch.

    Args:
        data: One batch of magic 2. Its base offset and leader epoch do not matter.
        raw_bytes_max: How many bytes its records may be after decompression; below 2 GiB.

    Raises:
        CorruptBatchError: It is cut off, or does not fit its checksum.
        InvalidRecordsError: It does not hold the records that it should.
        UnsupportedMagicError: It is of another format.
        UnsupportedCodecError: It is compressed in an unknown way.
        BatchTooLargeError: Its records are larger than allowed.
    """
    _check_frame(data)
    attributes, last_offset, base_timestamp, timestamp_max, producer_id, epoch, sequence, count = (
        layout.SUMMED.unpack_from(data, layout.SUMMED_START)
    )
    if count < 1 or last_offset != count - 1:
        raise InvalidRecordsError(f"a batch of {count} records whose last has the number {last_offset}")
    if producer_id >= 0 and sequence < 0:
        raise InvalidRecordsError(f"the sequence number {sequence} of producer {producer_id} cannot be")
    body = _body(data, attributes & layout.CODEC_MASK, raw_bytes_max)
    if count > len(body) // layout.RECORD_BYTES_MIN:
        raise InvalidRecordsError(f"{count} records in {len(body)} bytes")
    if count <= _FEW_MAX:
        columns, end = decode_few(body, 0, 0, count, base_timestamp)
    else:
        columns, end = decode_many(body, count, base_timestamp)
    if end != len(body):
        raise InvalidRecordsError(f"{len(body) - end} bytes follow the last of {count} records")
    append_time = bool(attributes & layout.APPEND_TIME_FLAG)
    return Batch(
        columns=_at_one_time(columns, timestamp_max) if append_time else columns,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        transactional=bool(attributes & layout.TRANSACTIONAL_FLAG),
        control=bool(attributes & layout.CONTROL_FLAG),
        append_time=append_time,
        codec=Codec(attributes & layout.CODEC_MASK),
        size=len(data),
    )


def split_batches(data: memoryview | bytes) -> Iterator[memoryview]:
    """Cut batches apart that lie one after the other, as in a fetch.

    Raises:
        CorruptBatchError: One is cut off.
    """
    view = memoryview(data)
    while view:
        length = int.from_bytes(view[layout.LENGTH_START : layout.LENGTH_STOP], "big", signed=True)
        stop = layout.LENGTH_STOP + length
        if stop < layout.HEADER_BYTES or stop > len(view):
            raise CorruptBatchError(f"a batch of {stop} bytes where {len(view)} are left")
        yield view[:stop]
        view = view[stop:]


def _check_frame(data: memoryview | bytes) -> None:
    """That it is one whole batch of a known format, as it was sent."""
    if len(data) <= layout.MAGIC_PLACE:
        raise CorruptBatchError(f"a batch of {len(data)} bytes is cut off")
    magic = data[layout.MAGIC_PLACE]
    if magic != layout.MAGIC:
        raise UnsupportedMagicError(f"records in format {magic}; {layout.MAGIC} is the only one that is read")
    if len(data) < layout.HEADER_BYTES:
        raise CorruptBatchError(f"a batch of {len(data)} bytes is cut off")
    _, length, _, _, checksum = layout.PREFIX.unpack_from(data)
    if layout.LENGTH_STOP + length > len(data):
        raise CorruptBatchError(f"a batch of {layout.LENGTH_STOP + length} bytes has {len(data)}")
    if layout.LENGTH_STOP + length < len(data):
        raise InvalidRecordsError("more than one record batch for a partition")
    found = crc32c(memoryview(data)[layout.SUMMED_START :])
    if found != checksum:
        raise CorruptBatchError(f"the batch has the checksum {found:#010x} and not {checksum:#010x}")


def _body(data: memoryview | bytes, codec: int, raw_bytes_max: int) -> bytes:
    if codec not in _CODECS:
        raise UnsupportedCodecError(f"records are compressed with codec {codec}")
    bound = min(raw_bytes_max, layout.INT32_MAX)  # columns have offsets of 32 bits
    return decompress(Codec(codec), bytes(data[layout.HEADER_BYTES :]), bound)


def _at_one_time(columns: Columns, timestamp: int) -> Columns:
    stamps = timestamp.to_bytes(INT64_BYTES, "little", signed=True) * columns.count
    return msgspec.structs.replace(
        columns, timestamps=stamps, timestamp_min=timestamp, timestamp_max=timestamp
    )
