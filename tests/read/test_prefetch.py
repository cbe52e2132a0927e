import threading
import time
from collections.abc import Callable

import pytest

from streamhouse.read import prefetch
from streamhouse.read.prefetch import BackgroundJobs


def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("this never came true")


def prefetch_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "streamhouse-prefetch"]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> object:
    yield
    until(lambda: not prefetch_threads())


def test_threads_start_with_the_first_job_only() -> None:
    jobs = BackgroundJobs(2, 10)
    assert not prefetch_threads()
    done = threading.Event()
    assert jobs.submit("a", done.set)
    assert done.wait(10)
    jobs.close()


def test_jobs_run_side_by_side_up_to_the_limit() -> None:
    jobs, together, release = BackgroundJobs(3, 10), threading.Barrier(4), threading.Event()

    def job() -> None:
        together.wait(10)
        release.wait(10)

    for key in range(5):
        jobs.submit(key, job)
    together.wait(10)  # three jobs and this thread
    assert len(prefetch_threads()) == 3
    assert len(jobs) == 5
    together.reset()
    release.set()
    jobs.close()


def test_a_key_is_queued_once_until_it_is_done() -> None:
    jobs, release, ran = BackgroundJobs(1, 10), threading.Event(), []

    def job() -> None:
        ran.append(1)
        release.wait(10)

    assert jobs.submit("a", job)
    assert not jobs.submit("a", job)
    release.set()
    until(lambda: len(jobs) == 0)
    assert jobs.submit("a", job)
    until(lambda: len(ran) == 2)
    jobs.close()


def test_the_queue_is_bounded() -> None:
    jobs, release = BackgroundJobs(1, 2), threading.Event()
    assert [jobs.submit(key, lambda: release.wait(10)) for key in range(4)] == [True, True, False, False]
    release.set()
    jobs.close()


def test_close_drops_the_queue_and_does_not_wait_for_what_hangs() -> None:
    jobs, release, began, ran = BackgroundJobs(1, 10), threading.Event(), threading.Event(), []

    def hang() -> None:
        began.set()
        release.wait(30)

    jobs.submit("hangs", hang)
    jobs.submit("never", lambda: ran.append(1))
    assert began.wait(10)
    jobs.close()
    assert prefetch_threads()  # still in its request, and nobody waited for it
    assert not jobs.submit("late", hang)
    release.set()
    until(lambda: not prefetch_threads())
    assert not ran
    jobs.close()


def test_idle_threads_end_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "_IDLE_SECONDS", 0.01)
    jobs, ran = BackgroundJobs(2, 10), []
    jobs.submit("a", lambda: ran.append("a"))
    until(lambda: ran == ["a"] and not prefetch_threads())
    jobs.submit("b", lambda: ran.append("b"))
    until(lambda: ran == ["a", "b"])
    jobs.close()


def test_no_job_is_lost_among_threads_that_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "_IDLE_SECONDS", 0.0)
    jobs, ran = BackgroundJobs(2, 1000), []
    for key in range(300):
        assert jobs.submit(key, lambda key=key: ran.append(key))
    until(lambda: len(ran) == 300)
    assert sorted(ran) == list(range(300))
    jobs.close()
