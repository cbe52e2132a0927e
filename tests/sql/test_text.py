"""Keys and values as text: UTF-8 as it stands, everything else escaped as DuckDB shows a BLOB."""

from __future__ import annotations

import duckdb
from hypothesis import example, given
from hypothesis import strategies as st

from streamhouse.format.block import decode_block, encode_block
from streamhouse.format.columns import BinaryColumn, binary_column, columns_from_lists
from streamhouse.format.lists import binary_list
from streamhouse.sql.text import shown, text_column

VALUES = st.lists(
    st.none() | st.binary(max_size=6) | st.text(max_size=6).map(str.encode), min_size=1, max_size=8
)


@given(VALUES, st.data())
@example(["ü".encode()[:1], "ü".encode()[1:]], None)  # sound as a whole, but no value is
def test_columns(values: list[bytes | None], data: st.DataObject | None) -> None:
    start = data.draw(st.integers(0, len(values))) if data else 0
    stop = data.draw(st.integers(start, len(values))) if data else len(values)
    column, begin = text_column(binary_column(values), start, stop)
    found = binary_list(column, begin, begin + stop - start)
    assert found == [None if value is None else shown(value) for value in values[start:stop]]


@given(VALUES)
def test_columns_that_were_stored(values: list[bytes | None]) -> None:
    """Of ASCII the block says so, and nobody looks again."""
    encoded = encode_block(columns_from_lists(None, values, 0, None))
    stored = decode_block(encoded.data, "here").value
    assert isinstance(stored, BinaryColumn)
    assert stored.text == b"".join(filter(None, values)).isascii()
    column, begin = text_column(stored, 0, len(values))
    assert binary_list(column, begin, len(values)) == [
        None if value is None else shown(value) for value in values
    ]


@given(st.binary(max_size=20))
def test_one_value(value: bytes) -> None:
    text = shown(value).decode()
    try:
        assert text == value.decode()
    except UnicodeDecodeError:
        with duckdb.connect() as connection:
            ((expected,),) = connection.execute("select $1::blob::varchar", [value]).fetchall()
        assert text == expected
