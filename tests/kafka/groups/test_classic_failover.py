"""Another coordinator goes on from what the log knows; the one before may not know that yet."""

from __future__ import annotations

import pytest

from streamhouse.commits.verdicts import Code
from streamhouse.format.operations import ClassicGroup as KeptGroup
from streamhouse.format.operations import ClassicMember as KeptMember
from streamhouse.format.operations import KeepClassicGroup
from streamhouse.kafka.groups.classic_messages import Leaver
from streamhouse.kafka.groups.classic_rebalance import GENERATIONS_AHEAD_MAX
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.groups.driving import FENCED, ILLEGAL, NONE, REBALANCE, UNKNOWN, Driver, Log

NOT_COORDINATOR = ErrorCode.not_coordinator


def test_members_go_on_with_what_they_have() -> None:
    driver = Driver()
    ids = driver.stable(3)
    generation = driver.group.generation
    view = driver.group.describe()
    successor = driver.succeed()
    assert successor.group.describe() == view
    for number, id_ in enumerate(ids):
        assert successor.heartbeat(id_, generation) is NONE
        assert successor.group.validate_commit(id_, "", generation) is NONE
        answer = successor.synced(successor.sync(id_, generation))
        assert (answer.error, answer.assignment) == (NONE, b"%d" % number)
    assert successor.log.history[-1] == driver.log.content
    assert len(successor.log.history) == 1  # nothing had to be noted for it


def test_the_leader_still_leads_and_followers_with_nothing_new_disturb_nobody() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    successor = driver.succeed()
    answer = successor.joined(successor.join(second))
    assert (answer.error, answer.generation, answer.leader) == (NONE, driver.group.generation, first)
    assert successor.waits(successor.join(first))


def test_sessions_begin_anew() -> None:
    driver = Driver()
    ids = driver.stable(2)
    generation = driver.group.generation
    driver.advance(9)
    successor = driver.succeed()
    successor.advance(9)
    assert successor.heartbeat(ids[0], generation) is NONE
    successor.advance(2)
    assert successor.members == [ids[0]]


def test_static_members_keep_their_names() -> None:
    driver = Driver()
    old = driver.joined(driver.join(instance="i")).member
    driver.sync(old, 1, instance="i", assignments=((old, b"a"),))
    successor = driver.succeed()
    assert successor.joined(successor.join(instance="i", fresh="new")).member == "i-new"
    assert successor.heartbeat(old, 1, "i") is FENCED
    last = successor.succeed()
    assert last.heartbeat("i-new", 1, "i") is NONE
    assert last.synced(last.sync("i-new", 1, instance="i")).assignment == b"a"


def test_who_took_a_place_in_a_round_that_did_not_end_is_known_to_the_next_coordinator() -> None:
    driver = Driver()
    old = driver.joined(driver.join(instance="i")).member
    driver.sync(old, 1, instance="i")
    driver.join(old, instance="i")
    assert driver.state == "CompletingRebalance"
    driver.prompt = False
    token = driver.join(instance="i", fresh="new")
    assert driver.waits(token)
    driver.accept()
    assert driver.joined(token).member == "i-new"
    successor = driver.succeed()
    assert successor.heartbeat("i-new", driver.joined(token).generation, "i") is ILLEGAL
    assert successor.heartbeat(old, 1, "i") is FENCED
    assert successor.heartbeat("i-new", 2, "i") is REBALANCE  # the generation that was noted with it


def test_who_was_dropped_stays_out() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    before = driver.group.generation
    driver.leave(Leaver(member=second))
    driver.join(first)
    driver.complete()
    successor = driver.succeed()
    assert successor.heartbeat(second, before) is UNKNOWN
    assert successor.heartbeat(first, before) is ILLEGAL
    assert successor.group.validate_commit(second, "", before) is UNKNOWN


def test_who_had_left_in_a_round_that_did_not_end_is_missed_after_its_session() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    generation = driver.group.generation
    driver.leave(Leaver(member=second))
    driver.join(first)
    successor = driver.succeed()
    assert successor.members == [first, second]
    assert successor.heartbeat(first, generation + 1) is ILLEGAL
    successor.advance(6)
    assert successor.heartbeat(first, generation) is NONE
    successor.advance(5)
    assert successor.members == [first]


