"""What the readers of the compaction soak should have seen, given what the writers were told."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.soak.compaction_worker import Note, Saw, View, Wrote, is_tombstone, key_of

Place = tuple[str, int]


class Truth:
    """Which number is at which offset of which partition."""

    def __init__(self, notes: Iterable[Note]) -> None:
        found: dict[Place, dict[int, int]] = defaultdict(dict)
        self.complaints: list[str] = []
        for note in notes:
            if isinstance(note, Wrote):
                there = found[note.topic, note.partition]
                for index in range(note.count):
                    if there.setdefault(note.offset + index, note.number + index) != note.number + index:
                        self.complaints.append(f"two records were acknowledged at one offset: {note}")
        self.numbers: dict[Place, list[int]] = {}
        for place, there in found.items():
            if len(there) != max(there) + 1:
                self.complaints.append(f"{place}: {max(there) + 1 - len(there)} offsets nobody was told of")
            self.numbers[place] = [there.get(offset, -1) for offset in range(max(there) + 1)]

    @property
    def records(self) -> int:
        """How many were acknowledged."""
        return sum(map(len, self.numbers.values()))

    def end(self, place: Place) -> int:
        """The offset after the last record."""
        return len(self.numbers.get(place, ()))

    def latest(self, place: Place, stop: int | None = None) -> dict[bytes | None, int]:
        """The last offset of each key before an offset."""
        numbers = self.numbers.get(place, [])[:stop]
        return {key_of(place[0], number): offset for offset, number in enumerate(numbers)}

    def is_tombstone(self, place: Place, offset: int) -> bool:
        """Whether that record has no value."""
        return is_tombstone(place[0], self.numbers[place][offset])


class Rows(NamedTuple):
    """Records as they were read."""

    place: Place
    offsets: Sequence[int]
    numbers: Sequence[int]


def rows_of(note: Saw) -> Rows:
    """The columns of a note."""
    return Rows((note.topic, note.partition), array("q", note.offsets), array("q", note.numbers))


def judge(truth: Truth, notes: Iterable[Note]) -> tuple[list[str], Counter[str]]:
    """What is wrong with what was read, and how much that was."""
    wrong: list[str] = []
    read: Counter[str] = Counter()
    streams: dict[tuple[str, Place], list[int]] = defaultdict(list)
    for note in notes:
        if isinstance(note, View):
            wrong += judge_view(truth, note)
        if not isinstance(note, Saw):
            continue
        rows = rows_of(note)
        read[note.name or "scans"] += len(rows.offsets)
        wrong += judge_numbers(truth, rows)
        if note.name:
            streams[note.name, rows.place].extend(rows.offsets)
        else:
            wrong += judge_scan(truth, rows, note.start, note.end)
    for (name, place), offsets in streams.items():
        wrong += judge_stream(truth, name, place, offsets)
    return wrong, read


def judge_numbers(truth: Truth, rows: Rows) -> list[str]:
    """Each record is the one that was written there."""
    numbers = truth.numbers.get(rows.place, [])
    return [
        f"{rows.place} offset {offset} was read as number {number}"
        for offset, number in zip(rows.offsets, rows.numbers, strict=True)
        if not offset < len(numbers) or numbers[offset] != number
    ]


def judge_scan(truth: Truth, rows: Rows, start: int, end: int) -> list[str]:
    """A scan has all in its range; of a topic that is compacted by key at least each key's last record."""
    place, offsets = rows.place, list(rows.offsets)
    if place[0] != "keys":
        if offsets != list(range(start, end)):
            return [f"{place}: a scan from {start} to {end} has {len(offsets)} records, {offsets[:3]}…"]
        return []
    wrong = [] if offsets == sorted(set(offsets)) else [f"{place}: a scan is out of order"]
    seen, newest = set(offsets), truth.latest(place)
    return wrong + [
        f"{place}: a scan from {start} to {end} misses offset {offset}, the last of {key!r}"
        for key, offset in truth.latest(place, end).items()
        # A younger one, or a tombstone, may have been compacted away before the scan got there.
        if start <= offset == newest[key] and offset not in seen and not truth.is_tombstone(place, offset)
    ]


def judge_stream(truth: Truth, name: str, place: Place, offsets: list[int]) -> list[str]:
    """Who read on to the end has seen what has to be there: once and in order, unless it is a group."""
    group = name == "group"
    wrong = []
    if not group and any(one >= other for one, other in pairwise(offsets)):
        wrong.append(f"{name} {place}: records came twice or out of order")
    if place[0] == "plain":
        missed = sorted(set(range(truth.end(place))) - set(offsets))
        if missed:
            wrong.append(f"{name} {place}: {len(missed)} records were never read, {missed[:5]}")
    if truth.end(place) - 1 not in offsets[-1:] and not group:
        wrong.append(f"{name} {place}: ends at {offsets[-1:]}, not {truth.end(place) - 1}")
    return wrong


def judge_view(truth: Truth, view: View) -> list[str]:
    """The last value of each key, for who followed all changes."""
    expected = {
        f"{place[1]} {key.decode()}": truth.numbers[place][offset]
        for place in truth.numbers
        if place[0] == "keys"
        for key, offset in truth.latest(place).items()
        if key is not None and not truth.is_tombstone(place, offset)
    }
    differ = {key for key in expected | view.numbers if expected.get(key) != view.numbers.get(key)}
    return [
        f"{view.name}: {len(differ)} keys have another value than was written last: {sorted(differ)[:5]}"
    ] * bool(differ)
