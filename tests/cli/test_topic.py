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
        for row in cli("topic", "describe", "orders").rows[1:]
    ]
    assert figures == [(0, 0, 0, 0), (1, 0, 2, 2)]
    assert cli("topic", "delete", "orders", "--yes").rows == [{"topic": "orders", "deleted": True}]
    assert [row["topic"] for row in cli("topic", "list").rows] == ["audit"]


def test_a_topic_that_is_there_already(orders) -> None:
    again = orders("topic", "create", "orders")
    assert (again.code, again.out) == (4, b"")
    assert again.err.count("\n") == 1
    assert orders("topic", "create", "orders", "-p", "3", "--exist-ok").code == 0


def test_settings_are_made_shown_and_altered(cli) -> None:
    made = cli("topic", "create", "t", "--retention", "7d", "--retention-bytes", "1.5KiB", "--cleanup-policy",
               "compact,delete", "--min-compaction-lag-ms", "500", "--delete-retention", "2h",
               "--timestamp-type", "append")  # fmt: skip
    assert made.code == 0
    (summary, _) = cli("topic", "describe", "t").rows
    assert summary.pop("created").startswith("20")
    shown = {
        "topic": "t",
        "partitions": 1,
        "cleanup_policy": "compact,delete",
        "retention_ms": 604_800_000,
        "retention_bytes": 1536,
        "delete_retention_ms": 7_200_000,
        "min_compaction_lag_ms": 500,
        "timestamp_type": "append",
        "kafka_configs": None,
    }
    assert {name: summary[name] for name in shown} == shown
    altered = cli("topic", "alter", "t", "-p", "2", "--retention", "none", "--min-compaction-lag", "500ms",
                  "--delete-retention", "default", "--timestamp-type", "create")  # fmt: skip
    assert altered.rows == [
        {"topic": "t", "setting": "partitions", "before": 1, "after": 2},
        {"topic": "t", "setting": "retention_ms", "before": 604_800_000, "after": None},
        {"topic": "t", "setting": "delete_retention_ms", "before": 7_200_000, "after": 86_400_000},
        {"topic": "t", "setting": "timestamp_type", "before": "append", "after": "create"},
    ]
    assert cli("topic", "alter", "t", "-p", "2").rows == []


@pytest.mark.parametrize(
    ("arguments", "starts"),
    [
        (["--before", "2"], [2, 2, 2]),
        (["--before", "2", "-p", "1"], [0, 2, 0]),
        (["--before", "latest"], [5, 5, 5]),
        (["--before", "latest", "-p", "0", "-p", "2"], [5, 0, 5]),
        (["--before", "-1"], [4, 4, 4]),
        (["--before", "-9"], [0, 0, 0]),
        (["--before", "2100-01-01"], [5, 5, 5]),
        (["--before", "@0"], [0, 0, 0]),
    ],
)
def test_trimming(orders, arguments: list[str], starts: list[int]) -> None:
    for partition in "012":
        assert orders("produce", "orders", *"abcde", "-p", partition).code == 0
    rows = orders("topic", "trim", "orders", *arguments, "--yes").rows
    assert all(row["removed"] == row["log_start"] == starts[row["partition"]] for row in rows)
    assert [row["log_start"] for row in orders("topic", "describe", "orders").rows[1:]] == starts


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["create", "a/b"], 2, "'a/b'"),
        (["create", "orders"], 4, "--exist-ok"),
        (["create", "orders", "-p", "5", "--exist-ok"], 4, "3 partitions, not 5"),
        (["create", "x", "-p", "0"], 2, "1 to 100,000"),
        (["create", "x", "-p", "many"], 2, "--partitions"),
        (["describe", "order"], 4, "did you mean 'orders'"),
        (["delete", "order", "--yes"], 4, "did you mean 'orders'"),
        (["delete", "orders"], 2, "--yes"),
        (["alter", "orders"], 2, "nothing to alter"),
        (["alter", "orders", "-p", "2"], 2, "3 partitions"),
        (["alter", "order", "-p", "4"], 4, "did you mean 'orders'"),
        (["alter", "orders", "--retention", "soon"], 2, "'soon'"),
        (["alter", "orders", "--retention-bytes", "3 pounds"], 2, "'3 pounds'"),
        (["alter", "orders", "--delete-retention", "none"], 2, "'none'"),
        (["create", "x", "--cleanup-policy", "shred"], 2, "--cleanup-policy"),
        (["trim", "orders", "--before", "latest"], 2, "--yes"),
        (["trim", "orders", "--before", "earliest", "--yes"], 2, "earliest"),
        (["trim", "orders", "--before", "yesterday", "--yes"], 2, "--before 'yesterday'"),
        (["trim", "orders", "--before", "2026-01-01", "-p", "1", "--yes"], 2, "all partitions"),
        (["trim", "orders", "--before", "1", "--yes"], 4, "1 is out of range"),
        (["trim", "orders", "--before", "0", "-p", "3", "--yes"], 4, "partitions 0 to 2, not 3"),
        (["trim", "orders", "--before", "latest", "-p", "7", "--yes"], 4, "partitions 0 to 2, not 7"),
        (["trim", "orders", "--before", "-1", "-p", "7", "--yes"], 4, "partitions 0 to 2, not 7"),
        (["trim", "orders", "--before", "latest", "-p", "-1", "--yes"], 4, "partitions 0 to 2, not -1"),
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


