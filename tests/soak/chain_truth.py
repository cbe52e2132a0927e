"""What a chain of three topics has to hold, computed from the first, and how a run differs from it. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple
from zlib import crc32

import msgspec

TOPICS = ("source", "first", "second")
GROUPS = ("stage-1", "stage-2")
ABORTED = "!"
"""Marks what was sent in a transaction that is aborted on purpose."""


def outputs(stage: int, value: str) -> list[str]:
    """What a stage makes of one record: none, one or two in the first, one in the second."""
    count = (0, 1, 1, 2)[crc32(value.encode()) % 4] if stage == 1 else 1
    return [f"{value}/{stage}.{number}" for number in range(count)]


class Row(NamedTuple):
    """A record of the chain; the origin is the partition and offset of what it was made of."""

    partition: int
    offset: int
    key: str
    value: str
    origin: tuple[int, int] | None = None


class Look(msgspec.Struct, frozen=True):
    """Ends of partitions and offsets of groups, all of one commit.

    Attributes:
        ends: Topic, partition, high watermark.
        offsets: Group, partition of its topic, next offset wanted.
    """

    ends: tuple[tuple[str, int, int], ...]
    offsets: tuple[tuple[str, int, int], ...]


def judge(rows: Mapping[str, Sequence[Row]], looks: Iterable[Look], final: Look) -> list[str]:
    """What is wrong, as sentences; empty when every record had its effect exactly once.

    Args:
        rows: All records of each topic, by partition in the order of offsets.
        looks: What was seen in between.
        final: What was seen at the end, when everything was processed.
    """
    looks = [*looks, final]
    wrong = list(_unfinished(rows, final))
    for stage in (1, 2):
        wrong += _differences(stage, rows)
        wrong += _cuts(stage, rows, looks)
    return wrong


def _unfinished(rows: Mapping[str, Sequence[Row]], final: Look) -> Iterator[str]:
    """Group offsets that are not the ends."""
    ends = {(topic, partition): end for topic, partition, end in final.ends}
    offsets = {(group, partition): offset for group, partition, offset in final.offsets}
    for topic, group in zip(TOPICS, GROUPS, strict=False):
        for partition in {row.partition for row in rows[topic]}:
            offset, end = offsets.get((group, partition)), ends.get((topic, partition))
            if offset != end:
                yield f"{group} stands at {offset} in partition {partition} of {topic}, which ends at {end}"


def _differences(stage: int, rows: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Records that are missing, doubled, out of order within their key, or should not be there."""
    topic = TOPICS[stage]
    wanted, found = defaultdict(list), defaultdict(list)
    for row in rows[TOPICS[stage - 1]]:
        wanted[row.key] += [(value, (row.partition, row.offset)) for value in outputs(stage, row.value)]
    for row in rows[topic]:
        if ABORTED in row.value:
            yield f"{topic}/{row.partition}@{row.offset}: {row.value!r} is of an aborted transaction"
        found[row.key].append((row.value, row.origin))
    for key in wanted.keys() | found.keys():
        if wanted[key] == found[key]:
            continue
        there, due = Counter(found[key]), Counter(wanted[key])
        for name, difference in (("missing", due - there), ("doubled or unexpected", there - due)):
            if difference:
                shown = ", ".join(value for value, _ in list(difference)[:3])
                yield f"{topic}, key {key}: {difference.total()} {name}, such as {shown}"
        if there == due:
            at = next(
                n for n, pair in enumerate(zip(wanted[key], found[key], strict=True)) if len({*pair}) > 1
            )
            yield f"{topic}, key {key}: out of order from {found[key][at][0]!r} on"


def _cuts(stage: int, rows: Mapping[str, Sequence[Row]], looks: Sequence[Look]) -> Iterator[str]:
    """Looks at which the offsets of the group and the records made of what lies before them differ."""
    due: dict[int, tuple[list[int], list[int]]] = {}  # per partition: offsets, and outputs up to each
    for partition, mine in _by_partition(rows[TOPICS[stage - 1]]).items():
        counts = accumulate([len(outputs(stage, row.value)) for row in mine], initial=0)
        due[partition] = [row.offset for row in mine], list(counts)
    made: dict[tuple[int, int], list[int]] = defaultdict(list)  # offsets, by partition and that of the origin
    for row in rows[TOPICS[stage]]:
        if row.origin is not None:
            made[row.partition, row.origin[0]].append(row.offset)
    before: dict[int, int] = {}
    for look in sorted(looks, key=lambda look: sum(end for *_, end in look.ends)):
        ends = {partition: end for topic, partition, end in look.ends if topic == TOPICS[stage]}
        offsets = {p: offset for group, p, offset in look.offsets if group == GROUPS[stage - 1]}
        for partition, (positions, counts) in due.items():
            offset = offsets.get(partition, 0)
            wanted = counts[bisect_left(positions, offset)]
            there = sum(
                bisect_left(mine, ends.get(place, 0))
                for (place, origin), mine in made.items()
                if origin == partition
            )
            if wanted != there:
                yield (
                    f"{GROUPS[stage - 1]} stood at {offset} in partition {partition} of {TOPICS[stage - 1]},"
                    f" when {there} records of {TOPICS[stage]} came from there in place of {wanted}"
                )
            if offset < before.get(partition, 0):
                yield f"{GROUPS[stage - 1]} went back from {before[partition]} to {offset} in {partition}"
            before[partition] = offset


def _by_partition(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.partition].append(row)
    for mine in found.values():
        assert all(a.offset < b.offset for a, b in pairwise(mine))
    return found
