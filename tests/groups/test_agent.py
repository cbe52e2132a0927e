"""The part of a group member that runs in the background, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamhouse.catalog.catalog import Catalog
from streamhouse.commits.log import CommitLog
from streamhouse.config import make_settings
from streamhouse.format.operations import JoinGroup, LeaveGroup
from streamhouse.groups.agent import GroupAgent
from streamhouse.groups.options import GroupOptions
from streamhouse.groups.session import Session
from streamhouse.read.deserializers import list_deserializer
from streamhouse.read.reader import BlockReader
from streamhouse.read.reading import Reading
from streamhouse.runtime import SystemRuntime
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.stores import FaultyStore

SESSION = 30.0


class Scene:
    """One member that is alive, in a process whose clock is ours, and others that are not there."""

    def __init__(self) -> None:
        self.clock = ManualRuntime()
        self.store = FaultyStore(MemoryStore(SystemRuntime()))
        self.commits = CommitLog(self.store, make_settings({}), SystemRuntime(), "log")
        catalog = Catalog(self.commits)
        catalog.create_topic("t", 8, exist_ok=False)
        self.agent = GroupAgent(self.commits, self.store, self.clock)
        bytes_ = list_deserializer("bytes")
        reading = Reading(catalog, BlockReader(self.store, make_settings({})), bytes_, bytes_, "error")
        options = GroupOptions(group="g", session_timeout=SESSION)
        self.session: Session = self.agent.session(options, reading, catalog, "earliest", ["t"])
        self.agent._sessions.add(self.session)  # as register() does, without threads
        self.session.sync()

    def join(self, process: str, member: str, session: float = SESSION) -> None:
        topics = self.session.membership.look().topics
        self.commits.propose(
            JoinGroup("g", member, process, "", "cooperative-sticky", round(session * 1000), topics)
        )

    @property
    def members(self) -> set[str]:
        self.commits.propose(LeaveGroup("g", "nobody"))  # what was proposed before is over now
        return set(self.commits.state.groups["g"].members) - {self.session.membership.id}

    def seconds_until(self, members: set[str], at_most: float) -> float:
        """How long it takes until just these are left beside us."""
        began = self.clock.monotonic()
        while self.members != members:
            assert self.clock.monotonic() - began < at_most
            self.agent.beat()
            self.clock.advance(min(1.0, self.agent.tend()))
        return self.clock.monotonic() - began


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.commits.close(5.0)


def test_the_dead_are_taken_out(scene: Scene) -> None:
    scene.join("other", "m1")
    assert SESSION <= scene.seconds_until(set(), 2 * SESSION) <= SESSION * 1.2


def test_each_member_of_a_dead_process_has_its_own_session(scene: Scene) -> None:
    scene.join("other", "short", session=10.0)
    scene.join("other", "long", session=40.0)
    assert scene.seconds_until({"long"}, 20.0) <= 12.0
    assert 25.0 <= scene.seconds_until(set(), 60.0) <= 40.0


def test_a_machine_that_died_with_many_processes_is_found_dead_as_a_whole(scene: Scene) -> None:
    """Two at a time, it would take six sessions."""
    for number in range(12):
        scene.join(f"process-{number:02}", f"m{number:02}")
    assert scene.seconds_until(set(), 5 * SESSION) <= SESSION * 1.7


def test_an_outage_of_the_store_kills_nobody(scene: Scene) -> None:
    scene.join("other", "m1")
    scene.store.script("put", "unavailable", prefix="hb/", times=None)
    for _ in range(200):
        scene.agent.beat()
        scene.clock.advance(min(1.0, scene.agent.tend()))
    assert scene.members == {"m1"}


def test_a_membership_that_nobody_here_has_is_ended(scene: Scene) -> None:
    scene.agent._groups.add("g")
    scene.join(scene.agent.process, "left-behind")
    assert scene.members == {"left-behind"}
    scene.agent.tend()
    assert scene.members == set()
    assert scene.session.membership.look().member


def test_without_members_there_is_no_heartbeat_and_no_look(scene: Scene) -> None:
    scene.agent._sessions.clear()
    scene.join("other", "m1")
    assert scene.agent.beat() > SESSION
    assert scene.agent.tend() > SESSION
    assert scene.store.list("hb/") == []
