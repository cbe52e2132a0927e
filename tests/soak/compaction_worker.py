"""What the processes of the compaction soak do, and what they write down of it.

Each record carries its number in a header; key and value follow from the number, so whoever reads it can tell
whether it is whole. Nobody who writes is killed: what was acknowledged is all there is.
"""

from __future__ import annotations

import random
import signal
import struct
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

import streamhouse
from streamhouse import limits
from streamhouse.errors import OffsetOutOfRangeError, TransactionError
from streamhouse.runtime import SystemRuntime

PARTITIONS: Final = {"plain": 3, "keys": 2, "ring": 2, "window": 1}
RING_BYTES: Final = 400_000
WINDOW_MS: Final = 3_000
BLOCK_BYTES: Final = 256 << 10
_WEIGHTS: Final = (5, 4, 2, 1)
_KEYS: Final = 300
_NOISE_BYTES: Final = 16 << 20
_VALUE_BYTES_MAX: Final = 2_000
_NUMBER: Final = struct.Struct(">Q")
_FRAME: Final = struct.Struct(">I")
_WRITER_BITS: Final = 40
_PATIENCE_SECONDS: Final = 180.0


class Plan(msgspec.Struct, frozen=True):
    """What all processes of a run have in common.

    Attributes:
        url: Where the log is.
        options: For its store.
        folder: For what they write down; files in there also say when to stop.
        factor: So many times as fast as usual does time pass for store and engine.
        segment_bytes: Size of a segment that is left alone for good.
    """

    url: str
    options: dict[str, Any] | None
    folder: str
    factor: float
    segment_bytes: int

    @property
    def group_factor(self) -> float:
        """A slower clock, for heartbeats; still fast enough to look at the boundary in time."""
        return max(1.0, self.factor / 60)


