"""The main job: what the example prints is what the file says, and every record is there once."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import streamhouse

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "changes.py"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert run.stderr == ""
    return run.stdout


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    with gzip.open(EXAMPLES / "kafka-changes.jsonl.gz") as file:
        return file.read().splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("changes")


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    return json.loads(run_example(folder, "--log", "data", "--json"))


def busiest_authors(lines: list[bytes]) -> dict[str, list[list[Any]]]:
    """The truth, by another way than the example's: sort the pairs of year and author, and count."""
    pairs = Counter(
        (datetime.fromtimestamp(change["authored_at"], UTC).year, change["author"])
        for change in map(json.loads, lines)
    )
    ranking = sorted((-count, author, year) for (year, author), count in pairs.items())
    years: dict[str, list[list[Any]]] = defaultdict(list)
    for count, author, year in ranking:
        if len(years[str(year)]) < 3:
            years[str(year)].append([author, -count])
    return years


def test_the_report_says_what_the_file_says(report: dict[str, Any], lines: list[bytes]) -> None:
    assert report["records"] == len(lines) == 101_229
    keys = sum(len(json.loads(line)["author"]) for line in lines)
    assert report["raw_bytes"] == sum(map(len, lines)) + keys
    assert report["busiest"] == busiest_authors(lines)


def test_the_figures_of_the_report_fit_together(report: dict[str, Any]) -> None:
    assert 0 < report["stored_bytes"] < report["raw_bytes"]
    assert report["compression"] == round(report["raw_bytes"] / report["stored_bytes"], 2)
    assert 0 <= report["read_while_writing"] <= report["records"]


def test_every_line_is_stored_once_and_every_author_in_order(
    report: dict[str, Any], folder: Path, lines: list[bytes]
) -> None:
    expected: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
    for line in lines:
        change = json.loads(line)
        expected[change["author"].encode()].append((change["authored_at"] * 1000, line))
    stored: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
    partitions: dict[bytes, set[int]] = defaultdict(set)
    with streamhouse.Log(str(folder / "data"), create=False) as log:
        for record in log.read("changes"):
            stored[record.key].append((record.timestamp, record.value))
            partitions[record.key].add(record.partition)
    assert stored == expected
    assert all(len(numbers) == 1 for numbers in partitions.values())


def test_it_can_run_again_on_the_same_log(report: dict[str, Any], folder: Path, lines: list[bytes]) -> None:
    again = run_example(folder, "--log", "data")
    assert f"records        {len(lines):,} " in again
    author, count = report["busiest"]["2024"][0]
    assert f"2024  {author} {count:,}" in again
    with streamhouse.Log(str(folder / "data"), create=False) as log:
        ends = [partition.high_watermark for partition in log.topic("changes").partitions]
    assert sum(ends) == 2 * len(lines)


def test_a_memory_log_is_refused() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_example(EXAMPLES, "--log", "memory://x")
    assert "cannot be shared by processes" in caught.value.stderr
