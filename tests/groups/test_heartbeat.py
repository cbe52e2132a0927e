"""When a process counts as dead: not before its session has passed, soon after, and never by mistake."""

from __future__ import annotations

import pytest

from streamhouse.format import names
from streamhouse.groups.heartbeat import Heartbeat, Watch, beat_seconds, next_in_ring
from streamhouse.store.memory import MemoryStore
from streamhouse.testing.clock import ManualRuntime
from streamhouse.testing.stores import FaultyStore, WrappedStore

SESSION = 30.0


@pytest.fixture
def runtime() -> ManualRuntime:
    return ManualRuntime()


@pytest.fixture
def store(runtime: ManualRuntime) -> FaultyStore:
    return FaultyStore(MemoryStore(runtime))


def pass_time(runtime: ManualRuntime, watch: Watch, seconds: float, *beating: Heartbeat) -> list[str]:
    """Let time pass, with looks when they are due and four beats a session; who was found dead."""
    end = runtime.monotonic() + seconds
    beat = look = runtime.monotonic()
    while runtime.monotonic() < end:
        if beating and runtime.monotonic() >= beat:
            for heartbeat in beating:
                heartbeat.beat()
            beat += beat_seconds(SESSION)
        if runtime.monotonic() >= look:
            dead, pause = watch.look({"peer": SESSION})
            if dead:
                return dead
            look = runtime.monotonic() + pause
        next_time = min([look, end, *[beat for _ in beating]])
        runtime.advance(max(0.001, next_time - runtime.monotonic()))
    return []


def test_who_beats_lives_and_who_stops_is_dead_after_the_session(
    runtime: ManualRuntime, store: FaultyStore
) -> None:
    peer, watch = Heartbeat(store, "peer"), Watch(store, runtime)
    assert pass_time(runtime, watch, 10 * SESSION, peer) == []
    peer.beat()
    last = runtime.monotonic()
    assert pass_time(runtime, watch, 10 * SESSION) == ["peer"]
    assert SESSION <= runtime.monotonic() - last <= SESSION * 1.17


def test_an_idle_watch_asks_six_times_a_session(runtime: ManualRuntime, store: FaultyStore) -> None:
    asked = []

    class Counting(WrappedStore):
        def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
            asked.append(name)
            return super().get(name, start, end)

    assert pass_time(runtime, Watch(Counting(store), runtime), 10 * SESSION, Heartbeat(store, "peer")) == []
    assert set(asked) == {names.heartbeat("peer")}
    assert 58 <= len(asked) <= 62


def test_a_process_that_was_never_seen_has_its_session_from_the_first_look(
    runtime: ManualRuntime, store: FaultyStore
) -> None:
    watch = Watch(store, runtime)
    assert pass_time(runtime, watch, SESSION * 0.98) == []
    assert pass_time(runtime, watch, SESSION * 0.1) == ["peer"]


def test_a_store_that_cannot_be_read_is_no_death(runtime: ManualRuntime, store: FaultyStore) -> None:
    peer, watch = Heartbeat(store, "peer"), Watch(store, runtime)
    peer.beat()
    assert pass_time(runtime, watch, SESSION * 0.9) == []
    store.script("get", "unavailable", prefix="hb/", times=1)
    assert pass_time(runtime, watch, SESSION * 0.9) == []  # it began anew
    assert pass_time(runtime, watch, SESSION * 0.5) == ["peer"]


def test_a_store_that_cannot_be_written_is_no_death(runtime: ManualRuntime, store: FaultyStore) -> None:
    """Whoever cannot write says so, for others may not be able to either."""
    peer, watch = Heartbeat(store, "peer"), Watch(store, runtime)
    peer.beat()
    assert pass_time(runtime, watch, SESSION * 0.9) == []
    watch.distrust()
    assert pass_time(runtime, watch, SESSION * 0.9) == []
    assert pass_time(runtime, watch, SESSION * 0.3) == ["peer"]


def test_doubts_that_come_up_during_a_look_count(runtime: ManualRuntime, store: FaultyStore) -> None:
    class Doubtful(WrappedStore):
        def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
            if runtime.monotonic() >= doubt_at:
                watch.distrust()
            return super().get(name, start, end)

    watch = Watch(Doubtful(store), runtime)
    doubt_at = runtime.monotonic() + SESSION * 0.95
    Heartbeat(store, "peer").beat()
    assert pass_time(runtime, watch, SESSION * 1.5) == []


def test_who_stood_still_himself_draws_no_conclusions(runtime: ManualRuntime, store: FaultyStore) -> None:
    watch = Watch(store, runtime)
    Heartbeat(store, "peer").beat()
    assert pass_time(runtime, watch, SESSION * 0.5) == []
    runtime.advance(10 * SESSION)  # SIGSTOP, or the lid of a laptop
    assert pass_time(runtime, watch, SESSION * 0.98) == []
    assert pass_time(runtime, watch, SESSION * 0.1) == ["peer"]


def test_an_answer_that_took_long_says_nothing(runtime: ManualRuntime, store: FaultyStore) -> None:
    class Slow(WrappedStore):
        def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
            value = super().get(name, start, end)
            runtime.advance(SESSION * 0.6)
            return value

    watch = Watch(Slow(store), runtime)
    Heartbeat(store, "peer").beat()
    assert pass_time(runtime, watch, SESSION * 20) == []


def test_sessions_of_several_lengths(runtime: ManualRuntime, store: FaultyStore) -> None:
    watch = Watch(store, runtime)
    sessions = {"short": 6.0, "long": 60.0}
    found: dict[str, float] = {}
    began = runtime.monotonic()
    while len(found) < 2:
        dead, pause = watch.look(sessions)
        for process in dead:
            found.setdefault(process, runtime.monotonic() - began)
        runtime.advance(max(pause, 0.001))
    assert found == {"short": pytest.approx(6.0, abs=0.01), "long": pytest.approx(60.0, abs=0.01)}


def test_each_watches_the_next_two() -> None:
    everybody = ["a", "b", "c", "d", "e"]
    assert next_in_ring(everybody, "b") == ["c", "d"]
    assert next_in_ring(everybody, "d") == ["e", "a"]
    assert next_in_ring(["a", "b", "b"], "a") == ["b"]
    assert next_in_ring(["a"], "a") == []
    watched = [process for me in everybody for process in next_in_ring(everybody, me)]
    assert {watched.count(process) for process in everybody} == {2}
