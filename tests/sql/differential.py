"""The same queries on a log and on the same rows in a plain DuckDB table: the answers have to be the same.

``python -m tests.sql.differential --queries 5000 --seed 7`` is the long run.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import threading
import uuid
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

import streamhouse
from streamhouse.sql.result import Result
from streamhouse.testing.clock import ManualRuntime
from tests.sql.conftest import BEGIN_MS
from tests.sql.queries import SPAN_MS, Queries
from tests.sql.typed_queries import DAYS, TEXTS, TypedQueries

KEYS = (None, b"", b"k1", b"k2", b"k3", "ü".encode(), b"\xff")
VALUES = (
    *(None, b"", b"no JSON", b"\xff\x00", b"[1, 2]", b'"text"', b"7", b"{}"),
    *(b'{"n": null, "s": "x"}', b'{"n": 3, "s": "k1", "f": 1.5}', b'{"s": "\xc3\xbc", "n": "4"}'),
)
_FIELDS = {
    "at": ("TIMESTAMP", pa.timestamp("us")),
    "day": ("DATE", pa.date32()),
    "n": ("INTEGER", pa.int32()),
    "s": ("VARCHAR", pa.string()),
    "f": ("DOUBLE", pa.float64()),
    "d": ("DECIMAL(9,2)", pa.decimal128(9, 2)),
    "z": ("TIMESTAMPTZ", pa.timestamp("us", "UTC")),
    "ok": ("BOOLEAN", pa.bool_()),
    "tags": ("VARCHAR[]", pa.list_(pa.string())),
    "place": ("STRUCT(x DOUBLE)", pa.struct({"x": pa.float64()})),
    "u": ("UUID", pa.string()),
    "tiny": ("TINYINT", pa.int8()),
    "small": ("SMALLINT", pa.int16()),
    "large": ("BIGINT", pa.int64()),
    "utiny": ("UTINYINT", pa.uint8()),
    "usmall": ("USMALLINT", pa.uint16()),
    "uint": ("UINTEGER", pa.uint32()),
    "ularge": ("UBIGINT", pa.uint64()),
    "r": ("FLOAT", pa.float32()),
    "wide": ("DECIMAL(38,10)", pa.decimal128(38, 10)),
    "clock": ("TIME", pa.time64("us")),
    "seconds": ("TIMESTAMP_S", pa.timestamp("s")),
    "millis": ("TIMESTAMP_MS", pa.timestamp("ms")),
    "raw": ("BLOB", pa.binary()),
    "j": ("JSON", pa.string()),
    "m": ("MAP(VARCHAR, INTEGER)", pa.map_(pa.string(), pa.int32())),
}
_FIELDS_LATER = _FIELDS | {
    "n": ("BIGINT", pa.int64()),
    "d": ("DECIMAL(12,3)", pa.decimal128(12, 3)),
    "day": ("TIMESTAMP", pa.timestamp("us")),
    "late": ("VARCHAR", pa.string()),
    "tiny": ("SMALLINT", pa.int16()),
    "usmall": ("INTEGER", pa.int32()),
    "r": ("DOUBLE", pa.float64()),
    "m": ("MAP(VARCHAR, BIGINT)", pa.map_(pa.string(), pa.int64())),
}
_COLUMNS = pa.schema(
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
    """A log with the topics ``a``, ``b`` and a typed one, ``c``; and their rows as DuckDB tables.

    Args:
        seed: Of records and queries.
    """

    def __init__(self, seed: int) -> None:
        self._writing = random.Random(seed)
        self._choosing = random.Random(seed)
        self._queries = Queries(seed)
        self._typed_queries = TypedQueries(seed, _FIELDS_LATER)
        self.runtime = ManualRuntime(seed, time_ms=BEGIN_MS)
        memory = {"cache_bytes_max": 0} if seed % 2 else {}
        self.log = streamhouse.Log("memory://", upkeep=False, runtime=self.runtime, **memory)
        self.log._reader._parts._gap = 0  # look into the headers of the smallest blocks
        self.log.create_topic("a", partitions=3)
        self.log.create_topic("b", partitions=2, cleanup_policy="compact,delete")
        self._fields = _FIELDS
        self.log.create_topic("c", partitions=2, schema=self._schema())
        self._days = 0
        self.log.sql("create macro field(document, name) as document->>name; create macro edge() as 300")
        self._plain = duckdb.connect()
        self._plain.execute("set TimeZone = 'UTC'")
        self._plain.execute(
            "create macro field(document, name) as"
            " case when json_valid(document) then json_extract_string(document, name) end;"
            "create macro edge() as 300"
        )
        self.checked = 0
        self.rows = 0
        self.ruled_out = 0

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

    def write_typed(self, records: int) -> None:
        """Write typed records, some of each day at a time."""
        dice = self._writing
        with self.log.producer() as producer:
            while records > 0:
                count = min(records, dice.randint(1, 9))
                records -= count
                self._days += 1
                producer.send_many(
                    "c",
                    [self._typed_value(self._days % DAYS) for _ in range(count)],
                    keys=dice.choices(KEYS, k=count),
                    timestamps=[self._time() for _ in range(count)],
                    partition=dice.randrange(2),
                ).result()

    def widen(self) -> None:
        """Change the schema of the typed topic."""
        self._fields = _FIELDS_LATER
        self.log.alter_topic("c", schema=self._schema())

    def load(self) -> None:
        """Copy the log into plain tables, by way of a reader of records."""
        self._load_typed()
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
            self._put(topic, pa.Table.from_pylist(records, _COLUMNS))

    def _load_typed(self) -> None:
        types = {name: type_ for name, (_, type_) in self._fields.items()}
        if "late" not in types:
            types["late"] = pa.null()
        rows = [
            {
                "partition": record.partition,
                "offset": record.offset,
                "key": text_of(record.key),
                "value": text.value,
                **{name: _plain(name, each) for name, each in (record.value or {}).items()},
            }
            for record, text in zip(self.log.read("c"), self.log.read("c", value="str"), strict=True)
        ]
        usual = {"partition": pa.int32(), "offset": pa.int64(), "key": pa.string(), "value": pa.string()}
        table = pa.Table.from_pylist(rows, pa.schema(usual | types))
        self._put("c", table, "select * replace (u::uuid as u, j::json as j, late::varchar as late)")

    def _put(self, topic: str, table: Any, select: str = "select *") -> None:
        self._plain.register("table_now", table)
        self._plain.execute(f"create or replace table {topic}_all as {select} from table_now")
        self._plain.unregister("table_now")
        self._plain.execute(f"create or replace view {topic} as from {topic}_all")

    def _query(self) -> str:
        return (self._queries if self._choosing.random() < 0.6 else self._typed_queries).query()

    def check(self, count: int) -> None:
        """Compare the answers to some queries."""
        for _ in range(count):
            self._compare(self._query())

    def check_while_writing(self, count: int) -> None:
        """Compare answers as of whichever commit a query happened to see."""
        seen = []
        done = threading.Event()

        def keep_writing() -> None:
            for _ in range(30):
                self.write(4)
                self.write_typed(2)
                if done.wait(0.02):
                    break

        writer = threading.Thread(target=keep_writing)
        writer.start()
        try:
            for _ in range(count):
                query = self._query()
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
        for topic in "abc":
            ends = self.log.sql(watermarks, topic, as_of=commit).fetchall()
            within = " or ".join(f'("partition" = {p} and "offset" < {end})' for p, end in ends)
            self._plain.execute(f"create or replace view {topic} as select * from {topic}_all where {within}")

    def _compare(self, query: str) -> None:
        results: list[Result] = []
        self._judge(query, _outcome(lambda: self._answer(query, results)))
        if "edge()" in query:
            moved = f"create or replace macro edge() as {self._choosing.randrange(DAYS * 50)}"
            self.log.sql(moved)
            self._plain.execute(moved)
            self._judge(query, _outcome(lambda: self._answer(query, results)))

    def _answer(self, query: str, results: list[Result]) -> list[Any]:
        """The rows; of a result that is there already, those of another run."""
        if not results:
            results.append(self.log.sql(query))
        rows = results[0].fetchall()
        self.ruled_out += sum(scan.blocks_ruled_out for scan in results[0].stats.scans)
        return rows

    def _judge(self, query: str, found: Any) -> None:
        expected = _outcome(lambda: self._plain.execute(query).fetchall())
        if " order by " in query and " over " not in query and "list(" not in query:
            assert list(map(repr, found)) == list(map(repr, expected)), query
        else:
            assert _sorted(found) == _sorted(expected), query
        self.checked += 1
        self.rows += len(expected)

    def _time(self) -> int:
        """Mostly full seconds, so that conditions meet them exactly; some are far in the future."""
        second = BEGIN_MS + 1000 * self._writing.randrange(SPAN_MS // 1000)
        late = 10 * SPAN_MS if self._writing.random() < 0.02 else 0
        return second + late + self._writing.choice([0, 0, 0, 1, 7])

    def _value(self) -> bytes | None:
        if self._writing.random() < 0.5:
            number = self._writing.randrange(10)
            return b'{"n": %d, "s": "k%d", "f": %d.25, "deep": {"x": [1]}}' % (number, number % 4, number)
        return self._writing.choice(VALUES)

    def _typed_value(self, day: int) -> dict[str, Any] | None:
        dice = self._writing
        if dice.random() < 0.05:
            return None
        date = dt.date(2024, 5, 1) + dt.timedelta(days=day)
        noon = dt.datetime.combine(date, dt.time(12))
        value = {
            "at": noon + dt.timedelta(microseconds=dice.choice([0, 0, 1])),
            "day": noon if self._fields is _FIELDS_LATER else date,
            "n": day * 50 + dice.randrange(50),
            "s": dice.choice(TEXTS) if day % 3 else f"k{day % 4}",
            "f": dice.choice([day + 0.25, day + 0.5, -0.0, float("inf"), float("nan")]),
            "d": Decimal(day * 50) + Decimal(dice.randrange(200)) / 4,
            "z": noon.replace(tzinfo=dt.UTC) - dt.timedelta(hours=dice.randrange(8)),
            "ok": dice.random() < 0.5,
            "tags": dice.choices(TEXTS, k=dice.randrange(3)),
            "place": {"x": float(day)},
            "u": uuid.UUID(int=dice.randrange(100)),
            "tiny": day - 6,
            "small": 32767 if day == 7 else -day,
            "large": dice.choice([-(2**63), 2**63 - 1, day]) if day % 3 else day,
            "utiny": 255 - day,
            "usmall": 65535 - day * dice.randrange(2),
            "uint": 2**32 - 1 - day,
            "ularge": 2**64 - 1 - day,
            "r": dice.choice([0.1, day / 3, float("inf"), float("nan")]) if day % 4 else day + 0.1,
            "wide": Decimal(10**27 + day) + Decimal(dice.randrange(3)).scaleb(-10),
            "clock": dt.time(day, 0, 0, dice.choice([0, 0, 1])),
            "seconds": noon,
            "millis": noon + dt.timedelta(milliseconds=dice.randrange(2)),
            "raw": bytes([day, *dice.choices((0, 65, 255), k=dice.randrange(3))]),
            "j": dice.choice([{"x": day}, {"x": "ü", "y": [day]}, [day], day, "x"]),
            "m": {name: dice.choice([day, None]) for name in dice.sample(TEXTS, dice.randrange(3))},
        }
        if self._fields is _FIELDS_LATER:
            value["late"] = f"k{day % 4}"
        return {name: None if dice.random() < 0.08 else each for name, each in value.items()}

    def _schema(self) -> dict[str, str]:
        return {name: type_ for name, (type_, _) in self._fields.items()}

    def _headers(self) -> list[tuple[str, bytes | None]]:
        names = self._writing.choices(["h", "ü", ""], k=self._writing.choice([0, 0, 1, 2]))
        return [(name, self._writing.choice([None, b"", b"v", b"\xfe"])) for name in names]


def _plain(field: str, value: Any) -> Any:
    """What PyArrow takes for a value of a field."""
    if value is None:
        return None
    if field == "u":
        return str(value)
    if field == "j":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if field == "m":
        return list(value.items())
    return value


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


def _sorted(rows: list[Any]) -> list[str]:
    return sorted(map(repr, rows))  # so that NaN is NaN


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
        differential.write_typed(200)
        differential.widen()
        differential.write_typed(60)
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
        differential.log.delete_records("c", {0: 21})
        differential.load()
        differential.check(share)
        differential.write(60)
        differential.write_typed(60)
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
        said = f"{told.checked} queries, {told.rows} rows, {told.ruled_out} blocks ruled out"
        print(f"seed {seed}: {said}; {compared} in all", flush=True)
        seed += 1


if __name__ == "__main__":
    main()
