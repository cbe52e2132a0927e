"""Charts show what is in the log."""

from __future__ import annotations

import datetime as dt
import struct
import sys

import pytest

import streamhouse
from streamhouse.errors import InvalidInputError, MissingExtraError, TopicNotFoundError
from streamhouse.notebook.throughput import interval_seconds

pytest.importorskip("matplotlib")

DAY = dt.datetime(2024, 2, 29, tzinfo=dt.UTC)
MINUTE_MS = 60_000
FIRST_MS = -62_135_596_800_000
LAST_MS = 253_402_300_799_999


class NoZone(dt.tzinfo):
    """A time zone that does not know how far it is from UTC."""

    def utcoffset(self, _time: dt.datetime | None) -> None:
        return None


@pytest.fixture
def topic(streamhouse_log: streamhouse.Log) -> streamhouse.Topic:
    """Three records in the first minute of an hour, one in the last one, in two partitions."""
    streamhouse_log.create_topic('or"ders'.replace('"', "."), partitions=3)
    start = int(DAY.timestamp() * 1000)
    with streamhouse_log.producer() as producer:
        times = [start, start + 59_999, start + 59 * MINUTE_MS]
        producer.send_many(
            "or.ders", ["ab", None, "c"], keys=["k"] * 3, partition=0, timestamps=times
        ).result()
        producer.send_many("or.ders", ["d"], partition=2, timestamps=[start + 30_000]).result()
    return streamhouse_log.topic("or.ders")


def bars(chart: object) -> list[tuple[str, list[float]]]:
    (axes,) = chart.axes  # type: ignore[attr-defined]
    return [(str(group.get_label()), [bar.get_height() for bar in group]) for group in axes.containers]


def test_records_by_time_and_partition(topic: streamhouse.Topic) -> None:
    chart = topic.plot(intervals=60)
    assert bars(chart) == [("partition 0", [2, 1]), ("partition 2", [1, 0])]
    assert chart.axes[0].get_title("left") == "or.ders: records per minute (UTC)"
    second = chart.axes[0].containers[1][0]
    assert second.get_y() == 2  # on top of the other
    assert second.get_width() == pytest.approx(1 / 24 / 60)


def test_bytes_and_bounds(topic: streamhouse.Topic) -> None:
    assert bars(topic.plot("bytes", intervals=60)) == [("partition 0", [4, 2]), ("partition 2", [1, 0])]
    late = topic.plot(since=DAY + dt.timedelta(minutes=1))
    assert bars(late) == [("partition 0", [1])]
    early = topic.plot(until=DAY + dt.timedelta(seconds=30), intervals=1)
    assert bars(early) == [("partition 0", [1])]
    nothing = topic.plot(since=DAY + dt.timedelta(days=1))
    assert bars(nothing) == []
    assert "nothing" in nothing.axes[0].texts[0].get_text()


def test_records_that_were_removed_do_not_stretch_the_time(streamhouse_log: streamhouse.Log) -> None:
    topic = streamhouse_log.create_topic("late")
    with streamhouse_log.producer() as producer:
        producer.send("late", "v", timestamp=DAY + dt.timedelta(days=30_000)).result()
        for minute in range(3):
            producer.send("late", "v", timestamp=DAY + dt.timedelta(minutes=minute)).result()
    streamhouse_log.delete_records("late", before={0: 1})
    assert bars(topic.plot(intervals=3)) == [("partition 0", [1, 1, 1])]


def test_many_partitions_are_drawn_as_one(streamhouse_log: streamhouse.Log) -> None:
    topic = streamhouse_log.create_topic("wide", partitions=100)
    with streamhouse_log.producer() as producer:
        producer.send_many("wide", ["v"] * 500, keys=[str(n) for n in range(500)]).result()
    ((_, heights),) = bars(topic.plot())
    assert sum(heights) == 500


def test_an_empty_topic_and_thousands_of_years(streamhouse_log: streamhouse.Log) -> None:
    topic = streamhouse_log.create_topic("odd")
    assert bars(topic.plot()) == []
    with streamhouse_log.producer() as producer:
        producer.send("odd", "v", timestamp=dt.datetime(1066, 1, 1, tzinfo=dt.UTC)).result()
        producer.send("odd", "v", timestamp=dt.datetime(8000, 12, 31, tzinfo=dt.UTC)).result()
    assert topic.plot()._repr_png_()[0].startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore:Plotting microsecond time intervals")
