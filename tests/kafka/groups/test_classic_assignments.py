"""SyncGroup: assignments are handed round once the leader has dealt out and the log knows."""

from __future__ import annotations

import pytest

from streamhouse.kafka.groups.classic_messages import Leaver
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.groups.driving import FENCED, ILLEGAL, INCONSISTENT, NONE, REBALANCE, UNKNOWN, Driver


def completing(count: int = 2, **values: bool) -> tuple[Driver, list[str], int]:
    """A group that waits for its leader, the members, and the generation."""
    driver = Driver(**values)
    ids = [driver.new_id() for _ in range(count)]
    driver.rejoin(*ids)
    assert driver.state == "CompletingRebalance"
    return driver, ids, driver.group.generation


def test_followers_wait_for_the_leader() -> None:
    driver, (first, second), generation = completing()
    early = driver.sync(second, generation)
    assert driver.waits(early)
    leader = driver.sync(first, generation, assignments=((first, b"a"), (second, b"b")))
    for token, assignment in ((leader, b"a"), (early, b"b")):
        answer = driver.synced(token)
        assert (answer.error, answer.assignment) == (NONE, assignment)
        assert (answer.protocol_type, answer.protocol) == ("consumer", "range")
    assert driver.state == "Stable"


def test_followers_that_come_later_do_not_wait() -> None:
    driver, (first, second), generation = completing()
    driver.sync(first, generation, assignments=((first, b"a"), (second, b"b")))
    assert driver.synced(driver.sync(second, generation)).assignment == b"b"
    assert driver.synced(driver.sync(first, generation)).assignment == b"a"


def test_what_followers_deal_out_does_not_count() -> None:
    driver, (first, second), generation = completing()
    token = driver.sync(second, generation, assignments=((second, b"all"),))
    driver.sync(first, generation, assignments=((first, b"a"),))
    assert driver.synced(token).assignment == b""


def test_whom_the_leader_gives_nothing_has_nothing() -> None:
    driver, (first, second), generation = completing()
    driver.sync(first, generation, assignments=((first, b"a"), ("stranger", b"x")))
    answer = driver.synced(driver.sync(second, generation))
    assert (answer.error, answer.assignment) == (NONE, b"")
    assert driver.log.content is not None
    assert [member.assignment for member in driver.log.content.members] == [b"a", b""]


def test_while_all_have_to_join_anew_there_are_no_assignments() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    driver.join(first)
    assert driver.synced(driver.sync(second, driver.group.generation)).error is REBALANCE


def test_who_is_no_member_is_told_so() -> None:
    driver, (first, _), generation = completing()
    assert driver.synced(driver.sync("stranger", generation)).error is UNKNOWN
    assert driver.synced(driver.sync(first, generation, instance="i")).error is UNKNOWN
    for other in (generation - 1, generation + 1, -1):
        assert driver.synced(driver.sync(first, other)).error is ILLEGAL
    assert driver.state == "CompletingRebalance"


def test_an_empty_group_has_nothing_for_anybody() -> None:
    driver = Driver()
    assert driver.synced(driver.sync("stranger", 0)).error is UNKNOWN


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"protocol_type": "connect", "protocol": "range"}, INCONSISTENT),
        ({"protocol_type": "consumer", "protocol": "sticky"}, INCONSISTENT),
        ({"protocol_type": "consumer", "protocol": "range"}, NONE),
        ({}, NONE),
    ],
)
def test_who_takes_the_group_for_another_kind_is_told_so(values: dict[str, str], error: ErrorCode) -> None:
    driver = Driver()
    (first,) = driver.stable()
    assert driver.synced(driver.sync(first, 1, **values)).error is error


def test_members_learn_of_nothing_that_the_log_does_not_know() -> None:
    driver, (first, second), generation = completing(prompt=False)
    follower = driver.sync(second, generation)
    leader = driver.sync(first, generation, assignments=((first, b"a"), (second, b"b")))
    assert driver.going is not None
    assert [member.assignment for member in driver.going.members] == [b"a", b"b"]
    assert driver.waits(follower)
    assert driver.waits(leader)
    assert driver.state == "CompletingRebalance"
    assert driver.heartbeat(first, generation) is NONE  # is answered meanwhile
    assert driver.group.validate_commit(first, "", generation) is REBALANCE
    again = driver.sync(second, generation)
    assert driver.synced(follower).error is REBALANCE
    driver.accept()
    assert driver.synced(again).assignment == b"b"
    assert driver.synced(leader).assignment == b"a"
    assert driver.state == "Stable"


