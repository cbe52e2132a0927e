"""Records on their way: one append to the log, what it holds, and what became of it.

A shipment is what many threads meet at: senders, the thread that encodes, the commit thread that brings the
answer, and whoever waits for it. It is settled once, with base offsets or with an error.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.commits.proposal import PartBlocks
from streamhouse.errors import DeliveryTimeoutError
from streamhouse.format.block import EncodedBlock
from streamhouse.write.gate import Gate

Parts: TypeAlias = Sequence[tuple[int, Sequence[EncodedBlock]]]
"""Partition and its blocks, per partition."""

_log: Final = logging.getLogger("streamhouse")


class Shipment:
    """One append.

    Attributes:
        topic: Where to.
        size: Bytes of memory it holds until it is settled.
        parts: Encoded records; ``None`` until they are there.
        numbered: Identity and sequence numbers, as long as they are under way; given once.
        bases: Base offset per partition, once settled well.
        error: Why it failed, if it did.
        urgent: Whether somebody waits, so that the commit log should not linger.
        seen: Whether somebody was told of the error.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_gate",
        "_guard",
        "bases",
        "error",
        "numbered",
        "parts",
        "seen",
        "size",
        "topic",
        "urgent",
    )

    def __init__(self, topic: TopicInfo, size: int = 0) -> None:
        self.topic = topic
        self.size = size
        self.parts: Parts | None = None
        self.numbered: tuple[int, list[PartBlocks]] | None = None
        self.bases: dict[int, int] = {}
        self.error: BaseException | None = None
        self.urgent = False
        self.seen = False
        self._guard = threading.Lock()
        self._gate = Gate()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def settled(self) -> bool:
        """Whether the outcome is known."""
        return self._gate.opened

    @property
    def ready(self) -> bool:
        """Whether it can be appended, or given up."""
        return self.parts is not None or self.error is not None

    def check_waiting(self) -> None:
        """Refuse those who would wait for ever.

        Raises:
            StreamhouseError: Nothing could come of it.
        """

    def hurry(self) -> None:
        """Somebody waits. A shipment that is not closed yet closes itself."""

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it is settled.

        Raises:
            DeliveryTimeoutError: It took longer than ``timeout`` seconds.
            InvalidInputError: This is the thread that would settle it.
        """
        if self._gate.opened:
            return
        self.check_waiting()
        self.hurry()
        if not self._gate.wait(timeout):
            raise DeliveryTimeoutError(
                f"records for {self.topic.name!r} are not confirmed after {timeout:g} s; they are still "
                "on their way: ask again"
            )

    def check(self) -> None:
        """Raise the error of a settled shipment, if it has one."""
        if self.error is not None:
            self.seen = True
            # Without this each of a thousand waiters would make the traceback longer.
            raise self.error.with_traceback(None)

    def settle(self, error: BaseException | None) -> None:
        """Make the outcome known and wake everybody who waits for it."""
        with self._guard:
            self.error = error
            self._gate.open()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            _call(callback)

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Call that once the outcome is known, on the commit thread; at once if it is known."""
        with self._guard:
            if not self.settled:
                self._callbacks.append(callback)
                return
        _call(callback)


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except BaseException:  # noqa: BLE001 - it is the users' code, on a thread that must go on
        _log.exception("a delivery callback failed")
