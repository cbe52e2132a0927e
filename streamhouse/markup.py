"""HTML in which objects show themselves in notebooks: tables, and bars to compare numbers by. Pure.

Notebooks cut out scripts and style sheets of output that they do not trust, so each element carries its
own style. Colours are those of the theme, dark or light, but for the bars.
"""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

ROWS_MAX: Final = 50

_BAR_BOX: Final = "display:inline-block;width:8em;margin-right:0.5em;text-align:left"
_BAR: Final = (
    "display:inline-block;height:0.7em;background:#4c78a8;border-radius:2px;vertical-align:baseline;"
    "width:{width:.2f}em"
)
_BAR_NUMBER: Final = (
    "display:inline-block;min-width:6em;text-align:right"  # so that bars begin below each other
)
_BAR_EM: Final = 8.0
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


class Markup(str):
    """HTML; any other text is escaped before it becomes part of it."""

    __slots__ = ()


def escaped(value: object) -> Markup:
    """A value as HTML: ``None`` as *null*, numbers with thin separators, the rest as text."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("<i>null</i>")
    if isinstance(value, int) and not isinstance(value, bool):
        return Markup(f"{value:,}")
    return Markup(html.escape(str(value)))


def heading(kind: str, name: str, *facts: object) -> Markup:
    """What an object is, its name, and some facts about it in one line."""
    told = "".join(f" · {escaped(fact)}" for fact in facts)
    return Markup(f"<div>{escaped(kind)} <b>{escaped(name)}</b>{told}</div>")


def table(
    columns: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    left: int = 1,
    count: int | None = None,
) -> Markup:
    """A table of at most ``ROWS_MAX`` rows, and how many it leaves out.

    Args:
        columns: Titles.
        rows: Cells; numbers are best given as they are. No more than are shown are taken.
        left: How many columns from the left are text, and so are aligned to the left.
        count: How many rows there are, when they are more than those given.
    """
    shown = list(islice(rows, ROWS_MAX))
    more = (count or 0) - len(shown)
    style = [f' style="text-align:{"left" if at < left else "right"}"' for at in range(len(columns))]
    head = "".join(f"<th{how}>{escaped(title)}</th>" for how, title in zip(style, columns, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{how}>{escaped(cell)}</td>" for how, cell in zip(style, row, strict=True))
        + "</tr>"
        for row in shown
    )
    below = f"<div><small>and {more:,} more</small></div>" if more > 0 else ""
    return Markup(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}")


def bar(value: int, largest: int) -> Markup:
    """A number, with a bar of its share of the largest one."""
    width = _BAR_EM * value / largest if largest > 0 else 0.0
    box = f'<span style="{_BAR_BOX}"><span style="{_BAR.format(width=width)}"></span></span>'
    return Markup(f'{box}<span style="{_BAR_NUMBER}">{value:,}</span>')


def size(count: int) -> str:
    """Bytes in the largest decimal unit that leaves a number above one, as in ``1.5 MB``."""
    value = float(count)
    for unit in _UNITS[:-1]:
        if value < 1000:
            return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} {_UNITS[-1]}"


def moment(timestamp_ms: int | None) -> str:
    """A point in time to the second, in UTC; empty for ``None``."""
    if timestamp_ms is None:
        return ""
    return dt.datetime.fromtimestamp(timestamp_ms / 1000, tz=dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
