"""The judge of the soak of gateways finds what must not be; shown with histories that were doctored."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

import streamhouse
from tests.soak.kafka_truth import (
    COPIES,
    PARTITIONS,
    READERS,
    SOURCE,
    Committed,
    Delivered,
    Look,
    Seen,
    judge_copies,
    judge_looks,
    judge_readers,
    looks,
)

ALL = 6


@dataclass
class Run:
    """What a run leaves; as it is made, one in which nothing went wrong."""

    rows: dict[str, dict[int, list[str]]] = field(
        default_factory=lambda: {
            topic: {number: [f"{number}:{n}" for n in range(ALL)] for number in range(PARTITIONS)}
            for topic in (SOURCE, *COPIES.values())
        }
    )
    looks: list[Look] = field(default_factory=lambda: [look(count) for count in range(ALL + 1)])
    seen: list[Seen] = field(
        default_factory=lambda: [
            entry
            for group in READERS
            for number in range(PARTITIONS)
            for entry in (
                Delivered(group, tuple((number, offset) for offset in range(ALL))),
                Committed(group, ((number, ALL),)),
            )
        ]
    )

    def judge(self) -> list[str]:
        return [
            *judge_copies(self.rows),
            *judge_looks(self.looks),
            *judge_readers(self.seen, self.looks[-1]),
        ]


def look(count: int) -> Look:
    groups = (*COPIES, *READERS)
    return Look(
        count,
        {(topic, number): count for topic in (SOURCE, *COPIES.values()) for number in range(PARTITIONS)},
        {(group, SOURCE, number): count for group in groups for number in range(PARTITIONS)},
    )


def doctor_a_lost_record(run: Run) -> None:
    del run.rows["out-classic"][0][2]


def doctor_a_lost_end(run: Run) -> None:
    del run.rows["out-classic"][3][-1]


def doctor_a_doubled_record(run: Run) -> None:
    run.rows["out-consumer"][1].insert(3, run.rows["out-consumer"][1][2])


def doctor_another_order(run: Run) -> None:
    run.rows["out-consumer"][2][:2] = reversed(run.rows["out-consumer"][2][:2])


def doctor_a_phantom(run: Run) -> None:
    run.rows["out-classic"][1].append("nobody's")


def doctor_a_torn_transaction(run: Run) -> None:
    """Its records are to be seen, its offsets are not, at one moment."""
    run.looks[2].ends["out-classic", 1] = 3  # type: ignore[index]


def doctor_offsets_without_records(run: Run) -> None:
    run.looks[2].offsets["copy-consumer", SOURCE, 0] = 3  # type: ignore[index]


def doctor_a_zombie(run: Run) -> None:
    """An offset goes back, though only for a moment."""
    run.looks[4].offsets["read-classic", SOURCE, 0] = 1  # type: ignore[index]


def doctor_a_forgotten_group(run: Run) -> None:
    for number in range(PARTITIONS):
        del run.looks[4].offsets["read-consumer", SOURCE, number]  # type: ignore[attr-defined]


def doctor_a_record_that_nobody_got(run: Run) -> None:
    run.seen[0] = Delivered(READERS[0], tuple((0, offset) for offset in range(ALL) if offset != 3))


def doctor_a_commit_that_is_gone(run: Run) -> None:
    run.looks[-1].offsets[READERS[1], SOURCE, 2] = ALL - 1  # type: ignore[index]


DOCTORS = [each for name, each in sorted(globals().items()) if name.startswith("doctor_")]


def test_nothing_is_wrong() -> None:
    assert Run().judge() == []


@pytest.mark.parametrize("doctor", DOCTORS, ids=lambda each: each.__name__.removeprefix("doctor_"))
def test_what_was_doctored_is_found(doctor: object) -> None:
    run = Run()
    doctor(run)  # type: ignore[operator]
    assert run.judge()


def test_a_log_is_looked_at_commit_by_commit(tmp_path: Path) -> None:
    url = str(tmp_path / "log")
    with streamhouse.Log(url) as log, log.producer() as producer:
        log.create_topic(SOURCE, partitions=PARTITIONS)
        for _ in range(3):
            producer.send(SOURCE, b"v", partition=0).result()
    ends = [each.ends.get((SOURCE, 0), 0) for each in looks(url, None)]
    assert sorted(set(ends)) == [0, 1, 2, 3]
    assert ends == sorted(ends)
