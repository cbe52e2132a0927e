from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.format.columns import (
    Lengths,
    binary_column,
    columns_from_lists,
    entry_lengths,
    null_column,
)
from streamhouse.format.lists import binary_list, header_list, timestamp_list
from tests.format.strategies import Rows, columns_of, rows, rows_of, spelled_out


@given(rows(min_size=0))
def test_lists_come_back_as_they_were(rows: Rows) -> None:
    assert rows_of(columns_of(rows)) == spelled_out(rows)


@given(rows(), st.data())
def test_any_window_is_a_slice(rows: Rows, data: st.DataObject) -> None:
    columns = columns_of(rows)
    start = data.draw(st.integers(0, columns.count))
    stop = data.draw(st.integers(start, columns.count))
    keys, values, stamps, headers = spelled_out(rows)
    assert binary_list(columns.key, start, stop) == keys[start:stop]
    assert binary_list(columns.value, start, stop) == values[start:stop]
    assert timestamp_list(columns, start, stop) == stamps[start:stop]
    if columns.headers is not None:
        assert header_list(columns.headers, start, stop) == headers[start:stop]


@given(rows())
def test_the_timestamp_bounds_are_those_of_the_records(rows: Rows) -> None:
    columns = columns_of(rows)
    stamps = spelled_out(rows)[2]
    assert (columns.timestamp_min, columns.timestamp_max) == (min(stamps), max(stamps))


def test_the_buffers_are_those_of_arrow() -> None:
    columns = columns_from_lists([b"a", None, b""], [b"xy", b"", b"z"], [3, 1, 2], None)
    assert columns.key.validity == b"\x05"
    assert array("i", columns.key.offsets).tolist() == [0, 1, 1, 1]
    assert columns.value.validity is None
    assert columns.value.data == b"xyz"
    assert array("q", columns.timestamps).tolist() == [3, 1, 2]


def test_null_is_not_empty() -> None:
    columns = columns_from_lists([None, b""], [b"", None], 0, [(("n", None),), (("n", b""),)])
    assert binary_list(columns.key, 0, 2) == [None, b""]
    assert binary_list(columns.value, 0, 2) == [b"", None]
    assert columns.headers is not None
    assert header_list(columns.headers, 0, 2) == [(("n", None),), (("n", b""),)]


def test_headers_nobody_sent_take_no_columns() -> None:
    assert columns_from_lists(None, [b"v", b"w"], 0, [(), ()]).headers is None


def test_a_list_of_nulls_is_the_null_column() -> None:
    columns = columns_from_lists([None, None], [b"v", b"w"], 0, None)
    assert columns.key == null_column(2)


def test_payload_counts_what_the_user_sent() -> None:
    columns = columns_from_lists([b"k"], [b"value"], 0, [(("näme", b"12"), ("n", None))])
    assert columns.payload_bytes == 1 + 5 + 5 + 2 + 1


@pytest.mark.parametrize(
    "arguments",
    [
        ([b"k"], [b"v", b"w"], 0, None),
        (None, [b"v", b"w"], [0], None),
        (None, [b"v", b"w"], 0, [()]),
    ],
)
def test_lists_of_different_lengths_are_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match="for 2 values"):
        columns_from_lists(*arguments)


@pytest.mark.parametrize("value", ["text", 7, [1]])
def test_what_is_not_bytes_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        columns_from_lists(None, [b"fine", value], 0, None)
    with pytest.raises(TypeError):
        columns_from_lists([value, None], [b"fine", b"fine"], 0, None)


def test_a_timestamp_beyond_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        columns_from_lists(None, [b"v"], 2**63, None)
    with pytest.raises(OverflowError):
        columns_from_lists(None, [b"v"], [2**63], None)


@pytest.mark.parametrize("values", [[], [b""], [b"ab", b"cd"], [b"a", b"", b"bcd"]])
def test_known_lengths_make_the_same_column(values: list[bytes]) -> None:
    lengths = entry_lengths(values)
    assert binary_column(values, lengths) == binary_column(values)


@pytest.mark.parametrize("lengths", [2, [1, 1, 2]])
def test_lengths_that_are_not_those_of_the_entries_are_refused(lengths: Lengths) -> None:
    with pytest.raises(TypeError):
        binary_column([b"a", b"b", b"c"], lengths)
