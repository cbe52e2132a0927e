"""Putting blocks together: everything about a record stays, and what comes out wrong replaces nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import streamhouse
from streamhouse.errors import ObjectNotFoundError
from streamhouse.format import names
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.stores import WrappedStore
from streamhouse.upkeep import compact, kept
from streamhouse.upkeep.survey import FIRST_SEGMENT
from tests.upkeep.conftest import Opener
from tests.upkeep.helpers import rows, state_of, write


def everything(log: streamhouse.Log) -> list[tuple[Any, ...]]:
    return [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in log.read("t")]


def mixed(log: streamhouse.Log) -> None:
    """Records with and without all that a record may have or lack."""
    log.create_topic("t")
    with log.producer() as producer:
        for number in range(20):
            producer.send("t", b"%d" % number).result(10)
            producer.send("t", None, key=b"").result(10)
            producer.send("t", b"", key=b"k").result(10)
            producer.send("t", b"h", headers=[("a", b""), ("a", None)], timestamp=number).result(10)
            producer.send_many("t", [b"x", None], keys=[None, b"y"], headers={"n": b"%d" % number}).result(10)


def test_everything_about_a_record_stays(log: streamhouse.Log) -> None:
    mixed(log)
    before = everything(log)
    report = log.upkeep()
    assert (report.segments_written, report.blocks_before, report.blocks_after) == (1, 100, 1)
    assert everything(log) == before
    assert log.topic("t").partitions[0].info().blocks == 1


def test_blocks_are_of_the_target_size(open_log: Opener) -> None:
    log = open_log(block_bytes_target=10_000)
    log.create_topic("t")
    write(log, [b"%0100d" % number for number in range(1000)], at_once=2)
    log.upkeep()
    partition = state_of(log)
    assert 10 <= len(partition.base_offsets) <= 15
    assert max(partition.lanes) <= FIRST_SEGMENT
    assert len(set(partition.objects)) == 1
    assert [value for _, _, value in rows(log)] == [b"%0100d" % number for number in range(1000)]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: msgspec.structs.replace(c, timestamps=bytes(len(c.timestamps)), timestamp_min=0),
        lambda c: msgspec.structs.replace(c, key=c.value),
        lambda c: msgspec.structs.replace(c, value=c.key),
        lambda c: msgspec.structs.replace(c, headers=None),
        lambda c: compact.cut_columns(c, 0, c.count - 1),
        lambda c: compact.cut_columns(c, 1, c.count),
        lambda c: msgspec.structs.replace(
            c, deltas=b"".join((2 * n).to_bytes(8, "little") for n in range(c.count))
        ),
    ],
)
def test_what_comes_out_wrong_replaces_nothing(
    log: streamhouse.Log, monkeypatch: pytest.MonkeyPatch, store: MemoryStore, spoil: Any
) -> None:
    mixed(log)
    before = everything(log)
    join = compact.join_columns
    monkeypatch.setattr(compact, "join_columns", lambda parts: spoil(join(parts)))
    report = log.upkeep()
    assert report.segments_written == 0
    assert "came out" in report.skipped[0]
    assert everything(log) == before
    assert store.list(names.SEGMENTS) == []
    assert state_of(log).claim is None


def test_a_bit_that_flips_in_memory_is_noticed(log: streamhouse.Log, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed(log)
    encode = compact.encode_block

    def flip(columns: Any) -> Any:
        block = encode(columns)
        data = bytearray(block.data)
        data[len(data) // 2] ^= 1
        return msgspec.structs.replace(block, buffers=(bytes(data),))

    monkeypatch.setattr(compact, "encode_block", flip)
    report = log.upkeep()
    assert report.segments_written == 0
    assert "checksum" in report.skipped[0]


def test_compaction_by_key_checks_what_it_makes(
    log: streamhouse.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.create_topic("t", cleanup_policy="compact")
    write(log, [b"1", b"2", b"3"], keys=[b"a", b"b", b"a"])
    join = kept.join_columns
    monkeypatch.setattr(
        kept, "join_columns", lambda pieces: msgspec.structs.replace(join(pieces), key=join(pieces).value)
    )
    report = log.upkeep()
    assert "came out wrong" in report.skipped[0]
    assert len(rows(log)) == 3


def test_a_damaged_block_keeps_its_partition_as_it_is_and_no_other(open_log: Opener) -> None:
    log = open_log()
    log.create_topic("t", partitions=2)
    write(log, [b"%d" % n for n in range(10)], partition=0)
    write(log, [b"%d" % n for n in range(10)], partition=1)
    log.close()

    class Damaged(WrappedStore):
        def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
            data = super().get(name, start, end)
            return data[:-1] + b"?" if name == names.commit(4) and start else data

    log = open_log(Damaged(open_log.store))
    report = log.upkeep()
    assert len(report.skipped) == 1
    assert "partition 0 of 't'" in report.skipped[0]
    assert "checksum" in report.skipped[0]
    assert log.topic("t").partitions[0].info().blocks == 10
    assert log.topic("t").partitions[1].info().blocks == 1
    assert state_of(log).claim is None


def test_the_cache_is_left_to_readers(open_log: Opener) -> None:
    log = open_log()
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(10)])
    log.close()
    log = open_log()
    log.upkeep()
    stats = log._reader.stats()
    assert (stats.hits, stats.misses) == (0, 0)


def test_who_trims_meanwhile_wins(log: streamhouse.Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(100)])
    join, trims = compact.join_columns, iter([30])

    def join_after_trim(parts: Any) -> Any:
        for before in trims:
            log.delete_records("t", {0: before})
        return join(parts)

    monkeypatch.setattr(compact, "join_columns", join_after_trim)
    log.upkeep()
    assert rows(log) == [(n, None, b"%d" % n) for n in range(30, 100)]
    log.upkeep()
    assert len(state_of(log).base_offsets) == 1
    assert rows(log) == [(n, None, b"%d" % n) for n in range(30, 100)]


def test_a_topic_that_is_deleted_meanwhile_is_no_error(
    log: streamhouse.Log, monkeypatch: pytest.MonkeyPatch, store: MemoryStore
) -> None:
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(10)])
    join = compact.join_columns

    def join_after_delete(parts: Any) -> Any:
        log.delete_topic("t")
        return join(parts)

    monkeypatch.setattr(compact, "join_columns", join_after_delete)
    report = log.upkeep()
    assert report.segments_written == 0
    assert store.list(names.SEGMENTS) == []


def test_a_reader_with_old_references_finds_the_new_places(open_log: Opener) -> None:
    """Its blocks are gone from the store before it gets to them."""
    log = open_log(prefetch_blocks=0, cache_bytes_max=0)
    log.create_topic("t")
    write(log, [b"%d" % n for n in range(50)])
    records = log.read("t")
    first = [next(records).offset]
    consumer = log.consumer("t")
    polled = [record.offset for record in consumer.poll(timeout=0, max_records=1)]
    held = set(state_of(log).objects)
    log.upkeep()
    open_log.store.delete_many([names.commit(seq) for seq in held])
    assert first + [record.offset for record in records] == list(range(50))
    while chunk := consumer.poll(timeout=0):
        polled += [record.offset for record in chunk]
    assert polled == list(range(50))


def test_an_object_that_is_gone_with_its_only_copy_is_an_error(open_log: Opener) -> None:
    log = open_log(cache_bytes_max=0)
    log.create_topic("t")
    write(log, [b"1"])
    open_log.store.delete_many([names.commit(state_of(log).objects[0])])
    assert log.upkeep().segments_written == 0
    with pytest.raises(ObjectNotFoundError):
        rows(log)
