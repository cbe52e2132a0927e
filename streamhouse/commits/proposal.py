"""What waits to be committed, and how the fold's answer reaches whoever waits for it."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from streamhouse import limits
from streamhouse.commits.state import LANE_PARTS_MAX
from streamhouse.commits.verdicts import Code, Verdict
from streamhouse.errors import (
    PartitionNotFoundError,
    ProducerFencedError,
    SequenceError,
    StaleMemberError,
    StreamhouseError,
    TopicNotFoundError,
    TransactionError,
)
from streamhouse.format.block import EncodedBlock
from streamhouse.format.commit import BlockEntry, Flush, LanePart, Segment, pack_lane
from streamhouse.format.container import Buffer
from streamhouse.format.operations import (
    AddToTransaction,
    AlterTopic,
    Append,
    AppendPart,
    ClaimCompaction,
    Cleaned,
    DeleteTopic,
    Operation,
    Replace,
    Transaction,
    Trim,
)


class PartBlocks(msgspec.Struct, frozen=True):
    """Records for one partition.

    Attributes:
        partition: Number of the partition.
        sequence: Number of the first record among all that this producer sent there, from 0.
        blocks: The encoded records, in order.
    """

    partition: int
    sequence: int
    blocks: Sequence[Block]


class StoredBlock(msgspec.Struct, frozen=True):
    """A block that lies in a segment already.

    Attributes:
        segment: Which.
        entry: Where in its body, and what it holds.
    """

    segment: Segment
    entry: BlockEntry

    @property
    def size(self) -> int:
        """Bytes that are still to be written: none."""
        return 0

    @property
    def count(self) -> int:
        """Number of records."""
        return self.entry.count


Block = EncodedBlock | StoredBlock

AppendListener = Callable[[Append, Sequence[int], Sequence[Block]], None]
"""Told of the records that were accepted: the operation, the base offset per part, the blocks."""


class Proposal:
    """One operation with its blocks, and the future of its outcome."""

    __slots__ = ("blocks", "deadline", "entered", "future", "on_append", "operation", "size")

    def __init__(
        self,
        operation: Operation,
        blocks: Sequence[Block],
        deadline: float,
        on_append: AppendListener | None = None,
    ) -> None:
        self.operation = operation
        self.blocks = blocks
        self.size = sum([block.size for block in blocks])
        self.deadline = deadline
        self.on_append = on_append
        self.entered = False  # whether the engine has it
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # once proposed, it cannot be taken back

    def resolve(self, verdict: Verdict) -> None:
        """Tell the waiter what the fold said."""
        if self.on_append is not None and verdict.code is Code.ACCEPTED:
            bases = iter(verdict.values)
            for append in appends_of(self.operation):
                self.on_append(append, [next(bases) for _ in append.parts], self.blocks)
        if self.future.done():
            return  # timed out before
        error = _refusal(self.operation, verdict)
        if error is not None:
            self.future.set_exception(error)
        elif isinstance(self.operation, Append | Transaction):
            self.future.set_result(list(verdict.values))
        else:
            self.future.set_result(verdict)

    def fail(self, error: BaseException) -> None:
        """Tell the waiter that something went wrong."""
        if not self.future.done():
            self.future.set_exception(error)


def append_operation(
    topic: int, producer: int, epoch: int, parts: Sequence[PartBlocks], first_block: int = 0
) -> tuple[Append, list[Block]]:
    """The operation for an append, with block numbers counting from ``first_block``, and its blocks."""
    if len({part.partition for part in parts}) != len(parts):
        raise ValueError("each partition may occur once in an append")
    entries = []
    blocks: list[Block] = []
    for part in parts:
        number = first_block + len(blocks)
        partition = operator.index(part.partition)  # a plain int: appends are not read back
        entries.append(AppendPart(partition, part.sequence, number, len(part.blocks)))
        blocks.extend(part.blocks)
    return Append(topic, producer, epoch, tuple(entries)), blocks


def appends_of(operation: Operation) -> tuple[Append, ...]:
    """The appends that an operation consists of."""
    if isinstance(operation, Append):
        return (operation,)
    return operation.appends if isinstance(operation, Transaction) else ()


_GOOD = {Code.ACCEPTED, Code.DUPLICATE, Code.TOPIC_EXISTS}


def _refusal(operation: Operation, verdict: Verdict) -> StreamhouseError | None:
    """The error for those refusals that mean the same whoever asked; the others are the asker's to see."""
    code = verdict.code
    if code in _GOOD:
        return None
    what = f"topic id {operation.topic}" if isinstance(operation, _OF_A_TOPIC) else "a topic"
    if code is Code.UNKNOWN_TOPIC:
        return TopicNotFoundError(f"{what} was deleted by somebody else before")
    if code is Code.UNKNOWN_PARTITION:
        return PartitionNotFoundError(f"{what} has no such partition")
    if not appends_of(operation) and not isinstance(operation, Transaction):
        return None
    if code is Code.FENCED:
        if isinstance(operation, Transaction) and operation.transactional_id:
            return ProducerFencedError(
                f"another producer with transactional_id={operation.transactional_id!r} was made after this "
                "one; nothing of the transaction was written, and this one must stop"
            )
        return ProducerFencedError(f"a newer producer took over; nothing was written to {what}")
    if code is Code.EXPIRED:
        return TransactionError(
            "the transaction took so long that what it had uploaded may be gone; nothing of it was written"
        )
    if code in {Code.UNKNOWN_MEMBER, Code.NOT_OWNED, Code.GROUP_NOT_EMPTY}:
        return StaleMemberError(
            "the offsets of the transaction come from a consumer that does not own the partitions (any "
            "more); nothing of it was written"
        )
    return SequenceError(
        f"records for {what} were refused because earlier ones of the same producer are missing"
    )


