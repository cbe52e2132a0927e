"""Checks a recorded history of consumer groups: was anything skipped, or worked on by two at once?

The members of groups write down what they saw, as the operations of
:mod:`streamhouse.testing.group_history`, and what the log says of the groups is added to that.
:func:`check_groups` looks for what must never happen, beside the anomalies of
:mod:`streamhouse.testing.checker`, which also cover the order in which a member is delivered a partition:

===================  ============================================================================
skipped record       committed offsets went past a record that the committer was never delivered
undelivered          no member was delivered it, at the end of the partition
early delivery       delivered before the commit that holds it was there
stale commit         offsets counted that came from somebody who did not own the partition (any more)
offset moved back    a member committed less than was committed before
lost commit          a member was told that its offsets count, and they do not
counted refusal      it was told that they were refused, and they count
two owners           two members worked on one partition in the same generation
overlap              a member took a partition on before the one that had to give it back did so
not owned            a member worked on what the group had not given it, or what it had given back
wrong start          a member began elsewhere than at the committed offset
needless redelivery  an owner gave a partition back in order, and not all it was delivered is committed
===================  ============================================================================

So a record comes twice only after its owner was lost, killed, or stopped with the record in hand.

There must be no seeks and no trimming in such a history.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import msgspec

from streamhouse.testing.checker import Anomaly, check_history
from streamhouse.testing.group_history import (
    Committed,
    Delivered,
    Entry,
    Given,
    Noted,
    Owned,
    Stored,
    Taken,
)
from streamhouse.testing.group_ledger import GroupKind, Hold, Ledger, Place
from streamhouse.testing.history import Looked, Moved, Operation, Polled, Sent


class GroupAnomaly(msgspec.Struct, frozen=True):
    """Something that must not happen in a group, and where it did.

    Attributes:
        kind: Which of the anomalies.
        group: In which group.
        topic: Where.
        partition: Where.
        actor: The consumer or member concerned; empty when it is nobody's in particular.
        detail: Offsets and generations, as a sentence.
    """

    kind: GroupKind
    group: str
    topic: str
    partition: int
    actor: str
    detail: str

    def __str__(self) -> str:
        actor = f" ({self.actor})" if self.actor else ""
        return f"{self.kind} in {self.group} at {self.topic}/{self.partition}{actor}: {self.detail}"


def check_groups(entries: Iterable[Entry], *, read_to_end: bool = True) -> list[Anomaly | GroupAnomaly]:
    r"""Every anomaly in a history with groups; an empty list means that all is well.

    Args:
        entries: What happened. The order matters among the entries of one consumer or producer, and
            among those that come from the log.
        read_to_end: Everything was read and delivered in the end. If not, ``unseen`` and ``undelivered`` are
            not reported.

    Example:
        >>> from streamhouse.testing.group_history import Delivered, Noted, Owned, Taken
        >>> from streamhouse.testing.history import Attempt, Observed, Sent
        >>> history = [
        ...     Sent("p", (Attempt("t", 0, "a", 0), Attempt("t", 0, "b", 1)), "ok"),
        ...     Owned("g", "t", 0, "m", 1, "dealt"),
        ...     Noted("g", "m", 1, (("t", 0, 2),), "", True),
        ...     Taken("c", "g", "m", "", 1, (("t", 0, 0),), 1.0),
        ...     Delivered("c", "g", "m", 1, (Observed("t", 0, 0, "a"),), 2.0),
        ... ]
        >>> print(*check_groups(history, read_to_end=False), sep="\n")
        skipped record in g at t/0 (m): committed 2 after None, without having been delivered [1]
    """
    everything = list(entries)
    plain = [operation for entry in everything for operation in _as_plain(entry)]
    found: list[Anomaly | GroupAnomaly] = [*check_history(plain, read_to_end=read_to_end)]
    log = _Log(plain, [entry for entry in everything if isinstance(entry, Stored)])
    groups: dict[str, list[_GroupEntry]] = {}
    for entry in everything:
        if isinstance(entry, Taken | Delivered | Committed | Given | Owned | Noted):
            groups.setdefault(entry.group, []).append(entry)
    for name, group in groups.items():
        found += _GroupCheck(name, log, group).run(read_to_end)
    return found


_GroupEntry = Taken | Delivered | Committed | Given | Owned | Noted
_MemberEntry = Taken | Delivered | Given


def _as_plain(entry: Entry) -> list[Operation]:
    """The same for the checker that knows no groups."""
    match entry:
        case Taken():
            return [Moved(entry.consumer, tuple(entry.positions))]
        case Delivered():
            return [Polled(entry.consumer, entry.records)]
        case Sent() | Polled() | Moved() | Looked():
            return [entry]
        case _:
            return []


class _Log:
    """The records that there are, and since when."""

    def __init__(self, plain: Iterable[Operation], stored: Iterable[Stored]) -> None:
        found: dict[Place, set[int]] = {}
        for operation in plain:
            if isinstance(operation, Polled):
                for topic, partition, offset, _ in operation.records:
                    found.setdefault((topic, partition), set()).add(offset)
            elif isinstance(operation, Sent) and operation.outcome == "ok":
                for attempt in operation.records:
                    if attempt.offset is not None:
                        found.setdefault((attempt.topic, attempt.partition), set()).add(attempt.offset)
        self.existing = {place: sorted(offsets) for place, offsets in found.items()}
        self._stored: dict[Place, list[Stored]] = {}
        for entry in stored:
            self._stored.setdefault((entry.topic, entry.partition), []).append(entry)
        self._firsts = {place: [entry.first for entry in all_] for place, all_ in self._stored.items()}

    def why_early(self, place: Place, offset: int, at: float) -> str:
        """What is wrong with having seen a record at that time; empty if nothing is."""
        if not self._stored:
            return ""
        number = bisect_right(self._firsts.get(place, []), offset) - 1
        entry = self._stored[place][number] if number >= 0 else None
        if entry is None or offset >= entry.stop:
            return f"offset {offset} is in no commit"
        return f"offset {offset} came {entry.at - at:.3f} s before its commit" if at < entry.at else ""


class _Tenure(msgspec.Struct):
    """A hold as the consumer saw it.

    Attributes:
        member: What the consumer was called.
        generation: In which it took the partition on.
        taken: When that was.
        last: The last offset it was delivered.
        given: How it gave it back, and when.
    """

    member: str
    generation: int
    taken: float
    last: int = -1
    given: Given | None = None


class _GroupCheck:
    """One group."""

    def __init__(self, name: str, log: _Log, entries: list[_GroupEntry]) -> None:
        self._name = name
        self._log = log
        self._entries = entries
        self._found: list[GroupAnomaly] = []
        self._delivered: dict[tuple[str, Place], set[int]] = {}
        for entry in entries:
            if isinstance(entry, Delivered):
                for record in entry.records:
                    key = entry.member, (record.topic, record.partition)
                    self._delivered.setdefault(key, set()).add(record.offset)
        self._ledger = Ledger(log.existing, self._delivered, self._report)
        self._names = {  # static members keep their name when they return
            entry.member: entry.instance or entry.member for entry in entries if isinstance(entry, Taken)
        }
        self._workers: dict[tuple[Place, int], set[str]] = {}
        self._tenures: dict[Place, list[_Tenure]] = {}

    def run(self, read_to_end: bool) -> list[GroupAnomaly]:
        """All that is wrong."""
        self._ledger.walk(entry for entry in self._entries if isinstance(entry, Owned | Noted))
        consumers: dict[str, list[_MemberEntry]] = {}
        for entry in self._entries:
            if isinstance(entry, Taken | Delivered | Given):
                consumers.setdefault(entry.consumer, []).append(entry)
        for name, entries in consumers.items():
            self._follow(name, entries)
        self._check_commits()
        self._check_handovers()
        if read_to_end:
            self._look_for_undelivered()
        return self._found

    def _report(self, kind: GroupKind, place: Place, actor: str, detail: str) -> None:
        self._found.append(GroupAnomaly(kind, self._name, *place, actor, detail))

    # --- one consumer after the other --------------------------------------------------------------

    def _follow(self, consumer: str, entries: Iterable[_MemberEntry]) -> None:
        """Go through what one consumer saw."""
        held: dict[Place, _Tenure] = {}
        for entry in entries:
            match entry:
                case Taken():
                    for topic, partition, position in entry.positions:
                        place = (topic, partition)
                        held[place] = _Tenure(entry.member, entry.generation, entry.at)
                        self._tenures.setdefault(place, []).append(held[place])
                        self._check_start(entry, place, position)
                        self._work(place, entry)
                case Delivered():
                    for record in entry.records:
                        place = (record.topic, record.partition)
                        early = self._log.why_early(place, record.offset, entry.at)
                        if early:
                            self._report("early delivery", place, consumer, early)
                        tenure = held.get(place)
                        if tenure is None:
                            detail = f"delivered offset {record.offset} without having it"
                            self._report("not owned", place, consumer, detail)
                        else:
                            tenure.last = max(tenure.last, record.offset)
                            self._work(place, entry)
                case Given():
                    for place in entry.partitions:
                        if place in held:
                            held.pop(place).given = entry

    def _check_start(self, entry: Taken, place: Place, position: int) -> None:
        hold = self._ledger.hold(entry.member, place, entry.generation)
        if hold is None:
            detail = f"{entry.member} took it on in generation {entry.generation}"
            self._report("not owned", place, entry.consumer, detail)
            return
        offsets = self._log.existing.get(place, [0])
        expected = offsets[0] if hold.start is None else hold.start
        if position != expected and (hold.start is not None or position > expected):
            detail = f"began at {position}, with {hold.start} committed"
            self._report("wrong start", place, entry.consumer, detail)

    def _work(self, place: Place, entry: Taken | Delivered) -> None:
        """Only one may work on a partition in one generation."""
        workers = self._workers.setdefault((place, entry.generation), set())
        name = self._names.get(entry.member, entry.member)
        if name not in workers:
            workers.add(name)
            if len(workers) > 1:
                detail = f"{' and '.join(sorted(workers))} in generation {entry.generation}"
                self._report("two owners", place, "", detail)

    # --- across all --------------------------------------------------------------------------------

    def _check_commits(self) -> None:
        """What committers were told against what counts."""
        counted = {
            entry.note: entry for entry in self._entries if isinstance(entry, Noted) and entry.accepted
        }
        told = {entry.note: entry for entry in self._entries if isinstance(entry, Committed)}
        for note, entry in told.items():
            topic, partition, offset = entry.offsets[0]
            detail = f"commit {note!r} of offset {offset}"
            if entry.outcome == "ok" and note not in counted:
                self._report("lost commit", (topic, partition), entry.consumer, detail)
            elif entry.outcome == "failed" and note in counted:
                self._report("counted refusal", (topic, partition), entry.consumer, detail)

    def _check_handovers(self) -> None:
        """Partitions that were given back in order, and those who had them next."""
        for place, tenures in self._tenures.items():
            holds = self._ledger.holds.get(place, [])
            by_hold: dict[int, _Tenure] = {}
            for tenure in tenures:
                hold = self._ledger.hold(tenure.member, place, tenure.generation)
                if hold is not None:
                    by_hold[id(hold)] = tenure
            for number, hold in enumerate(holds):
                before = by_hold.get(id(hold))
                if before is None or before.given is None or not _in_order(hold, before.given):
                    continue
                self._check_handover(place, hold, before, before.given)
                after = by_hold.get(id(holds[number + 1])) if number + 1 < len(holds) else None
                if after is not None and after.taken < before.given.at:
                    detail = f"{after.member} took it on {before.given.at - after.taken:.3f} s too soon"
                    self._report("overlap", place, before.member, detail)

    def _check_handover(self, place: Place, hold: Hold, tenure: _Tenure, given: Given) -> None:
        if given.how == "revoked" and tenure.last >= (hold.committed or 0):
            detail = f"was delivered {tenure.last}, and gave it back with {hold.committed} committed"
            self._report("needless redelivery", place, given.consumer, detail)

    def _look_for_undelivered(self) -> None:
        """At the end of each partition that the group ever had."""
        for place in self._ledger.holds:
            delivered: set[int] = set()
            for (_, where), offsets in self._delivered.items():
                if where == place:
                    delivered |= offsets
            committed = self._ledger.committed.get(place, 0)
            existing = self._log.existing.get(place, [])
            missed = [at for at in existing if at >= committed and at not in delivered]
            if missed:
                self._report("undelivered", place, "", f"offsets {missed[:5]}, {len(missed)} in all")


def _in_order(hold: Hold, given: Given) -> bool:
    """Whether the member stopped working first, and only then gave the partition up.

    One with records in hand may have left behind its back: the background ends the membership of a
    consumer that hangs.
    """
    if hold.ended == "released":
        return given.how != "lost"
    return hold.ended == "left" and given.how == "revoked"
