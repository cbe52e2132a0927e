"""What a restricted session may use."""

from __future__ import annotations

from typing import Any

import msgspec

from streamhouse.errors import InvalidSettingError


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
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise InvalidSettingError(f"{name} must be a positive number, not {value!r}")
    return Limits(**given) if restricted else None
