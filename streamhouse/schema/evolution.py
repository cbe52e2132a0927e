"""What may become of a schema: new optional fields, and wider types. Nothing that stored values do not fit.

Stored values are never rewritten; they are read through the present schema. So a type may only become one in
which every value of the old one has its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from streamhouse.errors import IncompatibleSchemaError
from streamhouse.schema.model import INTEGERS, Field, Schema, Type

_MANTISSA: Final = {"float": 24, "double": 53}
_TIMES: Final = ("date", "timestamp_s", "timestamp_ms", "timestamp")  # each within the next


def check_evolution(old: Schema, new: Schema) -> None:
    """See that values of the old schema can be read through the new one.

    Raises:
        IncompatibleSchemaError: They cannot; the message names the fields and says why.
    """
    problems = list(_problems("", old.fields, new.fields))
    if problems:
        raise IncompatibleSchemaError(
            f"the schema cannot become that: {'; '.join(problems)}. Fields can be added as optional ones, and"
            " types widened; for anything else make another topic and copy the records"
        )


def widens(old: Type, new: Type) -> bool:
    """Whether every value of a plain type has its place in another one."""
    if old == new:
        return True
    if old.kind in INTEGERS:
        low, high = INTEGERS[old.kind]
        if new.kind in INTEGERS:
            return INTEGERS[new.kind][0] <= low and high <= INTEGERS[new.kind][1]
        if new.kind in _MANTISSA:
            return max(-low, high) <= 1 << _MANTISSA[new.kind]
        return new.kind == "decimal" and len(str(max(-low, high))) <= new.precision - new.scale
    if old.kind == "decimal" == new.kind:
        return new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale
    if old.kind in _TIMES and new.kind in _TIMES:
        return _TIMES.index(old.kind) < _TIMES.index(new.kind)
    return (old.kind, new.kind) == ("float", "double")


def _problems(path: str, old: Sequence[Field], new: Sequence[Field]) -> Iterator[str]:
    mine = {field.name: field for field in old}
    theirs = {field.name: field for field in new}
    for name, field in theirs.items():
        if name in mine:
            yield from _changed(f"{path}{name}", mine[name], field)
        elif not field.optional:
            yield f"field {path}{name} is new and required, but stored records do not have it"
    for name in mine.keys() - theirs.keys():
        yield f"field {path}{name} is missing, but stored records have it"


def _changed(path: str, old: Field, new: Field) -> Iterator[str]:
    if old.optional and not new.optional:
        yield f"field {path} is required now, but stored records may lack it"
    before, after = old.type, new.type
    if before.kind != after.kind or before.kind not in {"struct", "list", "map"}:
        if not widens(before, after):
            yield f"field {path} is {before}, and {after} does not hold all of its values"
    elif before.kind == "struct":
        yield from _problems(f"{path}.", before.fields, after.fields)
    else:
        for inner, outer in zip(before.fields, after.fields, strict=True):
            yield from _changed(f"{path}.{inner.name}", inner, outer)
