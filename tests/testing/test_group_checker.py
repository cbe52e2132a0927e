"""The checker of groups finds each planted anomaly, finds only that, and leaves correct histories alone."""

from __future__ import annotations

import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.testing.group_checker import check_groups
from streamhouse.testing.group_history import (
    Committed,
    Delivered,
    Entry,
    Given,
    Noted,
    Owned,
    Stored,
    Taken,
    decode_entries,
)
from streamhouse.testing.group_ledger import GroupKind
from streamhouse.testing.history import Attempt, Observed, Polled, Sent, encode_operation


def taken(member: str, generation: int, position: int, at: float, instance: str = "") -> Taken:
    return Taken(f"c-{member}", "g", member, instance, generation, (("t", 0, position),), at)


def delivered(member: str, generation: int, offsets: range | list[int], at: float) -> Delivered:
    records = tuple(Observed("t", 0, offset, f"v{offset}") for offset in offsets)
    return Delivered(f"c-{member}", "g", member, generation, records, at)


def gave(member: str, at: float, how: str = "revoked") -> Given:
    return Given(f"c-{member}", "g", member, (("t", 0),), how, at)


def owned(member: str, since: int, how: str = "dealt") -> Owned:
    return Owned("g", "t", 0, member, since, how)


def noted(member: str, generation: int, offset: int, note: str = "", *, accepted: bool = True) -> Noted:
    return Noted("g", member, generation, (("t", 0, offset),), note, accepted)


def told(member: str, offset: int, note: str, outcome: str) -> Committed:
    return Committed(f"c-{member}", "g", (("t", 0, offset),), note, outcome)


def swap(history: list[Entry], *pairs: tuple[Entry, Entry]) -> list[Entry]:
    """The same history with entries in the place of others."""
    for old, new in pairs:
        at = history.index(old)
        history = [*history[:at], new, *history[at + 1 :]]
    return history


SENT = Sent("p", tuple(Attempt("t", 0, f"v{n}", n) for n in range(6)), "ok")
READ = Polled("final", tuple(Observed("t", 0, n, f"v{n}") for n in range(6)))
STORY: list[Entry] = [
    SENT,
    READ,
    Stored("t", 0, 0, 4, 1.0),
    Stored("t", 0, 4, 6, 1.5),
    owned("a", 1),
    taken("a", 1, 0, at=2.0),
    delivered("a", 1, range(3), at=3.0),
    noted("a", 1, 2, "first"),
    told("a", 2, "first", "ok"),
    gave("a", at=4.0),
    noted("a", 1, 3),
    owned("", 0, "released"),
    owned("b", 2),
    taken("b", 2, 3, at=5.0),
    delivered("b", 2, range(3, 6), at=6.0),
    noted("b", 2, 6),
]
"""Member a reads three records and hands over in good order to b, who reads the rest."""

EXPELLED: list[Entry] = [
    *STORY[:9],
    owned("", 0, "expelled"),
    owned("b", 2),
    taken("b", 2, 2, at=5.0),
    delivered("b", 2, range(2, 6), at=6.0),
    delivered("a", 1, [3], at=6.5),
    gave("a", at=7.0, how="lost"),
    noted("a", 1, 4, "late", accepted=False),
    told("a", 4, "late", "failed"),
    noted("b", 2, 6),
]
"""Member a stands still and is expelled; it works on with what it has in hand, and may not commit it."""

