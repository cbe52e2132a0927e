"""Records out of lines, JSON lines and CSV."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.cli.inputs import InputFormat, Item, Rules, format_of, read_items
from streamhouse.errors import InvalidInputError


def items(
    data: bytes, form: InputFormat = InputFormat.LINES, rules: Rules | None = None, name: str = "x"
) -> list[Item]:
    return list(read_items(io.BytesIO(data), name, form, rules or Rules()))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.jsonl", InputFormat.JSONL),
        ("a.b.NDJSON.gz", InputFormat.JSONL),
        ("a.csv.gz", InputFormat.CSV),
        ("a.txt", InputFormat.LINES),
        ("standard input", InputFormat.LINES),
    ],
)
def test_the_name_says_the_format(name: str, form: InputFormat) -> None:
    assert format_of(Path(name)) is form


def test_lines_keep_everything_but_their_end() -> None:
    assert items(b" a \n\nb\r\n\xff") == [
        Item(None, b" a "),
        Item(None, b""),
        Item(None, b"b"),
        Item(None, b"\xff"),
    ]


def test_a_delimiter_cuts_off_the_key_at_its_first_place() -> None:
    found = items(b"k:v:w\nno key\n:v\n", rules=Rules(key_delimiter=b":"))
    assert found == [Item(b"k", b"v:w"), Item(None, b"no key"), Item(b"", b"v")]


def test_json_lines_are_kept_as_they_stand() -> None:
    data = b'{"a": 1.50,  "k": "x"}\n\n[1]\n'
    assert items(data, InputFormat.JSONL) == [
        Item(None, b'{"a": 1.50,  "k": "x"}'),
        Item(None, b"[1]"),
    ]


@pytest.mark.parametrize(
    ("field", "key"),
    [(b'"x"', b"x"), (b"7", b"7"), (b"null", None), (b'["a"]', b'["a"]'), (b'"\\u00e9"', b"\xc3\xa9")],
)
def test_a_field_is_the_key(field: bytes, key: bytes | None) -> None:
    line = b'{"id":%s}' % field
    assert items(line, InputFormat.JSONL, Rules(key_field="id")) == [Item(key, line)]


def test_a_csv_row_becomes_an_object_of_strings() -> None:
    data = b'\xef\xbb\xbfid,text\r\n7,"a ""b""\nc"\r\n8,\r\n'
    assert items(data, InputFormat.CSV, Rules(key_field="id")) == [
        Item(b"7", b'{"id":"7","text":"a \\"b\\"\\nc"}'),
        Item(b"8", b'{"id":"8","text":""}'),
    ]


def test_gzip_is_read_by_its_name() -> None:
    assert items(gzip.compress(b"a\nb\n"), name="x.gz") == [Item(None, b"a"), Item(None, b"b")]


@given(st.lists(st.binary().filter(lambda line: not {10, 13} & set(line)), max_size=8))
def test_lines_come_back_as_they_were(lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    assert [item.value for item in items(data)] == lines


@pytest.mark.parametrize(
    ("data", "form", "rules", "message"),
    [
        (b'{"a":1}\n{"a":', InputFormat.JSONL, Rules(), "x, line 2: Input data was truncated"),
        (b'{"user":1}', InputFormat.JSONL, Rules(key_field="usr"), "line 1: .*mean 'user'"),
        (b"[1]", InputFormat.JSONL, Rules(key_field="id"), "line 1: only an object"),
        (b'{"a":"\xff"}', InputFormat.JSONL, Rules(), "line 1: "),
        (b"a,b\n1,2\n3\n", InputFormat.CSV, Rules(), "line 3: not as many fields as the 2"),
        (b"a,b\n1,2,3\n", InputFormat.CSV, Rules(), "line 2: not as many fields as the 2"),
        (b'a\n"open\n', InputFormat.CSV, Rules(), "line 2: unexpected end of data"),
        (b"a\n\xff\n", InputFormat.CSV, Rules(), "line 1: .*can't decode"),
    ],
)
def test_a_bad_line_is_named(data: bytes, form: InputFormat, rules: Rules, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        items(data, form, rules)


def test_a_bad_line_comes_after_the_good_ones() -> None:
    found = read_items(io.BytesIO(b"[1]\n[2]\n]"), "x", InputFormat.JSONL, Rules())
    assert [next(found).value, next(found).value] == [b"[1]", b"[2]"]
    with pytest.raises(InvalidInputError, match="line 3"):
        next(found)


@pytest.mark.parametrize("data", [gzip.compress(b"a\n" * 1000, mtime=0)[:-9], b"plain text\n"])
def test_a_broken_gzip_file_is_named(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match=r"x\.gz is no complete gzip file"):
        items(data, name="x.gz")
