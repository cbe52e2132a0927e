"""Producers and their transactions, as the log knows them.

A gateway remembers nothing of a transaction: what was added to it waits in the log. So any gateway can take a
piece of it, and whoever is asked to end it does so for all. What is done here in the background is to end
those that have been open for too long; only the gateway that coordinates the producer does that.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from streamhouse import limits
from streamhouse.commits.state import NamedProducer
from streamhouse.commits.verdicts import Code
from streamhouse.errors import StreamhouseError
from streamhouse.format.operations import (
    AddToTransaction,
    CommitOffsets,
    EndTransaction,
    InitProducer,
)
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.writing import OpenedTransaction
from streamhouse.write.identity import draw_identity

_LOOK_SECONDS: Final = 0.5
_NOBODY: Final = -1
_log: Final = logging.getLogger("streamhouse.kafka")


class Transactions:
    """One per gateway.

    Args:
        parts: The gateway's.
        brokers: Says which producers are this gateway's to look after.
    """

    def __init__(self, parts: Parts, brokers: Brokers) -> None:
        self._parts = parts
        self._brokers = brokers
        self._seen: dict[tuple[str, NamedProducer], float] = {}  # since when each was seen open

    # --- producers ---------------------------------------------------------------------------------

    def fresh_producer(self) -> int:
        """An identity that no other producer has."""
        return draw_identity(self._parts.runtime)

    async def take_over(
        self, transactional_id: str, timeout_ms: int, present: tuple[int, int] | None
    ) -> tuple[int, int] | ErrorCode:
        """Give a producer its name: identity and epoch.

        Args:
            transactional_id: The name.
            timeout_ms: How long its transactions may be open.
            present: Identity and epoch that it has, when it only wants a new epoch (KIP-360).
        """
        standing = self._brokers.standing
        fresh = self.fresh_producer()
        if present is None:
            operation = InitProducer(transactional_id, fresh, timeout_ms=timeout_ms, standing=standing)
        else:
            await self._parts.refresh()
            named = self._named(transactional_id)
            if named is not None and named.is_now(present[0], present[1] + 1) and not named.ended:
                return named.identity, named.epoch  # this was asked for before, and the answer got lost
            identity = present[0] if present[1] < limits.PRODUCER_EPOCH_MAX else fresh
            operation = InitProducer(
                transactional_id, identity, instead_of=present, timeout_ms=timeout_ms, standing=standing
            )
        verdict = await self._parts.propose(operation)
        if verdict.code is Code.FENCED:
            return ErrorCode.producer_fenced
        if verdict.code is Code.STALE:
            return ErrorCode.not_coordinator
        if verdict.code is not Code.ACCEPTED:
            return ErrorCode.unknown_server_error
        identity, epoch = verdict.values
        return identity, epoch

    def check(self, transactional_id: str, producer: int, epoch: int) -> ErrorCode:
        """Whether a producer has its name still."""
        named = self._named(transactional_id)
        if named is None:
            return ErrorCode.invalid_producer_id_mapping
        if named.identity != producer:  # each incarnation has one of its own, but epochs go on
            former = epoch < named.epoch
            return ErrorCode.producer_fenced if former else ErrorCode.invalid_producer_id_mapping
        if named.epoch != epoch:
            return ErrorCode.producer_fenced if epoch < named.epoch else ErrorCode.invalid_producer_epoch
        return ErrorCode.none

    async def checked(self, transactional_id: str, producer: int, epoch: int) -> ErrorCode:
        """Likewise; who seems to have none may have got it by way of another gateway a moment ago."""
        error = self.check(transactional_id, producer, epoch)
        if error is ErrorCode.none:
            return error
        await self._parts.refresh()
        return self.check(transactional_id, producer, epoch)

    # --- transactions ------------------------------------------------------------------------------

    async def opened(self, transactional_id: str, producer: int, epoch: int) -> OpenedTransaction | ErrorCode:
        """The transaction that what a producer sends now belongs to."""
        standing = self._brokers.standing
        error = await self.checked(transactional_id, producer, epoch)
        named = self._named(transactional_id)
        if error is not ErrorCode.none or named is None:
            return error
        return OpenedTransaction(transactional_id, named.ended, standing)

    async def add_offsets(
        self, transactional_id: str, producer: int, epoch: int, offsets: CommitOffsets
    ) -> ErrorCode:
        """Let a group's offsets move with the transaction."""
        opened = await self.opened(transactional_id, producer, epoch)
        if isinstance(opened, ErrorCode):
            return opened
        verdict = await self._parts.propose(
            AddToTransaction(
                transactional_id, producer, epoch, (), (offsets,), opened.number, opened.standing
            )
        )
        return _OF_OFFSETS.get(verdict.code, ErrorCode.unknown_server_error)

    async def end(self, transactional_id: str, producer: int, epoch: int, *, commit: bool) -> ErrorCode:
        """End the transaction: all of it becomes visible, or nothing ever.

        The client asks again when it got no answer. Then the transaction has ended, and what is ended is an
        empty one.
        """
        standing = self._brokers.standing
        await self._parts.refresh()
        error = self.check(transactional_id, producer, epoch)
        named = self._named(transactional_id)
        if error is not ErrorCode.none or named is None:
            return error
        verdict = await self._parts.propose(
            EndTransaction(transactional_id, producer, epoch, named.ended, commit, standing=standing)
        )
        return _OF_END.get(verdict.code, ErrorCode.unknown_server_error)

    async def watch(self) -> None:
        """End transactions that are open for too long, for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._end_overdue()
            except StreamhouseError as error:
                _log.warning("transactions that take too long could not be ended: %s", error)

    async def _end_overdue(self) -> None:
        now = self._parts.loop.time()
        with self._parts.commits.lock:
            state = self._parts.commits.state
            names = [(name, state.named_producers[name]) for name in state.transactions]
        self._seen = {key: self._seen.get(key, now) for key in names}
        for (name, named), since in list(self._seen.items()):
            overdue = named.timeout_ms and (now - since) * 1000 >= named.timeout_ms
            if overdue and self._brokers.coordinates_producer(name):
                await self._parts.propose(
                    EndTransaction(
                        name,
                        named.identity,
                        named.epoch,
                        named.ended,
                        commit=False,
                        fence=True,
                        standing=self._brokers.standing,
                    )
                )

    def _named(self, transactional_id: str) -> NamedProducer | None:
        with self._parts.commits.lock:
            return self._parts.commits.state.named_producers.get(transactional_id)


_OF_OFFSETS: Final = {
    Code.ACCEPTED: ErrorCode.none,
    Code.FENCED: ErrorCode.producer_fenced,
    Code.STALE: ErrorCode.not_coordinator,  # we had not heard yet; the client asks again
    Code.UNKNOWN_MEMBER: ErrorCode.unknown_member_id,
    Code.NOT_OWNED: ErrorCode.illegal_generation,
    Code.GROUP_NOT_EMPTY: ErrorCode.unknown_member_id,
    Code.FULL: ErrorCode.message_too_large,
}
_OF_END: Final = {
    Code.ACCEPTED: ErrorCode.none,
    Code.FENCED: ErrorCode.producer_fenced,
    Code.STALE: ErrorCode.not_coordinator,  # it has ended, or this gateway was taken for dead: ask again
}
