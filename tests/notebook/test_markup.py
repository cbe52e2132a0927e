"""How objects show themselves in notebooks."""

from __future__ import annotations

import html.parser
import re

import pytest

import streamhouse
from streamhouse import markup


class Texts(html.parser.HTMLParser):
    """The rows of the tables, as texts; fails on elements that are not closed in order."""

    VOID = frozenset(("br",))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert tag != "script"
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def rows_of(thing: object) -> list[list[str]]:
    return Texts(thing._repr_html_()).rows  # type: ignore[attr-defined]


@pytest.fixture
def log(streamhouse_log: streamhouse.Log) -> streamhouse.Log:
    log = streamhouse_log
    log.create_topic("orders", partitions=2)
    log.create_topic("empty", retention_ms=1000)
    with log.producer() as producer:
        producer.send_many("orders", ["a"] * 3, partition=0, timestamps=[0, 2000, 1000]).result()
        producer.send_many("orders", ["b"], partition=1, timestamps=[86_400_000]).result()
    return log


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1_550_000, "1.55 MB"),
        (2 * 10**15, "2 PB"),
        (10**19, "1e+04 PB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert markup.size(count) == text


def test_times() -> None:
    assert markup.moment(1_000) == "1970-01-01 00:00:01"
    assert markup.moment(None) == ""


def test_everything_is_escaped() -> None:
    text = markup.heading("<i>", "<b>", "<script>") + markup.table(["<th>"], [["<td>&"], [None]])
    assert Texts(text).rows == [["<th>"], ["<td>&"], ["null"]]
    assert "<script>" not in text


def test_a_long_table_says_what_it_leaves_out() -> None:
    taken = []
    rows = (taken.append(n) or (n,) for n in range(10**9))  # type: ignore[func-returns-value]
    text = markup.table(["n"], rows, count=10**9)
    assert len(Texts(text).rows) == 1 + markup.ROWS_MAX == 1 + len(taken)
    assert "and 999,999,950 more" in text


def test_bars_are_as_long_as_their_share() -> None:
    widths = [re.search(r"width:(\d\.\d\d)em", markup.bar(n, 200)) for n in (0, 50, 200)]
    assert [float(found[1]) for found in widths if found] == [0.0, 2.0, 8.0]
    assert "width:0.00em" in markup.bar(0, 0)


def test_a_topic(log: streamhouse.Log) -> None:
    first, second = (markup.size(each.stored_bytes) for each in log.topic("orders").partitions)
    assert rows_of(log.topic("orders")) == [
        ["partition", "records", "log start", "high watermark", "stored", "first", "last"],
        ["0", "3", "0", "3", first, "1970-01-01 00:00:00", "1970-01-01 00:00:02"],
        ["1", "1", "0", "1", second, "1970-01-02 00:00:00", "1970-01-02 00:00:00"],
    ]
    assert "retention_ms=1000" in log.topic("empty")._repr_html_()
    assert "cleanup_policy" not in log.topic("empty")._repr_html_()
    gone = log.topic("empty")
    log.delete_topic("empty")
    assert "empty" in gone._repr_html_()
    assert "deleted" in gone._repr_html_()


def test_the_log_shows_its_topics_and_groups(log: streamhouse.Log) -> None:
    with log.consumer("orders", group="<billing>", start={0: 1, 1: 0}) as consumer:
        assert consumer.poll(timeout=10.0)
        shown = rows_of(consumer)
        assert [row[:2] for row in shown[1:]] == [["orders", "0"], ["orders", "1"]]
        assert rows_of(log)[1][:3] == ["empty", "1", "0"]
        assert rows_of(log)[2][:3] == ["orders", "2", "4"]
        assert rows_of(log)[-1][:3] == ["<billing>", "stable", "1"]
        assert rows_of(log.groups["<billing>"])[1][0] == "orders"
        assert rows_of(log.groups["<billing>"])[1][4] == consumer.member_id
    assert rows_of(consumer) == []
    assert [row[3] for row in rows_of(log.groups["<billing>"])] == ["lag", "0", "0"]
    log.close()
    assert "closed" in log._repr_html_()