LATE = noted("a", 1, 4, "late", accepted=False)
PLANTED: dict[GroupKind, list[Entry]] = {
    "skipped record": swap(
        STORY,
        (noted("a", 1, 3), noted("a", 1, 4)),
        (taken("b", 2, 3, at=5.0), taken("b", 2, 4, at=5.0)),
        (delivered("b", 2, range(3, 6), at=6.0), delivered("b", 2, range(4, 6), at=6.0)),
    ),
    "undelivered": STORY[:-2],
    "early delivery": swap(STORY, (delivered("a", 1, range(3), at=3.0), delivered("a", 1, range(3), at=0.9))),
    "stale commit": swap(EXPELLED, (LATE, noted("a", 1, 4))),
    "offset moved back": [*STORY, noted("b", 2, 5)],
    "lost commit": swap(STORY, (noted("a", 1, 2, "first"), noted("a", 1, 2, "first", accepted=False))),
    "counted refusal": swap(STORY, (told("a", 2, "first", "ok"), told("a", 2, "first", "failed"))),
    "two owners": swap(EXPELLED, (delivered("a", 1, [3], at=6.5), delivered("a", 2, [3], at=6.5))),
    "overlap": swap(STORY, (taken("b", 2, 3, at=5.0), taken("b", 2, 3, at=3.9))),
    "not owned": [*STORY, delivered("a", 1, [3], at=9.0)],
    "wrong start": swap(
        STORY,
        (taken("b", 2, 3, at=5.0), taken("b", 2, 2, at=5.0)),
        (delivered("b", 2, range(3, 6), at=6.0), delivered("b", 2, range(2, 6), at=6.0)),
    ),
    "needless redelivery": swap(
        STORY,
        (noted("a", 1, 3), noted("a", 1, 2)),
        (taken("b", 2, 3, at=5.0), taken("b", 2, 2, at=5.0)),
        (delivered("b", 2, range(3, 6), at=6.0), delivered("b", 2, range(2, 6), at=6.0)),
    ),
}


def kinds(history: list[Entry], *, read_to_end: bool = True) -> list[str]:
    return [anomaly.kind for anomaly in check_groups(history, read_to_end=read_to_end)]


def test_histories_in_order_are_clean() -> None:
    assert check_groups(STORY) == []
    assert check_groups(EXPELLED) == []


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_anomaly_is_found(kind: GroupKind) -> None:
    assert set(kinds(PLANTED[kind])) == {kind}


def test_every_kind_is_planted() -> None:
    assert set(PLANTED) == set(get_args(GroupKind))


def test_what_is_wrong_without_groups_is_found_too() -> None:
    """A member that is delivered records out of order, or passes over one, is a consumer that does."""
    twice = swap(STORY, (delivered("a", 1, range(3), 3.0), delivered("a", 1, [0, 1, 1, 2], 3.0)))
    assert kinds(twice) == ["internal non-monotonic poll"]
    skipping = swap(STORY, (delivered("b", 2, range(3, 6), 6.0), delivered("b", 2, [3, 5], 6.0)))
    assert set(kinds(skipping)) == {"internal poll skip", "skipped record"}
    late_start = swap(STORY, (delivered("b", 2, range(3, 6), 6.0), delivered("b", 2, [4, 5], 6.0)))
    assert set(kinds(late_start)) == {"external poll skip", "skipped record"}


def test_an_owner_beside_another_is_found_in_the_log() -> None:
    assert kinds([*STORY, owned("a", 3)]) == ["two owners"]


def test_an_older_generation_may_not_commit_after_a_newer_one() -> None:
    """Also when the log calls it the owner: that would be the fault."""
    history = [*STORY, owned("", 0, "expelled"), owned("a", 1), noted("a", 1, 6)]
    assert "stale commit" in kinds(history)


def test_a_member_of_an_older_generation_does_not_commit_what_it_was_given_later() -> None:
    history = swap(STORY, (noted("b", 2, 6), noted("b", 1, 6)))
    assert kinds(history) == ["stale commit"]


def test_nobody_from_outside_commits_while_there_are_members() -> None:
    assert kinds([*STORY, noted("", 0, 6)]) == ["stale commit"]
    assert kinds([*STORY, owned("", 0, "left"), noted("", 0, 0)]) == []


def test_a_commit_that_is_not_there_at_all_is_lost() -> None:
    assert kinds([entry for entry in STORY if entry != noted("a", 1, 2, "first")]) == ["lost commit"]


