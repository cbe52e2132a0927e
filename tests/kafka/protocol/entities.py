"""Requests with anything in them, made after kio's schema."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from dataclasses import fields
from typing import Any, get_args, get_origin

_TEXTS = ("", "t", "topic-1", "g", "a.b", "größe", "x" * 300)
_NUMBERS = (-2, -1, 0, 1, 2, 3, 5, 100)
_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


def random_entity(cls: Any, dice: random.Random, many: int = 3) -> Any:
    """An entity of a class, with at most so many items in its arrays."""
    return cls(**{field.name: _value(field, dice, many) for field in fields(cls)})


def _value(field: Any, dice: random.Random, many: int) -> Any:
    kind, options = field.type, get_args(field.type)
    if type(None) in options and get_origin(kind) is not tuple:
        if dice.random() < 0.3:
            return None
        kind = next(option for option in options if option is not type(None))
    name = field.metadata.get("kafka_type")
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        count = dice.randrange(many + 1)
        return tuple(
            random_entity(inner, dice, many) if name is None else _plain(name, dice) for _ in range(count)
        )
    return random_entity(kind, dice, many) if name is None else _plain(name, dice)


def _plain(kind: str, dice: random.Random) -> Any:
    if kind in _BITS:
        half = 1 << (_BITS[kind] - 1)
        return dice.choice((*_NUMBERS, -half, half - 1)) if half > 100 else dice.randrange(-half, half)
    if kind in {"timedelta_i32", "timedelta_i64"}:
        return dt.timedelta(milliseconds=dice.choice((*_NUMBERS, 500, 30_000, (1 << 31) - 1)))
    values: dict[str, Any] = {
        "bool": dice.random() < 0.5,
        "float64": dice.choice((0.0, 1.5, -1e300)),
        "string": dice.choice(_TEXTS),
        "bytes": dice.randbytes(dice.choice((0, 1, 20))),
        "records": dice.randbytes(dice.choice((0, 1, 70))),
        "uuid": uuid.UUID(int=dice.getrandbits(128)),
    }
    return values[kind]
