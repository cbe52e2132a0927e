"""Faults that :class:`~streamhouse.testing.s3server.FakeS3Server` can be told to have."""

from __future__ import annotations

import random
from collections import Counter
from typing import Literal, get_args

import msgspec

from streamhouse.testing.s3http import Answer

S3Operation = Literal["PUT", "GET", "HEAD", "LIST", "DELETE"]

S3FaultKind = Literal[
    "refuse",  # answers `status` and `code`, does nothing
    "fail-after",  # carries it out, then answers `status` and `code`
    "reset",  # closes the connection, does nothing
    "lost-answer",  # carries it out, then closes the connection
    "late",  # closes the connection now, carries it out `seconds` later
    "hang",  # says nothing for `seconds`, then closes the connection; does nothing
    "delay",  # carries it out `seconds` later and answers then
    "twice",  # carries it out twice, and sends the second answer
    "truncate",  # GET: announces all bytes, sends half of them
    "short",  # GET: announces and sends half of the bytes
    "flip",  # GET: one bit is wrong
    "whole",  # GET: ignores the range
    "stale",  # LIST: does not know the newest object yet
]

_ONLY: dict[str, S3Operation] = {
    "truncate": "GET",
    "short": "GET",
    "flip": "GET",
    "whole": "GET",
    "stale": "LIST",
}


class S3Fault(msgspec.Struct):
    """A fault that waits for its request.

    Attributes:
        operation: The request it strikes; a LIST is a GET of a bucket, a DELETE may name many keys.
        kind: What happens.
        match: Only keys that contain this (for a LIST: its prefix).
        times: How often; ``None``: always.
        skip: Matching requests to let pass first.
        probability: Chance that it strikes a request that it could strike.
        status: HTTP status of a refusal.
        code: S3 error code of a refusal.
        seconds: Length of a delay.
    """

    operation: S3Operation
    kind: S3FaultKind
    match: str = ""
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    status: int = 503
    code: str = "SlowDown"
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(S3FaultKind) or self.operation not in get_args(S3Operation):
            raise ValueError(f"no such fault: {self.operation} {self.kind}")
        if _ONLY.get(self.kind, self.operation) != self.operation:
            raise ValueError(f"a fault {self.kind!r} cannot strike a {self.operation}")


class S3FaultScript:
    """The faults that wait, and the die.

    Args:
        seed: For probabilities and for which bit flips.
    """

    def __init__(self, seed: int = 0) -> None:
        self.dice = random.Random(seed)
        self.injected: Counter[str] = Counter()
        self._faults: list[S3Fault] = []

    def add(self, fault: S3Fault) -> None:
        """Add a fault; those added first strike first."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget all that wait."""
        self._faults.clear()

    def strike(self, operation: str, key: str) -> S3Fault | None:
        """The fault that a request meets, if any."""
        for fault in self._faults:
            if fault.operation != operation or fault.match not in key:
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.probability < 1 and self.dice.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    self._faults.remove(fault)
            self.injected[fault.kind] += 1
            return fault
        return None


def spoil(answer: Answer, fault: S3Fault, dice: random.Random) -> None:
    """Do to the body of an answer what the fault says, if it is of that sort."""
    body = answer.body
    match fault.kind:
        case "truncate":
            answer.length = len(body)
            answer.body = body[: len(body) // 2]
        case "short":
            answer.body = body[: len(body) // 2]
        case "flip" if body:
            bit = dice.randrange(8 * len(body))
            flipped = bytearray(body)
            flipped[bit // 8] ^= 1 << bit % 8
            answer.body = bytes(flipped)
