"""What the log says of one group: who owned which partition when, and which offsets counted.

The log is walked once, in its order. What is found wrong on the way concerns the log alone: offsets that
should have been refused, an owner beside another. What is left are the *holds*, against which the checker
then compares what members believed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from streamhouse.testing.group_history import Noted, Owned

Place: TypeAlias = tuple[str, int]
"""A topic and a partition."""

GroupKind: TypeAlias = Literal[
    "skipped record",
    "undelivered",
    "early delivery",
    "stale commit",
    "offset moved back",
    "lost commit",
    "counted refusal",
    "two owners",
    "overlap",
    "not owned",
    "wrong start",
    "needless redelivery",
]

Report: TypeAlias = Callable[[GroupKind, Place, str, str], None]
"""Takes note of an anomaly: what, where, by whom, details."""


class Hold(msgspec.Struct):
    """A partition in the hands of one member.

    Attributes:
        member: Whose.
        since: The generation in which it was given to it.
        start: What was committed then; ``None``: nothing.
        ended: How it ended, as in :class:`~streamhouse.testing.group_history.Owned`; empty while it lasts.
        committed: What was committed at the end.
    """

    member: str
    since: int
    start: int | None
    ended: str = ""
    committed: int | None = None


class Ledger:
    """The log of one group.

    Args:
        existing: The offsets that are known to exist, in order, by partition.
        delivered: The offsets that each member was delivered.
        report: Takes note of anomalies.

    Attributes:
        holds: All that there were, by partition, in order.
        committed: The next offset wanted of each partition.
    """

    def __init__(
        self,
        existing: Mapping[Place, Sequence[int]],
        delivered: Mapping[tuple[str, Place], Collection[int]],
        report: Report,
    ) -> None:
        self.holds: dict[Place, list[Hold]] = {}
        self.committed: dict[Place, int] = {}
        self._existing = existing
        self._delivered = delivered
        self._report = report
        self._owners: dict[Place, Hold] = {}
        self._fences: dict[Place, tuple[int, str]] = {}  # the newest generation that committed, and who did

    def walk(self, log: Iterable[Owned | Noted]) -> None:
        """Go through what the log says, in its order."""
        for entry in log:
            if isinstance(entry, Owned):
                self._change_hands(entry)
            elif entry.accepted:
                for topic, partition, offset in entry.offsets:
                    self._note(entry, (topic, partition), offset)

    def hold(self, member: str, place: Place, generation: int) -> Hold | None:
        """The hold that a member of that generation has in mind."""
        found = [
            hold for hold in self.holds.get(place, ()) if hold.member == member and hold.since <= generation
        ]
        return found[-1] if found else None

    def _change_hands(self, entry: Owned) -> None:
        place = (entry.topic, entry.partition)
        before = self._owners.pop(place, None)
        if before is not None:
            before.ended, before.committed = entry.how, self.committed.get(place)
            if entry.how == "dealt":
                detail = f"given to it in generation {entry.since}, while {before.member} had it"
                self._report("two owners", place, entry.member, detail)
        if entry.member:
            hold = Hold(entry.member, entry.since, self.committed.get(place))
            self._owners[place] = hold
            self.holds.setdefault(place, []).append(hold)

    def _note(self, entry: Noted, place: Place, offset: int) -> None:
        wrong = self._why_stale(entry, place)
        if wrong:
            detail = f"offset {offset} was accepted from generation {entry.generation}, though {wrong}"
            self._report("stale commit", place, entry.member, detail)
        before = self.committed.get(place)
        self.committed[place] = offset
        if not entry.member:
            return  # an administrator may set offsets as he likes
        self._fences[place] = (entry.generation, entry.member)
        if before is not None and offset < before:
            self._report("offset moved back", place, entry.member, f"from {before} to {offset}")
        self._look_for_skipped(entry.member, place, before, offset)

    def _why_stale(self, entry: Noted, place: Place) -> str:
        if not entry.member:
            return "the group had members" if self._owners else ""
        owner = self._owners.get(place)
        if owner is None or owner.member != entry.member:
            return f"the owner was {owner.member if owner else 'nobody'}"
        if owner.since > entry.generation:
            return f"it was given the partition in generation {owner.since}"
        generation, other = self._fences.get(place, (-1, ""))
        if generation > entry.generation and other != entry.member:
            return f"{other} had committed in generation {generation}"
        return ""

    def _look_for_skipped(self, member: str, place: Place, before: int | None, after: int) -> None:
        offsets = self._existing.get(place, ())
        first = 0 if before is None else bisect_left(offsets, before)
        delivered = self._delivered.get((member, place), ())
        missed = [at for at in offsets[first : bisect_left(offsets, after)] if at not in delivered]
        if missed:
            detail = f"committed {after} after {before}, without having been delivered {missed[:5]}"
            self._report("skipped record", place, member, detail)
