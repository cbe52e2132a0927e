"""``streamctl consume``."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

import streamhouse
from streamhouse.cli import consume


@pytest.fixture
def numbers(orders, folder: Path):
    """Partition p holds the values p0, p1, ... p4, one second apart, from 2026-01-01 on."""
    start = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)
    with streamhouse.Log(str(folder)) as log, log.producer() as producer:
        for partition in range(3):
            for n in range(5):
                when = start + n * 1000
                producer.send("orders", f"{partition}{n}", partition=partition, timestamp=when)
    return orders


def values(result) -> list[bytes]:
    assert result.err == ""
    assert result.code == 0
    return result.out.splitlines()


def all_from(n: int) -> list[bytes]:
    return [b"%d%d" % (partition, m) for partition in range(3) for m in range(n, 5)]


@pytest.mark.parametrize(
    ("position", "first"),
    [
        ("earliest", 0),
        ("beginning", 0),
        ("latest", 5),
        ("3", 3),
        ("5", 5),
        ("-2", 3),
        ("-100", 0),
        ("-0", 5),
        ("2026-01-01", 0),
        ("2026-01-01T00:00:03", 3),
        ("2026-01-01T01:00:02.5+01:00", 3),
        ("@1767225604000", 4),
        ("2027-01-01", 5),
    ],
)
def test_from_a_position(numbers, position: str, first: int) -> None:
    result = numbers("consume", "orders", "--from", position, "--format", "raw")
    assert sorted(values(result)) == all_from(first)


def test_one_partition_in_order(numbers) -> None:
    result = numbers("consume", "orders", "-p", "1", "--format", "raw")
    assert values(result) == [b"10", b"11", b"12", b"13", b"14"]
    two = numbers("consume", "orders", "-p", "0", "-p", "2", "--format", "%p")
    assert sorted(set(values(two))) == [b"0", b"2"]


def test_no_more_than_the_limit(numbers) -> None:
    assert len(values(numbers("consume", "orders", "--limit", "4"))) == 4
    assert values(numbers("consume", "orders", "--limit", "0")) == []
    assert len(values(numbers("consume", "orders", "--limit", "100"))) == 15


def test_follow_ends_at_the_limit_too(numbers) -> None:
    result = numbers("consume", "orders", "--follow", "--limit", "15", "--format", "raw")
    assert sorted(values(result)) == all_from(0)
    last = numbers("consume", "orders", "-f", "-p", "2", "--from", "4", "-n", "1", "--format", "raw")
    assert values(last) == [b"24"]


def test_a_group_goes_on_where_it_stopped(numbers) -> None:
    arguments = ("consume", "orders", "--group", "billing", "--format", "raw")
    first = values(numbers(*arguments, "--limit", "4"))
    assert len(first) == 4
    rest = values(numbers(*arguments))
    assert sorted(first + rest) == all_from(0)
    assert values(numbers(*arguments)) == []
    assert [row["lag"] for row in numbers("group", "list").rows] == [0]
    late = values(numbers("consume", "orders", "-g", "late", "--from", "-1", "--format", "raw"))
    assert sorted(late) == all_from(4)


def test_a_member_deals_out_as_the_others_do(numbers, folder: Path) -> None:
    """They could not be in one group with another assignor; it is known also when they are gone."""
    with streamhouse.Log(str(folder)) as log:
        with log.consumer("orders", group="billing", assignor="range") as other:
            other.poll(timeout=0, max_records=1)
        assert len(values(numbers("consume", "orders", "--group", "billing", "--limit", "1"))) == 1
        assert log.groups["billing"].assignor == "range"


def test_what_was_not_printed_is_not_committed(numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[bytes] = []

    def interrupted(data: bytes) -> None:
        if len(printed) == 7:
            raise KeyboardInterrupt
        printed.append(data.strip())

    with monkeypatch.context() as patch:
        patch.setattr(consume, "write_bytes", interrupted)
        assert numbers("consume", "orders", "--group", "billing", "--format", "raw").code == 130
    rest = values(numbers("consume", "orders", "--group", "billing", "--format", "raw"))
    assert sorted(printed + rest) == all_from(0)


def test_fixed_partitions_of_a_group(numbers) -> None:
    result = numbers("consume", "orders", "--group", "billing", "-p", "1", "--format", "raw")
    assert values(result) == [b"10", b"11", b"12", b"13", b"14"]
    (row,) = numbers("offset", "get", "billing").rows
    assert (row["partition"], row["offset"]) == (1, 5)


def test_json_lines_when_nobody_looks(numbers) -> None:
    (row,) = numbers("consume", "orders", "-p", "2", "--from", "4").rows
    assert row == {
        "topic": "orders",
        "partition": 2,
        "offset": 4,
        "timestamp": 1_767_225_604_000,
        "key": None,
        "value": "24",
        "headers": [],
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["order"], 4, "did you mean 'orders'"),
        (["orders", "-p", "3"], 4, "3"),
        (["orders", "--from", "6"], 4, "6"),
        (["orders", "--from", "yesterday"], 2, "'yesterday'"),
        (["orders", "--from", "2026-13-01"], 2, "'2026-13-01'"),
        (["orders", "--from", "@99999999999999999"], 2, "neither earliest"),
        (["orders", "--format", "%x"], 2, "no token '%x'"),
        (["orders", "--limit", "-1"], 2, "--limit"),
    ],
)
def test_what_cannot_be_done_is_one_line(numbers, arguments: list[str], code: int, message: str) -> None:
    result = numbers("consume", *arguments)
    assert (result.code, result.out) == (code, b"")
    assert message in result.err
    assert result.err.count("\n") == 1
