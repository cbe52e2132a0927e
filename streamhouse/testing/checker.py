"""Checks a recorded history: was anything lost, doubled, skipped or reordered?

A test writes down what its producers were told and what its consumers saw, as the operations of
:mod:`streamhouse.testing.history`; :func:`check_history` looks for what a log must never do. The
anomalies are those of Jepsen's ``jepsen.tests.kafka``, the checker that found them in Kafka,
Redpanda and Bufstream:

=====================  ==========================================================================
lost write             acknowledged and never read, though something after it was
unseen                 acknowledged and never read, at the end of the partition
duplicate              one value at two places
inconsistent offset    two values at one place
aborted read           read, though the send had failed for certain
phantom read           read, though nobody sent it
poll skip              a consumer passed over something that is there
non-monotonic poll     a consumer went back without having been told to
non-monotonic send     a producer's later record lies before its earlier one
torn transaction       of what is all or nothing a part was to be seen, at the end or in between
inconsistent ends      two looks at the ends of partitions, neither of which can be the earlier one
=====================  ==========================================================================

Those about order come as *internal*, within one operation, and *external*, between operations of the
same producer or consumer.

Offsets may have gaps: only what is known to exist can be skipped.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from streamhouse.testing.history import Attempt, Looked, Moved, Operation, Outcome, Polled, Sent, Value

Place: TypeAlias = tuple[str, int]
"""A topic and a partition."""

Kind: TypeAlias = Literal[
    "lost write",
    "unseen",
    "duplicate",
    "inconsistent offset",
    "aborted read",
    "phantom read",
    "internal poll skip",
    "external poll skip",
    "internal non-monotonic poll",
    "external non-monotonic poll",
    "internal non-monotonic send",
    "external non-monotonic send",
    "torn transaction",
    "inconsistent ends",
]


class Anomaly(msgspec.Struct, frozen=True):
    """Something that must not happen, and where it did.

    Attributes:
        kind: Which of the anomalies.
        topic: Where.
        partition: Where.
        actor: The producer or consumer that saw it; empty when it is nobody's in particular.
        detail: Offsets and values, as a sentence.
    """

    kind: Kind
    topic: str
    partition: int
    actor: str
    detail: str

    def __str__(self) -> str:
        actor = f" ({self.actor})" if self.actor else ""
        return f"{self.kind} in {self.topic}/{self.partition}{actor}: {self.detail}"


def check_history(operations: Iterable[Operation], *, read_to_end: bool = True) -> list[Anomaly]:
    r"""Every anomaly in a history; an empty list means it is what a log promises.

    Args:
        operations: What happened. The order matters only among the operations of one producer or
            consumer, so histories of several processes may simply be joined.
        read_to_end: Some consumer read every partition up to its end after the last send. If not,
            ``unseen`` is not reported.

    Example:
        >>> from streamhouse.testing.history import Attempt, Observed, Polled, Sent
        >>> history = [
        ...     Sent("p", (Attempt("t", 0, "a", 0), Attempt("t", 0, "b", 1)), "ok"),
        ...     Polled("c", (Observed("t", 0, 1, "b"),)),
        ... ]
        >>> print(*check_history(history), sep="\n")
        lost write in t/0 (p): offset 0, value 'a', though offset 1 was read
    """
    known = _Knowledge()
    for operation in operations:
        known.add(operation)
    known.index()
    return [
        *_contradictions(known),
        *_losses(known, read_to_end),
        *_wrong_reads(known),
        *_disordered_sends(known),
        *_disordered_polls(known),
        *_torn(known, read_to_end),
    ]


class _Send(NamedTuple):
    """What is known of one value's send, by the latest entry about it."""

    producer: str
    operation: int
    attempt: Attempt
    outcome: Outcome
    atomic: bool


