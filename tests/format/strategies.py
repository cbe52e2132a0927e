"""Lists of anything a record may hold, for property tests."""

import msgspec
from hypothesis import strategies as st

from streamhouse.format.columns import BinaryColumn, Columns, columns_from_lists
from streamhouse.format.lists import binary_list, header_list, timestamp_list
from streamhouse.records import Headers

# Few distinct lengths on purpose: equal lengths, nulls only and empties only take other paths.
blobs = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"x" * 16, b"\0" * 300]))
optional_blobs = st.one_of(st.none(), blobs)
int64s = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(1_700_000_000_000, 1_700_000_000_300))
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
headers = st.lists(st.tuples(names, optional_blobs), max_size=3).map(tuple)

Rows = tuple[list[bytes | None] | None, list[bytes | None], list[int] | int, list[Headers] | None]


@st.composite
def rows(draw: st.DrawFn, min_size: int = 1, max_size: int = 40) -> Rows:
    """The arguments of ``columns_from_lists``."""
    count = draw(st.integers(min_size, max_size))

    def column(entries: st.SearchStrategy) -> st.SearchStrategy:
        return st.lists(entries, min_size=count, max_size=count)

    equal = blobs.flatmap(lambda blob: st.just([blob] * count))
    keys = draw(st.one_of(st.none(), equal, column(blobs), column(optional_blobs)))
    values = draw(st.one_of(st.just([None] * count), equal, column(blobs), column(optional_blobs)))
    stamps = draw(st.one_of(int64s, column(int64s)))
    return keys, values, stamps, draw(st.one_of(st.none(), column(headers)))


def rows_of(columns: Columns) -> Rows:
    """What ``columns_from_lists`` was given, with every shorthand written out."""
    count = columns.count
    return (
        binary_list(columns.key, 0, count),
        binary_list(columns.value, 0, count),
        timestamp_list(columns, 0, count),
        [()] * count if columns.headers is None else header_list(columns.headers, 0, count),
    )


def spelled_out(rows: Rows) -> Rows:
    """Rows with every shorthand written out."""
    keys, values, stamps, headers = rows
    count = len(values)
    return (
        [None] * count if keys is None else keys,
        values,
        [stamps] * count if isinstance(stamps, int) else stamps,
        [()] * count if headers is None else headers,
    )


def columns_of(rows: Rows) -> Columns:
    return columns_from_lists(*rows)


def as_stored(columns: Columns) -> Columns:
    """Columns as a block gives them back: who wrote it noted which of them are ASCII."""
    headers = columns.headers
    if headers is not None:
        names = msgspec.structs.replace(headers.names, text=True)
        headers = msgspec.structs.replace(headers, names=names, values=_noted(headers.values))
    value = columns.value if not isinstance(columns.value, BinaryColumn) else _noted(columns.value)
    return msgspec.structs.replace(columns, key=_noted(columns.key), value=value, headers=headers)


def _noted(column: BinaryColumn) -> BinaryColumn:
    return msgspec.structs.replace(column, text=column.data.isascii())
