"""Whether other agents write right now, and whose turn it is to commit."""

from __future__ import annotations

from streamhouse.commits.fold import Applied
from streamhouse.format.commit import Commit
from streamhouse.runtime import Runtime

_CONTENDED_SECONDS = 10.0  # how long a lost race is remembered
_COMPANY_SECONDS = 3.0  # how long a flush of another agent keeps us from going alone
_LIVE_SECONDS = 10.0  # how long an agent counts as live after its last flush


class Contention:
    """What was seen of the other agents, by our own clock."""

    def __init__(self, runtime: Runtime) -> None:
        self.progress_at = float("-inf")  # when the log last moved
        self._runtime = runtime
        self._lost_at = float("-inf")
        self._seen: dict[str, float] = {}

    def observe(self, applied: Applied, commit: Commit) -> None:
        """Take note of a commit that was folded."""
        now = self.progress_at = self._runtime.monotonic()
        for agent, _, _ in applied.verdicts:
            self._seen[agent] = now
        if len({flush.agent for flush in commit.flushes}) > 1:
            self._lost_at = now  # others cut: they contend, so we had better use our lane too

    def lost(self) -> None:
        """Take note of a slot that somebody else had."""
        self._lost_at = self._runtime.monotonic()

    def active(self, own: str) -> bool:
        """Whether to share: races were lost lately, or others write just now.

        Whoever wins every race does not notice the losers; it must make room when it sees one.
        """
        now = self._runtime.monotonic()
        return now - self._lost_at < _CONTENDED_SECONDS or any(
            agent != own and now - seen < _COMPANY_SECONDS for agent, seen in self._seen.items()
        )

    def live(self, own: str) -> list[str]:
        """Agents that wrote lately and ourselves, in an order on which all agree."""
        horizon = self._runtime.monotonic() - _LIVE_SECONDS
        for agent in [agent for agent, seen in self._seen.items() if seen < horizon]:
            del self._seen[agent]
        return sorted({*self._seen, own})
