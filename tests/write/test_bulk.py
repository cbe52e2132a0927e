from __future__ import annotations

from typing import Any

import pytest

from streamhouse.errors import InvalidRecordError, RecordTooLargeError
from streamhouse.write.bulk import listed, make_rows, payload_bytes
from streamhouse.write.encoder import Rows
from streamhouse.write.serializers import Serializers
from tests.write.fakes import rig

PLAIN = Serializers()


def test_lists_and_tuples_are_taken_as_they_are() -> None:
    for items in ([1, 2], (1, 2)):
        assert listed("values", items, 2) is items
    assert listed("values", iter([1, 2]), 2) == [1, 2]


@pytest.mark.parametrize("items", ["ab", b"ab", bytearray(2), {"a": 1}, 5, None])
def test_what_is_no_list_is_refused(items: Any) -> None:
    with pytest.raises(InvalidRecordError, match=r"^keys is a \w+: pass a list"):
        listed("keys", items)


def test_lists_of_another_length_are_refused() -> None:
    with pytest.raises(InvalidRecordError, match="1 keys for 2 values"):
        listed("keys", ["a"], 2)


def test_rows() -> None:
    rows = make_rows(PLAIN, ["a", None], ["k", None], [{"h": "x"}, None], [1, 2], trust=True)
    assert rows == Rows([b"a", None], [b"k", None], [1, 2], [(("h", b"x"),), ()])
    rows = make_rows(PLAIN, ["a", None], None, {"h": "x"}, 5, trust=True)
    assert rows == Rows([b"a", None], None, 5, [(("h", b"x"),)] * 2)


def test_bytes_in_front_are_believed_only_on_request() -> None:
    mixed = [b"a", "b"]
    assert make_rows(PLAIN, mixed, mixed, None, 0, trust=True) == Rows(mixed, mixed, 0, None)  # type: ignore[arg-type]
    assert make_rows(PLAIN, mixed, mixed, None, 0, trust=False) == Rows([b"a", b"b"], [b"a", b"b"], 0, None)


@pytest.mark.parametrize("topic", ["one", "three"])
@pytest.mark.parametrize(
    "odd", ["text", None, {"j": 1}, bytearray(b"array"), memoryview(b"view"), memoryview(b"every2nd")[::2]]
)
def test_lists_that_begin_with_bytes_and_go_on_otherwise(topic: str, odd: Any) -> None:
    with rig() as r:
        r.producer.send_many(topic, [b"first", odd, b"last"], keys=[b"k"] * 3).result()
        keys = [b"first", odd if not isinstance(odd, dict) else None, b"last"]
        r.producer.send_many(topic, [b"1", b"2", b"3"], keys=keys).result()
        stored = [value for values in r.commits.stored.values() for value in values]
        expected = PLAIN.value(odd)
        assert sorted(stored, key=repr) == sorted([b"first", expected, b"last", b"1", b"2", b"3"], key=repr)


def test_payload_bytes() -> None:
    rows = Rows([b"abc", None], [None, b"k"], 0, [(("h", b"xy"),), ()])
    assert payload_bytes(rows, 6) == 7
    with pytest.raises(RecordTooLargeError, match=r"^values\[0\]: a record of 6 bytes"):
        payload_bytes(rows, 5)
    assert payload_bytes(Rows([], None, 0, None), 1) == 0


def test_lengths_are_looked_at_once() -> None:
    rows = Rows([b"abc", b"de"], [b"k", b"l"], 0, None)
    assert payload_bytes(rows, 4) == 7
    assert (rows.value_lengths, rows.key_lengths) == ([3, 2], 1)
    with pytest.raises(RecordTooLargeError, match=r"^values\[0\]: a record of 4 bytes"):
        payload_bytes(rows, 3)
    even = Rows([b"abc", b"def"], [b"k", None], 0, None)
    assert payload_bytes(even, 4) == 7
    assert (even.value_lengths, even.key_lengths) == (3, None)
    with pytest.raises(RecordTooLargeError, match=r"^values\[0\]"):
        payload_bytes(even, 3)
