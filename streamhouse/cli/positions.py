"""``--from``: where to begin reading, as kcat, rpk and people write it."""

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


def parse_position(text: str, topic: Topic) -> Positions:
    """Understand a start.

    * ``earliest`` (``beginning``, ``start``), ``latest`` (``end``)
    * ``17``: an offset; ``-5``: the last five records of each partition
    * ``2026-11-22``, ``2026-11-22T10:00``, ``2026-11-22T10:00+01:00``: a time, UTC unless it says
    * ``@1700000000000``: a time in milliseconds since 1970
    """
    if text in _WORDS:
        return _WORDS[text]
    if re.fullmatch(r"\d+", text):
        return int(text)
    if re.fullmatch(r"-\d+", text):
        count = int(text[1:])
        return {p.number: max(p.log_start, p.high_watermark - count) for p in topic.partitions}
    return _parse_time(text)


def _parse_time(text: str) -> dt.datetime:
    try:
        if re.fullmatch(r"@\d+", text):
            return dt.datetime.fromtimestamp(int(text[1:]) / 1000, tz=dt.UTC)
        time = dt.datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(
            f"--from {text!r} is neither earliest, latest, an offset, -N nor a time such as"
            " 2026-11-22T10:00 or @MILLISECONDS"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
