"""Everything at once for some seconds, and a judge that finds what is planted.

``python -m tests.soak compaction --seconds 600`` is the long version.
"""

from __future__ import annotations

from array import array

import pytest

from tests.soak import compaction
from tests.soak.compaction_truth import Truth, judge
from tests.soak.compaction_worker import Note, Saw, View, Wrote, is_tombstone, key_of


@pytest.mark.timeout(300)
def test_all_at_once_for_some_seconds() -> None:
    wrong, figures = compaction.run(6.0, hour_seconds=4.0, pause_seconds=0.005)
    assert wrong == []
    assert figures["upkeep processes killed"] >= 1
    assert figures["bytes rewritten"] > 0
    assert figures["records removed by key"] > 0
    assert figures["records read by group"] > 0


def saw(topic: str, offsets: list[int], numbers: list[int], name: str = "", **where: int) -> Saw:
    columns = (array("q", column).tobytes() for column in (offsets, numbers))
    return Saw(name, topic, 0, *columns, **where)


def complaints(*notes: Note) -> list[str]:
    truth = Truth(notes)
    return truth.complaints + judge(truth, notes)[0]


NUMBERS = list(range(100, 110))
WRITTEN = Wrote("plain", 0, 0, 10, 100)


def test_a_sound_history_has_no_complaints() -> None:
    rows = list(range(10)), NUMBERS
    assert (
        complaints(
            WRITTEN,
            saw("plain", *rows, name="follow"),
            saw("plain", *rows, name="group"),
            saw("plain", *rows, name="group"),
            saw("plain", [3, 4], [103, 104], start=3, end=5),
        )
        == []
    )


@pytest.mark.parametrize(
    ("note", "said"),
    [
        (Wrote("plain", 0, 5, 1, 999), "two records were acknowledged at one offset"),
        (Wrote("plain", 0, 11, 1, 999), "1 offsets nobody was told of"),
        (saw("plain", [3, 4], [103, 105], start=3, end=5), "was read as number 105"),
        (saw("plain", [3, 12], [103, 112], start=3, end=13), "was read as number 112"),
        (saw("plain", [3, 5], [103, 105], start=3, end=6), "a scan from 3 to 6 has 2 records"),
        (saw("plain", [4, 3], [104, 103], start=3, end=5), "a scan from 3 to 5 has 2 records"),
        (saw("plain", list(range(9)), NUMBERS[:9], name="follow"), "1 records were never read"),
        (saw("plain", list(range(9)), NUMBERS[:9], name="group"), "1 records were never read"),
        (saw("plain", [*range(10), 9], [*NUMBERS, 109], name="follow"), "came twice or out of order"),
    ],
)
def test_what_is_planted_is_found(note: Note, said: str) -> None:
    assert any(said in complaint for complaint in complaints(WRITTEN, note))


def keyed() -> list[int]:
    """Numbers of three records with values under different keys, and another one of the first key."""
    numbers: list[int] = []
    for number in range(10_000):
        if not is_tombstone("keys", number) and key_of("keys", number) not in {
            key_of("keys", other) for other in numbers
        }:
            numbers.append(number)
        if len(numbers) == 3:
            break
    again = next(
        number
        for number in range(numbers[-1] + 1, 1_000_000)
        if key_of("keys", number) == key_of("keys", numbers[0]) and not is_tombstone("keys", number)
    )
    return [*numbers, again]


def test_a_scan_may_lack_what_a_later_record_of_the_key_replaces_and_nothing_else() -> None:
    numbers = keyed()
    wrote = [Wrote("keys", 0, offset, 1, number) for offset, number in enumerate(numbers)]
    assert complaints(*wrote, saw("keys", [1, 2, 3], numbers[1:], start=0, end=4)) == []
    assert complaints(*wrote, saw("keys", [1, 2], numbers[1:3], start=0, end=3)) == []  # 0 is older than 3
    (complaint,) = complaints(*wrote, saw("keys", [1, 3], [numbers[1], numbers[3]], start=0, end=4))
    assert "misses offset 2" in complaint
    (complaint,) = complaints(*wrote, saw("keys", [2, 1, 3], [*numbers[2:0:-1], numbers[3]], start=0, end=4))
    assert "out of order" in complaint


def test_a_view_holds_the_last_value_of_each_key() -> None:
    numbers = keyed()
    wrote = [Wrote("keys", 0, offset, 1, number) for offset, number in enumerate(numbers)]
    right = {f"0 {key_of('keys', number).decode()}": number for number in numbers}
    assert complaints(*wrote, View("follow", right)) == []
    stale = {**right, f"0 {key_of('keys', numbers[0]).decode()}": numbers[0]}
    assert "1 keys have another value" in complaints(*wrote, View("follow", stale))[0]
    assert "3 keys have another value" in complaints(*wrote, View("follow", {}))[0]
