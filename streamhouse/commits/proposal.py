"""What waits to be committed, and how the fold's answer reaches whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from streamhouse import limits
from streamhouse.commits.fold import Code, Verdict
from streamhouse.commits.state import LANE_PARTS_MAX
from streamhouse.errors import (
    PartitionNotFoundError,
    ProducerFencedError,
    SequenceError,
    StreamhouseError,
    TopicNotFoundError,
)
from streamhouse.format.block import EncodedBlock
from streamhouse.format.commit import (
    Append,
    AppendPart,
    BlockEntry,
    DeleteTopic,
    Flush,
    LanePart,
    Operation,
    pack_lane,
)
from streamhouse.format.container import Buffer


class PartBlocks(msgspec.Struct, frozen=True):
    """Records for one partition.

    Attributes:
        partition: Number of the partition.
        sequence: Number of the first record among all that this producer sent there, from 0.
        blocks: The encoded records, in order.
    """

    partition: int
    sequence: int
    blocks: Sequence[EncodedBlock]


AppendListener = Callable[[Append, Sequence[int], Sequence[EncodedBlock]], None]
"""Told of the records that were accepted: the operation, the base offset per part, the blocks."""


class Proposal:
    """One operation with its blocks, and the future of its outcome."""

    __slots__ = ("blocks", "deadline", "future", "on_append", "operation", "size")

    def __init__(
        self,
        operation: Operation,
        blocks: Sequence[EncodedBlock],
        deadline: float,
        on_append: AppendListener | None = None,
    ) -> None:
        self.operation = operation
        self.blocks = blocks
        self.size = sum([block.size for block in blocks])
        self.deadline = deadline
        self.on_append = on_append
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # once proposed, it cannot be taken back

    def resolve(self, verdict: Verdict) -> None:
        """Tell the waiter what the fold said."""
        if (
            self.on_append is not None
            and verdict.code is Code.ACCEPTED
            and isinstance(self.operation, Append)
        ):
            self.on_append(self.operation, verdict.values, self.blocks)
        if self.future.done():
            return  # timed out before
        error = _refusal(self.operation, verdict)
        if error is not None:
            self.future.set_exception(error)
        elif isinstance(self.operation, Append):
            self.future.set_result(list(verdict.values))
        else:
            self.future.set_result(verdict)

    def fail(self, error: BaseException) -> None:
        """Tell the waiter that something went wrong."""
        if not self.future.done():
            self.future.set_exception(error)


def append_operation(
    topic: int, producer: int, epoch: int, parts: Sequence[PartBlocks]
) -> tuple[Append, list[EncodedBlock]]:
    """The operation for an append, with block numbers counting from 0, and its blocks."""
    entries = []
    blocks: list[EncodedBlock] = []
    for part in parts:
        entries.append(AppendPart(part.partition, part.sequence, len(blocks), len(part.blocks)))
        blocks.extend(part.blocks)
    return Append(topic, producer, epoch, tuple(entries)), blocks


def _refusal(operation: Operation, verdict: Verdict) -> StreamhouseError | None:
    code = verdict.code
    if code in (Code.ACCEPTED, Code.DUPLICATE, Code.TOPIC_EXISTS):
        return None
    what = f"topic id {getattr(operation, 'topic', '?')}"
    if code is Code.UNKNOWN_TOPIC:
        if isinstance(operation, DeleteTopic):
            return TopicNotFoundError(f"{what} was deleted by somebody else before")
        return TopicNotFoundError(f"{what} was deleted before the records could be written")
    if code is Code.UNKNOWN_PARTITION:
        return PartitionNotFoundError(f"{what} has no such partition")
    if code is Code.FENCED:
        return ProducerFencedError(f"a newer producer took over; nothing was written to {what}")
    return SequenceError(
        f"records for {what} were refused because earlier ones of the same producer are missing"
    )


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
        operations, entries, buffers = self._encode([list(self._blocks())])
        return Flush(self.agent, self.number, operations, entries), buffers[0]

    def lane_objects(self) -> tuple[Flush, list[list[Buffer]]]:
        """The flush as it stands in a cut, and its lane objects; part 0 must be written last."""
        groups = _group(list(self._blocks()))
        operations, entries, bodies = self._encode(groups)
        extra = [
            pack_lane(LanePart(self.agent, self.number, part), body)
            for part, body in enumerate(bodies)
            if part
        ]
        inner = Flush(self.agent, self.number, operations, entries)
        starts = tuple(_body_start(obj, body) for obj, body in zip(extra, bodies[1:], strict=True))
        first = pack_lane(
            LanePart(self.agent, self.number, 0, msgspec.structs.replace(inner, body_starts=(0, *starts))),
            bodies[0],
        )
        flush = msgspec.structs.replace(inner, body_starts=(_body_start(first, bodies[0]), *starts))
        return flush, [first, *extra]

    def _blocks(self) -> list[EncodedBlock]:
        return [block for proposal in self.proposals for block in proposal.blocks]

    def _encode(
        self, groups: list[list[EncodedBlock]]
    ) -> tuple[tuple[Operation, ...], tuple[BlockEntry, ...], list[list[Buffer]]]:
        entries: list[BlockEntry] = []
        bodies: list[list[Buffer]] = []
        for part, group in enumerate(groups):
            position = 0
            body: list[Buffer] = []
            for block in group:
                entries.append(
                    BlockEntry(
                        part,
                        position,
                        block.size,
                        block.count,
                        block.timestamp_min,
                        block.timestamp_max,
                        block.raw_bytes,
                    )
                )
                body.extend(block.buffers)
                position += block.size
            bodies.append(body)
        return self._operations(), tuple(entries), bodies

    def _operations(self) -> tuple[Operation, ...]:
        operations: list[Operation] = []
        shift = 0
        for proposal in self.proposals:
            operation = proposal.operation
            if isinstance(operation, Append) and shift:
                operation = Append(
                    operation.topic,
                    operation.producer,
                    operation.epoch,
                    tuple(
                        [
                            AppendPart(p.partition, p.sequence, p.first_block + shift, p.block_count)
                            for p in operation.parts
                        ]
                    ),
                )
            operations.append(operation)
            shift += len(proposal.blocks)
        return tuple(operations)


def _group(blocks: list[EncodedBlock]) -> list[list[EncodedBlock]]:
    """Blocks by lane object, each about as large as an upload should be."""
    total = sum([block.size for block in blocks])
    target = max(limits.LANE_OBJECT_BYTES_TARGET, -(-total // (LANE_PARTS_MAX - 1)))
    groups: list[list[EncodedBlock]] = [[]]
    size = 0
    for block in blocks:
        if size >= target:
            groups.append([])
            size = 0
        groups[-1].append(block)
        size += block.size
    return groups


def _body_start(obj: list[Buffer], body: list[Buffer]) -> int:
    return sum(map(len, obj)) - sum(map(len, body))
