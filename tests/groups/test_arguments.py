"""Arguments that make no sense."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamhouse import Log
from streamhouse.errors import InvalidInputError, PartitionNotFoundError, TopicNotFoundError


@pytest.mark.parametrize(
    "options",
    [
        {"group": ""},
        {"group": "x" * 256},
        {"group": 7},
        {"group": "\ud800"},
        {"group": "g", "assignor": "stickie"},
        {"group": "g", "session_timeout": 0.1},
        {"group": "g", "session_timeout": "30"},
        {"group": "g", "session_timeout": float("nan")},
        {"group": "g", "auto_commit_interval": 0},
        {"group": "g", "auto_commit": 1},
        {"group": "g", "max_poll_interval": 0},
        {"group": "g", "instance_id": ""},
        {"group": "g", "on_assign": "print"},
        {"group": "g", "reset": "newest"},
        {"on_assign": print},
        {"auto_commit": False},
        {"instance_id": "a"},
        {"assignor": "range"},
    ],
)
def test_arguments_that_make_no_sense_are_refused(memory: Log, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        memory.consumer("orders", **options)
    assert list(options)[-1] in str(caught.value)


def test_a_pattern_needs_a_group(memory: Log) -> None:
    with pytest.raises(InvalidInputError, match="needs a group"):
        memory.consumer(re.compile("x"))
    with pytest.raises(InvalidInputError, match="of text"):
        memory.consumer(re.compile(b"x"), group="g")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="name or a compiled pattern"):
        memory.consumer(7, group="g")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"name or a compiled pattern, not \['orders'\]"):
        memory.consumer(["orders"], group="g")  # type: ignore[arg-type]
    with pytest.raises(TopicNotFoundError):
        memory.consumer("missing", group="g")


@pytest.mark.parametrize("name", ["x" * 255, "ünï/cödé ../..", " "])
def test_a_group_may_have_any_name(memory: Log, name: str) -> None:
    with memory.consumer("orders", group=name) as consumer:
        consumer.poll(timeout=0)
        assert list(memory.groups) == [name]


@pytest.mark.parametrize("wrong", [0.0, False, np.float64(0)])
def test_what_is_no_partition_number_leaves_the_log_readable(tmp_path: Path, wrong: Any) -> None:
    with Log(str(tmp_path / "log"), durability="os") as log:
        log.create_topic("orders", partitions=2)
        with log.producer() as producer:
            producer.send("orders", "x", partition=0)
        with pytest.raises(PartitionNotFoundError, match="partitions 0 to 1, not"):
            log.delete_records("orders", {wrong: 1})
        with pytest.raises(PartitionNotFoundError, match="partitions 0 to 1, not"):
            log.consumer("orders", group="g", partitions=[wrong])
        with log.consumer(group="g") as consumer, pytest.raises(InvalidInputError):
            consumer.assign([("orders", wrong)])
    with Log(str(tmp_path / "log")) as log:
        assert len(list(log.read("orders"))) == 1


def test_numbers_and_texts_of_numpy_are_taken_for_what_they_are(tmp_path: Path) -> None:
    with Log(str(tmp_path / "log"), durability="os") as log:
        log.create_topic("orders", partitions=2)
        with log.producer(transactional_id=np.str_("n")) as producer, producer.transaction() as tx:
            tx.send_many("orders", ["a", "b", "c"], partition=0)
        assert log.delete_records("orders", {np.int64(0): np.int64(1)}) == {0: 1}
        with log.consumer("orders", group=np.str_("g"), partitions=[np.int64(0)]) as consumer:
            assert [record.value for record in consumer.poll()] == [b"b", b"c"]
        with log.consumer("orders", group=np.str_("h"), instance_id=np.str_("i")) as consumer:
            assert len(consumer.poll()) == 2
            consumer.commit(metadata=np.str_("note"))
    with Log(str(tmp_path / "log")) as log:
        assert log.groups["g"].offsets[("orders", 0)].offset == 3
        assert log.groups["h"].offsets[("orders", 0)].metadata == "note"
        log.groups[np.str_("g")].delete()
        assert list(log.groups) == ["h"]
