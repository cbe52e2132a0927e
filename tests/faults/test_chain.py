"""Exactly once through a chain of topics: a short soak, and a judge that finds what is planted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.soak import chain
from tests.soak.chain_truth import ABORTED, Look, Row, judge, outputs

Rows = dict[str, list[Row]]


# On a store with requests, nothing but create-if-absent keeps the processes in order.
@pytest.mark.parametrize(("kind", "seed"), [("dir", 0), ("fake", 1)])
def test_each_record_has_its_effect_exactly_once_whatever_happens_to_processes(kind: str, seed: int) -> None:
    verdict = chain.run(kind, 1, 3.0, seed)
    assert verdict.clean, verdict.wrong[:10]
    assert verdict.records["second"] > 0
    assert verdict.looks > 0


def chain_of(count: int) -> tuple[Rows, list[Look], Look]:
    """What a chain holds that took one record at a time, and a look after each step."""
    rows: Rows = {"source": [], "first": [], "second": []}
    looks = []
    for number in range(count):
        rows["source"].append(Row(0, number, f"k{number % 3}", f"v{number}"))
    done = 0
    for row in rows["source"]:
        rows["first"] += made(1, row, len(rows["first"]))
        looks.append(look(rows, row.offset + 1, done))
        for each in rows["first"][done:]:
            rows["second"] += made(2, each, len(rows["second"]))
            done += 1
            looks.append(look(rows, row.offset + 1, done))
    return rows, looks, looks[-1]


def made(stage: int, row: Row, base: int) -> list[Row]:
    return [
        Row(0, base + n, row.key, value, (row.partition, row.offset))
        for n, value in enumerate(outputs(stage, row.value))
    ]


def look(rows: Rows, first: int, second: int) -> Look:
    ends = tuple((topic, 0, len(mine)) for topic, mine in rows.items())
    return Look(ends, (("stage-1", 0, first), ("stage-2", 0, second)))


def test_a_right_chain_is_clean() -> None:
    assert judge(*chain_of(30)) == []
    rows, _, final = chain_of(30)
    assert len(rows["first"]) > 20
    assert judge(rows, [], final) == []


def renumbered(rows: list[Row]) -> list[Row]:
    return [row._replace(offset=offset) for offset, row in enumerate(rows)]


def lose(rows: list[Row]) -> list[Row]:
    return rows[:7] + rows[8:]


def double(rows: list[Row]) -> list[Row]:
    return [*rows, rows[5]]


def swap(rows: list[Row]) -> list[Row]:
    key = rows[0].key
    later = next(n for n, row in enumerate(rows) if row.key == key and row.value != rows[0].value)
    return [rows[later], *rows[1:later], rows[0], *rows[later + 1 :]]


def show_aborted(rows: list[Row]) -> list[Row]:
    return [*rows, rows[-1]._replace(value=rows[-1].value + ABORTED)]


@pytest.mark.parametrize("topic", ["first", "second"])
@pytest.mark.parametrize(
    ("harm", "said"),
    [(lose, "missing"), (double, "doubled"), (swap, "out of order"), (show_aborted, "aborted transaction")],
)
def test_harm_is_found(topic: str, harm: Callable[[list[Row]], list[Row]], said: str) -> None:
    rows, _, final = chain_of(30)
    rows[topic] = renumbered(harm(rows[topic]))
    assert any(said in each and each.startswith(topic) for each in judge(rows, [], final))


def test_a_look_between_records_and_offsets_is_found() -> None:
    rows, looks, final = chain_of(30)
    for step in (5, 20):
        ends, offsets = looks[step].ends, {group: offset for group, _, offset in looks[step].offsets}
        early = Look(ends, (("stage-1", 0, offsets["stage-1"]), ("stage-2", 0, offsets["stage-2"] + 1)))
        (said,) = judge(rows, [early], final)
        assert said.startswith("stage-2 stood at")


def test_offsets_that_go_back_and_what_is_left_to_do_are_found() -> None:
    rows, looks, final = chain_of(30)
    unfinished = judge(rows, looks, looks[-2])
    assert unfinished
    assert all("which ends at" in each for each in unfinished)
    empty = next(n for n, row in enumerate(rows["source"]) if not outputs(1, row.value))
    before = [each for each in looks if {g: o for g, _, o in each.offsets}["stage-1"] == empty][-1]
    after = Look(before.ends, (("stage-1", 0, empty + 1), before.offsets[1]))
    assert judge(rows, [before, after], final) == []
    (said,) = judge(rows, [after, before], final)
    assert "went back" in said
