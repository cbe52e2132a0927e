"""The fold: ``state = fold(apply, commits)``. Pure and deterministic, no I/O and no clock.

Commits hold proposals; what becomes of each is decided here, at the position where the commit landed, by
every process alike. Four rules make the log safe whatever the writers do:

* A flush counts only when its number is the next one of its agent. A flush that two cuts carry is
  applied once; a pipelined commit that overtook its predecessor has no effect and is put again.
* A sealed lane is over: nothing of that agent is applied any more, so its leftovers can be deleted.
* An append carries its producer's sequence per partition (as in KIP-98): repeated ones are answered with
  the offsets they got the first time, gaps and old epochs are refused.
* A commit names a commit its author has folded, and the state hash there. When the hash is not ours, one of
  us is wrong: the commit has no effect, and a process that sees it happen stops writing.

The hash is a chain over the nonces and verdicts, so two processes with equal hashes have taken the same
decisions all along.
"""

from __future__ import annotations

import enum
from hashlib import blake2b

import msgspec

from streamhouse import limits
from streamhouse.commits.state import (
    HASH_BYTES,
    LaneState,
    PartitionState,
    ProducerState,
    State,
    TopicState,
    inline_object,
    lane_object,
)
from streamhouse.format.commit import (
    Append,
    Commit,
    CreateTopic,
    DeleteTopic,
    Flush,
    Operation,
    SealLane,
)

NO_PRODUCER = -1


class Code(enum.IntEnum):
    """What the fold says to an operation."""

    ACCEPTED = 0
    DUPLICATE = 1
    UNKNOWN_TOPIC = 2
    UNKNOWN_PARTITION = 3
    TOPIC_EXISTS = 4
    OUT_OF_SEQUENCE = 5
    FENCED = 6
    WRONG_STATE = 7


