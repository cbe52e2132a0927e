"""JoinGroup: who is taken in, when all have joined, and what they agree on."""

from __future__ import annotations

import pytest

from streamhouse.kafka.groups.classic_messages import JoinedMember, Leaver
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.groups.driving import FULL, INCONSISTENT, NONE, RANGE, REBALANCE, UNKNOWN, Driver

BOTH = (("range", b"r"), ("sticky", b"s"))


# --- ids -----------------------------------------------------------------------------------------------


def test_who_has_no_id_is_given_one_and_has_to_come_back_with_it() -> None:
    driver = Driver()
    refused = driver.joined(driver.join(version=4, client_id="app", fresh="7"))
    assert (refused.error, refused.member, refused.generation) == (ErrorCode.member_id_required, "app-7", -1)
    assert driver.state == "Empty"
    taken = driver.joined(driver.join("app-7", version=4))
    assert (taken.error, taken.member, taken.generation, taken.leader) == (NONE, "app-7", 1, "app-7")
    assert (taken.protocol_type, taken.protocol) == ("consumer", "range")
    assert taken.members == (JoinedMember("app-7", "", b"topics"),)


@pytest.mark.parametrize("version", [0, 3])
def test_before_version_4_it_is_taken_in_at_once(version: int) -> None:
    driver = Driver()
    taken = driver.joined(driver.join(version=version, fresh="7"))
    assert (taken.error, taken.member, taken.generation) == (NONE, "client-7", 1)


def test_an_id_that_nobody_gave_out_is_unknown() -> None:
    driver = Driver()
    assert driver.joined(driver.join("made-up")).error is UNKNOWN
    driver.stable()
    answer = driver.joined(driver.join("made-up"))
    assert (answer.error, answer.member) == (UNKNOWN, "made-up")


def test_ids_that_were_given_out_are_waited_for() -> None:
    driver = Driver()
    (first,) = driver.stable()
    second, third = driver.new_id(), driver.new_id()
    tokens = [driver.join(first), driver.join(second)]
    assert all(driver.waits(token) for token in tokens)
    tokens.append(driver.join(third))
    assert {driver.joined(token).generation for token in tokens} == {2}
    assert [len(driver.joined(token).members) for token in tokens] == [3, 0, 0]


def test_an_id_that_was_given_out_and_does_not_join_is_forgotten_after_a_session() -> None:
    driver = Driver()
    (first,) = driver.stable()
    late = driver.new_id(session_ms=5_000)
    token = driver.join(first)
    driver.advance(4.9)
    assert driver.waits(token)
    driver.advance(0.2)
    assert driver.joined(token).generation == 2
    assert driver.joined(driver.join(late)).error is UNKNOWN


def test_an_id_that_was_given_back_is_not_waited_for() -> None:
    driver = Driver()
    (first,) = driver.stable()
    late = driver.new_id()
    token = driver.join(first)
    answer = driver.left(driver.leave(Leaver(member=late)))
    assert answer.members[0].error is NONE
    assert driver.joined(token).generation == 2


def test_an_id_that_was_given_out_is_nobodys_instance() -> None:
    driver = Driver()
    assert driver.joined(driver.join(driver.new_id(), instance="i")).error is UNKNOWN


# --- bounds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session_ms", [5_999, 60_001, -1])
def test_sessions_have_bounds(session_ms: int) -> None:
    driver = Driver(group_session_timeout_min_ms=6_000, group_session_timeout_max_ms=60_000)
    answer = driver.joined(driver.join("m", session_ms=session_ms))
    assert (answer.error, answer.member) == (ErrorCode.invalid_session_timeout, "m")
    assert driver.joined(driver.join(session_ms=6_000)).error is ErrorCode.member_id_required
    assert driver.joined(driver.join(session_ms=60_000)).error is ErrorCode.member_id_required


def test_a_full_group_takes_nobody_in() -> None:
    driver = Driver(group_members_max=2)
    ids = driver.stable(2)
    answer = driver.joined(driver.join())
    assert (answer.error, answer.member) == (FULL, "")
    assert driver.state == "Stable"
    assert driver.joined(driver.join(ids[1])).error is NONE


def test_who_is_late_finds_the_group_full() -> None:
    driver = Driver(group_members_max=2)
    (first,) = driver.stable()
    second, third = driver.new_id(), driver.new_id()
    tokens = [driver.join(first), driver.join(second)]
    assert all(driver.waits(token) for token in tokens)
    assert driver.joined(driver.join(third)).error is FULL
    assert {driver.joined(token).generation for token in tokens} == {2}  # it is not waited for any more


