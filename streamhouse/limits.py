"""Hard limits, and the relations between them that the rest of the code relies on."""

from __future__ import annotations

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

TOPIC_NAME_CHARS_MAX: Final = 249  # Kafka's limit: a file name minus room for a suffix
PARTITIONS_PER_TOPIC_MAX: Final = 100_000
GROUP_NAME_CHARS_MAX: Final = 255
OFFSET_METADATA_BYTES_MAX: Final = 4096  # Kafka's offset.metadata.max.bytes; the state holds it for ever

RECORD_BYTES_DEFAULT: Final = 16 * MIB
RECORD_BYTES_MAX: Final = GIB  # block buffers use 32-bit offsets
HEADERS_PER_RECORD_MAX: Final = 10_000
TIMESTAMP_MS_MIN: Final = -62_135_596_800_000  # year 1
TIMESTAMP_MS_MAX: Final = 253_402_300_799_999  # year 9999: microseconds by mistake lie above it
JSON_DEPTH_MAX: Final = 100  # MySQL's; Python's stack ends at ten times that, with whoever reads on it

BLOCK_BYTES_TARGET: Final = 2 * MIB  # raw bytes; one block is the unit of reading
INLINE_BYTES_MAX: Final = 1 * MIB  # blocks inside a commit; above, they go to the lane first
COMMIT_BYTES_MAX: Final = 8 * MIB  # a commit is never a multipart upload
LANE_OBJECT_BYTES_TARGET: Final = 32 * MIB
SEGMENT_BYTES_MIN: Final = 64 * MIB  # of a segment that is left alone for good; less than twice that in all
INDEX_BYTES_MAX: Final = 64 * MIB

PRODUCERS_MAX: Final = 100_000  # identities remembered by the fold, least recently used first out
PRODUCER_BATCHES_REMEMBERED: Final = 5  # as in Kafka: a late retry still learns its offset
PRODUCER_EPOCH_MAX: Final = 32_766  # 16 bits on Kafka's wire, of which the last value means none

TRANSACTION_SECONDS_MAX: Final = 900.0  # what it uploaded may be collected after SLOT_KEEP_SECONDS
TRANSACTION_BLOCKS_MAX: Final = 100_000  # they all stand in the index of one commit
TRANSACTION_SEGMENT_BYTES: Final = 16 * MIB  # compressed blocks that wait in memory for the commit

ENTRIES_MAX: Final = 100_000  # named values that the log remembers
ENTRY_NAME_CHARS_MAX: Final = 1_000
ENTRY_BYTES_MAX: Final = 64 * KIB

SNAPSHOT_COMMITS: Final = 1_000
BOUNDARY_STEP_COMMITS: Final = 100  # below that an advance is not worth an object that stays for ever
SLOT_KEEP_SECONDS: Final = 3_600.0  # a slot outlives the boundary above it by this, on the store's clock
BOUNDARY_CHECK_SECONDS: Final = 30.0  # how long a look at the boundary stays good

assert BLOCK_BYTES_TARGET < LANE_OBJECT_BYTES_TARGET
assert INLINE_BYTES_MAX < COMMIT_BYTES_MAX
assert RECORD_BYTES_DEFAULT <= RECORD_BYTES_MAX < 2**31 - BLOCK_BYTES_TARGET
assert BOUNDARY_CHECK_SECONDS * 10 <= SLOT_KEEP_SECONDS
# An uploader may have rested for a quarter of that time before the transaction began.
assert TRANSACTION_SECONDS_MAX * 2 <= SLOT_KEEP_SECONDS
