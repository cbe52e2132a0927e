"""How records are written out."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.cli.layouts import make_layout
from streamhouse.records import Headers, Record


def record(
    key: bytes | None = b"k", value: bytes | None = b"v", headers: Headers = ()
) -> Record[bytes | None, bytes | None]:
    return Record("orders", 2, 17, 1_700_000_000_000, key, value, headers)


def as_json(**fields: Any) -> Any:
    line = make_layout("json")(record(**fields))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


def test_json_has_every_field() -> None:
    assert as_json(headers=(("trace", b"1"), ("trace", None))) == {
        "topic": "orders",
        "partition": 2,
        "offset": 17,
        "timestamp": 1_700_000_000_000,
        "key": "k",
        "value": "v",
        "headers": [{"name": "trace", "value": "1"}, {"name": "trace", "value": None}],
    }


@pytest.mark.parametrize(
    ("value", "field", "shown"),
    [
        (b'{"a": [1, 2.50]}', "value", {"a": [1, 2.5]}),
        (b"[]", "value", []),
        (b'{"a":\n1}', "value", {"a": 1}),
        (b"{broken", "value", "{broken"),
        (b"17", "value", "17"),
        (b'"text"', "value", '"text"'),
        (b"", "value", ""),
        (None, "value", None),
        (b"\xff\x00", "value_base64", "/wA="),
        (b'{"a": "\xff"}', "value_base64", "eyJhIjogIv8ifQ=="),
    ],
)
def test_json_shows_objects_as_such_and_the_rest_as_text(value: bytes | None, field: str, shown: Any) -> None:
    document = as_json(value=value)
    assert document[field] == shown
    assert len(document.keys() & {"value", "value_base64"}) == 1


def test_json_keeps_all_digits_of_a_number() -> None:
    line = make_layout("json")(record(value=b'{"n":12345678901234567890.123456789}'))
    assert b"12345678901234567890.123456789" in line


@given(st.none() | st.binary(), st.none() | st.binary())
def test_json_is_one_line_of_json_whatever_the_bytes(key: bytes | None, value: bytes | None) -> None:
    as_json(key=key, value=value)


def test_raw_is_the_value_and_a_line_end() -> None:
    assert make_layout("raw")(record(value=b"\xff\x00")) == b"\xff\x00\n"
    assert make_layout("raw")(record(value=None)) == b"\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("%t %p %o %k %v", b"orders 2 17 k v\n"),
        ("%s|%S|%V|%K|%T", b"v|1|1|1|1700000000000\n"),
        ("%h", b"a=1,a=\n"),
        (r"%k\t%v\n", b"k\tv\n"),
        (r"%v\0", b"v\0"),
        (r"100%% \\%k", b"100% \\k\n"),
        ("ключ=%k", "ключ=k\n".encode()),
    ],
)
def test_tokens(text: str, line: bytes) -> None:
    assert make_layout(text)(record(headers=(("a", b"1"), ("a", None)))) == line


def test_tokens_of_nothing() -> None:
    assert make_layout("[%k][%v] %K %S")(record(key=None, value=None)) == b"[][] -1 -1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%x", "no token '%x'"),
        ("%v %", "no token '%'"),
        (r"%v\q", "no escape"),
        ("jsn", "did you mean 'json'"),
        ("", "neither json, raw"),
    ],
)
def test_a_format_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        make_layout(text)
