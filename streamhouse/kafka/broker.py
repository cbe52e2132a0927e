"""Everything that a gateway consists of, put together on its loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.handlers.coordinators import CoordinatorHandler
from streamhouse.kafka.handlers.fetch import FetchHandler
from streamhouse.kafka.handlers.metadata import MetadataHandlers
from streamhouse.kafka.handlers.offsets import OffsetHandlers
from streamhouse.kafka.handlers.produce import ProduceHandler
from streamhouse.kafka.handlers.producers import ProducerHandlers
from streamhouse.kafka.handlers.versions import api_versions, unsupported_version
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol import apis
from streamhouse.kafka.reading import RecordSource
from streamhouse.kafka.server.server import Handler, Server
from streamhouse.kafka.settings import GatewaySettings
from streamhouse.kafka.tasks import ended
from streamhouse.kafka.topics import TopicDirectory
from streamhouse.kafka.transactions import Transactions
from streamhouse.kafka.writing import RecordSink

_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - what users may listen at


class KafkaBroker:
    """Lives on the gateway's loop.

    Args:
        parts: What it works with.
        superseded: Called with the reason when another gateway takes its number.
    """

    def __init__(self, parts: Parts, superseded: Callable[[str], None]) -> None:
        self.parts = parts
        self.host = _advertised_host(parts.settings)
        self.port = parts.settings.port
        self.server = Server(parts.settings, lambda: None, {apis.API_VERSIONS.key: unsupported_version})
        self._superseded = superseded
        self._brokers: Brokers | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False

    @property
    def node_id(self) -> int:
        """Its number."""
        assert self._brokers is not None
        return self._brokers.own.node_id

    async def start(self, tls: ssl.SSLContext | None) -> None:
        """Listen, and become one of the gateways of the log."""
        self.port = await self.server.bind(tls)
        settings = self.parts.settings
        brokers = Brokers(self.parts, self.host, settings.advertised_port or self.port, self._superseded)
        self._brokers = brokers
        transactions = Transactions(self.parts, brokers)
        handlers = self._handlers(brokers, transactions)
        self.parts.events.start()
        self._started = True
        await brokers.register()
        self._tasks.append(self.parts.loop.create_task(transactions.watch()))
        await self.server.open(handlers)

    async def close(self, seconds: float) -> None:
        """Answer what is being worked on, then end everything."""
        await ended(*self._tasks)
        await self.server.close(seconds)
        try:
            if self._brokers is not None:
                await self._brokers.leave()
        finally:
            if self._started:
                self.parts.events.close()

    def _handlers(self, brokers: Brokers, transactions: Transactions) -> dict[int, Handler]:
        """Who answers what."""
        parts, access = self.parts, Access()
        topics = TopicDirectory(parts)
        metrics = self.server.metrics
        metadata = MetadataHandlers(parts, topics, brokers, access)
        produce = ProduceHandler(parts, topics, RecordSink(parts), transactions, access, metrics)
        fetch = FetchHandler(parts, topics, RecordSource(parts), access, metrics)
        offsets = OffsetHandlers(parts, topics, access)
        producers = ProducerHandlers(parts, topics, brokers, transactions, access)
        return {
            apis.API_VERSIONS.key: api_versions,
            apis.METADATA.key: metadata.metadata,
            apis.DESCRIBE_CLUSTER.key: metadata.describe_cluster,
            apis.DESCRIBE_TOPIC_PARTITIONS.key: metadata.describe_topic_partitions,
            apis.FIND_COORDINATOR.key: CoordinatorHandler(brokers, access).find,
            apis.PRODUCE.key: produce.produce,
            apis.FETCH.key: fetch.fetch,
            apis.LIST_OFFSETS.key: offsets.list_offsets,
            apis.OFFSET_FOR_LEADER_EPOCH.key: offsets.for_leader_epoch,
            apis.DELETE_RECORDS.key: offsets.delete_records,
            apis.INIT_PRODUCER_ID.key: producers.init_producer_id,
            apis.ADD_PARTITIONS_TO_TXN.key: producers.add_partitions,
            apis.ADD_OFFSETS_TO_TXN.key: producers.add_offsets,
            apis.END_TXN.key: producers.end,
            apis.LIST_TRANSACTIONS.key: producers.list_transactions,
            apis.DESCRIBE_TRANSACTIONS.key: producers.describe_transactions,
            apis.DESCRIBE_PRODUCERS.key: producers.describe_producers,
        }


def _advertised_host(settings: GatewaySettings) -> str:
    """The host that clients are told."""
    if settings.advertised_host is not None:
        return settings.advertised_host
    return socket.getfqdn() if settings.host in _EVERYWHERE else settings.host
