"""Finding out that a whole group is dead, when an administrator wants to change it.

Members watch each other's heartbeats. Once the last one is dead nobody watches, and the group would
have members for ever whom nobody can stop. So whoever wants to reset or delete it looks at when the
heartbeats were written last. That is an age by the clock of the store, which dates both them and an
object written now. A machine that was suspended wakes up with old heartbeats, and a process that is
just joining has none yet; so they are given the time of one more beat.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from streamhouse.commits.fold_entries import ANY_VERSION
from streamhouse.commits.log import CommitLog
from streamhouse.errors import ObjectNotFoundError
from streamhouse.format import names
from streamhouse.format.gateways import PREFIX, ROLL_CALL, decode_gateway
from streamhouse.format.operations import LeaveGroup, SetEntry
from streamhouse.groups.heartbeat import beat_seconds
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectStore

_NAME_BYTES: Final = 8
_GRAIN_MS: Final = 1000  # S3 dates objects to the second
_BEATS_WAITED: Final = 1.5
_ANSWER_LOOK_SECONDS: Final = 0.05


class RollCall:
    """Asks for members of a group who are alive.

    Args:
        commits: The commit log.
        store: Where the heartbeats are.
        runtime: Randomness.
    """

    def __init__(self, commits: CommitLog, store: ObjectStore, runtime: Runtime) -> None:
        self._commits = commits
        self._store = store
        self._runtime = runtime

    def nobody_answers(self, sessions: Mapping[str, float]) -> bool:
        """Whether all of these processes are dead. Says so only after waiting for one more beat.

        Args:
            sessions: The processes, each with the longest session of its members, seconds.

        Raises:
            StoreError: The store does not say.
        """
        before = self._last_beats(sessions)
        now_ms = self._store_time_ms()
        for process, beat_ms in before.items():
            if beat_ms is not None and now_ms - beat_ms <= sessions[process] * 1000 + _GRAIN_MS:
                return False
        time.sleep(_BEATS_WAITED * max(map(beat_seconds, sessions.values())))
        return self._last_beats(sessions) == before

    def no_gateway_answers(self) -> bool:
        """Whether no gateway lives that could speak for members of classic groups; likewise.

        Raises:
            StoreError: The store does not say.
        """
        with self._commits.lock:
            entries = self._commits.state.entries.items()
            found = [decode_gateway(value) for name, (_, value) in entries if name.startswith(PREFIX)]
        sessions = {entry.process: entry.session_ms / 1000 for entry in found if entry is not None}
        if not sessions:
            return True
        before = self._counters(sessions)
        self._commits.propose(SetEntry(ROLL_CALL, b"", ANY_VERSION))
        deadline = self._runtime.monotonic() + max(sessions.values())
        while self._runtime.monotonic() < deadline:
            time.sleep(_ANSWER_LOOK_SECONDS)
            if self._counters(sessions) != before:
                return False
        return True

    def strike_off(self, group: str, members: Iterable[str]) -> None:
        """End these memberships; no harm if somebody else did."""
        leaving = [self._commits.submit(LeaveGroup(group, member)) for member in members]
        self._commits.urge()
        for future in leaving:
            future.result()

    def _last_beats(self, processes: Iterable[str]) -> dict[str, int | None]:
        found = {process: self._store.head(names.heartbeat(process)) for process in processes}
        return {process: None if info is None else info.modified_ms for process, info in found.items()}

    def _counters(self, processes: Iterable[str]) -> list[bytes]:
        """What heartbeats say. Their dates would not do: S3 has them to the second."""
        found = []
        for process in processes:
            try:
                found.append(self._store.get(names.heartbeat(process)))
            except ObjectNotFoundError:
                found.append(b"")
        return found

    def _store_time_ms(self) -> int:
        name = names.clock(self._runtime.random_bytes(_NAME_BYTES).hex())
        self._store.put(name, [b"now"])
        info = self._store.head(name)
        self._store.delete_many([name])
        return 0 if info is None else info.modified_ms  # 0: all heartbeats look young
