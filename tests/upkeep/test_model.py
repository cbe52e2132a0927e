"""A log under appends, trims, compaction, compaction by key and reopening, against a list of records."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
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

import streamhouse
from streamhouse import limits
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.clock import ManualRuntime

PARTITIONS = 2
DELAY_MS = 3_600_000
Row = tuple[int, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]

keys = st.sampled_from([b"a", b"b", b"c", b"d"])
values = st.one_of(st.none(), st.binary(max_size=8), st.just(bytes(700)))
headers = st.sampled_from([(), (), (("h", b"1"),), (("h", None), ("h", b""))])
rows = st.lists(st.tuples(st.integers(-5, 5), keys, values, headers), min_size=1, max_size=6)


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runtime = ManualRuntime()
        self.store = MemoryStore(self.runtime)
        self.log = self.open()
        # Per partition: everything ever written, by offset; the log start; offsets that may be gone.
        self.written: list[list[Row]] = [[] for _ in range(PARTITIONS)]
        self.written_at: list[list[float]] = [[] for _ in range(PARTITIONS)]
        self.starts = [0] * PARTITIONS
        self.settled = [0] * PARTITIONS  # below, each key occurs once
        self.tombstones_gone: list[set[int]] = [set() for _ in range(PARTITIONS)]
        self.compacts = False
        self.producer = self.log.producer()

    def open(self) -> streamhouse.Log:
        return streamhouse.Log(
            self.store, runtime=self.runtime, upkeep=False, block_bytes_target=1024, inline_bytes_max=1000
        )

    @initialize(compacts=st.booleans())
    def create(self, compacts: bool) -> None:
        self.compacts = compacts
        self.log.create_topic(
            "t",
            partitions=PARTITIONS,
            cleanup_policy="compact" if compacts else "delete",
            delete_retention_ms=DELAY_MS,
        )

    @rule(partition=st.integers(0, PARTITIONS - 1), batch=rows)
    def append(self, partition: int, batch: list[Row]) -> None:
        now = self.runtime.time_ms()
        stamps, names, contents, heads = (list(column) for column in zip(*batch, strict=True))
        stamps = [now + 1000 * stamp for stamp in stamps]
        self.producer.send_many(
            "t", contents, keys=names, headers=heads, timestamps=stamps, partition=partition
        ).result(10)
        self.written[partition].extend(zip(stamps, names, contents, heads, strict=True))
        self.written_at[partition].extend([now] * len(batch))

    @rule(partition=st.integers(0, PARTITIONS - 1), batches=st.integers(2, 40))
    def append_many(self, partition: int, batches: int) -> None:
        for number in range(batches):
            self.append(partition, [(0, b"abcd"[number % 3 :][:1], b"%d" % number, ())])

    @rule(partition=st.integers(0, PARTITIONS - 1), share=st.floats(0, 1))
    def trim(self, partition: int, share: float) -> None:
        before = int(share * len(self.written[partition]))
        self.starts[partition] = max(before, self.starts[partition])
        assert self.log.delete_records("t", {partition: before}) == {partition: self.starts[partition]}

    @rule()
    def upkeep(self) -> None:
        report = self.log.upkeep()
        assert report.skipped == []
        assert report.trimmed == 0
        if self.compacts:
            self.settled = [len(rows) for rows in self.written]

    @rule(minutes=st.sampled_from([1, 70, 200]))
    def pass_time(self, minutes: int) -> None:
        self.runtime.advance(60 * minutes)

    @rule()
    def reopen(self) -> None:
        self.producer.close()
        self.log.close()
        self.log = self.open()
        self.producer = self.log.producer()

    @invariant()
    @precondition(lambda self: "t" in self.log.topics)
    def reads_right(self) -> None:
        for partition in range(PARTITIONS):
            found = {r.offset: r for r in self.log.read("t", partitions=[partition])}
            assert list(found) == sorted(found)
            self.check_offsets(partition, set(found))
            for offset, record in found.items():
                row = self.written[partition][offset]
                assert (record.timestamp, record.key, record.value, record.headers) == row
            self.check_positions(partition, list(found.values()))

    def check_offsets(self, partition: int, found: set[int]) -> None:
        rows, start = self.written[partition], self.starts[partition]
        assert found <= set(range(start, len(rows)))
        latest = {row[1]: offset for offset, row in enumerate(rows[: self.settled[partition]])}
        stay = set(latest.values()) | set(range(self.settled[partition], len(rows)))
        now = self.runtime.time_ms()
        optional = {
            offset
            for offset in latest.values()
            if rows[offset][2] is None and now - self.written_at[partition][offset] >= DELAY_MS
        }
        if not self.compacts:
            stay, optional = set(range(len(rows))), set()
        wanted = {offset for offset in stay if offset >= start}
        assert wanted - optional <= found
        if self.log_is_settled(partition):
            assert found <= wanted

    def log_is_settled(self, partition: int) -> bool:
        return self.settled[partition] == len(self.written[partition])

    def check_positions(self, partition: int, records: list[Any]) -> None:
        high = len(self.written[partition])
        info = self.log.topic("t").partitions[partition]
        assert (info.log_start, info.high_watermark) == (self.starts[partition], high)
        for offset in {self.starts[partition], (self.starts[partition] + high) // 2, high}:
            rest = [r.offset for r in self.log.read("t", partitions=[partition], start=offset)]
            assert rest == [r.offset for r in records if r.offset >= offset]
            with self.log.consumer("t", partitions=[partition], start=offset) as consumer:
                polled: list[int] = []
                while chunk := consumer.poll(timeout=0):
                    polled += [r.offset for r in chunk]
                assert polled == rest
                assert consumer.lag() == 0
        for record in records[:: max(1, len(records) // 3)]:
            moment = dt.datetime.fromtimestamp(record.timestamp / 1000, tz=dt.UTC)
            first = next(r.offset for r in records if r.timestamp >= record.timestamp)
            found = [r.offset for r in self.log.read("t", partitions=[partition], start=moment)]
            assert found == [r.offset for r in records if r.offset >= first]

    def teardown(self) -> None:
        self.producer.close()
        self.log.close()


@pytest.mark.parametrize("segment_bytes", [3000, 64 << 20])
def test_what_is_read_is_what_was_written(monkeypatch: pytest.MonkeyPatch, segment_bytes: int) -> None:
    monkeypatch.setattr(limits, "SEGMENT_BYTES_MIN", segment_bytes)
    run_state_machine_as_test(
        LogMachine, settings=settings(max_examples=15, stateful_step_count=15, deadline=None)
    )
