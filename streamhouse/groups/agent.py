"""The group members of one process: their heartbeat, the watch over others, and work in the background.

Two threads, which run while there is somebody to work for. One writes the heartbeat and does nothing
else, so that a store that is slow to answer something else does not make this process look dead. The other
looks at the heartbeats of the next two processes in the ring of each group, ends the membership of dead
members, commits what was processed, and cleans up memberships of this very process that nobody has a
consumer for (one that could not leave because the store was away, or a static member that did not return).
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Sequence
from typing import Any, Final

from streamhouse.catalog.catalog import Catalog
from streamhouse.commits.groups import GroupState, MemberState
from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Applied
from streamhouse.errors import StreamhouseError
from streamhouse.format.commit import Commit
from streamhouse.format.operations import LeaveGroup
from streamhouse.groups.heartbeat import Heartbeat, Watch, beat_seconds, next_in_ring
from streamhouse.groups.membership import Membership
from streamhouse.groups.options import GroupOptions
from streamhouse.groups.session import Session
from streamhouse.groups.subscription import Subscription
from streamhouse.groups.ticker import Ticker
from streamhouse.read.reading import Reading
from streamhouse.records import Positions
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectStore

_PROCESS_BYTES: Final = 8
_TEND_SECONDS_MAX: Final = 1.0
_IDLE_SECONDS: Final = 3600.0
_REPEAT_SECONDS: Final = 5.0  # until somebody who should leave is told again


class GroupAgent:
    """One per log; owns the threads. Safe to call from any thread."""

    def __init__(self, commits: CommitLog, store: ObjectStore, runtime: Runtime) -> None:
        self.process = runtime.random_bytes(_PROCESS_BYTES).hex()
        self._commits = commits
        self._runtime = runtime
        self._heartbeat = Heartbeat(store, self.process)
        self._watch = Watch(store, runtime)
        self._lock = threading.RLock()  # a signal handler may close a consumer that is just being made
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._lodgers: dict[tuple[str, str], float] = {}  # group and member: session, seconds
        self._dislodged: set[tuple[str, str]] = set()
        self._groups: set[str] = set()  # in which this process has or had members
        self._strays: dict[tuple[str, str], float] = {}  # since when nobody has a consumer for a member
        self._told: dict[tuple[str, str], float] = {}  # when we asked for a member to leave
        self._look_due = float("-inf")
        self._threads: list[Ticker] = []
        self._closed = False

    def session(
        self,
        options: GroupOptions,
        reading: Reading[Any, Any],
        catalog: Catalog,
        start: Positions,
        topics: Sequence[str | re.Pattern[str]] | None,
    ) -> Session:
        """The part of a new consumer in its group; :meth:`register` it when the consumer is complete.

        Args:
            options: How it takes part.
            reading: What it reads.
            catalog: Where topics are looked up.
            start: Where to begin without a committed offset.
            topics: What it subscribes to; ``None``: its partitions are fixed, and it joins nothing.
        """
        membership = None
        if topics is not None:
            membership = Membership(
                self._commits, self._runtime, options, Subscription(topics), self.process, self.wake
            )
        return Session(self._commits, catalog, self._runtime, options, reading, start, membership)

    def register(self, session: Session) -> None:
        """Take care of a consumer from now on; before it proposes to join."""
        with self._lock:
            if self._closed:
                return
            self._sessions.add(session)
            self._groups.add(session.options.group)
            self._start()

    def lodge(self, group: str, member: str, session_seconds: float) -> None:
        """Speak for a member that is no consumer of this process, but somebody else's whom this one serves.

        Call it before the member joins, and :meth:`dislodge` once it has left. Whether it is alive is for the
        caller to find out; here it only counts that this process is.
        """
        with self._lock:
            if not self._closed:
                self._lodgers[group, member] = session_seconds
                self._groups.add(group)
                self._start()
        self.wake()

    def dislodge(self, group: str, member: str) -> None:
        """Speak for it no more.

        One that has not left has its session's time to find somebody else who does.
        """
        with self._lock:
            if self._lodgers.pop((group, member), None) is not None:
                self._dislodged.add((group, member))

    def _start(self) -> None:
        if not self._threads:
            self._commits.listen(self._observe)
            clock = self._runtime.monotonic
            self._threads = [
                Ticker("streamhouse-heartbeat", self.beat, clock),
                Ticker("streamhouse-groups", self.tend, clock),
            ]

    def wake(self) -> None:
        """Somebody is about to join: the heartbeat must not be late."""
        for thread in self._threads:
            thread.wake()

    def unregister(self, session: Session) -> None:
        """The consumer was closed."""
        with self._lock:
            self._sessions.discard(session)
        self.wake()  # it may have left a membership behind

    def close(self) -> None:
        """Stop the threads. Closing twice is fine."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, []
        for thread in threads:
            thread.close()

    # --- heartbeat ---------------------------------------------------------------------------------

    def beat(self) -> float:
        """Show that this process lives, if it has members; seconds until the next time."""
        sessions = [s.options.session_timeout for s in self._registered() if s.joined]
        with self._lock:
            sessions += self._lodgers.values()
        if not sessions:
            return _IDLE_SECONDS
        pause = beat_seconds(min(sessions))
        try:
            self._heartbeat.beat()
        except StreamhouseError:
            self._watch.distrust()  # if we cannot write, the others perhaps cannot either
            return pause / 2
        return pause

    # --- the rest ----------------------------------------------------------------------------------

    def tend(self) -> float:
        """Everything else that is due; seconds until the next time."""
        sessions = self._registered()
        self._clean_up()
        with self._lock:
            groups = {group for group, _ in self._lodgers}
        pause = _TEND_SECONDS_MAX if sessions or groups or self._strays else _IDLE_SECONDS
        for session in sessions:
            pause = min(pause, session.tend())
            session.notice()
        groups |= {session.options.group for session in sessions if session.joined}
        if groups:
            now = self._runtime.monotonic()
            if now >= self._look_due:
                self._look_due = now + self._look_at_peers(groups)
            pause = min(pause, self._look_due - self._runtime.monotonic())
        return max(0.01, pause)

    def _look_at_peers(self, groups: set[str]) -> float:
        peers = self._peers(groups)
        shortest = {process: min(m.session_ms for _, m in members) for process, members in peers.items()}
        dead, pause = self._watch.look({process: ms / 1000 for process, ms in shortest.items()})
        for process in dead:
            silent_ms = self._watch.silent_seconds(process) * 1000
            for group, member in peers[process]:
                if silent_ms >= member.session_ms:
                    self._expel(group, member.id)
        return min(pause, _TEND_SECONDS_MAX)

    def _peers(self, groups: set[str]) -> dict[str, list[tuple[str, MemberState]]]:
        """The processes to watch, and their members in our groups."""
        peers: dict[str, list[tuple[str, MemberState]]] = {}
        with self._commits.lock:
            for name in groups:
                group = self._commits.state.groups.get(name)
                if group is None:
                    continue
                watched = self._watched(group)
                for member in group.members.values():
                    if member.process in watched:
                        peers.setdefault(member.process, []).append((name, member))
        return peers

    def _watched(self, group: GroupState) -> set[str]:
        """The next ones in the ring; all of them as soon as one of these is suspicious.

        A machine that dies takes many processes with it. Watched two at a time, they would be found dead
        two in each session.
        """
        sessions = {member.process: member.session_ms / 1000 for member in group.members.values()}
        sessions.pop(self.process, None)
        watched = next_in_ring(list(sessions), self.process)
        if any(self._watch.suspicious(process, sessions[process]) for process in watched):
            return set(sessions)
        return set(watched)

    def _clean_up(self) -> None:
        """End memberships of this process that nobody has a consumer for."""
        with self._lock:
            dislodged = self._dislodged.copy()
        with self._commits.lock:
            groups = self._commits.state.groups
            mine = [
                (name, member)
                for name in self._groups
                if name in groups
                for member in groups[name].members.values()
                if member.process == self.process
            ]
        # Afterwards: whoever is in the state by now was registered before.
        known = {s.membership.id for s in self._registered() if s.membership is not None}
        with self._lock:
            known |= {member for _, member in self._lodgers}
        now = self._runtime.monotonic()
        strays: dict[tuple[str, str], float] = {}
        for name, member in mine:
            if member.id in known:
                continue
            since = strays[name, member.id] = self._strays.get((name, member.id), now)
            may_return = member.instance or (name, member.id) in dislodged
            if not may_return or now - since >= member.session_ms / 1000:
                self._expel(name, member.id)
        self._strays = strays
        with self._lock:
            self._dislodged -= dislodged - strays.keys()

    def _expel(self, group: str, member: str) -> None:
        now = self._runtime.monotonic()
        if now - self._told.get((group, member), float("-inf")) < _REPEAT_SECONDS:
            return
        self._told = {place: at for place, at in self._told.items() if now - at < _REPEAT_SECONDS}
        self._told[group, member] = now
        self._commits.submit(LeaveGroup(group, member))
        self._commits.urge()

    def _registered(self) -> list[Session]:
        with self._lock:
            return [session for session in self._sessions if not session.forsaken]

    def _observe(self, _applied: Applied, _commit: Commit) -> None:
        for session in self._registered():
            session.notice()