def test_a_member_that_is_late_loses_its_place_when_too_many_have_joined() -> None:
    driver = Driver()
    first, second, third = driver.stable(3)
    smaller = driver.succeed(group_members_max=2)
    assert smaller.state == "PreparingRebalance"  # they are too many
    assert smaller.heartbeat(first, smaller.group.generation) is REBALANCE
    tokens = [smaller.join(second), smaller.join(third)]
    assert smaller.joined(smaller.join(first)).error is FULL
    assert [smaller.joined(token).error for token in tokens] == [NONE, NONE]
    assert smaller.members == [second, third]


def test_ids_that_are_given_out_have_a_bound() -> None:
    driver = Driver(group_members_max=3)
    for _ in range(3):
        driver.new_id()
    assert driver.joined(driver.join()).error is FULL
    driver.advance(10)
    driver.new_id()


def test_members_have_to_fit_into_the_log() -> None:
    driver = Driver()
    large = (("range", bytes(3 << 20)),)
    (first,) = driver.stable(protocols=large)
    assert driver.joined(driver.join(version=3, protocols=large)).error is FULL
    assert driver.joined(driver.join(first, protocols=(("range", bytes(5 << 20)),))).error is FULL
    assert driver.state == "Stable"
    assert driver.joined(driver.join(first, protocols=large)).error is NONE  # itself does not count twice


# --- what they agree on --------------------------------------------------------------------------------


@pytest.mark.parametrize(("protocol_type", "protocols"), [("", RANGE), ("consumer", ())])
def test_who_has_nothing_to_agree_on_founds_no_group(protocol_type: str, protocols: tuple[()]) -> None:
    driver = Driver()
    answer = driver.joined(driver.join(protocol_type=protocol_type, protocols=protocols))
    assert (answer.error, answer.member) == (INCONSISTENT, "")


@pytest.mark.parametrize(
    ("protocol_type", "protocols"), [("connect", RANGE), ("consumer", (("sticky", b""),)), ("consumer", ())]
)
def test_who_cannot_agree_is_not_taken_in(protocol_type: str, protocols: tuple[()]) -> None:
    driver = Driver()
    (first,) = driver.stable()
    for member in ("", first):
        answer = driver.joined(driver.join(member, protocol_type=protocol_type, protocols=protocols))
        assert (answer.error, answer.member) == (INCONSISTENT, member)
    assert driver.state == "Stable"


def test_an_empty_group_may_become_another_kind() -> None:
    driver = Driver()
    (first,) = driver.stable()
    driver.leave(Leaver(member=first))
    answer = driver.joined(driver.join(version=3, protocol_type="connect", protocols=(("v1", b""),)))
    assert (answer.error, answer.protocol_type, answer.protocol) == (NONE, "connect", "v1")


def all_join(driver: Driver, *wishes: str) -> str:
    """The protocol that members agree on who know what their wish says, the best first."""
    metadata = {"r": "range", "s": "sticky", "c": "cooperative"}
    protocols = [tuple((metadata[letter], letter.encode()) for letter in wish) for wish in wishes]
    ids = [driver.new_id(protocols=each) for each in protocols]
    tokens: list[int] = []
    for _ in range(2):
        pairs = zip(ids, protocols, strict=True)
        tokens = [driver.join(id_, protocols=each) for id_, each in pairs]
    answers = [driver.joined(token) for token in tokens if not driver.waits(token)]
    assert answers
    return answers[-1].protocol or ""


@pytest.mark.parametrize(
    ("wishes", "choice"),
    [
        (("rs", "sr", "sr"), "sticky"),  # most like it best
        (("rs", "rs", "sr"), "range"),
        (("sr", "sr", "r"), "range"),  # all know it
        (("csr", "cs", "scr"), "cooperative"),
        (("rs", "sr"), "range"),  # as many: who came first
    ],
)
def test_members_vote_for_a_protocol_that_all_know(wishes: tuple[str, ...], choice: str) -> None:
    assert all_join(Driver(), *wishes) == choice


def test_the_leader_gets_the_metadata_of_that_protocol() -> None:
    driver = Driver()
    (first,) = driver.stable(protocols=BOTH)
    second = driver.new_id(protocols=(("sticky", b"other"),))
    token = driver.join(first, protocols=BOTH)
    driver.join(second, instance="", protocols=(("sticky", b"other"),))
    answer = driver.joined(token)
    assert answer.protocol == "sticky"
    assert answer.members == (JoinedMember(first, "", b"s"), JoinedMember(second, "", b"other"))


