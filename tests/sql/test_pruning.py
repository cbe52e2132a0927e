"""What a query reads: no more than it needs, by the requests and bytes that reached the store."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest

import streamhouse
from streamhouse.sql.arrays import Wrapper
from streamhouse.sql.extremes import rewritten
from streamhouse.sql.plan import plan
from streamhouse.sql.snapshot import view_of
from streamhouse.testing.clock import ManualRuntime
from tests.sql.conftest import BEGIN_MS, Cold

BEGIN = dt.datetime.fromtimestamp(BEGIN_MS / 1000, tz=dt.UTC)
BLOCKS = 40  # 20 in each of two partitions, 50 records in each


def at(seconds: float) -> dt.datetime:
    return BEGIN + dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("where", "values", "records", "blocks"),
    [
        ("true", (), 2000, 40),
        ("partition = 1", (), 1000, 20),
        ("partition in (1, 7)", (), 1000, 20),
        ("partition != 0 and topic = 'events'", (), 1000, 20),
        ("topic = 'other'", (), 0, 0),
        ("offset = 777", (), 2, 2),
        ("offset = 777 and partition = 0", (), 1, 1),
        ("offset = ? and partition = ?", (777, 0), 1, 1),
        ("offset in (3, 60, 61, 999)", (), 8, 6),
        ("offset >= 950", (), 100, 2),
        ("offset < 50", (), 100, 2),
        ("offset <= 50", (), 102, 4),
        ("offset between 49 and 50", (), 4, 4),
        ("not (offset >= 50)", (), 100, 2),
        ("offset < 50 or offset >= 950", (), 200, 4),
        ("partition = 1 or offset < 0", (), 1000, 20),
        ("offset > 5000", (), 0, 0),
        ("timestamp >= ?", (at(950),), 100, 2),
        ("timestamp >= ? and timestamp < ?", (at(100), at(160)), 120, 4),
        ("timestamp = ?", (at(100),), 2, 2),
        ("timestamp = ?", (at(100.0005),), 0, 0),
        ("timestamp between ? and ?", (at(99.5), at(100.5)), 2, 2),
        ("timestamp > ? and offset < 960 and partition = 0", (at(949),), 10, 1),
        ("timestamp is null", (), 0, 0),
        ("offset % 100 = 7", (), 20, 40),  # for DuckDB to apply
        ("offset = 777 or key = '5'", (), 4, 40),
        ("value->>'n' = '5' and partition = 0", (), 1, 20),
    ],
)
def test_blocks_that_are_read(
    cold: Cold, where: str, values: tuple[Any, ...], records: int, blocks: int
) -> None:
    read = cold.run(f"select count(key), sum((value->>'n')::int) from events where {where}", *values)
    assert read.rows[0][0] == records
    assert (read.gets, read.bytes) == (blocks, read.stats.bytes_read)
    assert read.stats.blocks_read == blocks
    for scan in read.stats.scans:  # none where DuckDB sees for itself that no row can fit
        assert scan.blocks == BLOCKS
        assert scan.bytes_stored > 0


def test_the_middle_of_a_result(cold: Cold) -> None:
    query = "select partition, offset, key from events where offset between 120 and 123 and partition = 1"
    assert cold.log.sql(query).fetchall() == [(1, offset, str(offset)) for offset in range(120, 124)]


def test_times_that_do_not_rise(log: streamhouse.Log) -> None:
    """Blocks are chosen by the times that are in them, in whatever order they came."""
    log.create_topic("t")
    seconds = [5, 900, 7, 6, 300, 8]
    with log.producer() as producer:
        for second in seconds:
            times = [BEGIN_MS + 1000 * second, BEGIN_MS + 1000 * second + 500]
            producer.send_many("t", ["a", "b"], timestamps=times).result()
    for low, high in ((5, 6), (6, 8), (300, 300.2), (899, 901), (0, 1000), (10, 20)):
        query = "select count(value) from t where timestamp >= ? and timestamp <= ?"
        result = log.sql(query, at(low), at(high))
        assert result.fetchall() == [(sum(low <= s + d <= high for s in seconds for d in (0, 0.5)),)]
    result = log.sql("select count(value) from t where timestamp < ?", at(6))
    assert result.fetchall() == [(2,)]
    assert result.stats.scans[0].blocks_read + result.stats.scans[0].blocks_cached == 1


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from events",
        "select count(*) from events where partition = 1",
        "select count(*) from events where offset > 10 and offset < 700",
        "select partition, count(*) from events group by partition",
        "select min(offset), max(offset) from events",
        "select min(timestamp), max(timestamp), count(*) from events",
        "select partition, max(timestamp) - min(timestamp), count(*) n from events group by all",
        "select max(partition), min(topic), max(offset) from events having count(*) > 3",
        "select sum(offset), count(distinct partition) from events",
        "select count(*) from events where timestamp >= '2026-01-01' and timestamp < '2036-01-01'",
    ],
)
def test_what_references_know_is_not_read(cold: Cold, query: str) -> None:
    read = cold.run(query)
    assert (read.gets, read.bytes) == (0, 0)
    (scan,) = read.stats.scans
    assert (scan.blocks_read, scan.blocks_cached) == (0, 0)
    assert scan.blocks_unread > 0
    assert sorted(read.rows) == sorted(plainly(cold.log, query))


def plainly(log: streamhouse.Log, query: str) -> list[tuple[Any, ...]]:
    """The same query on the records themselves."""
    log.sql("create or replace table plain as select * from events")
    return log.sql(query.replace("from events", "from plain as events")).fetchall()


def test_a_minute_of_a_day(cold: Cold) -> None:
    result = cold.log.sql(
        "select count(*) from events where timestamp >= ? and timestamp < ?", at(120), at(140)
    )
    assert result.fetchall() == [(40,)]
    (scan,) = result.stats.scans
    assert scan.blocks_read == 2
    assert scan.bytes_read < 0.07 * scan.bytes_stored


def test_small_queries_are_answered_from_memory(cold: Cold) -> None:
    query = "select value from events where partition = 0 and offset = 77"
    first = cold.run(query)
    assert (first.gets, first.stats.scans[0].blocks_read) == (1, 1)
    again = cold.run(query)
    assert again.rows == first.rows
    assert (again.gets, again.stats.scans[0].blocks_cached, again.stats.bytes_read) == (0, 1, 0)


def test_limits_stop_the_reading(cold: Cold) -> None:
    read = cold.run("select value from events limit 3")
    assert len(read.rows) == 3
    assert 1 <= read.gets < BLOCKS


def test_a_topic_that_a_query_only_mentions_is_not_read(cold: Cold) -> None:
    read = cold.run("select 'events' as events")
    assert (read.rows, read.gets, read.stats.scans) == ([("events",)], 0, ())


# --- exact, whatever became of the records ----------------------------------------------------------------


QUERIES = (
    "select count(*) from t",
    "select count(*), min(offset), max(offset), min(timestamp), max(timestamp) from t",
    "select max(timestamp) from t",
    "select min(timestamp) from t",
    "select min(offset), count(*) + 1, max(offset) - min(offset) from t",
    "select partition, count(*) n, min(offset), max(offset), min(timestamp) from t group by 1 order by 1",
    "select partition, max(timestamp) from t group by all order by partition limit 2",
    "select topic, count(*), max(offset) from t group by topic having count(*) > 2 order by count(*)",
    "select count(*), max(timestamp) from t where partition = 1",
    "select count(*), max(offset) from t where partition in (0, 2) and topic = 't'",
    "select max(offset), count(*) from t where offset > 7",
    "select max(timestamp), count(*) from t where offset < 30 and partition = 0",
    "select max(partition), max(offset) from t",
    "select partition from t where offset >= 3 order by all limit 5",
    "select distinct partition, max(offset) over (partition by partition) from t order by all",
    "select partition as max, topic, 1 as offset from t order by all limit 4",
    "select max(distinct offset), count(distinct offset) from t",
    "select count(*) filter (offset > 4), max(offset) from t",
    "select count(*), max(offset) from (from t) where partition < 2",
    "select (select max(offset) from t), count(*) from t",
)


def check(log: streamhouse.Log) -> None:
    rows = [(r.partition, r.offset, r.timestamp) for r in log.read("t")]
    log.sql(
        'create or replace table plain (topic varchar, partition int, "offset" bigint, timestamp timestamptz)'
    )
    if rows:
        values = ", ".join(f"('t', {p}, {o}, make_timestamptz({t} * 1000))" for p, o, t in rows)
        log.sql(f"insert into plain values {values}")
    for query in QUERIES:
        found = log.sql(query).fetchall()
        assert found == log.sql(query.replace("from t", "from plain as t")).fetchall(), query


@pytest.mark.parametrize("seed", range(3))
def test_counts_and_extremes_are_exact(seed: int) -> None:
    """Trimmed anywhere, compacted by key so that offsets have gaps, put together, with times in any order."""
    dice = random.Random(seed)
    runtime = ManualRuntime(seed)
    with streamhouse.Log("memory://", upkeep=False, runtime=runtime) as log:
        log.create_topic("t", partitions=4, cleanup_policy="compact,delete")
        check(log)
        with log.producer() as producer:
            for step in range(10):
                for partition in range(3):
                    count = dice.randrange(1, 8)
                    producer.send_many(
                        "t",
                        [dice.choice([b"x", None]) for _ in range(count)],
                        keys=[f"k{dice.randrange(12)}" for _ in range(count)],
                        timestamps=[BEGIN_MS + dice.randrange(100_000) for _ in range(count)],
                        partition=partition,
                    ).result()
                if dice.random() < 0.3:
                    partition = dice.randrange(3)
                    held = log.topic("t").partitions[partition].info()
                    log.delete_records("t", {partition: dice.randint(held.log_start, held.high_watermark)})
                if dice.random() < 0.3:
                    runtime.advance(2 * 86_400)
                    log.upkeep()
                if step % 3 == 2:
                    check(log)
            log.delete_records("t", before="latest")
            check(log)


def test_the_latest_time_is_that_of_a_record_that_is_there() -> None:
    """A record from the future was replaced; the large block after its own was left as it was."""
    pads = [random.Random(n).randbytes(1000).hex() for n in range(1100)]
    with streamhouse.Log("memory://", upkeep=False) as log:
        log.create_topic("t", cleanup_policy="compact")
        with log.producer() as producer:
            for block in range(2):
                keys = [f"k{block}-{n}" for n in range(1100)]
                times = [BEGIN_MS + n for n in range(1100)]
                if block == 0:
                    keys[5], times[5] = "a", BEGIN_MS + 900_000
                producer.send_many("t", pads, keys=keys, timestamps=times).result()
            log.upkeep()
            producer.send("t", "new", key="a", timestamp=BEGIN_MS + 100_000).result()
        assert log.sql("select max(timestamp) from t").fetchall() == [(at(900),)]
        assert log.upkeep().segments_written > 0
        assert log.sql("select max(timestamp) from t").fetchall() == [(at(100),)]
        assert log.sql("select partition, max(timestamp) from t group by all").fetchall() == [(0, at(100))]
        check(log)


@pytest.mark.parametrize(
    ("query", "rows", "read"),
    [
        ('select max(place."offset") from c', [(50,)], True),
        ('select max(c.place."offset"), count(*) from c', [(50, 2)], True),
        ("select count(*) from c where place.partition = 7", [(1,)], True),
        (
            "select place.partition, count(*) from c group by place.partition order by all",
            [(7, 1), (8, 1)],
            True,
        ),
        ('select count(*) from c having max(place."offset") > 30', [(2,)], True),
        ('select topic from c group by topic order by max(place."offset")', [("c",)], True),
        ('select max(C."Offset"), min(c."offset") from c', [(1, 0)], False),
        ('select max(place."offset") from c as place', [(1,)], False),  # a relation comes before a column
        ("select place.partition, count(*) from c place group by place.partition", [(0, 2)], False),
        ('select max("offset") as m from c where c.partition = 0 order by m', [(1,)], False),
    ],
)
def test_fields_of_structs_are_no_columns(
    log: streamhouse.Log, query: str, rows: list[tuple[Any, ...]], read: bool
) -> None:
    log.create_topic("c", schema={"place": 'STRUCT("offset" BIGINT, "partition" BIGINT, topic VARCHAR)'})
    with log.producer() as producer:
        places = [{"offset": 50 - n, "partition": 7 + n, "topic": "x"} for n in range(2)]
        producer.send_many("c", [{"place": place} for place in places]).result()
    result = log.sql(query)
    assert result.fetchall() == rows
    (scan,) = result.stats.scans
    assert (scan.blocks_unread == 0) == read
    ((tree,),) = log.sql("select json_serialize_sql($1)", query).fetchall()
    assert (rewritten(tree, "c", result.columns) is None) == read


def test_blocks_that_need_not_be_read_become_few_arrays(cold: Cold) -> None:
    state = cold.log._commits.state
    topic = view_of(state, state.topics[state.topic_ids["events"]])
    for columns, arrays in ((("partition", "offset"), 2), (("topic",), 2)):
        wrapper = Wrapper("events", columns, None, raw=False)
        made = list(wrapper.unread(plan(topic, columns, ())))
        assert [array.length for array in made] == [1000] * arrays
    scattered = [scan for index, scan in enumerate(plan(topic, ("offset",), ())) if index % 2]
    made = list(Wrapper("events", ("offset",), None, raw=False).unread(scattered))
    assert [array.length for array in made] == [50] * 20
    made = list(Wrapper("events", ("partition",), None, raw=False).unread(scattered))
    assert [array.length for array in made] == [500, 500]
