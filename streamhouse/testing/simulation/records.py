"""What was sent, what was answered, and what was seen: the ledger against which a run is checked.

The content of a block tells which append it belongs to, so that whatever lies at an offset can be traced
back to who wrote it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import msgspec

from streamhouse.commits.proposal import PartBlocks
from streamhouse.format.block import EncodedBlock, encode_block
from streamhouse.format.columns import columns_from_lists

_STAMP: Final = struct.Struct("<4sIHH")  # magic, append, part, block
_MAGIC: Final = b"blk:"
_COLUMNS: Final = encode_block(columns_from_lists(None, [b""], 0, None)).columns


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


class Ledger:
    """Everything that is known from outside."""

    def __init__(self, trace: Callable[..., None] | None) -> None:
        self.appends: list[SentAppend] = []
        self.hashes: dict[int, bytes] = {}  # state hash by commit
        self.contents: dict[tuple[int, int, int], tuple[int, int, int]] = {}  # stamp by place
        self.topics: dict[int, int] = {}  # acknowledged ones, and their partitions
        self.deleted: set[int] = set()  # topics whose deletion was asked for
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

    def violation(self, kind: str, what: str) -> None:
        """Write down a broken promise."""
        self.violations.append(Violation(kind, what))
        if self._trace is not None:
            self._trace("VIOLATION", kind, what, "")


def read_stamp(block: bytes) -> tuple[int, int, int] | None:
    """Append, part and number of a block, or ``None`` when these bytes are no block."""
    if len(block) < _STAMP.size or len(block) != _STAMP.size + block[4] % 32:
        return None
    magic, append, part, at = _STAMP.unpack_from(block)
    return (append, part, at) if magic == _MAGIC else None


def _block(append: int, part: int, at: int, count: int) -> EncodedBlock:
    data = _STAMP.pack(_MAGIC, append, part, at)
    data += bytes(data[4] % 32)  # sizes differ, so that a wrong position cannot go unnoticed
    return EncodedBlock((data,), len(data), count, len(data), append, append, _COLUMNS)
