"""A store that fails under the gateway: clients ask again; what was acknowledged is there once, in order."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer

from streamhouse import Log
from streamhouse.kafka import serve
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import FaultKind, FaultyStore

RECORDS = 300


class Sent:
    """What became of what was sent."""

    def __init__(self) -> None:
        self.acknowledged: list[bytes] = []
        self.refused: list[KafkaError] = []

    def note(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            value = message.value()
            assert value is not None
            self.acknowledged.append(value)
        else:
            self.refused.append(error)


def send(bootstrap: str, **settings: Any) -> Sent:
    sent = Sent()
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 1, "retry.backoff.ms": 20, "log_level": 0, **settings}
    )
    for number in range(RECORDS):
        producer.produce("t", b"%d" % number, on_delivery=sent.note)
        producer.poll(0.002)
        if number % 10 == 0:
            producer.flush(60)  # else a busy machine makes one commit of it all
    assert producer.flush(60) == 0
    return sent


def consume(bootstrap: str, count: int) -> list[bytes | None]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "g", "auto.offset.reset": "earliest", "log_level": 0}
    )
    consumer.subscribe(["t"])
    values: list[bytes | None] = []
    for _ in range(200):
        values += [message.value() for message in consumer.consume(500, timeout=0.5) if not message.error()]
        if len(values) >= count:
            break
    consumer.close()
    return values


@pytest.mark.parametrize("kind", ["unavailable", "lost-answer", "unknown", "delay"])
def test_a_store_that_fails_now_and_then(kind: FaultKind, caplog: pytest.LogCaptureFixture) -> None:
    store = FaultyStore(MemoryStore(SystemRuntime()), seed=3)
    with Log(store) as log:
        log.create_topic("t")
        with serve(log, port=0) as gateway:
            for operation in ("put_if_absent", "get"):
                if operation == "put_if_absent" or kind not in {"lost-answer", "unknown"}:
                    store.script(operation, kind, times=6, skip=20, seconds=0.02)
            sent = send(gateway.bootstrap, **{"enable.idempotence": True})
            assert not sent.refused
            assert sent.acknowledged == [b"%d" % number for number in range(RECORDS)]
            assert consume(gateway.bootstrap, RECORDS) == sent.acknowledged
        assert [record.value for record in log.read("t")] == sent.acknowledged
    assert store.injected[kind] >= 6


def test_a_store_that_is_full(caplog: pytest.LogCaptureFixture) -> None:
    """It is an error that clients hear of, and what was acknowledged before and after is there."""
    store = FaultyStore(MemoryStore(SystemRuntime()))
    with Log(store) as log:
        log.create_topic("t")
        with serve(log, port=0) as gateway:
            before = send(gateway.bootstrap)
            store.script("put_if_absent", "full", times=None)
            settings = {"message.timeout.ms": 1_500, "enable.idempotence": False, "retries": 2}
            meanwhile = send(gateway.bootstrap, **settings)
            assert not meanwhile.acknowledged
            assert len(meanwhile.refused) == RECORDS
            store._script.clear()
            after = send(gateway.bootstrap)
            assert consume(gateway.bootstrap, 2 * RECORDS) == before.acknowledged + after.acknowledged
    assert len(before.acknowledged) == len(after.acknowledged) == RECORDS


def test_reading_what_is_damaged_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Bits that flip on the way: the checksum does not fit, and the next attempt is a good one."""
    store = FaultyStore(MemoryStore(SystemRuntime()))
    with Log(store) as log:
        log.create_topic("t")
        with serve(log, port=0) as gateway:
            sent = send(gateway.bootstrap)
    with Log(store, cache_bytes_max=0) as log, serve(log, port=0) as gateway:
        store.script("get", "flip", times=20, skip=3)
        assert consume(gateway.bootstrap, RECORDS) == sent.acknowledged
    assert store.injected["flip"] == 20
