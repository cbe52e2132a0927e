import threading
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from streamhouse.errors import StoreUnavailableError
from streamhouse.format.columns import Columns, columns_from_lists
from streamhouse.read.cache import BlockCache


def block(size: int, fill: bytes = b"x") -> Columns:
    return columns_from_lists(None, [fill * size], 0, None)


EMPTY_BYTES = block(0).nbytes


def never() -> Columns:
    raise AssertionError("this block should have been in memory")


class Fetch:
    """A fetch that a test lets go on when it wants; counts how often it was called."""

    def __init__(self, outcome: Columns | BaseException) -> None:
        self.outcome = outcome
        self.calls = 0
        self.began = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> Columns:
        self.calls += 1
        self.began.set()
        assert self.go_on.wait(10)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class Threads:
    """Runs calls at the same time and gathers what they return or raise."""

    def __init__(self) -> None:
        self.results: list[object] = []
        self._threads: list[threading.Thread] = []

    def start(self, call: Callable[[], object]) -> None:
        def run() -> None:
            try:
                self.results.append(call())
            except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt is one of the cases
                self.results.append(error)

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def join(self) -> list[object]:
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        return self.results


def test_a_block_is_fetched_once_and_then_remembered() -> None:
    cache, made = BlockCache(10_000), block(10)
    assert cache.load("a", lambda: made) is made
    assert cache.load("a", never) is made
    assert (cache.stats().hits, cache.stats().misses) == (1, 1)


def test_those_who_ask_together_share_one_fetch() -> None:
    cache, fetch, threads = BlockCache(10_000), Fetch(block(10)), Threads()
    for _ in range(8):
        threads.start(lambda: cache.load("a", fetch))
    assert fetch.began.wait(10)
    fetch.go_on.set()
    assert all(result is fetch.outcome for result in threads.join())
    assert fetch.calls == 1


def test_different_blocks_do_not_wait_for_each_other() -> None:
    cache, slow, threads = BlockCache(10_000), Fetch(block(10)), Threads()
    threads.start(lambda: cache.load("slow", slow))
    assert slow.began.wait(10)
    other = block(5)
    assert cache.load("quick", lambda: other) is other
    slow.go_on.set()
    threads.join()


def test_a_failed_fetch_reaches_all_who_wait_and_is_forgotten() -> None:
    cache, threads = BlockCache(10_000), Threads()
    fetch = Fetch(StoreUnavailableError("down"))
    for _ in range(4):
        threads.start(lambda: cache.load("a", fetch))
    assert fetch.began.wait(10)
    fetch.go_on.set()
    # Some may have come after the failure and tried for themselves: they get it too.
    assert all(isinstance(result, StoreUnavailableError) for result in threads.join())
    assert "a" not in cache
    made = block(3)
    assert cache.load("a", lambda: made) is made


def test_an_interrupted_fetch_is_taken_over_by_one_who_waits() -> None:
    cache, threads, made = BlockCache(10_000), Threads(), block(10)
    fetch = Fetch(KeyboardInterrupt())
    threads.start(lambda: cache.load("a", fetch))
    assert fetch.began.wait(10)
    threads.start(lambda: cache.load("a", lambda: made))
    fetch.go_on.set()
    results = threads.join()
    assert sorted(map(type, results), key=str) == sorted([KeyboardInterrupt, Columns], key=str)
    assert cache.load("a", never) is made


def test_the_least_recently_used_goes_first() -> None:
    cache = BlockCache(3 * (EMPTY_BYTES + 100))
    for name in "abc":
        cache.put(name, block(100))
    cache.load("a", never)
    cache.put("d", block(100))
    assert [name for name in "abcd" if name in cache] == ["a", "c", "d"]


def test_a_block_larger_than_the_cache_is_handed_out_but_not_kept() -> None:
    cache, large = BlockCache(1000), block(5000)
    cache.put("small", block(100))
    assert cache.load("large", lambda: large) is large
    assert "large" not in cache
    assert "small" in cache


def test_a_cache_of_no_size_keeps_nothing() -> None:
    cache, made = BlockCache(0), block(0)
    assert cache.load("a", lambda: made) is made
    assert cache.stats().held_bytes == 0
    assert "a" not in cache


def test_blocks_fetched_ahead_are_unread_until_somebody_asks() -> None:
    cache, made = BlockCache(10_000), block(100)
    cache.load("a", lambda: made, ahead=True)
    assert cache.unread_bytes == made.nbytes
    cache.load("a", never, ahead=True)
    assert cache.unread_bytes == made.nbytes
    cache.load("a", never)
    assert cache.unread_bytes == 0


def test_a_block_asked_for_while_it_is_fetched_ahead_counts_as_read() -> None:
    cache, fetch, threads = BlockCache(10_000), Fetch(block(100)), Threads()
    threads.start(lambda: cache.load("a", fetch, ahead=True))
    assert fetch.began.wait(10)
    threads.start(lambda: cache.load("a", fetch))
    while not cache._flights["a"].wanted:
        pass
    fetch.go_on.set()
    threads.join()
    assert cache.unread_bytes == 0
    assert fetch.calls == 1


def test_clear_forgets_everything() -> None:
    cache = BlockCache(10_000)
    cache.load("a", lambda: block(1), ahead=True)
    cache.clear()
    assert "a" not in cache
    assert (cache.stats().held_bytes, cache.unread_bytes) == (0, 0)


steps = st.tuples(st.sampled_from(["load", "ahead", "put"]), st.integers(0, 5), st.integers(0, 400))


@given(st.lists(steps, max_size=60), st.integers(0, 1500))
def test_the_books_are_kept_right(steps: list[tuple[str, int, int]], bytes_max: int) -> None:
    cache = BlockCache(bytes_max)
    for what, key, size in steps:
        if what == "put":
            cache.put(key, block(size))
        else:
            cache.load(key, lambda: block(size), ahead=what == "ahead")  # noqa: B023
        entries = cache._entries.values()
        held = sum(entry.columns.nbytes for entry in entries)
        assert cache.stats().held_bytes == held <= bytes_max
        assert cache.unread_bytes == sum(e.columns.nbytes for e in entries if e.unread)
    assert not cache._flights
