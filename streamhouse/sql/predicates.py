"""What DuckDB's filters say about topic, partition, offset and timestamp. Pure: trees in, intervals out.

DuckDB offers a scan each condition that it would otherwise check itself. One that is taken has to be
applied *exactly*, for DuckDB does not look again. So only conditions are taken whose every part is
understood; any other one stays where it is, and costs no more than reading the block.

The trees are those of ``duckdb._sources.nodes``. They are told apart by the name of their class, so that
this module needs no DuckDB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from streamhouse.sql.intervals import ALL, HIGHEST, LOWEST, NONE, Intervals

_NODES_MAX: Final = 2_000  # more (a generated IN, mostly) costs more here than it saves there
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


def restrict(conditions: Sequence[Any], topic: str, partition: int) -> Restriction:
    """What understood conditions, all of which hold, leave of a partition."""
    restriction = Restriction()
    for condition in conditions:
        admitted = _evaluate(condition, {"topic": topic, "partition": partition})
        if _sweeps(condition) == "timestamp":
            restriction = Restriction(restriction.offsets, restriction.times & admitted)
        else:
            restriction = Restriction(restriction.offsets & admitted, restriction.times)
    return restriction


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


def _evaluate(node: Any, constants: dict[str, Any]) -> Intervals:
    kind = type(node).__name__
    if _inner(node):
        parts = [_evaluate(part, constants) for part in _inner(node)]
        if kind == "Unary":
            return ~parts[0]
        return parts[0] & parts[1] if node.op == "AND" else parts[0] | parts[1]
    if kind == "Postfix":
        return ALL if node.op == "IS NOT NULL" else NONE  # none of these columns is ever null
    if kind == "In":
        return Intervals(
            span
            for literal in node.values
            for span in _compare(_column(node.operand), "=", literal.value, constants).spans
        )
    return _compare(_column(node.left), node.op, node.right.value, constants)


def _compare(column: str, op: str, value: Any, constants: dict[str, Any]) -> Intervals:
    if column in constants:
        return ALL if _COMPARISONS[op](constants[column], value) else NONE
    below, above = value, value  # the last number not above the value, and the first not below it
    if column == "timestamp":
        below, above = value // _MICROSECONDS, -(-value // _MICROSECONDS)
    if op in {"=", "!="}:
        equal = Intervals([(above, below)])  # empty when the value lies between two milliseconds
        return equal if op == "=" else ~equal
    if op in {"<", "<="}:
        return Intervals([(LOWEST, above - 1 if op == "<" else below)])
    return Intervals([(below + 1 if op == ">" else above, HIGHEST)])
