"""Why one of many things that a request asks for is not done, while the others are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streamhouse.errors import StreamhouseError
from streamhouse.kafka.protocol.errors import ErrorCode, code_of

UNAUTHORIZED: Final = "Authorization failed."


class DeclinedError(Exception):
    """Something is not done.

    Args:
        error: Kafka's word for it.
        message: Says more.
        bad_records: Places in a record batch, each with what is wrong there.
    """

    def __init__(
        self, error: ErrorCode, message: str | None = None, bad_records: Sequence[tuple[int, str]] = ()
    ) -> None:
        super().__init__(message or error.name)
        self.error = error
        self.message = message
        self.bad_records = bad_records


def said_of(failure: DeclinedError | StreamhouseError) -> tuple[ErrorCode, str | None]:
    """What a client is told."""
    if isinstance(failure, DeclinedError):
        return failure.error, failure.message
    return code_of(failure), str(failure)
