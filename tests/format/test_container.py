"""The container: what was packed comes back, and nothing else does."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse import limits
from streamhouse.errors import CorruptionError, UnsupportedFormatError
from streamhouse.format.container import (
    FORMAT_VERSION,
    PREAMBLE_BYTES,
    Kind,
    Truncated,
    pack,
    unpack,
    unpack_front,
)


def packed(kind: Kind = Kind.LANE, index: bytes = b"the index", body: bytes = b"blocks") -> bytes:
    return b"".join(pack(kind, index, [body]))


def signed(fields: bytes) -> bytes:
    """Twenty-four bytes of preamble with a right checksum."""
    return fields + zlib.crc32(fields).to_bytes(4, "little")


@given(st.sampled_from(Kind), st.binary(max_size=300), st.lists(st.binary(max_size=50), max_size=4))
def test_what_was_packed_comes_back(kind: Kind, index: bytes, body: list[bytes]) -> None:
    data = b"".join(pack(kind, index, body))
    front = unpack(data, kind, "here")
    assert front.index == index
    assert data[front.body_start :] == b"".join(body)
    assert (front.body_length, front.size) == (len(b"".join(body)), len(data))


@given(st.binary(max_size=300))
def test_the_front_can_be_read_by_itself(index: bytes) -> None:
    data = packed(index=index)
    with pytest.raises(Truncated) as short:
        unpack_front(data[: PREAMBLE_BYTES - 1], Kind.LANE, "here")
    size = short.value.needed
    assert size == PREAMBLE_BYTES
    if index:
        with pytest.raises(Truncated) as short:
            unpack_front(data[:size], Kind.LANE, "here")
        size = short.value.needed
        assert size == PREAMBLE_BYTES + len(index)
    assert unpack_front(data[:size], Kind.LANE, "here") == unpack(data, Kind.LANE, "here")


def test_every_flipped_bit_of_the_front_is_found() -> None:
    data = packed()
    for bit in range((len(data) - len(b"blocks")) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptionError, match="lane/7"):
            unpack(broken, Kind.LANE, "lane/7")


def test_every_missing_or_added_byte_is_found() -> None:
    data = packed()
    for size in range(len(data)):
        with pytest.raises(CorruptionError, match="here"):
            unpack(data[:size], Kind.LANE, "here")
    with pytest.raises(CorruptionError, match=f"{len(data) + 1} bytes found, {len(data)} were written"):
        unpack(data + b"\0", Kind.LANE, "here")


@pytest.mark.parametrize("kind", Kind)
def test_one_kind_is_not_taken_for_another(kind: Kind) -> None:
    for other in Kind:
        if other is not kind:
            with pytest.raises(CorruptionError, match=f"expected kind {kind.value}"):
                unpack(packed(other), kind, "here")


def test_a_newer_version_is_refused_and_not_called_corrupt() -> None:
    fields = bytearray(packed()[:24])
    fields[4] = FORMAT_VERSION + 1
    with pytest.raises(UnsupportedFormatError, match="upgrade"):
        unpack(signed(bytes(fields)) + packed()[PREAMBLE_BYTES:], Kind.LANE, "here")


def test_an_absurd_index_is_not_asked_for() -> None:
    fields = bytearray(packed()[:24])
    fields[8:12] = (limits.INDEX_BYTES_MAX + 1).to_bytes(4, "little")
    with pytest.raises(CorruptionError):
        unpack_front(signed(bytes(fields)), Kind.LANE, "here")