def test_a_partition_that_was_never_given_is_not_owned() -> None:
    history = [entry for entry in STORY if entry != owned("b", 2)]
    assert set(kinds(history)) == {"not owned", "stale commit"}


def test_a_record_that_no_commit_holds_comes_too_early() -> None:
    assert kinds([entry for entry in STORY if entry != Stored("t", 0, 4, 6, 1.5)]) == ["early delivery"] * 2


def test_a_static_member_that_returns_is_the_same() -> None:
    """It goes on in the same generation under another name, and what its old self had in hand comes again."""
    history = [
        *STORY[:5],
        taken("a", 1, 0, at=2.0, instance="one"),
        delivered("a", 1, range(3), at=3.0),
        owned("b", 1, "returned"),
        taken("b", 1, 0, at=5.0, instance="one"),
        delivered("b", 1, range(6), at=6.0),
        noted("b", 1, 6),
    ]
    assert kinds(history) == []
    stranger = swap(
        history,
        (
            taken("b", 1, 0, at=5.0, instance="one"),
            taken("b", 1, 0, at=5.0, instance="two"),
        ),
    )
    assert kinds(stranger) == ["two owners"]


def test_records_in_hand_at_an_unfinished_end_come_again() -> None:
    history = swap(PLANTED["needless redelivery"], (gave("a", at=4.0), gave("a", at=4.0, how="unfinished")))
    assert kinds(history) == []


def test_who_hung_may_have_left_behind_its_own_back() -> None:
    """The background ends its membership, and others go on before it comes to hear of it."""
    history = swap(
        PLANTED["overlap"],
        (gave("a", at=4.0), gave("a", at=4.0, how="unfinished")),
        (owned("", 0, "released"), owned("", 0, "left")),
    )
    assert kinds(history) == []
    in_order = swap(PLANTED["overlap"], (owned("", 0, "released"), owned("", 0, "left")))
    assert kinds(in_order) == ["overlap"]


def test_the_end_need_not_have_been_delivered() -> None:
    assert kinds(PLANTED["undelivered"], read_to_end=False) == []


def test_an_anomaly_says_where_and_who() -> None:
    (anomaly,) = check_groups(PLANTED["wrong start"])
    assert str(anomaly) == "wrong start in g at t/0 (c-b): began at 2, with 3 committed"


def test_entries_survive_the_way_through_a_file() -> None:
    data = b"".join(map(encode_operation, EXPELLED))
    assert decode_entries(data) == EXPELLED
    assert decode_entries(data[:-1]) == EXPELLED[:-1]