def test_typed_topics(cli, tmp_path: Path) -> None:
    assert cli("topic", "create", "rejected").code == 0
    schema = '{"amount": "DECIMAL(9,2)", "user": "VARCHAR NOT NULL"}'
    assert cli("topic", "create", "trades", "--schema", schema, "--dead-letter", "rejected").code == 0
    (summary, _) = cli("topic", "describe", "trades").rows
    assert summary["schema"] == {"amount": "DECIMAL(9,2)", "user": "VARCHAR NOT NULL"}
    assert summary["dead_letter"] == "rejected"
    assert cli("topic", "describe", "rejected").rows[0]["schema"] is None
    assert cli("produce", "trades", '{"user": "ann", "amount": 1.5}', "{}").code == 0
    assert cli("sql", "select user, amount from trades").rows == [{"user": "ann", "amount": 1.5}]
    assert cli("consume", "rejected", "--format", "raw").out == b"{}\n"

    (tmp_path / "wider.json").write_text(
        '{"amount": "DECIMAL(12,2)", "user": "VARCHAR NOT NULL", "day": "DATE"}'
    )
    altered = cli("topic", "alter", "trades", "--schema", "wider.json", "--dead-letter", "default").rows
    assert {row["setting"]: row["after"] for row in altered} == {
        "dead_letter": None,
        "schema": {"amount": "DECIMAL(12,2)", "user": "VARCHAR NOT NULL", "day": "DATE"},
    }
    json_schema = '{"type": "object", "properties": {"n": {"type": "integer"}}}'
    assert cli("topic", "create", "counted", "--schema", json_schema).code == 0
    assert cli("topic", "describe", "counted").rows[0]["schema"] == {"n": "BIGINT"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["create", "t", "--schema", "nowhere.json"], 2, "--schema nowhere.json is neither JSON nor a file"),
        (["create", "t", "--schema", "{amount}"], 2, "--schema is no JSON object"),
        (["create", "t", "--schema", '{"amount": "MONEY"}'], 2, "field amount"),
        (["create", "t", "--dead-letter", "orders"], 2, "has no schema"),
        (["alter", "orders", "--schema", '{"amount": "DOUBLE"}'], 2, "without a schema"),
    ],
)
def test_schemas_that_cannot_be(orders, arguments: list[str], code: int, message: str) -> None:
    result = orders("topic", *arguments)
    assert (result.code, result.out) == (code, b"")
    assert message in result.err
    assert result.err.count("\n") == 1
