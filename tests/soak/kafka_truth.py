"""What must hold of a log that gateways served while they were killed. Pure, but for reading the commits.

A topic is copied record by record, partition by partition, in transactions of consume, transform and produce.
So after *every* commit the end of a partition of the copy is the offset that the copying group has committed:
that is exactly once and all or nothing, at any moment and for whoever looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import msgspec

from streamhouse.commits import fold
from streamhouse.commits.state import State
from streamhouse.config import make_settings
from streamhouse.errors import ObjectNotFoundError
from streamhouse.format import names
from streamhouse.format.commit import decode_commit
from streamhouse.format.container import Kind, unpack_front
from streamhouse.runtime import SystemRuntime
from streamhouse.store.open import open_store

SOURCE = "in"
COPIES = {"copy-classic": "out-classic", "copy-consumer": "out-consumer"}
"""Groups that copy, and where to."""
READERS = ("read-classic", "read-consumer")
PARTITIONS = 4

Place = tuple[str, int]


class Look(NamedTuple):
    """The log after one commit.

    Attributes:
        seq: The commit.
        ends: High watermarks.
        offsets: What groups have committed.
    """

    seq: int
    ends: Mapping[Place, int]
    offsets: Mapping[tuple[str, str, int], int]


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    """A reader was told that its offsets are committed: group, partition of the source, next one wanted."""

    group: str
    offsets: tuple[tuple[int, int], ...]


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    """A reader of a group got records of the source: partition and offset."""

    group: str
    records: tuple[tuple[int, int], ...]


Seen = Committed | Delivered
decode_seen = msgspec.json.Decoder(Seen).decode


def looks(url: str, options: dict[str, Any] | None) -> Iterator[Look]:
    """The log after each of its commits, folded anew; they must all be there still."""
    store = open_store(url, options, make_settings({"single_writer": True}), SystemRuntime())
    state = State()
    try:
        for seq in count(names.FIRST_SEQ):
            name = names.commit(seq)
            try:
                front = unpack_front(store.get(name), Kind.COMMIT, name)
            except ObjectNotFoundError:
                return
            applied = fold.apply(state, seq, decode_commit(front.index, name), front.body_start)
            assert not applied.diverged, f"commit {seq} was written on another state"
            yield _look(state, seq)
    finally:
        store.close()


def _look(state: State, seq: int) -> Look:
    topics = state.topics
    return Look(
        seq,
        {
            (topic.name, number): partition.high_watermark
            for topic in topics.values()
            for number, partition in topic.partitions.items()
        },
        {
            (name, topics[topic].name, number): found.offset
            for name, group in state.groups.items()
            for (topic, number), found in group.offsets.items()
        },
    )


def judge_looks(history: Iterable[Look]) -> list[str]:
    """Moments at which a copy was not what its group had committed, and offsets that went back."""
    wrong = []
    before: Mapping[tuple[str, str, int], int] = {}
    for look in history:
        for group, copy in COPIES.items():
            for number in range(PARTITIONS):
                offset = look.offsets.get((group, SOURCE, number), 0)
                end = look.ends.get((copy, number), 0)
                if offset != end:
                    wrong.append(
                        f"commit {look.seq}: {copy}/{number} ends at {end}, {group} stands at {offset}"
                    )
        for place, offset in before.items():
            after = look.offsets.get(place, 0)
            if after < offset:
                wrong.append(f"commit {look.seq}: {place} went back from {offset} to {after}")
        before = look.offsets
    return wrong


def judge_copies(rows: Mapping[str, Mapping[int, Sequence[str]]]) -> list[str]:
    """Where a copy is not its original.

    Args:
        rows: Values by topic and partition, in the order of offsets.
    """
    wrong = []
    for copy in COPIES.values():
        for number in range(PARTITIONS):
            wanted, found = rows[SOURCE].get(number, ()), rows[copy].get(number, ())
            if list(wanted) == list(found):
                continue
            at = next(
                (n for n, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]),
                min(len(wanted), len(found)),
            )
            wrong.append(
                f"{copy}/{number} has {len(found)} records, {SOURCE} {len(wanted)}; they differ from {at} on"
            )
    return wrong


def judge_readers(history: Iterable[Seen], final: Look) -> list[str]:
    """Records that a group passed over: below what it committed, and given to none of its members."""
    delivered: dict[tuple[str, int], set[int]] = defaultdict(set)
    committed: dict[tuple[str, int], int] = defaultdict(int)
    for seen in history:
        if isinstance(seen, Delivered):
            for number, offset in seen.records:
                delivered[seen.group, number].add(offset)
        else:
            for number, offset in seen.offsets:
                committed[seen.group, number] = max(offset, committed[seen.group, number])
    wrong = []
    for group in READERS:
        for number in range(PARTITIONS):
            stands = final.offsets.get((group, SOURCE, number), 0)
            told = committed[group, number]
            if stands < told:
                wrong.append(
                    f"{group} was told that {told} is committed in partition {number}; it is {stands}"
                )
            missing = set(range(stands)) - delivered[group, number]
            if missing:
                shown = f"{len(missing)} records of partition {number}, such as {min(missing)}"
                wrong.append(f"{group} passed over {shown}")
    return wrong