class Clock(SystemRuntime):
    """Time passes faster, but for the time of day.

    Args:
        factor: So many times.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor
        self._skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() * self._factor + self._skipped

    def skip(self, seconds: float) -> None:
        """Let that much time have passed."""
        self._skipped += seconds


class Wrote(msgspec.Struct, tag=True):
    """Acknowledged: consecutive numbers at consecutive offsets."""

    topic: str
    partition: int
    offset: int
    count: int
    number: int


class Saw(msgspec.Struct, tag=True):
    """Records in the order in which they were read: 64-bit offsets and numbers.

    ``name`` tells who read them; without one they are a scan from ``start`` up to ``end``.
    """

    name: str
    topic: str
    partition: int
    offsets: bytes
    numbers: bytes
    start: int = 0
    end: int = 0


class View(msgspec.Struct, tag=True):
    """What a reader that keeps the last value of each key ended with: numbers by partition and key."""

    name: str
    numbers: dict[str, int]


class Counted(msgspec.Struct, tag=True):
    """Figures for the report."""

    figures: dict[str, float]


Note = Wrote | Saw | View | Counted
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Note).decode


class Notes:
    """The file of one process."""

    def __init__(self, plan: Plan, name: str) -> None:
        self._file = Path(plan.folder, f"{name}.notes").open("ab")  # noqa: SIM115 - closed with the process

    def write(self, note: Note) -> None:
        """Append one."""
        data = _encode(note)
        self._file.write(_FRAME.pack(len(data)) + data)
        self._file.flush()


def read_notes(folder: str) -> Iterator[Note]:
    """All notes of all processes; the last one of a process that was killed may be torn."""
    for path in sorted(Path(folder).glob("*.notes")):
        data = memoryview(path.read_bytes())
        while len(data) >= _FRAME.size:
            (size,) = _FRAME.unpack_from(data)
            if len(data) < _FRAME.size + size:
                break
            yield _decode(data[_FRAME.size : _FRAME.size + size])
            data = data[_FRAME.size + size :]


# --- records -------------------------------------------------------------------------------------------

_noise = random.Random(0).randbytes(_NOISE_BYTES)


def _mixed(number: int) -> int:
    return (number * 0x9E3779B97F4A7C15 ^ number >> 7) & (1 << 62) - 1


def key_of(topic: str, number: int) -> bytes | None:
    """The key of a record."""
    return b"key-%05d" % (_mixed(number) % _KEYS) if topic == "keys" else None


def is_tombstone(topic: str, number: int) -> bool:
    """Whether it has no value."""
    return topic == "keys" and _mixed(number) // _KEYS % 12 == 0


def value_of(topic: str, number: int) -> bytes | None:
    """The value of a record: noise, which does not compress."""
    if is_tombstone(topic, number):
        return None
    mixed = _mixed(number) >> 8
    size = mixed % _VALUE_BYTES_MAX
    begin = mixed % (_NOISE_BYTES - size)
    return _noise[begin : begin + size]


def number_in(record: streamhouse.Record[Any, Any]) -> int:
    """The number of a record that was read; the rest of it must be what belongs to it."""
    (number,) = _NUMBER.unpack(record.headers[0][1])
    expected = key_of(record.topic, number), value_of(record.topic, number)
    assert (record.key, record.value) == expected, f"{record} is not what was written"
    return int(number)


def open_log(plan: Plan, factor: float | None = None, **settings: Any) -> streamhouse.Log:
    """The log under test, with fast time."""
    limits.SEGMENT_BYTES_MIN = plan.segment_bytes  # type: ignore[misc]
    settings = {
        "durability": "os",
        "snapshot_commits": 200,
        "delivery_timeout_seconds": 86_400.0,
        "inline_bytes_max": 20_000,
        "block_bytes_target": BLOCK_BYTES,
        "upkeep": False,
        **settings,
    }
    runtime = Clock(factor or plan.factor)
    return streamhouse.Log(plan.url, storage_options=plan.options, runtime=runtime, **settings)


def create_topics(log: streamhouse.Log, tombstone_ms: int) -> None:
    """What the run works on."""
    settings: dict[str, dict[str, Any]] = {
        "keys": {"cleanup_policy": "compact", "delete_retention_ms": tombstone_ms},
        "ring": {"retention_bytes": RING_BYTES},
        "window": {"retention_ms": WINDOW_MS},
    }
    for topic, partitions in PARTITIONS.items():
        log.create_topic(topic, partitions=partitions, **settings.get(topic, {}))


def _says(plan: Plan, what: str) -> bool:
    return Path(plan.folder, what).exists()


# --- writing -------------------------------------------------------------------------------------------


def write(plan: Plan, writer: int, pause_seconds: float) -> None:
    """Write until told to stop."""
    dice = random.Random(writer)
    notes = Notes(plan, f"writer-{writer}")
    number = writer << _WRITER_BITS
    given_up = 0
    with open_log(plan) as log, log.producer() as producer:
        while not _says(plan, "enough"):
            topic = dice.choices(list(PARTITIONS), _WEIGHTS)[0]
            partition = dice.randrange(PARTITIONS[topic])
            count = dice.choice((1, 1, 1, 2, 10, 60))
            numbers = range(number, number + count)
            number += count
            way = dice.random()
            if way < 0.15:
                number += count
                given_up += not _transact(producer, notes, topic, partition, numbers, number - count)
            elif way < 0.5:
                _send_each(producer, notes, topic, partition, numbers)
            else:
                stored = producer.send_many(topic, partition=partition, **_columns(topic, numbers)).result()
                _note(notes, topic, partition, stored.partitions[partition], numbers)
            time.sleep(dice.expovariate(1 / pause_seconds))
    notes.write(Counted({"transactions given up": given_up}))


def _columns(topic: str, numbers: Sequence[int]) -> dict[str, Any]:
    return {
        "values": [value_of(topic, number) for number in numbers],
        "keys": [key_of(topic, number) for number in numbers] if topic == "keys" else None,
        "headers": [{"n": _NUMBER.pack(number)} for number in numbers],
    }


def _send_each(producer: Any, notes: Notes, topic: str, partition: int, numbers: Sequence[int]) -> None:
    sent = [
        producer.send(
            topic,
            value_of(topic, number),
            key=key_of(topic, number),
            headers={"n": _NUMBER.pack(number)},
            partition=partition,
        )
        for number in numbers
    ]
    for number, delivery in zip(numbers, sent, strict=True):
        offset = delivery.result().offset
        _note(notes, topic, partition, range(offset, offset + 1), [number])


def _transact(producer: Any, notes: Notes, topic: str, partition: int, numbers: range, others: int) -> bool:
    """Write to two partitions at once; the second batch is numbered from ``others`` on."""
    second = "keys" if topic != "keys" else "plain"
    more = range(others, others + len(numbers))
    try:
        with producer.transaction() as transaction:
            one = transaction.send_many(topic, partition=partition, **_columns(topic, numbers))
            two = transaction.send_many(second, partition=0, **_columns(second, more))
    except TransactionError:
        return False  # too slow for a time that runs so fast; nothing was written
    _note(notes, topic, partition, one.result().partitions[partition], numbers)
    _note(notes, second, 0, two.result().partitions[0], more)
    return True


def _note(notes: Notes, topic: str, partition: int, offsets: range, numbers: Sequence[int]) -> None:
    assert len(offsets) == len(numbers)
    notes.write(Wrote(topic, partition, offsets[0], len(offsets), numbers[0]))


# --- reading -------------------------------------------------------------------------------------------


def _note_seen(notes: Notes, name: str, records: Sequence[Any], **where: int) -> None:
    seen: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for record in records:
        seen.setdefault((record.topic, record.partition), []).append((record.offset, number_in(record)))
    for (topic, partition), pairs in seen.items():
        offsets, numbers = (array("q", column).tobytes() for column in zip(*pairs, strict=True))
        notes.write(Saw(name, topic, partition, offsets, numbers, **where))


def scan(plan: Plan, name: str, records_max: int) -> None:
    """Read parts of partitions again and again, some with a long rest in the middle, until told to stop."""
    dice = random.Random(name)
    notes = Notes(plan, name)
    overtaken = rests = 0
    with open_log(plan, cache_bytes_max=4 << 20) as log:
        while not _says(plan, "enough"):
            topic = dice.choice(list(PARTITIONS))
            partition = dice.randrange(PARTITIONS[topic])
            info = log.topic(topic).partitions[partition].info()
            start = info.log_start
            if topic != "keys" and dice.random() < 0.8:
                start = dice.randint(start, info.high_watermark)
            end = info.high_watermark if topic == "keys" else min(info.high_watermark, start + records_max)
            rest_at = dice.randrange(200) if dice.random() < 0.1 else -1
            found: list[Any] = []
            try:
                for record in log.read(topic, start=start, until=end, partitions=[partition]):
                    found.append(record)
                    if len(found) == rest_at:
                        rests += 1
                        _rest(plan, dice.uniform(0, 1.5) * 3600 / plan.factor)
            except OffsetOutOfRangeError:
                overtaken += 1
                assert topic in {"ring", "window"}
                end = found[-1].offset + 1 if found else start
            if found:
                _note_seen(notes, "", found, start=start, end=end)
            time.sleep(0.05)
    notes.write(Counted({"scans that retention overtook": overtaken, "rests in mid-flight": rests}))


def _rest(plan: Plan, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not _says(plan, "enough"):
        time.sleep(0.05)


def follow(plan: Plan, name: str) -> None:
    """Read everything once, in order, to the very end, and keep the last value of each key."""
    notes = Notes(plan, name)
    view: dict[str, int] = {}
    with open_log(plan) as log, log.consumer(*PARTITIONS, reset="earliest") as consumer:
        while True:
            last = _says(plan, "written")
            records = consumer.poll(timeout=0.2, max_records=5_000)
            if last and not records and consumer.lag() == 0:
                break
            _note_seen(notes, name, records)
            for record in records:
                if record.topic == "keys":
                    place = f"{record.partition} {record.key.decode()}"
                    if record.value is None:
                        view.pop(place, None)
                    else:
                        view[place] = number_in(record)
    notes.write(View(name, view))


def share(plan: Plan, name: str) -> None:
    """Be a member of a group, leave it and come back, until the group is through."""
    dice = random.Random(name)
    notes = Notes(plan, name)
    factor = plan.group_factor
    ends = time.monotonic() + 1e9
    joined = 0
    with open_log(plan, factor) as log:
        while time.monotonic() < ends:
            joined += 1
            leaves = time.monotonic() + dice.uniform(1.0, 8.0)
            with log.consumer(
                "plain",
                "ring",
                group="readers",
                session_timeout=30.0 * factor,
                auto_commit_interval=0.5 * factor,
            ) as consumer:
                while time.monotonic() < min(leaves, ends):
                    _note_seen(notes, "group", consumer.poll(timeout=0.2, max_records=2_000))
                    if _says(plan, "written"):
                        ends = min(ends, time.monotonic() + _PATIENCE_SECONDS)
                        leaves = ends
                        if sum(log.groups["readers"].lag.values()) == 0:
                            ends = 0.0
    notes.write(Counted({"times joined": joined}))


# --- upkeep --------------------------------------------------------------------------------------------


def look_after(plan: Plan, name: str, thorough: bool) -> None:
    """Do upkeep until killed, or asked to end: in the background, or again and again by call."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    notes = Notes(plan, name)
    if thorough:
        _by_call(plan, notes, asked)
    else:
        _in_the_background(plan, notes, asked)


