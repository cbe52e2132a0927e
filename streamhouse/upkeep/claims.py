"""Who rewrites a partition now: one worker at a time, so that no work is done twice.

Safety does not rest on it (a replacement counts only while its sources are in place). So a claim needs no
heartbeat: a worker renews it now and then, and one that has not moved for ten minutes is taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Code, Verdict
from streamhouse.errors import ClosedError, PartitionNotFoundError, TopicNotFoundError
from streamhouse.format import names
from streamhouse.format.operations import ClaimCompaction, Cleaned
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectStore
from streamhouse.upkeep.survey import Survey

_SILENT_SECONDS: Final = 600.0
_WORKER_BYTES: Final = 8

Expired = Callable[[int], bool]
"""Whether a claim made in that commit is so old that its worker must be gone."""


class Claims:
    """The claims of one process.

    Attributes:
        worker: Its name.
    """

    def __init__(self, commits: CommitLog, store: ObjectStore, runtime: Runtime) -> None:
        self.worker = runtime.random_bytes(_WORKER_BYTES).hex()
        self._commits = commits
        self._store = store
        self._runtime = runtime
        self._seen: dict[tuple[int, int], tuple[int, float]] = {}

    def take(self, wanted: Sequence[Survey], *, by_store: bool) -> list[bool]:
        """Claim partitions; which of them were had.

        Args:
            wanted: The partitions.
            by_store: Tell the age of others' claims by the store's clock, for who asks once and does not
                come again. Else it is how long this process has seen them.
        """
        expired = self._expired_by_store() if by_store else None
        answers: list[Future[Verdict] | None] = []
        for seen in wanted:
            instead_of = self._instead_of(seen, expired)
            if instead_of is None:
                answers.append(None)
                continue
            operation = ClaimCompaction(seen.topic, seen.number, self.worker, instead_of)
            answers.append(self._commits.submit(operation))
        self._commits.urge()
        try:
            return [answer is not None and _accepted(answer) for answer in answers]
        except BaseException:
            # Some may have gone through all the same; giving back what one does not have does no harm.
            for seen, answer in zip(wanted, answers, strict=True):
                if answer is not None:
                    self.release(seen)
            raise

    def renew(self, seen: Survey) -> bool:
        """Claim a partition that is ours once more; whether it still is."""
        operation = ClaimCompaction(seen.topic, seen.number, self.worker, 0)
        return self._commits.propose(operation).code is Code.ACCEPTED

    def release(self, seen: Survey, cleaned_before: int = 0) -> None:
        """Give a partition back; does not wait.

        Args:
            seen: The partition.
            cleaned_before: Below that offset each key occurs once now; 0: nothing to say.
        """
        with suppress(ClosedError):  # then others take over in ten minutes
            self._commits.submit(Cleaned(seen.topic, seen.number, self.worker, cleaned_before))
            self._commits.urge()

    def _instead_of(self, seen: Survey, expired: Expired | None) -> int | None:
        """The claim to take over, 0 for none; ``None``: somebody is at work."""
        claim = seen.partition.claim
        if claim is None or claim[0] == self.worker:
            return 0
        where = seen.topic, seen.number
        now = self._runtime.monotonic()
        known, since = self._seen.get(where, (0, now))
        if known != claim[1]:
            since = now
        self._seen[where] = claim[1], since
        old = expired(claim[1]) if expired is not None else now - since >= _SILENT_SECONDS
        return claim[1] if old else None

    def _expired_by_store(self) -> Expired:
        now_ms: int | None = None

        def expired(seq: int) -> bool:
            nonlocal now_ms
            made = self._store.head(names.commit(seq))
            if made is None:
                return True  # commits are deleted after an hour at the earliest
            if now_ms is None:
                now_ms = self._store_time_ms()
            return now_ms - made.modified_ms >= _SILENT_SECONDS * 1000

        return expired

    def _store_time_ms(self) -> int:
        name = names.clock(self.worker)
        self._store.put(name, [b"now"])
        info = self._store.head(name)
        return 0 if info is None else info.modified_ms


def _accepted(answer: Future[Verdict]) -> bool:
    try:
        return answer.result().code is Code.ACCEPTED
    except (TopicNotFoundError, PartitionNotFoundError):
        return False
