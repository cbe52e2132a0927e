"""Whether a block of a typed topic can hold a record that fits, by the bounds of its columns. Pure.

Unlike the conditions of ``predicates.py`` these are not taken from DuckDB, which still applies them: here
they only tell blocks that hold nothing of what is wanted. So whatever is not understood rules nothing out.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from streamhouse.format.columns import Bound
from streamhouse.schema.assemble import CODES
from streamhouse.schema.model import Field, Type
from streamhouse.schema.rows import unscaled
from streamhouse.schema.shred import NUMBER

Bounds: TypeAlias = tuple[Bound, Bound] | None
BoundsOf: TypeAlias = Callable[[Field], Bounds]
"""Between which values those of a field lie in a block; ``None``: unknown."""
Hint: TypeAlias = Callable[[BoundsOf], bool]
"""Whether a block may hold a record for which a condition is true."""

_DEPTH_MAX: Final = 100


def hint_of(node: Any, fields: Mapping[str, Field]) -> Hint | None:
    """What a condition says of a block by the bounds of its fields; ``None``: nothing.

    Args:
        node: A tree of ``duckdb._sources.nodes``.
        fields: Those of the topic, by the names of their columns.
    """
    return _hint_of(node, fields, 0)


def _hint_of(node: Any, fields: Mapping[str, Field], depth: int) -> Hint | None:
    if depth > _DEPTH_MAX:
        return None
    if type(node).__name__ != "Binary" or node.op not in {"AND", "OR"}:
        return _comparison(node, fields)
    parts = [_hint_of(part, fields, depth + 1) for part in (node.left, node.right)]
    known = [part for part in parts if part is not None]
    if node.op == "OR":
        return partial(_any_fits, known) if len(known) == len(parts) else None
    return partial(_all_fit, known) if known else None


def _any_fits(hints: Sequence[Hint], bounds_of: BoundsOf) -> bool:
    return any(hint(bounds_of) for hint in hints)


def _all_fit(hints: Sequence[Hint], bounds_of: BoundsOf) -> bool:
    return all(hint(bounds_of) for hint in hints)


def _comparison(node: Any, fields: Mapping[str, Field]) -> Hint | None:
    """What a field compared with one or several constants says; ``None`` if it is something else."""
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
    return None if None in values else partial(_may_meet, field, _POSSIBLE[op], sorted(values))


def _may_meet(field: Field, possible: _Possible, values: Sequence[Any], bounds_of: BoundsOf) -> bool:
    bounds = bounds_of(field)
    return bounds is None or possible(*bounds, values)


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


def _any_between(low: Any, high: Any, values: Sequence[Any]) -> bool:
    index = bisect_left(values, low)
    return index < len(values) and values[index] <= high


_Possible: TypeAlias = Callable[[Any, Any, Sequence[Any]], bool]
_POSSIBLE: Final[dict[str, _Possible]] = {
    "=": _any_between,
    "!=": lambda low, high, values: not low == values[0] == high,
    "<": lambda low, _, values: low < values[0],
    "<=": lambda low, _, values: low <= values[0],
    ">": lambda _, high, values: high > values[0],
    ">=": lambda _, high, values: high >= values[0],
}
"""Whether a comparison can be true of a value between two bounds; ``=`` takes several values, in order."""
