"""Integers of whole columns, against those written one at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.kafka.batches.few import write_varint
from streamhouse.kafka.batches.varints import MalformedError, read_varints, widths, write_varints, zigzag
from tests.kafka.batches.naive import varint

SMALL = st.integers(-64, 63)
MEDIUM = st.integers(-(2**13), 2**13 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
lists = st.one_of(*[st.lists(each, min_size=1, max_size=30) for each in (SMALL, MEDIUM, INT32, INT64)])


def places(pieces):
    ends = np.cumsum([len(piece) for piece in pieces])
    return np.concatenate([[0], ends[:-1]]), ends


@given(lists)
def test_numbers_come_back(numbers):
    pieces = [varint(number) for number in numbers]
    starts, ends = places(pieces)
    found, after = read_varints(np.frombuffer(b"".join(pieces), np.uint8), starts, 10)
    assert found.tolist() == numbers
    assert after.tolist() == ends.tolist()


@given(lists)
def test_numbers_are_written_as_one_by_one(numbers):
    pieces = [varint(number) for number in numbers]
    assert list(map(write_varint, numbers)) == pieces
    raw = zigzag(np.array(numbers, np.int64))
    sizes = widths(raw)
    assert sizes.tolist() == list(map(len, pieces))
    out = np.full(sum(map(len, pieces)) + 4, 0xAA, np.uint8)
    write_varints(out, places(pieces)[0] + 2, raw, sizes)
    assert out.tobytes() == b"\xaa\xaa" + b"".join(pieces) + b"\xaa\xaa"


@given(st.lists(st.tuples(INT32, st.integers(1, 5)), min_size=1, max_size=20))
def test_numbers_with_more_bytes_than_they_need(pairs):
    pieces = [varint(*pair) for pair in pairs]
    starts, ends = places(pieces)
    found, after = read_varints(np.frombuffer(b"".join(pieces), np.uint8), starts, 5)
    assert found.tolist() == [number for number, _ in pairs]
    assert after.tolist() == ends.tolist()


@pytest.mark.parametrize(
    ("data", "bytes_max"),
    [
        (b"\x80" * 5 + b"\0", 5),
        (b"\xff" * 4 + b"\x10", 5),
        (b"\xff" * 5, 5),
        (b"\x80" * 10 + b"\0", 10),
        (b"\xff" * 9 + b"\2", 10),
    ],
)
def test_numbers_that_are_too_large(data, bytes_max):
    both = np.frombuffer(b"\0" + data, np.uint8)
    with pytest.raises(MalformedError):
        read_varints(both, np.array([0, 1]), bytes_max)


def test_the_largest_numbers():
    data = np.frombuffer(b"\xff" * 4 + b"\x0f" + b"\xff" * 9 + b"\x01", np.uint8)
    assert read_varints(data, np.array([0]), 5)[0].tolist() == [-(2**31)]
    assert read_varints(data, np.array([5]), 10)[0].tolist() == [-(2**63)]


@pytest.mark.parametrize("data", [b"\0", b"\x81", b"\xff\xff\x01"])
def test_positions_past_the_end_are_seen_by_where_they_end(data):
    array = np.frombuffer(data, np.uint8)
    for start in range(len(data), len(data) + 5):
        try:
            _, after = read_varints(array, np.array([start]), 5)
        except MalformedError:
            continue
        assert after[0] > len(data)