def test_a_generation_is_never_given_out_twice() -> None:
    driver = Driver()
    (first,) = driver.stable()
    given = [1]

    def begin(coordinator: Driver) -> None:
        protocols = (("range", b"%d" % len(given)),)
        given.append(coordinator.joined(coordinator.join(first, protocols=protocols)).generation)

    for _ in range(4):
        for _ in range(3):
            begin(driver)
        successor = driver.succeed()
        begin(successor)
        begin(driver)  # which goes on as long as it does not know
        begin(successor)
        successor.sync(first, given[-1])
        begin(driver)
        driver = successor
    assert len(given) == len(set(given))


def test_it_costs_a_commit_before_the_first_generation_of_another_coordinator_only() -> None:
    driver = Driver()
    (first,) = driver.stable()
    successor = driver.succeed()
    successor.prompt = False
    token = successor.join(first)
    assert successor.waits(token)
    assert successor.going == KeptGroup(
        1 + GENERATIONS_AHEAD_MAX,
        "consumer",
        "",
        first,
        (KeptMember(first, "", "client", "/127.0.0.1", 10_000, 60_000, (("range", b"topics"),), b""),),
    )
    again = successor.join(first)  # in between: one answer each
    assert successor.joined(token).error is REBALANCE
    successor.accept()
    assert successor.joined(again).generation == 2 + GENERATIONS_AHEAD_MAX
    for number in range(3, 6):
        answer = successor.joined(successor.join(first, protocols=(("range", b"%d" % number),)))
        assert answer.generation == number + GENERATIONS_AHEAD_MAX
        assert successor.going is None


def test_members_may_come_and_go_while_that_is_noted() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    successor = driver.succeed()
    successor.prompt = False
    tokens = [successor.join(first), successor.join(second)]
    tokens.append(successor.join(version=3))
    successor.leave(Leaver(member=first))
    assert successor.joined(tokens[0]).error is UNKNOWN
    successor.accept()
    answers = [successor.joined(token) for token in tokens[1:]]
    assert {answer.generation for answer in answers} == {driver.group.generation + GENERATIONS_AHEAD_MAX + 1}
    assert {answer.leader for answer in answers} == {second}


def test_all_may_leave_while_that_is_noted() -> None:
    driver = Driver()
    (first,) = driver.stable()
    successor = driver.succeed()
    successor.prompt = False
    successor.join(first)
    successor.leave(Leaver(member=first))
    successor.accept()
    assert successor.state == "Empty"
    successor.accept()
    assert successor.log.content is not None
    assert successor.log.content.members == ()


def test_a_coordinator_whose_rounds_do_not_end_notes_how_far_it_is() -> None:
    driver = Driver()
    (first,) = driver.stable()
    for number in range(3 * GENERATIONS_AHEAD_MAX):
        answer = driver.joined(driver.join(first, protocols=(("range", b"%d" % number),)))
        assert answer.generation == number + 2
        content = driver.log.content
        assert content is not None
        assert answer.generation - content.generation <= GENERATIONS_AHEAD_MAX
    assert [content.generation for content in driver.log.history] == [
        1 + number * GENERATIONS_AHEAD_MAX for number in range(3)
    ]


def test_a_group_that_was_about_to_join_goes_on_with_that() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    second_coordinator = driver.succeed()
    second_coordinator.join(first)
    second_coordinator.join(second)
    third = second_coordinator.succeed()
    assert third.state == "PreparingRebalance"
    assert third.members == [first, second]
    assert third.heartbeat(first, driver.group.generation) is ILLEGAL
    token = third.join(first)
    third.advance(6)
    assert third.heartbeat(second, third.group.generation) is REBALANCE
    third.join(second)
    assert third.joined(token).generation > second_coordinator.group.generation
    third.complete()
    assert third.state == "Stable"


def test_a_group_of_which_the_log_knows_nothing_begins_where_nobody_was() -> None:
    driver = Driver()
    first = driver.joined(driver.join(version=3)).member
    successor = driver.succeed()
    assert successor.heartbeat(first, 1) is UNKNOWN
    assert successor.joined(successor.join(version=3)).generation == 1 + GENERATIONS_AHEAD_MAX


def test_a_group_that_became_smaller_than_it_is_makes_all_join_anew() -> None:
    driver = Driver()
    first, *_ = driver.stable(3)
    successor = driver.succeed(group_members_max=2)
    assert successor.heartbeat(first, driver.group.generation) is REBALANCE
    assert driver.succeed(group_members_max=3).state == "Stable"


