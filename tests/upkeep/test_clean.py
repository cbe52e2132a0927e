"""Compaction by key: what stays, what goes, and when."""

from __future__ import annotations

import pytest

import streamhouse
from streamhouse.errors import InvalidRecordError
from streamhouse.format import names
from streamhouse.testing.clock import ManualRuntime
from streamhouse.upkeep import clean
from streamhouse.upkeep.report import Tally
from tests.upkeep.conftest import Opener
from tests.upkeep.helpers import rows, state_of, write

HOUR_MS = 3_600_000
A, B, C = b"a", b"b", b"c"


def compacted(log: streamhouse.Log, **settings: object) -> None:
    log.create_topic("t", cleanup_policy="compact", **settings)


def test_the_latest_record_of_each_key_stays_at_its_offset(log: streamhouse.Log) -> None:
    compacted(log)
    write(log, [b"1", b"2", b"3", b"4", b"5"], keys=[A, B, A, C, B])
    report = log.upkeep()
    assert report.records_removed == 2
    assert rows(log) == [(2, A, b"3"), (3, C, b"4"), (4, B, b"5")]
    assert log.topic("t").partitions[0].high_watermark == 5


def test_a_second_round_looks_at_both_parts(log: streamhouse.Log) -> None:
    compacted(log)
    write(log, [b"1", b"2"], keys=[A, B])
    log.upkeep()
    write(log, [b"3", b"4"], keys=[A, C])
    assert log.upkeep().records_removed == 1
    assert rows(log) == [(1, B, b"2"), (2, A, b"3"), (3, C, b"4")]
    assert state_of(log).cleaned[-1][0] == 4


def test_a_record_that_is_followed_by_its_tombstone_goes_at_once(log: streamhouse.Log) -> None:
    compacted(log)
    write(log, [b"1", b"2", None, b"3"], keys=[A, B, A, C])
    log.upkeep()
    assert rows(log) == [(1, B, b"2"), (2, A, None), (3, C, b"3")]


def test_a_tombstone_goes_after_its_delay_and_not_before(
    log: streamhouse.Log, runtime: ManualRuntime
) -> None:
    compacted(log, delete_retention_ms=HOUR_MS)
    write(log, [b"1", None, b"2"], keys=[A, A, B])
    runtime.advance(7200)  # the delay counts from the compaction on: until then its predecessor was there
    log.upkeep()
    runtime.advance(3500)
    log.upkeep()
    assert rows(log) == [(1, A, None), (2, B, b"2")]
    runtime.advance(3600)
    assert log.upkeep().records_removed == 1
    assert rows(log) == [(2, B, b"2")]


def test_a_tombstone_that_was_written_since_the_last_round_stays(
    log: streamhouse.Log, runtime: ManualRuntime
) -> None:
    compacted(log, delete_retention_ms=HOUR_MS)
    write(log, [b"1"], keys=[B])
    log.upkeep()
    runtime.advance(7200)
    write(log, [None, b"2"], keys=[A, B])
    log.upkeep()
    assert rows(log) == [(1, A, None), (2, B, b"2")]


def test_tombstones_are_looked_for_once_after_their_delay(
    log: streamhouse.Log, runtime: ManualRuntime
) -> None:
    compacted(log, delete_retention_ms=HOUR_MS)
    write(log, [None, b"1"], keys=[A, B])
    log.upkeep()
    for removed in (1, 0):
        runtime.advance(4000)
        assert log.upkeep().records_removed == removed
    before = state_of(log).cleaned
    runtime.advance(4000)
    log.upkeep()
    assert state_of(log).cleaned == before  # nobody looked


def test_the_last_record_stays_though_it_is_an_old_tombstone(
    log: streamhouse.Log, runtime: ManualRuntime
) -> None:
    compacted(log, delete_retention_ms=0)
    write(log, [b"1", None], keys=[A, A])
    for _ in range(3):
        log.upkeep()
        runtime.advance(4000)
    assert rows(log) == [(1, A, None)]


def test_young_records_are_not_compacted_away(log: streamhouse.Log, runtime: ManualRuntime) -> None:
    compacted(log, min_compaction_lag_ms=HOUR_MS)
    write(log, [b"1", b"2"], keys=[A, A])
    runtime.advance(1800)
    write(log, [b"3"], keys=[A])
    log.upkeep()
    assert [value for _, _, value in rows(log)] == [b"1", b"2", b"3"]
    runtime.advance(1801)
    log.upkeep()  # but of those that are old enough, the latest stays
    assert [value for _, _, value in rows(log)] == [b"2", b"3"]


