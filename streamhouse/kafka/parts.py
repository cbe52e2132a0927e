"""What a gateway works with: the insides of the log, its loop, and threads for what takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from streamhouse.catalog.catalog import Catalog
from streamhouse.commits.log import CommitLog
from streamhouse.commits.proposal import Block
from streamhouse.commits.verdicts import Verdict
from streamhouse.config import Settings
from streamhouse.format.operations import Operation
from streamhouse.groups.agent import GroupAgent
from streamhouse.kafka.events import Events
from streamhouse.kafka.outcomes import Outcomes
from streamhouse.kafka.settings import GatewaySettings
from streamhouse.log import Log
from streamhouse.read.reader import BlockReader
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectStore

T = TypeVar("T")


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Made by the gateway; handlers get what they need from here.

    Attributes:
        log: The log.
        commits: Its commits.
        catalog: Its topics and blocks.
        reader: Blocks.
        store: Its objects.
        agent: Its members of groups.
        runtime: Clock and randomness.
        log_settings: Settings of the log.
        settings: Settings of the gateway.
        cluster_id: What clients are told the log is called.
        loop: The gateway's event loop.
        threads: For what takes long.
        events: What happens in the log.
        outcomes: Answers of the commit thread.
    """

    log: Log
    commits: CommitLog
    catalog: Catalog
    reader: BlockReader
    store: ObjectStore
    agent: GroupAgent
    runtime: Runtime
    log_settings: Settings
    settings: GatewaySettings
    cluster_id: str
    loop: asyncio.AbstractEventLoop
    threads: ThreadPoolExecutor
    events: Events
    outcomes: Outcomes

    async def aside(self, call: Callable[..., T], *args: Any) -> T:
        """Call something that may wait for the store or takes long, on another thread."""
        return await self.loop.run_in_executor(self.threads, call, *args)

    async def propose(self, operation: Operation, blocks: Sequence[Block] = ()) -> Verdict:
        """Propose an operation and wait for the verdict.

        Raises:
            StreamhouseError: As :meth:`~streamhouse.commits.log.CommitLog.submit` says.
        """
        answer, answered = self.outcomes.expect()
        self.commits.submit(operation, blocks, answered)
        self.commits.urge()
        verdict: Verdict = await answer
        return verdict

    async def refresh(self) -> None:
        """Read the log up to its present end."""
        await self.aside(self.commits.refresh)