class Verdict(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The answer to one operation.

    ``values`` are the base offsets of an append's parts (-1 where a duplicate's is forgotten), or the
    id of a topic that was made or already there.
    """

    code: Code
    values: tuple[int, ...] = ()


class Applied(msgspec.Struct, frozen=True):
    """What a commit did.

    Attributes:
        seq: Its slot.
        verdicts: Per flush that counted: agent, number and one verdict per operation.
        diverged: Its author had computed another state than we.
    """

    seq: int
    verdicts: tuple[tuple[str, int, tuple[Verdict, ...]], ...]
    diverged: bool = False


class Guards(msgspec.Struct, frozen=True):
    """Rules that the simulator can switch off, to show that it would notice."""

    flush_number: bool = True
    producer_sequence: bool = True
    sealed_lane: bool = True


ALL_GUARDS = Guards()
_encode_verdicts = msgspec.msgpack.Encoder().encode


def apply(state: State, seq: int, commit: Commit, body_start: int, guards: Guards = ALL_GUARDS) -> Applied:
    """Fold the commit in slot ``seq`` into the state.

    Args:
        state: The state at ``seq - 1``; changed in place.
        seq: The slot.
        commit: What was found there.
        body_start: Where the inline blocks begin in the object.
        guards: Which rules hold; all of them outside the simulator.
    """
    if seq != state.seq + 1:
        raise AssertionError(f"commit {seq} folded onto state {state.seq}")
    witnessed = state.hash_at(commit.witness_seq)
    diverged = witnessed is not None and witnessed != commit.witness_hash
    verdicts = []
    if not diverged:
        for flush in commit.flushes:
            answer = _apply_flush(state, seq, commit, flush, body_start, guards)
            if answer is not None:
                verdicts.append((flush.agent, flush.number, answer))
    state.seq = seq
    digest = blake2b(state.hash, digest_size=HASH_BYTES)
    digest.update(commit.nonce)
    digest.update(_encode_verdicts(verdicts))
    state.hash = digest.digest()
    state.hashes.append(state.hash)
    return Applied(seq=seq, verdicts=tuple(verdicts), diverged=diverged)


def _apply_flush(
    state: State, seq: int, commit: Commit, flush: Flush, body_start: int, guards: Guards
) -> tuple[Verdict, ...] | None:
    lane = _lane(state, flush.agent, seq)
    if lane.sealed and guards.sealed_lane:
        return None
    if flush.number != lane.next_number and guards.flush_number:
        return None
    lane.next_number = flush.number + 1
    lane.last_seq = seq
    return tuple(
        [
            _apply_operation(state, seq, commit, flush, lane, body_start, operation, guards)
            for operation in flush.operations
        ]
    )


def _lane(state: State, agent: str, seq: int) -> LaneState:
    lane = state.lanes.get(agent)
    if lane is None:
        lane = state.lanes[agent] = LaneState(len(state.agents), 0, seq, sealed=False)
        state.agents.append(agent)
    return lane


def _apply_operation(
    state: State,
    seq: int,
    commit: Commit,
    flush: Flush,
    lane: LaneState,
    body_start: int,
    operation: Operation,
    guards: Guards,
) -> Verdict:
    if isinstance(operation, Append):
        return _append(state, seq, flush, lane, body_start, operation, guards)
    if isinstance(operation, CreateTopic):
        return _create_topic(state, seq, commit.time_ms, operation)
    if isinstance(operation, DeleteTopic):
        return _delete_topic(state, operation)
    if isinstance(operation, SealLane):
        _lane(state, operation.agent, seq).sealed = True
        return Verdict(Code.ACCEPTED)
    if state.hash_at(operation.seq) not in {None, operation.state_hash}:
        return Verdict(Code.WRONG_STATE)
    state.snapshot_seq = max(state.snapshot_seq, operation.seq)
    return Verdict(Code.ACCEPTED)


def _create_topic(state: State, seq: int, time_ms: int, operation: CreateTopic) -> Verdict:
    present = state.topic_ids.get(operation.name)
    if present is not None:
        return Verdict(Code.TOPIC_EXISTS, (present,))
    topic = TopicState(state.next_topic_id, operation.name, operation.partitions, time_ms, seq)
    state.next_topic_id += 1
    state.topics[topic.id] = topic
    state.topic_ids[topic.name] = topic.id
    return Verdict(Code.ACCEPTED, (topic.id,))


def _delete_topic(state: State, operation: DeleteTopic) -> Verdict:
    topic = state.topics.pop(operation.topic, None)
    if topic is None:
        return Verdict(Code.UNKNOWN_TOPIC)
    del state.topic_ids[topic.name]
    for producer in state.producers.values():
        for key in [key for key in producer.batches if key[0] == topic.id]:
            del producer.batches[key]
    state.block_count -= sum(len(p.base_offsets) for p in topic.partitions.values())
    return Verdict(Code.ACCEPTED, (topic.id,))


def _append(
    state: State,
    seq: int,
    flush: Flush,
    lane: LaneState,
    body_start: int,
    append: Append,
    guards: Guards,
) -> Verdict:
    topic = state.topics.get(append.topic)
    if topic is None:
        return Verdict(Code.UNKNOWN_TOPIC)
    if any(part.partition >= topic.partition_count for part in append.parts):
        return Verdict(Code.UNKNOWN_PARTITION)
    counts = [
        sum(flush.blocks[i].count for i in range(p.first_block, p.first_block + p.block_count))
        for p in append.parts
    ]
    checked = append.producer != NO_PRODUCER and guards.producer_sequence
    if checked:
        refusal = _check_sequences(state, append, counts)
        if refusal is not None:
            return refusal
    bases = []
    for part in append.parts:
        partition = topic.partitions.get(part.partition)
        if partition is None:
            partition = topic.partitions[part.partition] = PartitionState()
        bases.append(partition.high_watermark)
        for entry in flush.blocks[part.first_block : part.first_block + part.block_count]:
            if flush.body_starts:
                ordinal, obj = lane_object(lane.ordinal, flush.number, entry.part)
                start = flush.body_starts[entry.part]
            else:
                ordinal, obj = inline_object(seq)
                start = body_start
            partition.add(
                ordinal,
                obj,
                start + entry.position,
                entry.length,
                entry.count,
                entry.timestamp_max,
                entry.raw_bytes,
            )
        state.block_count += part.block_count
    if checked:
        _remember(state, append, counts, bases)
    return Verdict(Code.ACCEPTED, tuple(bases))


def _check_sequences(state: State, append: Append, counts: list[int]) -> Verdict | None:
    producer = state.producers.get(append.producer)
    if producer is not None and append.epoch < producer.epoch:
        return Verdict(Code.FENCED)
    known = producer.batches if producer is not None and append.epoch == producer.epoch else {}
    repeated = []
    for part, count in zip(append.parts, counts, strict=True):
        batches = known.get((append.topic, part.partition))
        expected = batches[-1][0] + batches[-1][1] if batches else 0
        if part.sequence == expected:
            continue
        if part.sequence + count > expected:  # a gap, or a batch of which only the beginning is there
            return Verdict(Code.OUT_OF_SEQUENCE)
        same = [b[2] for b in batches or () if b[0] == part.sequence and b[1] == count]
        repeated.append(same[0] if same else -1)
    if not repeated:
        return None
    if len(repeated) < len(append.parts):
        return Verdict(Code.OUT_OF_SEQUENCE)
    return Verdict(Code.DUPLICATE, tuple(repeated))


def _remember(state: State, append: Append, counts: list[int], bases: list[int]) -> None:
    producer = state.producers.pop(append.producer, None)
    if producer is None or append.epoch > producer.epoch:
        producer = ProducerState(append.epoch)
    state.producers[append.producer] = producer  # most recently used last
    if len(state.producers) > limits.PRODUCERS_MAX:
        del state.producers[next(iter(state.producers))]
    for part, count, base in zip(append.parts, counts, bases, strict=True):
        batches = producer.batches.setdefault((append.topic, part.partition), [])
        batches.append((part.sequence, count, base))
        if len(batches) > limits.PRODUCER_BATCHES_REMEMBERED:
            del batches[0]
