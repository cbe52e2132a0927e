"""A stream processor that was written for Kafka, unmodified, on a log: quixstreams, exactly once, and killed.

A native producer sends the history of a large project, one file change a record, keyed by author. An
application of quixstreams adds up what each author has written: it reads with a consumer group, keeps its
state in RocksDB and in a changelog topic, and writes the new totals, everything in transactions. It is
killed in the middle, twice, and started anew without its files, so that its state comes back from the
changelog. In the end the totals are compared with what SQL says of the changes themselves.

Nothing in the application knows that there is no Kafka: see ``add_up_changes``.

    pip install 'streamhouse[kafka]' quixstreams
    python examples/streams.py                    # a fresh temporary directory
    python examples/streams.py --log ./data       # a directory that stays
    python examples/streams.py --json
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

import streamhouse
import streamhouse.kafka

FILE = Path(__file__).with_name("kafka-changes.jsonl.gz")
CHANGES, TOTALS, GROUP = "changes", "totals", "adder"
PARTITIONS = 3
RECORDS = 20_000
CRASHES = (3_000, 5_000)  # after how many changes each life of the application ends; the last one does not
SESSION_MS = 3_000  # after that long without a sign of life its place in the group is free
IDLE_SECONDS = 5.0  # without changes for so long it ends

spawn = multiprocessing.get_context("spawn")


class Report(msgspec.Struct):
    """What is printed."""

    log: str
    changes: int
    totals: int
    authors: int
    crashes: int
    seconds: float


def add_up_changes(bootstrap: str, folder: str, dies_after: int | None) -> None:
    """The application, as its documentation would have it; and its death."""
    from quixstreams import Application, State

    application = Application(
        broker_address=bootstrap,
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        state_dir=folder,
        commit_every=1_000,
        consumer_extra_config={"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": SESSION_MS // 3},
        loglevel="WARNING",
    )
    seen = 0

    def add_up(change: dict[str, Any], state: State) -> dict[str, int]:
        nonlocal seen
        seen += 1
        if seen == dies_after:
            os._exit(9)
        total: dict[str, int] = state.get("total", {"changes": 0, "added": 0, "removed": 0})
        total = {
            "changes": total["changes"] + 1,
            "added": total["added"] + (change["added"] or 0),  # nothing is known of binary files
            "removed": total["removed"] + (change["removed"] or 0),
        }
        state.set("total", total)
        return total

    changes = application.topic(CHANGES, value_deserializer="json")
    totals = application.topic(TOTALS, value_serializer="json")
    application.dataframe(changes).apply(add_up, stateful=True).to_topic(totals)
    application.run(timeout=IDLE_SECONDS)


def send_changes(log: streamhouse.Log, count: int) -> None:
    """The history of the project, natively."""
    with gzip.open(FILE, "rb") as lines, log.producer() as producer:
        values = [line.rstrip() for line, _ in zip(lines, range(count), strict=False)]
        keys = [msgspec.json.decode(value, type=dict[str, Any])["author"] for value in values]
        producer.send_many(CHANGES, values, keys=keys)


def run(url: str, count: int) -> Report:
    """All of it; the truth is told, or an exception raised."""
    began = time.monotonic()
    with streamhouse.Log(url) as log, streamhouse.kafka.serve(log, port=0) as gateway:
        log.create_topic(CHANGES, partitions=PARTITIONS)
        log.create_topic(TOTALS, partitions=PARTITIONS)
        send_changes(log, count)
        crashes = 0
        for dies_after in (*CRASHES, None):
            with tempfile.TemporaryDirectory() as folder:
                worker = spawn.Process(target=add_up_changes, args=(gateway.bootstrap, folder, dies_after))
                worker.start()
                worker.join()
                crashes += worker.exitcode == 9
                if worker.exitcode not in {0, 9}:
                    raise RuntimeError(f"the application ended with {worker.exitcode}")
        authors = compare(log)
        (totals,) = log.sql(f"SELECT count(*) FROM {TOTALS}").fetchone()
    if totals != count:
        raise RuntimeError(f"{count} changes became {totals} totals")
    return Report(url, count, totals, authors, crashes, round(time.monotonic() - began, 1))


def compare(log: streamhouse.Log) -> int:
    """Compare the last total of each author with the changes themselves; how many authors there are."""
    wrong = log.sql(
        f"""
        WITH truth AS (
            SELECT key, count(*) AS changes,
                   coalesce(sum((value->>'added')::BIGINT), 0) AS added,
                   coalesce(sum((value->>'removed')::BIGINT), 0) AS removed
            FROM {CHANGES} GROUP BY key
        ), said AS (
            SELECT key, max_by(value, offset) AS total FROM {TOTALS} GROUP BY key
        )
        SELECT count(*) AS authors,
               count(*) FILTER (changes IS DISTINCT FROM (total->>'changes')::BIGINT
                   OR added IS DISTINCT FROM (total->>'added')::BIGINT
                   OR removed IS DISTINCT FROM (total->>'removed')::BIGINT) AS wrong
        FROM truth FULL JOIN said USING (key)
        """
    ).fetchone()
    if wrong[1]:
        raise RuntimeError(f"the totals of {wrong[1]} authors are wrong")
    return int(wrong[0])


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", help="URL of the log; by default a temporary directory")
    parser.add_argument("--records", type=int, default=RECORDS, help="how many changes to send")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(options.log or f"{folder}/log", options.records)
    if options.json:
        print(msgspec.json.encode(report).decode())
        return
    print(f"{report.changes:,} changes by {report.authors:,} authors became {report.totals:,} totals,")
    print(f"each of them once, though the application was killed {report.crashes} times.")
    print(f"{report.seconds} s in {report.log}")


if __name__ == "__main__":
    sys.exit(main())
