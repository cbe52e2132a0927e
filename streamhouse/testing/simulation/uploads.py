"""Segments: uploaders whose requests go through the simulated network, and transactions that use them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from streamhouse.commits.proposal import StoredBlock
from streamhouse.commits.segments import Uploader, Uploaders
from streamhouse.errors import DeliveryTimeoutError, StoreDurabilityError, StoreError, StreamhouseError
from streamhouse.format.block import EncodedBlock

if TYPE_CHECKING:
    from streamhouse.testing.simulation.world import Agent

_TRIES = 3


class AgentUploaders:
    """The uploaders of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        # Only what decides about names and numbers: requests go through the network.
        self._pool = Uploaders(agent.io.store, agent.runtime)

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Uploader]:
        """An uploader for a piece of work, as :meth:`Uploaders.borrow` lends it."""
        uploader = self._pool.take()
        try:
            yield uploader
        except GeneratorExit:
            raise  # the run is over
        except BaseException:
            await self._return(uploader)
            raise
        else:
            await self._return(uploader)

    async def _return(self, uploader: Uploader) -> None:
        unused = list(uploader.discardable())
        uploader.used()
        if unused:
            with suppress(StoreError):  # what cannot be deleted now is collected some time
                await self._agent.io.delete_many(unused)
        self._pool.give_back(uploader)

    async def put(self, uploader: Uploader, blocks: Sequence[EncodedBlock]) -> list[StoredBlock]:
        """Make blocks durable, under another name when the store fails."""
        for left in reversed(range(_TRIES)):
            name, data, stored = uploader.pack(blocks)
            try:
                await self._agent.io.put(name, data)
            except StoreError:
                if not left:
                    raise
            else:
                uploader.used_at = self._agent.runtime.monotonic()
                return stored
        raise AssertionError("unreachable")


def is_certain(error: BaseException) -> bool:
    """Whether an error promises that nothing came of a proposal, nor will."""
    return isinstance(error, StreamhouseError) and not isinstance(
        error, DeliveryTimeoutError | StoreDurabilityError
    )
