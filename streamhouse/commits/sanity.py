"""What no operation may look like, whatever the state.

Whoever can write to the store can put any numbers into a commit, by a fault as well as by intent. The fold
must not fail on them: it would fail in every process, at every opening, for ever. Nor may they spoil
the state, which everybody shares. So nonsense is refused before the fold looks at anything else, and what
comes after may rely on block ranges that exist, numbers that fit into 64 bits and counts that are positive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

from streamhouse import limits
from streamhouse.assignors import ASSIGNORS
from streamhouse.commits.state import LANE_PARTS_MAX
from streamhouse.format.commit import BlockEntry, Flush
from streamhouse.format.operations import (
    AddToTransaction,
    AlterTopic,
    Append,
    AppendPart,
    CommitOffsets,
    CreateTopic,
    EndTransaction,
    InitProducer,
    JoinGroup,
    KeepClassicGroup,
    Operation,
    Replace,
    SetEntry,
    Transaction,
)

_INT64_MAX: Final = (1 << 63) - 1
_BYTES_MAX: Final = 1 << 48  # a position plus where the body begins still fits into 64 bits
_COUNT_MAX: Final = 1 << 31  # records in a block, whose columns have 32-bit offsets
_NUMBER_MAX: Final = 1 << 50  # of a flush or segment: twelve bits more for the part


class FlushCheck:
    """Tells which operations of a flush make sense; its blocks are looked at once."""

    def __init__(self, flush: Flush) -> None:
        self._flush = flush
        self._sound: bool | None = None

    def allows(self, operation: Operation) -> bool:
        """Whether an operation could be carried out in some state."""
        check = _CHECKS.get(type(operation))
        return check is None or check(self, operation)

    def has_blocks(self, first: int, count: int) -> bool:
        """Whether the flush has these blocks, and all it has are possible."""
        if not (first >= 0 and 0 < count <= len(self._flush.blocks) - first):
            return False
        if self._sound is None:
            self._sound = _blocks_sound(self._flush)
        return self._sound

    def blocks(self, first: int, count: int) -> Sequence[BlockEntry]:
        """These blocks, which must be there."""
        return self._flush.blocks[first : first + count]


def _blocks_sound(flush: Flush) -> bool:
    starts = [*flush.body_starts, *[segment.body_start for segment in flush.segments]]
    objects = range(-len(flush.segments), max(1, len(flush.body_starts)))
    return (
        len(flush.body_starts) <= LANE_PARTS_MAX
        and all(0 <= start <= _BYTES_MAX for start in starts)
        and all(segment.agent and 0 <= segment.number < _NUMBER_MAX for segment in flush.segments)
        and all(block.part in objects and _sound(block) for block in flush.blocks)
    )


def _sound(block: BlockEntry) -> bool:
    return (
        0 <= block.position <= _BYTES_MAX
        and 0 <= block.length <= _BYTES_MAX
        and 0 < block.count <= _COUNT_MAX
        and 0 <= block.raw_bytes <= _BYTES_MAX
        and -_INT64_MAX <= block.timestamp_max <= _INT64_MAX
    )


def _append(check: FlushCheck, operation: Append) -> bool:
    parts = operation.parts
    return _distinct([part.partition for part in parts]) and all(_part(check, part) for part in parts)


def _part(check: FlushCheck, part: AppendPart) -> bool:
    return part.partition >= 0 and part.sequence >= 0 and check.has_blocks(part.first_block, part.block_count)


def _transaction(check: FlushCheck, operation: Transaction | AddToTransaction) -> bool:
    # Sequences are compared with what was there before, so a second batch for a partition would pass unseen.
    places = [(each.topic, part.partition) for each in operation.appends for part in each.parts]
    return (
        all(_append(check, each) for each in operation.appends)
        and (not operation.appends or _distinct(places))
        and all(_offsets(check, each) for each in operation.offsets)
    )


def _add_to_transaction(check: FlushCheck, operation: AddToTransaction) -> bool:
    return (
        bool(operation.transactional_id)
        and operation.producer >= 0
        and operation.number >= 0
        and all(append.producer == operation.producer for append in operation.appends)
        and all(append.epoch == operation.epoch for append in operation.appends)
        and _transaction(check, operation)
    )


def _end_transaction(_check: FlushCheck, operation: EndTransaction) -> bool:
    return bool(operation.transactional_id) and operation.number >= 0


def _set_entry(_check: FlushCheck, operation: SetEntry) -> bool:
    return (
        0 < len(operation.name) <= limits.ENTRY_NAME_CHARS_MAX
        and len(operation.value or b"") <= limits.ENTRY_BYTES_MAX
    )


def _keep_classic_group(_check: FlushCheck, operation: KeepClassicGroup) -> bool:
    return bool(operation.group) and bool(operation.coordinator)


def _distinct(values: Sequence[object]) -> bool:
    """At least one, and none twice."""
    return len(values) == 1 or 0 < len(values) == len(set(values))


def _offsets(_check: FlushCheck, operation: CommitOffsets) -> bool:
    return all(entry.partition >= 0 and entry.offset <= _INT64_MAX for entry in operation.offsets)


def _replace(check: FlushCheck, operation: Replace) -> bool:
    """New blocks lie between the first and the last offset, one after the other."""
    first, stop, bases = operation.first, operation.stop, operation.bases
    if not 0 <= first < stop <= _INT64_MAX:
        return False
    if not bases:
        return True
    if bases[0] < first or not check.has_blocks(operation.first_block, len(bases)):
        return False
    blocks = check.blocks(operation.first_block, len(bases))
    room = [end - base for base, end in pairwise((*bases, stop))]
    return all(block.count <= offsets for block, offsets in zip(blocks, room, strict=True))


def _create_topic(_check: FlushCheck, operation: CreateTopic) -> bool:
    return 0 < operation.partitions <= limits.PARTITIONS_PER_TOPIC_MAX


def _alter_topic(_check: FlushCheck, operation: AlterTopic) -> bool:
    return 0 <= operation.partitions <= limits.PARTITIONS_PER_TOPIC_MAX


def _init_producer(_check: FlushCheck, operation: InitProducer) -> bool:
    return (
        bool(operation.transactional_id)
        and operation.producer >= 0
        and 0 <= operation.timeout_ms <= _INT64_MAX
    )


def _join_group(_check: FlushCheck, operation: JoinGroup) -> bool:
    return bool(operation.member) and operation.assignor in ASSIGNORS


_CHECKS: Final[dict[type, Callable[[FlushCheck, Any], bool]]] = {
    Append: _append,
    Transaction: _transaction,
    CommitOffsets: _offsets,
    Replace: _replace,
    CreateTopic: _create_topic,
    AlterTopic: _alter_topic,
    InitProducer: _init_producer,
    AddToTransaction: _add_to_transaction,
    EndTransaction: _end_transaction,
    KeepClassicGroup: _keep_classic_group,
    SetEntry: _set_entry,
    JoinGroup: _join_group,
}