class _Knowledge:
    """The history, indexed."""

    def __init__(self) -> None:
        self.sends: dict[Value, _Send] = {}  # in the order of their first mention
        self.reads: dict[Value, Place] = {}
        self.values: dict[Place, dict[int, set[Value]]] = {}
        self.read_up_to: dict[Place, int] = {}
        self.by_consumer: dict[str, list[Polled | Moved]] = {}
        self.ranks: dict[Place, dict[int, int]] = {}
        self.looks: list[dict[Place, int]] = []
        self._operations = 0

    def add(self, operation: Operation) -> None:
        self._operations += 1
        if isinstance(operation, Sent):
            self._add_sent(operation)
            return
        if isinstance(operation, Looked):
            self.looks.append({(topic, partition): end for topic, partition, end in operation.ends})
            return
        self.by_consumer.setdefault(operation.consumer, []).append(operation)
        if isinstance(operation, Polled):
            for topic, partition, offset, value in operation.records:
                place = (topic, partition)
                self._note(place, offset, value)
                self.reads[value] = place
                self.read_up_to[place] = max(offset, self.read_up_to.get(place, -1))

    def _add_sent(self, operation: Sent) -> None:
        for attempt in operation.records:
            earlier = self.sends.get(attempt.value)
            number = self._operations if earlier is None else earlier.operation
            self.sends[attempt.value] = _Send(
                operation.producer, number, attempt, operation.outcome, operation.atomic
            )
            if operation.outcome == "ok" and attempt.offset is not None:
                self._note((attempt.topic, attempt.partition), attempt.offset, attempt.value)

    def _note(self, place: Place, offset: int, value: Value) -> None:
        self.values.setdefault(place, {}).setdefault(offset, set()).add(value)

    def index(self) -> None:
        """Number the offsets known in each partition, so that neighbours can be told."""
        for place, offsets in self.values.items():
            self.ranks[place] = {offset: rank for rank, offset in enumerate(sorted(offsets))}

    def locations(self) -> Mapping[Value, Sequence[tuple[Place, int]]]:
        """Where each value was acknowledged or read, lowest offset first."""
        found: dict[Value, list[tuple[Place, int]]] = {}
        for place, ranks in self.ranks.items():
            for offset in ranks:
                for value in self.values[place][offset]:
                    found.setdefault(value, []).append((place, offset))
        return found


def _contradictions(known: _Knowledge) -> Iterable[Anomaly]:
    """Two values at one place, one value at two."""
    for place, offsets in known.values.items():
        for offset, values in offsets.items():
            if len(values) > 1:
                shown = ", ".join(sorted(map(repr, values)))
                yield Anomaly("inconsistent offset", *place, "", f"offset {offset} has {shown}")
    for value, places in known.locations().items():
        if len(places) > 1:
            shown = ", ".join(f"{topic}/{part}@{offset}" for (topic, part), offset in places)
            yield Anomaly("duplicate", *places[0][0], "", f"value {value!r} is at {shown}")


def _losses(known: _Knowledge, read_to_end: bool) -> Iterable[Anomaly]:
    """Acknowledged, and not read."""
    for value, send in known.sends.items():
        _, partition, _, offset = attempt = send.attempt
        if send.outcome != "ok" or offset is None or value in known.reads:
            continue
        end = known.read_up_to.get((attempt.topic, partition), -1)
        detail = f"offset {offset}, value {value!r}"
        if offset <= end:
            detail = f"{detail}, though offset {end} was read"
            yield Anomaly("lost write", attempt.topic, partition, send.producer, detail)
        elif read_to_end:
            yield Anomaly("unseen", attempt.topic, partition, send.producer, detail)


def _wrong_reads(known: _Knowledge) -> Iterable[Anomaly]:
    """Read, and not written."""
    for value, place in known.reads.items():
        send = known.sends.get(value)
        if send is None:
            yield Anomaly("phantom read", *place, "", f"nobody sent value {value!r}")
        elif send.outcome == "failed":
            yield Anomaly("aborted read", *place, send.producer, f"value {value!r} had failed")


def _disordered_sends(known: _Knowledge) -> Iterable[Anomaly]:
    """A producer's records in another order than it sent them.

    Sends of unknown outcome count too, where their record was read: a retry that lands late must
    not land after what was sent later.
    """
    sequences: dict[tuple[str, Place], list[tuple[int, int, Value]]] = {}
    locations = known.locations()
    for value, send in known.sends.items():
        if value not in locations:
            continue
        place, offset = locations[value][0]
        entry = (offset, send.operation, value)
        sequences.setdefault((send.producer, place), []).append(entry)
    for (producer, place), sequence in sequences.items():
        for (before, first, value), (after, second, later) in pairwise(sequence):
            if after <= before:
                detail = f"{value!r} got offset {before}, then {later!r} got {after}"
                if first == second:
                    yield Anomaly("internal non-monotonic send", *place, producer, detail)
                else:
                    yield Anomaly("external non-monotonic send", *place, producer, detail)


