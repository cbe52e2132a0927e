"""Records that do not fit their topic go to its dead-letter topic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import streamhouse
from streamhouse.errors import BufferFullError, InvalidRecordError, InvalidSettingError, TopicNotFoundError


@pytest.fixture
def log() -> Iterator[streamhouse.Log]:
    with streamhouse.Log("memory://") as log:
        log.create_topic("dead")
        log.create_topic("trades", partitions=3, schema={"n": "INTEGER NOT NULL"}, dead_letter="dead")
        yield log


def numbers(log: streamhouse.Log) -> list[int]:
    return sorted(record.value["n"] for record in log.read("trades"))


def letters(log: streamhouse.Log) -> list[Any]:
    return list(log.read("dead"))


def test_one_by_one(log: streamhouse.Log) -> None:
    with log.producer() as producer:
        assert producer.send("trades", {"n": 1}).result().topic == "trades"
        stored = producer.send(
            "trades", {"n": "x"}, key="k", headers={"h": "1"}, partition=2, timestamp=9
        ).result()
        assert (stored.topic, stored.partition) == ("dead", 0)
        producer.send("trades", b"\xff nonsense")
        producer.send("trades", "text")
        producer.flush()
        with pytest.raises(InvalidRecordError):
            producer.send("trades", object())
    assert numbers(log) == [1]
    first, second, third = letters(log)
    assert (first.key, first.value, first.timestamp) == (b"k", b'{"n":"x"}', 9)
    headers = dict(first.headers)
    assert headers["h"] == b"1"
    assert headers["topic"] == b"trades"
    assert headers["error"] == b"field n: Expected `int`, got `str`"
    assert (second.value, third.value) == (b"\xff nonsense", b"text")


@pytest.mark.parametrize("within", [False, True])
def test_many(log: streamhouse.Log, within: bool) -> None:
    values = [{"n": 1}, {"n": None}, b'{"n": 2}', {}, {"n": 3}]
    options: dict[str, Any] = {"keys": list("abcde"), "headers": [{"at": str(n)} for n in range(5)]}
    with log.producer() as producer:
        if within:
            with producer.transaction() as tx:
                sent = tx.send_many("trades", values, timestamps=[1, 2, 3, 4, 5], **options)
                tx.send("trades", {"n": "bad"}, key="z")
        else:
            sent = producer.send_many("trades", values, timestamps=[1, 2, 3, 4, 5], **options)
            producer.send("trades", {"n": "bad"}, key="z")
            producer.flush()
        assert sent.result().count == 3
    assert numbers(log) == [1, 2, 3]
    found = [(record.key, record.value, record.timestamp) for record in letters(log)][:2]
    assert found == [(b"b", b'{"n":null}', 2), (b"d", b"{}", 4)]
    assert [dict(record.headers).get("at") for record in letters(log)] == [b"1", b"3", None]
    assert {record.key: record.timestamp for record in log.read("trades")} == {b"a": 1, b"c": 3, b"e": 5}


def test_all_bad_and_all_good(log: streamhouse.Log) -> None:
    with log.producer() as producer:
        assert producer.send_many("trades", [{"n": 1}]).result().count == 1
        assert producer.send_many("trades", [{}, {}]).result().count == 0
    assert (len(letters(log)), numbers(log)) == (2, [1])


def test_settings(log: streamhouse.Log) -> None:
    schema = {"a": "INTEGER"}
    for name, options, message in (
        ("x", {"schema": schema, "dead_letter": "daed"}, "no topic 'daed'; did you mean 'dead'"),
        ("x", {"schema": schema, "dead_letter": "trades"}, "goes to a topic without one"),
        ("x", {"dead_letter": "dead"}, "has no schema"),
    ):
        with pytest.raises(InvalidSettingError, match=message):
            log.create_topic(name, **options)
    with pytest.raises(InvalidSettingError, match="goes to a topic without one"):
        log.alter_topic("trades", dead_letter="trades")
    assert log.alter_topic("trades", dead_letter=None).settings.dead_letter is None
    with log.producer() as producer:
        with pytest.raises(InvalidRecordError):
            producer.send("trades", {})
        log.alter_topic("trades", dead_letter="dead")
        producer.send("trades", {}).result()
        log.delete_topic("dead")
        with pytest.raises(TopicNotFoundError, match="dead"):
            producer.send("trades", {}).result()


@pytest.mark.parametrize("serializer", ["json", lambda value: json.dumps(value).encode()])
@pytest.mark.parametrize("within", [False, True])
def test_letters_are_stored_as_sent_whatever_the_serializer(
    log: streamhouse.Log, serializer: Any, within: bool
) -> None:
    with log.producer(key_serializer="json", value_serializer=serializer) as producer:
        producer.send("trades", {"n": "bad"}, key=1).result()
        if within:
            with producer.transaction() as tx:
                tx.send_many("trades", [{"n": 1}, {"n": "bad"}], keys=[1, 1])
        else:
            producer.send_many("trades", [{"n": 1}, {"n": "bad"}], keys=[1, 1]).result()
    assert numbers(log) == [1]
    assert [(letter.key, letter.value) for letter in letters(log)] == [(b"1", b'{"n":"bad"}')] * 2


@pytest.mark.parametrize("within", [False, True])
def test_a_dead_letter_topic_that_became_a_typed_one_gets_none(log: streamhouse.Log, within: bool) -> None:
    log.delete_topic("dead")
    log.create_topic("dead", schema={"n": "VARCHAR"})
    with log.producer() as producer:
        sender = producer.transaction() if within else producer
        with pytest.raises(InvalidRecordError, match=r"^field n: "):
            sender.send("trades", {"n": "x"})
        with pytest.raises(InvalidRecordError, match=r"^values\[1\]: field n: "):
            sender.send_many("trades", [{"n": 1}, {"n": "x"}])
    assert (letters(log), numbers(log)) == ([], [])


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": ["a", "b", {}]}, r"^keys\[2\]: "),
        ({"keys": [{}, "b", "c"]}, r"^keys\[0\]: "),
        ({"headers": [None, {"h": 1}, None]}, r"^headers\[1\]: "),
        ({"headers": [{"h": 1}, None, None]}, r"^headers\[0\]: "),
        ({"timestamps": [1, "x", 2]}, r"^timestamps\[1\]: "),
        ({"timestamps": ["x", 1, 2]}, r"^timestamps\[0\]: "),
    ],
)
def test_no_letter_is_written_where_an_argument_is_bad(
    log: streamhouse.Log, within: bool, options: Any, message: str
) -> None:
    with log.producer() as producer:
        sender = producer.transaction() if within else producer
        with pytest.raises(InvalidRecordError, match=message):
            sender.send_many("trades", [{"n": "x"}, {"n": 1}, {"n": 2}], **options)
    assert (letters(log), numbers(log)) == ([], [])


@pytest.mark.parametrize("within", [False, True])
def test_what_is_not_even_a_letter_is_told_by_its_position(log: streamhouse.Log, within: bool) -> None:
    with log.producer() as producer:
        sender = producer.transaction() if within else producer
        with pytest.raises(InvalidRecordError, match=r"^values\[1\]: field n: "):
            sender.send_many("trades", [{"n": 1}, {"n": object()}])
    assert (letters(log), numbers(log)) == ([], [])


def test_no_letter_is_sent_where_the_others_are_refused(log: streamhouse.Log) -> None:
    log.create_topic(
        "latest", partitions=3, schema={"n": "INTEGER"}, dead_letter="dead", cleanup_policy="compact"
    )
    with log.producer() as producer:
        with pytest.raises(InvalidRecordError, match="needs a key"):
            producer.send_many("latest", [{"n": "bad"}, {"n": 1}], keys=["a", None])
        assert log._batcher.memory.used == 0
    assert letters(log) == []


def test_no_letter_is_sent_where_there_is_no_memory_for_the_others() -> None:
    with streamhouse.Log("memory://", buffer_bytes_max=128 << 10) as log:
        log.create_topic("dead")
        log.create_topic("texts", schema={"text": "VARCHAR"}, dead_letter="dead")
        memory = log._batcher.memory
        with log.producer() as producer:
            assert memory.try_take(64 << 10)
            with pytest.raises(BufferFullError):
                producer.send_many("texts", [{"text": 1}, {"text": "x" * (64 << 10)}], timeout=0)
            assert memory.used == 64 << 10
            assert producer.send_many("texts", [{"text": 1}, {"text": "x"}], timeout=0).result().count == 1
            memory.give(64 << 10)
        assert len(letters(log)) == 1


def test_letters_in_a_transaction_are_followed_by_the_others() -> None:
    with streamhouse.Log("memory://", buffer_bytes_max=128 << 10) as log:
        log.create_topic("dead")
        log.create_topic("texts", schema={"text": "VARCHAR"}, dead_letter="dead")
        with log.producer() as producer, producer.transaction() as tx:
            sent = tx.send_many("texts", [{"text": 1}, {"text": "x" * (100 << 10)}], timeout=0)
        assert sent.result().count == len(letters(log)) == 1
