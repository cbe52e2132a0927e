"""Named values that belong together: read, cached, compared and set."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamhouse import Log, limits
from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Code
from streamhouse.errors import ClosedError, UnsupportedFormatError
from streamhouse.format.operations import SetEntry
from streamhouse.kafka.security.entries import EntryView, decoded

Values = dict[str, bytes]


class Counted:
    """A view, and how often what it has was made."""

    def __init__(self, commits: CommitLog, prefix: str = "test/") -> None:
        self.made = 0
        self.view = EntryView(commits, prefix, self._make)

    def _make(self, values: Mapping[str, bytes]) -> Values:
        self.made += 1
        return dict(values)

    @property
    def now(self) -> Values:
        return self.view.now


def test_what_was_changed_is_seen_at_once(commits: CommitLog) -> None:
    counted = Counted(commits)
    assert counted.now == {}
    for number in range(20):
        value = str(number).encode()
        changes = counted.view.change(["a", "b/c"], lambda name, _, value=value: name.encode() + value)
        assert {change.code for change in changes.values()} == {Code.ACCEPTED}
        assert counted.now == {"a": b"a" + value, "b/c": b"b/c" + value}
    assert counted.view.change(["a"], lambda *_: None)["a"].before == b"a19"
    assert counted.now == {"b/c": b"b/c19"}


def test_the_answer_may_come_before_the_news(commits: CommitLog) -> None:
    """The commit thread answers first, and tells listeners afterwards."""
    go_on = threading.Event()
    commits.listen(lambda *_: go_on.wait(10) and None)
    counted = Counted(commits)
    assert counted.now == {}
    counted.view.change(["a"], lambda *_: b"1")
    assert counted.now == {"a": b"1"}
    go_on.set()


def test_it_is_made_anew_only_when_something_changed(commits: CommitLog) -> None:
    counted, other = Counted(commits), Counted(commits, "tests/")
    counted.view.change(["a"], lambda *_: b"1")
    assert counted.now == {"a": b"1"}
    made = counted.made
    commits.propose(SetEntry("elsewhere", b"x", -1))
    other.view.change(["a"], lambda *_: b"2")
    counted.view.change(["a"], lambda *_: b"1")  # as it was
    assert counted.now is counted.now
    assert counted.made == made
    assert other.now == {"a": b"2"}


def test_others_changes_are_seen_when_the_log_was_read(two: tuple[CommitLog, CommitLog]) -> None:
    here, there = map(Counted, two)
    assert (here.now, there.now) == ({}, {})
    here.view.change(["a"], lambda *_: b"1")
    there.view.refresh()
    assert there.now == {"a": b"1"}
    there.view.change(["a"], lambda *_: None)
    here.view.refresh()
    assert here.now == {}


def test_a_change_rests_on_what_is_there(two: tuple[CommitLog, CommitLog]) -> None:
    """The other one has not read what the first one did, and is told so."""
    here, there = map(Counted, two)
    here.view.change(["a"], lambda *_: b"1")
    seen: list[bytes | None] = []

    def alter(_name: str, before: bytes | None) -> bytes:
        seen.append(before)
        return (before or b"") + b"2"

    assert there.view.change(["a"], alter)["a"].before == b"1"
    assert seen[-1] == b"1"
    assert there.now == {"a": b"12"}


def test_nothing_is_lost_when_many_change_the_same(two: tuple[CommitLog, CommitLog]) -> None:
    views = [Counted(commits).view for commits in two]

    def count(view: EntryView[Values]) -> None:
        for _ in range(10):
            view.change(["n"], lambda _, before: str(int(before or b"0") + 1).encode())

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, [*views, *views]))
    for view in views:
        view.refresh()
        assert view.now == {"n": b"40"}


def test_a_state_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    """Whoever slept for long goes on from a snapshot: nobody tells of the commits in between."""
    with Log(str(tmp_path / "log"), durability="os") as log:
        commits = log._inside.commits
        counted = Counted(commits)
        counted.view.change(["a"], lambda *_: b"1")
        assert counted.now == {"a": b"1"}
        with commits.lock:
            fresh = type(commits.state)()
            vars(fresh).update(vars(commits.state) | {"entries": {"test/b": (7, b"2")}})
            commits.state.replace(fresh)
        assert counted.now == {"b": b"2"}


def test_all_changes_are_in_few_commits(commits: CommitLog) -> None:
    counted = Counted(commits)
    before = commits.state.seq
    counted.view.change([str(n) for n in range(500)], lambda name, _: name.encode())
    assert commits.state.seq - before < 100
    assert len(counted.now) == 500


def test_a_full_log_is_told(commits: CommitLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENTRIES_MAX", 2)
    changes = Counted(commits).view.change(["a", "b", "c"], lambda *_: b"1")
    assert sorted(change.code for change in changes.values()) == [Code.ACCEPTED, Code.ACCEPTED, Code.FULL]


def test_a_log_that_is_closed(tmp_path: Path) -> None:
    with Log(str(tmp_path / "log"), durability="os") as log:
        counted = Counted(log._inside.commits)
        counted.view.change(["a"], lambda *_: b"1")
    with pytest.raises(ClosedError):
        counted.view.change(["b"], lambda *_: b"2")
    assert counted.now == {"a": b"1"}


def test_a_view_does_not_outlive_its_owner(commits: CommitLog) -> None:
    counted = Counted(commits)
    reference = weakref.ref(counted.view)
    del counted
    gc.collect()
    assert reference() is None
    commits.propose(SetEntry("test/a", b"1", -1))  # tells a listener that has nobody to tell


def test_secrets_are_not_shown(commits: CommitLog) -> None:
    changes = Counted(commits).view.change(["a"], lambda *_: b"secret")
    changes = Counted(commits).view.change(["a"], lambda *_: b"other")
    assert "secret" not in repr(changes)


def test_what_cannot_be_understood_is_not_passed_over() -> None:
    with pytest.raises(UnsupportedFormatError, match="kafka/acls/x"):
        decoded("kafka/acls/x", b"\x01", tuple[int, int])
