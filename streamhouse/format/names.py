"""Every object name in the store is made here.

Names contain numbers and ids only, never text from a user: a topic called ``orders-1`` can never be
mistaken for partition 1 of ``orders``, nor ``../x`` for a path.

==============================  ==================================================================
``root.json``                   format version, log id, probe result; created once
``log/<seq:020>``               commit; put-if-absent, immutable
``lane/<agent>/<n:012>-<k:04>`` flush ``n`` of one agent, uploaded before a commit refers to it
``seg/<agent>/<n:012>``         segment: blocks uploaded ahead of the flush that refers to them
``hb/<process>``                heartbeat of the group members in one process; overwritten
``snap/<seq:020>-<id>``         the folded state at that commit
``logseg/<from:020>-<to:020>``  rolled-up commits, without their blocks
``gc/<epoch:012>``              truncation boundary; a chain of put-if-absent objects, never deleted
``clock/<agent>``               written to learn what time the store believes it is
``probe/<id>``                  capability probe, removed again
==============================  ==================================================================
"""

from __future__ import annotations

from typing import Final

ROOT: Final = "root.json"
LOG: Final = "log/"
LANES: Final = "lane/"
SEGMENTS: Final = "seg/"
HEARTBEATS: Final = "hb/"
SNAPSHOTS: Final = "snap/"
ROLLUPS: Final = "logseg/"
BOUNDARIES: Final = "gc/"
CLOCKS: Final = "clock/"
PROBES: Final = "probe/"

FIRST_SEQ: Final = 1  # slot of the first commit


def commit(seq: int) -> str:
    """The slot of commit ``seq``."""
    return f"log/{seq:020d}"


def lane_prefix(agent: str) -> str:
    """All objects of one agent's lane."""
    return f"lane/{agent}/"


def lane(agent: str, number: int, part: int = 0) -> str:
    """Part ``part`` of flush ``number`` of an agent; part 0 is written last and completes it."""
    return f"lane/{agent}/{number:012d}-{part:04d}"


def segment(agent: str, number: int) -> str:
    """Segment ``number`` of an uploader."""
    return f"seg/{agent}/{number:012d}"


def heartbeat(process: str) -> str:
    """What the group members in one process overwrite to show that they live."""
    return f"hb/{process}"


def snapshot(seq: int, unique: str) -> str:
    """A snapshot of the state at commit ``seq``."""
    return f"snap/{seq:020d}-{unique}"


def rollup(first: int, last: int) -> str:
    """The commits ``first`` to ``last``, both included, in one object."""
    return f"logseg/{first:020d}-{last:020d}"


def boundary(epoch: int) -> str:
    """The truncation boundary of a collection epoch."""
    return f"gc/{epoch:012d}"


def clock(agent: str) -> str:
    """The object an agent writes to learn the store's time."""
    return f"clock/{agent}"


def probe(unique: str) -> str:
    """An object of the capability probe."""
    return f"probe/{unique}"


def seq_of_commit(name: str) -> int:
    """The sequence number in a commit's name."""
    return int(name.removeprefix(LOG))


def seq_of_snapshot(name: str) -> int:
    """The sequence number in a snapshot's name."""
    return int(name.removeprefix(SNAPSHOTS).partition("-")[0])


def range_of_rollup(name: str) -> tuple[int, int]:
    """First and last commit of a roll-up."""
    first, _, last = name.removeprefix(ROLLUPS).partition("-")
    return int(first), int(last)


def epoch_of_boundary(name: str) -> int:
    """The collection epoch in a boundary's name."""
    return int(name.removeprefix(BOUNDARIES))


def parse_lane(name: str) -> tuple[str, int, int]:
    """Agent, flush number and part of a lane object."""
    agent, _, rest = name.removeprefix(LANES).partition("/")
    number, _, part = rest.partition("-")
    return agent, int(number), int(part)


def parse_segment(name: str) -> tuple[str, int]:
    """Uploader and number of a segment."""
    agent, _, number = name.removeprefix(SEGMENTS).partition("/")
    return agent, int(number)


def process_of_heartbeat(name: str) -> str:
    """The process whose heartbeat it is."""
    return name.removeprefix(HEARTBEATS)