def test_a_protocol_that_is_named_twice_counts_once() -> None:
    driver = Driver()
    (first,) = driver.stable(protocols=(("range", b"1"), ("range", b"2"), ("sticky", b"3")))
    assert driver.group.describe().members[0].metadata == b"1"
    second = driver.new_id(protocols=(("sticky", b""),))
    token = driver.join(second, protocols=(("sticky", b""), ("sticky", b"")))
    driver.join(first, protocols=(("range", b"1"), ("sticky", b"3")))
    assert driver.joined(token).protocol == "sticky"


# --- rounds --------------------------------------------------------------------------------------------


def test_the_first_generation_begins_at_once() -> None:
    driver = Driver()
    assert driver.joined(driver.join(driver.new_id())).generation == 1


def test_the_first_generation_may_wait_for_more_members() -> None:
    driver = Driver(group_initial_rebalance_delay_ms=3_000)
    first = driver.join(version=3, rebalance_ms=7_000)
    driver.advance(2)
    second = driver.join(version=3, rebalance_ms=7_000)  # puts it off
    driver.advance(1.5)
    assert driver.waits(first)
    third = driver.join(version=3, rebalance_ms=7_000)  # and once more, but not beyond seven seconds
    driver.advance(2.5)
    fourth = driver.join(version=3, rebalance_ms=7_000)
    assert driver.waits(third)
    driver.advance(1)
    answers = [driver.joined(token) for token in (first, second, third, fourth)]
    assert {answer.generation for answer in answers} == {1}
    assert len(answers[0].members) == 4


def test_the_first_generation_does_not_wait_longer_than_that_when_nobody_comes() -> None:
    driver = Driver(group_initial_rebalance_delay_ms=3_000)
    token = driver.join(version=3)
    driver.advance(2.9)
    assert driver.waits(token)
    driver.advance(0.1)
    assert driver.joined(token).generation == 1


def test_who_puts_the_first_generation_off_does_so_once() -> None:
    driver = Driver(group_initial_rebalance_delay_ms=3_000)
    token = driver.join(version=3)
    driver.advance(2)
    driver.join(version=3)
    driver.advance(3.9)
    assert driver.waits(token)
    driver.advance(0.2)
    assert len(driver.joined(token).members) == 2


def test_when_the_first_members_have_left_before_it_began_the_group_is_empty() -> None:
    driver = Driver(group_initial_rebalance_delay_ms=3_000)
    id_ = driver.new_id()
    token = driver.join(id_)
    driver.leave(Leaver(member=id_))
    assert driver.joined(token).error is UNKNOWN
    driver.advance(10)
    assert driver.state == "Empty"
    assert driver.log.content is not None
    assert driver.log.content.members == ()


def test_a_newcomer_makes_all_join_anew() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    new = driver.join(driver.new_id())
    assert driver.state == "PreparingRebalance"
    before = driver.group.generation
    tokens = [driver.join(first), driver.join(second)]
    answers = [driver.joined(token) for token in (*tokens, new)]
    assert {answer.generation for answer in answers} == {before + 1}
    assert {answer.leader for answer in answers} == {first}


def test_who_does_not_join_anew_in_time_is_dropped() -> None:
    driver = Driver()
    first, second, third = driver.stable(3, session_ms=100_000, rebalance_ms=20_000)
    token = driver.join(first, session_ms=100_000, rebalance_ms=5_000)
    driver.join(second, session_ms=100_000, rebalance_ms=30_000)
    driver.advance(19.9)
    assert driver.waits(token)
    driver.advance(0.2)
    assert driver.joined(token).error is NONE
    assert driver.members == [first, second]
    assert driver.heartbeat(third, driver.group.generation) is UNKNOWN


def test_a_round_takes_as_long_as_the_slowest_member_may() -> None:
    driver = Driver()
    first, second = driver.stable(2, session_ms=100_000)  # a minute
    third = driver.new_id(session_ms=100_000)
    token = driver.join(third, rebalance_ms=90_000, session_ms=100_000)
    driver.advance(89.9)
    assert driver.waits(token)
    driver.join(second, session_ms=100_000)
    driver.advance(0.2)
    assert driver.joined(token).leader == second
    assert driver.members == [second, third]
    assert driver.heartbeat(first, driver.group.generation) is UNKNOWN


def test_version_0_may_take_as_long_as_a_session() -> None:
    driver = Driver()
    answer = driver.joined(driver.join(version=0, session_ms=8_000, rebalance_ms=-1))
    driver.sync(answer.member, 1)
    driver.join(version=0, session_ms=9_000, rebalance_ms=-1)
    for _ in range(8):
        driver.advance(1)
        assert driver.members[0] == answer.member
        driver.heartbeat(answer.member, 1)
    driver.advance(1)
    assert answer.member not in driver.members


