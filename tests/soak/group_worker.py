"""What one process of the soak of groups does: produce, and be several members, in all the ways there are."""

from __future__ import annotations

import faulthandler
import os
import random
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import msgspec

import streamhouse
from streamhouse.errors import ClosedError, StaleMemberError
from streamhouse.testing.group_history import Committed, Delivered, Given, Taken
from streamhouse.testing.history import Attempt, Observed, Outcome, Sent
from tests.soak.worker import Notes

TOPICS = {"soak-a": 4, "soak-b": 3}
LATE_TOPIC = "soak-c"
SESSION_SECONDS = 1.5
_MAX_POLL_SECONDS = 1.0
_SETTINGS = {"snapshot_commits": 50, "inline_bytes_max": 4_000, "delivery_timeout_seconds": 60.0}
_CLOCK = time.time

Topics = tuple[str | re.Pattern[str], ...]


class GroupPlan(msgspec.Struct, frozen=True):
    """A group under test.

    Attributes:
        name: Of the group.
        assignor: How it deals out.
        topics: What members subscribe to; none: a pattern that all topics match.
    """

    name: str
    assignor: str
    topics: tuple[str, ...]

    def subscription(self) -> Topics:
        """As consumers take it."""
        return self.topics or (re.compile("soak-.*"),)


class Job(msgspec.Struct, frozen=True):
    """What one process is to do.

    Attributes:
        url: Of the log.
        options: For its store.
        name: Of this process alone.
        slot: The same for all that take each other's place.
        folder: For its notes.
        groups: Of which to be a member; one thread each. A group may be there twice.
    """

    url: str
    options: dict[str, Any] | None
    name: str
    slot: int
    folder: str
    groups: tuple[GroupPlan, ...]


def open_log(url: str, options: dict[str, Any] | None) -> streamhouse.Log:
    """The log under test."""
    return streamhouse.Log(url, storage_options=options, linger_seconds=0.01, **_SETTINGS)


