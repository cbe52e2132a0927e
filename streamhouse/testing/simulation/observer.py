"""What each commit did, compared with what it should have done, when it is folded for the first time.

The observer keeps a model of its own of high watermarks, committed offsets and named producers, made from the
verdicts alone, and of who owned what before the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from streamhouse.commits.fold import Applied, Code, Verdict
from streamhouse.commits.state import State
from streamhouse.format.commit import Commit, Flush
from streamhouse.format.operations import (
    AddToTransaction,
    Append,
    AppendPart,
    CommitOffsets,
    DeleteTopic,
    EndTransaction,
    InitProducer,
    JoinGroup,
    KeepClassicGroup,
    LeaveGroup,
    Operation,
    ReleasePartitions,
    Replace,
    Transaction,
)
from streamhouse.testing.simulation.records import Ledger, Place


class Observer:
    """Follows the log commit by commit, whichever agent is the first to have one."""

    def __init__(self, ledger: Ledger) -> None:
        self.transactions = 0
        self.consumed = 0
        self.rewritten = 0
        self._chains: dict[tuple[str, Place], int] = {}  # consumed by transactions: up to which offset
        self.members: dict[str, set[str]] = {}  # by group, as of the newest commit
        self._ledger = ledger
        self._ends: dict[Place, int] = {}
        self._offsets: dict[tuple[str, Place], int] = {}
        self._named: dict[str, tuple[int, ...]] = {}
        self._open: dict[str, _Opened] = {}
        self._coordinators: dict[str, str] = {}
        self._owners: dict[str, dict[Place, tuple[str, int]]] = {}
        self._appended: set[Place] = set()
        self._moved: set[tuple[str, Place]] = set()
        self._regrouped: set[str] = set()
        self._seq = 0

    def observe(self, applied: Applied, commit: Commit, state: State) -> None:
        """Take note of a commit.

        Args:
            applied: What the fold said.
            commit: What was proposed.
            state: The state afterwards.
        """
        self._seq = applied.seq
        for flush, operation, verdict in _answers(applied, commit):
            handle = _HANDLERS.get(type(operation))
            if handle is not None:
                handle(self, operation, verdict, flush)
        if self._appended:
            self._check_ends(state)
        if self._moved:
            self._check_offsets(state)
        self._regrouped.clear()
        for name, group in state.groups.items():
            if group.changed_seq == applied.seq or name not in self._owners:
                self._owners[name] = dict(group.owners)
                self.members[name] = set(group.members)

    # --- operations --------------------------------------------------------------------------------

    def _append(self, operation: Append, verdict: Verdict, flush: Flush) -> None:
        bases = iter(verdict.values if verdict.code is Code.ACCEPTED else ())
        for part in operation.parts:
            place = operation.topic, part.partition
            self._appended.add(place)
            base = next(bases, None)
            if base is not None:
                self._place(place, base, _count(part, flush))

    def _transaction(self, operation: Transaction, verdict: Verdict, flush: Flush) -> None:
        accepted = verdict.code is Code.ACCEPTED
        self.transactions += accepted
        if accepted:
            self._check_fenced(operation)
        values = list(verdict.values) if accepted else []
        for append in operation.appends:
            mine, values = values[: len(append.parts)], values[len(append.parts) :]
            code = Code.ACCEPTED if len(mine) == len(append.parts) else Code.INVALID
            if accepted and code is not Code.ACCEPTED:
                self._ledger.violation("torn transaction", f"in commit {self._seq}: {verdict}")
            self._append(append, Verdict(code, tuple(mine)), flush)
        for offsets in operation.offsets:
            self._commit_offsets(offsets, verdict, flush)

    def _add_to_transaction(self, operation: AddToTransaction, verdict: Verdict, flush: Flush) -> None:
        if verdict.code is not Code.ACCEPTED:
            return
        self._check_fenced(operation)
        opened = self._open.setdefault(operation.transactional_id, _Opened({}, []))
        for append in operation.appends:
            for part in append.parts:
                place = append.topic, part.partition
                opened.records[place] = opened.records.get(place, 0) + _count(part, flush)
        opened.offsets.extend(operation.offsets)

    def _end_transaction(self, operation: EndTransaction, verdict: Verdict, flush: Flush) -> None:
        if verdict.code is not Code.ACCEPTED:
            return
        self._check_fenced(operation)
        name = operation.transactional_id
        opened = self._open.pop(name, _Opened({}, []))
        if operation.fence:
            self._named[name] = operation.producer, operation.epoch + 1
        if not operation.commit:
            return
        self.transactions += 1
        if len(verdict.values) != len(opened.records):
            self._ledger.violation("torn transaction", f"in commit {self._seq}: {verdict}, {opened}")
        for (place, records), base in zip(opened.records.items(), verdict.values, strict=False):
            self._place(place, base, records)
        for offsets in opened.offsets:
            self._commit_offsets(offsets, verdict, flush)

    def _check_fenced(self, operation: Transaction | AddToTransaction | EndTransaction) -> None:
        name = operation.transactional_id
        if name and self._named.get(name) != (operation.producer, operation.epoch):
            self._ledger.violation("fenced producer wrote", f"{name} epoch {operation.epoch}")

    def _place(self, place: Place, base: int, records: int) -> None:
        """Records were put at an offset: the one after those that are there."""
        self._appended.add(place)
        if base != self._ends.get(place, 0):
            self._ledger.violation("wrong base", f"{place} of commit {self._seq}: {base}")
        self._ends[place] = base + records

    def _keep_classic_group(self, operation: KeepClassicGroup, verdict: Verdict, _flush: Flush) -> None:
        if verdict.code is Code.ACCEPTED:
            self._coordinators[operation.group] = operation.coordinator

    def _commit_offsets(self, operation: CommitOffsets, verdict: Verdict, _flush: Flush) -> None:
        group, member = operation.group, operation.member
        owners = self._owners.get(group, {})
        for entry in operation.offsets:
            place = entry.topic, entry.partition
            self._moved.add((group, place))
            if verdict.code is not Code.ACCEPTED:
                continue
            owner = owners.get(place, ("", 0))[0]
            if operation.coordinator:
                owner, member = self._coordinators.get(group, ""), operation.coordinator
            if owner != member and group not in self._regrouped:
                self._ledger.violation(
                    "offsets moved by another",
                    f"{group} {place}: {member}, while {owner or 'nobody'} owns it",
                )
            before = self._offsets.get((group, place), 0)
            if entry.offset < before and (group, place, entry.offset) not in self._ledger.doubtful_offsets:
                self._ledger.violation("offsets went back", f"{group} {place}: {before} to {entry.offset}")
            self._offsets[group, place] = entry.offset
            self.consumed += max(0, entry.offset - before)
            if entry.metadata:
                self._consume(group, place, int(entry.metadata))

    def _consume(self, group: str, place: Place, number: int) -> None:
        first, stop = self._ledger.transactions[number].ranges[place]
        done = self._chains.get((group, place), 0)
        if first != done:
            self._ledger.violation(
                "not exactly once",
                f"{group} {place}: transaction {number} took {first} to {stop} after {done}",
            )
        self._chains[group, place] = stop

    def _init_producer(self, operation: InitProducer, verdict: Verdict, _flush: Flush) -> None:
        if verdict.code is Code.ACCEPTED:
            self._named[operation.transactional_id] = verdict.values
            self._open.pop(operation.transactional_id, None)

    def _replace(self, operation: Replace, verdict: Verdict, flush: Flush) -> None:
        if verdict.code is not Code.ACCEPTED:
            return
        self.rewritten += 1
        for stamp in self._ledger.rewrites.get((operation, uploader_of(operation, flush)), ()):
            self._ledger.cleaned.setdefault(stamp, self._seq)

    def _regroup(
        self, operation: JoinGroup | LeaveGroup | ReleasePartitions, _verdict: Verdict, _flush: Flush
    ) -> None:
        self._regrouped.add(operation.group)

    def _delete_topic(self, operation: DeleteTopic, _verdict: Verdict, _flush: Flush) -> None:
        self._regrouped.update(self._owners)
        for key in [key for key in self._offsets if key[1][0] == operation.topic]:
            del self._offsets[key]

    # --- the state ---------------------------------------------------------------------------------

    def _check_ends(self, state: State) -> None:
        for topic_id, number in self._appended:
            topic = state.topics.get(topic_id)
            if topic is None:
                continue
            partition = topic.partitions.get(number)
            end = 0 if partition is None else partition.high_watermark
            if end != self._ends.get((topic_id, number), 0):
                self._ledger.violation(
                    "records came unasked", f"{topic_id}/{number}, commit {self._seq}: {end}"
                )
        self._appended.clear()

    def _check_offsets(self, state: State) -> None:
        for group, place in self._moved:
            held = state.groups[group].offsets.get(place) if group in state.groups else None
            expected = self._offsets.get((group, place)) if place[0] in state.topics else None
            if (None if held is None else held.offset) != expected:
                self._ledger.violation("offsets lost", f"{group} {place}: {held}, not {expected}")
        self._moved.clear()

    def check_end(self, state: State) -> None:
        """Compare all that groups have committed."""
        self._moved.update(self._offsets)
        self._check_offsets(state)


class _Opened(NamedTuple):
    """What was added to a transaction so far."""

    records: dict[Place, int]
    offsets: list[CommitOffsets]


def _count(part: AppendPart, flush: Flush) -> int:
    blocks = flush.blocks[part.first_block : part.first_block + part.block_count]
    return sum([block.count for block in blocks])


def uploader_of(operation: Replace, flush: Flush) -> str:
    """Where the new blocks lie."""
    if not operation.bases:
        return ""
    segment = flush.segments[-1 - flush.blocks[operation.first_block].part]
    return f"{segment.agent}/{segment.number}"


def _answers(applied: Applied, commit: Commit) -> Iterator[tuple[Flush, Operation, Verdict]]:
    answers = {(agent, number): verdicts for agent, number, verdicts in applied.verdicts}
    for flush in commit.flushes:
        verdicts = answers.pop((flush.agent, flush.number), ())
        for operation, verdict in zip(flush.operations, verdicts, strict=False):
            yield flush, operation, verdict


_HANDLERS: Final[dict[type, Callable[[Observer, Any, Verdict, Flush], None]]] = {
    Append: Observer._append,
    Transaction: Observer._transaction,
    CommitOffsets: Observer._commit_offsets,
    AddToTransaction: Observer._add_to_transaction,
    EndTransaction: Observer._end_transaction,
    InitProducer: Observer._init_producer,
    KeepClassicGroup: Observer._keep_classic_group,
    Replace: Observer._replace,
    JoinGroup: Observer._regroup,
    LeaveGroup: Observer._regroup,
    ReleasePartitions: Observer._regroup,
    DeleteTopic: Observer._delete_topic,
}
