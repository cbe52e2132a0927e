"""The codecs of Kafka, both ways. What comes out of decompression is bounded before it is there.

A batch of a few hundred bytes may say that it holds gigabytes, and may even do so. Sizes that a header
declares are checked against the bound, and against what the codec can reach at best, before memory is taken;
where there is none to trust, output is taken in steps that end at the bound.

Snappy comes in two framings: raw (librdkafka) and the blocks of Java's library. Every client reads the
latter, because Java's producers write it; it is what Apache's broker makes, and what is made here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Final

import cramjam
import lz4.frame
import numpy as np

from streamhouse.kafka.batches.errors import BatchTooLargeError, InvalidRecordsError


class Codec(IntEnum):
    """How the records of a batch are compressed; the numbers are Kafka's."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


def compress(codec: Codec, data: bytes | memoryview) -> bytes:
    """Records as a consumer wants them, at the levels that are Kafka's defaults."""
    return _COMPRESS[codec](data)


def decompress(codec: Codec, data: bytes, raw_bytes_max: int) -> bytes:
    """The records of a batch.

    Args:
        codec: What they are compressed with.
        data: The whole compressed part of one batch.
        raw_bytes_max: How many bytes they may be.

    Raises:
        BatchTooLargeError: They are more.
        InvalidRecordsError: The data is not what the codec makes.
    """
    return _DECOMPRESS[codec](data, raw_bytes_max)


def _too_large(codec: str, raw_bytes_max: int) -> BatchTooLargeError:
    return BatchTooLargeError(f"the {codec} data holds more than the {raw_bytes_max} bytes that are allowed")


def _invalid(codec: str, why: object) -> InvalidRecordsError:
    return InvalidRecordsError(f"the records are not valid {codec} data: {why}")


def _as_it_is(data: bytes, raw_bytes_max: int) -> bytes:
    if len(data) > raw_bytes_max:
        raise BatchTooLargeError(f"{len(data)} bytes of records; {raw_bytes_max} are allowed")
    return data


# gzip


_GZIP_FRAME: Final = 31  # window bits of zlib's largest window, plus 16 for gzip's header


def _gzip(data: bytes | memoryview) -> bytes:
    compressor = zlib.compressobj(wbits=_GZIP_FRAME)
    return compressor.compress(data) + compressor.flush()


def _gunzip(data: bytes, raw_bytes_max: int) -> bytes:
    decompressor = zlib.decompressobj(_GZIP_FRAME)
    try:
        out = decompressor.decompress(data, raw_bytes_max + 1)
    except zlib.error as error:
        raise _invalid("gzip", error) from None
    if len(out) > raw_bytes_max:
        raise _too_large("gzip", raw_bytes_max)
    if not decompressor.eof:
        raise _invalid("gzip", "it ends early")
    if decompressor.unused_data:
        raise _invalid("gzip", f"{len(decompressor.unused_data)} bytes follow its end")
    return out


# Snappy


_JAVA_MAGIC: Final = b"\x82SNAPPY\x00"
_JAVA_HEADER: Final = _JAVA_MAGIC + Struct(">ii").pack(1, 1)  # version, oldest version that can read it
_JAVA_BLOCK_BYTES: Final = 32 << 10
_BLOCK_SIZE: Final = Struct(">i")
_SNAPPY_RATIO_MAX: Final = 22  # a copy of 64 bytes takes three


def _snappy(data: bytes | memoryview) -> bytes:
    pieces = [_JAVA_HEADER]
    for start in range(0, len(data), _JAVA_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(data[start : start + _JAVA_BLOCK_BYTES]))
        pieces += (_BLOCK_SIZE.pack(len(block)), block)
    return b"".join(pieces)


def _unsnappy(data: bytes, raw_bytes_max: int) -> bytes:
    if not data.startswith(_JAVA_MAGIC):
        return _unsnappy_raw(data, raw_bytes_max)
    if len(data) < len(_JAVA_HEADER):
        raise _invalid("Snappy", "it ends early")
    blocks: list[bytes] = []
    total = 0
    position = len(_JAVA_HEADER)
    while position < len(data):
        start = position + _BLOCK_SIZE.size
        if start > len(data):
            raise _invalid("Snappy", "the size of a block is cut off")
        (size,) = _BLOCK_SIZE.unpack_from(data, position)
        position = start + size
        if size <= 0 or position > len(data):
            raise _invalid("Snappy", f"a block of {size} bytes where {len(data) - start} are left")
        blocks.append(_unsnappy_raw(data[start:position], raw_bytes_max, total))
        total += len(blocks[-1])
    return b"".join(blocks)


def _unsnappy_raw(data: bytes, raw_bytes_max: int, before: int = 0) -> bytes:
    try:
        size = cramjam.snappy.decompress_raw_len(data)
        if before + size > raw_bytes_max:
            raise _too_large("Snappy", raw_bytes_max)
        if size > len(data) * _SNAPPY_RATIO_MAX:
            raise _invalid("Snappy", f"{len(data)} bytes cannot become {size}")
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise _invalid("Snappy", error) from None


# LZ4, in the frame format; https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md


_LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
_LZ4_BLOCK_CHECKSUMS: Final = 1 << 4
_LZ4_CONTENT_SIZE: Final = 1 << 3
_LZ4_DICTIONARY: Final = 1
_LZ4_STORED: Final = 1 << 31  # flag in a block's size: it is not compressed
_LZ4_BLOCK_BYTES: Final = {4: 64 << 10, 5: 256 << 10, 6: 1 << 20, 7: 4 << 20}
_LZ4_SIZE: Final = Struct("<I")
_LZ4_LONG_SIZE: Final = Struct("<Q")
_LZ4_RATIO_MAX: Final = 255


def _lz4(data: bytes | memoryview) -> bytes:
    # Java's reader wants blocks that do not depend on each other.
    packed: bytes = lz4.frame.compress(
        data, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_linked=False, store_size=False
    )
    return packed


def _unlz4(data: bytes, raw_bytes_max: int) -> bytes:
    within = _lz4_bytes_max(data) <= raw_bytes_max
    try:
        if within:  # in one go, three times as fast
            out, used = lz4.frame.decompress(data, return_bytes_read=True)
        else:
            decompressor = lz4.frame.LZ4FrameDecompressor()
            out = decompressor.decompress(data, max_length=raw_bytes_max + 1)
            if len(out) > raw_bytes_max:
                raise _too_large("LZ4", raw_bytes_max)
            if not decompressor.eof:
                raise _invalid("LZ4", "it ends early")
            used = len(data) - len(decompressor.unused_data or b"")
    except (RuntimeError, EOFError, MemoryError) as error:
        raise _invalid("LZ4", error) from None
    if used != len(data):
        raise _invalid("LZ4", f"{len(data) - used} bytes follow its end")
    raw: bytes = out
    return raw


def _lz4_bytes_max(data: bytes) -> int:
    """What a frame can become at most, by its blocks."""
    if len(data) < 7 or not data.startswith(_LZ4_MAGIC):
        raise _invalid("LZ4", "it does not begin like a frame")
    flags = data[4]
    block_bytes = _LZ4_BLOCK_BYTES.get(data[5] >> 4 & 7)
    if block_bytes is None or flags & _LZ4_DICTIONARY:
        raise _invalid("LZ4", "its frame is of an unknown kind")
    position, declared = 7, 0
    if flags & _LZ4_CONTENT_SIZE:
        if len(data) < position + _LZ4_LONG_SIZE.size:
            raise _invalid("LZ4", "it ends early")
        (declared,) = _LZ4_LONG_SIZE.unpack_from(data, 6)
        position += _LZ4_LONG_SIZE.size
    checksum_bytes = 4 if flags & _LZ4_BLOCK_CHECKSUMS else 0
    total = 0
    while position + _LZ4_SIZE.size <= len(data):
        (size,) = _LZ4_SIZE.unpack_from(data, position)
        if not size:
            if declared > total:
                raise _invalid("LZ4", f"its blocks cannot become the {declared} bytes that it declares")
            return total
        stored, size = size & _LZ4_STORED, size & (_LZ4_STORED - 1)
        total += size if stored else min(block_bytes, size * _LZ4_RATIO_MAX)
        position += _LZ4_SIZE.size + size + checksum_bytes
    raise _invalid("LZ4", "it ends early")


# Zstandard


_ZSTD_LEVEL: Final = 3
_ZSTD_RATIO_FIRST: Final = 8
_ZSTD_GROWTH: Final = 4
_ZSTD_BYTES_MIN: Final = 4 << 10


def _zstd(data: bytes | memoryview) -> bytes:
    return bytes(cramjam.zstd.compress(data, _ZSTD_LEVEL))


def _unzstd(data: bytes, raw_bytes_max: int) -> bytes:
    """Into a buffer that is usually large enough, or else into a larger one.

    Producers write as a stream, so as a rule the frame does not say what it holds.
    """
    size = max(_ZSTD_BYTES_MIN, len(data) * _ZSTD_RATIO_FIRST)
    while True:
        size = min(size, raw_bytes_max)
        out = np.empty(size, np.uint8)
        try:
            return out[: cramjam.zstd.decompress_into(data, out.data)].tobytes()
        except cramjam.DecompressionError as error:
            if str(error) != _said_of_full_buffers():
                raise _invalid("Zstandard", error) from None
            if size == raw_bytes_max:
                raise _too_large("Zstandard", raw_bytes_max) from None
        size *= _ZSTD_GROWTH


@lru_cache(maxsize=1)
def _said_of_full_buffers() -> str:
    """The library has one class for all its errors, so it is asked what it says of this one."""
    try:
        cramjam.zstd.decompress_into(_zstd(b"two"), bytearray(2))
    except cramjam.DecompressionError as error:
        return str(error)
    raise AssertionError("three bytes fitted in two")


_COMPRESS: Final[dict[Codec, Callable[[bytes | memoryview], bytes]]] = {
    Codec.NONE: bytes,
    Codec.GZIP: _gzip,
    Codec.SNAPPY: _snappy,
    Codec.LZ4: _lz4,
    Codec.ZSTD: _zstd,
}

_DECOMPRESS: Final[dict[Codec, Callable[[bytes, int], bytes]]] = {
    Codec.NONE: _as_it_is,
    Codec.GZIP: _gunzip,
    Codec.SNAPPY: _unsnappy,
    Codec.LZ4: _unlz4,
    Codec.ZSTD: _unzstd,
}
