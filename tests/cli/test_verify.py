"""``streamctl verify``."""

from __future__ import annotations

from pathlib import Path

import pytest

import streamhouse


@pytest.fixture
def filled(orders, folder: Path):
    """Twenty records in one commit."""
    with streamhouse.Log(str(folder)) as log, log.producer() as producer:
        producer.send_many("orders", [f"value {n}" for n in range(20)], partition=1).result()
    return orders


def test_a_sound_log(filled) -> None:
    result = filled("verify")
    assert (result.code, result.err) == (0, "")
    (summary,) = result.rows
    assert summary["records_checked"] == 20
    assert summary["objects_checked"] >= 2
    assert summary["damaged"] == 0


def test_damage_is_named_with_the_offsets_it_costs(filled, folder: Path) -> None:
    holder = max((folder / "log").iterdir())
    data = bytearray(holder.read_bytes())
    data[-3] ^= 1  # the blocks are at the end of a commit
    holder.write_bytes(data)
    result = filled("verify")
    assert result.code == 1
    *damage, summary = result.rows
    assert summary["damaged"] == len(damage) > 0
    assert {d["object_name"] for d in damage} == {f"log/{holder.name}"}
    lost = [d for d in damage if d["topic"] == "orders"]
    assert [(d["partition"], d["first_offset"], d["last_offset"]) for d in lost] == [(1, 0, 19)]


def test_no_log_is_not_found(cli, folder: Path) -> None:
    result = cli("verify")
    assert (result.code, result.out) == (4, b"")
    assert not folder.exists()
