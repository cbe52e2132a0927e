"""Transactions that come bit by bit: the part of the fold that keeps them aside until they end.

A transaction of this library is one operation. Kafka's producers hand theirs over piece by piece instead,
each piece acknowledged, perhaps by way of several processes, any of which may die before the end. So the
pieces are kept in the state: their blocks are in the log already, and belong to no partition. The end is one
operation again, and with it all of them get their offsets, or none ever does.
"""

from __future__ import annotations

import msgspec

from streamhouse import limits
from streamhouse.commits.fold_appends import (
    Placement,
    is_fenced,
    refuse_append,
    refuse_early,
    refuse_together,
    remember,
)
from streamhouse.commits.fold_groups import commit_offsets, refuse_offsets
from streamhouse.commits.guards import Guards
from streamhouse.commits.state import OpenTransaction, PartitionState, State
from streamhouse.commits.verdicts import Code, Verdict
from streamhouse.format.operations import AddToTransaction, Append, CommitOffsets, EndTransaction


def add_to_transaction(
    state: State, placement: Placement, time_ms: int, operation: AddToTransaction
) -> Verdict:
    """Put records and offsets aside for a named producer.

    The offsets in the verdict are the lowest that the records can get: what they will be is settled at the
    end.
    """
    refusal = refuse_early(state, placement, operation) or _refuse_late(state, placement.guards, operation)
    if refusal is not None:
        return refusal
    refusal = refuse_together(
        [refuse_append(state, placement, each) for each in operation.appends],
        [refuse_offsets(state, each, placement.guards) for each in operation.offsets],
    )
    if refusal is not None:
        return refusal
    blocks = sum(part.block_count for append in operation.appends for part in append.parts)
    opened = state.transactions.get(operation.transactional_id)
    if opened is None:
        opened = OpenTransaction(time_ms)
    elif opened.block_count + blocks > limits.TRANSACTION_BLOCKS_MAX:
        return Verdict(Code.FULL)
    state.transactions[operation.transactional_id] = opened
    state.block_count += blocks
    lowest = [base for append in operation.appends for base in _put_aside(state, placement, opened, append)]
    for offsets in operation.offsets:
        noted = opened.offsets.setdefault(offsets.group, {})
        noted.update({(entry.topic, entry.partition): entry for entry in offsets.offsets})
    return Verdict(Code.ACCEPTED, tuple(lowest))


def end_transaction(state: State, placement: Placement, time_ms: int, operation: EndTransaction) -> Verdict:
    """Let what was put aside count, or give it up; there may be nothing."""
    name = operation.transactional_id
    if placement.guards.fenced and is_fenced(state, operation):
        return Verdict(Code.FENCED)
    refusal = _refuse_late(state, placement.guards, operation)
    if refusal is not None:
        return refusal
    bases: list[int] = []
    opened = state.transactions.pop(name, None)
    if opened is not None:
        if operation.commit:
            bases = _make_visible(state, time_ms, opened)
        else:
            state.block_count -= opened.block_count
    present = state.named_producers[name]
    state.named_producers[name] = msgspec.structs.replace(
        present, epoch=operation.epoch + operation.fence, ended=operation.number + 1
    )
    return Verdict(Code.ACCEPTED, tuple(bases))


def _refuse_late(
    state: State, guards: Guards, operation: AddToTransaction | EndTransaction
) -> Verdict | None:
    """A request without an answer may land after the transaction that it was for."""
    present = state.named_producers.get(operation.transactional_id)
    if present is not None and present.ended != operation.number and guards.transaction_number:
        return Verdict(Code.STALE)
    return None


def _put_aside(state: State, placement: Placement, opened: OpenTransaction, append: Append) -> list[int]:
    """The lowest base offset that each part can get: where it would come if the transaction ended now."""
    partitions = state.topics[append.topic].partitions
    lowest = []
    for part in append.parts:
        aside = opened.partitions.setdefault((append.topic, part.partition), PartitionState())
        present = partitions.get(part.partition)
        lowest.append(aside.high_watermark + (0 if present is None else present.high_watermark))
        for entry in placement.blocks_of(part):
            placement.add(aside, entry)
    if placement.guards.producer_sequence:
        remember(state, placement, append, lowest)
    return lowest


def _make_visible(state: State, time_ms: int, opened: OpenTransaction) -> list[int]:
    """The base offset in each partition, in the order in which the transaction came to them."""
    bases = []
    for (topic, number), aside in opened.partitions.items():
        partitions = state.topics[topic].partitions
        bases.append(partitions.setdefault(number, PartitionState()).extend(aside))
    for group, entries in opened.offsets.items():
        if entries:
            commit_offsets(state, time_ms, CommitOffsets(group, "", 0, tuple(entries.values())))
    return bases
