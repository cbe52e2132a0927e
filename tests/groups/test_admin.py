"""Groups as an administrator sees them: looking, setting back, deleting."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamhouse import Group, Log, TopicPartition
from streamhouse.errors import (
    GroupNotEmptyError,
    GroupNotFoundError,
    InvalidInputError,
    InvalidPositionError,
    OffsetOutOfRangeError,
    TopicNotFoundError,
)
from streamhouse.format import names
from streamhouse.groups import rollcall

ZERO, ONE = TopicPartition("orders", 0), TopicPartition("orders", 1)


@pytest.fixture
def log() -> Iterator[Log]:
    """Ten records in each of two partitions, one a second; the log starts at offset 2 in partition 1."""
    with Log("memory://") as log:
        log.create_topic("orders", partitions=2)
        with log.producer() as producer:
            for partition in range(2):
                stamps = [1_000 * (second + 1) for second in range(10)]
                producer.send_many("orders", ["v"] * 10, partition=partition, timestamps=stamps).result()
        log.delete_records("orders", before={1: 2})
        yield log


@pytest.fixture
def group(log: Log) -> Group:
    """It wants offset 3 of partition 0 next, and nothing was committed of partition 1."""
    with log.consumer(group="g") as consumer:
        consumer.commit({ZERO: (3, "note")})
    return log.groups["g"]


# --- looking --------------------------------------------------------------------------------------------


def test_groups_are_a_mapping(log: Log, group: Group) -> None:
    with log.consumer(group="h") as consumer:
        consumer.commit({ZERO: 1})
    assert list(log.groups) == ["g", "h"]
    assert len(log.groups) == 2
    assert "g" in log.groups
    assert "i" not in log.groups
    assert repr(log.groups["g"]) == "Group('g')"
    with pytest.raises(GroupNotFoundError, match="no group 'gg'; did you mean 'g'"):
        log.groups["gg"]


def test_describe_without_members(group: Group) -> None:
    described = group.describe()
    assert (described.name, described.state, described.members) == ("g", "empty", ())
    assert {place: at[:2] for place, at in described.offsets.items()} == {ZERO: (3, "note")}
    assert described.lag == {ZERO: 7}
    assert described == group.describe()


def test_describe_with_members(log: Log, group: Group) -> None:
    with (
        log.consumer("orders", group="g", auto_commit=False, session_timeout=7, instance_id="shelf") as one,
        log.consumer("orders", group="g", auto_commit=False) as two,
    ):
        one.poll(timeout=0)
        two.poll(timeout=0)
        described = group.describe()
        assert described.state == "rebalancing"
        first, second = described.members
        assert (first.id, first.instance, first.session_timeout) == (one.member_id, "shelf", 7.0)
        assert (second.id, second.instance, second.session_timeout) == (two.member_id, None, 30.0)
        assert first.process == second.process
        assert (first.topics, first.assignment, first.coming) == (("orders",), (ZERO, ONE), ())
        assert (second.topics, second.assignment, len(second.coming)) == (("orders",), (), 1)
        one.poll(timeout=0)
        assert group.state == "stable"
        assert group.members[1].assignment == second.coming
        assert group.assignor == "cooperative-sticky"
        assert group.generation == described.generation == one.generation
        assert group.lag == {ZERO: 7, ONE: 8}  # all that there is, where nothing was committed


def test_a_group_that_was_deleted(group: Group) -> None:
    group.delete()
    for look in (group.describe, lambda: group.lag, lambda: group.reset("earliest"), group.delete):
        with pytest.raises(GroupNotFoundError):
            look()


def test_offsets_go_with_their_topic(log: Log, group: Group) -> None:
    log.delete_topic("orders")
    assert group.offsets == group.lag == {}


# --- setting back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("earliest", {ZERO: 0, ONE: 2}),
        ("latest", {ZERO: 10, ONE: 10}),
        (5, {ZERO: 5, ONE: 5}),
        (0, {ZERO: 0, ONE: 2}),  # the nearest that there is
        (99, {ZERO: 10, ONE: 10}),
        (dt.datetime.fromtimestamp(4.5, dt.UTC), {ZERO: 4, ONE: 4}),
        (dt.datetime.fromtimestamp(99, dt.UTC), {ZERO: 10, ONE: 10}),
    ],
)
def test_reset_to_a_place(group: Group, to: Any, expected: dict[TopicPartition, int]) -> None:
    assert group.reset(to, topics="orders", dry_run=True) == expected
    assert {place: at.offset for place, at in group.offsets.items()} == {ZERO: 3}
    assert group.reset(to, topics="orders") == expected
    assert {place: at.offset for place, at in group.offsets.items()} == expected
    assert group.reset(to) == expected  # all that have an offset


@pytest.mark.parametrize(("shift", "expected"), [(2, 5), (-2, 1), (-99, 0), (99, 10)])
def test_reset_by_a_shift(group: Group, shift: int, expected: int) -> None:
    assert group.reset(shift=shift, topics=["orders"]) == {ZERO: expected}  # from nothing there is no shift
    assert group.offsets[ZERO].offset == expected


def test_what_was_reset_is_where_members_begin(log: Log, group: Group) -> None:
    group.reset(8, topics="orders")
    with log.consumer("orders", group="g") as consumer:
        assert [(r.partition, r.offset) for r in consumer.poll(timeout=0)] == [(0, 8), (0, 9), (1, 8), (1, 9)]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, InvalidInputError),
        ({"to": "earliest", "shift": 1}, InvalidInputError),
        ({"shift": True}, InvalidInputError),
        ({"shift": 1.0}, InvalidInputError),
        ({"to": "erliest"}, InvalidPositionError),
        ({"to": -1}, InvalidPositionError),
        ({"to": dt.datetime(2026, 1, 1)}, InvalidPositionError),  # noqa: DTZ001 - without a zone
        ({"to": "earliest", "topics": "ordres"}, TopicNotFoundError),
        ({"to": "earliest", "topics": 5}, InvalidInputError),
    ],
)
def test_a_reset_that_makes_no_sense(group: Group, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        group.reset(**{"topics": "orders", **arguments})
    assert group.offsets[ZERO].offset == 3


def test_commit_for_a_group(log: Log, group: Group) -> None:
    group.commit({("orders", 0): 7, ("orders", 1): (8, "other")}, metadata="mine")
    assert {place: at[:2] for place, at in group.offsets.items()} == {ZERO: (7, "mine"), ONE: (8, "other")}
    with pytest.raises(OffsetOutOfRangeError):
        group.commit({ZERO: 11})
    group.delete()
    group.commit({ZERO: 1})  # which makes it anew
    assert group.offsets[ZERO].offset == 1


# --- while there are members ----------------------------------------------------------------------------


def changes(group: Group) -> list[Callable[[], object]]:
    return [
        lambda: group.reset("earliest"),
        lambda: group.reset("earliest", dry_run=True),
        lambda: group.commit({ZERO: 1}),
        group.delete,
    ]


def test_nothing_is_changed_while_a_member_is_alive(log: Log, group: Group) -> None:
    with log.consumer("orders", group="g") as consumer:
        consumer.poll(timeout=0)
        for change in changes(group):
            with pytest.raises(GroupNotEmptyError, match=r"has 1 member.*stop them first"):
                change()
        consumer.commit()
        assert group.members[0].id == consumer.member_id
        assert group.offsets[ZERO].offset == 10
    group.delete()


_MEMBER = """
import sys, streamhouse
log = streamhouse.Log(sys.argv[1])
consumer = log.consumer("orders", group="g", session_timeout=0.5, start="latest")
consumer.poll(timeout=0)
print("joined", flush=True)
sys.stdin.read()
"""


def test_when_all_members_were_killed_nobody_stands_in_the_way(tmp_path: Path) -> None:
    """Nobody is left to find them dead; so whoever wants to change the group does."""
    with Log(tmp_path / "log") as log:
        log.create_topic("orders", partitions=2)
        member = subprocess.Popen(
            [sys.executable, "-c", _MEMBER, str(tmp_path / "log")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert member.stdout is not None
        assert member.stdout.readline() == "joined\n"
        group = log.groups["g"]
        with pytest.raises(GroupNotEmptyError, match=r"was killed counts for 0\.5 s more"):
            group.reset("earliest", topics="orders")
        member.kill()
        member.communicate(timeout=30)
        while True:  # until its session is over
            try:
                group.reset("earliest", topics="orders", dry_run=True)
                break
            except GroupNotEmptyError:
                pass
        assert len(group.members) == 1  # a dry run changes nothing
        assert group.reset("earliest", topics="orders") == {ZERO: 0, ONE: 0}
        assert group.members == ()


def test_a_member_that_was_only_suspended_is_not_taken_for_dead(
    log: Log, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lid of a laptop was closed for an hour: all heartbeats are old for a moment."""
    with log.consumer("orders", group="g", session_timeout=0.5) as consumer:
        consumer.poll(timeout=0)
        monkeypatch.setattr(rollcall, "_GRAIN_MS", -1_000_000)  # so that every heartbeat looks old
        for change in changes(group):
            with pytest.raises(GroupNotEmptyError):
                change()
        assert group.members[0].id == consumer.member_id


def test_a_roll_call_leaves_nothing_behind(log: Log, group: Group) -> None:
    with log.consumer("orders", group="g") as consumer:
        consumer.poll(timeout=0)
        with pytest.raises(GroupNotEmptyError):
            group.delete()
    assert log._store.list(names.CLOCKS) == []
