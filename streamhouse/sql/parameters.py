"""What stands for the parameters of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from streamhouse.errors import QueryError

Values: TypeAlias = list[Any] | dict[str, Any] | None
"""By order or by name."""


def parameters_of(values: Sequence[Any], named: Mapping[str, Any]) -> Values:
    """The parameters of a call.

    Raises:
        QueryError: Some are given by order and some by name.
    """
    if values and named:
        raise QueryError(
            "parameters go by order (? or $1) or by name ($name), not both in one query: name all of them"
        )
    return dict(named) if named else list(values) or None
