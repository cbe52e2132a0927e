from array import array

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.format.columns import Columns, columns_from_lists
from streamhouse.read.window import first_at_time, offset_at, place, window, within_bytes


def block(count: int, deltas: list[int] | None = None) -> Columns:
    columns = columns_from_lists(None, [b""] * count, 0, None)
    if deltas is None:
        return columns
    return msgspec.structs.replace(columns, deltas=array("q", deltas).tobytes())


gaps = st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True).map(sorted)


@given(st.one_of(st.none(), gaps), st.integers(0, 50), st.integers(0, 120), st.integers(0, 120))
def test_a_window_holds_the_offsets_between(
    deltas: list[int] | None, base: int, start: int, until: int
) -> None:
    columns = block(10 if deltas is None else len(deltas), deltas)
    offsets = [base + delta for delta in (range(10) if deltas is None else deltas)]
    first, last = window(columns, base, start, until)
    assert offsets[first:last] == [offset for offset in offsets if start <= offset < until]
    assert place(columns, base, start) == len([offset for offset in offsets if offset < start])
    assert [offset_at(columns, base, index) for index in range(len(offsets))] == offsets


@pytest.mark.parametrize(
    ("bytes_max", "stop"), [(0, 1), (9, 1), (10, 1), (19, 1), (20, 2), (45, 4), (1000, 5)]
)
def test_a_window_is_cut_at_a_size_but_never_empty(bytes_max: int, stop: int) -> None:
    values = columns_from_lists(None, [b"0123456789"] * 5, 0, None)
    assert within_bytes(values, 0, 5, bytes_max) == stop
    keys = columns_from_lists([b"0123456789"] * 5, [b""] * 5, 0, None)
    assert within_bytes(keys, 0, 5, bytes_max) == stop


def test_the_size_counts_from_the_start_of_the_window() -> None:
    columns = columns_from_lists(None, [b"x" * 100, b"a", b"b", b"c"], 0, None)
    assert within_bytes(columns, 1, 4, 2) == 3
    assert within_bytes(columns, 1, 2, 100) == 2


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=20), st.integers(0, 20), st.integers(-60, 60))
def test_the_first_at_a_time_needs_no_order(stamps: list[int], start: int, wanted: int) -> None:
    columns = columns_from_lists(None, [b""] * len(stamps), stamps, None)
    places = [i for i, stamp in enumerate(stamps) if i >= start and stamp >= wanted]
    assert first_at_time(columns, start, wanted) == (places[0] if places else None)
