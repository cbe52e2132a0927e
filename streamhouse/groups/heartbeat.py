"""Showing that this process lives, and noticing that another one does not.

Each process overwrites one small object with a counter. There is no clock that all agree on, so an
observer uses its own: a peer whose counter has not moved for the whole session is dead. Three things must
not be taken for death, for they hit everybody at once and the members would throw each other out:

* The store cannot be read or written. A peer that could not write shows no movement either.
* The observer itself stood still (a stopped process, a suspended machine): its peers may have, too.
* A peer that was never looked at before. Its time begins with the first look.

In all three the observation begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from streamhouse.errors import ObjectNotFoundError, StreamhouseError
from streamhouse.format import names
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectStore

WATCHED: Final = 2  # processes that each one watches: costs grow with the group, not with its square
# A PUT costs as much as twelve GETs, so it is by looking more often, not by beating more often, that a
# death is noticed sooner: a sixth of the session after it has passed, at the latest.
_BEATS_PER_SESSION: Final = 4
_BEAT_SECONDS_MIN: Final = 0.1
_LOOKS_PER_SESSION: Final = 6
_SUSPICIOUS: Final = 0.3  # of a session without movement: a beat is overdue
_GAP: Final = 0.5  # of a session without a look: the observer was away


class Heartbeat:
    """The counter of this process in the store."""

    def __init__(self, store: ObjectStore, process: str) -> None:
        self._store = store
        self._name = names.heartbeat(process)
        self._counter = 0

    def beat(self) -> None:
        """Write the next number.

        Raises:
            StoreError: It could not be written.
        """
        self._counter += 1
        self._store.put(self._name, [b"%d" % self._counter])


class Watch:
    """What is known of the heartbeats of other processes."""

    def __init__(self, store: ObjectStore, runtime: Runtime) -> None:
        self._store = store
        self._runtime = runtime
        self._seen: dict[str, _Seen] = {}
        self._doubts = 0
        self._settled = 0

    def distrust(self) -> None:
        """What was seen so far says nothing: begin anew. From any thread."""
        self._doubts += 1

    def look(self, sessions: Mapping[str, float]) -> tuple[list[str], float]:
        """Read the heartbeats that are due.

        Args:
            sessions: The processes to watch, with the shortest session of their members, seconds.

        Returns:
            The processes whose session has passed without a beat, and the seconds until the next look.
        """
        doubts = self._doubts
        if doubts != self._settled:
            self._settled = doubts
            self._seen.clear()
        for process in self._seen.keys() - sessions.keys():
            del self._seen[process]
        pause = float("inf")
        dead = []
        for process, session in sessions.items():
            seen = self._seen.get(process)
            if seen is None or seen.due <= self._runtime.monotonic():
                seen = self._read(process, session, seen)
            if seen is None:
                self.distrust()
                return [], session / _LOOKS_PER_SESSION
            if seen.looked - seen.since >= session:
                dead.append(process)
            pause = min(pause, seen.due - self._runtime.monotonic())
        if doubts != self._doubts:
            return [], max(0.0, pause)  # while we were looking
        return dead, max(0.0, pause)

    def silent_seconds(self, process: str) -> float:
        """For how long a process is known to have shown no movement."""
        seen = self._seen.get(process)
        return 0.0 if seen is None else seen.looked - seen.since

    def suspicious(self, process: str, session: float) -> bool:
        """Whether it is likely to be found dead."""
        return self.silent_seconds(process) >= session * _SUSPICIOUS

    def _read(self, process: str, session: float, before: _Seen | None) -> _Seen | None:
        """What is seen now; ``None`` when the store does not say."""
        asked = self._runtime.monotonic()
        try:
            counter = self._store.get(names.heartbeat(process))
        except ObjectNotFoundError:
            counter = b""  # not written yet, or removed: no movement
        except StreamhouseError:
            return None
        answered = self._runtime.monotonic()
        if (
            before is None
            or before.counter != counter
            or asked - before.looked > session * _GAP
            or answered - asked > session * _GAP
        ):
            since = answered
        else:
            since = before.since
        due = asked + session / _LOOKS_PER_SESSION
        if since + session > asked:
            due = min(due, since + session)
        self._seen[process] = seen = _Seen(counter, since, max(asked, since), due)
        return seen


class _Seen:
    """A counter, since when it is the same, when that was last looked at and when to look again."""

    __slots__ = ("counter", "due", "looked", "since")

    def __init__(self, counter: bytes, since: float, looked: float, due: float) -> None:
        self.counter = counter
        self.since = since
        self.looked = looked
        self.due = due


def beat_seconds(session_seconds: float) -> float:
    """How often a process shows that it lives."""
    return max(_BEAT_SECONDS_MIN, session_seconds / _BEATS_PER_SESSION)


def next_in_ring(processes: Sequence[str], me: str) -> list[str]:
    """The processes that follow one in the ring of all: those that it watches."""
    ring = sorted({*processes, me})
    place = ring.index(me)
    following = ring[place + 1 :] + ring[:place]
    return following[:WATCHED]
