"""What every object store must do, as tests to inherit.

Give the class a fixture ``store`` and pytest runs the suite against it::

    import pytest
    from streamhouse.testing.conformance import StoreConformance

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store(self):
            store = MyStore(...)      # empty for each test
            yield store
            store.close()

Set ``atomic = False`` for a store whose ``put_if_absent`` holds for one writer only; the races are
left out then. ``rounds`` says how many races to run.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import ClassVar

import pytest

from streamhouse.errors import ObjectNotFoundError
from streamhouse.store.base import ObjectStore, PutOutcome

_WRITERS = 8


class StoreConformance:
    """The contract of :class:`~streamhouse.store.base.ObjectStore`; inherit and add ``store``."""

    atomic: ClassVar[bool] = True
    rounds: ClassVar[int] = 20

    @pytest.fixture
    def store(self) -> ObjectStore:
        """An empty store. Override this one."""
        raise NotImplementedError("override the fixture `store`")

    def test_what_was_put_is_got(self, store: ObjectStore) -> None:
        store.put("lane/a/1", [b"hello"])
        assert store.get("lane/a/1") == b"hello"

    def test_buffers_of_all_kinds_are_joined(self, store: ObjectStore) -> None:
        words = memoryview(b"12345678").cast("H")
        store.put("a", [b"ab", bytearray(b"cd"), memoryview(b"xefx")[1:3], b"", words])
        assert store.get("a") == b"abcdef12345678"
        assert store.put_if_absent("b", [b"ab", words]) is PutOutcome.CREATED
        assert store.get("b") == b"ab12345678"

    def test_thousands_of_buffers_are_one_object(self, store: ObjectStore) -> None:
        pieces = [b"%05d" % number for number in range(3000)]
        store.put("a", pieces)
        assert store.get("a") == b"".join(pieces)

    @pytest.mark.parametrize("size", [0, 1, 4096, 9 << 20])
    def test_sizes(self, store: ObjectStore, size: int) -> None:
        content = random.Random(size).randbytes(size)
        assert store.put_if_absent("a", [content]) is PutOutcome.CREATED
        assert store.get("a") == content
        info = store.head("a")
        assert info is not None
        assert info.size == size

    def test_put_replaces(self, store: ObjectStore) -> None:
        store.put("a", [b"long content"])
        store.put("a", [b"short"])
        assert store.get("a") == b"short"

    def test_put_if_absent_creates_once(self, store: ObjectStore) -> None:
        assert store.put_if_absent("log/1", [b"first"]) is PutOutcome.CREATED
        assert store.put_if_absent("log/1", [b"second"]) is PutOutcome.EXISTS
        assert store.get("log/1") == b"first"

    def test_put_if_absent_creates_again_after_a_deletion(self, store: ObjectStore) -> None:
        store.put_if_absent("log/1", [b"first"])
        store.delete_many(["log/1"])
        assert store.put_if_absent("log/1", [b"second"]) is PutOutcome.CREATED
        assert store.get("log/1") == b"second"

    def test_ranges(self, store: ObjectStore) -> None:
        store.put("a", [b"0123456789"])
        assert store.get("a", 2, 5) == b"234"
        assert store.get("a", 0, 1) == b"0"
        assert store.get("a", 7) == b"789"
        assert store.get("a", 0, 10) == b"0123456789"

    def test_ranges_past_the_end_are_cut(self, store: ObjectStore) -> None:
        store.put("a", [b"0123456789"])
        assert store.get("a", 8, 1 << 40) == b"89"
        assert store.get("a", 10) == b""
        assert store.get("a", 10, 12) == b""
        assert store.get("a", 11, 12) == b""
        assert store.get("a", 4, 4) == b""

    def test_get_of_a_missing_object_raises(self, store: ObjectStore) -> None:
        store.put("log/1", [b"x"])
        for name in ("nothing", "log/2", "log", "lane/a/1"):
            with pytest.raises(ObjectNotFoundError):
                store.get(name)
            with pytest.raises(ObjectNotFoundError):
                store.get(name, 5, 10)

    def test_missing_objects_are_file_not_found_errors(self, store: ObjectStore) -> None:
        with pytest.raises(FileNotFoundError):
            store.get("nothing")

    def test_head(self, store: ObjectStore) -> None:
        assert store.head("a") is None
        store.put("a", [b"abc"])
        info = store.head("a")
        assert info is not None
        assert (info.name, info.size) == ("a", 3)
        assert store.head("lane") is None

    def test_modification_times_do_not_go_back(self, store: ObjectStore) -> None:
        store.put("a", [b"1"])
        first = store.head("a")
        store.put("a", [b"2"])
        second = store.head("a")
        assert first is not None
        assert second is not None
        assert 0 < first.modified_ms <= second.modified_ms

    def test_list_of_nothing(self, store: ObjectStore) -> None:
        assert store.list("") == []
        assert store.list("log/") == []

    def test_list_is_in_order_of_whole_names(self, store: ObjectStore) -> None:
        # "-" sorts before "/" and "0" after it, so folders may not be sorted by themselves.
        names = ["log-x", "log/1", "log/10", "log/2", "log0", "lane/a/1", "lane/a-b/1", "z"]
        for name in names:
            store.put(name, [name.encode()])
        assert [info.name for info in store.list("")] == sorted(names)
        assert [info.size for info in store.list("")] == [len(name) for name in sorted(names)]

    def test_list_takes_any_prefix(self, store: ObjectStore) -> None:
        for name in ("log/1", "log/10", "log/2", "logseg/1", "lane/a/1", "lane/ab/1"):
            store.put(name, [b""])
        expected = {
            "log/": ["log/1", "log/10", "log/2"],
            "log/1": ["log/1", "log/10"],
            "log": ["log/1", "log/10", "log/2", "logseg/1"],
            "lane/a": ["lane/a/1", "lane/ab/1"],
            "lane/a/": ["lane/a/1"],
            "nothing/": [],
        }
        for prefix, names in expected.items():
            assert [info.name for info in store.list(prefix)] == names, prefix

    def test_list_starts_after_and_stops_at_a_limit(self, store: ObjectStore) -> None:
        names = [f"log/{number:04d}" for number in range(30)]
        for name in names:
            store.put(name, [b""])

        def listed(start_after: str, limit: int | None) -> list[str]:
            return [info.name for info in store.list("log/", start_after, limit)]

        assert listed("log/0009", None) == names[10:]
        assert listed("log/0009x", None) == names[10:]
        assert listed("log/0009", 5) == names[10:15]
        assert listed("", 1) == names[:1]
        assert listed("log/0028", 5) == names[29:]
        assert listed("log/0029", 5) == []
        assert listed("a", 2) == names[:2]
        assert listed("z", None) == []

    def test_list_agrees_with_head(self, store: ObjectStore) -> None:
        for number in range(3):
            store.put(f"log/{number}", [b"x" * number])
        for info in store.list("log/"):
            found = store.head(info.name)
            assert found is not None
            assert (found.name, found.size) == (info.name, info.size)
            assert abs(found.modified_ms - info.modified_ms) < 1000  # HTTP dates have no fraction

    def test_delete_many(self, store: ObjectStore) -> None:
        for number in range(5):
            store.put(f"log/{number}", [b""])
        store.delete_many(f"log/{number}" for number in (1, 3, 77))
        assert [info.name for info in store.list("")] == ["log/0", "log/2", "log/4"]
        store.delete_many([])
        store.delete_many(["log/0"])
        store.delete_many(["log/0", "nothing/at/all"])
        assert [info.name for info in store.list("")] == ["log/2", "log/4"]

    def test_random_operations_agree_with_a_dictionary(self, store: ObjectStore) -> None:
        dice = random.Random(7)
        model: dict[str, bytes] = {}
        names = [f"{folder}/{n}" for folder in ("log", "lane/a", "lane/b") for n in range(4)]
        for step in range(120):
            name, content = dice.choice(names), b"%d" % step
            match dice.choice(["put", "create", "create", "get", "delete", "list"]):
                case "put":
                    store.put(name, [content])
                    model[name] = content
                case "create":
                    created = store.put_if_absent(name, [content]) is PutOutcome.CREATED
                    assert created == (name not in model)
                    model.setdefault(name, content)
                case "get" if name in model:
                    assert store.get(name) == model[name]
                case "delete":
                    store.delete_many([name])
                    model.pop(name, None)
                case _:
                    assert [info.name for info in store.list("l")] == sorted(model)

    def test_threads_get_what_they_put(self, store: ObjectStore) -> None:
        def work(number: int) -> bool:
            content = random.Random(number).randbytes(1000)
            store.put(f"lane/{number}/1", [content])
            return store.get(f"lane/{number}/1") == content

        with ThreadPoolExecutor(_WRITERS) as threads:
            assert all(threads.map(work, range(3 * _WRITERS)))
        assert len(store.list("lane/")) == 3 * _WRITERS

    def test_of_many_creators_one_wins(self, store: ObjectStore) -> None:
        if not self.atomic:
            pytest.skip("creation is not atomic here")
        contents = [bytes([65 + writer]) * 5000 for writer in range(_WRITERS)]
        barrier = Barrier(_WRITERS)

        def write(writer: int) -> list[PutOutcome]:
            outcomes = []
            for number in range(self.rounds):
                barrier.wait()
                outcomes.append(store.put_if_absent(f"log/{number}", [contents[writer]]))
            return outcomes

        with ThreadPoolExecutor(_WRITERS) as threads:
            outcomes = list(threads.map(write, range(_WRITERS)))
        for number in range(self.rounds):
            winners = [w for w in range(_WRITERS) if outcomes[w][number] is PutOutcome.CREATED]
            assert len(winners) == 1, f"round {number}: winners {winners}"
            assert store.get(f"log/{number}") == contents[winners[0]]

    def test_a_reader_sees_all_of_an_object_or_nothing(self, store: ObjectStore) -> None:
        content = random.Random(3).randbytes(200_000)

        def read(name: str) -> bytes:
            while True:
                try:
                    return store.get(name)
                except ObjectNotFoundError:
                    continue

        if not self.atomic:
            pytest.skip("objects appear before they are complete here")
        with ThreadPoolExecutor(2) as threads:
            for number in range(self.rounds):
                reading = threads.submit(read, f"log/{number}")
                store.put_if_absent(f"log/{number}", [content])
                assert reading.result(30) == content

    def test_commit_lock_yields_whether_it_was_had(self, store: ObjectStore) -> None:
        store.put("a", [b""])
        with store.commit_lock(0.01) as first:
            assert first in {True, False}
            with store.commit_lock(0.01) as second:
                assert not (first and second)
        with store.commit_lock(0.01) as again:
            assert again == first

    def test_url_and_capabilities_say_something(self, store: ObjectStore) -> None:
        assert store.url
        assert store.capabilities.remote in {True, False}
        assert repr(store)

    def test_close_twice_is_fine(self, store: ObjectStore) -> None:
        store.put("a", [b""])
        store.close()
        store.close()
