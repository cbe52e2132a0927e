"""Conditions that were taken leave of each partition what they say, and are read once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from duckdb._sources.nodes import Binary, Col, In, Lit, Node, Postfix, Unary

from streamhouse.sql.intervals import ALL, NONE, Intervals
from streamhouse.sql.predicates import Restriction, restrict, understood


def partition(op: str, value: int) -> Node:
    return Binary(op, Col(("partition",)), Lit(value, "INTEGER"))


def offset(op: str, value: int) -> Node:
    return Binary(op, Col(("offset",)), Lit(value, "BIGINT"))


def of_topic(op: str, value: str) -> Node:
    return Binary(op, Col(("topic",)), Lit(value, "VARCHAR"))


def among(column: str, type_: str, *values: Any) -> Node:
    return In(Col((column,)), [Lit(value, type_) for value in values])


MOMENTS = among("timestamp", "TIMESTAMP WITH TIME ZONE", 5_000, 7_000, 7_001)
ONE_OR_TWO = among("partition", "INTEGER", 1, 2)
OFFSETS = among("offset", "BIGINT", 9, 3, 4)


@pytest.mark.parametrize(
    ("conditions", "first", "second"),
    [
        ([], Restriction(), Restriction()),
        ([ONE_OR_TWO], Restriction(NONE), Restriction()),
        ([partition("=", 0)], Restriction(), Restriction(NONE)),
        ([Unary("NOT", ONE_OR_TWO)], Restriction(), Restriction(NONE)),
        ([OFFSETS], *2 * [Restriction(Intervals([(3, 4), (9, 9)]))]),
        ([MOMENTS], *2 * [Restriction(ALL, Intervals([(5, 5), (7, 7)]))]),
        ([OFFSETS, offset("<", 9), ONE_OR_TWO], Restriction(NONE), Restriction(Intervals([(3, 4)]))),
        ([Binary("OR", partition("=", 0), OFFSETS)], Restriction(), Restriction(Intervals([(3, 4), (9, 9)]))),
        (
            [Binary("OR", partition("=", 1), MOMENTS)],
            Restriction(ALL, Intervals([(5, 5), (7, 7)])),
            Restriction(),
        ),
        ([Binary("AND", of_topic("=", "t"), partition("<", 1))], Restriction(), Restriction(NONE)),
        ([among("topic", "VARCHAR", "s", "t")], Restriction(), Restriction()),
        ([of_topic("!=", "t")], Restriction(NONE), Restriction(NONE)),
        ([Postfix("IS NULL", Col(("partition",)))], Restriction(NONE), Restriction(NONE)),
    ],
)
def test_what_is_left_of_two_partitions(
    conditions: list[Node], first: Restriction, second: Restriction
) -> None:
    assert all(map(understood, conditions))
    restriction_of = restrict(conditions, "t")
    assert [restriction_of(0), restriction_of(1)] == [first, second]


@pytest.mark.parametrize(("column", "type_"), [("partition", "INTEGER"), ("offset", "BIGINT")])
def test_values_are_looked_at_once_for_all_partitions(column: str, type_: str) -> None:
    passes = 0

    class Values(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            nonlocal passes
            passes += 1
            return super().__iter__()

    restriction_of = restrict([In(Col((column,)), Values([Lit(3, type_)]))], "t")
    seen = passes
    assert restriction_of(3) != restriction_of(4) or column == "offset"
    assert passes == seen
