"""The same queries on a log and on the same rows in a plain DuckDB table: the answers have to be the same.

``python -m tests.sql.differential --queries 5000 --seed 7`` is the long run.
"""

from __future__ import annotations

import argparse
import random
import threading
from typing import Any

import duckdb
import pyarrow as pa

import streamhouse
from streamhouse.testing.clock import ManualRuntime
from tests.sql.conftest import BEGIN_MS
from tests.sql.queries import SPAN_MS, Queries

KEYS = (None, b"", b"k1", b"k2", b"k3", "ü".encode(), b"\xff")
VALUES = (
    *(None, b"", b"no JSON", b"\xff\x00", b"[1, 2]", b'"text"', b"7", b"{}"),
    *(b'{"n": null, "s": "x"}', b'{"n": 3, "s": "k1", "f": 1.5}', b'{"s": "\xc3\xbc", "n": "4"}'),
)
_SCHEMA = pa.schema(
    {
        "topic": pa.string(),
        "partition": pa.int32(),
        "offset": pa.int64(),
        "timestamp": pa.timestamp("ms", "UTC"),
        "key": pa.string(),
        "value": pa.string(),
        "headers": pa.list_(pa.struct({"name": pa.string(), "value": pa.string()})),
    }
)


class Differential:
    """A log with the topics ``a`` and ``b``, and their rows as DuckDB tables.

    Args:
        seed: Of records and queries.
    """

    def __init__(self, seed: int) -> None:
        self._writing = random.Random(seed)
        self._queries = Queries(seed)
        self.runtime = ManualRuntime(seed, time_ms=BEGIN_MS)
        self.log = streamhouse.Log("memory://", upkeep=False, runtime=self.runtime)
        self.log.create_topic("a", partitions=3)
        self.log.create_topic("b", partitions=2, cleanup_policy="compact,delete")
        self.log.sql("create macro field(document, name) as document->>name")
        self._plain = duckdb.connect()
        self._plain.execute("set TimeZone = 'UTC'")
        self._plain.execute(
            "create macro field(document, name) as"
            " case when json_valid(document) then json_extract_string(document, name) end"
        )
        self.checked = 0
        self.rows = 0

    def close(self) -> None:
        self.log.close()
        self._plain.close()

    def write(self, records: int) -> None:
        """Write records of all kinds, a few at a time."""
        dice = self._writing
        with self.log.producer() as producer:
            while records > 0:
                count = min(records, dice.randint(1, 6))
                records -= count
                topic = dice.choice("ab")
                producer.send_many(
                    topic,
                    [self._value() for _ in range(count)],
                    keys=dice.choices(KEYS[1:] if topic == "b" else KEYS, k=count),
                    headers=[self._headers() for _ in range(count)],
                    timestamps=[self._time() for _ in range(count)],
                    partition=dice.randrange(3 if topic == "a" else 2),
                ).result()

    def load(self) -> None:
        """Copy the log into plain tables, by way of a reader of records."""
        for topic in "ab":
            records = [
                {
                    "topic": record.topic,
                    "partition": record.partition,
                    "offset": record.offset,
                    "timestamp": record.timestamp,
                    "key": text_of(record.key),
                    "value": text_of(record.value),
                    "headers": [{"name": name, "value": text_of(value)} for name, value in record.headers],
                }
                for record in self.log.read(topic)
            ]
            table = pa.Table.from_pylist(records, _SCHEMA)
            self._plain.register("table_now", table)
            self._plain.execute(f"create or replace table {topic}_all as from table_now")
            self._plain.unregister("table_now")
            self._plain.execute(f"create or replace view {topic} as from {topic}_all")

    def check(self, count: int) -> None:
        """Compare the answers to some queries."""
        for _ in range(count):
            self._compare(self._queries.query())

    def check_while_writing(self, count: int) -> None:
        """Compare answers as of whichever commit a query happened to see."""
        seen = []
        done = threading.Event()

        def keep_writing() -> None:
            for _ in range(30):
                self.write(4)
                if done.wait(0.02):
                    break

        writer = threading.Thread(target=keep_writing)
        writer.start()
        try:
            for _ in range(count):
                query = self._queries.query()
                result = self.log.sql(query)
                seen.append((query, result.commit, _outcome(result.fetchall)))
        finally:
            done.set()
            writer.join()
        self.load()
        for query, commit, outcome in seen:
            self._show_as_of(commit)
            self._judge(query, outcome)
        assert len({commit for _, commit, _ in seen}) > 1

    def _show_as_of(self, commit: int) -> None:
        watermarks = "select partition, high_watermark from streamhouse.partitions where topic = ?"
        for topic in "ab":
            ends = self.log.sql(watermarks, topic, as_of=commit).fetchall()
            within = " or ".join(f'("partition" = {p} and "offset" < {end})' for p, end in ends)
            self._plain.execute(f"create or replace view {topic} as select * from {topic}_all where {within}")

    def _compare(self, query: str) -> None:
        self._judge(query, _outcome(lambda: self.log.sql(query).fetchall()))

    def _judge(self, query: str, found: Any) -> None:
        expected = _outcome(lambda: self._plain.execute(query).fetchall())
        if " order by " in query and " over " not in query and "list(" not in query:
            assert found == expected, query
        else:
            assert _sorted(found) == _sorted(expected), query
        self.checked += 1
        self.rows += len(expected)

    def _time(self) -> int:
        """Mostly full seconds, so that conditions meet them exactly."""
        second = BEGIN_MS + 1000 * self._writing.randrange(SPAN_MS // 1000)
        return second + self._writing.choice([0, 0, 0, 1, 7])

    def _value(self) -> bytes | None:
        if self._writing.random() < 0.5:
            number = self._writing.randrange(10)
            return b'{"n": %d, "s": "k%d", "f": %d.25, "deep": {"x": [1]}}' % (number, number % 4, number)
        return self._writing.choice(VALUES)

    def _headers(self) -> list[tuple[str, bytes | None]]:
        names = self._writing.choices(["h", "ü", ""], k=self._writing.choice([0, 0, 1, 2]))
        return [(name, self._writing.choice([None, b"", b"v", b"\xfe"])) for name in names]


def text_of(value: bytes | None) -> str | None:
    """A value as SQL shows it, said in another way."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        plain = [
            chr(code) if 32 <= code < 127 and chr(code) not in "\\'\"" else f"\\x{code:02X}" for code in value
        ]
        return "".join(plain)


def _outcome(work: Any) -> list[Any]:
    """The rows, or that there was an error: a text that is no number, say."""
    try:
        rows: list[Any] = work()
    except (streamhouse.errors.QueryError, duckdb.Error) as error:
        return [("error", str(error).partition(" ")[0])]
    return rows


def _sorted(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=repr)


def story(seed: int, queries: int) -> Differential:
    """Check a log in every state that it goes through.

    Args:
        seed: Of everything that is random.
        queries: How many in all.
    """
    share = max(1, queries // 5)
    differential = Differential(seed)
    try:
        differential.write(200)
        differential.load()
        differential.check(share)
        differential.check_while_writing(share)
        differential.load()
        differential.runtime.advance(7200)
        assert differential.log.upkeep().segments_written > 0  # compacted, by size and by key
        differential.load()
        differential.check(share)
        differential.log.delete_records("a", {0: 11, 1: 7})
        differential.log.delete_records("b", {0: 13})
        differential.load()
        differential.check(share)
        differential.write(60)
        differential.runtime.advance(7200)
        differential.log.upkeep()
        differential.load()
        differential.check(share)
    finally:
        differential.close()
    return differential


def main() -> None:
    """Run stories until enough queries were compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    compared = 0
    seed = options.seed
    while compared < options.queries:
        told = story(seed, 500)
        compared += told.checked
        print(f"seed {seed}: {told.checked} queries, {told.rows} rows; {compared} in all", flush=True)
        seed += 1


if __name__ == "__main__":
    main()
