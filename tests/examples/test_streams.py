"""A stream processor for Kafka works on a log, unmodified: its comparison holds, and so does another."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import streamhouse

EXAMPLE = Path(__file__).parents[2] / "examples" / "streams.py"
RECORDS = 9_000


def test_every_change_counts_once_though_the_application_dies(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(EXAMPLE), "--log", "data", "--records", str(RECORDS), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert (report["changes"], report["totals"], report["crashes"]) == (RECORDS, RECORDS, 2)

    with gzip.open(EXAMPLE.with_name("kafka-changes.jsonl.gz")) as lines:
        truth = Counter(json.loads(line)["author"] for line, _ in zip(lines, range(RECORDS), strict=False))
    with streamhouse.Log(str(tmp_path / "data")) as log:
        counted = Counter(record.key.decode() for record in log.read("totals"))
        last = {record.key.decode(): json.loads(record.value)["changes"] for record in log.read("totals")}
        (changelog,) = [name for name in log.topics if name.startswith("changelog__")]
        assert log.topics[changelog].settings.cleanup_policy == "compact"
    assert counted == truth == Counter(last)
    assert report["authors"] == len(truth)