def main(job: Job) -> None:
    """Work until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    errors = os.open(f"{job.folder}/{job.name}.err", os.O_CREAT | os.O_WRONLY)
    os.dup2(errors, sys.stderr.fileno())
    faulthandler.register(signal.SIGUSR1)  # for a process that does not end
    notes = Notes(f"{job.folder}/{job.name}.history")
    failed = threading.Event()

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - whatever it is, the process shall fail by it
            traceback.print_exc()
            failed.set()
            stop.set()

    with open_log(job.url, job.options) as log:
        fed = threading.Event()  # only then, so that nobody waits for records that do not come
        feeder = threading.Thread(target=guarded, args=(_Feeder(log, job.name, notes, fed).run,))
        works = [_Member(log, job, number, notes, stop).run for number in range(len(job.groups))]
        members = [threading.Thread(target=guarded, args=(work,)) for work in works]
        for thread in (feeder, *members):
            thread.start()
        while any(thread.is_alive() for thread in members):
            time.sleep(0.05)  # not in a join: a signal that came while all were stopped would not end it
        fed.set()
        feeder.join()
    sys.exit(int(failed.is_set()))


class _Feeder:
    """Sends records to all partitions there are."""

    def __init__(self, log: streamhouse.Log, name: str, notes: Notes, stop: threading.Event) -> None:
        self._log = log
        self._name = name
        self._notes = notes
        self._stop = stop
        self._dice = random.Random(name)
        self._number = 0

    def run(self) -> None:
        """Until stopped."""
        with self._log.producer() as producer:
            while not self._stop.wait(self._dice.uniform(0.005, 0.08)):
                topic = self._dice.choice(list(self._log.topics))
                partition = self._dice.randrange(len(self._log.topic(topic).partitions))
                self._send(producer, topic, partition, self._dice.choice((1, 3, 20)))

    def _send(self, producer: Any, topic: str, partition: int, count: int) -> None:
        values = [f"{self._name}:{self._number + i}" for i in range(count)]
        self._number += count
        attempts = tuple(Attempt(topic, partition, value) for value in values)
        self._notes.write(Sent(self._name, attempts, "unknown"))
        stored = producer.send_many(topic, values, partition=partition).result()
        offsets = stored.partitions[partition]
        done = tuple(a._replace(offset=o) for a, o in zip(attempts, offsets, strict=True))
        self._notes.write(Sent(self._name, done, "ok"))


class _Stop(Exception):  # noqa: N818 - how a handler leaves its loop, with a record in hand
    pass


class _Member:
    """One consumer after another, in one group."""

    def __init__(
        self, log: streamhouse.Log, job: Job, number: int, notes: Notes, stop: threading.Event
    ) -> None:
        self._log = log
        self._group = job.groups[number]
        self._notes = notes
        self._stop = stop
        self._name = f"{job.name}/{self._group.name}/{number}"
        self._instance = f"{job.slot}/{number}"
        self._dice = random.Random(self._name)

    def run(self) -> None:
        """Until stopped."""
        for number in range(1_000_000):
            if self._stop.wait(self._dice.uniform(0.0, 1.0)):
                return
            life = Life(self._log, self._group, self._notes, f"{self._name}/{number}")
            life.instance = self._instance if self._dice.random() < 0.4 else ""
            life.live(self._stop, self._dice.uniform(0.5, 8.0))


class Life:
    """One consumer from its making to its end; it writes down what it sees.

    Args:
        log: The log.
        group: What to be a member of.
        notes: Where to write it down.
        name: Of this consumer alone.
    """

    def __init__(self, log: streamhouse.Log, group: GroupPlan, notes: Notes, name: str) -> None:
        self.instance = ""
        self._log = log
        self._group = group
        self._notes = notes
        self._name = name
        self._dice = random.Random(name)
        self.auto = self._dice.random() < 0.5
        self._limited = self._dice.random() < 0.3
        self._hangs = self._limited and self._dice.random() < 0.5
        self._calm = False
        self._consumer: Any = None
        self._held: dict[tuple[str, int], str] = {}  # what we have, and what we were called when it came
        self._unfinished = False
        self._late = ""  # the name under which it was busy for so long that the background may end it
        self._commits = 0

    def live(self, stop: threading.Event, seconds: float) -> None:
        """Consume until the time is over or somebody stops it, and end in one way or another."""
        ends = time.monotonic() + seconds
        self._consumer = self._make()
        try:
            use = self._dice.choice((self._poll, self._poll, self._batches, self._iterate))
            # Another one took over as this instance; or it was closed as long as it waited.
            with suppress(StaleMemberError, ClosedError):
                use(lambda: stop.is_set() or time.monotonic() > ends)
        except _Stop:
            self._unfinished = True
        self._end(stop)

    def drain(self, done: Callable[[Any], bool]) -> None:
        """Consume until all is done."""
        self.auto, self._limited, self._calm = True, False, True
        self._consumer = self._make()
        self._poll(lambda: done(self._consumer))
        self._consumer.close()

    def _make(self) -> Any:
        return self._log.consumer(
            *self._group.subscription(),
            group=self._group.name,
            assignor=self._group.assignor,
            auto_commit=self.auto,
            auto_commit_interval=0.2,
            session_timeout=SESSION_SECONDS,
            max_poll_interval=_MAX_POLL_SECONDS if self._limited else None,
            instance_id=self.instance or None,
            value="str",
            on_assign=self._take,
            on_revoke=self._give_back,
            on_lost=self._lose,
        )

    def _end(self, stop: threading.Event) -> None:
        consumer = self._consumer
        if self._unfinished:
            consumer.close(finished=False)
        elif self._dice.random() < 0.15 and not stop.is_set():
            del self._consumer, consumer  # dropped without a close; it leaves all the same
        else:
            consumer.close()

    # --- callbacks ---------------------------------------------------------------------------------

    def _take(self, places: Sequence[Any]) -> None:
        consumer = self._consumer
        positions = tuple((*place, consumer.position(*place)) for place in places)
        for place in places:
            self._held[tuple(place)] = consumer.member_id
        self._notes.write(
            Taken(
                self._name,
                self._group.name,
                consumer.member_id,
                self.instance,
                consumer.generation,
                positions,
                _CLOCK(),
            )
        )

    def _give_back(self, places: Sequence[Any]) -> None:
        late = self._consumer.member_id == self._late
        self._give(places, "unfinished" if self._unfinished or late else "revoked")
        if not self.auto and not self._unfinished:
            wanted = {tuple(place): self._consumer.position(*place) for place in places}
            self._commit(wanted)

    def _lose(self, places: Sequence[Any]) -> None:
        self._give(places, "lost")

    def _give(self, places: Sequence[Any], how: Any) -> None:
        by_member: dict[str, list[tuple[str, int]]] = {}
        for topic, partition in places:
            by_member.setdefault(self._held.pop((topic, partition)), []).append((topic, partition))
        for member, gone in by_member.items():
            self._notes.write(Given(self._name, self._group.name, member, tuple(gone), how, _CLOCK()))

    # --- consuming ---------------------------------------------------------------------------------

    def _poll(self, done: Callable[[], bool]) -> None:
        while not done():
            self._handle(self._consumer.poll(0.2, self._dice.choice((1, 10, 500))))

    def _batches(self, done: Callable[[], bool]) -> None:
        while not done():
            batches = self._consumer.poll_batches(0.2)
            self._handle([record for batch in batches for record in batch.records()])

    def _iterate(self, done: Callable[[], bool]) -> None:
        """Record by record."""
        for record in _records(self._consumer, done):
            self._handle([record])

    def _handle(self, records: Sequence[Any]) -> None:
        """Work on records, take note of them, and perhaps commit.

        Who is killed over the work has not seen them: a commit in the background must not cover them.
        """
        if not records:
            return
        began = time.monotonic()
        consumer = self._consumer
        seen = tuple(Observed(r.topic, r.partition, r.offset, r.value) for r in records)
        delivered = Delivered(
            self._name, self._group.name, consumer.member_id, consumer.generation, seen, _CLOCK()
        )
        if not self._calm:
            self._work()
        self._notes.write(delivered)
        if not self.auto and self._dice.random() < 0.3:
            self._commit_some(records)
        if self._limited and time.monotonic() - began > _MAX_POLL_SECONDS * 0.8:
            self._late = delivered.member

    def _work(self) -> None:
        chance = self._dice.random()
        if chance < 0.02:
            raise _Stop
        if chance < 0.04 and self._hangs:
            time.sleep(_MAX_POLL_SECONDS * 2)
        elif chance < 0.3:
            time.sleep(self._dice.uniform(0.0, 0.05))
        elif chance < 0.35:
            time.sleep(self._dice.uniform(0.0, 1.0))  # commits in the background meanwhile

    def _commit_some(self, records: Sequence[Any]) -> None:
        """Everything so far, or up to a record, or one partition."""
        consumer = self._consumer
        places = [tuple(place) for place in consumer.assignment]
        match self._dice.randrange(4):
            case 0:
                self._commit({place: consumer.position(*place) for place in places}, "all")
            case 1:
                self._commit(
                    {(records[-1].topic, records[-1].partition): records[-1].offset + 1}, records[-1]
                )
            case 2:
                place = self._dice.choice(places)
                self._commit({place: consumer.position(*place)})
            case 3:
                self._commit({place: consumer.position(*place) for place in places}, "later")

    def _commit(self, offsets: dict[Any, int], what: Any = None) -> None:
        """Commit by hand, and write down what came of it."""
        if not offsets:
            return
        self._commits += 1
        note = f"{self._name}#{self._commits}"
        told = Committed(
            self._name, self._group.name, tuple((*p, o) for p, o in offsets.items()), note, "unknown"
        )
        self._notes.write(told)

        def answered(outcome: Outcome) -> None:
            self._notes.write(msgspec.structs.replace(told, outcome=outcome))

        consumer = self._consumer
        try:
            if what == "later":
                consumer.commit_async(metadata=note).add_done_callback(lambda f: answered(_outcome(f)))
                return
            if what == "all":
                consumer.commit(metadata=note)
            else:
                consumer.commit(what or offsets, metadata=note)
        except StaleMemberError:
            answered("failed")
        else:
            answered("ok")


def _records(consumer: Any, done: Callable[[], bool]) -> Iterator[Any]:
    """An iteration that ends when it is done, also when there is no partition to wait for."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            if done() and not consumer.assignment:
                consumer.close()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for record in consumer:
            yield record
            if done():
                return
    finally:
        ended.set()
        watcher.join()


def _outcome(future: Future[None]) -> Outcome:
    error = future.exception()
    if error is None:
        return "ok"
    return "failed" if isinstance(error, StaleMemberError) else "unknown"
