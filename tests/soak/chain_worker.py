"""What one process of a chain does: feed the first topic, work at a stage, or watch."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from zlib import crc32

import msgspec

import streamhouse
from streamhouse.errors import (
    DeliveryTimeoutError,
    NotAssignedError,
    ProducerFencedError,
    StaleMemberError,
)
from streamhouse.testing.history import Attempt, Outcome, Sent
from tests.soak.chain_truth import ABORTED, GROUPS, TOPICS, Look, Row, outputs
from tests.soak.worker import Notes

PARTITIONS = {"source": 4, "first": 3, "second": 2}
FENCED = 3
"""Exit code of who was replaced by a namesake."""

_KEYS = 24
_FEED_SECONDS = 0.05
_WATCH_SECONDS = 0.05
_SESSION_SECONDS = 2.0
_SLOW_PART = 0.05
_SLOW_SECONDS = 0.1
_LOOK = """
    select topic, '' as "group", partition, high_watermark as "offset" from streamhouse.partitions
    union all select topic, "group", partition, "offset" from streamhouse.consumer_offsets
"""


class Job(msgspec.Struct, frozen=True):
    """What one process is to do.

    Attributes:
        url: Of the log.
        options: For its store.
        role: ``"feed"``, ``"stage-1"``, ``"stage-2"`` or ``"watch"``.
        slot: The same for all that take each other's place.
        name: Of this process alone.
        folder: For its notes.
        partitions: Those to read, without joining the group; ``None``: join it.
        assignor: How the group deals out.
    """

    url: str
    options: dict[str, Any] | None
    role: str
    slot: int
    name: str
    folder: str
    partitions: tuple[int, ...] | None
    assignor: str


class HiccupError(Exception):
    """A failure on purpose."""


def main(job: Job) -> None:
    """Work until SIGTERM; the exit code tells whether somebody else took over."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    errors = os.open(f"{job.folder}/{job.name}.err", os.O_CREAT | os.O_WRONLY)
    os.dup2(errors, sys.stderr.fileno())
    faulthandler.register(signal.SIGUSR1)
    dice = random.Random(job.name)
    try:
        with open_log(job.url, job.options, dice) as log:
            if job.role == "watch":
                _watch(log, job, stop)
            elif job.role == "feed":
                _Feeder(log, job, stop, dice).run()
            else:
                _Stage(log, job, stop, dice).run()
    except ProducerFencedError:
        sys.exit(FENCED)


def open_log(url: str, options: dict[str, Any] | None, dice: random.Random) -> streamhouse.Log:
    """The log under test, with its topics."""
    log = streamhouse.Log(
        url,
        storage_options=options,
        snapshot_commits=50,
        inline_bytes_max=dice.choice((1_000, 100_000)),
        buffer_bytes_max=dice.choice((1 << 16, 1 << 20)),  # the smaller makes transactions spill
        linger_seconds=dice.choice((0.0, 0.02)),
        delivery_timeout_seconds=60.0,
        upkeep_seconds=1.0,
    )
    for topic, partitions in PARTITIONS.items():
        log.create_topic(topic, partitions=partitions, exist_ok=True)
    return log


def look(log: streamhouse.Log) -> Look:
    """Where everything stands, at one commit."""
    found = log.sql(_LOOK).fetchall()
    return Look(
        tuple((topic, partition, offset) for topic, group, partition, offset in found if not group),
        tuple((group, partition, offset) for _, group, partition, offset in found if group),
    )


def read_all(log: streamhouse.Log, topic: str) -> list[Row]:
    """Everything that a topic holds."""
    return [_row(record) for record in log.read(topic, key="str", value="str")]


def _row(record: streamhouse.Record[str, str]) -> Row:
    origin = dict(record.headers).get("from")
    parts = None if origin is None else origin.split(b":")
    return Row(
        record.partition,
        record.offset,
        record.key or "",
        (record.value or "").rstrip(),
        None if parts is None else (int(parts[0]), int(parts[1])),
    )


