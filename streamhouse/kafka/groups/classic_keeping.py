"""What a classic group notes in the log, one thing at a time, and what waits for it.

The latest that is to be noted counts: while one content is on its way, later ones take each other's place,
and whatever waits for any of them waits for the one that goes next.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from streamhouse.format.operations import ClassicGroup as KeptGroup
from streamhouse.kafka.groups.classic_messages import Answer, Keep, LeaveAnswer
from streamhouse.kafka.protocol.errors import ErrorCode

Then = Callable[[float], None]


class Keeping:
    """The contents of one group on their way to the log.

    Args:
        content: What is in the log now.

    Attributes:
        generation: The one in the log.
        instances: The ids of static members in the log, by their names.
    """

    def __init__(self, content: KeptGroup | None) -> None:
        self.generation = 0 if content is None else content.generation
        self.instances = _instances(content)
        self._going = _Cargo()
        self._next = _Cargo()

    @property
    def busy(self) -> bool:
        """Whether something is on its way."""
        return self._going.content is not None

    def keep(self, content: KeptGroup, then: Then | None = None) -> Keep | None:
        """Have a content noted.

        Args:
            content: How things stand.
            then: What is to be done once it is durable.

        Returns:
            What the log has to be given now; ``None`` if something is on its way.
        """
        self._next.content = content
        if then is not None:
            self._next.then.append(then)
        return None if self.busy else self._send()

    def hold(self, answer: Answer) -> Answer | None:
        """Let an answer wait until all that is to be noted is durable; the answer, if nothing is."""
        last = self._going if self._next.content is None else self._next
        if last.content is None:
            return answer
        last.answers.append(answer)
        return None

    def kept(self, now: float) -> tuple[list[Answer], Keep | None]:
        """What was on its way is durable: the answers that waited for it, and what the log is given next."""
        arrived, self._going = self._going, _Cargo()
        assert arrived.content is not None, "nothing was on its way to the log"
        self.generation = arrived.content.generation
        self.instances = _instances(arrived.content)
        for then in arrived.then:
            then(now)
        more = not self.busy and self._next.content is not None
        return arrived.answers, self._send() if more else None

    def abandon(self, error: ErrorCode) -> list[Answer]:
        """Note nothing any more: what those are told who waited for it."""
        held = [*self._going.answers, *self._next.answers]
        self._going, self._next = _Cargo(), _Cargo()
        return [msgspec.structs.replace(answer, response=LeaveAnswer(error)) for answer in held]

    def _send(self) -> Keep:
        self._going, self._next = self._next, _Cargo()
        assert self._going.content is not None
        return Keep(self._going.content)


class _Cargo:
    """A content, and what waits for it. Only LeaveGroup is answered out of here."""

    __slots__ = ("answers", "content", "then")

    def __init__(self) -> None:
        self.content: KeptGroup | None = None
        self.then: list[Then] = []
        self.answers: list[Answer] = []


def _instances(content: KeptGroup | None) -> dict[str, str]:
    members = () if content is None else content.members
    return {member.instance: member.id for member in members if member.instance}