def _disordered_polls(known: _Knowledge) -> Iterable[Anomaly]:
    """A consumer that skips or goes back."""
    for consumer, operations in known.by_consumer.items():
        positions: dict[Place, int] = {}  # the last offset seen, per partition
        for operation in operations:
            if isinstance(operation, Moved):
                for topic, partition, offset in operation.positions:
                    positions.pop((topic, partition), None)
                    if offset is not None:
                        positions[topic, partition] = offset - 1
                continue
            touched: set[Place] = set()
            for topic, partition, offset, _ in operation.records:
                place = (topic, partition)
                before, inside = positions.get(place), place in touched
                wrong = _wrong_step(known.ranks[place], before, offset, inside)
                if wrong is not None:
                    kind, detail = wrong
                    yield Anomaly(kind, *place, consumer, detail)
                positions[place] = offset
                touched.add(place)


def _wrong_step(
    ranks: Mapping[int, int], before: int | None, after: int, inside: bool
) -> tuple[Kind, str] | None:
    """What is wrong with going from one offset to another, if anything."""
    if before is None:
        return None
    if after <= before:
        kind: Kind = "internal non-monotonic poll" if inside else "external non-monotonic poll"
        return kind, f"offset {after} after {before}"
    # An unknown `before` is the position of a seek: everything that is known above it is due.
    due = ranks[before] + 1 if before in ranks else sum(offset <= before for offset in ranks)
    if due != ranks[after]:
        missed = ranks[after] - due
        kind = "internal poll skip" if inside else "external poll skip"
        return kind, f"offset {after} after {before}, with {missed} known between"
    return None


def _torn(known: _Knowledge, read_to_end: bool) -> Iterable[Anomaly]:
    """What is all or nothing, and of which a part was to be seen without the rest."""
    wholes: dict[int, list[_Send]] = {}
    for send in known.sends.values():
        if send.atomic:
            wholes.setdefault(send.operation, []).append(send)
    found = {value: places[0] for value, places in known.locations().items()}
    looks = sorted(known.looks, key=lambda look: sum(look.values()))
    yield from _unordered(looks)
    ends: dict[Place, list[int]] = {}
    for sends in wholes.values():
        there = [send for send in sends if send.attempt.value in found]
        first = sends[0]
        if read_to_end and first.outcome == "unknown" and 0 < len(there) < len(sends):
            lost = next(send.attempt for send in sends if send.attempt.value not in found)
            detail = f"{len(there)} of {len(sends)} records are there; value {lost.value!r} is not"
            yield Anomaly("torn transaction", lost.topic, lost.partition, first.producer, detail)
            continue
        appeared: dict[int, tuple[Place, int]] = {}  # from which look on each record was to be seen
        for send in there:
            place, offset = found[send.attempt.value]
            if place not in ends:
                ends[place] = [look.get(place, 0) for look in looks]
            appeared.setdefault(bisect_right(ends[place], offset), (place, offset))
        if len(appeared) > 1:
            number = min(appeared)
            (place, offset), (other, missing) = appeared[number], appeared[max(appeared)]
            detail = (
                f"offset {offset} lay below the end when offset {missing} of {other[0]}/{other[1]},"
                f" which belongs to it, did not"
            )
            yield Anomaly("torn transaction", *place, first.producer, detail)


def _unordered(looks: Sequence[Mapping[Place, int]]) -> Iterable[Anomaly]:
    """Looks that cannot have been taken one after another."""
    for before, after in pairwise(looks):
        for place, end in before.items():
            if after.get(place, 0) < end:
                detail = f"it ended at {end}, and at {after.get(place, 0)} when others had grown"
                yield Anomaly("inconsistent ends", *place, "", detail)


def summarize(anomalies: Iterable[Anomaly]) -> dict[Kind, int]:
    """How many of each kind; empty when all is well."""
    return dict(Counter(anomaly.kind for anomaly in anomalies))