def _watch(log: streamhouse.Log, job: Job, stop: threading.Event) -> None:
    file = os.open(f"{job.folder}/{job.name}.looks", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    while not stop.wait(_WATCH_SECONDS):
        os.write(file, msgspec.json.encode(look(log)) + b"\n")


class _Worker:
    def __init__(self, log: streamhouse.Log, job: Job, stop: threading.Event, dice: random.Random) -> None:
        self.log = log
        self.job = job
        self.stop = stop
        self.dice = dice
        self._events = os.open(f"{job.folder}/{job.name}.events", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def note(self, event: str) -> None:
        """Count something, for the report."""
        os.write(self._events, event.encode() + b"\n")


class _Feeder(_Worker):
    """Writes the source, in batches and in transactions, some of them aborted, some large."""

    def run(self) -> None:
        notes = Notes(f"{self.job.folder}/{self.job.name}.history")
        number = 0
        name = f"feeder-{self.job.slot}"
        with self.log.producer(transactional_id=name) as named, self.log.producer() as plain:
            while not self.stop.wait(self.dice.random() * _FEED_SECONDS):
                count = self.dice.choice((1, 1, 3, 10, 30))
                values = [f"{self.job.name}:{number + n}" for n in range(count)]
                number += count
                attempts = [Attempt("source", _partition(value), value) for value in values]
                padding = " " * self.dice.choice((0, 50, 50, 3_000))
                if self.dice.random() < 0.5:
                    self._batches(plain, notes, attempts, padding)
                else:
                    self._transaction(named, notes, attempts, padding)

    def _batches(
        self, producer: streamhouse.Producer, notes: Notes, attempts: list[Attempt], padding: str
    ) -> None:
        for partition in sorted({attempt.partition for attempt in attempts}):
            mine = tuple(attempt for attempt in attempts if attempt.partition == partition)
            who = f"{self.job.name}/plain"
            notes.write(Sent(who, mine, "unknown", atomic=True))
            values = [f"{attempt.value}{padding}" for attempt in mine]
            keys = [_key(str(attempt.value)) for attempt in mine]
            stored = producer.send_many("source", values, keys=keys, partition=partition).result()
            offsets = stored.partitions[partition]
            done = tuple(a._replace(offset=o) for a, o in zip(mine, offsets, strict=True))
            notes.write(Sent(who, done, "ok", atomic=True))

    def _transaction(
        self, producer: streamhouse.Producer, notes: Notes, attempts: list[Attempt], padding: str
    ) -> None:
        who, deliveries, outcome = f"{self.job.name}/named", [], "ok"
        notes.write(Sent(who, tuple(attempts), "unknown", atomic=True))
        fails = self.dice.random() < 0.1
        try:
            with producer.transaction() as tx:
                for attempt in attempts:
                    value = str(attempt.value)
                    deliveries.append(
                        tx.send("source", value + padding, _key(value), partition=attempt.partition)
                    )
                if fails:
                    raise HiccupError
            attempts = [
                attempt._replace(offset=delivery.result().offset)
                for attempt, delivery in zip(attempts, deliveries, strict=True)
            ]
        except HiccupError:
            outcome = "failed"
        except ProducerFencedError:
            notes.write(Sent(who, tuple(attempts), "failed", atomic=True))
            raise
        notes.write(Sent(who, tuple(attempts), _checked(outcome), atomic=True))
        self.note(f"feed {outcome}")


def _checked(outcome: str) -> Outcome:
    return "ok" if outcome == "ok" else "failed"


def _key(value: str) -> str:
    return f"k{crc32(value.encode()) % _KEYS}"


def _partition(value: str) -> int:
    return crc32(_key(value).encode()) % PARTITIONS["source"]


class _Stage(_Worker):
    """Makes records of the next topic out of those of the one before."""

    def run(self) -> None:
        job = self.job
        self.number = int(job.role[-1])
        source, self.target = TOPICS[self.number - 1], TOPICS[self.number]
        fixed = job.partitions is not None
        name = f"{job.role}-{job.slot}"
        options: dict[str, Any] = {} if fixed else {"session_timeout": _SESSION_SECONDS}
        with (
            self.log.producer(transactional_id=name) as producer,
            self.log.consumer(
                source,
                group=GROUPS[self.number - 1],
                partitions=job.partitions,
                assignor=job.assignor,
                auto_commit=False,
                value="str",
                **options,
            ) as consumer,
        ):
            while not self.stop.is_set():
                try:
                    if self.dice.random() < 0.6:
                        self._process(consumer, producer)
                    else:
                        self._by_hand(consumer, producer)
                except HiccupError:
                    self.note("hiccup")

    def _process(self, consumer: streamhouse.Consumer[Any, str], producer: streamhouse.Producer) -> None:
        """With :meth:`streamhouse.Log.process`, for a while."""
        ends = time.monotonic() + self.dice.random() * 3

        def transform(record: streamhouse.Record[Any, str]) -> Iterator[streamhouse.Output]:
            yield from self._outputs(record)
            if self.dice.random() < 0.003:
                yield streamhouse.Output(self.target, ABORTED, record.key)
                raise HiccupError

        count = self.log.process(
            consumer,
            producer,
            transform,
            batch_records=self.dice.choice((1, 20, 500)),
            batch_seconds=0.3,
            stop=_Until(self.stop, ends),
        )
        self.note(f"processed {count}")

    def _by_hand(self, consumer: streamhouse.Consumer[Any, str], producer: streamhouse.Producer) -> None:
        """With transactions, for a while, going back by hand after each that failed."""
        self._go_back(consumer)
        for _ in range(self.dice.randrange(30)):
            records = consumer.poll(timeout=0.1, max_records=self.dice.choice((1, 20, 500)))
            if self.stop.is_set():
                return
            if not records:
                continue
            aborts = self.dice.random() < 0.1
            try:
                with producer.transaction() as tx:
                    for record in records:
                        for output in self._outputs(record):
                            value = output.value + (ABORTED if aborts else "")
                            tx.send(output.topic, value, output.key, output.headers)
                    tx.commit_offsets(consumer)
                    if aborts:
                        raise HiccupError
                self.note("by hand")
            except StaleMemberError:
                self.note("stale")
                self._go_back(consumer)
            except DeliveryTimeoutError:
                self.note("unknown")
                producer.settle()
                self._go_back(consumer)
            except HiccupError:
                self.note("aborted")
                self._go_back(consumer)

    def _go_back(self, consumer: streamhouse.Consumer[Any, str]) -> None:
        for topic, partition in consumer.assignment:
            with suppress(NotAssignedError):
                found = consumer.committed(topic, partition)
                consumer.seek(topic, partition, 0 if found is None else found.offset)

    def _outputs(self, record: streamhouse.Record[Any, str]) -> Iterator[streamhouse.Output]:
        if self.dice.random() < _SLOW_PART:  # most of the time somebody is in the middle of a transaction
            time.sleep(self.dice.random() * _SLOW_SECONDS)
        origin = {"from": f"{record.partition}:{record.offset}".encode()}
        for value in outputs(self.number, record.value.rstrip()):
            yield streamhouse.Output(self.target, value, record.key, origin)


class _Until:
    """An event that also comes by itself."""

    def __init__(self, event: threading.Event, at: float) -> None:
        self._event = event
        self._at = at

    def is_set(self) -> bool:
        return self._event.is_set() or time.monotonic() >= self._at
