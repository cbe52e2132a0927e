"""The whole history of a large project through a log: two processes write, a third reads meanwhile.

``kafka-changes.jsonl.gz`` holds 101,229 file changes, one JSON object a line, in the order in which
they were committed. Two producer processes send them into a topic keyed by author. Each sends all
changes of the authors in its share, so that every author's changes stay in order. A consumer process
reads along and counts. The year of a change is that of ``authored_at``, in UTC: when the work was
done, not when it was merged.

    python examples/changes.py                    # a fresh temporary directory
    python examples/changes.py --log ./data       # a directory that stays; run it again to add more
    python examples/changes.py --log s3://bucket/prefix --json
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import streamhouse

FILE = Path(__file__).with_name("kafka-changes.jsonl.gz")
TOPIC = "changes"
PARTITIONS = 6
PRODUCERS = 2
BATCH = 500
BUSIEST = 3
PATIENCE_SECONDS = 60.0


class Change(msgspec.Struct):
    """What is needed of a line; its other fields are skipped."""

    author: str
    authored_at: int


class Consumed(msgspec.Struct):
    """What the consumer process saw."""

    per_year: dict[int, Counter[str]]
    polls: list[tuple[float, int]]  # when, and how many records


class Report(msgspec.Struct):
    """What is printed."""

    log: str
    records: int
    read_while_writing: int
    raw_bytes: int
    stored_bytes: int
    compression: float
    seconds: float
    records_per_second: int
    busiest: dict[int, list[tuple[str, int]]]


def main() -> None:
    """Run, and print the report."""
    parser = argparse.ArgumentParser(description="Two producers and a consumer on one log.")
    parser.add_argument("--log", metavar="URL", help="default: a fresh temporary directory")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args()
    if (options.log or "").startswith("memory:"):
        parser.error("a log in memory cannot be shared by processes")
    url = options.log or tempfile.mkdtemp(prefix="streamhouse-")
    report = run(url)
    if options.json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    else:
        show(report)


def run(url: str) -> Report:
    """Send every change, read every change, and say how it went."""
    with streamhouse.Log(url) as log:
        topic = log.create_topic(TOPIC, partitions=PARTITIONS, exist_ok=True)
        before = [partition.info() for partition in topic.partitions]
        ends = {number: info.high_watermark for number, info in enumerate(before)}
        started = time.time()
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(PRODUCERS + 1, mp_context=spawn) as processes:
            reading = processes.submit(consume, url, ends, sum(1 for _ in changes()))
            writing = [processes.submit(produce, url, share) for share in range(PRODUCERS)]
            for producer in writing:
                producer.result()
            written = time.time()
            consumed = reading.result()
        seconds = time.time() - started
        after = [partition.info() for partition in topic.partitions]
    raw = sum(info.raw_bytes for info in after) - sum(info.raw_bytes for info in before)
    stored = sum(info.stored_bytes for info in after) - sum(info.stored_bytes for info in before)
    records = sum(count for _, count in consumed.polls)
    return Report(
        log=url,
        records=records,
        read_while_writing=sum(count for when, count in consumed.polls if when < written),
        raw_bytes=raw,
        stored_bytes=stored,
        compression=round(raw / stored, 2),
        seconds=round(seconds, 3),
        records_per_second=round(records / seconds),
        busiest={
            year: sorted(authors.items(), key=lambda item: (-item[1], item[0]))[:BUSIEST]
            for year, authors in sorted(consumed.per_year.items())
        },
    )


def produce(url: str, share: int) -> int:
    """A producer process: send the changes of one share of the authors; returns how many."""
    sent = 0
    with streamhouse.Log(url) as log, log.producer() as producer:
        for batch in batches(share):
            producer.send_many(
                TOPIC,
                [line for line, _ in batch],
                keys=[change.author for _, change in batch],
                timestamps=[change.authored_at * 1000 for _, change in batch],
            )
            sent += len(batch)
    return sent  # leaving the `with` has made them durable


def consume(url: str, start: dict[int, int], expected: int) -> Consumed:
    """The consumer process: read along until everything has come, and count."""
    seen = Consumed({}, [])
    total = 0
    with (
        streamhouse.Log(url) as log,
        log.consumer(TOPIC, start=start, value=Change) as consumer,
    ):
        while total < expected:
            records = consumer.poll(timeout=PATIENCE_SECONDS, max_records=10_000)
            if not records:
                raise TimeoutError(f"nothing new for {PATIENCE_SECONDS:g} s after {total} records")
            for record in records:
                change = record.value
                year = datetime.fromtimestamp(change.authored_at, UTC).year
                seen.per_year.setdefault(year, Counter())[change.author] += 1
            seen.polls.append((time.time(), len(records)))
            total += len(records)
    return seen


def batches(share: int) -> Iterator[list[tuple[bytes, Change]]]:
    """The changes of the authors in one share, in the order of the file."""
    decode = msgspec.json.Decoder(Change).decode
    batch = []
    for line in changes():
        change = decode(line)
        if zlib.crc32(change.author.encode()) % PRODUCERS == share:
            batch.append((line, change))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def changes() -> Iterator[bytes]:
    """The lines of the file."""
    with gzip.open(FILE) as lines:
        for line in lines:
            yield line.rstrip(b"\n")


def show(report: Report) -> None:
    """Print the report for people."""
    print(f"log            {report.log}")
    print(f"records        {report.records:,}", end="")
    print(f" ({report.read_while_writing:,} read while the producers were still writing)")
    print(f"bytes          {report.raw_bytes:,} raw, {report.stored_bytes:,} stored")
    print(f"compression    {report.compression:g} to 1")
    print(f"records/s      {report.records_per_second:,}, from first send to last read", end="")
    print(f" in {report.seconds:.1f} s")
    print("\nyear  busiest authors (changed files)")
    for year, authors in report.busiest.items():
        print(f"{year}  " + "  ".join(f"{author} {count:,}" for author, count in authors))


if __name__ == "__main__":
    main()
