"""``streamctl export``."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest


def test_new_records_go_into_new_files(orders, tmp_path: Path) -> None:
    orders("produce", "orders", "a", "b")
    done = orders("export", "orders", "out").rows
    assert done == [
        {
            "topic": "orders",
            "records": 2,
            "files": ["orders-00000001.parquet"],
            "group": f"export {tmp_path / 'out'}",
        }
    ]
    assert orders("export", "orders", "out").rows[0]["records"] == 0
    orders("produce", "orders", "c")
    assert orders("export", "orders", "out").rows[0]["files"] == ["orders-00000002.parquet"]
    found = duckdb.sql(f"select value from '{tmp_path}/out/*.parquet' order by all").fetchall()
    assert found == [("a",), ("b",), ("c",)]


def test_how_to_export(orders, tmp_path: Path) -> None:
    orders("produce", "orders", '{"day": "mon", "n": 1}', '{"day": "tue", "n": 2}')
    arguments = [
        *("--select", "value->>'day' as day, value->>'n' as n", "--partition-by", "day"),
        *("--compression", "snappy", "--file-bytes", "1MiB", "--group", "lake"),
    ]
    (done,) = orders("export", "orders", "out", *arguments).rows
    assert sorted(done["files"]) == [f"day={day}/orders-00000001.parquet" for day in ("mon", "tue")]
    assert orders("group", "list").rows[0]["group"] == "lake"
    assert orders("export", "orders", "raw", "--raw").rows[0]["records"] == 2
    assert duckdb.sql(f"select typeof(value) from '{tmp_path}/raw/*.parquet' limit 1").fetchall() == [
        ("BLOB",)
    ]


def test_to_another_place_than_that_of_the_log(orders, streamhouse_s3) -> None:
    orders("produce", "orders", "a")
    options = []
    for name, value in streamhouse_s3.storage_options.items():
        options += ["--target-option", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    assert orders("export", "orders", "s3://streamhouse/out", *options).code == 0
    assert "out/orders-00000001.parquet" in streamhouse_s3.server.buckets["streamhouse"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["order", "out"], 4, "did you mean 'orders'"),
        (["orders", "https://host/x"], 2, "a web server stores nothing"),
        (["orders", "out", "--partition-by", "day"], 2, "'day' is no column"),
        (["orders", "out", "--select", "nonsense"], 2, "nonsense"),
        (["orders", "out", "--file-bytes", "much"], 2, "--file-bytes 'much'"),
        (["orders", "out", "--file-bytes", "default"], 2, "--file-bytes"),
        (["orders", "out", "--compression", "zip"], 2, "there are zstd"),
        (["orders", "out", "--target-option", "s3cret"], 2, "NAME=VALUE"),
    ],
)
def test_what_cannot_be_done_is_one_line(orders, arguments: list[str], code: int, message: str) -> None:
    result = orders("export", *arguments)
    assert (result.code, result.out) == (code, b"")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert "s3cret" not in result.err
