"""``streamctl group`` and ``streamctl offset``."""

from __future__ import annotations

from pathlib import Path

import pytest

import streamhouse


@pytest.fixture
def group(orders, folder: Path):
    """Partition p of orders holds five records, and group ``billing`` wants the one of offset 3 next."""
    with streamhouse.Log(str(folder)) as log, log.producer() as producer:
        for partition in range(3):
            producer.send_many("orders", list("abcde"), partition=partition, timestamps=1_000).result()
    assert orders("offset", "commit", "billing", *(f"orders:{p}=3" for p in range(3))).code == 0
    return orders


def offsets(cli, name: str = "billing") -> list[int]:
    return [row["offset"] for row in cli("offset", "get", name).rows]


def test_offsets_are_committed_and_shown(group) -> None:
    (row,) = group("offset", "commit", "billing", "orders:1=4", "--metadata", "by hand").rows
    assert (row["topic"], row["partition"], row["offset"], row["metadata"]) == ("orders", 1, 4, "by hand")
    assert row["committed"].startswith("20")
    assert offsets(group) == [3, 4, 3]
    (one,) = group("offset", "get", "billing", "orders:1").rows
    assert one == row
    assert len(group("offset", "get", "billing", "orders").rows) == 3


def test_partitions_that_are_named_are_shown_without_a_commit_too(group) -> None:
    group("offset", "commit", "audit", "orders:1=4")
    assert offsets(group, "audit") == [4]
    rows = group("offset", "get", "audit", "orders").rows
    assert [(row["partition"], row["offset"]) for row in rows] == [(0, None), (1, 4), (2, None)]
    (none,) = group("offset", "get", "audit", "orders:2").rows
    assert none == {**rows[1], "partition": 2, "offset": None, "metadata": None, "committed": None}


def test_groups_are_listed_and_described(group) -> None:
    summary = {
        "group": "billing",
        "state": "empty",
        "members": 0,
        "assignor": None,
        "generation": 0,
        "lag": 6,
    }
    assert group("group", "list").rows == [summary]
    first, *partitions = group("group", "describe", "billing").rows
    assert first == {**summary, "members": []}
    assert [(row["partition"], row["offset"], row["lag"], row["member"]) for row in partitions] == [
        (0, 3, 2, None),
        (1, 3, 2, None),
        (2, 3, 2, None),
    ]


def test_a_group_with_members_is_shown_and_left_alone(group, folder: Path) -> None:
    with (
        streamhouse.Log(str(folder)) as log,
        log.consumer("orders", group="billing", instance_id="one") as consumer,
    ):
        consumer.poll(timeout=5.0)
        first, *partitions = group("group", "describe", "billing").rows
        (member,) = first["members"]
        assert (first["state"], member["instance"]) == ("stable", "one")
        assert member["member"] == consumer.member_id == partitions[0]["member"]
        assert member["partitions"] == "orders:0 orders:1 orders:2"
        for arguments in (
            ["group", "reset", "billing", "--to", "earliest"],
            ["group", "reset", "billing", "--to", "earliest", "--dry-run"],
            ["group", "delete", "billing", "--yes"],
            ["offset", "commit", "billing", "orders:0=0"],
        ):
            refused = group(*arguments)
            assert (refused.code, refused.out) == (4, b"")
            assert "has" in refused.err
            assert "members" in refused.err.replace("member(s)", "members")
            assert refused.err.count("\n") == 1
        assert offsets(group) == [3, 3, 3]


def test_a_rebalance_shows_who_waits_for_what(group, folder: Path) -> None:
    with streamhouse.Log(str(folder)) as log, log.consumer("orders", group="billing") as first:
        first.poll(timeout=5.0)
        with log.consumer("orders", group="billing") as second:
            second.poll(timeout=0)
            summary, *_ = group("group", "describe", "billing").rows
            assert summary["state"] == "rebalancing"
            (has, waits) = summary["members"]
            assert (has["partitions"], has["coming"]) == ("orders:0 orders:1 orders:2", "")
            assert (waits["partitions"], waits["coming"]) in [("", f"orders:{p}") for p in range(3)]


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        (["--to", "earliest"], [0, 0, 0]),
        (["--to", "latest"], [5, 5, 5]),
        (["--to", "2"], [2, 2, 2]),
        (["--to", "99"], [5, 5, 5]),
        (["--to", "1970-01-01T00:00:01"], [0, 0, 0]),
        (["--to", "@1001"], [5, 5, 5]),
        (["--shift", "-2"], [1, 1, 1]),
        (["--shift", "1"], [4, 4, 4]),
        (["--shift", "-9", "--topic", "orders"], [0, 0, 0]),
        (["--to", "latest", "--topic", "orders:1", "--topic", "orders:2"], [3, 5, 5]),
        (["--to", "latest", "--dry-run"], [3, 3, 3]),
    ],
)
def test_a_reset(group, arguments: list[str], after: list[int]) -> None:
    rows = group("group", "reset", "billing", *arguments).rows
    assert {row["before"] for row in rows} == {3}
    if "--dry-run" in arguments:
        assert [row["after"] for row in rows] == [5, 5, 5]
    else:
        assert [row["after"] for row in rows] == [after[row["partition"]] for row in rows]
    assert offsets(group) == after


def test_a_group_is_forgotten(group) -> None:
    assert group("group", "delete", "billing", "--yes").rows == [{"group": "billing", "deleted": True}]
    assert group("group", "list").rows == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["group", "describe", "biling"], 4, "did you mean 'billing'"),
        (["group", "delete", "biling", "--yes"], 4, "did you mean 'billing'"),
        (["group", "delete", "billing"], 2, "--yes"),
        (["group", "reset", "biling", "--to", "latest"], 4, "did you mean 'billing'"),
        (["group", "reset", "billing"], 2, "either --to or --shift"),
        (["group", "reset", "billing", "--to", "3", "--shift", "1"], 2, "either --to or --shift"),
        (["group", "reset", "billing", "--to", "soon"], 2, "'soon'"),
        (["group", "reset", "billing", "--to", "3", "--topic", "orders:x"], 2, "'orders:x'"),
        (["group", "reset", "billing", "--to", "3", "--topic", "orders:7"], 4, "not 7"),
        (["group", "reset", "billing", "--to", "3", "--topic", "order"], 4, "did you mean 'orders'"),
        (["offset", "get", "biling"], 4, "did you mean 'billing'"),
        (["offset", "get", "billing", "order"], 4, "did you mean 'orders'"),
        (["offset", "get", "billing", "orders:7"], 4, "partitions 0 to 2, not 7"),
        (["offset", "commit", "billing", "orders:0"], 2, "TOPIC:PARTITION=OFFSET"),
        (["offset", "commit", "billing", "orders:0=6"], 4, "ends at offset 5"),
        (["offset", "commit", "billing", "orders:7=0"], 4, "7"),
        (["offset", "commit", "billing", "order:0=0"], 4, "did you mean 'orders'"),
    ],
)
def test_what_cannot_be_done_is_one_line(group, arguments: list[str], code: int, message: str) -> None:
    result = group(*arguments)
    assert (result.code, result.out) == (code, b"")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert offsets(group) == [3, 3, 3]
