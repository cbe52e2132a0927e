"""Where what lies in a record batch of magic 2.

As in KIP-98 and under "Record Batch" in Kafka's protocol guide::

    0   base offset             int64    set by the broker, hence not under the checksum
    8   length                  int32    bytes after this field
    12  partition leader epoch  int32    set by the broker
    16  magic                   int8     2
    17  CRC-32C                 uint32   of all that follows
    21  attributes              int16    codec in bits 0 to 2, then what the masks below say
    23  last offset delta       int32
    27  base timestamp          int64    milliseconds since 1970
    35  max timestamp           int64
    43  producer id             int64    -1: none
    51  producer epoch          int16
    53  base sequence           int32
    57  count                   int32
    61  the records, compressed as one

and a record, all integers being zigzag varints::

    length of what follows, attributes (one byte, 0), timestamp delta, offset delta,
    length of the key (-1: null), key, length of the value (-1: null), value,
    count of headers, and of each: length of the name, name, length of the value (-1: null), value
"""

from __future__ import annotations

from struct import Struct
from typing import Final

PREFIX: Final = Struct(">qiibI")
"""Base offset, length, leader epoch, magic, checksum."""

SUMMED: Final = Struct(">hiqqqhii")
"""The header's fields under the checksum: attributes to count."""

LENGTH_START: Final = 8
LENGTH_STOP: Final = 12
MAGIC_PLACE: Final = 16
SUMMED_START: Final = PREFIX.size
HEADER_BYTES: Final = PREFIX.size + SUMMED.size

MAGIC: Final = 2
CODEC_MASK: Final = 0b111
APPEND_TIME_FLAG: Final = 1 << 3
TRANSACTIONAL_FLAG: Final = 1 << 4
CONTROL_FLAG: Final = 1 << 5

NO_PRODUCER_ID: Final = -1
NO_PRODUCER_EPOCH: Final = -1
NO_SEQUENCE: Final = -1

RECORD_BYTES_MIN: Final = 7  # one byte for each varint, with neither key nor value
HEADER_ENTRY_BYTES_MIN: Final = 2
INT32_VARINT_BYTES_MAX: Final = 5
INT64_VARINT_BYTES_MAX: Final = 10
INT32_MAX: Final = (1 << 31) - 1

assert SUMMED_START == 21
assert HEADER_BYTES == 61
