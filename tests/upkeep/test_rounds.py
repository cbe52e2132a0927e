"""Rounds of upkeep: who works, when it is worth it, and that a look costs nothing."""

from __future__ import annotations

import pytest

import streamhouse
from streamhouse.format import names
from streamhouse.format.operations import ClaimCompaction
from streamhouse.testing.clock import ManualRuntime
from streamhouse.upkeep import due, survey
from streamhouse.upkeep.report import Tally
from streamhouse.upkeep.survey import FIRST_SEGMENT
from tests.upkeep.conftest import Opener
from tests.upkeep.helpers import rows, state_of, write


def usual(log: streamhouse.Log) -> Tally:
    tally = Tally()
    log._upkeep.usual(lambda _: None, tally)
    return tally


def test_a_look_at_a_log_in_order_costs_no_request(open_log: Opener) -> None:
    log = open_log()
    log.create_topic("t", retention_ms=3_600_000)
    log.create_topic("c", cleanup_policy="compact")
    write(log, [b"%d" % n for n in range(200)])
    write(log, [b"%d" % n for n in range(200)], keys=[b"k"] * 200, topic="c")
    assert usual(log).segments_written == 2
    before = log.stats().counts
    for _ in range(10):
        assert usual(log).blocks_before == 0
        open_log.runtime.advance(350)
    assert log.stats().counts == before


def test_small_topics_are_put_together_once_they_have_many_blocks(log: streamhouse.Log) -> None:
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(60)])
    assert usual(log).blocks_before == 0
    write(log, [b"%d" % n for n in range(60)])
    assert usual(log).blocks_before == 120
    write(log, [b"%d" % n for n in range(20)])
    assert usual(log).blocks_before == 0
    write(log, [b"%d" % n for n in range(44)])
    assert usual(log).blocks_before == 65  # with the segment, which is much smaller than those


def test_old_blocks_of_a_quiet_partition_are_moved(
    log: streamhouse.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "AGED_COMMITS", 100)
    monkeypatch.setattr(due, "_COMMITS_MIN", 50)
    log.create_topic("quiet")
    log.create_topic("t")
    write(log, [b"1", b"2"], topic="quiet")
    write(log, [b"%d" % n for n in range(60)])
    usual(log)
    assert max(state_of(log, "quiet").lanes) > FIRST_SEGMENT
    write(log, [b"%d" % n for n in range(60)])
    usual(log)
    assert max(state_of(log, "quiet").lanes) <= FIRST_SEGMENT
    assert rows(log, "quiet") == [(0, None, b"1"), (1, None, b"2")]


def test_a_lane_that_is_left_behind_is_emptied(open_log: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(inline_bytes_max=0)
    monkeypatch.setattr(survey, "AGED_FLUSHES", 10)
    monkeypatch.setattr(due, "_COMMITS_MIN", 5)
    log.create_topic("quiet")
    log.create_topic("t")
    write(log, [b"1"], topic="quiet")
    write(log, [b"%d" % n for n in range(20)])
    usual(log)
    assert max(state_of(log, "quiet").lanes) <= FIRST_SEGMENT


def claim(log: streamhouse.Log, worker: str = "other") -> None:
    topic = log.topic("t").id
    log._commits.propose(ClaimCompaction(topic, 0, worker, 0))


def test_a_partition_that_somebody_is_at_is_left_to_them(log: streamhouse.Log) -> None:
    log.create_topic("t", partitions=2)
    write(log, [b"%d" % n for n in range(100)], partition=0)
    write(log, [b"%d" % n for n in range(100)], partition=1)
    claim(log)
    report = log.upkeep()
    assert report.skipped == ["partition 0 of 't': another process is at work on it"]
    assert report.segments_written == 1
    assert len(state_of(log).base_offsets) == 100


def test_who_finds_others_at_work_learns_when_they_are_done(open_log: Opener) -> None:
    """A process that does nothing else would see their claim, and plan for nothing, for ten minutes."""
    log, other = open_log(), open_log()
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(100)])
    other.topic("t")
    claim(other, other._upkeep._tools.claims.worker)
    log.create_topic("next")
    assert state_of(log).claim is not None
    assert usual(other).segments_written == 1
    other.create_topic("last")  # the claim is given back without waiting for it
    assert len(state_of(log).base_offsets) == 100
    assert usual(log).segments_written == 0
    assert len(state_of(log).base_offsets) == 1
    assert state_of(log).claim is None


def test_the_background_takes_over_what_did_not_move_for_ten_minutes(
    log: streamhouse.Log, runtime: ManualRuntime
) -> None:
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(100)])
    claim(log)
    for seconds in (300, 299):
        assert usual(log).segments_written == 0
        runtime.advance(seconds)
    claim(log)  # it lives
    for seconds in (300, 299, 2):
        assert usual(log).segments_written == 0
        runtime.advance(seconds)
    assert usual(log).segments_written == 1
    log.create_topic("next")  # the claim is given back without waiting for it
    assert state_of(log).claim is None


def test_upkeep_that_is_asked_for_once_tells_the_age_of_a_claim_by_the_store(
    open_log: Opener, runtime: ManualRuntime
) -> None:
    log = open_log()
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(100)])
    claim(log)
    seq = state_of(log).claim[1]
    log.close()
    runtime.advance(599)
    assert open_log().upkeep().skipped != []
    runtime.advance(2)
    log = open_log()
    assert log.upkeep().skipped == []
    assert len(state_of(log).base_offsets) == 1
    assert open_log.store.head(names.commit(seq)) is not None


def test_two_at_once_do_no_harm(open_log: Opener) -> None:
    one, other = open_log(), open_log()
    one.create_topic("t")
    write(one, [b"%d" % n for n in range(100)])
    other.topic("t")
    # Both believe that nobody is at it.
    for log in (one, other):
        log._upkeep._tools.claims.take = lambda wanted, by_store: [True] * len(wanted)
    one.upkeep()
    other.upkeep()
    assert rows(one) == rows(other) == [(n, None, b"%d" % n) for n in range(100)]


def test_what_expires_goes_without_anybody_writing(log: streamhouse.Log, runtime: ManualRuntime) -> None:
    log.create_topic("t", retention_ms=60_000)
    write(log, [b"%d" % n for n in range(10)])
    assert usual(log).trimmed == 0
    runtime.advance(61)
    assert usual(log).trimmed == 10
    assert log.topic("t").partitions[0].log_start == 10
    assert rows(log) == []
    write(log, [b"next"])
    assert rows(log) == [(10, None, b"next")]


def test_retention_by_size_leaves_that_much(log: streamhouse.Log, runtime: ManualRuntime) -> None:
    log.create_topic("t", retention_bytes=10_000)
    write(log, [runtime.random_bytes(900) for _ in range(100)])
    assert usual(log).trimmed > 80
    assert 10_000 <= log.topic("t").partitions[0].stored_bytes < 11_500
    assert rows(log)[-1][0] == 99


def test_a_slow_topic_keeps_nothing_for_ever(log: streamhouse.Log, runtime: ManualRuntime) -> None:
    """Compaction must not pack old records into one block with young ones, again and again."""
    log.create_topic("t", retention_ms=86_400_000)
    for number in range(200):
        write(log, [b"%d" % number])
        runtime.advance(3600)
        log.upkeep()
        oldest = next(iter(log.read("t"))).offset
        assert oldest >= number - 24 - 24 // 8 - 1
    assert len(state_of(log).base_offsets) < 30
