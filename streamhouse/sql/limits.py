"""What a restricted session may use, and what a session may see."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from streamhouse.errors import InvalidSettingError

_INTEGER_MAX: Final = 1 << 62  # DuckDB counts rows and bytes with 63 bits, and is asked for one row more


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a restricted session.

    Attributes:
        rows_max: Rows of a result.
        memory_bytes_max: Memory for DuckDB, all queries of the session together.
        seconds_max: How long a query may run.
    """

    rows_max: int = 100_000
    memory_bytes_max: int = 512 << 20
    seconds_max: float = 30.0


def make_limits(*, restricted: bool, **limits: Any) -> Limits | None:
    """Check limits; ``None`` stands for the usual one.

    Raises:
        InvalidSettingError: Limits for a session that is not restricted, or impossible ones.
    """
    given = {name: value for name, value in limits.items() if value is not None}
    if not restricted and given:
        raise InvalidSettingError(f"{', '.join(given)}: only a session with restricted=True has limits")
    for name, value in given.items():
        if name == "seconds_max":
            _check_seconds(name, value)
        else:
            _check_integer(name, value)
    return Limits(**given) if restricted else None


def checked_topics(topics: object) -> frozenset[str] | None:
    """The names of the only topics that a session may see; ``None``: all.

    Raises:
        InvalidSettingError: They are no collection of names.
    """
    if topics is None:
        return None
    if isinstance(topics, str) or not isinstance(topics, Iterable):
        raise InvalidSettingError(f"topics must be a list of names, such as ['orders'], not {topics!r}")
    names = list(topics)
    for name in names:
        if not isinstance(name, str):
            raise InvalidSettingError(f"topics must be names of topics, which {name!r} is not")
    return frozenset(names)


def _check_integer(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _INTEGER_MAX:
        raise InvalidSettingError(f"{name} must be a whole number from 1 to 2**62, not {value!r}")


def _check_seconds(name: str, value: object) -> None:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    if not 0 < number <= threading.TIMEOUT_MAX:
        raise InvalidSettingError(
            f"{name} must be a number of seconds above 0 and up to {threading.TIMEOUT_MAX:.0f}, not {value!r}"
        )
