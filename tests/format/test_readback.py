"""Operations are written and read back before anybody proposes them."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pytest

from streamhouse.errors import InvalidInputError
from streamhouse.format.operations import (
    CommitOffsets,
    DeleteGroup,
    InitProducer,
    OffsetEntry,
    Operation,
    Trim,
)
from streamhouse.format.readback import read_back


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Choice(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize("text", [Text("g"), np.str_("g"), "g"])
def test_text_of_a_subclass_is_read_back_as_text(text: str) -> None:
    operation = read_back(DeleteGroup(text))
    assert operation == DeleteGroup("g")
    assert type(operation.group) is str  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [Number(1), np.int64(1), np.uint8(1), Choice.ONE, 1])
def test_a_number_of_a_subclass_is_read_back_as_a_number(number: Any) -> None:
    operation = read_back(Trim(number, ((number, number),)))
    assert operation == Trim(1, ((1, 1),))
    assert type(operation.topic) is int  # type: ignore[union-attr]
    assert {type(n) for n in operation.parts[0]} == {int}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("operation", "named"),
    [
        (Trim(1, ((0.0, 1),)), "parts of Trim"),  # type: ignore[arg-type]
        (Trim(1, ((False, 1),)), "parts of Trim"),
        (Trim(np.float64(1), ()), "topic of Trim"),  # type: ignore[arg-type]
        (Trim(np.bool_(True), ()), "topic of Trim"),  # type: ignore[arg-type]
        (Trim(1, ((0, 1 << 70),)), "parts of Trim"),
        (DeleteGroup("\ud800"), "group of DeleteGroup"),
        (DeleteGroup(Text("\ud800")), "group of DeleteGroup"),
        (DeleteGroup(b"g"), "group of DeleteGroup"),  # type: ignore[arg-type]
        (DeleteGroup(None), "group of DeleteGroup"),  # type: ignore[arg-type]
        (InitProducer("\udfff", 1), "transactional_id of InitProducer"),
        (CommitOffsets("g", "", 0, (OffsetEntry(1, 0, 1, "\ud800"),)), "offsets of CommitOffsets"),
        (CommitOffsets("g", "", 0, (OffsetEntry(1, 0, 1.5),)), "offsets of CommitOffsets"),  # type: ignore[arg-type]
    ],
)
def test_what_nobody_could_read_is_refused_and_named(operation: Operation, named: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{named} cannot be stored: "):
        read_back(operation)
