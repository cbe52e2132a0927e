"""A consumer's part in its group: what it takes on, what it gives back, what it commits meanwhile.

Everything that concerns the application happens on its own thread, inside a poll: joining, callbacks,
taking partitions on and giving them back. The background (:mod:`streamhouse.groups.agent`) only commits what
was processed, ends the membership of a consumer that hangs, and lets an iteration come back for
more records when the group has changed, so that nobody waits for a partition longer than for one record.

A partition is given back in this order: it is handed out no more; ``on_revoke``; the offsets are committed;
``ReleasePartitions``. The last two are one flush, so the next owner starts where this one ended.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, cast

import msgspec

from streamhouse.assignors import TopicPartitionId
from streamhouse.catalog.catalog import Catalog
from streamhouse.commits.log import CommitLog
from streamhouse.errors import (
    DeliveryTimeoutError,
    GroupNotEmptyError,
    InvalidInputError,
    OffsetOutOfRangeError,
    StaleMemberError,
    StreamhouseError,
    TopicNotFoundError,
    topic_deleted,
)
from streamhouse.format.operations import CommitOffsets, OffsetEntry
from streamhouse.groups.membership import Membership, Standing, wait_for
from streamhouse.groups.offsets import GroupOffsets, What
from streamhouse.groups.options import GroupOptions, OnChange
from streamhouse.read.cursor import Cursor
from streamhouse.read.positions import position_for
from streamhouse.read.reading import Reading
from streamhouse.records import Position, Positions, TopicPartition
from streamhouse.runtime import Runtime

_RETRY_SECONDS: Final = 0.1  # the application holds the lock for the moment


class Adopted(msgspec.Struct, frozen=True):
    """A partition that was taken on, and the generation that gave it."""

    name: TopicPartition
    since: int


class Session:
    """One consumer in one group.

    Args:
        commits: The commit log.
        catalog: Where topics are looked up.
        runtime: Clock.
        options: How it takes part.
        reading: What the consumer reads.
        start: Where to begin in partitions without a committed offset.
        membership: Speaks for it; ``None`` when its partitions are fixed and it joins nothing.

    Attributes:
        forsaken: The consumer was dropped without having been closed.
    """

    def __init__(
        self,
        commits: CommitLog,
        catalog: Catalog,
        runtime: Runtime,
        options: GroupOptions,
        reading: Reading[Any, Any],
        start: Positions,
        membership: Membership | None,
    ) -> None:
        self.options = options
        self.forsaken = False
        self.auto_commit = options.auto_commit
        self.membership = membership
        self.offsets = GroupOffsets(commits, catalog, options.group, self._who, self._story)
        self._catalog = catalog
        self._runtime = runtime
        self._reading = reading
        self._start = start
        self._adopted: dict[TopicPartitionId, Adopted] = {}
        self._seen: tuple[int, ...] | None = None  # the token of the last look that left nothing to do
        self._missing: set[str] = set()
        self._complained = False  # of a partition that has no place to start
        self._joining = False  # a proposal is out, or was when something came in between
        self._expelled = ""  # why the background ended the membership
        self._calling_back = 0  # the thread that runs a callback
        self._committing: Future[None] | None = None
        self._commit_due = runtime.monotonic() + options.auto_commit_interval
        self._failure: StreamhouseError | None = None  # of a commit in the background, to be told of
        self._pollers: set[int] = set()  # threads inside a poll
        self._progress = (0, 0)
        self._moved_at = runtime.monotonic()

    @property
    def joined(self) -> bool:
        """Whether it ever became a member, or is about to."""
        return self.membership is not None and bool(self.membership.id)

    # --- polls -------------------------------------------------------------------------------------

    def enter(self) -> None:
        """A poll begins.

        Raises:
            InvalidInputError: It was called by one of the callbacks.
        """
        if self._calling_back == threading.get_ident():
            raise InvalidInputError(
                "on_assign, on_revoke and on_lost cannot poll: they run inside a poll; commit, seek and"
                " position are fine"
            )
        self._pollers.add(threading.get_ident())

    def exit(self) -> None:
        """It ends."""
        self._moved_at = self._runtime.monotonic()
        self._pollers.discard(threading.get_ident())

    def sync(self) -> None:
        """Do what the group asks for: join, give back, take on. Hold the lock of the reading.

        Raises:
            StaleMemberError: Another consumer took over the instance name; this one has to go.
            InconsistentAssignorError: The group deals partitions out in another way.
            TopicNotFoundError: A topic was deleted.
            OffsetOutOfRangeError: A position is not there, and there is no other place to start.
            StreamhouseError: The store fails, or a callback raised.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        membership = self.membership
        if membership is None or (self._seen is not None and self._seen == membership.token()):
            return
        self._seen = None
        while not self._step(membership):
            pass

    def _step(self, membership: Membership) -> bool:
        """One thing of those to do; whether nothing is left."""
        membership.check()  # a callback may have closed the consumer
        standing = membership.look()
        if not standing.member:
            self._join(membership, standing)
            return False
        self._joining = False  # it went through after all, when its outcome was unknown
        if standing.subscribed != standing.topics:
            membership.join(standing.topics, again=True)
            return False
        gone = [id_ for id_, a in self._adopted.items() if standing.owned.get(id_, (None, -1))[1] != a.since]
        if gone:
            self._lose(gone)
            return False
        if standing.to_release:
            self._give_back(membership, standing.to_release)
            return False
        self._take_on(membership, standing)
        self._mind_missing(standing)
        if len(self._adopted) == len(standing.owned):
            self._seen = standing.token
        return True

    def _join(self, membership: Membership, standing: Standing) -> None:
        if standing.fenced and membership.id and not self._joining:
            self._lose(list(self._adopted))
            raise StaleMemberError(
                f"another consumer joined group {self.options.group!r} as instance"
                f" {self.options.instance_id!r} and took over; close this one"
            )
        self._lose(list(self._adopted))
        membership.check()  # on_lost may have closed the consumer
        if not self._joining:
            self._catalog.refresh()  # says at once when the store is away; a proposal would wait for it
            membership.rename()
            self._joining = True
            self._expelled = ""
            standing = membership.look()
        membership.join(standing.topics)

    def _mind_missing(self, standing: Standing) -> None:
        """Tell once of a topic that vanished, and every time when none is left."""
        vanished = not self._missing.issuperset(standing.missing)
        self._missing = set(standing.missing)
        if vanished or (standing.missing and not standing.topics):
            raise topic_deleted(standing.missing[0], "a new consumer reads that one")

    # --- giving back -------------------------------------------------------------------------------

    def _lose(self, ids: Iterable[TopicPartitionId]) -> None:
        """These are not ours any more, without our having been asked."""
        names = self._forget(ids)
        if names:
            self._reading.drop(names)
            self._call(self.options.on_lost, names)

    def _give_back(self, membership: Membership, ids: tuple[TopicPartitionId, ...]) -> None:
        self._reading.take_back()
        names = self._forget(ids)
        try:
            if names:
                self._call(self.options.on_revoke, names)
        finally:
            present = self._reading.cursors  # none, when the callback has closed the consumer
            cursors = [present[name] for name in names if name in present]
            outcome = self._commit_processed({c: self._reading.processed(c) for c in cursors})
            self._reading.drop(names)
            membership.release(ids)
            self._note_outcome(outcome)

    def _forget(self, ids: Iterable[TopicPartitionId]) -> list[TopicPartition]:
        return [self._adopted.pop(id_).name for id_ in list(ids) if id_ in self._adopted]

    def _call(self, callback: OnChange | None, names: list[TopicPartition]) -> None:
        if callback is None or not names:
            return
        outer, self._calling_back = self._calling_back, threading.get_ident()
        self._moved_at = self._runtime.monotonic()
        try:
            callback(sorted(names))
        finally:
            self._calling_back = outer

    # --- taking on ---------------------------------------------------------------------------------

    def _take_on(self, membership: Membership, standing: Standing) -> None:
        membership.generation = standing.generation
        fresh = {id_: owned for id_, owned in standing.owned.items() if id_ not in self._adopted}
        if not fresh:
            return
        cursors: list[Cursor] = []
        failure: StreamhouseError | None = None
        for id_, (name, since) in fresh.items():
            try:
                cursors.append(self.new_cursor(name))
            except StreamhouseError as error:  # the others first
                failure = failure or error
                continue
            self._adopted[id_] = Adopted(name, since)
        self._reading.assign([*self._reading.cursors.values(), *cursors])
        if self._start != "earliest":
            self._commit_due = self._runtime.monotonic()  # whoever is next shall not start elsewhere
        self._call(self.options.on_assign, [cursor.name for cursor in cursors])
        if failure is not None:
            self._complained = not self._complained
            if self._complained:
                raise failure  # every other time, so that the others get their turn

    def new_cursor(self, name: TopicPartition, start: Positions | None = None) -> Cursor:
        """A cursor at the committed offset, else at the start that was asked for."""
        topic = self._catalog.topic(name.topic)
        found = self.offsets.committed(topic.id, name.partition)
        if found is None:
            return self._reading.new_cursor(
                name, position_for(self._start if start is None else start, name.partition)
            )
        try:
            return self._reading.new_cursor(name, found.offset)
        except OffsetOutOfRangeError:
            if self._reading.reset == "error":
                raise
            return self._reading.new_cursor(name, cast(Position, self._reading.reset))

    # --- committing --------------------------------------------------------------------------------

    def commit_operation(self, what: What | None, metadata: str = "") -> CommitOffsets:
        """What a commit says now; the commits in the background will not go back behind it.

        Raises:
            InvalidInputError: It makes no sense.
        """
        with self._reading.lock:
            cursors = self._reading.cursors
            if what is not None:
                operation = self.offsets.of(what, metadata, cursors)
            else:
                positions = {c: self._reading.position(c) for c in cursors.values()}
                operation = self.offsets.of_cursors(positions, metadata)
            said = {(entry.topic, entry.partition): entry.offset for entry in operation.offsets}
            for cursor in cursors.values():
                offset = said.get((cursor.topic.id, cursor.partition))
                if offset is not None:
                    self._reading.note_done(cursor, offset)
            return operation

    def transaction_offsets(self) -> CommitOffsets:
        """The positions, and who we are, for a transaction to commit.

        Before it has joined, a member goes by a name that is refused.
        """
        with self._reading.lock:
            entries = tuple(
                OffsetEntry(cursor.topic.id, cursor.partition, self._reading.position(cursor))
                for cursor in self._reading.cursors.values()
            )
        membership = self.membership
        member = "" if membership is None else membership.id or "not joined"
        generation = 0 if membership is None else membership.generation
        return CommitOffsets(self.options.group, member, generation, entries)

    def commit(self, operation: CommitOffsets) -> None:
        """Carry out a commit, and wait for it.

        Raises:
            StreamhouseError: As :meth:`streamhouse.Consumer.commit` says.
        """
        if operation.offsets or self.membership is not None:
            self.offsets.commit(operation)

    def _commit_processed(self, offsets: Mapping[Cursor, int]) -> Future[None] | None:
        if not self.auto_commit:
            return None
        changed = self.offsets.changed(offsets)
        return self.offsets.submit(self.offsets.of_cursors(changed)) if changed else None

    def _note_outcome(self, outcome: Future[None] | None) -> None:
        """Remember what the user has to hear of; the rest is tried again, or shows in the next poll."""
        if outcome is None or not outcome.done():
            return
        error = outcome.exception()
        if isinstance(error, GroupNotEmptyError):
            self._failure = error

    # --- background --------------------------------------------------------------------------------

    def notice(self) -> None:
        """Look whether something has changed; then an iteration comes back. Runs on the commit thread."""
        membership = self.membership
        if membership is not None and self._seen is not None and self._seen != membership.token():
            self._reading.stop()

    def tend(self) -> float:
        """Commit what is due, and end the membership of a consumer that hangs.

        Returns:
            Seconds until there may be something to do again.
        """
        now = self._runtime.monotonic()
        pause = self._tend_commit(now)
        if self.options.max_poll_interval is not None:
            pause = min(pause, self._tend_progress(now, self.options.max_poll_interval))
        return pause

    def _tend_commit(self, now: float) -> float:
        if not self.auto_commit:
            return float("inf")
        if now < self._commit_due:
            return self._commit_due - now
        if self._committing is not None:
            if not self._committing.done():
                return _RETRY_SECONDS
            self._note_outcome(self._committing)
            self._committing = None
        if not self._reading.lock.acquire(blocking=False):
            return _RETRY_SECONDS
        try:
            processed = {c: self._reading.processed(c) for c in self._reading.cursors.values()}
            self._committing = self._commit_processed(processed)
        finally:
            self._reading.lock.release()
        self._commit_due = now + self.options.auto_commit_interval
        return self.options.auto_commit_interval

    def _tend_progress(self, now: float, interval: float) -> float:
        progress = self._reading.progress
        if (self._pollers and not self._calling_back) or progress != self._progress:
            self._progress = progress
            self._moved_at = now
        late = now - self._moved_at - interval
        if late <= 0:
            return -late + 0.001
        if self._expelled or self.membership is None or not self.membership.id:
            return interval
        self._expelled = f"it did not poll for {interval:g} s (max_poll_interval), so it was taken out"
        self.membership.leave()
        return interval

    # --- end ---------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Let a poll that waits for the group in another thread go."""
        if self.membership is not None:
            self.membership.closing = True

    def desert(self) -> None:
        """Leave without a commit and without callbacks: another thread is in the middle of a poll."""
        if self.membership is not None and self.membership.id:
            self.membership.leave()
            self.membership.urge()

    def close(self, *, finished: bool, timeout: float) -> None:
        """Commit, give everything back and leave; a static member stays in the group.

        Args:
            finished: What was handed out last is processed.
            timeout: Seconds to wait for the store.

        Raises:
            StreamhouseError: The offsets could not be committed.
        """
        reading, membership = self._reading, self.membership
        if finished:
            reading.settle()
        else:
            reading.take_back()
        outcomes: list[Future[Any]] = []
        try:
            if membership is not None and membership.id:
                self._say_goodbye(membership)
        finally:
            processed = {c: reading.processed(c) for c in reading.cursors.values()}
            commit = self._commit_processed(processed)
            if commit is not None:
                outcomes.append(commit)
            if membership is not None and membership.id and not self.options.instance_id:
                outcomes.append(membership.leave())
            self._adopted.clear()
            if outcomes:
                self._await(outcomes, timeout)

    def _say_goodbye(self, membership: Membership) -> None:
        standing = membership.look()
        still = [id_ for id_, a in self._adopted.items() if standing.owned.get(id_, (None, -1))[1] == a.since]
        self._lose([id_ for id_ in self._adopted if id_ not in still])
        self._call(self.options.on_revoke, [self._adopted[id_].name for id_ in still])

    def _await(self, outcomes: list[Future[Any]], timeout: float) -> None:
        self.offsets.urge()
        deadline = self._runtime.monotonic() + timeout

        def check() -> None:
            if self._runtime.monotonic() > deadline:
                raise DeliveryTimeoutError(
                    f"the store gave no answer within {timeout:g} s; the offsets of group"
                    f" {self.options.group!r} were perhaps not committed"
                )

        for outcome in outcomes:
            # Else the records since the last commit come again, to whoever has the partition now.
            with suppress(StaleMemberError, TopicNotFoundError):
                wait_for(outcome, check)

    # --- who we are --------------------------------------------------------------------------------

    def _who(self) -> tuple[str, int]:
        if self.membership is None:
            return "", 0
        if not self.membership.id:
            raise StaleMemberError(
                f"nothing was committed: this consumer has not joined group {self.options.group!r} yet; poll"
                " first"
            )
        return self.membership.id, self.membership.generation

    def _story(self) -> str:
        if self._expelled:
            return self._expelled
        if self.membership is not None and self.membership.fenced():
            return f"another consumer took over as instance {self.options.instance_id!r}"
        return (
            f"it was found dead, since its process gave no sign of life for"
            f" {self.options.session_timeout:g} s (session_timeout)"
        )
