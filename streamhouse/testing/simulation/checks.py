"""What must hold of a run, checked from outside: the bucket and the ledger against the engines' states."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamhouse.commits import snapshots
from streamhouse.commits.state import BlockRef, PartitionState, State
from streamhouse.testing.simulation.records import Ledger, SentAppend, read_stamp

if TYPE_CHECKING:
    from streamhouse.testing.simulation.world import Agent, World

Places = dict[tuple[int, int, int], list[tuple[int, int]]]
"""Per append, part and block: the places (topic, offset) where it lies."""


def check_blocks(world: World, state: State, who: str, newest: int | None = None) -> Places:
    """Read the blocks that a state refers to; each must be there, be the right one and stay that.

    Args:
        world: Where.
        state: Whose blocks.
        who: Reads, for messages.
        newest: Only so many of each partition.
    """
    ledger = world.ledger
    places: Places = defaultdict(list)
    for topic in state.topics.values():
        if topic.id in ledger.deleted:
            continue
        for number, partition in topic.partitions.items():
            total = len(partition.base_offsets)
            for index in range(max(0, total - newest) if newest else 0, total):
                ref = state.block_ref(partition, index)
                stamp = _read(world, ref, f"{who} reads {topic.id}/{number}@{ref.base_offset}")
                if stamp is None:
                    continue
                place = (topic.id, number, ref.base_offset)
                if ledger.contents.setdefault(place, stamp) != stamp:
                    ledger.violation("value changed", f"{who} at {place}: {stamp}")
                _check_belongs(ledger, stamp, place, ref)
                places[stamp].append((topic.id, ref.base_offset))
    return places


def _read(world: World, ref: BlockRef, where: str) -> tuple[int, int, int] | None:
    data = world.bucket.objects.get(ref.object_name)
    if data is None:
        world.ledger.violation("live block removed", f"{where}: {ref.object_name} is gone")
        return None
    stamp = read_stamp(data[ref.position : ref.position + ref.length])
    if stamp is None:
        world.ledger.violation("wrong bytes", f"{where}: {ref}")
    return stamp


def _check_belongs(
    ledger: Ledger, stamp: tuple[int, int, int], place: tuple[int, int, int], ref: BlockRef
) -> None:
    number, part, at = stamp
    append = ledger.appends[number]
    if (append.topic, append.parts[part].partition) != place[:2] or append.counts[part][at] != ref.count:
        ledger.violation("wrong place", f"append {number} part {part} lies at {place}")


def check_agreement(world: World, fresh: Agent, agents: Sequence[Agent]) -> None:
    """All states are the one that is loaded anew."""
    loaded = snapshots.image_of(fresh.state, "")
    for agent in agents:
        if snapshots.image_of(agent.state, "") != loaded:
            world.ledger.violation("states disagree", f"{agent.name} and one opened anew ({fresh.state.seq})")


def check_appends(world: World, state: State) -> None:
    """Everything acknowledged is there once, nothing is there twice, and in order."""
    ledger = world.ledger
    places = check_blocks(world, state, "final")
    for append in ledger.appends:
        if append.topic in ledger.deleted:
            continue
        if append.topic not in state.topics:
            ledger.violation("topic lost", f"{append.topic}")
            continue
        _check_append(ledger, append, places)
    _check_order(ledger, state, places)


def _check_append(ledger: Ledger, append: SentAppend, places: Places) -> None:
    found = [
        [places.get((append.number, part, at), []) for at in range(len(blocks))]
        for part, blocks in enumerate(append.counts)
    ]
    copies = {len(where) for blocks in found for where in blocks}
    what = f"append {append.number}"
    if len(copies) > 1:
        ledger.violation("torn append", f"{what}: {found}")
    elif copies != {0}:
        if copies != {1}:
            ledger.violation("duplicate", f"{what} lies at {found}")
        if append.acked_at is None and not append.doubtful:
            ledger.violation("refused but there", f"{what} lies at {found}")
    elif append.acked_at is not None:
        ledger.violation("acknowledged but lost", what)
    if append.offsets is not None and copies == {1}:
        bases = [blocks[0][0][1] for blocks in found]
        if any(told not in (-1, base) for told, base in zip(append.offsets, bases, strict=True)):
            ledger.violation("wrong offset", f"{what}: told {append.offsets}, lies at {bases}")


def _check_order(ledger: Ledger, state: State, places: Places) -> None:
    del places
    for topic in state.topics.values():
        if topic.id in ledger.deleted:
            continue
        for number, partition in topic.partitions.items():
            _check_partition_order(ledger, topic.id, number, partition)


def _check_partition_order(ledger: Ledger, topic: int, number: int, partition: PartitionState) -> None:
    """Later than what was acknowledged before it was sent, and each line in its own order."""
    sent_latest = float("-inf")
    last: dict[tuple[object, ...], tuple[int, int]] = {}
    sequences: dict[tuple[object, ...], int] = {}
    for base in partition.base_offsets:
        stamp = ledger.contents.get((topic, number, base))
        if stamp is None:
            continue  # reported before
        append = ledger.appends[stamp[0]]
        if append.acked_at is not None and append.acked_at < sent_latest:
            ledger.violation("out of order", f"append {append.number} lies after one sent later")
        sent_latest = max(sent_latest, append.sent_at)
        if last.get(append.line, (-1, -1)) >= (stamp[0], stamp[2]):
            ledger.violation("out of order", f"append {append.number} lies after {last[append.line]}")
        last[append.line] = (stamp[0], stamp[2])
        if "epoch" in append.line:
            part = append.parts[stamp[1]]
            sequence = part.sequence + sum(append.counts[stamp[1]][: stamp[2]])
            if sequence != sequences.get(append.line, 0):
                ledger.violation("gap in sequence", f"append {append.number} at {sequence} in {append.line}")
            sequences[append.line] = sequence + append.counts[stamp[1]][stamp[2]]