class Model:
    """A group that works: members come, stand still, are expelled, hand over, commit what they processed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.history: list[Entry] = []
        self.clock = 0.0
        self.ends = [0, 0]
        self.committed = [0, 0]
        self.owners: list[str] = ["", ""]
        self.generation = 0
        self.known: dict[str, int] = {}  # generation by living member
        self.positions: dict[str, dict[int, int]] = {}  # what members believe to have
        self.stale: dict[str, int] = {}  # and by those who were expelled
        self.names = 0

    def at(self) -> float:
        self.clock += 1.0
        return self.clock

    def run(self, steps: int) -> list[Entry]:
        for _ in range(steps):
            reading = [self.deal, self.read, self.read, self.commit]
            changing = [self.join, self.hand_over, self.expel]
            self.dice.choice([self.send, self.send, *reading, *changing])()
        while any(committed < end for committed, end in zip(self.committed, self.ends, strict=True)):
            self.join()
            self.deal()
            self.read()
            self.commit()
            self.expel()
        read = (Observed("t", p, n, f"{p}-{n}") for p in range(2) for n in range(self.ends[p]))
        self.history.append(Polled("final", tuple(read)))
        return self.history

    def send(self) -> None:
        partition, count = self.dice.randrange(2), self.dice.randrange(1, 4)
        first = self.ends[partition]
        self.ends[partition] += count
        attempts = (Attempt("t", partition, f"{partition}-{n}", n) for n in range(first, first + count))
        self.history += [
            Sent("p", tuple(attempts), "ok"),
            Stored("t", partition, first, first + count, self.at()),
        ]

    def join(self) -> None:
        self.names += 1
        self.positions[f"m{self.names}"] = {}
        self.known[f"m{self.names}"] = 0

    def deal(self) -> None:
        for partition, owner in enumerate(self.owners):
            if owner or not self.known:
                continue
            member = self.dice.choice(list(self.known))
            self.generation += 1
            self.owners[partition] = member
            self.known[member] = self.generation
            start = self.positions[member][partition] = self.committed[partition]
            position = (("t", partition, start),)
            self.history += [
                Owned("g", "t", partition, member, self.generation, "dealt"),
                Taken(f"c-{member}", "g", member, "", self.generation, position, self.at()),
            ]

    def read(self) -> None:
        """Whoever believes to have a partition; that may be somebody who was expelled."""
        for member, positions in self.positions.items():
            records = []
            for partition, position in positions.items():
                stop = self.dice.randint(position, self.ends[partition])
                records += [Observed("t", partition, n, f"{partition}-{n}") for n in range(position, stop)]
                positions[partition] = stop
            generation = self.known.get(member, self.stale.get(member, 0))
            self.history.append(Delivered(f"c-{member}", "g", member, generation, tuple(records), self.at()))

    def commit(self) -> None:
        for member, positions in self.positions.items():
            for partition, position in positions.items():
                note = f"{member}@{self.at()}"
                accepted = self.owners[partition] == member
                offsets = (("t", partition, position),)
                generation = self.known.get(member, self.stale.get(member, 0))
                self.history += [
                    Noted("g", member, generation, offsets, note, accepted),
                    Committed(f"c-{member}", "g", offsets, note, "ok" if accepted else "failed"),
                ]
                if accepted:
                    self.committed[partition] = position

    def hand_over(self) -> None:
        partition = self.dice.randrange(2)
        member = self.owners[partition]
        if member:
            position = self.positions[member].pop(partition)
            how = self.dice.choice(["revoked", "revoked", "unfinished"])
            self.history.append(Given(f"c-{member}", "g", member, (("t", partition),), how, self.at()))
            if how == "revoked":
                self.committed[partition] = position
                offsets = (("t", partition, position),)
                self.history.append(Noted("g", member, self.known[member], offsets, "", accepted=True))
            self.owners[partition] = ""
            self.history.append(Owned("g", "t", partition, "", 0, "released"))

    def expel(self) -> None:
        if not self.known:
            return
        member = self.dice.choice(list(self.known))
        self.stale[member] = self.known.pop(member)
        for partition, owner in enumerate(self.owners):
            if owner == member:
                self.owners[partition] = ""
                self.history.append(Owned("g", "t", partition, "", 0, "expelled"))
        if self.dice.random() < 0.5:
            del self.positions[member]  # it was killed


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_a_correct_history_is_clean(seed: int, steps: int) -> None:
    assert check_groups(Model(seed).run(steps)) == []


@given(st.integers(0, 2**32), st.data())
def test_a_history_without_one_delivery_is_not_clean(seed: int, data: st.DataObject) -> None:
    """Each record that only one member was delivered is missed when it is taken away."""
    history = Model(seed).run(30)
    seen = [r for entry in history if isinstance(entry, Delivered) for r in entry.records]
    once = [record for record in seen if seen.count(record) == 1]
    if not once:
        return
    lost = data.draw(st.sampled_from(once))
    broken = [
        Delivered(e.consumer, e.group, e.member, e.generation, tuple(r for r in e.records if r != lost), e.at)
        if isinstance(e, Delivered)
        else e
        for e in history
    ]
    assert {"skipped record", "undelivered"} & set(kinds(broken))
