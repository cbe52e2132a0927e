"""COPY to URLs: what arrives, what may be overwritten, and what is left when something fails."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pytest

import streamhouse
from streamhouse.errors import InvalidUrlError, QueryError, QueryRefusedError, StoreAccessError
from streamhouse.sql.targets import Target, find_target
from streamhouse.testing.ministack import ministack_server
from streamhouse.testing.s3server import FakeS3Server


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files that are on their way are in a folder that is empty in the end."""
    folder = tmp_path / "on-their-way"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


@pytest.fixture
def server() -> Iterator[FakeS3Server]:
    with FakeS3Server() as server:
        yield server


@pytest.fixture
def shop_on_s3(server: FakeS3Server) -> Iterator[streamhouse.Log]:
    """``orders``: 6 records of 3 users, of two days."""
    with streamhouse.Log(server.url, storage_options=server.storage_options, upkeep=False) as log:
        log.create_topic("orders")
        with log.producer() as producer:
            producer.send_many(
                "orders",
                [{"user": f"u{number % 3}", "amount": number} for number in range(6)],
                timestamps=[1_790_000_000_000 + 43_200_000 * (number // 3) for number in range(6)],
            ).result()
        yield log


def rows_of(server: FakeS3Server, tmp_path: Path, prefix: str, form: str = "parquet") -> list[Any]:
    """What other readers of DuckDB's find."""
    folder = tmp_path / "read"
    for key, stored in server.buckets["streamhouse"].items():
        if key.startswith(prefix):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stored.content)
    return duckdb.sql(f"from read_{form}('{folder}/{prefix}*') order by all").fetchall()


def keys(server: FakeS3Server, prefix: str) -> list[str]:
    found = sorted(key for key in server.buckets["streamhouse"] if key.startswith(prefix))
    return [key.removeprefix(prefix) for key in found]


AMOUNTS = "select value->>'user' as who, (value->>'amount')::int as amount from orders"


def test_a_file(shop_on_s3: streamhouse.Log, server: FakeS3Server, tmp_path: Path) -> None:
    """With the credentials of the log, for it lies on the same server."""
    result = shop_on_s3.sql(f"copy ({AMOUNTS}) to 's3://streamhouse/out/a.parquet'")
    assert result.fetchall() == [(6,)]
    assert rows_of(server, tmp_path, "out/a.parquet")[0] == ("u0", 0)
    shop_on_s3.sql(f"copy ({AMOUNTS} where offset > ?) to 's3://streamhouse/out/a.parquet'", 4)
    assert rows_of(server, tmp_path, "out/a.parquet") == [("u2", 5)]
    shop_on_s3.sql("copy orders to 's3://streamhouse/out/b.csv.gz' (header false, delimiter ';')")
    assert server.buckets["streamhouse"]["out/b.csv.gz"].content[:2] == b"\x1f\x8b"
    shop_on_s3.sql("COPY orders (key, value) TO 's3://streamhouse/out/c.json'")
    assert server.buckets["streamhouse"]["out/c.json"].content.startswith(b'{"key":null,"value":"{')


def test_what_it_saw_is_one_commit(shop_on_s3: streamhouse.Log, server: FakeS3Server, tmp_path: Path) -> None:
    commit = shop_on_s3.sql("select 1").commit
    with shop_on_s3.producer() as producer:
        producer.send("orders", {"user": "late", "amount": 9}).result()
    shop_on_s3.sql(f"copy ({AMOUNTS}) to 's3://streamhouse/out/then.parquet'", as_of=commit)
    assert len(rows_of(server, tmp_path, "out/then.parquet")) == 6


@pytest.mark.parametrize(
    ("target", "values", "parameters"),
    [
        ("'s3://streamhouse/out/x.parquet'", (), {}),
        ("E's3://streamhouse/out/x.parquet'", (), {}),
        ("$$s3://streamhouse/out/x.parquet$$", (), {}),
        ('"s3://streamhouse/out/x.parquet"', (), {}),
        ("('s3://streamhouse/out/' || 'x.parquet')", (), {}),
        ("?", (2, "s3://streamhouse/out/x.parquet"), {}),
        ("$2", (2, "s3://streamhouse/out/x.parquet"), {}),
        ("$url", (), {"low": 2, "url": "s3://streamhouse/out/x.parquet"}),
        ("/* to */ 's3://streamhouse/out/x.parquet' -- to 'y'\n", (), {}),
    ],
)
def test_ways_to_say_where(
    shop_on_s3: streamhouse.Log,
    server: FakeS3Server,
    tmp_path: Path,
    target: str,
    values: tuple[Any, ...],
    parameters: dict[str, Any],
) -> None:
    low = {"?": "?", "$2": "$1", "$url": "$low"}.get(target, "2")
    query = f"copy (select offset from orders where offset > {low}) to {target} (format parquet)"
    assert shop_on_s3.sql(query, *values, **parameters).fetchall() == [(3,)]
    assert rows_of(server, tmp_path, "out/x.parquet") == [(3,), (4,), (5,)]


def test_a_pivot(shop_on_s3: streamhouse.Log, server: FakeS3Server) -> None:
    """Of which DuckDB makes several statements."""
    pivot = f"pivot (select who from ({AMOUNTS})) on who using count(*)"
    shop_on_s3.sql(f"/* who */ copy ({pivot}) to 's3://streamhouse/out/pivot.csv'")
    assert server.buckets["streamhouse"]["out/pivot.csv"].content == b"u0,u1,u2\n2,2,2\n"
    assert shop_on_s3.sql(pivot).columns == ["u0", "u1", "u2"]
    rows = shop_on_s3.sql(f"copy ({pivot}) to 's3://streamhouse/out/pivot' (format csv, partition_by (u0))")
    assert rows.fetchall() == []
    assert keys(server, "out/pivot/") == ["u0=2/data_0.csv"]


def test_files_of_this_machine_are_duckdbs(shop_on_s3: streamhouse.Log, tmp_path: Path) -> None:
    for target in (f"{tmp_path}/local.csv", f"file://{tmp_path}/url.csv"):
        shop_on_s3.sql(f"copy (select 1 as n) to '{target}'")
    assert (tmp_path / "local.csv").read_text() == (tmp_path / "url.csv").read_text() == "n\n1\n"


def test_a_script_copies_as_a_whole(
    shop_on_s3: streamhouse.Log, server: FakeS3Server, tmp_path: Path
) -> None:
    shop_on_s3.sql(
        f"""
        create or replace temp table t as {AMOUNTS}; -- to 's3://nowhere'
        copy (from t where amount < 2) to 's3://streamhouse/out/low.csv';
        copy (from t where amount >= 2) to 's3://streamhouse/out/high.csv';
        """
    )
    assert len(rows_of(server, tmp_path, "out/low.csv", "csv")) == 2
    assert len(rows_of(server, tmp_path, "out/high.csv", "csv")) == 4
    with pytest.raises(QueryError, match="Could not convert"):
        shop_on_s3.sql(
            "copy (select 1 as n) to 's3://streamhouse/out/never.csv'; create temp table t as select 'x'::int"
        )
    assert "out/never.csv" not in server.buckets["streamhouse"]


DAYS = f"select *, 'day ' || (amount // 3) as day from ({AMOUNTS})"


def test_a_folder_of_partitions(shop_on_s3: streamhouse.Log, server: FakeS3Server, tmp_path: Path) -> None:
    copy = f"copy ({DAYS}) to 's3://streamhouse/out/days' (format parquet, partition_by (day))"
    assert shop_on_s3.sql(copy).fetchall() == [(6,)]
    assert keys(server, "out/days/") == ["day=day%200/data_0.parquet", "day=day%201/data_0.parquet"]
    with pytest.raises(QueryError, match=r'Directory "s3://streamhouse/out/days" is not empty'):
        shop_on_s3.sql(copy)
    puts = server.requests["PUT"]
    with pytest.raises(QueryError, match="is not empty"):
        shop_on_s3.sql(copy.replace("(day))", "(day), overwrite false)"))
    assert server.requests["PUT"] == puts
    assert len(rows_of(server, tmp_path, "out/days/day=day%201/")) == 3


@pytest.mark.parametrize(
    ("option", "left"),
    [
        ("overwrite", ["day=day%201/data_0.parquet"]),
        ("overwrite true", ["day=day%201/data_0.parquet"]),
        ("overwrite_or_ignore", ["day=day%200/data_0.parquet", "day=day%201/data_0.parquet", "note.txt"]),
    ],
)
def test_a_folder_that_is_not_empty(
    shop_on_s3: streamhouse.Log, server: FakeS3Server, option: str, left: list[str]
) -> None:
    copy = f"copy ({DAYS}) to 's3://streamhouse/out/days' (format parquet, partition_by (day))"
    shop_on_s3.sql(copy)
    with fsspec.filesystem("s3", **server.storage_options).open("streamhouse/out/days/note.txt", "w") as file:
        file.write("hello")
    shop_on_s3.sql(
        f"copy ({DAYS} where amount = 5) to 's3://streamhouse/out/days/'"
        f" (format parquet, partition_by (day), {option})"
    )
    assert keys(server, "out/days/") == left


def test_what_is_appended_replaces_nothing(
    shop_on_s3: streamhouse.Log, server: FakeS3Server, tmp_path: Path
) -> None:
    for number in range(3):
        shop_on_s3.sql(
            f"copy (select {number} as n, 'x' as day) to 's3://streamhouse/out/log'"
            " (format csv, partition_by (day), append)"
        )
    assert len(keys(server, "out/log/")) == 3
    assert sorted(row[0] for row in rows_of(server, tmp_path, "out/log/day=x/", "csv")) == [0, 1, 2]


def test_names_of_files_are_those_there(shop_on_s3: streamhouse.Log) -> None:
    result = shop_on_s3.sql("copy (select 1 as n) to 's3://streamhouse/out/a.csv' (return_files)")
    assert result.fetchall() == [(1, ["s3://streamhouse/out/a.csv"])]
    result = shop_on_s3.sql(
        "copy (select 1 as n, 2 as k) to 's3://streamhouse/out/d'"
        " (format parquet, partition_by (k), return_stats)"
    )
    assert dict(zip(result.columns, result.fetchall()[0], strict=True))["filename"] == (
        "s3://streamhouse/out/d/k=2/data_0.parquet"
    )


def test_a_query_that_fails_leaves_nothing(shop_on_s3: streamhouse.Log, server: FakeS3Server) -> None:
    shop_on_s3.sql("copy (select 1 as n) to 's3://streamhouse/out/a.csv'")
    before = dict(server.buckets["streamhouse"])
    with pytest.raises(QueryError, match="Could not convert string 'u0'") as caught:
        shop_on_s3.sql("copy (select (value->>'user')::int from orders) to 's3://streamhouse/out/a.csv'")
    assert server.buckets["streamhouse"] == before
    assert tempfile.gettempdir() not in str(caught.value)
    with pytest.raises(QueryError) as caught:
        shop_on_s3.sql("copy (select 1) to 's3://streamhouse/out/a.zip' (format nonsense)")
    assert tempfile.gettempdir() not in str(caught.value)


def test_no_room_here_is_not_taken_for_no_room_there(tmp_path: Path) -> None:
    program = """
import resource
import streamhouse
import streamhouse.errors
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with streamhouse.Log("memory://", upkeep=False) as log:
    for target in ("x.csv' (format csv)", "x.parquet'", "y' (format csv, partition_by (part))"):
        try:
            log.sql(f"copy (select range % 3 as part, hash(range) from range(1_000_000)) to 'memory://b/{target}")
        except streamhouse.errors.QueryError as error:
            print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    said = done.stdout.splitlines()
    assert len(said) == 3
    for line, url in zip(said, ("memory://b/x.csv", "memory://b/x.parquet", "memory://b/y"), strict=True):
        assert line.startswith(f"QueryError the temporary folder {tmp_path} has no room")
        assert f"{url}: File too large; set TMPDIR" in line
    assert list(tmp_path.glob("streamhouse-copy-*")) == []


def test_an_upload_that_fails_leaves_nothing(shop_on_s3: streamhouse.Log, server: FakeS3Server) -> None:
    """But for what it had overwritten."""
    copy = f"copy ({AMOUNTS}) to 's3://streamhouse/out/all' (format parquet, partition_by (who), %s)"
    server.fault("PUT", "refuse", match="who=u1", times=None, status=403, code="AccessDenied")
    with pytest.raises(StoreAccessError, match=r"who=u1/data_0\.parquet") as caught:
        shop_on_s3.sql(copy % "overwrite_or_ignore")
    assert keys(server, "out/all/") == []
    assert server.storage_options["secret"] not in str(caught.value)
    server.clear_faults()
    shop_on_s3.sql(copy % "overwrite")
    assert len(keys(server, "out/all/")) == 3
    server.fault("PUT", "refuse", match="who=u1", times=None, status=403, code="AccessDenied")
    with pytest.raises(StoreAccessError):
        shop_on_s3.sql(copy % "overwrite, filename_pattern 'new_{i}'")
    assert keys(server, "out/all/") == [f"who=u{number}/data_0.parquet" for number in range(3)]


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("s3://key:s3cret@bucket/x.csv", InvalidUrlError, "credentials do not belong in the URL"),
        ("s3://bucket", InvalidUrlError, "names no file"),
        ("s3://bucket/x/", InvalidUrlError, "names no file"),
        ("s3://bucket/x//y.csv", InvalidUrlError, "an empty part"),
        ("s3://bucket//y.csv", InvalidUrlError, "an empty part"),
        ("s3://bucket/x.csv?s3cret", InvalidUrlError, "an s3 URL is"),
        ("https://host/x.csv", InvalidUrlError, "a web server stores nothing"),
        ("nowhere://x/y.csv", InvalidUrlError, "unknown protocol 'nowhere'"),
    ],
)
def test_urls_that_cannot_be(log: streamhouse.Log, url: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        log.sql(f"copy (select 1) to '{url}'")
    assert "s3cret" not in str(caught.value)


def test_any_filesystem_of_fsspec(shop: streamhouse.Log) -> None:
    memory = fsspec.filesystem("memory")
    try:
        shop.sql("copy (select count(*) as n from orders) to 'memory://exports/n.csv'")
        assert memory.cat("/exports/n.csv") == b"n\n12\n"
        shop.sql("copy (select 1 as n) to 'memory://n.csv'")
        assert memory.cat("/n.csv") == b"n\n1\n"
    finally:
        for path in ("/exports", "/n.csv"):
            if memory.exists(path):
                memory.rm(path, recursive=True)


def test_a_restricted_session_copies_nothing(shop: streamhouse.Log) -> None:
    with shop.sql_session(restricted=True) as session, pytest.raises(QueryRefusedError):
        session.sql("copy (select 1) to 'memory://x.csv'")
    assert not fsspec.filesystem("memory").exists("/x.csv")


def test_on_a_server_of_others(tmp_path: Path) -> None:
    pytest.importorskip("ministack")
    with ministack_server() as ministack:
        options = ministack.storage_options
        with streamhouse.Log("s3://streamhouse/copies", storage_options=options) as log:
            log.sql(
                "copy (select range as n, repeat(md5(range::varchar), 20) as pad from range(60000))"
                " to 's3://streamhouse/out/large.parquet' (compression uncompressed)"
            )
        filesystem = fsspec.filesystem("s3", **options)
        filesystem.get("streamhouse/out/large.parquet", str(tmp_path / "large.parquet"))
    assert (tmp_path / "large.parquet").stat().st_size > 32 << 20  # several parts
    found = duckdb.sql(f"select count(*), sum(n) from '{tmp_path}/large.parquet'").fetchall()
    assert found == [(60_000, 60_000 * 59_999 // 2)]


@pytest.mark.parametrize(
    ("statement", "target"),
    [
        (
            "copy t to 's3://b/x' (format csv)",
            Target("s3://b/x", "copy t to ", "(format csv)", frozenset({"format"}), None),
        ),
        ("copy t to 'x.csv'", None),
        ("copy t to x", None),
        ("copy (select 's3://b/x' as \"to\") to 'x.csv'", None),
        ("copy t from 's3://b/x'", None),
        ("copy t to 'file:///x.csv'", None),
        ("copy t to $1", None),
        ("create table u as pivot t on k to 's3://b/x'", None),
    ],
)
def test_targets(statement: str, target: Target | None) -> None:
    found = find_target(statement, None, lambda text: duckdb.sql(f"select {text}").fetchall()[0][0])
    assert found == target


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("(format parquet, partition_by (a, b), overwrite)", {"format", "partition_by", "overwrite"}),
        ("(PARTITION_BY a, OVERWRITE_OR_IGNORE 1)", {"partition_by", "overwrite_or_ignore"}),
        ("with (overwrite false, append true)", {"append"}),
        ("(kv_metadata {a: 'x, overwrite', b: 2}, header)", {"kv_metadata", "header"}),
        ("", set()),
    ],
)
def test_options(text: str, options: set[str]) -> None:
    found = find_target(f"copy t to 's3://b/x' {text}", None, lambda text: text.strip("'"))
    assert found is not None
    assert found.options == options