_OF_A_TOPIC = Append | AlterTopic | DeleteTopic | Trim | ClaimCompaction | Replace | Cleaned


class PendingFlush:
    """A numbered flush on its way: proposals, their blocks, and how far it has come."""

    def __init__(self, agent: str, number: int, proposals: list[Proposal]) -> None:
        self.agent = agent
        self.number = number
        self.proposals = proposals
        self.size = sum([p.size for p in proposals])
        self.uploaded: Flush | None = None  # as a cut carries it, once its lane objects are durable
        self.verdicts: tuple[Verdict, ...] | None = None
        self.over = asyncio.Event()  # applied, failed or given to another agent
        self.waits_for_cut = False
        self.exposed = False  # others may commit it, or an attempt of ours may still land

    @property
    def applied(self) -> bool:
        """Whether the fold has taken it."""
        return self.verdicts is not None

    def fail(self, error: BaseException) -> None:
        """Tell all waiters that something went wrong."""
        for proposal in self.proposals:
            proposal.fail(error)

    def inline(self) -> tuple[Flush, list[Buffer]]:
        """The flush with its blocks inside the commit."""
        entries, segments, bodies = self._lay_out(lambda _size: False)
        flush = Flush(self.agent, self.number, self._operations(), entries, (), segments)
        return flush, bodies[0]

    def lane_objects(self) -> tuple[Flush, list[list[Buffer]]]:
        """The flush as it stands in a cut, and its lane objects; part 0 must be written last."""
        target = max(limits.LANE_OBJECT_BYTES_TARGET, -(-self.size // (LANE_PARTS_MAX - 1)))
        entries, segments, bodies = self._lay_out(lambda size: size >= target)
        extra = [
            pack_lane(LanePart(self.agent, self.number, part), body)
            for part, body in enumerate(bodies)
            if part
        ]
        inner = Flush(self.agent, self.number, self._operations(), entries, (), segments)
        starts = tuple(_body_start(obj, body) for obj, body in zip(extra, bodies[1:], strict=True))
        first = pack_lane(
            LanePart(self.agent, self.number, 0, msgspec.structs.replace(inner, body_starts=(0, *starts))),
            bodies[0],
        )
        flush = msgspec.structs.replace(inner, body_starts=(_body_start(first, bodies[0]), *starts))
        return flush, [first, *extra]

    def _lay_out(
        self, full: Callable[[int], bool]
    ) -> tuple[tuple[BlockEntry, ...], tuple[Segment, ...], list[list[Buffer]]]:
        """Where each block goes, the segments there are, and the bodies; after a full one comes another."""
        entries: list[BlockEntry] = []
        segments: dict[Segment, int] = {}
        bodies: list[list[Buffer]] = [[]]
        position = 0
        for block in (block for proposal in self.proposals for block in proposal.blocks):
            if isinstance(block, StoredBlock):
                index = segments.setdefault(block.segment, len(segments))
                entries.append(msgspec.structs.replace(block.entry, part=-1 - index))
                continue
            if full(position):
                bodies.append([])
                position = 0
            entries.append(entry_of(block, len(bodies) - 1, position))
            bodies[-1].extend(block.buffers)
            position += block.size
        return tuple(entries), tuple(segments), bodies

    def _operations(self) -> tuple[Operation, ...]:
        operations: list[Operation] = []
        shift = 0
        for proposal in self.proposals:
            operations.append(_shifted(proposal.operation, shift) if shift else proposal.operation)
            shift += len(proposal.blocks)
        return tuple(operations)


def entry_of(block: EncodedBlock, part: int, position: int) -> BlockEntry:
    """The entry of a block that lies there."""
    return BlockEntry(
        part,
        position,
        block.size,
        block.count,
        block.timestamp_min,
        block.timestamp_max,
        block.raw_bytes,
    )


def _shifted(operation: Operation, shift: int) -> Operation:
    """The operation with block numbers that count from the beginning of its flush."""
    if isinstance(operation, Append):
        parts = [
            AppendPart(p.partition, p.sequence, p.first_block + shift, p.block_count) for p in operation.parts
        ]
        return msgspec.structs.replace(operation, parts=tuple(parts))
    if isinstance(operation, Transaction | AddToTransaction):
        appends = [_shifted(append, shift) for append in operation.appends]
        return msgspec.structs.replace(operation, appends=tuple(appends))
    if isinstance(operation, Replace):
        return msgspec.structs.replace(operation, first_block=operation.first_block + shift)
    return operation


def _body_start(obj: list[Buffer], body: list[Buffer]) -> int:
    return sum(map(len, obj)) - sum(map(len, body))
