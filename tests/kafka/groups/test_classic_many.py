"""Many members, and many who come and go."""

from __future__ import annotations

import time

from streamhouse.kafka.groups.classic_messages import Leaver
from tests.kafka.groups.driving import NONE, Driver

MEMBERS = 1_000


def test_a_thousand_members_join_within_a_second() -> None:
    began = time.process_time()
    driver = Driver()
    ids = [driver.new_id() for _ in range(MEMBERS)]
    tokens = [driver.join(id_) for id_ in ids]
    driver.join(ids[0])
    assert {driver.joined(token).generation for token in tokens[1:]} == {2}
    driver.complete()
    assert driver.state == "Stable"
    assert all(driver.heartbeat(id_, 2) is NONE for id_ in ids)
    # A tenth of that is usual: what is bounded here is the work per member, not the speed.
    assert time.process_time() - began < 1


def test_nothing_is_left_of_those_who_have_gone() -> None:
    driver = Driver()
    (first,) = driver.stable(session_ms=300_000, rebalance_ms=300_000)
    for number in range(2_000):
        protocols = (("range", b""), (f"own-{number}", b""))
        static = driver.join(instance=f"i{number}", protocols=protocols)
        driver.new_id(client_id=f"pending-{number}", session_ms=100)
        driver.leave(Leaver(member="", instance=f"i{number}"))
        driver.answers.pop(static)
        driver.advance(0.1)
    driver.join(first, session_ms=300_000, rebalance_ms=300_000)
    driver.complete()
    assert driver.members == [first]
    roster = driver.group._course.roster
    sizes = [len(held) for held in (roster.members, roster.pending, roster._instances, roster._speakers)]
    assert sizes == [1, 0, 0, 1]
    assert driver.group.describe().state == "Stable"
    driver.leave(Leaver(member=first))
    assert roster.size == 0
    assert driver.group.idle
