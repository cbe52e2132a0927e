"""The live view follows a topic."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable

import pytest

import streamhouse
from streamhouse.errors import (
    InvalidInputError,
    InvalidPositionError,
    MissingExtraError,
    TopicNotFoundError,
)

pytest.importorskip("anywidget")
ipywidgets = pytest.importorskip("ipywidgets")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def topic(streamhouse_log: streamhouse.Log) -> streamhouse.Topic:
    topic = streamhouse_log.create_topic("orders", partitions=2)
    send(streamhouse_log, *[f"old {n}" for n in range(5)])
    return topic


def send(log: streamhouse.Log, *values: object, partition: int = 0) -> None:
    with log.producer() as producer:
        producer.send_many("orders", list(values), partition=partition).result()


def test_it_shows_what_comes(streamhouse_log: streamhouse.Log, topic: streamhouse.Topic) -> None:
    view = topic.live(rows=3, refresh_seconds=0.05)
    send(streamhouse_log, "a", None, b"\xff" + b"x" * 1000)
    wait_for(lambda: view.seen == 3)
    assert [row[:2] for row in view.rows] == [[0, 5], [0, 6], [0, 7]]
    assert [row[4] for row in view.rows] == ["a", None, "\\xff" + "x" * 196 + "…"]
    send(streamhouse_log, "z", partition=1)
    wait_for(lambda: view.seen == 4)
    assert view.rows[-1][0] == 1
    assert len(view.rows) == 3
    assert sum(view.rates) == 4
    assert (view.state, view.lag) == ("live", 0)
    view.close()
    view.close()


def test_it_can_begin_with_what_is_there_and_pause(
    streamhouse_log: streamhouse.Log, topic: streamhouse.Topic
) -> None:
    view = topic.live(start="earliest", refresh_seconds=0.05)
    wait_for(lambda: view.seen == 5)
    view.paused = True
    wait_for(lambda: view.state == "paused")
    send(streamhouse_log, "while it rests")
    seen = view.seen
    view.paused = False
    wait_for(lambda: view.seen == 6)
    assert seen == 5
    view.close()


def test_it_ends_with_the_log(streamhouse_log: streamhouse.Log, topic: streamhouse.Topic) -> None:
    view = topic.live(refresh_seconds=0.05)
    streamhouse_log.close()
    wait_for(lambda: view.state == "closed")
    assert view.problem == ""
    view.close()


def test_it_ends_with_the_log_while_it_is_paused(
    streamhouse_log: streamhouse.Log, topic: streamhouse.Topic
) -> None:
    view = topic.live(refresh_seconds=0.05)
    view.paused = True
    wait_for(lambda: view.state == "paused")
    streamhouse_log.close()
    wait_for(lambda: view.state == "closed")
    view.close()


def test_it_tells_what_went_wrong(streamhouse_log: streamhouse.Log, topic: streamhouse.Topic) -> None:
    view = topic.live(refresh_seconds=0.05)
    streamhouse_log.delete_topic("orders")
    wait_for(lambda: view.state == "failed")
    assert "orders" in view.problem
    view.close()


def test_no_thread_stays(streamhouse_log: streamhouse.Log, topic: streamhouse.Topic) -> None:
    view = topic.live(refresh_seconds=0.05)
    view.close()
    assert "streamhouse-live" not in {thread.name for thread in threading.enumerate()}


def test_what_makes_no_sense(streamhouse_log: streamhouse.Log, topic: streamhouse.Topic) -> None:
    with pytest.raises(InvalidInputError, match="rows"):
        topic.live(rows=0)
    with pytest.raises(InvalidInputError, match="refresh_seconds"):
        topic.live(refresh_seconds=0)
    for seconds in ("x", None, True, float("nan")):
        with pytest.raises(InvalidInputError, match="refresh_seconds"):
            topic.live(refresh_seconds=seconds)  # type: ignore[arg-type]
    with pytest.raises(InvalidPositionError):
        topic.live(start="bogus")  # type: ignore[arg-type]
    gc.collect()  # a widget that was half made would complain now, and others could not be closed
    ipywidgets.Widget.close_all()
    streamhouse_log.delete_topic("orders")
    with pytest.raises(TopicNotFoundError):
        topic.live()


def test_without_the_extra(topic: streamhouse.Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'streamhouse\[notebook\]'"):
        topic.live()
