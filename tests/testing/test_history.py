"""Operations survive the way through a file, also one that a killed process left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamhouse.testing.history import (
    Attempt,
    Looked,
    Moved,
    Observed,
    Operation,
    Polled,
    Sent,
    decode_operations,
    encode_operation,
)

names = st.text(max_size=5)
numbers = st.integers(0, 2**53)
values = st.one_of(numbers, st.text(max_size=8))
operations = st.one_of(
    st.builds(
        Sent,
        names,
        st.lists(st.builds(Attempt, names, numbers, values, st.none() | numbers), max_size=3).map(tuple),
        st.sampled_from(["ok", "failed", "unknown"]),
        st.booleans(),
    ),
    st.builds(
        Polled,
        names,
        st.lists(st.builds(Observed, names, numbers, numbers, values), max_size=3).map(tuple),
    ),
    st.builds(
        Moved,
        names,
        st.lists(st.tuples(names, numbers, st.none() | numbers), max_size=3).map(tuple),
    ),
    st.builds(
        Looked,
        names,
        st.lists(st.tuples(names, numbers, numbers), max_size=3).map(tuple),
    ),
)


@given(st.lists(operations, max_size=5))
def test_what_was_written_is_read(history: list[Operation]) -> None:
    data = b"".join(map(encode_operation, history))
    assert decode_operations(data) == history


@given(st.lists(operations, min_size=1, max_size=5), st.data())
def test_a_torn_last_line_is_dropped_and_no_other(history: list[Operation], data: st.DataObject) -> None:
    last = encode_operation(history[-1])
    kept = data.draw(st.integers(0, len(last) - 1))
    torn = b"".join(map(encode_operation, history[:-1])) + last[:kept]
    assert decode_operations(torn) == history[:-1]
