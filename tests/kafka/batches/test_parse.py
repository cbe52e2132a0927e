"""What is wrong with a batch, by name."""

from __future__ import annotations

import pytest
from kio.schema.errors import ErrorCode

from streamhouse.format.lists import header_list
from streamhouse.kafka.batches import parse
from streamhouse.kafka.batches.compression import Codec, compress
from streamhouse.kafka.batches.errors import (
    BatchError,
    BatchTooLargeError,
    CorruptBatchError,
    InvalidRecordsError,
    UnsupportedCodecError,
    UnsupportedMagicError,
)
from streamhouse.kafka.batches.parse import parse_batch, split_batches
from streamhouse.limits import HEADERS_PER_RECORD_MAX
from tests.format import strategies
from tests.kafka.batches import naive
from tests.kafka.batches.naive import batch, body_of, framed, headers_of, sized, varint

BODY = body_of([(0, b"key", b"value", (("name", b"x"),))])


@pytest.fixture(params=[1_000_000, 0], ids=["one by one", "all at once"])
def _both_ways(request, monkeypatch):
    monkeypatch.setattr(parse, "_FEW_MAX", request.param)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CorruptBatchError, ErrorCode.corrupt_message),
        (InvalidRecordsError, ErrorCode.invalid_record),
        (UnsupportedCodecError, ErrorCode.unsupported_compression_type),
        (UnsupportedMagicError, ErrorCode.unsupported_for_message_format),
        (BatchTooLargeError, ErrorCode.message_too_large),
    ],
)
def test_every_error_has_a_code_of_kafka(error, code):
    assert error("why").code is code
    assert issubclass(error, BatchError)
    assert issubclass(error, ValueError)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", CorruptBatchError, "a batch of 0 bytes is cut off"),
        (batch(BODY, 1)[:60], CorruptBatchError, "a batch of 60 bytes is cut off"),
        (batch(BODY, 1)[:-1], CorruptBatchError, "has 8"),
        (batch(BODY, 1, length_more=2**31 - 200), CorruptBatchError, "a batch of 214748"),
        (batch(BODY, 1, length_more=-100), InvalidRecordsError, "more than one record batch"),
        (batch(BODY, 1) * 2, InvalidRecordsError, "more than one record batch"),
        (batch(BODY, 1) + b"x", InvalidRecordsError, "more than one record batch"),
        (batch(BODY, 1, checksum=7), CorruptBatchError, "and not 0x00000007"),
        (batch(BODY, 1, magic=0), UnsupportedMagicError, "records in format 0; 2 is the only one"),
        (batch(BODY, 1, magic=1), UnsupportedMagicError, "records in format 1"),
        (batch(BODY, 1, magic=3), UnsupportedMagicError, "records in format 3"),
        (batch(BODY, 1, attributes=5), UnsupportedCodecError, "codec 5"),
        (batch(BODY, 1, attributes=7), UnsupportedCodecError, "codec 7"),
        (batch(b"", 0), InvalidRecordsError, "a batch of 0 records"),
        (batch(BODY, -1), InvalidRecordsError, "a batch of -1 records"),
        (batch(BODY, 1, last_offset=1), InvalidRecordsError, "whose last has the number 1"),
        (batch(BODY, 2), InvalidRecordsError, "record 1 ends early"),
        (batch(BODY, 2**31 - 1), InvalidRecordsError, "2147483647 records in 22 bytes"),
        (batch(BODY + b"x", 1), InvalidRecordsError, "1 bytes follow the last of 1 records"),
        (batch(BODY, 1, producer_id=5), InvalidRecordsError, "the sequence number -1 of producer 5"),
        (batch(BODY, 1, attributes=1), InvalidRecordsError, "not valid gzip data"),
        (batch(BODY, 1, attributes=2), InvalidRecordsError, "not valid Snappy data"),
        (batch(BODY, 1, attributes=3), InvalidRecordsError, "not valid LZ4 data"),
        (batch(BODY, 1, attributes=4), InvalidRecordsError, "not valid Zstandard data"),
    ],
)
def test_what_is_wrong_with_a_batch(data, error, message):
    with pytest.raises(error, match=message):
        parse_batch(data)
    with pytest.raises(error, match=message):
        parse_batch(memoryview(bytearray(data)))


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (framed(None)[:0], "record 1: 0 bytes where|record 1 ends early|record 1: its offset"),
        (
            b"\0" + varint(0) + varint(2) + framed(None) * 2 + varint(0),
            "record 1: its offset says that it is number 2",
        ),
        (
            b"\0" + varint(0) + varint(-1) + framed(None) * 2 + varint(0),
            "its offset says that it is number -1",
        ),
        (
            b"\0" + varint(0) + varint(1) + varint(-2) + framed(None) + varint(0),
            "record 1: a length of -2 bytes",
        ),
        (
            b"\0" + varint(0) + varint(1) + framed(None) + varint(-3) + varint(0),
            "record 1: a length of -3 bytes",
        ),
        (
            b"\0" + varint(0) + varint(1) + varint(100) + framed(None) + varint(0),
            "a length of 100 bytes where 2 are",
        ),
        (
            b"\0" + varint(0) + varint(1) + framed(None) + varint(2**31 - 1) + varint(0),
            "a length of 2147483647 bytes",
        ),
        (b"\0" + varint(0) + varint(1) + framed(None) * 2 + varint(-1), "record 1: -1 headers"),
        (
            b"\0" + varint(0) + varint(1) + framed(None) * 2 + varint(1),
            "record 1: 1 headers, where there can be 0",
        ),
        (
            b"\0" + varint(0) + varint(1) + framed(None) * 2 + varint(2**31 - 1),
            "record 1: 2147483647 headers",
        ),
        (
            b"\0" + varint(0) + varint(1) + framed(None) * 2 + varint(1) + framed(None) * 2,
            "a header without a name",
        ),
        (
            b"\0" + varint(0) + varint(1) + framed(None) * 2 + varint(1) + framed(b"\xff") + framed(b""),
            "record 1: 'utf-8'",
        ),
        (
            b"\0" + varint(0) + varint(1) + framed(None) * 2 + varint(1) + framed(b"a") + varint(-2),
            "a length of -2 bytes",
        ),
        (
            b"\0" + varint(0) + varint(1) + framed(None) * 2 + varint(0) + b"x",
            "record 1: 1 bytes are left at its end",
        ),
        (b"\0" + varint(0) + varint(1) + framed(None), "record 1"),
        (
            b"\0" + b"\x80" * 10 + b"\0" + varint(1) + framed(None) * 2 + varint(0),
            "an integer does not fit 64 bits",
        ),
        (
            b"\0" + b"\x80" * 9 + b"\2" + varint(1) + framed(None) * 2 + varint(0),
            "an integer does not fit 64 bits",
        ),
        (
            b"\0" + varint(0) + b"\x82\x80\x80\x80\x80\0" + framed(None) * 2 + varint(0),
            "does not fit 32 bits",
        ),
        (b"\0" + varint(0) + b"\x82\x80\x80\x80\x10" + framed(None) * 2 + varint(0), "does not fit 32 bits"),
    ],
)
def test_what_is_wrong_with_a_record(content, message):
    """Right ones before and after it: it is named by its number."""
    first = naive.record(0, (0, b"k", b"v", ()))
    last = naive.record(2, (0, b"k", b"v", (("n", None),)))
    with pytest.raises(InvalidRecordsError, match=message):
        parse_batch(batch(first + sized(content) + last, 3))


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("length", [-1, -2, -100, 1, 19, 1_000, 2**31 - 1])
def test_a_record_of_a_wrong_length(length):
    content = BODY[1:]
    with pytest.raises(InvalidRecordsError, match="record 0"):
        parse_batch(batch(varint(length) + content, 1))


