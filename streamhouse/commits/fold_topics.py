"""How topics change: the part of the fold that makes, alters, trims, compacts and deletes them."""

from __future__ import annotations

from streamhouse.commits.fold_appends import Placement
from streamhouse.commits.fold_groups import topic_changed
from streamhouse.commits.state import PartitionState, State, TopicState
from streamhouse.commits.verdicts import ACCEPTED, Code, Verdict
from streamhouse.format.operations import (
    AlterTopic,
    ClaimCompaction,
    Cleaned,
    CreateTopic,
    DeleteTopic,
    Replace,
    Trim,
)

_CLEANED_REMEMBERED = 8
_CLEANED_SPACING = 3  # into which the time that tombstones stay is cut; half as far apart at the least
assert _CLEANED_REMEMBERED >= 2 * _CLEANED_SPACING + 2


def create_topic(state: State, seq: int, time_ms: int, operation: CreateTopic) -> Verdict:
    """Make a topic."""
    present = state.topic_ids.get(operation.name)
    if present is not None:
        return Verdict(Code.TOPIC_EXISTS, (present,))
    topic = TopicState(state.next_topic_id, operation.name, operation.partitions, time_ms, operation.settings)
    state.next_topic_id += 1
    state.topics[topic.id] = topic
    state.topic_ids[topic.name] = topic.id
    topic_changed(state, seq, topic.id)  # ids are predictable: somebody may have subscribed already
    return Verdict(Code.ACCEPTED, (topic.id,))


def alter_topic(state: State, seq: int, operation: AlterTopic) -> Verdict:
    """Add partitions, change settings."""
    topic = state.topics.get(operation.topic)
    if topic is None:
        return Verdict(Code.UNKNOWN_TOPIC)
    if 0 < operation.partitions < topic.partition_count:
        return Verdict(Code.FEWER_PARTITIONS)
    if operation.settings is not None:
        known = topic.settings.schemas
        if operation.settings.schemas[: len(known)] != known:
            return Verdict(Code.STALE)  # somebody else altered the schema; stored records follow that one
        if operation.before is not None and operation.before != topic.settings:
            return Verdict(Code.STALE)  # what somebody else altered meanwhile would be taken back
        topic.settings = operation.settings
    if operation.partitions > topic.partition_count:
        topic.partition_count = operation.partitions
        topic_changed(state, seq, topic.id)
    return Verdict(Code.ACCEPTED, (topic.id,))


def delete_topic(state: State, seq: int, operation: DeleteTopic) -> Verdict:
    """Remove a topic with all it holds."""
    topic = state.topics.pop(operation.topic, None)
    if topic is None:
        return Verdict(Code.UNKNOWN_TOPIC)
    del state.topic_ids[topic.name]
    for producer in state.producers.values():
        for key in [key for key in producer.batches if key[0] == topic.id]:
            del producer.batches[key]
    state.block_count -= sum(len(p.base_offsets) for p in topic.partitions.values())
    for transaction in state.transactions.values():
        state.block_count -= transaction.forget_topic(topic.id)
    topic_changed(state, seq, topic.id)
    return Verdict(Code.ACCEPTED, (topic.id,))


def trim(state: State, operation: Trim) -> Verdict:
    """Move log starts; they never move back. Blocks with nothing left are forgotten."""
    topic = state.topics.get(operation.topic)
    if topic is None:
        return Verdict(Code.UNKNOWN_TOPIC)
    if not all(0 <= number < topic.partition_count for number, _ in operation.parts):
        return Verdict(Code.UNKNOWN_PARTITION)
    for number, before in operation.parts:
        partition = topic.partitions.get(number)
        if partition is not None:
            state.block_count -= partition.trim(before)
    return ACCEPTED


def claim_compaction(state: State, seq: int, operation: ClaimCompaction) -> Verdict:
    """Let one worker at a time rewrite a partition. It saves work; safety rests on the fingerprint."""
    partition = _partition(state, operation.topic, operation.partition)
    if isinstance(partition, Verdict):
        return partition
    claim = partition.claim
    if claim is not None and claim[0] != operation.worker and claim[1] != operation.instead_of:
        return Verdict(Code.CLAIMED, (claim[1],))
    partition.claim = operation.worker, seq
    return ACCEPTED


def replace(state: State, placement: Placement, operation: Replace) -> Verdict:
    """Put other blocks in the place of some, if those are still the ones that were rewritten."""
    blocks = placement.flush.blocks[operation.first_block : operation.first_block + len(operation.bases)]
    if not placement.use_segments(blocks):
        return Verdict(Code.EXPIRED)
    partition = _partition(state, operation.topic, operation.partition)
    if isinstance(partition, Verdict):
        return partition
    span = partition.span(operation.first, operation.stop)
    if span is None or (partition.fingerprint(span) != operation.sources and placement.guards.sources):
        return Verdict(Code.STALE)
    if any(block.timestamp_max > partition.timestamps[span.stop - 1] for block in blocks):
        return Verdict(Code.INVALID)  # times could not be bisected any more
    other = PartitionState()
    for base, block in zip(operation.bases, blocks, strict=True):
        other.high_watermark = base
        placement.add(other, block)
    partition.splice(span.start, span.stop, other)
    state.block_count += len(blocks) - len(span)
    # A block that holds the log start may have been cut in two before it.
    state.block_count -= partition.trim(partition.log_start)
    return ACCEPTED


def cleaned(state: State, time_ms: int, operation: Cleaned) -> Verdict:
    """Note how far a partition was compacted by key, and that its worker is done."""
    partition = _partition(state, operation.topic, operation.partition)
    if isinstance(partition, Verdict):
        return partition
    if operation.offset > partition.high_watermark:
        return Verdict(Code.INVALID)
    if partition.claim is not None and partition.claim[0] == operation.worker:
        partition.claim = None
    if operation.offset > 0:
        before = partition.cleaned
        spacing = state.topics[operation.topic].settings.delete_retention_ms // _CLEANED_SPACING
        if len(before) > 1 and time_ms - before[-2][1] < spacing:
            before = before[:-1]  # so that the oldest that is remembered is always old enough to tell
        partition.cleaned = [*before, (operation.offset, time_ms)][-_CLEANED_REMEMBERED:]
    return ACCEPTED


def _partition(state: State, topic: int, number: int) -> PartitionState | Verdict:
    found = state.topics.get(topic)
    if found is None:
        return Verdict(Code.UNKNOWN_TOPIC)
    return found.partitions.get(number) or Verdict(Code.UNKNOWN_PARTITION)
