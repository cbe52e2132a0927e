from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from streamhouse import limits
from streamhouse.errors import InvalidRecordError, RecordTooLargeError
from streamhouse.write.fields import (
    check_record_bytes,
    header_bytes,
    headers_tuple,
    headers_tuples,
    timestamp_ms,
    timestamps_ms,
)

PAIRS = (("b", b"1"), ("a", None), ("b", b"2"))


@pytest.mark.parametrize(
    ("headers", "stored"),
    [
        (None, ()),
        ({}, ()),
        ({"b": b"1", "a": None, "ä": "ö"}, (("b", b"1"), ("a", None), ("ä", b"\xc3\xb6"))),
        (PAIRS, PAIRS),
        (list(map(list, PAIRS)), PAIRS),
        (iter(PAIRS), PAIRS),
        ([("m", bytearray(b"x"))], (("m", b"x"),)),
    ],
)
def test_headers(headers: Any, stored: Any) -> None:
    assert headers_tuple(headers) == stored


BAD_HEADERS = ["a", b"ab", 5, [("a",)], [5], {1: b""}, {"a": 1}, [("\ud800", b"")], [("a", "\ud800")]]


@pytest.mark.parametrize("headers", BAD_HEADERS)
def test_bad_headers(headers: Any) -> None:
    with pytest.raises(InvalidRecordError):
        headers_tuple(headers)
    with pytest.raises(InvalidRecordError, match=r"^headers\[2\]: "):
        headers_tuples([(), (("a", b""),), headers])


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"a": b"", "trace\udcff": b""}, r"header 'trace\\udcff' .* surrogates .* position 5 of its name"),
        ((("\udcff", "\udcff"),), r"header '\\udcff' .* position 0 of its name"),
        ({"trace": "\udcff"}, r"header 'trace' .* position 0 of its value"),
    ],
)
def test_headers_that_are_no_text_are_named(headers: Any, message: str) -> None:
    with pytest.raises(InvalidRecordError, match=f"^{message}$"):
        headers_tuple(headers)
    with pytest.raises(InvalidRecordError, match=rf"^headers\[1\]: {message}$"):
        headers_tuples([(), headers])


def test_bad_headers_in_tuples_are_found_too() -> None:
    for bad in [("a",), (("a", 1),), ((1, b""),), (("\ud800", b""),), (("a", b"", b""),)]:
        with pytest.raises(InvalidRecordError, match=r"^headers\[1\]: "):
            headers_tuples([(), bad])


def test_headers_of_many() -> None:
    exact = [(), PAIRS]
    assert headers_tuples(exact) is exact
    assert headers_tuples([(("ä", b""),)]) == [(("ä", b""),)]
    assert headers_tuples([{"a": "x"}, None, ()]) == [(("a", b"x"),), (), ()]


def test_too_many_headers() -> None:
    many = (("a", b""),) * (limits.HEADERS_PER_RECORD_MAX + 1)
    assert len(headers_tuple(many[1:])) == limits.HEADERS_PER_RECORD_MAX
    for refuse in (lambda: headers_tuple(many), lambda: headers_tuples([many])):
        with pytest.raises(InvalidRecordError, match="at most 10,000 headers, not 10,001"):
            refuse()


def test_header_bytes() -> None:
    assert header_bytes((("ä", b"123"), ("x", None))) == 2 + 3 + 1


def test_timestamps() -> None:
    tokyo = dt.timezone(dt.timedelta(hours=9))
    assert timestamp_ms(0) == 0
    assert timestamp_ms(dt.datetime(1970, 1, 1, 9, 0, 0, 1999, tzinfo=tokyo)) == 1
    assert timestamp_ms(dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC)) == -1000
    exact = [1, 2]
    assert timestamps_ms(exact) is exact
    assert timestamps_ms([5, dt.datetime(1970, 1, 1, tzinfo=dt.UTC)]) == [5, 0]
    assert timestamps_ms([]) == []


@pytest.mark.parametrize(
    ("timestamp", "message"),
    [
        (True, "type bool"),
        (1.5, "type float"),
        ("2020", "type str"),
        (dt.datetime(2020, 1, 1), "no time zone"),  # noqa: DTZ001
        (dt.date(2020, 1, 1), "type date"),
        (1_700_000_000_000_000, "in milliseconds"),
        (-(1 << 63), "years 1 to 9999"),
        (1 << 64, "years 1 to 9999"),
    ],
)
def test_bad_timestamps(timestamp: Any, message: str) -> None:
    with pytest.raises(InvalidRecordError, match=message):
        timestamp_ms(timestamp)
    with pytest.raises(InvalidRecordError, match=rf"^timestamps\[1\]: .*{message}"):
        timestamps_ms([1, timestamp])


def test_record_size() -> None:
    check_record_bytes(1000, 1000)
    with pytest.raises(RecordTooLargeError, match=r"1,001 bytes exceeds record_bytes_max=1,000: raise"):
        check_record_bytes(1001, 1000)
