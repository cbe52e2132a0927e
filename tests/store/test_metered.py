import pytest

from streamhouse.errors import ObjectNotFoundError, StoreUnavailableError
from streamhouse.store.base import ObjectStore
from streamhouse.store.cost import RequestCounts
from streamhouse.store.memory import MemoryStore
from streamhouse.store.metered import MeteredStore
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.conformance import StoreConformance
from streamhouse.testing.stores import FaultyStore


@pytest.fixture
def runtime() -> ManualRuntime:
    return ManualRuntime()


@pytest.fixture
def store(runtime: ManualRuntime) -> MeteredStore:
    return MeteredStore(MemoryStore(runtime), runtime)


class TestContract(StoreConformance):
    @pytest.fixture
    def store(self, runtime: ManualRuntime) -> ObjectStore:
        return MeteredStore(MemoryStore(runtime), runtime)


def test_everything_is_counted(store: MeteredStore) -> None:
    store.put("a", [b"12", memoryview(b"34567890").cast("I")])
    store.put_if_absent("a", [b"123"])
    store.get("a", 0, 4)
    store.get("a")
    store.head("a")
    store.list("")
    store.delete_many(iter(["a"]))
    store.delete_many([])
    assert store.stats().counts == RequestCounts(
        puts=2, gets=2, heads=1, lists=1, deletes=1, bytes_written=13, bytes_read=14
    )
    assert store.list("") == []


def test_misses_and_failures_are_counted(runtime: ManualRuntime) -> None:
    faulty = FaultyStore(MemoryStore(runtime))
    store = MeteredStore(faulty, runtime)
    with pytest.raises(ObjectNotFoundError):
        store.get("nothing")
    faulty.script("list", "unavailable")
    with pytest.raises(StoreUnavailableError):
        store.list("")
    faulty.script("put", "unavailable")
    with pytest.raises(StoreUnavailableError):
        store.put("a", [b"x"])
    counts = store.stats().counts
    assert (counts.gets, counts.lists, counts.puts) == (1, 1, 1)


def test_pages_and_batches_are_counted_in_thousands(store: MeteredStore) -> None:
    names = [f"log/{number:05d}" for number in range(2001)]
    for name in names:
        store.put(name, [])
    store.list("log/")
    store.delete_many(names)
    counts = store.stats().counts
    assert (counts.lists, counts.deletes) == (3, 3)


def test_the_present_rate_forgets_the_past(store: MeteredStore, runtime: ManualRuntime) -> None:
    for _ in range(1000):
        store.put("a", [])
    for _ in range(300):
        runtime.advance(1.0)
        store.put("a", [])
    stats = store.stats()
    assert stats.counts.puts == 1300
    assert stats.seconds == 300.0
    assert 60 <= stats.recent_seconds <= 120
    assert stats.recent.puts == pytest.approx(stats.recent_seconds, abs=1)
    assert stats.dollars_per_month == pytest.approx(13.14, rel=0.02)


def test_an_idle_store_costs_nothing(store: MeteredStore, runtime: ManualRuntime) -> None:
    assert store.stats().dollars_per_month == 0.0
    store.put("a", [])
    runtime.advance(200)
    store.stats()
    runtime.advance(200)
    assert store.stats().dollars_per_month == 0.0
