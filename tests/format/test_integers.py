from array import array
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.format.integers import (
    bitmap,
    bitmap_bytes,
    differences,
    int32s,
    int64_range,
    int64s,
    stride_offsets,
    unpack_bitmap,
)


@given(st.lists(st.booleans(), max_size=70), st.data())
def test_a_bitmap_gives_back_any_window_of_its_flags(flags: list[bool], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(flags)))
    stop = data.draw(st.integers(start, len(flags)))
    bits = bitmap(bytes(flags))
    assert len(bits) == bitmap_bytes(len(flags))
    assert list(unpack_bitmap(bits, start, stop)) == flags[start:stop]


def test_a_bitmap_has_its_least_significant_bit_first() -> None:
    assert bitmap(bytes([1, 0, 0, 0, 0, 0, 0, 0, 0, 1])) == b"\x01\x02"


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 0),
        (5, 5),
        (0, 1),
        (250, 260),
        (65_530, 65_540),
        (65_536, 65_536 * 3 + 1),
        (2**40 - 3, 2**40 + 70_000),
    ],
)
def test_int64_range_counts_up(start: int, stop: int) -> None:
    assert int64_range(start, stop) == array("q", range(start, stop)).tobytes()


@pytest.mark.parametrize(
    ("width", "count"), [(0, 3), (1, 0), (16, 1), (16, 1000), (3, 70_000), (2**20, 2000)]
)
def test_stride_offsets_are_the_multiples_of_the_width(width: int, count: int) -> None:
    assert int32s(stride_offsets(width, count)).tolist() == [width * i for i in range(count + 1)]


@given(st.lists(st.integers(0, 2**24), min_size=1, max_size=100))
def test_differences_are_what_offsets_are_apart(lengths: list[int]) -> None:
    offsets = array("i", accumulate(lengths)).tobytes()
    assert differences(offsets).tolist() == lengths[1:]


def test_views_read_what_arrays_write() -> None:
    assert int64s(array("q", [-1, 2**62]).tobytes()).tolist() == [-1, 2**62]
