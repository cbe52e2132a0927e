"""Space really comes back: measured in a directory, the hour of grace simulated by the age of the files."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import streamhouse
from streamhouse.verify import verify
from tests.upkeep.helpers import rows, write


def grow_older(place: Path, hours: float) -> None:
    """Let time pass, as far as the store knows."""
    then = time.time() - hours * 3600
    for path in place.rglob("*"):
        if path.is_file() and path.stat().st_mtime > then:
            os.utime(path, (then, then))


def size_of(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def keep_house(log: streamhouse.Log, place: Path) -> None:
    for hours in (1.1, 1.1, 1.1):
        log.upkeep()
        grow_older(place, hours)
    log.upkeep()


def test_what_was_put_together_leaves_one_copy(tmp_path: Path) -> None:
    dice = random.Random(0)
    values = [dice.randbytes(2000) for _ in range(400)]
    with streamhouse.Log(tmp_path, durability="os", upkeep=False, inline_bytes_max=3000) as log:
        log.create_topic("t")
        write(log, values[:200])
        write(log, values[200:], at_once=20)  # these go to lanes
        assert size_of(tmp_path) > sum(map(len, values))
        keep_house(log, tmp_path)
        live = log.topic("t").partitions[0].stored_bytes
        assert live <= size_of(tmp_path) <= 1.2 * live
        assert [value for _, _, value in rows(log)] == values
    assert verify(str(tmp_path)).damage == []
    with streamhouse.Log(tmp_path, durability="os") as log:
        assert [value for _, _, value in rows(log)] == values


def test_what_was_deleted_expired_or_compacted_away_is_gone(tmp_path: Path) -> None:
    dice = random.Random(0)
    with streamhouse.Log(tmp_path, durability="os", upkeep=False) as log:
        for topic in ("kept", "deleted", "records-deleted", "too-many", "too-old", "keys"):
            log.create_topic(topic)
        log.alter_topic("keys", cleanup_policy="compact")
        log.alter_topic("too-many", retention_bytes=0)
        log.alter_topic("too-old", retention_ms=1)
        values = [dice.randbytes(5000) for _ in range(60)]
        for topic in log.topics:
            write(log, values, keys=[b"key"] * 60, topic=topic)
        log.upkeep()  # everything lies in segments now
        log.delete_topic("deleted")
        log.delete_records("records-deleted", "latest")
        keep_house(log, tmp_path)
        live = log.topic("kept").partitions[0].stored_bytes + log.topic("keys").partitions[0].stored_bytes
        assert live <= size_of(tmp_path) <= 1.2 * live
        assert [value for _, _, value in rows(log, "kept")] == values
        assert [value for _, _, value in rows(log, "keys")] == values[-1:]
        for gone in ("too-many", "too-old", "records-deleted"):
            assert log.topic(gone).partitions[0].stored_bytes == 0, gone
    assert verify(str(tmp_path)).damage == []


def test_retention_keeps_what_it_promises_and_the_rest_of_the_space_comes_back(tmp_path: Path) -> None:
    dice = random.Random(0)
    values = [dice.randbytes(2000) for _ in range(500)]
    with streamhouse.Log(tmp_path, durability="os", upkeep=False) as log:
        log.create_topic("t", retention_bytes=300_000)
        write(log, values)
        assert size_of(tmp_path) > 1_000_000
        keep_house(log, tmp_path)
        live = log.topic("t").partitions[0].stored_bytes
        assert 270_000 <= live < 310_000  # what is put together takes less room
        assert live <= size_of(tmp_path) <= 1.2 * live
        left = [value for _, _, value in rows(log)]
        assert left == values[-len(left) :]


def test_nothing_goes_before_its_hour_is_over(tmp_path: Path) -> None:
    with streamhouse.Log(tmp_path, durability="os", upkeep=False) as log:
        log.create_topic("t")
        write(log, [bytes(100)] * 100)
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        for _ in range(4):
            log.upkeep()
            grow_older(tmp_path, 0.3)
        gone = {path for path in before if not path.exists()}
        assert not [path for path in gone if path.parent.name == "log"]
