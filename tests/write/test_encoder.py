from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamhouse.format.block import decode_block
from streamhouse.format.lists import binary_list, header_list, timestamp_list
from streamhouse.records import Headers
from streamhouse.write import encoder as encoder_module
from streamhouse.write.encoder import Encoder, Rows
from streamhouse.write.shipment import Parts

Row = tuple[bytes | None, bytes | None, int, Headers]


@pytest.fixture
def encoder() -> Iterator[Encoder]:
    encoder = Encoder(10_000)
    yield encoder
    encoder.close()


def rows_of(parts: Parts) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for part, blocks in parts:
        for block in blocks:
            columns = decode_block(block.data, "here")
            n = columns.count
            headers = [()] * n if columns.headers is None else header_list(columns.headers, 0, n)
            found.setdefault(part, []).extend(
                zip(
                    binary_list(columns.key, 0, n),
                    binary_list(columns.value, 0, n),
                    timestamp_list(columns, 0, n),
                    headers,
                    strict=True,
                )
            )
    return found


def split_by_value(rows: Rows) -> Sequence[int]:
    return [len(value or b"") % 3 for value in rows.values]


maybe = st.none() | st.binary(max_size=30)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(maybe, maybe, st.integers(0, 9)), min_size=1, max_size=60),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(1, 5),
)
def test_what_goes_in_comes_out(
    records: list[tuple[bytes | None, bytes | None, int]],
    keyed: bool,
    stamped: bool,
    headed: bool,
    spread: int | None,
) -> None:
    expected: list[Row] = [
        (
            key if keyed else None,
            value,
            stamp if stamped else 7,
            (("n", b"%d" % stamp),) * (stamp % 3) if headed else (),
        )
        for key, value, stamp in records
    ]
    rows = Rows(
        [row[1] for row in expected],
        [row[0] for row in expected] if keyed else None,
        [row[2] for row in expected] if stamped else 7,
        [row[3] for row in expected] if headed else None,
    )
    encoder = Encoder(100)
    found = rows_of(encoder.begin(rows, split_by_value, 1000, spread).finish())
    assert found == {
        part: mine
        for part in range(3)
        if (mine := [row for row in expected if len(row[1] or b"") % 3 == part])
    }


def test_blocks_are_about_as_large_as_wanted(encoder: Encoder) -> None:
    rows = Rows([b"x" * 100] * 3000, None, 0, None)
    ((_, blocks),) = encoder.begin(rows, lambda window: bytes(len(window)), 300_000).finish()
    assert [block.raw_bytes for block in blocks] == [10_000] * 30


def test_records_of_very_different_sizes(encoder: Encoder) -> None:
    values = [b"", b"y" * 200_000, *[b"x"] * 500, b"z" * 15_000, b"z" * 15_000, b""]
    rows = Rows(values, None, 0, None)
    parts = encoder.begin(rows, lambda window: bytes(len(window)), sum(map(len, values))).finish()
    assert [row[1] for row in rows_of(parts)[0]] == values
    ((_, blocks),) = parts
    assert all(block.raw_bytes <= 20_000 or block.count == 1 for block in blocks)


def test_pieces_have_room_for_full_blocks_in_every_partition(encoder: Encoder) -> None:
    windows: list[int] = []

    def assign(window: Rows) -> Sequence[int]:
        windows.append(len(window))
        return bytes(i % 4 for i in range(len(window)))

    rows = Rows([b"x" * 100] * 2000, None, 0, None)
    parts = encoder.begin(rows, assign, 200_000, spread=4).finish()
    assert windows == [400] * 5
    assert {block.count for _, blocks in parts for block in blocks} == {100}


def test_compresses_in_the_pool_or_without_it(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "_POOL_BYTES_MIN", 1000)
    rows = Rows([b"%0100d" % i for i in range(1000)], None, 0, None)
    begun = encoder.begin(rows, lambda window: bytes(len(window)), 100_000)
    pooled = begun.finish()
    assert not begun.waiting
    encoder.close()
    begun = encoder.begin(rows, lambda window: bytes(len(window)), 100_000)
    assert not begun.waiting
    alone = begun.finish()
    assert [b.data for _, blocks in pooled for b in blocks] == [b.data for _, blocks in alone for b in blocks]


def test_what_is_no_bytes_is_refused(encoder: Encoder) -> None:
    with pytest.raises(TypeError):
        encoder.begin(Rows([b"a", "b"], None, 0, None), lambda rows: bytes(len(rows)), 2)  # type: ignore[list-item]


@pytest.mark.parametrize("odd", [{}, {"values": [None]}, {"keys": [None]}, {"headers": [(("h", b"x"),)]}])
@pytest.mark.parametrize("large", [0, 50_000])
def test_rows_spread_over_partitions(odd: dict[str, list[object]], large: int) -> None:
    count = 10_000
    values: list[bytes | None] = [b"%0*d" % (n % 3, n) for n in range(count)]
    keys: list[bytes | None] = [b"%d" % n for n in range(count)]
    headers: list[Headers] = [()] * count
    values[5] = bytes(large)
    values[6:6] = odd.get("values", [])  # type: ignore[arg-type]
    keys[7:7] = odd.get("keys", [])  # type: ignore[arg-type]
    headers[8:8] = odd.get("headers", [])  # type: ignore[arg-type]
    rows = Rows(values[:count], keys[:count], range(count), headers[:count] if odd.get("headers") else None)
    parts = [n * n % 5 for n in range(count)]
    encoder = Encoder(50_000)
    found = rows_of(encoder.begin(rows, lambda window: parts, 100_000).finish())
    encoder.close()
    every = list(zip(keys[:count], values[:count], range(count), headers[:count], strict=True))
    assert found == {
        part: [row for row, its in zip(every, parts, strict=True) if its == part] for part in set(parts)
    }