def test_a_leader_deals_out_once() -> None:
    driver, (first, second), generation = completing(prompt=False)
    driver.sync(first, generation, assignments=((first, b"a"), (second, b"b")))
    again = driver.sync(first, generation, assignments=((first, b"b"), (second, b"a")))
    driver.accept()
    assert driver.going is None
    assert driver.synced(again).assignment == b"a"
    assert driver.synced(driver.sync(second, generation)).assignment == b"b"


def test_a_round_that_begins_before_the_log_knows_calls_the_last_one_off() -> None:
    driver, (first, second), generation = completing(prompt=False)
    follower = driver.sync(second, generation)
    leader = driver.sync(first, generation, assignments=((first, b"a"), (second, b"b")))
    newcomer = driver.join(version=3)
    assert driver.synced(follower).error is driver.synced(leader).error is REBALANCE
    driver.accept()
    assert driver.state == "PreparingRebalance"
    driver.join(first)
    driver.join(second)
    assert driver.joined(newcomer).generation == generation + 1
    leader = driver.sync(first, generation + 1, assignments=((first, b"c"),))
    driver.accept()
    assert driver.synced(leader).assignment == b"c"
    assert [content.generation for content in driver.log.history] == [generation, generation + 1]


def test_the_next_content_goes_when_the_last_one_has_arrived() -> None:
    driver, (first, second), generation = completing(prompt=False)
    driver.sync(first, generation, assignments=((first, b"a"), (second, b"b")))
    driver.join(second, protocols=(("range", b"new"),))
    driver.join(first)
    leader = driver.sync(first, generation + 1, assignments=((first, b"c"),))
    assert driver.going is not None
    assert driver.going.generation == generation
    driver.accept()
    assert driver.waits(leader)
    assert driver.going is not None
    assert driver.going.generation == generation + 1
    driver.accept()
    assert driver.synced(leader).assignment == b"c"


def beat_for_a_minute(driver: Driver, ids: list[str], generation: int, silent: str) -> None:
    for _ in range(12):
        assert silent in driver.members
        assert [driver.heartbeat(id_, generation) for id_ in ids] == [NONE] * len(ids)
        driver.advance(5)
    assert silent not in driver.members
    assert driver.state == "PreparingRebalance"


def test_a_leader_that_does_not_deal_out_in_time_is_dropped() -> None:
    driver, (first, second, third), generation = completing(3)
    tokens = [driver.sync(second, generation), driver.sync(third, generation)]
    beat_for_a_minute(driver, [first, second, third], generation, first)
    assert {driver.synced(token).error for token in tokens} == {REBALANCE}
    assert driver.members == [second, third]


def test_a_follower_that_does_not_ask_for_its_assignment_in_time_is_dropped() -> None:
    driver, (first, second, third), generation = completing(3)
    tokens = [driver.sync(second, generation), driver.sync(first, generation)]
    assert {driver.synced(token).error for token in tokens} == {NONE}
    assert driver.state == "Stable"
    beat_for_a_minute(driver, [first, second, third], generation, third)
    assert driver.members == [first, second]


def test_once_all_have_asked_nobody_is_dropped() -> None:
    driver = Driver()
    ids = driver.stable(2)
    for _ in range(30):
        driver.advance(5)
        assert [driver.heartbeat(id_, driver.group.generation) for id_ in ids] == [NONE, NONE]
    assert driver.state == "Stable"


def test_who_waits_for_an_assignment_is_alive() -> None:
    driver, (first, second), generation = completing()
    token = driver.sync(second, generation)
    for _ in range(5):
        driver.advance(5)
        driver.heartbeat(first, generation)
    assert driver.waits(token)
    driver.sync(first, generation)
    assert driver.synced(token).error is NONE
    driver.advance(9.9)
    driver.heartbeat(first, generation)
    assert second in driver.members
    driver.advance(0.2)
    assert second not in driver.members


def test_who_leaves_while_it_waits_for_an_assignment_is_answered() -> None:
    driver, (first, second), generation = completing()
    token = driver.sync(second, generation)
    driver.leave(Leaver(member=second))
    assert driver.synced(token).error is UNKNOWN
    assert driver.synced(driver.sync(first, generation)).error is REBALANCE


def test_assignments_have_to_fit_into_the_log() -> None:
    driver, (first, second), generation = completing()
    follower = driver.sync(second, generation)
    leader = driver.sync(first, generation, assignments=((first, bytes(3 << 20)), (second, bytes(2 << 20))))
    for token in (leader, follower):
        assert driver.synced(token).error is ErrorCode.unknown_server_error
    assert driver.state == "PreparingRebalance"
    assert driver.log.history == []


def test_an_assignment_is_nothing_to_a_namesake() -> None:
    driver = Driver()
    answer = driver.joined(driver.join(instance="i"))
    driver.sync(answer.member, 1, instance="i", assignments=((answer.member, b"a"),))
    assert driver.synced(driver.sync("other", 1, instance="i")).error is FENCED