@pytest.mark.usefixtures("_both_ways")
def test_names_of_headers_end_where_characters_end():
    """Together they would be UTF-8."""
    snowman = "☃".encode()
    headers = varint(2) + framed(b"a" + snowman[:1]) + framed(b"") + framed(snowman[1:]) + framed(b"")
    content = b"\0" + varint(0) + varint(0) + framed(None) * 2 + headers
    with pytest.raises(InvalidRecordsError, match="record 0: 'utf-8' codec"):
        parse_batch(batch(sized(content), 1))


@pytest.mark.usefixtures("_both_ways")
def test_integers_may_be_longer_than_they_need_to_be():
    """Nobody writes them like that, but everybody reads them."""
    content = b"\0" + varint(3, 10) + varint(0, 5) + varint(1, 5) + b"k" + varint(-1, 4) + varint(1, 3)
    content += varint(1, 2) + b"n" + varint(-1, 5)
    parsed = parse_batch(batch(varint(len(content), 5) + content, 1)).columns
    assert strategies.rows_of(parsed) == ([b"k"], [None], [3], [(("n", None),)])


@pytest.mark.usefixtures("_both_ways")
def test_attributes_of_a_record_mean_nothing():
    body = sized(b"\x55" + body_of([(0, b"k", b"v", ())])[2:])
    assert strategies.rows_of(parse_batch(batch(body, 1)).columns)[1] == [b"v"]


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("count", [63, 64, 65, 1_000, HEADERS_PER_RECORD_MAX])
def test_many_headers(count):
    headers = tuple((f"h{place % 3}", b"%d" % place) for place in range(count))
    entries = [(0, None, b"x", ()), (0, None, b"y", headers), (0, None, b"z", headers[:2])]
    columns = parse_batch(batch(body_of(entries), 3)).columns
    assert columns.headers is not None
    assert header_list(columns.headers, 0, 3) == [(), headers, headers[:2]]


@pytest.mark.usefixtures("_both_ways")
def test_more_headers_than_a_record_may_have():
    headers = tuple(("h", None) for _ in range(HEADERS_PER_RECORD_MAX + 1))
    with pytest.raises(InvalidRecordsError, match="record 0: 10001 headers, where there can be 10000"):
        parse_batch(batch(body_of([(0, None, b"x", headers)]), 1))


@pytest.mark.parametrize("codec", list(Codec))
def test_records_are_as_large_as_they_may_be(codec):
    body = body_of([(0, None, b"abc" * 10_000, ())])
    data = batch(compress(codec, body), 1, attributes=codec)
    assert parse_batch(data, raw_bytes_max=len(body)).columns.count == 1
    with pytest.raises(
        BatchTooLargeError, match=f"{len(body) - 1}.* are allowed|{len(body) - 1} bytes that are"
    ):
        parse_batch(data, raw_bytes_max=len(body) - 1)


def test_batches_are_cut_apart():
    pieces = [batch(BODY, 1, base_offset=place) for place in range(3)]
    assert [bytes(piece) for piece in split_batches(b"".join(pieces))] == pieces
    assert list(split_batches(b"")) == []
    for cut in range(1, len(pieces[0])):
        with pytest.raises(CorruptBatchError, match="a batch of"):
            list(split_batches(b"".join(pieces)[:-cut]))


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 48])
def test_a_batch_too_short_to_be_one_is_not_cut_off(length):
    data = bytearray(batch(BODY, 1))
    data[8:12] = length.to_bytes(4, "big", signed=True)
    with pytest.raises(CorruptBatchError, match=f"a batch of {length + 12} bytes"):
        list(split_batches(data))


def test_headers_of_naive_batches_are_what_they_seem():
    assert headers_of((("a", b"b"),)) == b"\2\2a\2b"
