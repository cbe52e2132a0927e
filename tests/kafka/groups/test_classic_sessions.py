"""Heartbeat, LeaveGroup, offsets and descriptions: who is there, who goes, and who may commit."""

from __future__ import annotations

import logging

import pytest

from streamhouse.kafka.groups.classic_messages import LeaveAnswer, Leaver, LeftMember, MemberView
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.groups.driving import FENCED, ILLEGAL, NONE, RANGE, REBALANCE, UNKNOWN, Driver

# --- heartbeats ----------------------------------------------------------------------------------------


def test_heartbeats_are_answered_by_the_state_of_the_group() -> None:
    driver = Driver()
    assert driver.heartbeat("stranger", 0) is UNKNOWN
    first, second = driver.stable(2)
    stable = driver.group.generation
    assert driver.heartbeat(first, stable) is NONE
    driver.join(first)
    assert driver.heartbeat(second, stable) is REBALANCE
    driver.join(second)
    assert driver.state == "CompletingRebalance"
    assert driver.heartbeat(second, stable + 1) is NONE
    assert driver.heartbeat(second, stable) is ILLEGAL
    assert driver.heartbeat("stranger", stable + 1) is UNKNOWN


def test_an_id_that_was_given_out_is_not_heard_yet() -> None:
    driver = Driver()
    assert driver.heartbeat(driver.new_id(), 0) is UNKNOWN


def test_who_is_not_heard_for_a_session_is_dropped() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    generation = driver.group.generation
    driver.advance(6)
    driver.heartbeat(first, generation)
    driver.advance(3.9)
    assert driver.members == [first, second]
    driver.advance(0.2)
    assert driver.members == [first]
    assert driver.state == "PreparingRebalance"
    assert driver.heartbeat(second, generation) is UNKNOWN


def test_heartbeats_count_while_all_have_to_join_anew() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    driver.join(first)
    for _ in range(5):
        driver.advance(6)
        assert driver.heartbeat(second, driver.group.generation) is REBALANCE
    assert second in driver.members


def test_what_is_refused_is_no_sign_of_life() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    driver.advance(6)
    driver.heartbeat(first, driver.group.generation)
    assert driver.heartbeat(second, 77) is ILLEGAL
    driver.advance(5)
    assert driver.members == [first]


def test_offsets_are_no_sign_of_life() -> None:
    driver = Driver()
    (first,) = driver.stable()
    driver.advance(6)
    assert driver.group.validate_commit(first, "", 1) is NONE
    driver.advance(5)
    assert driver.members == []


def test_to_ask_for_an_assignment_or_to_join_is_a_sign_of_life() -> None:
    driver = Driver()
    first, second, third = driver.stable(3)
    generation = driver.group.generation
    for _ in range(4):
        driver.advance(6)
        driver.heartbeat(first, generation)
        driver.sync(second, generation)
        driver.join(third)
    assert driver.members == [first, second, third]


def test_many_who_fall_silent_at_once_make_one_round() -> None:
    driver = Driver()
    ids = driver.stable(20)
    generation = driver.group.generation
    driver.advance(6)
    driver.heartbeat(ids[7], generation)
    driver.advance(5)
    assert driver.members == [ids[7]]
    assert driver.joined(driver.join(ids[7])).generation == generation + 1


def test_when_all_have_fallen_silent_the_group_is_empty_and_the_log_knows() -> None:
    driver = Driver()
    driver.stable(3)
    generation = driver.group.generation
    driver.advance(11)
    assert driver.state == "Empty"
    content = driver.log.content
    assert content is not None
    assert (content.generation, content.members, content.leader) == (generation + 1, (), "")
    assert content.protocol_type == "consumer"
    assert driver.group.idle


# --- leaving -------------------------------------------------------------------------------------------


def left(driver: Driver, *leavers: Leaver) -> list[ErrorCode]:
    answer = driver.left(driver.leave(*leavers))
    assert answer.error is NONE
    assert [(each.member, each.instance) for each in answer.members] == [
        (leaver.member, leaver.instance) for leaver in leavers
    ]
    return [each.error for each in answer.members]


def test_who_leaves_makes_the_others_join_anew() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    assert left(driver, Leaver(member=second)) == [NONE]
    assert driver.members == [first]
    assert driver.state == "PreparingRebalance"
    assert driver.heartbeat(second, driver.group.generation) is UNKNOWN


def test_several_may_leave_at_once_each_with_its_own_answer() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    static = driver.join(instance="i")
    driver.join(first)
    driver.join(second)
    other = driver.joined(static).member
    assert left(
        driver,
        Leaver(member=second),
        Leaver(member=second),
        Leaver(member="stranger"),
        Leaver(member="", instance="nobody"),
        Leaver(member=""),
        Leaver(member="old", instance="i"),
        Leaver(member=first, instance="nobody"),
        Leaver(member=other, instance="i"),
    ) == [NONE, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, FENCED, UNKNOWN, NONE]
    assert driver.members == [first]


def test_administrators_put_static_members_out_by_name() -> None:
    driver = Driver()
    (first,) = driver.stable()
    static = driver.join(instance="i")
    driver.join(first)
    assert driver.joined(static).error is NONE
    assert left(driver, Leaver(member="", instance="i")) == [NONE]
    assert driver.members == [first]


def test_when_nobody_could_leave_nothing_happens() -> None:
    driver = Driver()
    driver.stable()
    assert left(driver, Leaver(member="stranger")) == [UNKNOWN]
    assert left(driver) == []
    assert driver.state == "Stable"