def test_a_group_that_an_administrator_emptied_begins_beyond_what_may_have_been_given_out() -> None:
    emptied = KeptGroup(5, "consumer", "range", "", ())
    driver = Driver(Log(emptied))
    assert driver.number == 1
    assert driver.joined(driver.join(version=3)).generation == 6 + GENERATIONS_AHEAD_MAX


# --- the one before ------------------------------------------------------------------------------------


def test_a_coordinator_that_was_replaced_answers_everybody_once_it_knows() -> None:
    driver = Driver(prompt=False)
    ids = [driver.new_id() for _ in range(3)]
    driver.rejoin(*ids)
    generation = driver.group.generation
    tokens = [driver.sync(id_, generation) for id_ in ids]
    driver.succeed()
    driver.accept()
    assert {driver.synced(token).error for token in tokens} == {NOT_COORDINATOR}
    assert driver.state == "Dead"
    assert driver.members == []
    answer = driver.joined(driver.join(ids[0]))
    assert (answer.error, answer.member) == (NOT_COORDINATOR, ids[0])
    assert driver.synced(driver.sync(ids[0], generation)).error is NOT_COORDINATOR
    assert driver.heartbeat(ids[0], generation) is NOT_COORDINATOR
    assert driver.left(driver.leave(Leaver(member=ids[0]))).first_error is NOT_COORDINATOR
    assert driver.group.validate_commit(ids[0], "", generation) is NOT_COORDINATOR
    assert driver.group.validate_commit("", "", -1) is NOT_COORDINATOR
    assert driver.group.idle
    assert driver.group.tick(driver.now + 1000) == []
    assert driver.group.kept(driver.now) == []
    assert driver.group.abandon() == []


def test_giving_a_group_up_answers_all_kinds_of_requests() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    waiting = driver.join(first)
    driver.do(driver.group.abandon(ErrorCode.coordinator_not_available))
    answer = driver.joined(waiting)
    assert (answer.error, answer.member) == (ErrorCode.coordinator_not_available, first)
    assert driver.heartbeat(second, 1) is ErrorCode.coordinator_not_available

    driver = Driver()
    (first,) = driver.stable()
    driver.prompt = False
    leaving = driver.leave(Leaver(member=first))
    driver.do(driver.group.abandon())
    assert driver.left(leaving).error is NOT_COORDINATOR

    driver = Driver()
    old = driver.joined(driver.join(instance="i")).member
    driver.sync(old, 1, instance="i")
    driver.prompt = False
    replacing = driver.join(instance="i", fresh="new")
    driver.do(driver.group.abandon())
    assert (driver.joined(replacing).error, driver.joined(replacing).member) == (NOT_COORDINATOR, "i-new")


def test_assignments_of_a_coordinator_that_was_replaced_are_told_nobody() -> None:
    driver = Driver(prompt=False)
    first = driver.new_id()
    generation = driver.joined(driver.join(first)).generation
    token = driver.sync(first, generation, assignments=((first, b"all"),))
    successor = driver.succeed()
    driver.accept()
    assert driver.synced(token).error is NOT_COORDINATOR
    assert successor.log.content is None


# --- what the log has ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        KeptGroup(5, "consumer", "range", "nobody", (KeptMember("m", "", "", "", -1, -1, (), b""),)),
        KeptGroup(5, "", "range", "", (KeptMember("", "i", "", "", 0, 0, (("x", b""),), b""),) * 2),
        KeptGroup(0, "consumer", "", "m", (KeptMember("m", "", "", "", 0, 0, (("x", b""),), b""),)),
        KeptGroup(-7, "consumer", "range", "m", ()),
    ],
)
def test_nonsense_in_the_log_goes_by(content: KeptGroup) -> None:
    driver = Driver(Log(content))
    driver.advance(600)
    assert driver.state == "Empty"
    assert driver.joined(driver.join(driver.new_id())).error is NONE


def test_what_is_kept_goes_through_the_log_unchanged() -> None:
    import streamhouse

    driver = Driver()
    driver.stable(3, client_id="ünïcode")
    content = driver.log.content
    with streamhouse.Log("memory://") as log:
        verdict = log._commits.propose(KeepClassicGroup("g", "c1", "", content))
        assert verdict.code is Code.ACCEPTED
        assert log._commits.state.groups["g"].classic == content
