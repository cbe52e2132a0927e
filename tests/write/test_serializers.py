from __future__ import annotations

import collections
import dataclasses
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.errors import InvalidRecordError, InvalidSettingError
from streamhouse.write.serializers import (
    Serializers,
)


class Order(msgspec.Struct):
    amount: float


@dataclasses.dataclass
class Point:
    x: int


class Text(str):
    __slots__ = ()


class Octets(bytes):
    __slots__ = ()


PLAIN = Serializers()
STORED: list[tuple[Any, bytes | None]] = [
    (None, None),
    (b"", b""),
    (b"\xff", b"\xff"),
    (bytearray(b"ab"), b"ab"),
    (memoryview(b"abcd")[::2], b"ac"),
    (Octets(b"x"), b"x"),
    ("", b""),
    ("ä", b"\xc3\xa4"),
    (Text("t"), b"t"),
]
STORED_VALUES: list[tuple[Any, bytes | None]] = [
    *STORED,
    ({"a": [1, None]}, b'{"a":[1,null]}'),
    (collections.OrderedDict(b=1), b'{"b":1}'),
    ([1, "x"], b'[1,"x"]'),
    ((1, 2), b"[1,2]"),
    (Order(1.5), b'{"amount":1.5}'),
    (Point(3), b'{"x":3}'),
]
REFUSED = [1, 1.5, True, {1, 2}, object(), Point, "\ud800"]


@pytest.mark.parametrize(("value", "stored"), STORED_VALUES)
def test_values(value: Any, stored: bytes | None) -> None:
    found = PLAIN.value(value)
    assert found == stored
    assert type(found) in (bytes, type(None))
    assert list(PLAIN.values([value, value])) == [stored, stored]
    assert list(PLAIN.values([b"z", value, "y"])) == [b"z", stored, b"y"]


@pytest.mark.parametrize(("key", "stored"), STORED)
def test_keys(key: Any, stored: bytes | None) -> None:
    found = PLAIN.key(key)
    assert found == stored
    assert type(found) in (bytes, type(None))
    assert list(PLAIN.keys([key, key])) == [stored, stored]


@pytest.mark.parametrize("value", REFUSED)
def test_refused_values_say_what_to_do(value: Any) -> None:
    with pytest.raises(InvalidRecordError, match=r"value of type \w+ cannot be stored: pass|UTF-8"):
        PLAIN.value(value)
    with pytest.raises(InvalidRecordError, match=r"^values\[2\]: "):
        PLAIN.values([b"", {"a": 1}, value, object()])


@pytest.mark.parametrize("key", [*REFUSED, {"a": 1}, (1,), Order(1)])
def test_refused_keys_say_what_to_do(key: Any) -> None:
    with pytest.raises(InvalidRecordError, match=r"key of type \w+ cannot be stored: pass|UTF-8"):
        PLAIN.key(key)
    with pytest.raises(InvalidRecordError, match=r"^keys\[1\]: "):
        PLAIN.keys(["", key])


def test_what_json_cannot_hold() -> None:
    with pytest.raises(InvalidRecordError, match="a dict does not become JSON"):
        PLAIN.value({"a": object()})
    with pytest.raises(InvalidRecordError, match=r"^values\[1\]: a list does not become JSON"):
        PLAIN.values([{"a": 1}, [object()]])
    recursive: list[Any] = []
    recursive.append(recursive)
    with pytest.raises(InvalidRecordError):
        PLAIN.value(recursive)


def test_a_list_of_bytes_is_not_copied() -> None:
    values = [b"a", None]
    assert PLAIN.values(values) is values
    assert PLAIN.keys(values) is values


@given(st.lists(st.dictionaries(st.text(), st.none() | st.text() | st.integers(-9, 9))))
def test_json_in_bulk_is_json_one_by_one(values: list[Any]) -> None:
    stored = PLAIN.values(values)
    assert list(stored) == list(map(PLAIN.value, values))
    assert [json.loads(value or b"") for value in stored] == values


def test_raw_json_with_line_ends_stays_one_value() -> None:
    raw = {"a": msgspec.Raw(b"[1,\n2]")}
    assert PLAIN.values([raw, {"b": 1}, raw]) == [b'{"a":[1,\n2]}', b'{"b":1}', b'{"a":[1,\n2]}']


def test_own_serializers() -> None:
    own = Serializers(key=lambda key: f"<{key}>", value=lambda value: value.to_bytes(2, "big"))
    assert own.key(7) == b"<7>"
    assert own.value(7) == b"\0\7"
    assert own.keys([1, None]) == [b"<1>", None]
    assert own.values([1, None, 2]) == [b"\0\1", None, b"\0\2"]
    assert PLAIN.plain
    assert not own.plain
    assert Serializers(value="json").value(1.5) == b"1.5"
    assert msgspec.msgpack.decode(Serializers(value="msgpack").value({"a": 1}) or b"") == {"a": 1}


def test_own_serializers_that_fail() -> None:
    own = Serializers(value=lambda value: 1 // value)
    with pytest.raises(InvalidRecordError, match="value_serializer failed on a int: ZeroDivision") as e:
        own.value(0)
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    with pytest.raises(InvalidRecordError, match="value_serializer returned a int"):
        own.value(1)
    with pytest.raises(InvalidRecordError, match=r"^values\[1\]: the value_serializer"):
        Serializers(value=str.encode).values(["a", 1])


@pytest.mark.parametrize("serializer", ["jsno", 5, b"json"])
def test_serializers_that_are_none(serializer: Any) -> None:
    with pytest.raises(InvalidSettingError, match=r"value_serializer=.*neither"):
        Serializers(value=serializer)
