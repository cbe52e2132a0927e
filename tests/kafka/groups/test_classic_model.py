"""A classic group under clients that are slow, crash and come back, and coordinators that replace each other.

Several coordinators may be at work at once, each believing to be the one; the log knows better. Clients are
eager: they stop working when they join. Whoever crashes leaves somebody behind who knows its id and
generation, and who may speak up at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streamhouse.format.operations import ClassicGroup as KeptGroup
from streamhouse.kafka.groups.classic_messages import Answer, Effect, JoinAnswer, Leaver, SyncAnswer
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.groups.driving import FENCED, ILLEGAL, NONE, REBALANCE, UNKNOWN, Driver, Log

PARTITIONS = 5
CLIENTS = 4
REBALANCE_SECONDS = 20
SETTLE_SECONDS = 120.0
AWAY = {ErrorCode.not_coordinator, ErrorCode.coordinator_not_available}


class Coordinator(Driver):
    """One that remembers what it began with, and shows what it tells those who join."""

    def __init__(self, log: Log, told: Callable[[Coordinator, JoinAnswer], None], **values: Any) -> None:
        self.restored = 0 if log.content is None else log.content.generation
        self.told = told
        super().__init__(log, prompt=False, **values)
        self.since: float | None = None  # there is somebody who waits for all to have joined

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Answer) and isinstance(effect.response, JoinAnswer):
                self.told(self, effect.response)
        super().do(effects)


class Self:
    """What a client is to the group, until it crashes."""

    def __init__(self, number: int, instance: str, version: int, coordinator: Coordinator) -> None:
        self.number = number
        self.instance = instance
        self.version = version
        self.coordinator = coordinator
        self.id = ""
        self.generation = -1
        self.wish = 0
        self.step = "out"  # joining, joined, syncing, stable
        self.token = 0
        self.dealt: tuple[tuple[str, bytes], ...] = ()
        self.owned: bytes = b""


class Groups(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.coordinators: list[Coordinator] = []
        self.clients: list[Self] = []
        self.left_behind: list[Self] = []
        self.given: dict[int, int] = {}  # by whom a generation was given out
        self.owners: dict[tuple[int, int], str] = {}  # who has a partition in a generation

    @initialize(
        statics=st.integers(0, CLIENTS), versions=st.lists(st.sampled_from([5, 9]), min_size=4, max_size=4)
    )
    def begin(self, statics: int, versions: list[int]) -> None:
        first = self.take_over()
        for number, version in enumerate(versions):
            static = number < statics
            self.clients.append(
                Self(number, f"i{number}" if static else "", version if static else version - 2, first)
            )

    def take_over(self) -> Coordinator:
        now = self.coordinators[-1].now if self.coordinators else 0.0
        self.coordinators.append(Coordinator(self.log, self.check_generation, now=now))
        return self.coordinators[-1]

    # --- clients ---------------------------------------------------------------------------------------

    @rule(number=st.integers(0, CLIENTS - 1), steps=st.integers(1, 4))
    def one_acts(self, number: int, steps: int) -> None:
        for _ in range(steps):
            self.act(self.clients[number])

    @rule(rounds=st.integers(1, 4))
    def all_act(self, rounds: int) -> None:
        for _ in range(rounds):
            for client in self.clients:
                self.act(client)

    @rule(number=st.integers(0, CLIENTS - 1))
    def crash(self, number: int) -> None:
        gone = self.clients[number]
        self.left_behind.append(gone)
        self.clients[number] = Self(number, gone.instance, gone.version, gone.coordinator)

    @rule(number=st.integers(0, CLIENTS - 1))
    def leave(self, number: int) -> None:
        client = self.clients[number]
        client.coordinator.leave(Leaver(member=client.id, instance=client.instance))
        self.start_over(client)

    @rule(number=st.integers(0, CLIENTS - 1), other=st.booleans())
    def join_anew(self, number: int, other: bool) -> None:
        """It wants something else, or has lost its connection, perhaps while it waited."""
        client = self.clients[number]
        client.wish += other
        self.stop(client, "out")

    @rule(number=st.integers(0, CLIENTS - 1))
    def look_for_the_coordinator(self, number: int) -> None:
        client = self.clients[number]
        if client.step in {"joining", "syncing"}:
            self.stop(client, "out")  # nobody hears the answer
        client.coordinator = self.coordinators[-1]

    @rule(number=st.integers(0, CLIENTS - 1))
    def commit(self, number: int) -> None:
        self.check_commit(self.clients[number])

    def act(self, client: Self) -> None:
        driver = client.coordinator
        if client.step == "out":
            client.token = driver.join(
                client.id,
                instance=client.instance,
                version=client.version,
                protocols=(("range", b"%d" % client.wish), ("other", b"")),
                session_ms=6_000 + 2_000 * (client.number % 2),
                rebalance_ms=1000 * REBALANCE_SECONDS,
                fresh=f"{driver.number}-{driver.asked}",
            )
            client.step = "joining"
        elif client.step == "joined":
            client.token = driver.sync(
                client.id, client.generation, instance=client.instance, assignments=client.dealt
            )
            client.step = "syncing"
        elif client.step == "stable":
            self.hear(client, driver.heartbeat(client.id, client.generation, client.instance))
        elif not driver.waits(client.token):
            answer = driver.answers[client.token]
            if isinstance(answer, JoinAnswer):
                self.take_join(client, answer)
            else:
                self.take_sync(client, driver.synced(client.token))

    def take_join(self, client: Self, answer: JoinAnswer) -> None:
        if answer.error is ErrorCode.member_id_required:
            client.id, client.step = answer.member, "out"
        elif answer.error is not NONE:
            self.hear(client, answer.error)
        else:
            client.id, client.generation, client.step = answer.member, answer.generation, "joined"
            client.dealt = ()
            if answer.leader == client.id and not answer.skip_assignment:
                ids = [member.id for member in answer.members]
                places: dict[str, bytes] = dict.fromkeys(ids, b"")
                for partition in range(PARTITIONS):
                    places[ids[(partition + answer.generation) % len(ids)]] += bytes([partition])
                client.dealt = tuple(places.items())

    def take_sync(self, client: Self, answer: SyncAnswer) -> None:
        if answer.error is not NONE:
            self.hear(client, answer.error)
            return
        client.owned, client.step = answer.assignment, "stable"
        assert any(
            (member.id, member.assignment) == (client.id, client.owned)
            for content in self.assigned_in(client.generation)
            for member in content.members
        ), "the log does not know"
        for partition in client.owned:
            owner = self.owners.setdefault((client.generation, partition), client.instance or client.id)
            assert owner == (client.instance or client.id), "two have the same partition"

    def hear(self, client: Self, error: ErrorCode) -> None:
        """Do as clients do that are told so."""
        assert error in {NONE, REBALANCE, ILLEGAL, UNKNOWN, FENCED, *AWAY}, (client.step, error)
        if error in {REBALANCE, ILLEGAL}:
            self.stop(client, "out")
        elif error is FENCED:
            # It has its id of a coordinator whose round was not kept. It ends then, and is started again.
            assert client.instance
            assert not client.id.startswith(f"{client.instance}-{client.coordinator.number}-")
            self.start_over(client)
        elif error is UNKNOWN:
            self.start_over(client)
        elif error in AWAY:
            client.coordinator = self.coordinators[-1]
            if client.step != "stable":
                self.stop(client, "out")

    def stop(self, client: Self, step: str) -> None:
        client.owned, client.step = b"", step

    def start_over(self, client: Self) -> None:
        self.stop(client, "out")
        client.id, client.generation = "", -1

    # --- those who were left behind --------------------------------------------------------------------

    @precondition(lambda self: self.left_behind)
    @rule(data=st.data(), join=st.booleans())
    def somebody_speaks_up(self, data: st.DataObject, join: bool) -> None:
        gone = data.draw(st.sampled_from(self.left_behind))
        driver = data.draw(st.sampled_from(self.coordinators))
        self.check_commit(gone, driver)
        error = driver.heartbeat(gone.id, gone.generation, gone.instance)
        if error in {NONE, REBALANCE}:
            assert gone.generation == driver.group.generation
            assert gone.id in driver.members
        driver.sync(gone.id, gone.generation, instance=gone.instance)
        if join and gone.id:
            driver.join(gone.id, instance=gone.instance, version=gone.version)

    # --- coordinators ----------------------------------------------------------------------------------

    @rule()
    def another_coordinator_takes_over(self) -> None:
        content = self.log.content
        driver = self.take_over()
        if content is not None and content.protocol:
            for client in self.clients:
                here = any(
                    (each.id, content.generation) == (client.id, client.generation)
                    for each in content.members
                )
                if here:
                    assert driver.heartbeat(client.id, client.generation, client.instance) is NONE

    @rule(number=st.integers(0, 3))
    def the_log_answers(self, number: int) -> None:
        driver = self.coordinators[-1 - number % len(self.coordinators)]
        if driver.going is not None:
            driver.accept()

    @rule(landed=st.booleans())
    def nobody_knows_what_became_of_it(self, landed: bool) -> None:
        driver = self.coordinators[-1]
        if driver.going is not None:
            if landed:
                self.log.keep(driver.number, driver.going)
            driver.going = None
            driver.do(driver.group.abandon(ErrorCode.coordinator_not_available))
            self.another_coordinator_takes_over()

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 7.0, 15.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        for driver in self.coordinators:
            driver.advance(seconds)

    # --- what must be so -------------------------------------------------------------------------------

    def assigned_in(self, generation: int) -> list[KeptGroup]:
        return [each for each in self.log.history if each.generation == generation and each.protocol]

    def check_generation(self, driver: Coordinator, answer: JoinAnswer) -> None:
        """A generation is one coordinator's, and higher than all that were given out before it began."""
        generation = answer.generation
        if answer.error is not NONE:
            return
        if generation == driver.restored and generation not in self.given:
            assert self.assigned_in(generation)
        elif generation != driver.restored and generation not in self.given:
            lower = [each for each, number in self.given.items() if number <= driver.number]
            higher = [each for each, number in self.given.items() if number > driver.number]
            assert generation > max([driver.restored, *lower])
            assert generation < min([1 << 31, *higher])
            self.given[generation] = driver.number
        elif generation != driver.restored:
            assert self.given[generation] == driver.number, "given out twice"

    def check_commit(self, client: Self, driver: Coordinator | None = None) -> None:
        """Offsets are taken in the last generation that has assignments, from those who have them."""
        driver = driver or client.coordinator
        if not client.owned or driver.number != self.log.coordinator:
            return
        if driver.group.validate_commit(client.id, client.instance, client.generation) is NONE:
            newest = max(each.generation for each in self.log.history if each.protocol)
            assert newest == client.generation
            last = self.assigned_in(newest)[-1]
            found = [each.assignment for each in last.members if each.id == client.id]
            # Unless another static member is about to take its place.
            assert found == [client.owned]

    @invariant()
    def rounds_end(self) -> None:
        for driver in self.coordinators:
            view = driver.group.describe()
            joining = view.state == "PreparingRebalance" and driver.group._course.roster.joined
            if not joining or driver.going is not None:
                driver.since = None
            elif driver.since is None:
                driver.since = driver.now
            else:
                assert driver.now - driver.since <= REBALANCE_SECONDS + 0.001

    @invariant()
    def contents_grow(self) -> None:
        generations = [content.generation for content in self.log.history]
        assert generations == sorted(generations)

    @invariant()
    def rosters_are_sound(self) -> None:
        for driver in self.coordinators:
            course = driver.group._course
            roster = course.roster
            members = roster.members.values()
            assert roster.joined == sum(member.joining is not None for member in members)
            assert roster.size == sum(member.size for member in members)
            assert (roster.leader in roster.members) == bool(roster.members)
            assert all(roster.by_instance(each.instance) is each for each in members if each.instance)
            assert not set(roster.members) & set(roster.pending)
            waiting = [each.deadline for each in members if not each.waits]
            assert all(deadline < float("inf") for deadline in waiting)
            if waiting and driver.state != "Dead":
                assert driver.wake_at <= min(waiting)

    @rule()
    def all_settle(self) -> None:
        """Clients that do what they shall have all partitions before long, each one of them once."""
        for client in self.clients:
            client.coordinator = self.coordinators[-1]
            if client.step in {"joining", "syncing"}:
                self.stop(client, "out")
        driver = self.coordinators[-1]
        until = driver.now + SETTLE_SECONDS
        while not self.settled():
            assert driver.now < until, "the group does not settle"
            for client in self.clients:
                self.act(client)
            if driver.going is not None:
                driver.accept()
            else:
                self.time_passes(0.5)
            self.rounds_end()
        owned = sorted(partition for client in self.clients for partition in client.owned)
        assert owned == list(range(PARTITIONS))

    def settled(self) -> bool:
        driver = self.coordinators[-1]
        steady = all(client.step == "stable" for client in self.clients)
        present = sorted(client.id for client in self.clients) == sorted(driver.members)
        same = {client.generation for client in self.clients} == {driver.group.generation}
        return steady and present and same and driver.state == "Stable"

    def teardown(self) -> None:
        if self.clients:
            self.all_settle()
        for driver in self.coordinators:
            driver.do(driver.group.abandon())
            assert set(driver.answers) == set(range(1, driver.asked + 1)), "somebody still waits"


def check_groups(examples: int, steps: int) -> None:
    """Try many courses of events."""
    run_state_machine_as_test(
        Groups,
        settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None),
    )


def test_groups_under_failures() -> None:
    check_groups(60, 40)
