"""How records get in: the part of the fold that deals with appends, transactions and segments."""

from __future__ import annotations

from collections.abc import Iterable

from streamhouse import limits
from streamhouse.commits.fold_groups import commit_offsets, refuse_offsets
from streamhouse.commits.guards import Guards
from streamhouse.commits.state import (
    LaneState,
    NamedProducer,
    PartitionState,
    ProducerState,
    State,
    inline_object,
    lane_object,
    segment_object,
)
from streamhouse.commits.verdicts import Code, Verdict
from streamhouse.format.commit import BlockEntry, Flush, Segment
from streamhouse.format.operations import (
    AddToTransaction,
    Append,
    AppendPart,
    EndTransaction,
    InitProducer,
    Transaction,
)

NO_PRODUCER = -1


class Placement:
    """Where the blocks of a flush lie, now that it is known which commit it came with."""

    def __init__(
        self, state: State, seq: int, flush: Flush, lane: LaneState, body_start: int, guards: Guards
    ) -> None:
        self.flush = flush
        self.guards = guards
        self._state = state
        self._seq = seq
        self._lane = lane
        self._body_start = body_start

    def add(self, partition: PartitionState, entry: BlockEntry) -> None:
        """Append a block to a partition."""
        if entry.part < 0:
            segment = self._segment(entry)
            ordinal, obj = segment_object(self._state.lane(segment.agent).ordinal, segment.number)
            start = segment.body_start
        elif self.flush.body_starts:
            ordinal, obj = lane_object(self._lane.ordinal, self.flush.number, entry.part)
            start = self.flush.body_starts[entry.part]
        else:
            ordinal, obj = inline_object(self._seq)
            start = self._body_start
        partition.add(
            ordinal,
            obj,
            start + entry.position,
            entry.length,
            entry.count,
            (entry.timestamp_min, entry.timestamp_max),
            entry.raw_bytes,
        )

    def use_segments(self, blocks: Iterable[BlockEntry]) -> bool:
        """Whether the segments of these blocks are certain to be there; they cannot be used again.

        An uploader's segments are used in order. So one that was passed over, and one whose uploader was
        sealed, can be deleted by anybody as soon as nothing refers to it.
        """
        segments = {self._segment(entry) for entry in blocks if entry.part < 0}
        lanes = [(self._state.lane(segment.agent), segment.number) for segment in segments]
        good = not any(lane.sealed or number < lane.next_number for lane, number in lanes)
        for lane, number in lanes:
            lane.next_number = max(lane.next_number, number + 1)
        return good or not self.guards.segments_in_order

    def blocks_of(self, part: AppendPart) -> tuple[BlockEntry, ...]:
        """The blocks of one part of an append."""
        return self.flush.blocks[part.first_block : part.first_block + part.block_count]

    def _segment(self, entry: BlockEntry) -> Segment:
        return self.flush.segments[-1 - entry.part]


def append(state: State, placement: Placement, operation: Append) -> Verdict:
    """Add records to partitions of one topic."""
    blocks = [block for part in operation.parts for block in placement.blocks_of(part)]
    if not placement.use_segments(blocks):
        return Verdict(Code.EXPIRED)
    refusal = refuse_append(state, placement, operation)
    return refusal or Verdict(Code.ACCEPTED, tuple(_add_records(state, placement, operation)))


def transaction(state: State, placement: Placement, time_ms: int, operation: Transaction) -> Verdict:
    """Append to any topics and commit offsets, all of it or nothing."""
    refusal = refuse_early(state, placement, operation)
    if refusal is not None:
        return refusal
    appends = [(each, refuse_append(state, placement, each)) for each in operation.appends]
    offsets = [(each, refuse_offsets(state, each, placement.guards)) for each in operation.offsets]
    if placement.guards.atomic:
        refusal = refuse_together([r for _, r in appends], [r for _, r in offsets])
        if refusal is not None:
            return refusal
    bases = [
        base
        for append, refusal in appends
        if refusal is None
        for base in _add_records(state, placement, append)
    ]
    for offset, refusal in offsets:
        if refusal is None:
            commit_offsets(state, time_ms, offset)
    return Verdict(Code.ACCEPTED, tuple(bases))


def refuse_early(
    state: State, placement: Placement, operation: Transaction | AddToTransaction
) -> Verdict | None:
    """Why nothing of a transaction can count, before one looks at what is in it."""
    parts = [part for each in operation.appends for part in each.parts]
    if not placement.use_segments([block for part in parts for block in placement.blocks_of(part)]):
        return Verdict(Code.EXPIRED)
    if placement.guards.fenced and is_fenced(state, operation):
        return Verdict(Code.FENCED)
    return None


def is_fenced(state: State, operation: Transaction | AddToTransaction | EndTransaction) -> bool:
    """Whether a newer producer has the name."""
    name = operation.transactional_id
    present = state.named_producers.get(name)
    return bool(name) and (present is None or not present.is_now(operation.producer, operation.epoch))


