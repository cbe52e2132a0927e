"""The clients of the newer protocol that a gateway speaks for, and what the log knows of them.

What the log knows is looked up under the lock of the commits, a look-up at a time; who is there is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from streamhouse.commits.groups import GroupState, MemberState
from streamhouse.kafka.groups.consumer_messages import Beat, Place
from streamhouse.kafka.groups.patterns import Pattern
from streamhouse.kafka.parts import Parts

_NOT_YET: Final = (-1,)


class ConsumerMember:
    """A client that this gateway speaks for."""

    __slots__ = (
        "assigned",
        "client_id",
        "epoch",
        "group",
        "heard_at",
        "host",
        "id",
        "instance",
        "may_see",
        "owned",
        "pattern",
        "rebalance_seconds",
        "revoking_since",
        "topics",
        "working",
    )

    def __init__(self, beat: Beat, now: float) -> None:
        self.group = beat.group
        self.id = beat.member
        self.instance = beat.instance
        self.epoch = 0
        self.heard_at = now
        self.client_id = beat.client_id
        self.host = beat.host
        self.rebalance_seconds = 300.0
        self.topics: tuple[str, ...] = ()
        self.pattern: Pattern | None = None
        self.may_see = beat.may_see  # with the rights of who spoke last
        self.owned: frozenset[Place] = frozenset()
        self.assigned: frozenset[Place] | None = None  # what it was told last
        self.revoking_since: float | None = None
        self.working = asyncio.Lock()  # one exchange at a time


class ConsumerMembers:
    """Those of one gateway. On its loop only.

    Args:
        parts: The gateway's.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._members: dict[tuple[str, str], ConsumerMember] = {}

    def __iter__(self) -> Iterator[ConsumerMember]:
        return iter(list(self._members.values()))  # they may come and go meanwhile

    @property
    def session_seconds(self) -> float:
        """How long one may be silent."""
        return self._parts.settings.consumer_session_timeout_ms / 1000

    def find(self, group: str, member: str) -> ConsumerMember | None:
        """A client. Takes no lock."""
        return self._members.get((group, member))

    def namesake(self, beat: Beat) -> ConsumerMember | None:
        """Another client of the same instance."""
        for (group, id_), member in self._members.items():
            same = group == beat.group and member.instance == beat.instance
            if beat.instance and same and id_ != beat.member:
                return member
        return None

    def add(self, member: ConsumerMember) -> None:
        """Speak for a client from now on."""
        self._members[member.group, member.id] = member
        self._parts.agent.lodge(member.group, member.id, self.session_seconds)

    def forget(self, member: ConsumerMember) -> None:
        """Speak for it no more."""
        self._members.pop((member.group, member.id), None)
        self._parts.agent.dislodge(member.group, member.id)

    def forget_all(self) -> None:
        """Speak for nobody any more."""
        for member in self:
            self.forget(member)

    # --- what the log knows ------------------------------------------------------------------------

    def group_of(self, member: ConsumerMember) -> GroupState | None:
        """The group, if it is a member of it."""
        with self._parts.commits.lock:
            group = self._parts.commits.state.groups.get(member.group)
            return group if group is not None and member.id in group.members else None

    def wanted(self, member: ConsumerMember) -> tuple[int, ...]:
        """The topics that its subscription means now.

        A pattern means those that it may know of, as with Kafka. Who names a topic was asked for the right.
        """
        pattern = member.pattern
        with self._parts.commits.lock:
            topic_ids = self._parts.commits.state.topic_ids
            ids = {topic_ids[name] for name in member.topics if name in topic_ids}
            others = [] if pattern is None else list(topic_ids.items())
        if pattern is not None:
            ids.update(id_ for name, id_ in others if pattern.matches(name) and member.may_see(name))
        return tuple(sorted(ids))

    def subscribed(self, member: ConsumerMember) -> tuple[int, ...]:
        """The topics that it subscribes to by way of this gateway, as the log has it."""
        with self._parts.commits.lock:
            present = self._in_log(member.group, member.id)
            mine = present is not None and present.process == self._parts.agent.process
            return present.topics if present is not None and mine else _NOT_YET

    def spoken_for_elsewhere(self, member: ConsumerMember) -> bool:
        """Whether another gateway speaks for a client since it was here."""
        with self._parts.commits.lock:
            present = self._in_log(member.group, member.id)
            return present is not None and present.process != self._parts.agent.process

    def is_in_log(self, group: str, member: str) -> bool:
        """Whether there is such a member, with whichever gateway."""
        with self._parts.commits.lock:
            return self._in_log(group, member) is not None

    def topics_in_log(self, group: str, member: str) -> tuple[str, ...]:
        """What it subscribes to, as far as the log knows: names of topics that are there."""
        with self._parts.commits.lock:
            state = self._parts.commits.state
            ids = state.groups[group].members[member].topics
            return tuple(state.topics[id_].name for id_ in ids if id_ in state.topics)

    def _in_log(self, group: str, member: str) -> MemberState | None:
        """A member as the log has it; whoever asks holds the lock."""
        found = self._parts.commits.state.groups.get(group)
        return None if found is None else found.members.get(member)
