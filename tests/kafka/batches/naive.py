"""Record batches written field by field, right or wrong: what the tests send to the parser."""

from __future__ import annotations

import random
import struct

import google_crc32c

from streamhouse.format.columns import Columns, columns_from_lists
from streamhouse.records import Headers

Record = tuple[int, bytes | None, bytes | None, Headers]
"""Timestamp delta, key, value, headers."""


def varint(number: int, bytes_min: int = 1) -> bytes:
    """A zigzag varint, with more bytes than it needs if that is wanted."""
    raw = number * 2 if number >= 0 else -number * 2 - 1
    out = bytearray()
    while raw >= 128 or len(out) + 1 < bytes_min:
        out.append(raw % 128 + 128)
        raw //= 128
    out.append(raw)
    return bytes(out)


def framed(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def headers_of(headers: Headers) -> bytes:
    return varint(len(headers)) + b"".join(framed(name.encode()) + framed(value) for name, value in headers)


def sized(content: bytes) -> bytes:
    """What a record is, with its length in front."""
    return varint(len(content)) + content


def record(index: int, entry: Record) -> bytes:
    delta, key, value, headers = entry
    return sized(b"\0" + varint(delta) + varint(index) + framed(key) + framed(value) + headers_of(headers))


def body_of(entries: list[Record]) -> bytes:
    return b"".join(record(index, entry) for index, entry in enumerate(entries))


def batch(
    body: bytes,
    count: int,
    *,
    base_offset: int = 0,
    length_more: int = 0,
    leader_epoch: int = -1,
    magic: int = 2,
    checksum: int | None = None,
    attributes: int = 0,
    last_offset: int | None = None,
    base_timestamp: int = 0,
    timestamp_max: int = 0,
    producer_id: int = -1,
    epoch: int = -1,
    sequence: int = -1,
) -> bytes:
    """One batch; what is not said is right."""
    last = count - 1 if last_offset is None else last_offset
    summed = struct.pack(
        ">hiqqqhii",
        attributes,
        last,
        base_timestamp,
        timestamp_max,
        producer_id,
        epoch,
        sequence,
        count,
    )
    found = google_crc32c.value(summed + body) if checksum is None else checksum
    length = 9 + len(summed) + len(body) + length_more
    return struct.pack(">qiibI", base_offset, length, leader_epoch, magic, found) + summed + body


def resealed(data: bytes) -> bytes:
    """A batch that was tampered with, with a checksum that fits again."""
    return data[:17] + google_crc32c.value(data[21:]).to_bytes(4, "big") + data[21:]


def random_columns(seed: int, count: int, bytes_max: int = 200) -> Columns:
    """Records with a bit of everything, more than hypothesis would draw."""
    dice = random.Random(seed)

    def blobs() -> list[bytes | None]:
        return [
            None if dice.random() < 0.1 else dice.randbytes(dice.randrange(bytes_max)) for _ in range(count)
        ]

    def headers() -> list[Headers]:
        names = ["", "trace", "trace", "naïve", "数" * 30]
        values = [None, b"", b"x" * 70, dice.randbytes(9)]
        return [
            tuple((dice.choice(names), dice.choice(values)) for _ in range(dice.choice([0, 1, 1, 3])))
            for _ in range(count)
        ]

    start = dice.choice([0, 1_700_000_000_000])
    return columns_from_lists(
        dice.choice([None, [b"k" * 16] * count, blobs()]),
        dice.choice([blobs(), blobs(), [b"v" * bytes_max] * count, [None] * count]),
        dice.choice(
            [7, [start + place // 7 for place in range(count)], [-place * 999 for place in range(count)]]
        ),
        dice.choice([None, headers(), [(("trace", b"x" * 16),)] * count]),
    )
