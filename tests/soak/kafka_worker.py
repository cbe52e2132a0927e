"""What one process of the soak of gateways does: be one, or one of their clients."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

import streamhouse
import streamhouse.kafka
from streamhouse.testing.history import Attempt, Moved, Observed, Polled, Sent
from tests.soak.kafka_truth import COPIES, PARTITIONS, SOURCE, Committed, Delivered
from tests.soak.worker import Notes

BROKER_SESSION_SECONDS = 4.0
_SESSION_MS = 6_000
_TRANSACTION_MS = 10_000
_CALL_SECONDS = 20.0
_STUCK_SECONDS = 60.0
STUCK = 3
"""How a copier ends whose library does not come back from a call (librdkafka's issues 5456 and 5511)."""
_SETTINGS = {"snapshot_commits": 500, "inline_bytes_max": 20_000, "delivery_timeout_seconds": 60.0}


class Job(msgspec.Struct, frozen=True):
    """What one process is to do.

    Attributes:
        url: Of the log.
        options: For its store.
        role: See ``_WORK``.
        name: Of the process; no other one ever has it.
        slot: Its number among those of its role.
        folder: For what it writes down.
        port: Of a gateway.
        bootstrap: The gateways, for clients.
        group: Of a copier or reader.
    """

    url: str
    options: dict[str, Any] | None
    role: str
    name: str
    slot: int
    folder: str
    port: int
    bootstrap: str
    group: str


def main(job: Job) -> None:
    """Work until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    errors = os.open(f"{job.folder}/{job.name}.err", os.O_CREAT | os.O_WRONLY)
    os.dup2(errors, sys.stderr.fileno())
    faulthandler.register(signal.SIGUSR1)  # for a process that does not end
    try:
        _WORK[job.role](job, stop)
    except BaseException:  # noqa: BLE001 - told, and judged by the exit code
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # a client whose gateways are gone takes long to end


def open_log(url: str, options: dict[str, Any] | None) -> streamhouse.Log:
    """The log under test."""
    return streamhouse.Log(url, storage_options=options, **_SETTINGS)


def _note(job: Job, event: str) -> None:
    with Path(job.folder, f"{job.name}.events").open("a") as file:
        file.write(f"{event}\n")


# --- gateways and native clients -------------------------------------------------------------------


def _serve(job: Job, stop: threading.Event) -> None:
    with (
        open_log(job.url, job.options) as log,
        streamhouse.kafka.serve(
            log,
            port=job.port,
            broker_session_seconds=BROKER_SESSION_SECONDS,
            consumer_session_timeout_ms=_SESSION_MS,
            consumer_heartbeat_interval_ms=500,
        ) as gateway,
    ):
        while not stop.wait(0.2):
            if gateway.wait(0):
                raise AssertionError("the gateway ended by itself")
        late = threading.Timer(_STUCK_SECONDS / 3, _show_tasks, (gateway,))
        late.daemon = True
        late.start()


def _show_tasks(gateway: Any) -> None:
    """What a gateway waits for that does not end."""

    def show() -> None:
        for task in asyncio.all_tasks(gateway._loop):
            task.print_stack()
        sys.stderr.flush()

    gateway._loop.call_soon_threadsafe(show)


def _write_natively(job: Job, stop: threading.Event) -> None:
    notes, dice = Notes(f"{job.folder}/{job.name}.history"), random.Random(job.name)
    with open_log(job.url, job.options) as log, log.producer() as producer:
        number = 0
        while not stop.wait(dice.expovariate(5.0)):
            partition = dice.randrange(PARTITIONS)
            attempts = [
                Attempt(SOURCE, partition, f"{job.name}:{number + n}") for n in range(dice.randint(1, 9))
            ]
            number += len(attempts)
            notes.write(*(Sent(job.name, (attempt,), "unknown") for attempt in attempts))
            sent = [producer.send(SOURCE, str(each.value), partition=partition) for each in attempts]
            for attempt, delivery in zip(attempts, sent, strict=True):
                stored = delivery.result()
                notes.write(Sent(job.name, (attempt._replace(offset=stored.offset),), "ok"))


def _read_natively(job: Job, stop: threading.Event) -> None:
    notes = Notes(f"{job.folder}/{job.name}.history")
    with (
        open_log(job.url, job.options) as log,
        log.consumer(SOURCE, start="earliest", value="str") as consumer,
    ):
        notes.write(Moved(job.name, tuple((SOURCE, number, 0) for number in range(PARTITIONS))))
        while not stop.is_set():
            records = consumer.poll(timeout=0.2)
            if records:
                seen = tuple(Observed(r.topic, r.partition, r.offset, r.value) for r in records)
                notes.write(Polled(job.name, seen))


# --- producers -------------------------------------------------------------------------------------


def _produce(job: Job, stop: threading.Event) -> None:
    """Idempotently; every outcome is written down."""
    notes, dice = Notes(f"{job.folder}/{job.name}.history"), random.Random(job.name)
    producer = Producer(
        {
            "bootstrap.servers": job.bootstrap,
            "enable.idempotence": True,
            "linger.ms": dice.choice((0, 5, 50)),
            "compression.type": dice.choice(("none", "lz4", "zstd")),
            "delivery.timeout.ms": 120_000,
            "socket.timeout.ms": 5_000,
            "reconnect.backoff.max.ms": 500,
            "error_cb": lambda error: _fail_if_fatal(job, error),
        }
    )

    def told(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            _note(job, f"send {error.name()}")
            return
        attempt = Attempt(SOURCE, message.partition(), message.value().decode(), message.offset())
        notes.write(Sent(job.name, (attempt,), "ok"))

    number = 0
    while not stop.is_set():
        partition = dice.randrange(PARTITIONS)
        for _ in range(dice.choice((1, 1, 5, 20))):
            value = f"{job.name}:{number}"
            number += 1
            notes.write(Sent(job.name, (Attempt(SOURCE, partition, value),), "unknown"))
            producer.produce(SOURCE, value, partition=partition, on_delivery=told)
        producer.poll(0)
        stop.wait(dice.expovariate(6.0))  # copiers with a transaction for each record have to keep up
        if len(producer) > 2_000:
            producer.flush(1.0)
    left = producer.flush(60.0)
    assert not left, f"{left} records were not sent"


def _fail_if_fatal(job: Job, error: KafkaError) -> None:
    _note(job, f"client {error.name()}")
    if error.fatal():
        print(f"fatal: {error}", file=sys.stderr, flush=True)
        os._exit(1)


# --- groups ----------------------------------------------------------------------------------------


@contextmanager
def _consumer(job: Job, **settings: Any) -> Iterator[Consumer]:
    protocol = job.group.rpartition("-")[2]
    classic = (
        {"session.timeout.ms": _SESSION_MS, "heartbeat.interval.ms": 500} if protocol == "classic" else {}
    )
    consumer = Consumer(
        {
            "bootstrap.servers": job.bootstrap,
            "group.id": job.group,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "socket.timeout.ms": 5_000,
            "reconnect.backoff.max.ms": 500,
            "fetch.wait.max.ms": 100,
            **classic,
            **settings,
        }
    )
    try:
        yield consumer
    finally:
        with suppress(KafkaException, RuntimeError):
            consumer.close()


def _read(job: Job, stop: threading.Event) -> None:
    """Read as a member of a group, and commit."""
    notes, seen = Notes(f"{job.folder}/{job.name}.history"), Notes(f"{job.folder}/{job.name}.seen")
    dice = random.Random(job.name)
    lives = 0
    while not stop.is_set():
        name, ends = f"{job.name}/{lives}", time.monotonic() + dice.uniform(5.0, 40.0)
        lives += 1

        def moved(_consumer: Consumer, parts: list[TopicPartition], name: str = name) -> None:
            notes.write(Moved(name, tuple((part.topic, part.partition, None) for part in parts)))

        with _consumer(job) as consumer:
            consumer.subscribe([SOURCE], on_assign=moved)
            while not stop.is_set() and time.monotonic() < ends:
                messages = _good(job, consumer.consume(100, timeout=0.2))
                if not messages:
                    continue
                notes.write(Polled(name, tuple(_observed(message) for message in messages)))
                seen.write(Delivered(job.group, tuple((m.partition(), m.offset()) for m in messages)))
                positions = {m.partition(): m.offset() + 1 for m in messages}
                try:
                    consumer.commit(offsets=_places(positions), asynchronous=False)
                except KafkaException as error:
                    _note(job, f"commit {error.args[0].name()}")
                else:
                    seen.write(Committed(job.group, tuple(positions.items())))


def _copy(job: Job, stop: threading.Event) -> None:
    """Consume, transform, produce: each in a transaction."""
    dice = random.Random(job.name)
    while not stop.is_set():
        producer = Producer(
            {
                "bootstrap.servers": job.bootstrap,
                "transactional.id": f"{job.group}-{job.slot}",
                "transaction.timeout.ms": _TRANSACTION_MS,
                "socket.timeout.ms": 5_000,
                "reconnect.backoff.max.ms": 500,
            }
        )
        try:
            producer.init_transactions(_CALL_SECONDS)
            with _consumer(job, **{"isolation.level": "read_committed"}) as consumer:
                consumer.subscribe([SOURCE])
                while not stop.is_set():
                    messages = _good(job, consumer.consume(dice.choice((1, 100, 500)), timeout=0.2))
                    if messages and not _copy_some(job, producer, consumer, messages, dice):
                        break  # read again from what is committed
        except KafkaException as error:
            _note(job, f"transaction {error.args[0].name()}")


def _copy_some(
    job: Job, producer: Producer, consumer: Consumer, messages: list[Message], dice: random.Random
) -> bool:
    """One transaction; whether it came to pass."""
    producer.begin_transaction()
    try:
        for message in messages:
            producer.produce(COPIES[job.group], message.value(), partition=message.partition())
            producer.poll(0)
        if dice.random() < 0.1:
            producer.flush(_CALL_SECONDS)
        if dice.random() < 0.03:
            _note(job, "aborted")
            _insist(job, lambda: producer.abort_transaction(_CALL_SECONDS))
            return False
        positions = _places({message.partition(): message.offset() + 1 for message in messages})
        metadata = consumer.consumer_group_metadata()
        _insist(job, lambda: producer.send_offsets_to_transaction(positions, metadata, _CALL_SECONDS))
        _insist(job, lambda: producer.commit_transaction(_CALL_SECONDS))
    except KafkaException as error:
        if not error.args[0].txn_requires_abort():
            raise
        _note(job, f"abort {error.args[0].name()}")
        _insist(job, lambda: producer.abort_transaction(_CALL_SECONDS))
        return False
    _note(job, "committed")
    return True


def _insist(job: Job, call: Callable[[], object]) -> None:
    """Call again as long as that makes sense."""
    while True:
        watchdog = threading.Timer(_STUCK_SECONDS, os._exit, (STUCK,))
        watchdog.start()
        try:
            call()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            _note(job, f"again {error.args[0].name()}")
        else:
            return
        finally:
            watchdog.cancel()


def _good(job: Job, messages: list[Message]) -> list[Message]:
    for message in messages:
        if message.error() is not None:
            _note(job, f"read {message.error().name()}")
    return [message for message in messages if message.error() is None]


def _places(positions: dict[int, int]) -> list[TopicPartition]:
    return [TopicPartition(SOURCE, number, offset) for number, offset in positions.items()]


def _observed(message: Message) -> Observed:
    return Observed(message.topic(), message.partition(), message.offset(), message.value().decode())


_WORK: dict[str, Callable[[Job, threading.Event], None]] = {
    "gateway": _serve,
    "write": _write_natively,
    "watch": _read_natively,
    "produce": _produce,
    "read": _read,
    "copy": _copy,
}
