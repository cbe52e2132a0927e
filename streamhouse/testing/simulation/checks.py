"""What must hold of a run, checked from outside: the bucket and the ledger against the engines' states."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamhouse import limits
from streamhouse.commits import snapshots
from streamhouse.commits.state import BlockRef, State
from streamhouse.testing.simulation.records import Held, Ledger, Place, Run, SentAppend, Stamp, read_runs

if TYPE_CHECKING:
    from streamhouse.testing.simulation.world import Agent, World

HELD_SECONDS = limits.SLOT_KEEP_SECONDS - 1.0
_HELD_REFS_MAX = 8
_HELD_MAX = 20


class Reading:
    """What a state holds.

    Attributes:
        places: Per run: the places (topic, offset) where it lies.
        runs: Per partition: its runs in order.
    """

    def __init__(self) -> None:
        self.places: dict[Stamp, list[tuple[int, int]]] = defaultdict(list)
        self.runs: dict[Place, list[Run]] = {}


def check_blocks(world: World, state: State, who: str, newest: int | None = None) -> Reading:
    """Read the blocks that a state refers to; each must be there, be the right one and stay that.

    Args:
        world: Where.
        state: Whose blocks.
        who: Reads, for messages.
        newest: Only so many of each partition.
    """
    ledger = world.ledger
    reading = Reading()
    for topic in state.topics.values():
        if topic.id in ledger.deleted:
            continue
        for number, partition in topic.partitions.items():
            found = reading.runs[topic.id, number] = []
            total = len(partition.base_offsets)
            for index in range(max(0, total - newest) if newest else 0, total):
                ref = state.block_ref(partition, index)
                runs = _read(world, ref, f"{who} reads {topic.id}/{number}@{ref.base_offset}")
                for run in runs:
                    _check_run(ledger, run, (topic.id, number), state.seq, who)
                    reading.places[run.stamp].append((topic.id, run.offset))
                found += runs
    return reading


def _read(world: World, ref: BlockRef, where: str) -> list[Run]:
    data = world.bucket.objects.get(ref.object_name)
    if data is None:
        world.ledger.violation("live block removed", f"{where}: {ref.object_name} is gone")
        return []
    runs = read_runs(data[ref.position : ref.position + ref.length], ref)
    if runs is None or sum(run.records for run in runs) != ref.records or runs[0].offset != ref.base_offset:
        world.ledger.violation("wrong bytes", f"{where}: {ref}")
        return []
    return runs


def _check_run(ledger: Ledger, run: Run, where: Place, seq: int, who: str) -> None:
    place = (*where, run.offset)
    if ledger.contents.setdefault(place, run.stamp) != run.stamp:
        ledger.violation("value changed", f"{who} at {place}: {run.stamp}")
    number, part, at = run.stamp
    append = ledger.appends[number]
    if (append.topic, append.parts[part].partition) != where or append.counts[part][at] != run.records:
        ledger.violation("wrong place", f"append {number} part {part} lies at {place}")
    if ledger.cleaned.get(run.stamp, seq + 1) <= seq:
        ledger.violation("cleaned record came back", f"{who} at {place}: {run.stamp}")
    ledger.seen[run.stamp] = run.offset + run.records


def hold(world: World, agent: Agent) -> None:
    """Keep some references of a state, as a reader does who is slow."""
    state = agent.state
    places = [
        (partition, index)
        for topic in state.topics.values()
        for partition in topic.partitions.values()
        for index in range(len(partition.base_offsets))
    ]
    chosen = world.dice.sample(places, min(_HELD_REFS_MAX, len(places)))
    refs = [state.block_ref(partition, index) for partition, index in chosen]
    objects = world.bucket.objects
    world.ledger.held.append(
        Held(agent.fresh_at, agent.name, [(ref, objects.get(ref.object_name, b"")) for ref in refs])
    )
    del world.ledger.held[:-_HELD_MAX]


def check_held(world: World) -> None:
    """What a reader was given can be read for an hour, whatever happens to the log."""
    ledger = world.ledger
    ledger.held = [held for held in ledger.held if world.loop.time() - held.since < HELD_SECONDS]
    for held in ledger.held:
        for ref, data in held.refs:
            if world.bucket.objects.get(ref.object_name) != data:
                age = world.loop.time() - held.since
                ledger.violation("held block removed", f"{held.who}, {age:.0f} s old: {ref.object_name}")


def check_agreement(world: World, fresh: Agent, agents: Sequence[Agent]) -> None:
    """All states are the one that is loaded anew."""
    loaded = snapshots.image_of(fresh.state, "")
    for agent in agents:
        if snapshots.image_of(agent.state, "") != loaded:
            world.ledger.violation("states disagree", f"{agent.name} and one opened anew ({fresh.state.seq})")


def check_appends(world: World, state: State) -> None:
    """Everything acknowledged is there once, nothing is there twice, and in order."""
    ledger = world.ledger
    reading = check_blocks(world, state, "final")
    for append in ledger.appends:
        if append.topic in ledger.deleted:
            continue
        if append.topic not in state.topics:
            ledger.violation("topic lost", f"{append.topic}")
            continue
        _check_append(ledger, append, _Copies(ledger, append, reading, state))
    _check_transactions(ledger, reading, state)
    for place, runs in reading.runs.items():
        _check_partition_order(ledger, place, runs)
    _check_trims(ledger, state)


class _Copies:
    """Where each block of an append lies, apart from those that may be gone and are."""

    def __init__(self, ledger: Ledger, append: SentAppend, reading: Reading, state: State) -> None:
        self.found = [
            [reading.places.get((append.number, part, at), []) for at in range(len(blocks))]
            for part, blocks in enumerate(append.counts)
        ]
        self.counts = set()
        partitions = state.topics[append.topic].partitions
        for part, blocks in enumerate(self.found):
            partition = partitions.get(append.parts[part].partition)
            start = 0 if partition is None else partition.log_start
            for at, where in enumerate(blocks):
                if where or not ledger.may_be_gone((append.number, part, at), start):
                    self.counts.add(len(where))


def _check_append(ledger: Ledger, append: SentAppend, copies: _Copies) -> None:
    what = f"append {append.number}"
    if len(copies.counts) > 1:
        ledger.violation("torn append", f"{what}: {copies.found}")
    elif copies.counts == {0}:
        if append.acked_at is not None:
            ledger.violation("acknowledged but lost", what)
    elif copies.counts:
        if copies.counts != {1}:
            ledger.violation("duplicate", f"{what} lies at {copies.found}")
        if append.acked_at is None and not append.doubtful:
            ledger.violation("refused but there", f"{what} lies at {copies.found}")
    if append.offsets is not None and copies.counts <= {1}:
        bases = [blocks[0][0][1] if blocks[0] else -1 for blocks in copies.found]
        if any(
            -1 not in (told, base) and told != base for told, base in zip(append.offsets, bases, strict=True)
        ):
            ledger.violation("wrong offset", f"{what}: told {append.offsets}, lies at {bases}")


def _check_transactions(ledger: Ledger, reading: Reading, state: State) -> None:
    """All appends of a transaction are there, or none is."""
    reached: dict[str, int | None] = {}  # None: what says so may be gone
    for sent in ledger.transactions:
        counts = set()
        for append in sent.appends:
            if append.topic in state.topics:
                counts |= _Copies(ledger, append, reading, state).counts
        if {0, 1} <= counts:
            ledger.violation("torn transaction", f"transaction {sent.number}")
        if sent.commits is not None:
            group, offset = sent.commits
            before = reached.get(group, 0)
            if not counts:
                reached[group] = None
            elif before is not None:
                reached[group] = max(before, offset) if 1 in counts else before
    for group, expected in reached.items():
        held = state.groups[group].offsets if group in state.groups else {}
        found = sum(offset.offset for offset in held.values())  # there is one at most
        if expected is not None and found != expected:
            ledger.violation("torn transaction", f"{group} is at {found}, not at {expected}")


def _check_partition_order(ledger: Ledger, place: Place, runs: Sequence[Run]) -> None:
    """Later than what was acknowledged before it was sent, and each line in its own order."""
    sent_latest = float("-inf")
    last: dict[tuple[object, ...], tuple[int, int]] = {}
    sequences: dict[tuple[object, ...], int] = {}
    whole = place not in ledger.trims_asked and place not in ledger.thinned
    for run in runs:
        number, at_part, at = run.stamp
        append = ledger.appends[number]
        if append.acked_at is not None and append.acked_at < sent_latest:
            ledger.violation("out of order", f"append {number} lies after one sent later")
        sent_latest = max(sent_latest, append.sent_at)
        if last.get(append.line, (-1, -1)) >= (number, at):
            ledger.violation("out of order", f"append {number} lies after {last[append.line]}")
        last[append.line] = (number, at)
        if "epoch" in append.line and whole:
            sequence = append.parts[at_part].sequence + sum(append.counts[at_part][:at])
            if sequence != sequences.get(append.line, 0):
                ledger.violation("gap in sequence", f"append {number} at {sequence} in {append.line}")
            sequences[append.line] = sequence + run.records


def _check_trims(ledger: Ledger, state: State) -> None:
    """Log starts are where trims that were answered put them, and nothing else moved them."""
    for topic in state.topics.values():
        for number, partition in topic.partitions.items():
            place = topic.id, number
            least, most = ledger.trims_done.get(place, 0), ledger.trims_asked.get(place, 0)
            if not least <= partition.log_start <= most:
                ledger.violation("log start", f"{place}: {partition.log_start}, not in {least} to {most}")
