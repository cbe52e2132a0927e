from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.config import TopicSettings
from streamhouse.errors import StoreError, TopicNotFoundError
from streamhouse.schema.declare import declared
from streamhouse.testing.clock import ManualRuntime
from streamhouse.write.destination import Destinations


def typed(id_: int, *types: str) -> TopicInfo:
    schemas = tuple(declared({"a": type_}).text for type_ in types)
    return TopicInfo(id_, "t", 1, 0, TopicSettings(schemas=schemas))


class Catalog:
    """One topic, which others may change; that is heard of by refreshing."""

    def __init__(self) -> None:
        self.info: TopicInfo | None = typed(1, "TINYINT")
        self.coming = self.info
        self.refreshed = 0
        self.failing = False
        self.may_wait = True
        self.answer = threading.Event()
        self.answer.set()

    def topic(self, name: str) -> TopicInfo:
        if self.info is None:
            raise TopicNotFoundError(name)
        return msgspec.structs.replace(self.info)

    def current(self, info: TopicInfo) -> TopicInfo:
        return info if self.info is None or self.info == info or self.info.id != info.id else self.info

    def refresh(self) -> None:
        self.refreshed += 1
        assert self.answer.wait(30)
        if self.failing:
            raise StoreError
        self.info = self.coming


def test_a_look_is_taken_once_in_a_while() -> None:
    catalog, runtime = Catalog(), ManualRuntime()
    topics = Destinations(catalog, runtime)  # type: ignore[arg-type]
    known = topics.find("t")
    for _ in range(10):
        assert topics.newer(known) is None
    catalog.coming = typed(1, "TINYINT", "BIGINT")
    assert topics.newer(known) is None
    assert catalog.refreshed == 1
    runtime.advance(1)
    newer = topics.newer(known)
    assert newer is not None
    assert newer.topic == catalog.coming
    assert topics.find("t") is newer
    assert topics.newer(newer) is None
    assert catalog.refreshed == 2


def test_a_topic_made_anew_is_found_and_a_deleted_one_missed() -> None:
    catalog, runtime = Catalog(), ManualRuntime()
    topics = Destinations(catalog, runtime)  # type: ignore[arg-type]
    known = topics.find("t")
    catalog.coming = typed(2, "BIGINT")
    newer = topics.newer(known)
    assert newer is not None
    assert newer.topic.id == 2
    catalog.coming = None
    runtime.advance(1)
    with pytest.raises(TopicNotFoundError):
        topics.newer(newer)


def test_what_is_known_counts_while_the_store_fails_or_nobody_may_wait() -> None:
    catalog, runtime = Catalog(), ManualRuntime()
    topics = Destinations(catalog, runtime)  # type: ignore[arg-type]
    known = topics.find("t")
    catalog.coming = typed(1, "TINYINT", "BIGINT")
    catalog.may_wait = False
    assert (topics.newer(known), catalog.refreshed) == (None, 0)
    catalog.may_wait, catalog.failing = True, True
    assert (topics.newer(known), catalog.refreshed) == (None, 1)


def test_nobody_is_refused_while_another_thread_looks() -> None:
    catalog = Catalog()
    topics = Destinations(catalog, ManualRuntime())  # type: ignore[arg-type]
    known = topics.find("t")
    catalog.coming = typed(1, "TINYINT", "BIGINT")
    catalog.answer.clear()
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(topics.newer, known) for _ in range(3)]
        catalog.answer.set()
        found = [each.result() for each in asked]
    assert all(each is not None and each.topic == catalog.coming for each in found)
    assert catalog.refreshed == 1
