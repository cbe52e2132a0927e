"""Positions such as ``--from`` takes: where to begin, as kcat, rpk and people write it."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

import typer

from streamhouse.records import Position, Positions
from streamhouse.topic import Topic

_WORDS: Final[dict[str, Position]] = {
    "earliest": "earliest",
    "beginning": "earliest",
    "start": "earliest",
    "latest": "latest",
    "end": "latest",
}


def parse_position(text: str, topic: Topic, option: str = "--from") -> Positions:
    """Understand a start.

    * ``earliest`` (``beginning``, ``start``), ``latest`` (``end``)
    * ``17``: an offset; ``-5``: the last five records of each partition
    * ``2026-11-22``, ``2026-11-22T10:00``, ``2026-11-22T10:00+01:00``: a time, UTC unless it says
    * ``@1700000000000``: a time in milliseconds since 1970

    Raises:
        typer.BadParameter: It is none of these.
    """
    if re.fullmatch(r"-\d+", text):
        count = int(text[1:])
        return {p.number: max(p.log_start, p.high_watermark - count) for p in topic.partitions}
    return parse_one_position(text, option, "earliest, latest, an offset, -N")


def parse_one_position(text: str, option: str, known: str = "earliest, latest, an offset") -> Position:
    """The same without ``-5``, which is another offset in each partition.

    Args:
        text: What was given.
        option: For what, to be named in an error.
        known: What else than a time that option takes.

    Raises:
        typer.BadParameter: It is none of these.
    """
    if text in _WORDS:
        return _WORDS[text]
    if re.fullmatch(r"\d+", text):
        return int(text)
    try:
        if re.fullmatch(r"@\d+", text):
            return dt.datetime.fromtimestamp(int(text[1:]) / 1000, tz=dt.UTC)
        time = dt.datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(
            f"{option} {text!r} is neither {known} nor a time such as 2026-11-22T10:00 or @MILLISECONDS"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
