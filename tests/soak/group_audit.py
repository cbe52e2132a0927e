"""What the log itself says of its groups: every commit is folded again, and each change written down."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any
from unittest import mock

from streamhouse.commits import fold
from streamhouse.commits.state import State
from streamhouse.config import make_settings
from streamhouse.errors import ObjectNotFoundError
from streamhouse.format import names
from streamhouse.format.commit import decode_commit
from streamhouse.format.container import Kind, unpack_front
from streamhouse.format.operations import CommitOffsets, JoinGroup, LeaveGroup, ReleasePartitions
from streamhouse.runtime import SystemRuntime
from streamhouse.store.open import open_store
from streamhouse.testing.group_history import Entry, Noted, Owned, Stored

Owners = dict[tuple[int, int], tuple[str, int]]


def audit(url: str, options: dict[str, Any] | None) -> list[Entry]:
    """Everything that the log says of groups, and when which offsets were there.

    Its commits must all be there still, which they are for an hour.
    """
    runtime = SystemRuntime()
    store = open_store(url, options, make_settings({"single_writer": True}), runtime)
    try:
        modified = {info.name: info.modified_ms for info in store.list(names.LOG)}
        ledger = _Ledger()
        for seq in count(names.FIRST_SEQ):
            name = names.commit(seq)
            try:
                front = unpack_front(store.get(name), Kind.COMMIT, name)
            except ObjectNotFoundError:
                break
            ledger.fold(seq, front.index, front.body_start, modified[name] / 1000)
        assert ledger.state.seq == len(modified), "a commit is missing"
        return ledger.entries
    finally:
        store.close()


class _Ledger:
    def __init__(self) -> None:
        self.state = State()
        self.entries: list[Entry] = []
        self._joined_by: dict[str, str] = {}  # agents, by member

    def fold(self, seq: int, index: bytes, body_start: int, at: float) -> None:
        """Fold one commit; operation by operation, for one may undo what another did."""
        ends = dict(self._ends())
        watched = {kind: self._watch(apply) for kind, apply in fold._APPLY.items()}
        with mock.patch.dict(fold._APPLY, watched):
            applied = fold.apply(self.state, seq, decode_commit(index, names.commit(seq)), body_start)
        assert not applied.diverged, f"commit {seq} was written on another state"
        for place, end in self._ends():
            if end > ends.get(place, 0):
                self.entries.append(Stored(*place, ends.get(place, 0), end, at))

    def _ends(self) -> Iterator[tuple[tuple[str, int], int]]:
        for topic in self.state.topics.values():
            for number, partition in topic.partitions.items():
                yield (topic.name, number), partition.high_watermark

    def _watch(self, apply: Any) -> Any:
        def watched(state: State, context: Any, operation: Any) -> Any:
            before = {name: dict(group.owners) for name, group in state.groups.items()}
            agent = context.placement.flush.agent
            verdict = apply(state, context, operation)
            accepted = verdict.code is fold.Code.ACCEPTED
            if isinstance(operation, JoinGroup) and accepted:
                self._joined_by[operation.member] = agent
            if isinstance(operation, CommitOffsets):
                self._note_offsets(operation, accepted)
            for name, group in state.groups.items():
                self._note_owners(name, before.get(name, {}), group.owners, operation, agent)
            return verdict

        return watched

    def _note_owners(self, group: str, before: Owners, after: Owners, operation: Any, agent: str) -> None:
        returned = operation.member if isinstance(operation, JoinGroup) and operation.instance else ""
        for place in sorted(before.keys() | after.keys()):
            old, new = before.get(place), after.get(place)
            if old == new:
                continue
            topic, partition = self.state.topics[place[0]].name, place[1]
            if old and new and new[0] == returned and old[1] == new[1]:
                self.entries.append(Owned(group, topic, partition, *new, "returned"))
                continue
            how = self._how_it_ended(old[0], operation, agent) if old else ""
            if how:
                self.entries.append(Owned(group, topic, partition, "", 0, how))
            if new:
                self.entries.append(Owned(group, topic, partition, *new, "dealt"))

    def _how_it_ended(self, owner: str, operation: Any, agent: str) -> Any:
        """In which way an owner lost what it had; empty if there was no reason."""
        if isinstance(operation, ReleasePartitions) and operation.member == owner:
            return "released"
        if isinstance(operation, LeaveGroup) and operation.member == owner:
            return "left" if self._joined_by[owner] == agent else "expelled"
        return ""

    def _note_offsets(self, operation: CommitOffsets, accepted: bool) -> None:
        entries = operation.offsets
        offsets = tuple((self.state.topics[e.topic].name, e.partition, e.offset) for e in entries)
        note = entries[0].metadata if entries else ""
        self.entries.append(
            Noted(operation.group, operation.member, operation.generation, offsets, note, accepted)
        )
