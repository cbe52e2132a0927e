"""Static members (KIP-345): who comes with the same name takes the place of the one before."""

from __future__ import annotations

import pytest

from streamhouse.kafka.groups.classic_messages import Leaver
from tests.kafka.groups.driving import FENCED, NONE, REBALANCE, UNKNOWN, Driver

BOTH = (("range", b"r"), ("sticky", b"s"))


def static(driver: Driver, *instances: str, **values: object) -> list[str]:
    """Static members of a stable group, the leader first."""
    tokens = [driver.join(instance=instance, **values) for instance in instances]
    answers = [driver.joined(token) for token in tokens if not driver.waits(token)]
    ids = [member.id for member in driver.group.describe().members]
    assert answers[0].error is NONE
    for id_, instance in list(zip(ids, instances, strict=True))[:-1]:
        driver.join(id_, instance=instance, **values)
    driver.complete()
    assert driver.state == "Stable"
    return ids


def test_static_members_need_no_id_to_join() -> None:
    driver = Driver()
    answer = driver.joined(driver.join(instance="i", fresh="7"))
    assert (answer.error, answer.member) == (NONE, "i-7")
    assert answer.members[0].instance == "i"


def test_who_takes_a_place_has_the_assignment_and_nobody_else_notices() -> None:
    driver = Driver()
    first, second = static(driver, "i", "j")
    generation = driver.group.generation
    answer = driver.joined(driver.join(instance="j", fresh="new"))
    assert (answer.error, answer.member, answer.generation) == (NONE, "j-new", generation)
    assert (answer.leader, answer.members, answer.skip_assignment) == (first, (), False)
    assert driver.state == "Stable"
    assert driver.heartbeat(first, generation, "i") is NONE
    assert driver.synced(driver.sync("j-new", generation, instance="j")).assignment == b"1"
    assert driver.members == [first, "j-new"]
    # The one before is told off, whatever it tries.
    assert driver.heartbeat(second, generation, "j") is FENCED
    assert driver.synced(driver.sync(second, generation, instance="j")).error is FENCED
    assert driver.joined(driver.join(second, instance="j")).error is FENCED
    assert driver.heartbeat(second, generation) is UNKNOWN


def test_who_takes_the_place_of_the_leader_is_told_to_leave_things_as_they_are() -> None:
    driver = Driver()
    _, second = static(driver, "i", "j")
    answer = driver.joined(driver.join(instance="i", fresh="new", version=9))
    assert (answer.member, answer.leader, answer.skip_assignment) == ("i-new", "i-new", True)
    assert {member.id for member in answer.members} == {"i-new", second}
    assert driver.synced(driver.sync("i-new", answer.generation, instance="i")).assignment == b"0"


@pytest.mark.parametrize("version", [5, 8])
def test_before_version_9_it_is_told_of_the_leader_before(version: int) -> None:
    driver = Driver()
    first, _ = static(driver, "i", "j")
    answer = driver.joined(driver.join(instance="i", fresh="new", version=version))
    assert (answer.member, answer.leader, answer.skip_assignment) == ("i-new", first, False)
    assert answer.members == ()
    assert driver.waits(driver.join("i-new", instance="i"))  # it leads, though
    assert driver.state == "PreparingRebalance"


def test_who_takes_a_place_is_answered_once_the_log_knows() -> None:
    driver = Driver()
    first, second = static(driver, "i", "j")
    driver.prompt = False
    token = driver.join(instance="j", fresh="new", host="/10.0.0.7")
    assert driver.waits(token)
    assert driver.going is not None
    kept = {member.instance: member for member in driver.going.members}
    assert (kept["j"].id, kept["j"].assignment, kept["j"].host) == ("j-new", b"1", "/10.0.0.7")
    assert kept["i"].assignment == b"0"
    assert driver.going.generation == driver.group.generation
    assert driver.heartbeat(first, driver.group.generation) is NONE
    assert driver.heartbeat(second, driver.group.generation, "j") is FENCED
    driver.accept()
    assert driver.joined(token).member == "j-new"


def test_of_two_who_take_a_place_the_later_one_has_it() -> None:
    driver = Driver()
    static(driver, "i", "j")
    driver.prompt = False
    earlier = driver.join(instance="j", fresh="a")
    later = driver.join(instance="j", fresh="b")
    answer = driver.joined(earlier)
    assert (answer.error, answer.member) == (FENCED, "j-a")
    driver.accept()  # knows of the earlier one
    assert driver.waits(later)
    driver.accept()
    assert driver.joined(later).error is NONE
    assert driver.log.content is not None
    assert "j-b" in {member.id for member in driver.log.content.members}


def test_who_takes_a_place_while_a_round_begins_takes_part_in_it() -> None:
    driver = Driver()
    first, _ = static(driver, "i", "j")
    driver.prompt = False
    token = driver.join(instance="j", fresh="new")
    driver.join(first, instance="i")
    driver.accept()
    assert driver.waits(token)  # it is somebody else's place already, which has to be in the log
    driver.accept()
    answer = driver.joined(token)
    assert (answer.error, answer.generation) == (NONE, driver.group.generation)
    assert driver.state == "CompletingRebalance"


