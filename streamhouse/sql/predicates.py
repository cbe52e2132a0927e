"""What DuckDB's filters say about topic, partition, offset and timestamp. Pure: trees in, intervals out.

DuckDB offers a scan each condition that it would otherwise check itself. One that is taken has to be
applied *exactly*, for DuckDB does not look again. So only conditions are taken whose every part is
understood; any other one stays where it is, and costs no more than reading the block.

The trees are those of ``duckdb._sources.nodes``. They are told apart by the name of their class, so that
this module needs no DuckDB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import and_, invert, or_
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.sql.intervals import ALL, HIGHEST, LOWEST, NONE, Intervals

_NODES_MAX: Final = 2_000  # more (generated, mostly) costs more here than it saves there
_DEPTH_MAX: Final = 100
_MICROSECONDS: Final = 1_000  # in a millisecond

_TYPES: Final = {
    "topic": ("VARCHAR", str),
    "partition": ("INTEGER", int),
    "offset": ("BIGINT", int),
    "timestamp": ("TIMESTAMP WITH TIME ZONE", int),
}
_SWEEPING: Final = frozenset(("offset", "timestamp"))  # the others have one value per partition
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_JOINING: Final[dict[str, Callable[[Intervals, Intervals], Intervals]]] = {"AND": and_, "OR": or_}

_Admitted: TypeAlias = Intervals | Callable[[int], Intervals]
"""What a condition leaves: the same of every partition, or what it is of the one with a number."""


class Restriction(msgspec.Struct, frozen=True):
    """What of a partition is wanted.

    Attributes:
        offsets: Which offsets.
        times: Which timestamps, milliseconds.
    """

    offsets: Intervals = ALL
    times: Intervals = ALL

    @property
    def impossible(self) -> bool:
        """Whether no record fits."""
        return not (self.offsets and self.times)


def understood(node: Any) -> bool:
    """Whether a condition can be turned into a :class:`Restriction` without loss."""
    columns: set[str] = set()
    for count, (part, depth) in enumerate(_walk(node)):
        if count > _NODES_MAX or depth > _DEPTH_MAX:
            return False
        column = _known_part(part)
        if column is None:
            return False
        columns.add(column)
    return len(columns & _SWEEPING) <= 1  # "partition 1, or late" is fine, "offset 3, or late" is not


def restrict(conditions: Sequence[Any], topic: str) -> Callable[[int], Restriction]:
    """What understood conditions, all of which hold, leave of the partition with a number.

    A topic may have thousands of partitions, and a condition tens of thousands of values. So what is the same
    for all partitions is computed once, before the first is asked for.
    """
    offsets: _Admitted = ALL
    times: _Admitted = ALL
    for condition in conditions:
        admitted = _evaluate(condition, topic)
        if _sweeps(condition) == "timestamp":
            times = _combined(and_, times, admitted)
        else:
            offsets = _combined(and_, offsets, admitted)
    return lambda partition: Restriction(_within(offsets, partition), _within(times, partition))


def _walk(node: Any) -> Iterator[tuple[Any, int]]:
    """The conditions in a tree, and how deep each lies."""
    pending = [(node, 0)]
    while pending:
        current, depth = pending.pop()
        yield current, depth
        pending.extend((child, depth + 1) for child in _inner(current))


def _inner(node: Any) -> tuple[Any, ...]:
    kind = type(node).__name__
    if kind == "Binary" and node.op in {"AND", "OR"}:
        return node.left, node.right
    return (node.operand,) if kind == "Unary" else ()


def _known_part(node: Any) -> str | None:
    """The column that a condition is about (empty for AND, OR, NOT); ``None`` if it is not understood."""
    kind = type(node).__name__
    if _inner(node):
        return "" if kind == "Binary" or node.op == "NOT" else None
    if kind == "Binary" and node.op in _COMPARISONS and _fits(node.left, [node.right]):
        return _column(node.left)
    if kind == "In" and _fits(node.operand, node.values):
        return _column(node.operand)
    if kind == "Postfix" and node.op in {"IS NULL", "IS NOT NULL"} and _fits(node.operand, []):
        return _column(node.operand)
    return None


def _fits(column: Any, literals: Sequence[Any]) -> bool:
    """Whether this compares one of our columns with constants of its type."""
    if type(column).__name__ != "Col" or _column(column) not in _TYPES:
        return False
    type_name, python_type = _TYPES[_column(column)]
    return all(
        type(literal).__name__ == "Lit" and literal.type == type_name and type(literal.value) is python_type
        for literal in literals
    )


def _column(column: Any) -> str:
    return column.parts[0] if len(column.parts) == 1 else ""


def _sweeps(condition: Any) -> str:
    columns = {_known_part(part) for part, _ in _walk(condition)}
    return "timestamp" if "timestamp" in columns else "offset"


def _combined(operator: Callable[..., Intervals], *parts: _Admitted) -> _Admitted:
    known = [part for part in parts if isinstance(part, Intervals)]
    if len(known) == len(parts):
        return operator(*known)
    return lambda partition: operator(*(_within(part, partition) for part in parts))


def _within(admitted: _Admitted, partition: int) -> Intervals:
    return admitted if isinstance(admitted, Intervals) else admitted(partition)


def _evaluate(node: Any, topic: str) -> _Admitted:
    kind = type(node).__name__
    if _inner(node):
        operator = invert if kind == "Unary" else _JOINING[node.op]
        return _combined(operator, *(_evaluate(part, topic) for part in _inner(node)))
    if kind == "Postfix":
        return _all_if(node.op == "IS NOT NULL")  # none of these columns is ever null
    if kind == "In":
        return _among(_column(node.operand), [literal.value for literal in node.values], topic)
    return _compare(_column(node.left), node.op, node.right.value, topic)


def _among(column: str, values: Sequence[Any], topic: str) -> _Admitted:
    if column == "topic":
        return _all_if(topic in values)
    if column == "partition":
        numbers = frozenset(values)
        return lambda partition: _all_if(partition in numbers)
    return Intervals(span for value in values for span in _sweep(column, "=", value).spans)


def _compare(column: str, op: str, value: Any, topic: str) -> _Admitted:
    holds = _COMPARISONS[op]
    if column == "topic":
        return _all_if(holds(topic, value))
    if column == "partition":
        return lambda partition: _all_if(holds(partition, value))
    return _sweep(column, op, value)


def _all_if(holds: bool) -> Intervals:
    return ALL if holds else NONE


def _sweep(column: str, op: str, value: int) -> Intervals:
    below, above = value, value  # the last number not above the value, and the first not below it
    if column == "timestamp":
        below, above = value // _MICROSECONDS, -(-value // _MICROSECONDS)
    if op in {"=", "!="}:
        equal = Intervals([(above, below)])  # empty when the value lies between two milliseconds
        return equal if op == "=" else ~equal
    if op in {"<", "<="}:
        return Intervals([(LOWEST, above - 1 if op == "<" else below)])
    return Intervals([(below + 1 if op == ">" else above, HIGHEST)])
