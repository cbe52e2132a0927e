"""Who a producer is in its transactions.

Like plain appends, those of a transaction carry an identity and, per partition, the number of its first
record, so that a retry inside the commit protocol cannot store them twice. A producer without a name draws an
identity of its own, and a fresh one after each transaction that failed.

A named one takes its name over in the log (as ``InitProducerId`` of KIP-98): the name gets its identity and
the next epoch, and from that commit on the fold refuses transactions of earlier ones. The same step,
while nobody else has the name (KIP-360), settles a transaction whose outcome is unknown: once it is
done, the lost transaction either is in the log or never will be.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from streamhouse.catalog.offsets import check_encodable
from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Code
from streamhouse.errors import InvalidInputError, ProducerFencedError, SequenceError
from streamhouse.format.operations import InitProducer
from streamhouse.runtime import Runtime

_IDENTITY_BYTES: Final = 8
_IDENTITY_BITS: Final = 62
_NAME_CHARS_MAX: Final = 249
_NOBODY: Final = -1  # as an epoch


def draw_identity(runtime: Runtime) -> int:
    """A number that no other producer has."""
    drawn = int.from_bytes(runtime.random_bytes(_IDENTITY_BYTES), "little")
    return drawn >> 8 * _IDENTITY_BYTES - _IDENTITY_BITS


class Identity:
    """Identity, epoch, and how many records there are of it in each partition.

    Args:
        commits: The log.
        runtime: Draws identities.
        name: The transactional id, or ``None``.

    Attributes:
        name: The transactional id, or nothing.

    Raises:
        InvalidInputError: The name is no valid text, empty or too long.
    """

    def __init__(self, commits: CommitLog, runtime: Runtime, name: str | None) -> None:
        self.name = "" if name is None else _checked(name)
        self._commits = commits
        self._runtime = runtime
        self._lock = threading.Lock()
        self._sequences: dict[tuple[int, int], int] = {}
        self._fenced = False
        self._current = (draw_identity(runtime), 0)
        self._spoilt = False
        if self.name:
            self._take_over(again=False)

    def check(self) -> None:
        """Refuse to work once a newer producer has the name, as far as this process has read the log.

        Raises:
            ProducerFencedError: It has.
        """
        if self.name and not self._fenced and not self._spoilt:
            with self._commits.lock:
                present = self._commits.state.named_producers.get(self.name)
                self._fenced = present is None or not present.is_now(*self._current)
        if self._fenced:
            raise self._fenced_error()

    def renew(self) -> None:
        """Be somebody whose sequence numbers are known for certain; waits for the log if need be.

        Raises:
            ProducerFencedError: A newer producer has the name.
            StoreError: The store failed.
            DeliveryTimeoutError: It gave no answer in time.
        """
        self.check()
        if self._spoilt:
            if self.name:
                self._take_over(again=True)
            else:
                self._begin_as((draw_identity(self._runtime), 0))

    @property
    def current(self) -> tuple[int, int]:
        """Identity and epoch."""
        return self._current

    @property
    def settled(self) -> bool:
        """Whether nothing that was proposed is still without an answer."""
        return not self._spoilt

    def proposed(self) -> None:
        """Note that a transaction is on its way: unless more is heard of it, the identity is spoilt."""
        self._spoilt = True

    def sequence(self, topic: int, partition: int) -> int:
        """Number of the next record for a partition."""
        return self._sequences.get((topic, partition), 0)

    def concluded(
        self, numbers: tuple[int, int], counts: dict[tuple[int, int], int], error: BaseException | None
    ) -> None:
        """Note the outcome of a transaction that was proposed as ``numbers``.

        Args:
            numbers: Identity and epoch then.
            counts: Records per topic and partition.
            error: Why nothing of it was written, if so; not called while that is unknown.
        """
        with self._lock:
            if numbers != self._current:
                return  # it is somebody else by now
            if isinstance(error, ProducerFencedError):
                self._fenced = True
            if error is None:
                for place, count in counts.items():
                    self._sequences[place] = self._sequences.get(place, 0) + count
            # The log refused, or never got it: with a name nothing else can have changed there. But when
            # it misses records that we believe to be there, only a new epoch helps.
            self._spoilt = error is not None and (not self.name or isinstance(error, SequenceError))

    def _take_over(self, *, again: bool) -> None:
        self._commits.check_may_wait()
        identity, _ = self._current
        with self._lock:
            self._current = identity, _NOBODY  # what is answered from here on is not about us
        verdict = self._commits.propose(InitProducer(self.name, identity, again))
        if verdict.code is Code.FENCED:
            self._fenced = True
            raise self._fenced_error()
        _, epoch = verdict.values
        self._begin_as((identity, epoch))

    def _fenced_error(self) -> ProducerFencedError:
        return ProducerFencedError(
            f"another producer with transactional_id={self.name!r} was made after this one; "
            "this one must stop"
        )

    def _begin_as(self, current: tuple[int, int]) -> None:
        with self._lock:
            self._current = current
            self._sequences.clear()
            self._spoilt = False


def _checked(name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= _NAME_CHARS_MAX:
        raise InvalidInputError(
            f"a transactional_id is text of 1 to {_NAME_CHARS_MAX} characters, not {name!r}"
        )
    check_encodable("transactional_id", name)
    return name