def test_who_likes_another_protocol_makes_all_join_anew_if_it_has_its_way() -> None:
    driver = Driver()
    static(driver, "i", "j", protocols=BOTH)
    token = driver.join(instance="j", protocols=BOTH[::-1])  # one against one: things stay as they are
    assert driver.joined(token).error is NONE
    assert driver.state == "Stable"
    token = driver.join(instance="i", protocols=BOTH[::-1])
    assert driver.waits(token)
    assert driver.state == "PreparingRebalance"


def test_who_subscribes_to_something_else_is_not_noticed_as_in_kafka() -> None:
    driver = Driver()
    static(driver, "i", "j")
    assert driver.joined(driver.join(instance="j", protocols=(("range", b"other"),))).error is NONE
    assert driver.state == "Stable"
    assert b"other" in {member.metadata for member in driver.group.describe().members}


def test_who_takes_a_place_while_the_leader_deals_out_makes_all_join_anew() -> None:
    driver = Driver()
    first, second = static(driver, "i", "j")
    driver.join(first, instance="i")
    driver.join(second, instance="j")
    assert driver.state == "CompletingRebalance"
    third = driver.join(instance="k")
    driver.join(first, instance="i")
    driver.join(second, instance="j")
    waiting = driver.sync(second, driver.group.generation, instance="j")
    other = driver.sync(driver.joined(third).member, driver.group.generation, instance="k")
    token = driver.join(instance="j", fresh="new")
    assert driver.synced(waiting).error is FENCED
    assert driver.synced(other).error is REBALANCE
    assert driver.state == "PreparingRebalance"
    driver.join(first, instance="i")
    driver.join(driver.joined(third).member, instance="k")
    assert driver.joined(token).error is NONE


def test_who_takes_the_place_of_one_that_waits_sends_it_away() -> None:
    driver = Driver()
    _, second = static(driver, "i", "j")
    driver.join(driver.leader, instance="i")
    waiting = driver.join(second, instance="j")
    assert driver.joined(waiting).error is NONE
    assert driver.state == "CompletingRebalance"
    newcomer = driver.join(instance="k")
    waiting = driver.join(second, instance="j")
    token = driver.join(instance="j", fresh="new")
    answer = driver.joined(waiting)
    assert (answer.error, answer.member) == (FENCED, second)
    driver.join(driver.leader, instance="i")
    assert driver.joined(token).generation == driver.joined(newcomer).generation


def test_static_members_keep_their_places_while_they_are_away() -> None:
    driver = Driver()
    first, second = static(driver, "i", "j", session_ms=200_000, rebalance_ms=20_000)
    token = driver.join(first, instance="i", session_ms=200_000, rebalance_ms=20_000)
    driver.advance(20)
    assert driver.joined(token).error is NONE
    assert driver.members == [first, second]
    generation = driver.group.generation
    driver.sync(first, generation, instance="i", assignments=((second, b"b"),))
    driver.joined(driver.join(instance="j", fresh="new", session_ms=200_000))
    assert driver.synced(driver.sync("j-new", generation, instance="j")).assignment == b"b"
    driver.advance(60)
    assert driver.state == "Stable"  # it has asked for its assignment, under its new id


def test_when_only_absent_static_members_are_left_the_round_waits_for_them() -> None:
    driver = Driver()
    first, second = static(driver, "i", "j", session_ms=100_000, rebalance_ms=20_000)
    third = driver.join(version=3, session_ms=6_000, rebalance_ms=20_000)
    driver.advance(5)
    newcomer = driver.group.describe().members[-1].id
    driver.leave(Leaver(member=newcomer))
    assert driver.joined(third).error is UNKNOWN
    driver.advance(40)
    assert driver.state == "PreparingRebalance"
    assert driver.heartbeat(first, driver.group.generation, "i") is REBALANCE
    token = driver.join(first, instance="i", session_ms=100_000, rebalance_ms=20_000)
    assert driver.waits(token)
    driver.advance(20)
    assert driver.joined(token).error is NONE
    assert driver.members == [first, second]


def test_a_static_member_that_stays_away_is_dropped_after_its_session() -> None:
    driver = Driver()
    first, second = static(driver, "i", "j")
    for _ in range(2):
        driver.advance(5)
        driver.heartbeat(first, driver.group.generation, "i")
    driver.advance(0.1)
    assert driver.members == [first]
    assert driver.heartbeat(second, 1, "j") is UNKNOWN
    answer = driver.joined(driver.join(first, instance="i"))
    assert answer.error is NONE


def test_a_place_can_be_taken_in_a_full_group() -> None:
    driver = Driver(group_members_max=2)
    static(driver, "i", "j")
    assert driver.joined(driver.join(instance="j", fresh="new")).error is NONE
    assert driver.state == "Stable"


def test_who_takes_the_place_of_a_new_member_is_waited_for_as_long_as_it_waits() -> None:
    driver = Driver()
    (first,) = driver.stable(rebalance_ms=200_000)
    driver.join(instance="i", rebalance_ms=200_000, session_ms=6_000)
    token = driver.join(instance="i", fresh="new", rebalance_ms=200_000, session_ms=6_000)
    for _ in range(30):
        driver.advance(5)
        driver.heartbeat(first, 1)
    assert driver.waits(token)
    driver.join(first)
    assert driver.joined(token).error is NONE


def test_names_do_not_mix_with_those_who_have_none() -> None:
    driver = Driver()
    first, _ = driver.stable(2)
    driver.join(first)
    assert driver.joined(driver.join(first, instance="i")).error is UNKNOWN
    assert driver.joined(driver.join("x", instance="")).error is UNKNOWN