def refuse_together(appends: list[Verdict | None], offsets: list[Verdict | None]) -> Verdict | None:
    """Why none of the parts of a transaction can count, if one of them cannot."""
    repeated = [verdict for verdict in appends if verdict is not None and verdict.code is Code.DUPLICATE]
    if repeated and len(repeated) == len(appends):
        return Verdict(Code.DUPLICATE, tuple(value for verdict in repeated for value in verdict.values))
    for refusal in (*appends, *offsets):
        if refusal is not None:
            # A part of it that is in the log already cannot have come from this transaction.
            return Verdict(Code.OUT_OF_SEQUENCE) if refusal.code is Code.DUPLICATE else refusal
    return None


def init_producer(state: State, guards: Guards, operation: InitProducer) -> Verdict:
    """Give a named producer the next epoch; what its older incarnation has open is given up."""
    name = operation.transactional_id
    present = state.named_producers.get(name) or NamedProducer(operation.producer, -1)
    if operation.again and present.identity != operation.producer:
        return Verdict(Code.FENCED)
    if operation.instead_of is not None and not present.is_now(*operation.instead_of):
        return Verdict(Code.FENCED)
    epoch = present.epoch + 1
    if epoch > limits.PRODUCER_EPOCH_MAX and present.identity != operation.producer:
        epoch = 0  # the identity is another one, so nobody mistakes it for an old epoch
    state.named_producers[name] = NamedProducer(operation.producer, epoch, 0, operation.timeout_ms)
    if guards.abandoned:
        abandoned = state.transactions.pop(name, None)
        state.block_count -= 0 if abandoned is None else abandoned.block_count
    return Verdict(Code.ACCEPTED, (operation.producer, epoch))


def refuse_append(state: State, placement: Placement, operation: Append) -> Verdict | None:
    """Why records cannot be added, if so."""
    topic = state.topics.get(operation.topic)
    if topic is None:
        return Verdict(Code.UNKNOWN_TOPIC)
    if any(part.partition >= topic.partition_count for part in operation.parts):
        return Verdict(Code.UNKNOWN_PARTITION)
    if operation.producer == NO_PRODUCER or not placement.guards.producer_sequence:
        return None
    return _refuse_sequences(state, placement, operation)


def _refuse_sequences(state: State, placement: Placement, operation: Append) -> Verdict | None:
    producer = state.producers.get(operation.producer)
    if producer is not None and operation.epoch < producer.epoch:
        return Verdict(Code.FENCED)
    known = producer.batches if producer is not None and operation.epoch == producer.epoch else {}
    repeated = []
    for part in operation.parts:
        count = _records(placement, part)
        batches = known.get((operation.topic, part.partition))
        expected = batches[-1][0] + batches[-1][1] if batches else 0
        if part.sequence == expected:
            continue
        if part.sequence + count > expected:  # a gap, or a batch of which only the beginning is there
            return Verdict(Code.OUT_OF_SEQUENCE)
        same = [b[2] for b in batches or () if b[0] == part.sequence and b[1] == count]
        repeated.append(same[0] if same else -1)
    if not repeated:
        return None
    if len(repeated) < len(operation.parts):
        return Verdict(Code.OUT_OF_SEQUENCE)
    return Verdict(Code.DUPLICATE, tuple(repeated))


def _add_records(state: State, placement: Placement, operation: Append) -> list[int]:
    topic = state.topics[operation.topic]
    bases = []
    for part in operation.parts:
        partition = topic.partitions.get(part.partition)
        if partition is None:
            partition = topic.partitions[part.partition] = PartitionState()
        bases.append(partition.high_watermark)
        for entry in placement.blocks_of(part):
            placement.add(partition, entry)
        state.block_count += part.block_count
    if operation.producer != NO_PRODUCER and placement.guards.producer_sequence:
        remember(state, placement, operation, bases)
    return bases


def remember(state: State, placement: Placement, operation: Append, bases: list[int]) -> None:
    """Note the sequences of an append, and the base offset of each part."""
    producer = state.producers.pop(operation.producer, None)
    if producer is None or operation.epoch > producer.epoch:
        producer = ProducerState(operation.epoch)
    state.producers[operation.producer] = producer  # most recently used last
    if len(state.producers) > limits.PRODUCERS_MAX:
        del state.producers[next(iter(state.producers))]
    for part, base in zip(operation.parts, bases, strict=True):
        batches = producer.batches.setdefault((operation.topic, part.partition), [])
        batches.append((part.sequence, _records(placement, part), base))
        if len(batches) > limits.PRODUCER_BATCHES_REMEMBERED:
            del batches[0]


def _records(placement: Placement, part: AppendPart) -> int:
    return sum([block.count for block in placement.blocks_of(part)])