def test_an_id_that_is_given_back_does_not_disturb_a_stable_group() -> None:
    driver = Driver()
    driver.stable()
    id_ = driver.new_id()
    assert left(driver, Leaver(member=id_)) == [NONE]
    assert left(driver, Leaver(member=id_)) == [UNKNOWN]
    assert driver.state == "Stable"


def test_who_leaves_while_it_waits_for_others_is_answered() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    token = driver.join(first)
    left(driver, Leaver(member=first))
    answer = driver.joined(token)
    assert (answer.error, answer.member) == (UNKNOWN, "")
    assert driver.members == [second]


def test_who_was_waited_for_and_leaves_is_not_waited_for() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    token = driver.join(first)
    left(driver, Leaver(member=second))
    assert driver.joined(token).generation == driver.group.generation


def test_the_last_one_is_told_that_it_has_left_once_the_log_knows() -> None:
    driver = Driver()
    (first,) = driver.stable()
    driver.prompt = False
    token = driver.leave(Leaver(member=first))
    assert driver.waits(token)
    assert not driver.group.idle
    again = driver.leave(Leaver(member=first))
    assert driver.waits(again)
    driver.accept()
    assert driver.left(token).first_error is NONE
    assert driver.left(again).first_error is UNKNOWN
    assert driver.log.content is not None
    assert driver.log.content.members == ()
    assert driver.group.idle


def test_the_last_one_does_not_wait_for_an_id_that_was_given_out() -> None:
    driver = Driver()
    (first,) = driver.stable()
    id_ = driver.new_id()
    left(driver, Leaver(member=first))
    assert driver.state == "Empty"
    assert not driver.group.idle
    assert driver.joined(driver.join(id_)).error is NONE


def test_before_version_3_there_is_one_error() -> None:
    fine, wrong = LeftMember("m", "", NONE), LeftMember("m", "", UNKNOWN)
    assert LeaveAnswer(NONE, (fine,)).first_error is NONE
    assert LeaveAnswer(NONE, (wrong,)).first_error is UNKNOWN
    assert LeaveAnswer(ErrorCode.not_coordinator).first_error is ErrorCode.not_coordinator


def test_reasons_are_logged_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver()
    with caplog.at_level(logging.INFO, "streamhouse.kafka"):
        first, second = driver.stable(2)
        driver.join(first, reason="new partitions\nof t")
        left(driver, Leaver(member=second, reason="done" * 1000))
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.endswith("'client-0' joins anew: 'new partitions\\nof t'") for line in lines)
    assert not any("\n" in line for line in lines)
    assert all(len(line) < 500 for line in lines)


# --- offsets -------------------------------------------------------------------------------------------


def test_members_commit_in_their_generation() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    commit = driver.group.validate_commit
    stable = driver.group.generation
    assert commit(first, "", stable) is NONE
    assert commit(first, "", stable - 1) is ILLEGAL
    assert commit(first, "", -1) is ILLEGAL
    assert commit("stranger", "", stable) is UNKNOWN
    assert commit("", "nobody", -1) is UNKNOWN
    driver.join(first)
    assert commit(second, "", stable) is NONE  # what it has done until now
    driver.join(second)
    assert commit(second, "", stable) is ILLEGAL
    assert commit(second, "", stable + 1) is REBALANCE
    assert commit(second, "", stable + 1, transactional=True) is NONE


def test_static_members_commit_under_their_present_id() -> None:
    driver = Driver()
    old = driver.joined(driver.join(instance="i")).member
    driver.sync(old, 1, instance="i")
    new = driver.joined(driver.join(instance="i", fresh="new")).member
    assert driver.group.validate_commit(old, "i", 1) is FENCED
    assert driver.group.validate_commit(new, "i", 1) is NONE


def test_who_is_no_member_commits_while_there_are_none() -> None:
    driver = Driver()
    commit = driver.group.validate_commit
    assert commit("", "", -1) is NONE
    assert commit("anybody", "i", -1) is NONE
    assert commit("", "", 0) is UNKNOWN
    assert commit("anybody", "", 1, transactional=True) is UNKNOWN
    (first,) = driver.stable()
    assert commit("", "", -1) is UNKNOWN
    assert commit("", "", -1, transactional=True) is NONE  # before version 3 nobody says who it is
    assert commit("", "", 0, transactional=True) is UNKNOWN
    driver.leave(Leaver(member=first))
    assert commit("", "", -1) is NONE


# --- descriptions --------------------------------------------------------------------------------------


def test_a_stable_group_shows_what_its_members_said_and_have() -> None:
    driver = Driver()
    assert driver.group.describe().protocol_type == ""
    driver.stable(client_id="app", host="/10.0.0.7", protocols=(("sticky", b"s"), *RANGE))
    view = driver.group.describe()
    assert (view.state, view.protocol_type, view.protocol) == ("Stable", "consumer", "sticky")
    assert view.members == (MemberView("app-0", "", "app", "/10.0.0.7", b"s", b"0"),)


def test_a_group_in_between_shows_its_members_only() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    driver.join(first)
    view = driver.group.describe()
    assert (view.state, view.protocol) == ("PreparingRebalance", "")
    assert [(member.metadata, member.assignment) for member in view.members] == [(b"", b"0"), (b"", b"1")]
    driver.join(second)
    assert driver.group.describe().state == "CompletingRebalance"


def test_an_empty_group_is_still_of_its_kind() -> None:
    driver = Driver()
    (first,) = driver.stable()
    driver.leave(Leaver(member=first))
    view = driver.group.describe()
    assert (view.state, view.protocol_type, view.protocol, view.members) == ("Empty", "consumer", "", ())
