"""Typed topics from end to end: making them, sending, reading, altering, compacting, verifying."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import duckdb
import msgspec
import pyarrow as pa
import pytest

import streamhouse
from streamhouse.errors import (
    DeserializationError,
    IncompatibleSchemaError,
    InvalidRecordError,
    InvalidSchemaError,
    InvalidSettingError,
    TopicExistsError,
    TopicNotFoundError,
)
from streamhouse.testing.clock import ManualRuntime
from streamhouse.verify import verify

TYPES = {
    "symbol": "VARCHAR NOT NULL",
    "amount": "DECIMAL(18,2)",
    "at": "TIMESTAMPTZ",
    "tags": "VARCHAR[]",
    "place": "STRUCT(x DOUBLE, y DOUBLE)",
}


class Place(msgspec.Struct):
    x: float
    y: float


class Trade(msgspec.Struct):
    symbol: str
    amount: Annotated[Decimal, msgspec.Meta(extra={"type": "DECIMAL(18,2)"})]
    place: Place | None = None
    venue: str = "home"


@pytest.fixture
def log() -> Iterator[streamhouse.Log]:
    with streamhouse.Log("memory://") as log:
        yield log


def values(log: streamhouse.Log, topic: str = "trades", **options: Any) -> list[Any]:
    return [record.value for record in log.read(topic, **options)]


def full(**fields: Any) -> dict[str, Any]:
    return dict.fromkeys(TYPES) | fields


def test_dicts_come_back_as_dicts(log: streamhouse.Log) -> None:
    topic = log.create_topic("trades", schema=TYPES)
    assert topic.schema is not None
    assert topic.schema.types["at"] == "TIMESTAMP WITH TIME ZONE"
    at = dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
    sent = {"symbol": "A", "amount": Decimal("1.50"), "at": at, "tags": ["x"], "place": {"x": 1.0, "y": 2.0}}
    with log.producer() as producer:
        one = producer.send("trades", sent, key="k")
        producer.send("trades", b'{"symbol": "B", "amount": 2.25}')
        producer.send("trades", None, key="k")
        producer.send("trades", {"symbol": "C"}, headers={"h": "1"}, timestamp=5)
        assert one.result().offset == 0
        producer.send_many("trades", [{"symbol": "D"}, '{"symbol": "E"}', None], keys=["1", "2", "3"])
    expected = [
        sent,
        full(symbol="B", amount=Decimal("2.25")),
        None,
        full(symbol="C"),
        full(symbol="D"),
        full(symbol="E"),
        None,
    ]
    assert values(log) == expected
    records = list(log.read("trades"))
    assert (records[0].key, records[3].timestamp, records[3].headers) == (b"k", 5, (("h", b"1"),))
    with log.consumer("trades", group="g") as consumer:
        assert [record.value for record in consumer.poll(timeout=5)] == expected


def test_structs_json_text_and_functions(log: streamhouse.Log) -> None:
    log.create_topic("trades", schema=Trade)
    trade = Trade("A", Decimal("1.50"), Place(1.0, 2.0), "abroad")
    with log.producer() as producer:
        producer.send("trades", trade)
        producer.send("trades", {"symbol": "B", "amount": 3}).result()
    assert values(log, value=Trade) == [trade, Trade("B", Decimal("3.00"), None, "home")]
    first = b'{"symbol":"A","amount":1.50,"place":{"x":1.0,"y":2.0},"venue":"abroad"}'
    assert values(log, value="bytes")[0] == first
    assert values(log, value="str")[0] == first.decode()
    assert values(log, value="json")[0]["amount"] == 1.5
    assert values(log, value=len)[0] == len(first)
    assert values(log, value=dict[str, Any])[1]["venue"] is None


def test_what_does_not_convert_says_where(log: streamhouse.Log) -> None:
    class Other(msgspec.Struct):
        symbol: int

    log.create_topic("trades", schema=TYPES)
    with log.producer() as producer:
        producer.send("trades", {"symbol": "A"}).result()
    with pytest.raises(DeserializationError, match=r"offset 0 of partition 0 of 'trades'.*symbol") as caught:
        values(log, value=Other)
    assert caught.value.offset == 0


def test_records_that_do_not_fit_are_refused(log: streamhouse.Log) -> None:
    log.create_topic("trades", schema=TYPES)
    with log.producer() as producer:
        with pytest.raises(InvalidRecordError, match=r"^field symbol: Expected `str`"):
            producer.send("trades", {"symbol": 5})
        producer.send("trades", {"symbol": "A"})  # a batch is open now
        with pytest.raises(InvalidRecordError, match=r"^field amount"):
            producer.send("trades", {"symbol": "A", "amount": "x"})
        with pytest.raises(InvalidRecordError, match="no JSON"):
            producer.send("trades", b"raw")
        with pytest.raises(InvalidRecordError, match=r"values\[1\]: field symbol"):
            producer.send_many("trades", [{"symbol": "B"}, {"symbol": None}])
        with producer.transaction() as tx:
            with pytest.raises(InvalidRecordError, match=r"^field symbol"):
                tx.send("trades", {"symbol": 1})
            tx.send("trades", {"symbol": "T"})
    assert [value["symbol"] for value in values(log)] == ["A", "T"]


def test_a_serializer_in_front(log: streamhouse.Log) -> None:
    log.create_topic("trades", schema=TYPES)
    with log.producer(value_serializer=lambda symbol: msgspec.json.encode({"symbol": symbol})) as producer:
        producer.send("trades", "A").result()
        producer.send_many("trades", ["B", None]).result()
    assert values(log) == [full(symbol="A"), full(symbol="B"), None]


def test_transactions_and_partitions(log: streamhouse.Log) -> None:
    log.create_topic("trades", partitions=3, schema=TYPES)
    log.create_topic("plain")
    symbols = [f"s{number}" for number in range(300)]
    with log.producer() as producer:
        with producer.transaction() as tx:
            for symbol in symbols[:100]:
                tx.send("trades", {"symbol": symbol}, key=symbol)
            tx.send("plain", {"symbol": 1})
            rows = [{"symbol": symbol} for symbol in symbols[100:]]
            tx.send_many("trades", rows, keys=symbols[100:])
        tx = producer.transaction()
        tx.send("trades", {"symbol": "never"})
        tx.abort()
    found = list(log.read("trades"))
    assert sorted(record.value["symbol"] for record in found) == sorted(symbols)
    assert all(record.key == record.value["symbol"].encode() for record in found)
    assert len({record.partition for record in found}) == 3
    assert values(log, "plain") == [b'{"symbol":1}']


def test_batches_are_structs_for_arrow(log: streamhouse.Log) -> None:
    log.create_topic("trades", schema=TYPES)
    with log.producer() as producer:
        producer.send_many("trades", [{"symbol": str(n), "amount": n, "tags": [str(n)]} for n in range(10)])
    with log.consumer("trades") as consumer:
        (batch,) = consumer.poll_batches(timeout=5)
    found = duckdb.sql("select sum(value.amount), max(value.tags[1]), count(value.at) from batch").fetchall()
    assert found == [(Decimal(45), "9", 0)]
    tail = batch[7:]
    assert duckdb.sql('select "offset", value.symbol from tail').fetchall() == [(7, "7"), (8, "8"), (9, "9")]
    assert batch.payload_bytes > tail.payload_bytes > 0
    assert batch.before(3).values() == batch.values()[:3]
    assert batch.values("str")[0].startswith('{"symbol":"0","amount":0.00')


def test_the_schema_of_a_topic_changes(log: streamhouse.Log) -> None:
    log.create_topic("trades", schema={"symbol": "VARCHAR", "amount": "INTEGER"})
    wider = {"symbol": "VARCHAR", "amount": "BIGINT", "note": "VARCHAR"}
    with log.producer() as producer, log.consumer("trades") as consumer:
        producer.send("trades", {"symbol": "A", "amount": 1}).result()
        assert [record.value for record in consumer.poll(timeout=5)] == [{"symbol": "A", "amount": 1}]
        with pytest.raises(InvalidRecordError, match="field amount"):
            producer.send("trades", {"symbol": "B", "amount": 1 << 40})
        producer.send("trades", {"symbol": "open", "amount": 2})  # waits in a batch of the old schema
        topic = log.alter_topic("trades", schema=wider)
        assert topic.schema is not None
        assert topic.schema.types == wider
        assert len(topic.settings.schemas) == 2
        producer.send("trades", {"symbol": "B", "amount": 1 << 40, "note": "n"}).result()
        assert [record.value for record in consumer.poll(timeout=5)][-1:] == [
            {"symbol": "B", "amount": 1 << 40, "note": "n"}
        ]
    assert values(log) == [
        {"symbol": "A", "amount": 1, "note": None},
        {"symbol": "open", "amount": 2, "note": None},
        {"symbol": "B", "amount": 1 << 40, "note": "n"},
    ]
    with pytest.raises(IncompatibleSchemaError, match="field note is missing"):
        log.alter_topic("trades", schema={"symbol": "VARCHAR", "amount": "BIGINT"})
    assert len(log.alter_topic("trades", schema=wider).settings.schemas) == 2
    assert len(log.alter_topic("trades", retention_ms=1000).settings.schemas) == 2


def test_schemas_altered_at_the_same_time(tmp_path: Path) -> None:
    base = {"a": "INTEGER"}
    with streamhouse.Log(tmp_path) as one, streamhouse.Log(tmp_path) as other:
        one.create_topic("t", schema=base)
        barrier = threading.Barrier(2)
        outcomes: list[Any] = []

        def alter(log: streamhouse.Log, name: str) -> None:
            barrier.wait()
            try:
                outcomes.append(log.alter_topic("t", schema=base | {name: "VARCHAR"}).schema)
            except IncompatibleSchemaError as error:
                outcomes.append(error)

        threads = [threading.Thread(target=alter, args=pair) for pair in ((one, "b"), (other, "c"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        refused = [outcome for outcome in outcomes if isinstance(outcome, IncompatibleSchemaError)]
        assert len(refused) == 1  # it saw the other one's schema, which its own lacks a field of
        assert len(one.topic("t").settings.schemas) == 2


def test_making_typed_topics(log: streamhouse.Log) -> None:
    log.create_topic("plain")
    log.create_topic("trades", schema=TYPES)
    assert log.topic("plain").schema is None
    assert log.create_topic("trades", schema=TYPES, exist_ok=True).schema is not None
    assert log.create_topic("trades", exist_ok=True).schema is not None
    with pytest.raises(TopicExistsError, match="another schema"):
        log.create_topic("trades", schema={"a": "INTEGER"}, exist_ok=True)
    with pytest.raises(TopicExistsError, match="without a schema"):
        log.create_topic("plain", schema=TYPES, exist_ok=True)
    with pytest.raises(InvalidSchemaError):
        log.create_topic("other", schema={"a": "NONSENSE"})
    with pytest.raises(InvalidSettingError, match="unknown topic setting 'schemas'"):
        log.create_topic("other", schemas=["x"])
    with pytest.raises(IncompatibleSchemaError, match="made without a schema"):
        log.alter_topic("plain", schema=TYPES)
    assert "other" not in log.topics


def test_compaction_restart_and_verification(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path) as log:
        log.create_topic("trades", schema={"n": "INTEGER"})
        log.create_topic("latest", schema={"n": "INTEGER", "tags": "VARCHAR[]"}, cleanup_policy="compact")
        with log.producer() as producer:
            for number in range(30):
                if number == 20:
                    log.alter_topic("trades", schema={"n": "BIGINT", "text": "VARCHAR"})
                producer.send("trades", {"n": number}).result()
                row = None if number % 7 == 6 else {"n": number, "tags": [str(number)] * (number % 3)}
                producer.send("latest", row, key=f"k{number % 7}").result()
        before = list(log.read("trades"))
        report = log.upkeep()
        assert report.blocks_after < report.blocks_before
    with streamhouse.Log(tmp_path) as log:
        assert list(log.read("trades")) == before
        assert [value["n"] for value in values(log)] == list(range(30))
        latest = {record.key: record.value for record in log.read("latest")}
        assert latest == {
            f"k{number % 7}".encode(): None
            if number % 7 == 6
            else {"n": number, "tags": [str(number)] * (number % 3)}
            for number in range(23, 30)
        }
        assert len(list(log.read("latest"))) < 15
        assert log.sql("select value->>'n' from trades order by \"offset\" limit 2").fetchall() == [
            ("0",),
            ("1",),
        ]
    report = verify(str(tmp_path))
    assert report.damage == []
    assert report.records_checked >= 37


async def test_asyncio() -> None:
    async with await streamhouse.aio.open("memory://") as log:
        await log.create_topic("trades", schema=TYPES)
        async with await log.producer() as producer:
            await (await producer.send("trades", {"symbol": "A"}))
        assert [record.value async for record in log.read("trades")] == [full(symbol="A")]
        topic = await log.alter_topic("trades", schema=TYPES | {"more": "INTEGER"})
        assert len(topic.settings.schemas) == 2


NARROW, WIDE = {"a": "TINYINT"}, {"a": "BIGINT", "b": "VARCHAR"}
GROWN = {"a": 300, "b": "x"}


def send_one(producer: streamhouse.Producer) -> None:
    producer.send("t", GROWN).result()


def send_many(producer: streamhouse.Producer) -> None:
    producer.send_many("t", [{"a": 300}, GROWN]).result()


def send_frame(producer: streamhouse.Producer) -> None:
    producer.send_many("t", pa.table({"a": [300], "b": ["x"]})).result()


def send_stream(producer: streamhouse.Producer) -> None:
    producer.send_many("t", pa.table({"a": [300], "b": ["x"]}).to_reader()).result()


def send_in_transaction(producer: streamhouse.Producer) -> None:
    with producer.transaction() as tx:
        tx.send("t", {"a": 300})
        tx.send_many("t", [GROWN])


def send_frame_in_transaction(producer: streamhouse.Producer) -> None:
    with producer.transaction() as tx:
        tx.send_many("t", pa.table({"a": [300], "b": ["x"]}))


SENDING = [send_one, send_many, send_frame, send_stream, send_in_transaction, send_frame_in_transaction]


@pytest.mark.parametrize("dead_letter", [None, "dead"])
@pytest.mark.parametrize("send", SENDING)
def test_an_open_producer_hears_that_others_changed_the_schema(
    tmp_path: Path, send: Callable[[streamhouse.Producer], None], dead_letter: str | None
) -> None:
    with (
        streamhouse.Log(tmp_path) as other,
        streamhouse.Log(tmp_path) as mine,
        mine.producer() as producer,
    ):
        other.create_topic("dead")
        other.create_topic("t", schema=NARROW, dead_letter=dead_letter)
        producer.send("t", {"a": 1}).result()
        other.alter_topic("t", schema=WIDE)
        send(producer)
        assert values(mine, "t")[0] == {"a": 1, "b": None}
        assert values(mine, "t")[-1] == GROWN
        assert values(mine, "dead") == []


def test_bad_records_cost_a_look_at_the_log_once_in_a_while(tmp_path: Path) -> None:
    runtime = ManualRuntime()
    with (
        streamhouse.Log(tmp_path) as other,
        streamhouse.Log(tmp_path, runtime=runtime) as mine,
        mine.producer() as producer,
    ):
        other.create_topic("t", schema=NARROW)
        producer.send("t", {"a": 1}).result()

        def refused() -> None:
            with pytest.raises(InvalidRecordError):
                producer.send("t", GROWN)

        refused()
        other.alter_topic("t", schema=WIDE)
        refused()
        runtime.advance(1)
        send_one(producer)


def test_a_bad_record_sent_by_a_callback_is_refused(log: streamhouse.Log) -> None:
    """It runs on the thread that commits, which cannot wait for itself."""
    log.create_topic("t", schema=NARROW)
    said: list[str] = []

    def send_again(_: object) -> None:
        with pytest.raises(InvalidRecordError) as refused:
            producer.send("t", GROWN)
        with pytest.raises(TopicNotFoundError):
            producer.send("nowhere", b"")
        said.append(str(refused.value))

    with log.producer() as producer:
        delivery = producer.send("t", {"a": 1})
        delivery.add_done_callback(send_again)
        delivery.result()
        producer.flush()
    assert len(said) == 1
