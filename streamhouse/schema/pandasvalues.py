"""Objects in cells of pandas as the dicts and plain values that a schema is checked against.

Lists, dicts and arrays in cells are often made by pandas itself, from Parquet say, which has no null among
numbers: they become floats, and the null NaN. Dates and times come as NumPy's.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from streamhouse.schema.model import INTEGERS, Type
from streamhouse.schema.objects import BUILTINS, complete, of_numpy

_Fit: TypeAlias = Callable[[Any], Any]
"""Makes of a plain value one that fits a type, if pandas may have made it another one."""


def plain_values(type_: Type, values: Sequence[Any]) -> list[Any]:
    """With values of Python's own for those of NumPy and pandas, and of the application's classes.

    NaN is null, except in JSON. A date becomes a time where the type is one without a zone, and a whole
    number an integer; what does not fit stays as it is, to be refused.

    Args:
        type_: Of the field.
        values: Of the column.

    Raises:
        TypeError: There is something else in it.
        ValueError: A time is none that Python has.
        msgspec.DecodeError: A ``msgspec.Raw`` is no JSON.
    """
    plain: list[Any] = msgspec.to_builtins(complete(values), builtin_types=BUILTINS, enc_hook=_builtin)
    fit = _fit_of(type_)
    return plain if fit is None else list(map(fit, plain))


def _builtin(value: Any) -> Any:
    module = type(value).__module__.partition(".")[0]
    if module == "pandas" and type(value).__name__ in _NULLS:
        return None
    if module == "pandas" and isinstance(value, dt.datetime):
        return value.to_pydatetime(warn=False)  # type: ignore[attr-defined]
    if module == "numpy" and hasattr(value, "dtype"):
        return of_numpy(value)
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    raise TypeError(f"a {type(value).__qualname__} is no value")


def _fit_of(type_: Type) -> _Fit | None:
    kind = type_.kind
    if kind == "json":
        return None
    if kind in INTEGERS:
        return _whole
    if kind in _TIMESTAMPS:
        return _timestamp
    if kind not in {"list", "map", "struct"}:
        return _not_nan
    inner = {field.name: _fit_of(field.type) for field in type_.fields}
    if kind == "list":
        (item,) = inner.values()
        return None if item is None else partial(_in_list, item)
    if kind == "map":
        item = inner["value"]
        return None if item is None else partial(_in_map, item)
    return partial(_in_struct, {name: fit for name, fit in inner.items() if fit is not None})


def _not_nan(value: Any) -> Any:
    return None if type(value) in _FRACTIONAL and math.isnan(value) else value


def _whole(value: Any) -> Any:
    value = _not_nan(value)
    if type(value) not in _FRACTIONAL or not -_WHOLE_MAX < value < _WHOLE_MAX:
        return value
    number = int(value)
    return number if number == value else value


def _timestamp(value: Any) -> Any:
    if type(value) is dt.date:
        return dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - it has no zone
    return _not_nan(value)


def _in_list(fit: _Fit, values: Any) -> Any:
    return list(map(fit, values)) if isinstance(values, list) else _not_nan(values)


def _in_map(fit: _Fit, values: Any) -> Any:
    if not isinstance(values, dict):
        return _not_nan(values)
    return {key: fit(value) for key, value in values.items()}


def _in_struct(fits: Mapping[str, _Fit], values: Any) -> Any:
    if not isinstance(values, dict):
        return _not_nan(values)
    return {name: fits[name](value) if name in fits else value for name, value in values.items()}


_FRACTIONAL: Final = frozenset((float, Decimal))
_NULLS: Final = frozenset(("NaTType", "NAType"))
_TIMESTAMPS: Final = frozenset(("timestamp_s", "timestamp_ms", "timestamp"))
_WHOLE_MAX: Final = 2**64
