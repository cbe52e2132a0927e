"""``streamctl produce``."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest


def stored(cli, layout: str = "%k|%v|%h") -> list[bytes]:
    """What the topic holds, sorted."""
    return sorted(cli("consume", "orders", "--format", layout).out.splitlines())


def test_values_from_arguments(orders) -> None:
    assert orders("produce", "orders", "a", "é", "").rows == [{"topic": "orders", "records": 3, "bytes": 3}]
    assert stored(orders, "%v") == [b"", b"a", "é".encode()]


def test_key_headers_and_partition(orders) -> None:
    arguments = ["-k", "user-1", "-H", "trace=1", "-H", "trace=a=b", "-p", "2"]
    assert orders("produce", "orders", "v", *arguments).code == 0
    assert stored(orders, "%p|%k|%v|%h") == [b"2|user-1|v|trace=1,trace=a=b"]


def test_lines_of_standard_input(orders) -> None:
    assert orders("produce", "orders", "-K", ":", stdin=b"k1:v1\nk2:v2\n\n").code == 0
    assert stored(orders) == [b"k1|v1|", b"k2|v2|", b"||"]


def test_standard_input_as_json_lines(orders) -> None:
    arguments = ["--file", "-", "--input", "jsonl", "--key-field", "id"]
    assert orders("produce", "orders", *arguments, stdin=b'{"id": 7}\n{"id": null}\n').code == 0
    assert stored(orders) == [b'7|{"id": 7}|', b'|{"id": null}|']


def test_a_compressed_file_of_json_lines(orders, tmp_path: Path) -> None:
    lines = [b'{"user":"u%d","n":%d}' % (n % 5, n) for n in range(1000)]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    (sent,) = orders("produce", "orders", "-f", "a.jsonl.gz", "--key-field", "user").rows
    assert sent == {"topic": "orders", "records": 1000, "bytes": sum(map(len, lines)) + 2000}
    assert stored(orders, "%v") == sorted(lines)


def test_a_csv_file(orders, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,name\n1,x\n2,y\n")
    assert orders("produce", "orders", "-f", "a.csv", "--key-field", "id").code == 0
    assert stored(orders) == [b'1|{"id":"1","name":"x"}|', b'2|{"id":"2","name":"y"}|']


def test_a_tombstone_is_no_empty_value(orders) -> None:
    assert orders("produce", "orders", "--key", "k", "--tombstone").code == 0
    assert orders("produce", "orders", "--key", "k", "").code == 0
    values = [row["value"] for row in orders("consume", "orders").rows]
    assert values == [None, ""]


def test_a_bad_line_says_what_was_written_before_it(orders, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n":1}\n{"n":2}\n{"n":\n{"n":4}\n')
    result = orders("produce", "orders", "-f", "a.jsonl")
    assert (result.code, result.out) == (2, b"")
    assert "a.jsonl, line 3" in result.err
    assert "the 2 records before it were written" in result.err
    assert stored(orders, "%v") == [b'{"n":1}', b'{"n":2}']


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["order", "v"], 4, "did you mean 'orders'"),
        (["orders", "v", "-p", "3"], 4, "3"),
        (["orders", "v", "-p", "-1"], 4, "-1"),
        (["orders", "v", "-f", "x"], 2, "exclude each other"),
        (["orders", "v", "--tombstone"], 2, "exclude each other"),
        (["orders", "v", "--key", "a", "--key-field", "b"], 2, "exclude each other"),
        (["orders", "-f", "none.jsonl"], 2, "none.jsonl"),
        (["orders", "--key-field", "id"], 2, "a plain line has no fields"),
        (["orders", "-f", "x.jsonl", "-K", ":"], 2, "see --key-field"),
        (["orders", "-K", ""], 2, "empty"),
        (["orders", "v", "-H", "novalue"], 2, "NAME=VALUE"),
        (["orders", "v", "--headr", "a=b"], 2, "--header"),
        (["orders", "--input", "xml"], 2, "jsonl"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(
    orders, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n")
    result = orders("produce", *arguments)
    assert (result.code, result.out) == (code, b"")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert stored(orders) == []
