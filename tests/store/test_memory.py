import pytest

from streamhouse.store.base import ObjectStore
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.conformance import StoreConformance


class TestContract(StoreConformance):
    rounds = 200

    @pytest.fixture
    def store(self) -> ObjectStore:
        return MemoryStore(ManualRuntime())


class TestNamedContract(StoreConformance):
    @pytest.fixture
    def store(self, request: pytest.FixtureRequest) -> ObjectStore:
        return MemoryStore(ManualRuntime(), request.node.nodeid)


def test_unnamed_stores_share_nothing() -> None:
    first, second = MemoryStore(ManualRuntime()), MemoryStore(ManualRuntime())
    first.put("a", [b"1"])
    assert second.list("") == []
    assert not first.capabilities.shared


def test_stores_of_one_name_share_their_objects_beyond_close() -> None:
    first = MemoryStore(ManualRuntime(), "test-shared")
    first.put("a", [b"1"])
    first.close()
    second = MemoryStore(ManualRuntime(), "test-shared")
    assert second.get("a") == b"1"
    assert second.capabilities.shared
    assert MemoryStore(ManualRuntime(), "test-other").list("") == []


def test_its_clock_is_the_runtime() -> None:
    runtime = ManualRuntime(time_ms=5_000)
    store = MemoryStore(runtime)
    store.put("a", [b""])
    runtime.advance(2)
    store.put_if_absent("b", [b""])
    assert [info.modified_ms for info in store.list("")] == [5_000, 7_000]


def test_what_was_put_does_not_change_with_the_buffer() -> None:
    store = MemoryStore(ManualRuntime())
    buffer = bytearray(b"before")
    store.put("a", [buffer])
    buffer[:] = b"after!"
    assert store.get("a") == b"before"
