from typing import Any

import msgspec
import pytest

from streamhouse.errors import InvalidSettingError
from streamhouse.read.deserializers import BadValueError, list_deserializer


class Order(msgspec.Struct):
    amount: int


@pytest.mark.parametrize(
    ("wanted", "stored", "decoded"),
    [
        ("bytes", b"\xff", b"\xff"),
        (bytes, b"\xff", b"\xff"),
        ("str", "grün".encode(), "grün"),
        (str, b"text", "text"),
        ("json", b'{"a": [1]}', {"a": [1]}),
        ("msgpack", b"\x81\xa1a\x01", {"a": 1}),
        (Order, b'{"amount": 7}', Order(7)),
        (dict, b'{"a": 1}', {"a": 1}),
        (list[int], b"[1, 2]", [1, 2]),
        (dict[str, Order], b'{"x": {"amount": 1}}', {"x": Order(1)}),
        (int, b"12", 12),
        (Order | None, b"null", None),
        (len, b"four", 4),
        (lambda data: data[::-1], b"ab", b"ba"),
    ],
)
def test_values_are_decoded_and_nulls_are_left_alone(wanted: Any, stored: bytes, decoded: Any) -> None:
    deserialize = list_deserializer(wanted)
    assert deserialize([stored, stored], nullable=False) == [decoded, decoded]
    assert deserialize([stored, None], nullable=True) == [decoded, None]
    assert deserialize([None, None], nullable=True) == [None, None]


def test_none_does_not_reach_a_function() -> None:
    seen: list[bytes] = []
    list_deserializer(seen.append)([None, b"a", None], nullable=True)
    assert seen == [b"a"]


@pytest.mark.parametrize(
    ("wanted", "bad"), [("str", b"\xff"), ("json", b"{"), ("msgpack", b"\xc1"), (Order, b'{"amount": "x"}')]
)
@pytest.mark.parametrize("nullable", [False, True])
def test_the_first_bad_value_is_pointed_at(wanted: Any, bad: bytes, nullable: bool) -> None:
    deserialize = list_deserializer(wanted)
    good = {"str": b"a", "json": b"1", "msgpack": b"\x01"}.get(wanted, b'{"amount": 1}')
    with pytest.raises(BadValueError) as caught:
        deserialize([good, good, bad, bad], nullable=nullable)
    assert caught.value.index == 2
    assert caught.value.__cause__ is not None


def test_a_function_is_called_once_per_value_also_when_one_fails() -> None:
    seen: list[bytes] = []

    def decode(data: bytes) -> bytes:
        seen.append(data)
        return {b"a": data}[data]

    with pytest.raises(BadValueError) as caught:
        list_deserializer(decode)([b"a", b"x", b"a"], nullable=False)
    assert (seen, caught.value.index) == ([b"a", b"x"], 1)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidSettingError, match=r"'jsn'; did you mean 'json'"):
        list_deserializer("jsn")


@pytest.mark.parametrize("wanted", [7, ["json"]])
def test_what_is_no_deserializer_is_refused(wanted: Any) -> None:
    with pytest.raises(InvalidSettingError, match="a name, a type or a function"):
        list_deserializer(wanted)


class Refund(msgspec.Struct):
    amount: int


def test_a_type_that_json_cannot_be_decoded_into_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match=r"JSON cannot be decoded into .*Refund"):
        list_deserializer(Order | Refund)  # untagged: which one would it be?
