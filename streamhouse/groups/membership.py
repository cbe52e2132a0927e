"""One member of one group, as the log knows it: joining, standing, releasing, leaving."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import msgspec

from streamhouse.assignors import TopicPartitionId
from streamhouse.commits.groups import GroupState
from streamhouse.commits.log import CommitLog
from streamhouse.commits.state import State
from streamhouse.commits.verdicts import Code, Verdict
from streamhouse.errors import ClosedError, GroupError, InconsistentAssignorError
from streamhouse.format.operations import JoinGroup, LeaveGroup, ReleasePartitions
from streamhouse.groups.options import GroupOptions
from streamhouse.groups.subscription import Subscription, topics_token
from streamhouse.records import TopicPartition
from streamhouse.runtime import Runtime

T = TypeVar("T")

_MEMBER_BYTES: Final = 8
_WAIT_SLICE_SECONDS: Final = 0.1

Token = tuple[int, int, int]
"""Differs whenever something happened that may concern a member."""


class Standing(msgspec.Struct, frozen=True):
    """What the log says of a member at one moment.

    Attributes:
        token: The moment.
        member: Whether it is one.
        fenced: Another consumer goes by its instance name.
        generation: Of the group.
        owned: What it may work on, and since which generation.
        to_release: The part of that which it has to give back.
        topics: What its subscription means now.
        subscribed: What the log believes that it means.
        missing: Names of topics that do not exist.
    """

    token: Token
    member: bool = False
    fenced: bool = False
    generation: int = 0
    owned: dict[TopicPartitionId, tuple[TopicPartition, int]] = {}
    to_release: tuple[TopicPartitionId, ...] = ()
    topics: tuple[int, ...] = ()
    subscribed: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()


class Membership:
    """Speaks for one consumer with the commit log; decides nothing.

    Args:
        commits: The commit log.
        runtime: Randomness.
        options: How it takes part.
        subscription: What it wants.
        process: Whose heartbeat speaks for it.
        announce: Called before it joins under a new name.

    Attributes:
        id: Name of the member, new for each time it joins; empty before the first time.
        generation: The one of the group in which it took its partitions on.
        closing: Whoever waits in here shall stop.
    """

    def __init__(
        self,
        commits: CommitLog,
        runtime: Runtime,
        options: GroupOptions,
        subscription: Subscription,
        process: str,
        announce: Callable[[], None],
    ) -> None:
        self.options = options
        self.subscription = subscription
        self.id = ""
        self.generation = 0
        self.closing = False
        self._commits = commits
        self._runtime = runtime
        self._process = process
        self._announce = announce

    # --- looking -----------------------------------------------------------------------------------

    def token(self) -> Token:
        """Where things stand. Call it with the lock of the state, or on the thread that folds."""
        state = self._commits.state
        return self._token(state, state.groups.get(self.options.group))

    def look(self) -> Standing:
        """Everything about this member, of one moment."""
        with self._commits.lock:
            state = self._commits.state
            group = state.groups.get(self.options.group)
            token = self._token(state, group)
            topics = self.subscription.topics(state)
            missing = tuple(self.subscription.missing(state))
            if group is None or self.id not in group.members:
                instance = group.static_member(self.options.instance_id or "") if group else None
                return Standing(token, fenced=instance is not None, topics=topics, missing=missing)
            return Standing(
                token,
                member=True,
                generation=group.generation,
                owned=_owned(state, group, self.id),
                to_release=tuple(group.to_release(self.id)),
                topics=topics,
                subscribed=group.members[self.id].topics,
                missing=missing,
            )

    def fenced(self) -> bool:
        """Whether another consumer goes by its instance name. Call it like :meth:`token`."""
        group = self._commits.state.groups.get(self.options.group)
        namesake = None if group is None else group.static_member(self.options.instance_id or "")
        return namesake is not None and namesake.id != self.id

    def _token(self, state: State, group: GroupState | None) -> Token:
        return (0 if group is None else group.changed_seq, *topics_token(state))

    # --- acting ------------------------------------------------------------------------------------

    def rename(self) -> None:
        """Be somebody new at the next :meth:`join`: the old name is burnt."""
        self.id = self._runtime.random_bytes(_MEMBER_BYTES).hex()
        self._announce()

    def join(self, topics: tuple[int, ...], *, again: bool = False) -> None:
        """Become a member, or change what it subscribes to. May be repeated when the outcome is unknown.

        Args:
            topics: What it subscribes to.
            again: It is a member. If it is none any more, nothing happens.

        Raises:
            InconsistentAssignorError: The other members use another assignor.
            GroupError: The group is one of Kafka clients who deal out among themselves.
            StreamhouseError: The store fails.
        """
        options = self.options
        verdict = self._propose(
            JoinGroup(
                options.group,
                self.id,
                self._process,
                options.instance_id or "",
                options.assignor,
                round(options.session_timeout * 1000),
                topics,
                again,
            )
        )
        if again and verdict.code is Code.UNKNOWN_MEMBER:
            return  # it will find out
        if verdict.code is Code.OTHER_PROTOCOL:
            raise GroupError(
                f"group {options.group!r} has members that are Kafka clients of the classic protocol; stop"
                " them first, let them use group.protocol=consumer, or take another group"
            )
        if verdict.code is Code.OTHER_ASSIGNOR:
            with self._commits.lock:
                group = self._commits.state.groups.get(options.group)
                theirs = "another one" if group is None else repr(group.assignor)
            raise InconsistentAssignorError(
                f"the members of group {options.group!r} deal partitions out with {theirs}, not with"
                f" {options.assignor!r}; use the same assignor, or stop them all first"
            )
        if verdict.code is not Code.ACCEPTED:
            raise GroupError(f"group {options.group!r} could not be joined ({verdict.code.name.lower()})")

    def release(self, partitions: tuple[TopicPartitionId, ...]) -> None:
        """Give partitions back; harmless if they are not ours any more."""
        self._propose(ReleasePartitions(self.options.group, self.id, partitions))

    def leave(self) -> Future[Any]:
        """End the membership. Does not block."""
        return self._commits.submit(LeaveGroup(self.options.group, self.id))

    def urge(self) -> None:
        """Somebody waits for what was submitted."""
        self._commits.urge()

    def _propose(self, operation: JoinGroup | ReleasePartitions) -> Verdict:
        self._commits.check_may_wait()
        future: Future[Verdict] = self._commits.submit(operation)
        self._commits.urge()
        return wait_for(future, self.check)

    def check(self) -> None:
        """Between the slices of a wait.

        Raises:
            ClosedError: The consumer is being closed.
        """
        if self.closing:
            raise ClosedError("the consumer was closed meanwhile; make a new one")


def go_on() -> None:
    """Wait for ever."""


def wait_for(future: Future[T], check: Callable[[], None] = go_on) -> T:
    """The result; in slices, so that Ctrl-C and a closing thread get through.

    Args:
        future: What to wait for.
        check: Called between the slices; raises to give up.
    """
    while True:
        try:
            return future.result(timeout=_WAIT_SLICE_SECONDS)
        except TimeoutError:
            if future.done():
                return future.result()
            check()


def _owned(
    state: State, group: GroupState, member: str
) -> dict[TopicPartitionId, tuple[TopicPartition, int]]:
    return {
        (topic, partition): (
            TopicPartition(state.topics[topic].name, partition),
            group.owners[topic, partition][1],
        )
        for topic, partition in group.owned(member)
        if topic in state.topics
    }
