"""Arguments that make no sense."""

from __future__ import annotations

import re
from typing import Any

import pytest

from streamhouse import Log
from streamhouse.errors import InvalidInputError, TopicNotFoundError


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
