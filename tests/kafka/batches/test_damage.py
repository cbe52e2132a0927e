"""Batches that arrive damaged are refused, whatever the damage is, and take no memory for what they claim."""

from __future__ import annotations

import tracemalloc

import pytest

from streamhouse.kafka.batches import layout, parse
from streamhouse.kafka.batches.build import build_batch
from streamhouse.kafka.batches.compression import Codec
from streamhouse.kafka.batches.errors import BatchError, InvalidRecordsError
from streamhouse.kafka.batches.parse import parse_batch
from tests.format import strategies
from tests.kafka.batches import fuzz, naive
from tests.kafka.batches.naive import batch, body_of

HEADERS = [(("trace", b"abc"), ("trace", None)), (), (("", b""),)]
SMALL = strategies.columns_of(([b"a", None, b""], [b"one", b"", None], [10, 12, 5], HEADERS))


@pytest.mark.parametrize("codec", list(Codec))
def test_a_batch_cut_off_anywhere_is_refused(codec):
    data = build_batch(SMALL, 0, 3, 0, codec=codec)
    for size in range(len(data)):
        with pytest.raises(BatchError, match=r"cut off|has \d+$"):
            parse_batch(data[:size])


@pytest.mark.parametrize("few", [1_000, 0])
def test_records_cut_off_anywhere_are_refused(few, monkeypatch):
    monkeypatch.setattr(parse, "_FEW_MAX", few)
    body = build_batch(SMALL, 0, 3, 0)[layout.HEADER_BYTES :]
    for size in range(len(body)):
        with pytest.raises(InvalidRecordsError):
            parse_batch(batch(body[:size], 3))


@pytest.mark.parametrize("codec", list(Codec))
def test_compressed_records_cut_off_anywhere_are_refused(codec):
    body = build_batch(SMALL, 0, 3, 0, codec=codec)[layout.HEADER_BYTES :]
    for size in range(len(body)):
        with pytest.raises(InvalidRecordsError):
            parse_batch(batch(body[:size], 3, attributes=codec))


@pytest.mark.parametrize("codec", list(Codec))
def test_every_flipped_bit_is_noticed_or_does_not_matter(codec):
    data = build_batch(SMALL, 0, 3, 0, codec=codec)
    expected = parse_batch(data)
    harmless = {*range(layout.LENGTH_START), *range(layout.LENGTH_STOP, layout.MAGIC_PLACE)}
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            if place in harmless:
                assert parse_batch(flipped) == expected
            else:
                with pytest.raises(BatchError):
                    parse_batch(flipped)


@pytest.mark.parametrize("few", [1_000, 0])
def test_flipped_bits_under_a_new_checksum(few, monkeypatch):
    """Both ways of reading say the same of each."""
    monkeypatch.setattr(parse, "_FEW_MAX", few)
    data = build_batch(SMALL, 0, 3, 0)
    for place in range(layout.SUMMED_START, len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            fuzz.try_one(naive.resealed(bytes(flipped)))


def test_a_second_of_fuzz():
    assert fuzz.fuzz(1.5, seed=1) > 200


def peak_bytes(data: bytes) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(BatchError):
            parse_batch(data, raw_bytes_max=1 << 28)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "claim",
    [
        naive.varint(2**31 - 1),
        naive.sized(b"\0\0\0" + naive.varint(2**31 - 1) + b"xxxx"),
        naive.sized(b"\0\0\0\1" + naive.varint(2**31 - 1) + b"xxx"),
        naive.sized(b"\0\0\0\1\1" + naive.varint(2**31 - 1)),
        naive.sized(b"\0\0\0\1\1" + naive.varint(1) + naive.varint(2**31 - 1) + b"xx"),
    ],
    ids=["record", "key", "value", "count of headers", "name of a header"],
)
def test_no_memory_is_taken_for_what_a_record_claims(claim):
    tail = body_of([(0, None, b"x", ())] * 200)
    assert peak_bytes(batch(claim + tail, 201)) < 1 << 20
    assert peak_bytes(batch(claim, 1)) < 1 << 20


def test_no_memory_is_taken_for_headers_that_many_records_claim():
    bodies = [
        naive.sized(b"\0\0" + naive.varint(index) + b"\1\1" + naive.varint(60)) for index in range(16_000)
    ]
    assert peak_bytes(batch(b"".join(bodies), len(bodies))) < 4 << 20


def test_many_records_of_nothing_take_memory_in_proportion():
    """The smallest records there are: what is made of them is bounded by their bytes."""
    count = 100_000
    body = body_of([(0, None, None, ())] * count)
    tracemalloc.start()
    try:
        columns = parse_batch(batch(body, count)).columns
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert columns.count == count
    assert peak < 12 * len(body)