def test_records_without_a_key_are_refused_and_old_ones_stay(log: streamhouse.Log) -> None:
    log.create_topic("t")
    write(log, [b"1", b"2", b"3"])
    log.alter_topic("t", cleanup_policy="compact")
    write(log, [b"4", b"5"], keys=[A, A])
    with log.producer() as producer, pytest.raises(InvalidRecordError, match="needs a key"):
        producer.send_many("t", [b"x", b"y"], keys=[A, None])
    with log.producer() as producer, pytest.raises(InvalidRecordError, match="needs a key"):
        producer.send("t", b"x").result(10)
    log.upkeep()
    assert rows(log) == [(0, None, b"1"), (1, None, b"2"), (2, None, b"3"), (4, A, b"5")]


def test_more_keys_than_fit_in_memory_take_several_rounds(
    log: streamhouse.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean, "_KEYS_MAX", 4)
    compacted(log)
    keys = [b"%d" % (number % 10) for number in range(60)]
    write(log, [b"%d" % number for number in range(60)], keys=keys, at_once=3)
    log.upkeep()
    assert rows(log) == [(n, b"%d" % (n % 10), b"%d" % n) for n in range(50, 60)]


def test_compaction_by_key_waits_in_the_background_until_half_is_new(open_log: Opener) -> None:
    log = open_log()
    compacted(log)
    noise = open_log.runtime.random_bytes  # it does not compress
    write(log, [noise(1000) for _ in range(100)], keys=[b"%d" % n for n in range(100)])
    log.upkeep()
    write(log, [noise(1000) for _ in range(70)], keys=[A] * 70)
    tally = Tally()
    log._upkeep.usual(lambda _: None, tally)
    assert tally.records_removed == 0
    write(log, [noise(1000) for _ in range(40)], keys=[A] * 40)
    log._upkeep.usual(lambda _: None, tally)
    assert tally.records_removed == 109


def test_both_policies_together(log: streamhouse.Log, runtime: ManualRuntime) -> None:
    log.create_topic("t", cleanup_policy="compact,delete", retention_ms=HOUR_MS)
    write(log, [b"1", b"2", b"3"], keys=[A, A, B])
    assert log.upkeep().records_removed == 1
    runtime.advance(3601)
    write(log, [b"4"], keys=[C])
    assert log.upkeep().trimmed == 3
    assert rows(log) == [(3, C, b"4")]


def test_readers_in_mid_flight_get_every_key(log: streamhouse.Log) -> None:
    compacted(log)
    write(log, [b"%d" % n for n in range(100)], keys=[b"%d" % (n % 10) for n in range(100)])
    records = log.read("t")
    seen = [next(records) for _ in range(5)]
    log.upkeep()
    seen += records
    latest = {record.key: record.value for record in seen}
    assert latest == {b"%d" % k: b"%d" % (90 + k) for k in range(10)}


@pytest.mark.parametrize("taken", [0, 1, 15, 16, 17, 40, 99])
def test_readers_whose_blocks_are_gone_from_the_store_get_every_key(open_log: Opener, taken: int) -> None:
    log = open_log(prefetch_blocks=0, cache_bytes_max=0)
    compacted(log, delete_retention_ms=0)
    write(log, [b"%d" % n for n in range(100)], keys=[b"%d" % (n % 10) for n in range(100)])
    records = log.read("t")
    with log.consumer("t") as consumer:
        scanned = [next(records) for _ in range(taken)]
        polled = consumer.poll(timeout=0, max_records=taken) if taken else []
        held = set(state_of(log).objects)
        log.upkeep()
        open_log.store.delete_many([names.commit(seq) for seq in held])
        scanned += records
        while chunk := consumer.poll(timeout=0):
            polled += chunk
    for seen in (scanned, polled):
        offsets = [record.offset for record in seen]
        assert offsets == sorted(set(offsets))
        assert {record.key: record.value for record in seen} == {
            b"%d" % k: b"%d" % (90 + k) for k in range(10)
        }


def test_nothing_is_left_of_a_partition_but_its_last_record(log: streamhouse.Log) -> None:
    compacted(log)
    write(log, [b"%d" % n for n in range(100)], keys=[A] * 100)
    log.upkeep()
    assert rows(log) == [(99, A, b"99")]
    for start in (0, 50, 99, "earliest"):
        assert rows(log, start=start) == [(99, A, b"99")]
    assert rows(log, start=100) == []
    with log.consumer("t", start=10) as consumer:
        assert [record.offset for record in consumer.poll(timeout=0)] == [99]
        assert consumer.lag() == 0
