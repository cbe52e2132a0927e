"""The fold: ``state = fold(apply, commits)``. Pure and deterministic, no I/O and no clock.

Commits hold proposals; what becomes of each is decided here, at the position where the commit landed, by
every process alike. Five rules make the log safe whatever the writers do:

* A flush counts only when its number is the next one of its agent. A flush that two cuts carry is
  applied once; a pipelined commit that overtook its predecessor has no effect and is put again.
* A sealed lane is over: nothing of that agent is applied any more, so its leftovers can be deleted.
* An append carries its producer's sequence per partition (as in KIP-98): repeated ones are answered with
  the offsets they got the first time, gaps and old epochs are refused.
* What replaces blocks, or refers to objects uploaded ahead of it, counts only if those are still as its
  author found them; a member of a group moves offsets only of partitions that it owns, and who speaks for
  members elsewhere does so only while it is known to be there.
* A commit names a commit its author has folded, and the state hash there. When the hash is not ours, one of
  us is wrong: the commit has no effect, and a process that sees it happen stops writing.

Whatever decodes is answered. An operation that makes no sense is refused (``sanity``), never an exception:
that would be raised in every process that folds the commit, and nobody could open the log again.

The hash is a chain over the nonces and verdicts, so two processes with equal hashes have taken the same
decisions all along.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec

from streamhouse.commits import fold_appends, fold_entries, fold_groups, fold_open, fold_topics
from streamhouse.commits.fold_appends import NO_PRODUCER, Placement
from streamhouse.commits.guards import ALL_GUARDS, Guards
from streamhouse.commits.sanity import FlushCheck
from streamhouse.commits.state import HASH_BYTES, State
from streamhouse.commits.verdicts import ACCEPTED, Applied, Code, Verdict
from streamhouse.format.commit import Commit, Flush
from streamhouse.format.operations import (
    AddToTransaction,
    AlterTopic,
    Append,
    ClaimCompaction,
    Cleaned,
    CommitOffsets,
    CreateTopic,
    DeleteGroup,
    DeleteTopic,
    EndTransaction,
    InitProducer,
    JoinGroup,
    KeepClassicGroup,
    LeaveGroup,
    ReleasePartitions,
    Replace,
    SealLane,
    SetEntry,
    Snapshotted,
    Transaction,
    Trim,
)

__all__ = ["ALL_GUARDS", "NO_PRODUCER", "Applied", "Code", "Guards", "Verdict", "apply"]

_INVALID = Verdict(Code.INVALID)
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
    lane = state.lane(flush.agent)
    if lane.sealed and guards.sealed_lane:
        return None
    if flush.number != lane.next_number and guards.flush_number:
        return None
    lane.next_number = flush.number + 1
    context = _Context(seq, commit.time_ms, Placement(state, seq, flush, lane, body_start, guards))
    check = FlushCheck(flush)
    return tuple(
        [
            _APPLY[type(operation)](state, context, operation) if check.allows(operation) else _INVALID
            for operation in flush.operations
        ]
    )


class _Context(msgspec.Struct, frozen=True):
    """What an operation may need to know of the commit it came with."""

    seq: int
    time_ms: int
    placement: Placement


def _seal_lane(state: State, _context: _Context, operation: SealLane) -> Verdict:
    state.lane(operation.agent).sealed = True
    return ACCEPTED


def _snapshotted(state: State, _context: _Context, operation: Snapshotted) -> Verdict:
    if operation.seq > state.seq or state.hash_at(operation.seq) not in {None, operation.state_hash}:
        return Verdict(Code.WRONG_STATE)
    state.snapshot_seq = max(state.snapshot_seq, operation.seq)
    return ACCEPTED


_Apply: TypeAlias = Callable[[State, _Context, Any], Verdict]


def _commit_offsets(state: State, context: _Context, operation: CommitOffsets) -> Verdict:
    refusal = fold_groups.refuse_offsets(state, operation, context.placement.guards)
    if refusal is not None:
        return refusal
    fold_groups.commit_offsets(state, context.time_ms, operation)
    return ACCEPTED


def _if_standing(apply: _Apply) -> _Apply:
    """What somebody proposes on the strength of an entry counts only while that is there."""

    def checked(state: State, context: _Context, operation: Any) -> Verdict:
        fallen = fold_entries.refuse_fallen(state, operation.standing, context.placement.guards)
        return apply(state, context, operation) if fallen is None else fallen

    return checked


_APPLY: dict[type, _Apply] = {
    Append: lambda state, c, op: fold_appends.append(state, c.placement, op),
    Transaction: lambda state, c, op: fold_appends.transaction(state, c.placement, c.time_ms, op),
    AddToTransaction: _if_standing(
        lambda state, c, op: fold_open.add_to_transaction(state, c.placement, c.time_ms, op)
    ),
    EndTransaction: _if_standing(
        lambda state, c, op: fold_open.end_transaction(state, c.placement, c.time_ms, op)
    ),
    InitProducer: _if_standing(
        lambda state, c, op: fold_appends.init_producer(state, c.placement.guards, op)
    ),
    CreateTopic: lambda state, c, op: fold_topics.create_topic(state, c.seq, c.time_ms, op),
    AlterTopic: lambda state, c, op: fold_topics.alter_topic(state, c.seq, op),
    DeleteTopic: lambda state, c, op: fold_topics.delete_topic(state, c.seq, op),
    Trim: lambda state, _, op: fold_topics.trim(state, op),
    ClaimCompaction: lambda state, c, op: fold_topics.claim_compaction(state, c.seq, op),
    Replace: lambda state, c, op: fold_topics.replace(state, c.placement, op),
    Cleaned: lambda state, c, op: fold_topics.cleaned(state, c.time_ms, op),
    JoinGroup: _if_standing(lambda state, c, op: fold_groups.join_group(state, c.seq, op)),
    LeaveGroup: _if_standing(lambda state, c, op: fold_groups.leave_group(state, c.seq, op)),
    ReleasePartitions: _if_standing(lambda state, c, op: fold_groups.release_partitions(state, c.seq, op)),
    KeepClassicGroup: lambda state, c, op: fold_groups.keep_classic_group(
        state, c.seq, c.placement.guards, op
    ),
    DeleteGroup: lambda state, _, op: fold_groups.delete_group(state, op),
    SetEntry: lambda state, c, op: fold_entries.set_entry(state, c.seq, op),
    CommitOffsets: _commit_offsets,
    SealLane: _seal_lane,
    Snapshotted: _snapshotted,
}