def test_the_leader_stays_until_it_does_not_join() -> None:
    driver = Driver()
    first, second, third = driver.stable(3, session_ms=100_000)
    for _ in range(3):
        tokens = [driver.join(id_, session_ms=100_000) for id_ in (first, third, second)]
        assert {driver.joined(token).leader for token in tokens} == {first}
        driver.complete()
    driver.join(driver.new_id(session_ms=100_000), session_ms=100_000)
    tokens = [driver.join(id_, session_ms=100_000) for id_ in (third, second)]
    driver.advance(61)
    assert {driver.joined(token).leader for token in tokens} == {second}  # the first of those who came


def test_when_the_leader_leaves_another_one_leads() -> None:
    driver = Driver()
    first, second, third = driver.stable(3)
    driver.leave(Leaver(member=first))
    tokens = [driver.join(third), driver.join(second)]
    assert {driver.joined(token).leader for token in tokens} == {second}


def test_a_follower_that_joins_anew_with_nothing_new_is_told_of_the_present_generation() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    generation = driver.group.generation
    answer = driver.joined(driver.join(second))
    assert (answer.error, answer.generation, answer.leader, answer.members) == (NONE, generation, first, ())
    assert (answer.protocol_type, answer.protocol, answer.skip_assignment) == ("consumer", "range", False)
    assert driver.state == "Stable"
    assert driver.synced(driver.sync(second, generation)).assignment == b"1"


def test_a_follower_that_wants_something_else_makes_all_join_anew() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    token = driver.join(second, protocols=(("range", b"other"),))
    assert driver.state == "PreparingRebalance"
    answer = driver.joined(driver.join(first))
    assert answer.members[1].metadata == b"other"
    assert driver.joined(token).generation == answer.generation


def test_the_order_of_protocols_is_something_new() -> None:
    driver = Driver()
    _, second = driver.stable(2, protocols=BOTH)
    driver.join(second, protocols=BOTH[::-1])
    assert driver.state == "PreparingRebalance"


def test_a_leader_that_joins_anew_makes_all_join_anew() -> None:
    driver = Driver()
    first, _ = driver.stable(2)
    assert driver.waits(driver.join(first))
    assert driver.state == "PreparingRebalance"


def test_who_has_missed_the_answer_gets_it_again_while_assignments_are_waited_for() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    for id_ in (first, second):
        driver.join(id_)
    assert driver.state == "CompletingRebalance"
    generation = driver.group.generation
    again = driver.joined(driver.join(first))
    assert (again.generation, len(again.members)) == (generation, 2)
    again = driver.joined(driver.join(second))
    assert (again.generation, len(again.members)) == (generation, 0)


def test_something_new_while_assignments_are_waited_for_makes_all_join_anew() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    for id_ in (first, second):
        driver.join(id_)
    waiting = driver.sync(second, driver.group.generation)
    driver.join(second, protocols=(("range", b"other"),))
    assert driver.synced(waiting).error is REBALANCE
    assert driver.state == "PreparingRebalance"


def test_of_two_requests_of_a_member_the_later_one_is_answered_with_the_generation() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    earlier = driver.join(first)
    later = driver.join(first)
    answer = driver.joined(earlier)
    assert (answer.error, answer.member) == (REBALANCE, first)
    driver.join(second)
    assert driver.joined(later).error is NONE


def test_a_new_member_whose_client_may_be_gone_is_not_waited_for_for_ever() -> None:
    driver = Driver()
    (first,) = driver.stable(rebalance_ms=1_000_000)
    token = driver.join(version=3, rebalance_ms=1_000_000)
    for _ in range(60):
        assert driver.waits(token)
        assert driver.heartbeat(first, 1) is REBALANCE
        driver.advance(5)
    answer = driver.joined(token)
    assert (answer.error, answer.member) == (UNKNOWN, "")
    assert driver.members == [first]


def test_who_waits_for_others_is_alive() -> None:
    driver = Driver()
    first, second = driver.stable(2)
    token = driver.join(first)
    for _ in range(11):
        driver.advance(5)
        driver.heartbeat(second, driver.group.generation)
    assert driver.waits(token)
    driver.join(second)
    assert driver.joined(token).error is NONE
    driver.advance(9.9)
    assert driver.members == [first, second]
    driver.advance(0.2)
    assert driver.members == []  # sessions began when they were answered
