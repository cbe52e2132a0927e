"""Drives a classic group by hand: a clock that tests move, a log that answers when they want, and clients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from streamhouse.format.operations import ClassicGroup as KeptGroup
from streamhouse.kafka.groups.classic import ClassicGroup
from streamhouse.kafka.groups.classic_messages import (
    Answer,
    Effect,
    HeartbeatAnswer,
    HeartbeatRequest,
    JoinAnswer,
    JoinRequest,
    Keep,
    LeaveAnswer,
    Leaver,
    Response,
    SyncAnswer,
    SyncRequest,
    Wake,
)
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.settings import make_gateway_settings

RANGE = (("range", b"topics"),)
NONE = ErrorCode.none
REBALANCE = ErrorCode.rebalance_in_progress
UNKNOWN = ErrorCode.unknown_member_id
ILLEGAL = ErrorCode.illegal_generation
FENCED = ErrorCode.fenced_instance_id
INCONSISTENT = ErrorCode.inconsistent_group_protocol
FULL = ErrorCode.group_max_size_reached


class Log:
    """What coordinators keep. Only the present one may."""

    def __init__(self, content: KeptGroup | None = None) -> None:
        self.content = content
        self.coordinator = 0
        self.history = [] if content is None else [content]

    def keep(self, coordinator: int, content: KeptGroup) -> bool:
        if coordinator != self.coordinator:
            return False
        self.content = content
        self.history.append(content)
        return True


class Driver:
    """One coordinator. Requests return a token, by which their answer is found once there is one."""

    def __init__(
        self, log: Log | None = None, *, prompt: bool = True, now: float = 1000.0, **values: Any
    ) -> None:
        self.log = log or Log()
        self.prompt = prompt  # the log answers at once
        self.now = now
        self.values = values
        self.settings = make_gateway_settings(values)
        self.answers: dict[int, Response] = {}
        self.asked = 0
        self.going: KeptGroup | None = None
        self.leader = ""
        self.wake_at = math.inf
        self.number = self.log.coordinator = self.log.coordinator + 1
        succeeds = self.number > 1
        self.group = ClassicGroup.restore("group", self.log.content, self.settings, now, succeeds=succeeds)
        self.do(self.group.tick(now))

    # --- effects ---------------------------------------------------------------------------------------

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Answer(token, response):
                    assert isinstance(token, int)
                    assert token not in self.answers, "answered twice"
                    self.answers[token] = response
                    if isinstance(response, JoinAnswer) and response.error is NONE:
                        self.leader = response.leader
                case Keep(content):
                    assert self.going is None, "two contents on their way"
                    self.going = content
                case Wake(at):
                    assert at >= self.now, "too late to wake up"
                    self.wake_at = at
        if self.prompt and self.going is not None:
            self.accept()

    def accept(self) -> None:
        """The log takes what is on its way, or has another coordinator by now."""
        content, self.going = self.going, None
        assert content is not None
        if self.log.keep(self.number, content):
            self.do(self.group.kept(self.now))
        else:
            self.do(self.group.abandon())

    def advance(self, seconds: float) -> None:
        """Let time pass, as an event loop would."""
        until = self.now + seconds
        while self.wake_at <= until:
            self.now, self.wake_at = max(self.now, self.wake_at), math.inf
            self.do(self.group.tick(self.now))
        self.now = until

    def succeed(self, **values: Any) -> Driver:
        """Another coordinator takes over, of which this one knows nothing yet."""
        return Driver(self.log, prompt=self.prompt, now=self.now, **{**self.values, **values})

    # --- requests --------------------------------------------------------------------------------------

    def ask(self, call: Callable[..., list[Effect]], request: Any) -> int:
        self.asked += 1
        token = self.asked
        self.do(call(request, token, self.now))
        return token

    def join(self, member: str = "", **values: Any) -> int:
        defaults = {
            "version": 9,
            "client_id": "client",
            "host": "/127.0.0.1",
            "session_ms": 10_000,
            "rebalance_ms": 60_000,
            "protocol_type": "consumer",
            "protocols": RANGE,
            "fresh": str(self.asked),
        }
        return self.ask(self.group.join, JoinRequest(member=member, **{**defaults, **values}))

    def sync(self, member: str, generation: int, **values: Any) -> int:
        return self.ask(self.group.sync, SyncRequest(member=member, generation=generation, **values))

    def heartbeat(self, member: str, generation: int, instance: str = "") -> ErrorCode:
        request = HeartbeatRequest(member=member, generation=generation, instance=instance)
        answer = self.answers[self.ask(self.group.heartbeat, request)]
        assert isinstance(answer, HeartbeatAnswer)
        return answer.error

    def leave(self, *leavers: Leaver) -> int:
        return self.ask(self.group.leave, leavers)

    # --- answers ---------------------------------------------------------------------------------------

    def joined(self, token: int) -> JoinAnswer:
        answer = self.answers[token]
        assert isinstance(answer, JoinAnswer)
        return answer

    def synced(self, token: int) -> SyncAnswer:
        answer = self.answers[token]
        assert isinstance(answer, SyncAnswer)
        return answer

    def left(self, token: int) -> LeaveAnswer:
        answer = self.answers[token]
        assert isinstance(answer, LeaveAnswer)
        return answer

    def waits(self, token: int) -> bool:
        return token not in self.answers

    @property
    def state(self) -> str:
        return self.group.describe().state

    @property
    def members(self) -> list[str]:
        return [member.id for member in self.group.describe().members]

    # --- clients that behave ---------------------------------------------------------------------------

    def new_id(self, **values: Any) -> str:
        """An id, as a client that comes with none is given it."""
        answer = self.joined(self.join(**values))
        assert answer.error is ErrorCode.member_id_required
        return answer.member

    def stable(self, count: int = 1, **values: Any) -> list[str]:
        """Members of a stable group, the leader first; each has its number as its assignment."""
        ids = [self.new_id(**values) for _ in range(count)]
        self.rejoin(*ids, **values)
        self.complete()
        return ids

    def rejoin(self, *ids: str, **values: Any) -> None:
        """Members join anew until all are in one generation."""
        while True:
            tokens = [self.join(id_, **values) for id_ in ids]
            if not any(self.waits(token) for token in tokens):
                answers = [self.joined(token) for token in tokens]
                assert all(answer.error in {NONE, REBALANCE} for answer in answers), answers
                if len({answer.generation for answer in answers}) == 1 and answers[0].error is NONE:
                    return

    def complete(self) -> None:
        """All members ask for their assignment, the leader last."""
        view = self.group.describe()
        generation = self.group.generation
        assignments = tuple((each.id, b"%d" % number) for number, each in enumerate(view.members))
        leader = self.leader
        tokens = [
            self.sync(each.id, generation, instance=each.instance)
            for each in view.members
            if each.id != leader
        ]
        tokens.append(self.sync(leader, generation, assignments=assignments))
        assert self.going is not None or all(self.synced(token).error is NONE for token in tokens)
