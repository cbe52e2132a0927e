"""``streamctl topic``."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_a_topic_from_its_making_to_its_end(cli) -> None:
    assert cli("topic", "create", "orders", "-p", "2").rows == [{"topic": "orders", "partitions": 2}]
    assert cli("topic", "create", "audit").code == 0
    listed = {row["topic"]: row["partitions"] for row in cli("topic", "list").rows}
    assert listed == {"orders": 2, "audit": 1}
    assert cli("produce", "orders", "a", "b", "-p", "1").code == 0
    figures = [
        (row["partition"], row["log_start"], row["high_watermark"], row["records"])
        for row in cli("topic", "describe", "orders").rows
    ]
    assert figures == [(0, 0, 0, 0), (1, 0, 2, 2)]
    assert cli("topic", "delete", "orders", "--yes").rows == [{"topic": "orders", "deleted": True}]
    assert [row["topic"] for row in cli("topic", "list").rows] == ["audit"]


def test_a_topic_that_is_there_already(orders) -> None:
    again = orders("topic", "create", "orders")
    assert (again.code, again.out) == (4, b"")
    assert again.err.count("\n") == 1
    assert orders("topic", "create", "orders", "-p", "3", "--exist-ok").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["create", "a/b"], 2, "'a/b'"),
        (["create", "x", "-p", "0"], 2, "1 to 100,000"),
        (["create", "x", "-p", "many"], 2, "--partitions"),
        (["describe", "order"], 4, "did you mean 'orders'"),
        (["delete", "order", "--yes"], 4, "did you mean 'orders'"),
        (["delete", "orders"], 2, "--yes"),
    ],
)
def test_what_cannot_be_done_is_one_line(orders, arguments: list[str], code: int, message: str) -> None:
    result = orders("topic", *arguments)
    assert (result.code, result.out) == (code, b"")
    assert message in result.err
    assert result.err.startswith("streamctl: ")
    assert result.err.count("\n") == 1
    assert [row["topic"] for row in orders("topic", "list").rows] == ["orders"]


@pytest.mark.parametrize(
    "arguments", [["topic", "list"], ["topic", "describe", "x"], ["consume", "x"], ["produce", "x", "v"]]
)
def test_only_the_first_topic_makes_a_log(cli, folder: Path, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (4, b"")
    assert str(folder) in result.err
    assert not folder.exists()
