"""Settings of topics: ``7d`` is a time, ``10GiB`` a size, ``none`` no bound at all."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias

import typer

_MILLISECONDS: Final = {
    "": 1,
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 7 * 86_400_000,
}
_BYTES: Final = {
    "": 1,
    "b": 1,
    **{unit: 1000**power for power, unit in enumerate(("kb", "mb", "gb", "tb"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("kib", "mib", "gib", "tib"), 1)},
}
_NONE: Final = "none"
DEFAULT: Final = "default"
"""The value that takes a setting back."""


class Stamp(StrEnum):
    """Whose time records have."""

    CREATE = "create"
    APPEND = "append"


class Policy(StrEnum):
    """What becomes of old records."""

    DELETE = "delete"
    COMPACT = "compact"
    BOTH = "compact,delete"


CleanupPolicy: TypeAlias = Annotated[
    Policy | None,
    typer.Option(
        "--cleanup-policy",
        help="delete: old records go; compact: of each key the latest stays; or both.",
    ),
]
Retention: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--retention-ms",
        "--retention",
        metavar="TIME",
        help="Records older than this may go: milliseconds, or such as 90s, 12h, 7d; none: never.",
    ),
]
RetentionBytes: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--retention-bytes",
        metavar="SIZE",
        help="Stored bytes to keep per partition: 1000000, 500MB, 10GiB; none: all.",
    ),
]
DeleteRetention: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--delete-retention-ms",
        "--delete-retention",
        metavar="TIME",
        help="How long a compacted topic shows that a key was deleted.",
    ),
]
CompactionLag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--min-compaction-lag-ms",
        "--min-compaction-lag",
        metavar="TIME",
        help="Records younger than this are not compacted away.",
    ),
]
TimestampType: TypeAlias = Annotated[
    Stamp | None,
    typer.Option(
        "--timestamp-type",
        help="create: records have the time that their sender gave them; append: that of their storing.",
    ),
]
DeadLetter: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--dead-letter",
        metavar="TOPIC",
        help="Where records of a typed topic go that do not fit; by default they are refused.",
    ),
]


def given_settings(
    cleanup_policy: Policy | None,
    retention: str | None,
    retention_bytes: str | None,
    delete_retention: str | None,
    compaction_lag: str | None,
    timestamp_type: Stamp | None,
) -> dict[str, Any]:
    """The settings that were named, as the library calls them; ``None`` stands for the default.

    Raises:
        typer.BadParameter: A time or a size that cannot be understood.
    """
    given = {
        "cleanup_policy": None if cleanup_policy is None else cleanup_policy.value,
        "retention_ms": _parse("--retention", retention, _MILLISECONDS, "90s, 12h or 7d"),
        "retention_bytes": _parse("--retention-bytes", retention_bytes, _BYTES, "500MB or 10GiB"),
        "delete_retention_ms": _parse("--delete-retention", delete_retention, _MILLISECONDS, "1d"),
        "min_compaction_lag_ms": _parse("--min-compaction-lag", compaction_lag, _MILLISECONDS, "10m"),
        "timestamp_type": None if timestamp_type is None else timestamp_type.value,
    }
    return {
        name: None if value in {_NONE, DEFAULT} else value
        for name, value in given.items()
        if value is not None
    }


def parse_bytes(option: str, text: str) -> int:
    """A size.

    Raises:
        typer.BadParameter: It cannot be understood.
    """
    size = _parse(option, text, _BYTES, "128MiB")
    if not isinstance(size, int):
        raise typer.BadParameter(f"{option} takes a size such as 128MiB, not {text!r}")
    return size


def _parse(option: str, text: str | None, units: dict[str, int], example: str) -> int | str | None:
    """A number, or one of the two words that stand for none; the default of a bound is that there is none."""
    if text is None:
        return None
    words = (_NONE, DEFAULT) if option.startswith("--retention") else (DEFAULT,)
    if text in words:
        return text
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in units:
        known = " or ".join(words)
        raise typer.BadParameter(f"{option} {text!r} is neither a number nor such as {example}, nor {known}")
    return round(float(found[1]) * units[found[2]]) if "." in found[1] else int(found[1]) * units[found[2]]
