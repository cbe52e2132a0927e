"""What was sent, answered and seen: the ledger against which a run is checked.

The content of a block tells which append it belongs to, so that whatever lies at an offset can be traced
back to who wrote it. A block that was put together of others tells the same of each, so a *run*, which is
the records that came in one block, is the smallest thing that moves or is dropped here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from streamhouse.commits.proposal import PartBlocks
from streamhouse.commits.state import BlockRef
from streamhouse.format.block import EncodedBlock, encode_block
from streamhouse.format.columns import columns_from_lists
from streamhouse.format.operations import Replace

_STAMP: Final = struct.Struct("<4sIHH")  # magic, append, part, block
_MAGIC: Final = b"blk:"
_RUN: Final = struct.Struct("<qIHHI")  # offset, stamp, records
_MERGED_MAGIC: Final = b"cmp:"
_COLUMNS: Final = encode_block(columns_from_lists(None, [b""], 0, None)).columns

Stamp: TypeAlias = tuple[int, int, int]
"""Append, part and block."""

Place: TypeAlias = tuple[int, int]
"""Topic and partition."""


class Run(NamedTuple):
    """Records that were written as one block."""

    offset: int
    stamp: Stamp
    records: int


class Violation(msgspec.Struct, frozen=True):
    """Something that must not happen, and did.

    Attributes:
        kind: Which promise was broken.
        what: The particulars.
    """

    kind: str
    what: str


class SentAppend:
    """One append: what was asked, and what is known of its outcome."""

    __slots__ = ("acked_at", "counts", "doubtful", "line", "number", "offsets", "parts", "sent_at", "topic")

    def __init__(
        self, number: int, topic: int, counts: list[list[int]], parts: list[PartBlocks], now: float
    ) -> None:
        self.number = number
        self.topic = topic
        self.counts = counts  # records per block, per part
        self.parts = parts
        self.sent_at = now
        self.acked_at: float | None = None
        self.offsets: list[int] | None = None
        self.doubtful = False  # some attempt had an unknown outcome
        self.line: tuple[object, ...] = ()  # appends of one line must lie in the order of their numbers


class SentTransaction(msgspec.Struct):
    """One transaction.

    Attributes:
        number: Its number.
        appends: What it writes; of these all are there or none.
        ranges: What it consumes: per partition the offsets from, and up to.
        commits: A group, of which nobody else is, and how far it is with this transaction.
    """

    number: int
    appends: list[SentAppend]
    ranges: Mapping[Place, tuple[int, int]]
    commits: tuple[str, int] | None = None


class Held(NamedTuple):
    """References that a reader took from a state that was fresh at a time."""

    since: float
    who: str
    refs: Sequence[tuple[BlockRef, bytes]]


class Ledger:
    """Everything that is known from outside."""

    def __init__(self, trace: Callable[..., None] | None) -> None:
        self.appends: list[SentAppend] = []
        self.transactions: list[SentTransaction] = []
        self.hashes: dict[int, bytes] = {}  # state hash by commit
        self.contents: dict[tuple[int, int, int], Stamp] = {}  # by topic, partition and offset
        self.seen: dict[Stamp, int] = {}  # the offset after those that were seen in the log
        self.topics: dict[int, int] = {}  # acknowledged ones, and their partitions
        self.outputs: dict[int, int] = {}  # those that transactions write to, and nobody deletes
        self.deleted: set[int] = set()  # topics whose deletion was asked for
        self.trims_asked: dict[Place, int] = {}
        self.trims_done: dict[Place, int] = {}
        self.rewrites: dict[tuple[Replace, str], set[Stamp]] = {}  # what each leaves out
        self.thinned: set[Place] = set()  # partitions in which one was asked for that leaves something out
        self.cleanable: set[Stamp] = set()  # runs that a rewriting that was asked for leaves out
        self.cleaned: dict[Stamp, int] = {}  # those it has left out, since which commit
        self.doubtful_offsets: set[tuple[str, Place, int]] = set()  # group, place, offset
        self.held: list[Held] = []
        self.violations: list[Violation] = []
        self._trace = trace

    def send(
        self, topic: int, partitions: list[int], sequences: list[int], counts: list[list[int]], now: float
    ) -> SentAppend:
        """Write down an append that is about to be sent.

        Args:
            topic: Its topic.
            partitions: Of its parts.
            sequences: Of the first record of each part.
            counts: Records per block, per part.
            now: When.
        """
        number = len(self.appends)
        parts = [
            PartBlocks(partition, sequence, [_block(number, part, at, n) for at, n in enumerate(blocks)])
            for part, (partition, sequence, blocks) in enumerate(
                zip(partitions, sequences, counts, strict=True)
            )
        ]
        append = SentAppend(number, topic, counts, parts, now)
        self.appends.append(append)
        return append

    def may_be_gone(self, stamp: Stamp, log_start: int) -> bool:
        """Whether a run that is not there was dropped, or lay before the log start, as far as is known."""
        if stamp in self.cleanable:
            return True
        append = self.appends[stamp[0]]
        end = self.seen.get(stamp)
        if end is None and append.offsets is not None and append.offsets[stamp[1]] >= 0:
            end = append.offsets[stamp[1]] + sum(append.counts[stamp[1]][: stamp[2] + 1])
        return log_start > 0 if end is None else end <= log_start

    def violation(self, kind: str, what: str) -> None:
        """Write down a broken promise."""
        self.violations.append(Violation(kind, what))
        if self._trace is not None:
            self._trace("VIOLATION", kind, what, "")


def read_runs(block: bytes, ref: BlockRef) -> list[Run] | None:
    """What a block holds, or ``None`` when these bytes are no block."""
    if block[:4] == _MERGED_MAGIC:
        if len(block) % _RUN.size != len(_MERGED_MAGIC):
            return None
        return [
            Run(offset, (append, part, at), count)
            for offset, append, part, at, count in _RUN.iter_unpack(memoryview(block)[len(_MERGED_MAGIC) :])
        ]
    if len(block) < _STAMP.size or len(block) != _STAMP.size + block[4] % 32:
        return None
    magic, append, part, at = _STAMP.unpack_from(block)
    return [Run(ref.base_offset, (append, part, at), ref.records)] if magic == _MAGIC else None


def merged_block(runs: Sequence[Run]) -> EncodedBlock:
    """One block with the records of several."""
    data = _MERGED_MAGIC + b"".join([_RUN.pack(run.offset, *run.stamp, run.records) for run in runs])
    newest = max(run.stamp[0] for run in runs)
    return _encoded(data, sum(run.records for run in runs), newest)


def _block(append: int, part: int, at: int, count: int) -> EncodedBlock:
    data = _STAMP.pack(_MAGIC, append, part, at)
    data += bytes(data[4] % 32)  # sizes differ, so that a wrong position cannot go unnoticed
    return _encoded(data, count, append)


def _encoded(data: bytes, count: int, timestamp: int) -> EncodedBlock:
    return EncodedBlock((data,), len(data), count, len(data), timestamp, timestamp, _COLUMNS)
