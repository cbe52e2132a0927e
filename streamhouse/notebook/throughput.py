"""What came into a topic over time, counted by a query."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from streamhouse.catalog.catalog import Catalog, TopicInfo
from streamhouse.errors import InvalidInputError, TopicNotFoundError, topic_deleted
from streamhouse.notebook import require_extra

if TYPE_CHECKING:
    from streamhouse.notebook.charts import Chart

Measure = Literal["records", "bytes"]

_COUNTED: Final = {
    "records": "count(*)",
    "bytes": "sum(coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0))::bigint",
}
_SECONDS: Final = (
    *(0.001, 0.01, 0.1, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1_800),
    *(3_600, 7_200, 10_800, 21_600, 43_200),
    *(86_400, 2 * 86_400, 7 * 86_400, 28 * 86_400, 91 * 86_400, 364 * 86_400),
)
"""Lengths of intervals that people can read; each bucket starts at a multiple of it since 1970."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)


def plot(
    catalog: Catalog,
    run_sql: Callable[..., Any],
    info: TopicInfo,
    measure: str,
    since: dt.datetime | None,
    until: dt.datetime | None,
    intervals: int,
) -> Chart:
    """Count what a topic got in about so many intervals of time, and draw it.

    Raises:
        MissingExtraError: Matplotlib is not installed.
        InvalidInputError: An argument makes no sense.
        TopicNotFoundError: The topic was deleted.
    """
    require_extra("matplotlib")
    from streamhouse.notebook import charts

    if measure not in _COUNTED:
        raise InvalidInputError(f"measure must be 'records' or 'bytes', not {measure!r}")
    if type(intervals) is not int or not 1 <= intervals <= 1_000:
        raise InvalidInputError(f"intervals must be 1 to 1,000, not {intervals!r}")
    for name, time in (("since", since), ("until", until)):
        if time is not None and not _is_moment(time):
            raise InvalidInputError(f"{name} must be a datetime with a time zone, not {time!r}")
    catalog.refresh()
    low, high = _bounds(catalog, run_sql, info, since, until)
    seconds = interval_seconds((high - low) / 1000, intervals)
    width = max(1, round(seconds * 1000))
    before = -(_milliseconds(_FIRST) // width)  # intervals before 1970: DuckDB's // goes to zero, not down
    # Not time_bucket: its origin is a Monday in 2000, and this needs no calendar.
    query = f"""
        select (epoch_ms(timestamp) + $shift) // $width as interval, partition, {_COUNTED[measure]}
        from {_relation(info)}
        where timestamp >= make_timestamptz($low * 1000) and timestamp < make_timestamptz($high * 1000)
        group by all order by all
    """  # noqa: S608 - the name is quoted, the rest is ours
    rows = run_sql(query, shift=before * width, width=width, low=low, high=high).fetchall()
    counts = [(_begin((at - before) * width), number, count) for at, number, count in rows]
    partitions = catalog.current(info).partitions
    return charts.throughput(info.name, measure, counts, seconds, partitions)


def _begin(milliseconds: int) -> dt.datetime:
    """When an interval begins; the first of all begins before there are dates."""
    return _EPOCH + max(milliseconds, _milliseconds(_FIRST)) * _MILLISECOND


def interval_seconds(span_seconds: float, intervals: int) -> float:
    """The shortest readable interval of which so many cover a span."""
    return next((length for length in _SECONDS if length * intervals >= span_seconds), _SECONDS[-1])


def _bounds(
    catalog: Catalog,
    run_sql: Callable[..., Any],
    info: TopicInfo,
    since: dt.datetime | None,
    until: dt.datetime | None,
) -> tuple[int, int]:
    """The time to look at, in milliseconds."""
    low, high = 0, 1
    try:
        blocks = catalog.totals(info.id).blocks
    except TopicNotFoundError:
        raise topic_deleted(info.name, "log.topic() gives that one") from None
    if blocks:
        # Not the catalog's times: they may be those of removed records, and far from all that is there.
        query = f"select min(timestamp), max(timestamp) from {_relation(info)}"  # noqa: S608 - quoted
        ((first, last),) = run_sql(query).fetchall()
        low, high = _milliseconds(first or _EPOCH), _milliseconds(last or _EPOCH) + 1
    if since is not None:
        low = max(low, _milliseconds(since))
    if until is not None:
        high = min(high, _milliseconds(until))
    return low, max(low + 1, high)


def _milliseconds(time: dt.datetime) -> int:
    """The first whole millisecond since 1970 that is not before a time."""
    return -((_EPOCH - time) // _MILLISECOND)


def _is_moment(time: object) -> bool:
    return isinstance(time, dt.datetime) and time.utcoffset() is not None


def _relation(info: TopicInfo) -> str:
    name = info.name.replace('"', '""')
    return f'raw."{name}"'
