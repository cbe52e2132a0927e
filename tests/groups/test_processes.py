"""Members in several processes that share nothing but a directory: killed, stopped, restarted, told to go."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamhouse import Log

WORKER = Path(__file__).with_name("worker.py")
SESSION = 1.5
PARTITIONS = 6


class Member:
    """A process with one consumer."""

    def __init__(self, folder: str, **options: Any) -> None:
        arguments = [folder, json.dumps({"session_timeout": SESSION, **options})]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(WORKER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.told: list[dict[str, Any]] = []
        self.owns: set[int] = set()
        self._news: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._news.put(json.loads(line))

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")

    def hear(self) -> None:
        """Take notice of what it has told by now."""
        while not self._news.empty():
            told = self._news.get()
            self.told.append(told)
            if told["what"] == "assign":
                self.owns |= set(told["partitions"])
            elif told["what"] in {"revoke", "lost"}:
                self.owns -= set(told["partitions"])

    def last(self, what: str) -> dict[str, Any]:
        return next(told for told in reversed(self.told) if told["what"] == what)

    def count(self, what: str) -> int:
        return sum(told["what"] == what for told in self.told)

    def wait(self) -> int:
        code = self.process.wait(timeout=30)
        self.end()
        return code

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


Start = Callable[..., Member]


def until(condition: Callable[[], Any], *members: Member) -> None:
    """Listen to the members until something is so."""
    deadline = time.monotonic() + 40
    while True:
        for member in members:
            member.hear()
        if condition():
            return
        assert time.monotonic() < deadline, [(m.owns, m.told[-5:]) for m in members]
        time.sleep(0.01)


def settled(*members: Member) -> Callable[[], bool]:
    """Each partition has one owner, and all have their share."""

    def check() -> bool:
        owned = [partition for member in members for partition in member.owns]
        share = PARTITIONS // len(members)
        return sorted(owned) == list(range(PARTITIONS)) and all(len(m.owns) == share for m in members)

    return check


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "log")


@pytest.fixture
def log(folder: str) -> Iterator[Log]:
    with Log(folder, durability="os", upkeep=False) as log:
        log.create_topic("orders", partitions=PARTITIONS)
        yield log


@pytest.fixture
def start(log: Log, folder: str) -> Iterator[Start]:
    members: list[Member] = []

    def starting(**options: Any) -> Member:
        members.append(Member(folder, **options))
        return members[-1]

    yield starting
    for member in members:
        if member.process.returncode is None:
            member.end()


def send(log: Log, each: int = 10) -> None:
    with log.producer() as producer:
        for partition in range(PARTITIONS):
            producer.send_many("orders", ["v"] * each, partition=partition)


def delivered(*members: Member) -> list[tuple[int, int]]:
    records = [told for member in members for told in member.told if told["what"] == "record"]
    return sorted((record["partition"], record["offset"]) for record in records)


def test_the_partitions_of_a_killed_member_move_after_its_session(log: Log, start: Start) -> None:
    one, two = start(), start()
    until(settled(one, two), one, two)
    two.process.kill()
    killed = time.monotonic()
    until(settled(one), one)
    assert time.monotonic() - killed > SESSION / 2  # the last heartbeat may be a quarter of a session old
    send(log)
    until(lambda: len(delivered(one)) == 60, one)
    assert len(log.groups["g"].members) == 1


def test_a_stopped_member_wakes_up_as_a_stranger(log: Log, start: Start) -> None:
    """Its commit is refused and says why, its callback is called, and it begins anew."""
    sleeper, other = start(auto_commit=False), start(auto_commit=False)
    until(settled(sleeper, other), sleeper, other)
    mine = set(sleeper.owns)
    send(log)
    until(lambda: len(delivered(sleeper)) == len(delivered(other)) == 30, sleeper, other)
    sleeper.tell("hold")
    until(lambda: sleeper.count("hold"), sleeper)
    sleeper.process.send_signal(signal.SIGSTOP)
    until(settled(other), other)
    other.tell("commit")
    until(lambda: other.count("committed"), other)
    before = log.groups["g"].offsets

    sleeper.process.send_signal(signal.SIGCONT)
    sleeper.tell("commit")
    until(lambda: sleeper.count("refused"), sleeper)
    refused = sleeper.last("refused")
    assert refused["error"] == "StaleMemberError"
    assert "no member of group 'g': it was found dead" in refused["message"]
    assert f"no sign of life for {SESSION:g} s (session_timeout)" in refused["message"]
    assert log.groups["g"].offsets == before

    sleeper.tell("go")
    until(settled(sleeper, other), sleeper, other)
    after = [told for told in sleeper.told[sleeper.told.index(refused) :] if "partitions" in told]
    assert [told["what"] for told in after[:2]] == ["lost", "assign"]
    assert set(after[0]["partitions"]) == mine
    sleeper.tell("commit")
    until(lambda: sleeper.count("committed"), sleeper)


def test_members_come_and_go_and_each_record_comes_once(log: Log, start: Start) -> None:
    """Nobody dies, so nothing comes twice; and only what moves stops."""
    one, two = start(), start()
    until(settled(one, two), one, two)
    send(log)
    three = start()
    send(log)
    until(settled(one, two, three), one, two, three)
    send(log)
    for member in (one, two):
        assert member.count("revoke") <= 2  # one before that, and one for the third
        assert all(len(told["partitions"]) <= 3 for told in member.told if told["what"] == "revoke")
    one.tell("close")
    assert one.wait() == 0
    send(log)
    until(lambda: settled(two, three)() and len(delivered(one, two, three)) >= 240, one, two, three)
    assert delivered(one, two, three) == [(p, offset) for p in range(PARTITIONS) for offset in range(40)]
    assert two.count("lost") == three.count("lost") == 0


def test_a_static_member_is_killed_and_restarted_without_a_rebalance(log: Log, start: Start) -> None:
    shelf, other = start(instance_id="shelf", session_timeout=20), start(session_timeout=20)
    until(settled(shelf, other), shelf, other)
    owned = set(shelf.owns)
    generation = log.groups["g"].generation
    told = len(other.told)
    shelf.process.kill()
    shelf.wait()
    again = start(instance_id="shelf", session_timeout=20)
    until(lambda: again.owns, again, other)
    assert again.owns == owned
    assert log.groups["g"].generation == generation
    assert len(other.told) == told


def test_the_newer_of_two_static_members_wins(log: Log, start: Start) -> None:
    old = start(instance_id="shelf")
    until(settled(old), old)
    old.tell("hold")
    until(lambda: old.count("hold"), old)
    new = start(instance_id="shelf")
    until(settled(new), new)
    old.tell("commit")
    until(lambda: old.count("refused"), old)
    assert old.last("refused")["error"] == "StaleMemberError"
    assert "took over as instance 'shelf'" in old.last("refused")["message"]


def test_a_process_that_exits_gives_its_partitions_back_at_once(log: Log, start: Start) -> None:
    one, two = start(session_timeout=3600), start(session_timeout=3600)
    until(settled(one, two), one, two)
    two.tell("exit")
    assert two.wait() == 0
    until(settled(one), one)


def test_a_new_member_takes_over_from_a_group_that_was_killed(log: Log, start: Start) -> None:
    members = [start(), start()]
    until(settled(*members), *members)
    for member in members:
        member.process.kill()
    heir = start()
    until(settled(heir), heir)
    assert len(log.groups["g"].members) == 1


def test_a_forked_member_refuses_and_the_parent_stays_one(log: Log, folder: str) -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of fork with threads; so do we
import streamhouse
from streamhouse.errors import ForkedError
log = streamhouse.Log(sys.argv[1])
consumer = log.consumer("orders", group="g", session_timeout=1.0)
consumer.poll(timeout=0)
child = os.fork()
if child == 0:
    refused = 0
    uses = (consumer.poll, consumer.commit, consumer.commit_async, lambda: consumer.committed("orders", 0))
    for use in uses:
        try:
            use()
        except ForkedError:
            refused += 1
    consumer.close()
    log.close()
    os._exit(refused)
_, status = os.waitpid(child, 0)
consumer.poll(timeout=1.5)
consumer.commit()
print(os.waitstatus_to_exitcode(status), consumer.generation, len(log.groups["g"].members))
consumer.close(); log.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, folder],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "4 1 1", done.stderr
