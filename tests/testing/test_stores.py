from collections.abc import Callable
from typing import Any

import pytest

from streamhouse.errors import (
    StoreAccessError,
    StoreDurabilityError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from streamhouse.store.base import ObjectStore, PutOutcome
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.conformance import StoreConformance
from streamhouse.testing.stores import FaultyStore, SlowStore, WrappedStore


def memory() -> MemoryStore:
    return MemoryStore(ManualRuntime())


class TestWrappersKeepTheContract(StoreConformance):
    @pytest.fixture(params=["wrapped", "faulty", "slow"])
    def store(self, request: pytest.FixtureRequest) -> ObjectStore:
        match request.param:
            case "faulty":
                return FaultyStore(memory(), rates={"stale": 0.0})
            case "slow":
                return SlowStore(memory(), sleep=lambda _: None)
        return WrappedStore(memory())


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(memory())


CALLS: dict[Any, Callable[[ObjectStore], object]] = {
    "put_if_absent": lambda store: store.put_if_absent("log/1", [b"x"]),
    "put": lambda store: store.put("log/1", [b"x"]),
    "get": lambda store: store.get("log/0"),
    "head": lambda store: store.head("log/0"),
    "list": lambda store: store.list("log/"),
    "delete_many": lambda store: store.delete_many(["log/0"]),
}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("unavailable", StoreUnavailableError), ("denied", StoreAccessError)],
)
def test_refusals_do_nothing(
    store: FaultyStore, operation: Any, kind: Any, expected: type[StoreError]
) -> None:
    store.inner.put("log/0", [b"y"])
    store.script(operation, kind)
    with pytest.raises(expected):
        CALLS[operation](store)
    assert [info.name for info in store.inner.list("")] == ["log/0"]
    CALLS[operation](store)  # once means once
    assert store.injected == {kind: 1}


def test_full(store: FaultyStore) -> None:
    store.script("put_if_absent", "full")
    with pytest.raises(StoreFullError):
        store.put_if_absent("log/1", [b"x"])
    assert store.head("log/1") is None


@pytest.mark.parametrize(("kind", "done"), [("unknown", False), ("lost-answer", True)])
def test_doubts(store: FaultyStore, kind: Any, done: bool) -> None:
    store.script("put_if_absent", kind)
    assert store.put_if_absent("log/1", [b"x"]) is PutOutcome.UNKNOWN
    assert (store.head("log/1") is not None) == done
    store.script("put", kind) if done else store.script("put", "unavailable")
    with pytest.raises(StoreUnavailableError):
        store.put("log/2", [b"x"])
    assert (store.head("log/2") is not None) == done


def test_not_durable(store: FaultyStore) -> None:
    store.script("put_if_absent", "not-durable")
    with pytest.raises(StoreDurabilityError):
        store.put_if_absent("log/1", [b"x"])
    assert store.get("log/1") == b"x"


def test_late_writes_land_when_told_with_what_was_given(store: FaultyStore) -> None:
    store.script("put_if_absent", "late")
    store.script("delete_many", "late")
    buffer = bytearray(b"first")
    assert store.put_if_absent("log/1", [buffer]) is PutOutcome.UNKNOWN
    buffer[:] = b"other"
    store.put("log/0", [b""])
    with pytest.raises(StoreUnavailableError):
        store.delete_many(["log/0"])
    assert [info.name for info in store.list("")] == ["log/0"]
    assert store.land() == 2
    assert [info.name for info in store.list("")] == ["log/1"]
    assert store.get("log/1") == b"first"
    assert store.land() == 0


def test_a_late_creation_respects_who_came_first(store: FaultyStore) -> None:
    store.script("put_if_absent", "late")
    store.put_if_absent("log/1", [b"late"])
    assert store.put_if_absent("log/1", [b"early"]) is PutOutcome.CREATED
    store.land()
    assert store.get("log/1") == b"early"


def test_spoiled_reads(store: FaultyStore) -> None:
    content = bytes(range(100))
    store.put("a", [content])
    store.script("get", "flip")
    store.script("get", "truncate")
    flipped = int.from_bytes(store.get("a")) ^ int.from_bytes(content)
    assert flipped.bit_count() == 1
    assert store.get("a") == content[:50]
    assert store.get("a") == content


def test_stale_listings_know_what_the_last_one_knew(store: FaultyStore) -> None:
    store.script("list", "stale", skip=1)
    store.put("log/1", [b""])
    assert len(store.list("log/")) == 1
    store.put("log/2", [b""])
    assert [info.name for info in store.list("log/")] == ["log/1"]
    assert [info.name for info in store.list("log/")] == ["log/1", "log/2"]


def test_prefix_skip_and_times(store: FaultyStore) -> None:
    store.script("put", "unavailable", prefix="lane/", skip=1, times=2)
    seen = []
    for name in ["log/1", "lane/1", "log/2", "lane/2", "lane/3", "lane/4"]:
        try:
            store.put(name, [b""])
        except StoreUnavailableError:
            seen.append(name)
    assert seen == ["lane/2", "lane/3"]


def test_always(store: FaultyStore) -> None:
    store.script("get", "unavailable", times=None)
    for _ in range(5):
        with pytest.raises(StoreUnavailableError):
            store.get("a")


def test_delays_go_through_the_given_sleep() -> None:
    slept: list[float] = []
    store = FaultyStore(memory(), sleep=slept.append)
    store.script("put", "delay", seconds=5.0)
    store.put("a", [b"x"])
    assert slept == [5.0]
    assert store.get("a") == b"x"


def test_seeded_faults_repeat() -> None:
    def run(seed: int) -> list[str]:
        store = FaultyStore(memory(), seed=seed, rates={"lost-answer": 0.2, "unknown": 0.2})
        return [store.put_if_absent(f"log/{n}", [b""]).value for n in range(200)]

    assert run(1) == run(1) != run(2)
    assert 40 < run(1).count("unknown") < 120


def test_senseless_faults_are_refused(store: FaultyStore) -> None:
    with pytest.raises(ValueError, match="flip"):
        store.script("put", "flip")
    with pytest.raises(ValueError, match="typo"):
        FaultyStore(memory(), rates={"typo": 1.0})  # type: ignore[dict-item]


def test_slow_stores_sleep_by_operation() -> None:
    slept: list[float] = []
    store = SlowStore(memory(), put_seconds=3, get_seconds=2, list_seconds=1, sleep=slept.append)
    store.put("a", [b""])
    store.put_if_absent("b", [b""])
    store.get("a")
    store.head("a")
    store.list("")
    store.delete_many(["a"])
    assert slept == [3, 3, 2, 2, 1, 3]
    assert store.capabilities.remote
