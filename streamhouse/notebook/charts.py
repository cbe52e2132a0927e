"""Charts of throughput and lag.

They are figures of Matplotlib, made without ``pyplot``: nothing global changes, and a figure is gone when
nobody refers to it. Labels, limits and colours can be changed as with any other figure.
"""

from __future__ import annotations

import datetime as dt
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from streamhouse.records import TopicPartition

_INCHES: Final = (8.0, 3.0)
_DPI_SHOWN: Final = 72.0
_SHARP: Final = 2.0  # pixels of the picture for one of the screen
_COLOURS: Final = 10  # more partitions cannot be told apart

_FIRST: Final[float] = date2num(dt.date.min)  # type: ignore[no-untyped-call]
_LAST: Final = math.nextafter(date2num(dt.date.max) + 1, 0.0)  # type: ignore[no-untyped-call]
"""The years 1 to 9999 in Matplotlib's days, which fails on what is before and after."""

Counts = Sequence[tuple[dt.datetime, int, int]]
"""Begin of an interval, partition, and how much there was."""


class Chart(Figure):
    """A figure that shows itself in a notebook, whatever the notebook's settings for figures are."""

    def _repr_png_(self) -> tuple[bytes, dict[str, float]]:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=_DPI_SHOWN * _SHARP)
        width, height = self.get_size_inches() * _DPI_SHOWN
        return out.getvalue(), {"width": float(width), "height": float(height)}


def throughput(name: str, unit: str, counts: Counts, seconds: float, partitions: int) -> Chart:
    """What came in over time, stacked by partition.

    Args:
        name: Of the topic.
        unit: What is counted.
        counts: The intervals in which something came.
        seconds: How long each is.
        partitions: How many the topic has.
    """
    chart = Chart(figsize=_INCHES, layout="constrained")
    axes = chart.add_subplot()
    axes.set_title(f"{name}: {unit} per {_said(seconds)} (UTC)", loc="left", fontsize="medium")
    if not counts:
        axes.text(0.5, 0.5, "nothing in this time", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return chart
    apart = partitions <= _COLOURS
    times = sorted({time for time, _, _ in counts})
    index = {time: at for at, time in enumerate(times)}
    bottom = [0] * len(times)
    width = seconds / 86_400
    for number in range(partitions) if apart else [None]:
        heights = [0] * len(times)
        for time, partition, count in counts:
            if number in (None, partition):
                heights[index[time]] += count
        if any(heights):
            label = None if number is None else f"partition {number}"
            axes.bar(times, heights, width=width, bottom=bottom, align="edge", label=label)  # type: ignore[arg-type]
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    _time_axis(axes)
    axes.yaxis.set_major_formatter(EngFormatter(unit="B" if unit == "bytes" else ""))
    if apart and partitions > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small")
    return chart


def lag(name: str, lags: Mapping[TopicPartition, int]) -> Chart:
    """How many offsets a group has before it, a bar for each partition.

    Args:
        name: Of the group.
        lags: By topic and partition.
    """
    height = max(1.2, 0.6 + 0.25 * len(lags))
    chart = Chart(figsize=(_INCHES[0], height), layout="constrained")
    axes = chart.add_subplot()
    axes.set_title(f"{name}: lag", loc="left", fontsize="medium", parse_math=False)  # names may have a $
    if not lags:
        axes.text(0.5, 0.5, "no partitions", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return chart
    bars = axes.barh([f"{topic} {partition}" for topic, partition in lags], list(lags.values()))
    axes.bar_label(bars, labels=[f"{count:,}" for count in lags.values()], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0, right=None if any(lags.values()) else 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.xaxis.set_major_formatter(EngFormatter())
    _bare(axes)
    return chart


class _Locator(AutoDateLocator):
    """Finds ticks that are dates."""

    def __call__(self) -> list[float]:
        ticks = super().__call__()  # type: ignore[no-untyped-call]
        return [tick for tick in ticks if _FIRST <= tick <= _LAST]


def _time_axis(axes: Any) -> None:
    low, high = axes.get_xlim()  # with margins
    axes.set_xlim(max(low, _FIRST), min(high, _LAST))
    locator = _Locator(tz=dt.UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=dt.UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    _bare(axes)


def _bare(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _said(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return unit if count == 1 else f"{count} {unit}s"
    return "second" if seconds == 1 else f"{seconds:g} seconds"
