"""The schema ``streamhouse``: the catalog as tables, true to what the log itself says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

import streamhouse
from streamhouse.format.commit import BlockEntry, Commit, Flush
from streamhouse.format.operations import (
    AddToTransaction,
    Append,
    AppendPart,
    EndTransaction,
    Replace,
    Transaction,
)
from streamhouse.sql.tables import TABLES, rows_of_commits
from streamhouse.testing.clock import ManualRuntime


@pytest.fixture
def runtime() -> ManualRuntime:
    return ManualRuntime()


@pytest.fixture
def log(runtime: ManualRuntime) -> Iterator[streamhouse.Log]:
    with streamhouse.Log("memory://", upkeep=False, runtime=runtime) as log:
        log.create_topic("orders", partitions=3, retention_bytes=1 << 40)
        log.create_topic("empty", cleanup_policy="compact")
        with log.producer() as producer:
            for number in range(4):
                producer.send_many(
                    "orders", [b"x" * 10] * 5, partition=number % 2, timestamps=1000 + number
                ).result()
        yield log


def rows(log: streamhouse.Log, query: str, *values: Any) -> list[dict[str, Any]]:
    result = log.sql(query, *values)
    return [dict(zip(result.columns, row, strict=True)) for row in result.fetchall()]


def time_of(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, tz=dt.UTC)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_its_columns(log: streamhouse.Log, name: str) -> None:
    assert log.sql(f"from streamhouse.{name}").columns == list(TABLES[name])
    assert log.sql(f"from STREAMHOUSE.{name.upper()}").columns == list(TABLES[name])


def test_the_tables_that_there_are() -> None:
    assert set(TABLES) == {
        *("topics", "partitions", "segments", "consumer_groups", "group_members", "consumer_offsets"),
        *("producers", "commits", "settings", "queries", "requests"),
    }


def test_topics(log: streamhouse.Log) -> None:
    empty, orders = rows(log, "from streamhouse.topics order by topic")
    assert empty == {
        "topic": "empty",
        "id": log.topic("empty").id,
        "partitions": 1,
        "created": log.topic("empty").created,
        "records": 0,
        "blocks": 0,
        "stored_bytes": 0,
        "raw_bytes": 0,
        "cleanup_policy": "compact",
        "retention_ms": None,
        "retention_bytes": None,
    }
    infos = [partition.info() for partition in log.topic("orders").partitions]
    assert (orders["records"], orders["blocks"], orders["raw_bytes"]) == (20, 4, 200)
    assert orders["stored_bytes"] == sum(info.stored_bytes for info in infos)
    assert (orders["cleanup_policy"], orders["retention_bytes"]) == ("delete", 1 << 40)


def test_partitions(log: streamhouse.Log) -> None:
    log.delete_records("orders", {0: 7})
    found = rows(log, "from streamhouse.partitions where topic = 'orders' order by partition")
    for row, partition in zip(found, log.topic("orders").partitions, strict=True):
        info = partition.info()
        assert row["partition"] == partition.number
        assert (row["log_start"], row["high_watermark"]) == (info.log_start, info.high_watermark)
        assert (row["blocks"], row["stored_bytes"]) == (info.blocks, info.stored_bytes)
        assert row["records"] == info.high_watermark - info.log_start
    assert [row["last_timestamp"] for row in found] == [time_of(1002), time_of(1003), None]


def test_segments(log: streamhouse.Log) -> None:
    found = rows(log, "from streamhouse.segments order by partition, base_offset")
    assert [(r["partition"], r["base_offset"], r["next_offset"], r["records"]) for r in found] == [
        (0, 0, 5, 5),
        (0, 5, 10, 5),
        (1, 0, 5, 5),
        (1, 5, 10, 5),
    ]
    assert all(row["object"].startswith("log/") for row in found)
    assert all(
        len(log._store.get(r["object"], r["position"], r["position"] + r["stored_bytes"])) for r in found
    )
    log.upkeep()
    (first, *_) = rows(log, "from streamhouse.segments order by partition, base_offset")
    assert (first["base_offset"], first["next_offset"]) == (0, 10)
    assert first["object"].startswith("seg/")


def test_groups(log: streamhouse.Log) -> None:
    assert rows(log, "from streamhouse.consumer_groups") == []
    with log.consumer("orders", group="g", instance_id="one", auto_commit=False) as consumer:
        records = consumer.poll(timeout=5, max_records=3)
        consumer.commit(records[-1], metadata="here")
        (group,) = rows(log, "from streamhouse.consumer_groups")
        assert group == {
            "group": "g",
            "state": "stable",
            "generation": consumer.generation,
            "assignor": "cooperative-sticky",
            "members": 1,
            "partitions": 3,
        }
        (member,) = rows(log, "from streamhouse.group_members")
        assert (member["member"], member["instance"]) == (consumer.member_id, "one")
        assert (member["topics"], member["partitions"]) == (["orders"], 3)
        offsets = rows(log, "from streamhouse.consumer_offsets order by partition")
        last = records[-1]
        mine = next(row for row in offsets if row["partition"] == last.partition)
        assert (mine["group"], mine["topic"], mine["offset"]) == ("g", "orders", last.offset + 1)
        assert (mine["high_watermark"], mine["lag"]) == (10, 10 - last.offset - 1)
        assert (mine["owner"], mine["metadata"]) == (consumer.member_id, "here")
        assert mine["lag"] == log.groups["g"].lag["orders", last.partition]


def test_lag_counts_what_is_still_there(log: streamhouse.Log) -> None:
    with log.consumer("orders", group="g", auto_commit=False) as consumer:
        consumer.poll(timeout=5, max_records=1)
        consumer.commit({("orders", 0): 2, ("orders", 1): 10})
    log.delete_records("orders", {0: 6})
    lags = "select partition, lag, owner from streamhouse.consumer_offsets order by partition"
    assert log.sql(lags).fetchall() == [(0, 4, None), (1, 0, None)]
    assert log.sql("select state, members from streamhouse.consumer_groups").fetchall() == [("empty", 0)]


def test_producers(log: streamhouse.Log) -> None:
    before = len(rows(log, "from streamhouse.producers"))
    with log.producer(transactional_id="shop") as producer:
        with producer.transaction() as transaction:
            transaction.send("orders", b"x", partition=2)
        (named,) = rows(log, "from streamhouse.producers where transactional_id = 'shop'")
        assert named["epoch"] >= 0
        assert len(rows(log, "from streamhouse.producers")) == before + 1


def test_commits(log: streamhouse.Log) -> None:
    found = rows(log, "from streamhouse.commits order by commit")
    assert [row["commit"] for row in found] == list(range(1, len(found) + 1))
    assert [row["operations"] for row in found] == [["CreateTopic"], ["CreateTopic"], *4 * [["Append"]]]
    assert [row["records"] for row in found] == [0, 0, 5, 5, 5, 5]
    assert sum(row["raw_bytes"] for row in found) == 200
    assert all(row["flushes"] == 1 and row["agent"] for row in found)


def test_commits_count_what_their_appends_bring() -> None:
    def append(*firsts: int) -> Append:
        return Append(1, -1, 0, tuple(AppendPart(number, 0, first, 1) for number, first in enumerate(firsts)))

    def row(*operations: Any) -> tuple[Any, ...]:
        blocks = tuple(BlockEntry(0, 0, 9, 10**index, 0, 0, 7 * 10**index) for index in range(4))
        commit = Commit(b"", "a", 0, 0, b"", (Flush("a", 0, operations, blocks),))
        ((*_, names, records, raw_bytes),) = rows_of_commits([(1, commit)])
        assert names == [type(operation).__name__ for operation in operations]
        return records, raw_bytes

    replace = Replace(1, 0, 0, 9, 0, (0, 5), 2)
    assert row(replace) == (0, 0)
    assert row(replace, append(1)) == (10, 70)
    assert row(append(0), append(1, 2), replace) == (111, 777)
    assert row(Transaction("", 1, 0, (append(1), append(3)), ())) == (1010, 7070)
    assert row(AddToTransaction("x", 1, 0, (append(2),), (), 0)) == (100, 700)
    assert row(EndTransaction("x", 1, 0, 0, commit=True)) == (0, 0)


def test_settings(log: streamhouse.Log) -> None:
    found = dict(log.sql("from streamhouse.settings").fetchall())
    assert found["upkeep"] == "False"
    assert found["request_concurrency"] == str(log.settings.request_concurrency)
    assert found["linger_seconds"] is None


def test_requests(log: streamhouse.Log) -> None:
    found = {row["request"]: row for row in rows(log, "from streamhouse.requests")}
    counts = log.stats().counts
    assert set(found) == {"put", "get", "head", "list", "delete"}
    assert found["put"]["count"] == counts.puts
    assert found["put"]["bytes"] == counts.bytes_written > 0
    assert found["put"]["dollars"] == pytest.approx(counts.puts * 5e-6)
    assert found["get"]["count"] <= counts.gets


def test_queries(log: streamhouse.Log) -> None:
    log.sql("select count(value) from orders").fetchall()
    with pytest.raises(streamhouse.errors.QueryError):
        log.sql("select 'x'::int from orders").fetchall()
    log.sql("select 1")  # never fetched
    found = rows(log, "from streamhouse.queries order by started, query")
    texts = {row["query"]: row for row in found}
    assert "select count(value) from orders" in texts
    ran = texts["select count(value) from orders"]
    assert (ran["state"], ran["blocks_read"], ran["commit"]) == ("done", 4, log.sql("select 1").commit)
    assert ran["bytes_read"] > 0
    failed = texts["select 'x'::int from orders"]
    assert failed["state"] == "failed"
    assert "Could not convert" in failed["error"]
    assert texts["from streamhouse.queries order by started, query"]["state"] == "running"


def test_restricted_sessions_see_their_own_queries_only(log: streamhouse.Log) -> None:
    log.sql("select 'my secret'")
    with log.sql_session(restricted=True) as session:
        assert session.sql("select query from streamhouse.queries").fetchall() == [
            ("select query from streamhouse.queries",)
        ]
    assert len(log.sql("from streamhouse.queries").fetchall()) == 3


def test_tables_join_topics_and_each_other(log: streamhouse.Log) -> None:
    query = """
        select t.topic, count(distinct p.partition), sum(s.records)
        from streamhouse.topics t
        join streamhouse.partitions p using (topic)
        left join streamhouse.segments s on s.topic = p.topic and s.partition = p.partition
        group by all order by all
    """
    assert log.sql(query).fetchall() == [("empty", 1, None), ("orders", 3, 20)]
    query = """
        select count(*) from orders join streamhouse.partitions p using (topic, partition) where p.records > 5
    """
    assert log.sql(query).fetchall() == [(20,)]


def test_tables_are_of_the_commit_of_the_query(log: streamhouse.Log) -> None:
    before = log.sql("select 1").commit
    result = log.sql("select sum(records) from streamhouse.segments")
    with log.producer() as producer:
        producer.send("orders", "x").result(10)
    assert result.fetchall() == [(20,)]
    assert log.sql("select sum(records) from streamhouse.segments").fetchall() == [(21,)]
    then = log.sql("select max(commit) from streamhouse.commits", as_of=before)
    assert then.fetchall() == [(before,)]
