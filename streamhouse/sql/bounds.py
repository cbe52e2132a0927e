"""Whether a block of a typed topic can hold a record that fits, by the bounds of its columns. Pure.

Unlike the conditions of ``predicates.py`` these are not taken from DuckDB, which still applies them: here
they only tell blocks that hold nothing of what is wanted. So whatever is not understood rules nothing out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from streamhouse.format.columns import Bound
from streamhouse.schema.assemble import CODES
from streamhouse.schema.model import Field, Type
from streamhouse.schema.rows import unscaled
from streamhouse.schema.shred import NUMBER

Bounds: TypeAlias = tuple[Bound, Bound] | None
BoundsOf: TypeAlias = Callable[[Field], Bounds]
"""Between which values those of a field lie in a block; ``None``: unknown."""

_DEPTH_MAX: Final = 100


def tells_apart(node: Any, fields: Mapping[str, Field]) -> bool:
    """Whether a condition is of any use here.

    Args:
        node: A tree of ``duckdb._sources.nodes``.
        fields: Those of the topic, by the names of their columns.
    """
    return _mentions_field(node, fields, 0)


def may_fit(conditions: Sequence[Any], fields: Mapping[str, Field], bounds_of: BoundsOf) -> bool:
    """Whether a block may hold a record for which all conditions are true.

    Args:
        conditions: Trees for which :func:`tells_apart` is true.
        fields: Those of the topic, by the names of their columns.
        bounds_of: What is known of the block.
    """
    return all(_may_be_true(condition, fields, bounds_of, 0) for condition in conditions)


def _mentions_field(node: Any, fields: Mapping[str, Field], depth: int) -> bool:
    kind = type(node).__name__
    if depth > _DEPTH_MAX:
        return False
    if kind == "Binary" and node.op in {"AND", "OR"}:
        parts = [_mentions_field(part, fields, depth + 1) for part in (node.left, node.right)]
        return any(parts) if node.op == "AND" else all(parts)
    return _comparison(node, fields) is not None


def _may_be_true(node: Any, fields: Mapping[str, Field], bounds_of: BoundsOf, depth: int) -> bool:
    if depth > _DEPTH_MAX:
        return True
    if type(node).__name__ == "Binary" and node.op in {"AND", "OR"}:
        parts = (_may_be_true(part, fields, bounds_of, depth + 1) for part in (node.left, node.right))
        return all(parts) if node.op == "AND" else any(parts)
    comparison = _comparison(node, fields)
    if comparison is None:
        return True
    field, op, values = comparison
    bounds = bounds_of(field)
    return bounds is None or any(_meets(bounds, op, value) for value in values)


def _comparison(node: Any, fields: Mapping[str, Field]) -> tuple[Field, str, list[Any]] | None:
    """A condition as a field, an operator and one or several values; ``None`` if it is something else."""
    kind = type(node).__name__
    if kind == "Binary" and node.op in _POSSIBLE:
        column, op, literals = node.left, node.op, [node.right]
    elif kind == "In":
        column, op, literals = node.operand, "=", node.values
    else:
        return None
    if type(column).__name__ != "Col" or len(column.parts) != 1 or column.parts[0] not in fields:
        return None
    field = fields[column.parts[0]]
    values = [_in_unit(field.type, literal) for literal in literals]
    return None if None in values else (field, op, values)


def _in_unit(type_: Type, literal: Any) -> Bound | None:
    """A constant as bounds of that type are kept; ``None`` if it cannot be."""
    if type(literal).__name__ != "Lit" or literal.type != type_.sql:
        return None
    value = literal.value
    try:
        if type_.kind == "varchar":
            return str.encode(value)
        if type_.kind == "decimal":
            return unscaled(type_, value)
        if type_.kind != "timestamptz" and type_.kind in NUMBER:
            return NUMBER[type_.kind](value)
        if type_.kind in CODES and type(value) in {int, float} and not math.isnan(value):
            number: int | float = value
            return number
    except (AttributeError, OverflowError, TypeError, ValueError):
        pass  # infinity, say, where a date is expected
    return None


def _meets(bounds: tuple[Any, Any], op: str, value: Any) -> bool:
    low, high = bounds
    return _POSSIBLE[op](low, high, value)


_POSSIBLE: Final[dict[str, Callable[[Any, Any, Any], bool]]] = {
    "=": lambda low, high, value: low <= value <= high,
    "!=": lambda low, high, value: not low == value == high,
    "<": lambda low, _, value: low < value,
    "<=": lambda low, _, value: low <= value,
    ">": lambda _, high, value: high > value,
    ">=": lambda _, high, value: high >= value,
}
"""Whether a comparison can be true of a value between two bounds."""