def _by_call(plan: Plan, notes: Notes, asked: list[int]) -> None:
    with open_log(plan) as log:
        while not asked:
            report = log.upkeep()
            figures = msgspec.structs.asdict(report)
            notes.write(
                Counted(
                    {
                        "bytes rewritten": figures["bytes_rewritten"],
                        "records removed by key": figures["records_removed"],
                        "objects collected": report.collected.objects_deleted,
                        "bytes collected": report.collected.bytes_deleted,
                        "rounds by call": 1,
                    }
                )
            )
            assert all("another process" in reason for reason in report.skipped), report.skipped
            time.sleep(0.3)


def _in_the_background(plan: Plan, notes: Notes, asked: list[int]) -> None:
    told: dict[str, float] = {}
    with open_log(plan, upkeep=True, upkeep_seconds=0.1) as log, log.consumer("plain", start="latest") as me:
        while not asked:
            me.poll(timeout=0.2)
            stats = log.stats().upkeep
            assert stats is not None
            assert stats.last_error is None, stats
            now: dict[str, float] = {
                "bytes rewritten": stats.bytes_rewritten,
                "records removed by key": stats.records_removed,
                "objects collected": stats.objects_deleted,
                "bytes collected": stats.bytes_deleted,
                "looks in the background": stats.looks,
            }
            notes.write(Counted({what: figure - told.get(what, 0) for what, figure in now.items()}))
            told = now
