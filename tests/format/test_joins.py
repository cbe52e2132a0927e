"""Joining columns gives what encoding all records at once gives, and cutting takes it apart again."""

from __future__ import annotations

from array import array
from itertools import accumulate

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.format.block import decode_block, encode_block
from streamhouse.format.columns import Columns, columns_from_lists
from streamhouse.format.joins import cut_columns, join_columns
from streamhouse.format.lists import binary_list, header_list, timestamp_list
from streamhouse.read.window import offset_at
from tests.format.strategies import as_stored

Row = tuple[int, bytes | None, bytes | None, int, tuple[tuple[str, bytes | None], ...]]

binary = st.one_of(st.none(), st.binary(max_size=20))
headers = st.lists(st.tuples(st.text(max_size=3), binary), max_size=3).map(tuple)
gaps = st.sampled_from([1, 1, 1, 2, 5, 1 << 33])
times = st.integers(-(1 << 62), 1 << 62)
rows = st.tuples(gaps, binary, binary, times, st.one_of(st.just(()), headers))
plain = st.tuples(st.just(1), st.just(b"key"), st.binary(max_size=3), st.just(7), st.just(()))
blocks = st.lists(
    st.one_of(st.lists(rows, min_size=1, max_size=12), st.lists(plain, min_size=1, max_size=40)),
    min_size=1,
    max_size=6,
)


def make(rows: list[Row]) -> Columns:
    """The columns of rows that are given with their offsets."""
    offsets, keys, values, stamps, heads = (list(column) for column in zip(*rows, strict=True))
    columns = columns_from_lists(keys, values, stamps, heads)
    deltas = [offset - offsets[0] for offset in offsets]
    if deltas == list(range(len(rows))):
        return columns
    return msgspec.structs.replace(columns, deltas=array("q", deltas).tobytes())


def rows_of(base: int, columns: Columns) -> list[Row]:
    count = columns.count
    heads = [()] * count if columns.headers is None else header_list(columns.headers, 0, count)
    return list(
        zip(
            [offset_at(columns, base, index) for index in range(count)],
            binary_list(columns.key, 0, count),
            binary_list(columns.value, 0, count),
            timestamp_list(columns, 0, count),
            heads,
            strict=True,
        )
    )


def numbered(drawn: list[list[Row]]) -> list[list[Row]]:
    """Gaps become offsets."""
    ends = accumulate(row[0] for block in drawn for row in block)
    return [[(next(ends), *row[1:]) for row in block] for block in drawn]


@given(blocks)
def test_joined_columns_hold_the_records_of_all(drawn: list[list[Row]]) -> None:
    parts = [(block[0][0], make(block)) for block in numbered(drawn)]
    joined = join_columns(parts)
    assert rows_of(parts[0][0], joined) == [row for block in numbered(drawn) for row in block]
    at_once = make([row for block in numbered(drawn) for row in block])
    assert (joined.timestamp_min, joined.timestamp_max) == (at_once.timestamp_min, at_once.timestamp_max)
    assert (joined.deltas is None) == (at_once.deltas is None)
    assert decode_block(encode_block(joined).data, "test") == as_stored(joined)


@given(blocks, st.data())
def test_cutting_is_the_reverse(drawn: list[list[Row]], data: st.DataObject) -> None:
    parts = [(block[0][0], make(block)) for block in numbered(drawn)]
    joined = join_columns(parts)
    start = 0
    for _, columns in parts:
        stop = start + columns.count
        assert cut_columns(joined, start, stop) == cut_columns(columns, 0, columns.count)
        start = stop
    rows = [row for block in numbered(drawn) for row in block]
    start = data.draw(st.integers(0, len(rows) - 1))
    stop = data.draw(st.integers(start + 1, len(rows)))
    assert cut_columns(joined, start, stop) == make(rows[start:stop])


def test_many_records_without_keys_stay_without() -> None:
    part = columns_from_lists(None, [b"x"] * 1000, 5, None)
    joined = join_columns([(0, part), (1000, part), (2000, part)])
    assert joined == columns_from_lists(None, [b"x"] * 3000, 5, None)


def test_offsets_beyond_16_million_are_raised() -> None:
    part = columns_from_lists([b"k"], [bytes(1 << 24)], 5, None)
    joined = join_columns([(number, part) for number in range(70)])
    assert joined == columns_from_lists([b"k"] * 70, [bytes(1 << 24)] * 70, 5, None)
