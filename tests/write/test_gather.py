from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.format.columns import Lengths, entry_lengths
from streamhouse.format.lists import binary_list, timestamp_list
from streamhouse.write import gather as gather_module
from streamhouse.write.gather import gather

rows = st.lists(
    st.tuples(st.integers(0, 3), st.binary(max_size=3), st.binary(max_size=9), st.integers(0, 5)),
    min_size=1,
    max_size=60,
)


def measured(entries: list[bytes]) -> tuple[list[bytes], Lengths]:
    return entries, entry_lengths(entries)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_module, "WINDOW_RECORDS", 7)


@given(rows, st.booleans(), st.booleans(), st.integers(1, 200), st.integers(1, 30))
def test_every_partition_gets_its_rows_in_order(
    rows: list[tuple[int, bytes, bytes, int]], even: bool, stamped: bool, bytes_target: int, records_max: int
) -> None:
    rows = [
        (part, key.ljust(3) if even else key, value.ljust(9) if even else value, stamp if stamped else 4)
        for part, key, value, stamp in rows
    ]
    parts, keys, values, stamps = map(list, zip(*rows, strict=True))
    found: dict[int, list[tuple[int, bytes | None, bytes | None, int]]] = {part: [] for part in parts}
    for part, columns in gather(
        parts, measured(keys), measured(values), stamps if stamped else 4, bytes_target, records_max
    ):
        n = columns.count
        assert n < records_max + 7
        assert columns.payload_bytes < bytes_target + 7 * 12
        mine = binary_list(columns.key, 0, n), binary_list(columns.value, 0, n), timestamp_list(columns, 0, n)
        found[part] += zip([part] * n, *mine, strict=True)
    assert found == {part: [row for row in rows if row[0] == part] for part in parts}


def test_columns_are_closed_when_they_are_large_enough() -> None:
    keys, values = [b"k" * 10] * 700, [b"v" * 90] * 700
    found = list(gather(bytes([1, 2] * 350), measured(keys), measured(values), 0, 10_000, 1000))
    counts = [columns.count for part, columns in found if part == 1]
    assert len(counts) == 4
    assert all(100 <= count < 107 for count in counts[:-1])
    found = list(gather(bytes([1, 2] * 350), measured(keys), measured(values), 0, 1 << 20, 50))
    assert all(50 <= columns.count < 57 for _, columns in found[:-2])


@pytest.mark.parametrize("odd", ["text", memoryview(b"12345678").cast("H")])
def test_what_is_no_bytes_is_refused(odd: bytes) -> None:
    keys, values = [b"k"] * 3, [b"v", odd, b"w"]
    with pytest.raises(TypeError):
        list(gather(b"\0\1\0", measured(keys), measured(values), 0, 10_000, 1000))