@pytest.mark.parametrize(
    "times", [[FIRST_MS], [LAST_MS], [0, LAST_MS], [FIRST_MS, 0], [FIRST_MS, LAST_MS], [LAST_MS - 1, LAST_MS]]
)
def test_the_first_and_the_last_moment_that_a_record_may_have(
    streamhouse_log: streamhouse.Log, times: list[int]
) -> None:
    topic = streamhouse_log.create_topic("edges")
    with streamhouse_log.producer() as producer:
        producer.send_many("edges", ["v"] * len(times), timestamps=times).result()
    for intervals in (1, 7, 1_000):
        chart = topic.plot(intervals=intervals)
        ((_, heights),) = bars(chart)
        assert sum(heights) == len(times)
        assert chart._repr_png_()[0].startswith(b"\x89PNG")


def test_times_before_1970(streamhouse_log: streamhouse.Log) -> None:
    """Each interval is as long as any other, and has the records that are in it."""
    topic = streamhouse_log.create_topic("old")
    with streamhouse_log.producer() as producer:
        producer.send_many("old", ["v"] * 4, timestamps=[-1_500, -500, 500, 1_500]).result()
    chart = topic.plot(intervals=4)
    assert bars(chart) == [("partition 0", [1, 1, 1, 1])]
    begins = [bar.get_x() * 86_400 for bar in chart.axes[0].containers[0]]
    assert begins == pytest.approx([-2, -1, 0, 1])


def test_bounds_are_to_the_millisecond(streamhouse_log: streamhouse.Log) -> None:
    topic = streamhouse_log.create_topic("fine")
    start = int(DAY.timestamp() * 1000)
    with streamhouse_log.producer() as producer:
        producer.send_many("fine", ["v"] * 10, timestamps=range(start, start + 10)).result()
    after = [sum(bars(topic.plot(since=DAY + dt.timedelta(milliseconds=n)))[0][1]) for n in range(10)]
    assert after == list(range(10, 0, -1))
    half = DAY + dt.timedelta(milliseconds=3, microseconds=500)
    assert sum(bars(topic.plot(since=half))[0][1]) == 6
    assert sum(bars(topic.plot(until=half))[0][1]) == 4


def test_a_chart_shows_itself_sharply(topic: streamhouse.Topic) -> None:
    png, shown = topic.plot()._repr_png_()
    width, height = struct.unpack(">II", png[16:24])
    assert (width, height) == (2 * shown["width"], 2 * shown["height"])


def test_lag_of_a_group(streamhouse_log: streamhouse.Log, topic: streamhouse.Topic) -> None:
    with streamhouse_log.consumer("or.ders", group="billing", partitions=[0], auto_commit=False) as consumer:
        consumer.commit({("or.ders", 0): 1})
    chart = streamhouse_log.groups["billing"].plot()
    assert [bar.get_width() for bar in chart.axes[0].containers[0]] == [2]
    assert [label.get_text() for label in chart.axes[0].get_yticklabels()] == ["or.ders 0"]
    with streamhouse_log.consumer("or.ders", group=r"a$\x$b", partitions=[0], auto_commit=False) as consumer:
        consumer.commit({("or.ders", 0): 1})
    odd = streamhouse_log.groups[r"a$\x$b"].plot()
    assert odd._repr_png_()[0].startswith(b"\x89PNG")
    streamhouse_log.delete_topic("or.ders")
    empty = streamhouse_log.groups["billing"].plot()
    assert "no partitions" in empty.axes[0].texts[0].get_text()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"measure": "sizes"}, "'sizes'"),
        ({"intervals": 0}, "1 to 1,000"),
        ({"since": dt.datetime(2024, 1, 1)}, "time zone"),  # noqa: DTZ001 - the point
        ({"since": dt.datetime(2024, 1, 1, tzinfo=NoZone())}, "time zone"),
        ({"since": dt.time(1, tzinfo=dt.UTC)}, "since must be a datetime"),
        ({"until": "today"}, "'today'"),
    ],
)
def test_what_makes_no_sense(topic: streamhouse.Topic, arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        topic.plot(**arguments)  # type: ignore[arg-type]


def test_a_topic_that_is_gone(streamhouse_log: streamhouse.Log, topic: streamhouse.Topic) -> None:
    streamhouse_log.delete_topic("or.ders")
    with pytest.raises(TopicNotFoundError, match=r"topic 'or\.ders' was deleted"):
        topic.plot()


def test_without_the_extra(topic: streamhouse.Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'streamhouse\[notebook\]'"):
        topic.plot()


def test_intervals_are_readable() -> None:
    assert interval_seconds(86_400, 100) == 900
    assert interval_seconds(0.05, 100) == 0.001
    assert interval_seconds(10**12, 1) == 364 * 86_400
