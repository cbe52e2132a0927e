"""Everything that a gateway consists of, put together on its loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.groups.committers import Committers
from streamhouse.kafka.groups.consumer import ConsumerGroups
from streamhouse.kafka.groups.coordinator import ClassicGroups
from streamhouse.kafka.handlers.sasl import SaslHandlers
from streamhouse.kafka.handlers.table import Services, handler_table
from streamhouse.kafka.handlers.versions import unsupported_version
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol import apis
from streamhouse.kafka.security.authorizer import Authorizer
from streamhouse.kafka.security.credentials import CredentialStore
from streamhouse.kafka.security.identities import Identities
from streamhouse.kafka.security.quota_store import QuotaStore
from streamhouse.kafka.security.sasl import SaslSession
from streamhouse.kafka.server.server import Server
from streamhouse.kafka.settings import GatewaySettings
from streamhouse.kafka.tasks import ended
from streamhouse.kafka.throttling import Throttle
from streamhouse.kafka.topics import TopicDirectory
from streamhouse.kafka.transactions import Transactions

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
        self.server = Server(
            parts.settings, self._new_sasl, {apis.API_VERSIONS.key: unsupported_version}, parts.aside
        )
        self._credentials = CredentialStore(parts.commits, parts.runtime)
        self._identities = Identities(self._credentials, parts.settings.plain_users)
        self._superseded = superseded
        self._services: Services | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False

    @property
    def node_id(self) -> int:
        """Its number."""
        assert self._services is not None
        return self._services.brokers.own.node_id

    async def start(self, tls: ssl.SSLContext | None) -> None:
        """Listen, and become one of the gateways of the log."""
        self.port = await self.server.bind(tls)
        services = self._services = self._make_services()
        self.parts.events.start()
        self._started = True
        await services.brokers.register()
        for watch in (services.transactions.watch, services.consumers.watch):
            self._tasks.append(self.parts.loop.create_task(watch()))
        sasl = SaslHandlers(self.parts)
        await self.server.open(handler_table(services, sasl), sasl.raw_step)

    async def close(self, seconds: float) -> None:
        """Answer what is being worked on, then end everything."""
        await ended(*self._tasks)
        services = self._services
        if services is not None:
            await services.classic.close()  # who waits for the other members is told to ask elsewhere
        await self.server.close(seconds)
        try:
            if services is not None:
                await services.consumers.close()
                await services.brokers.leave()
        finally:
            if self._started:
                self.parts.events.close()

    def _make_services(self) -> Services:
        parts = self.parts
        port = parts.settings.advertised_port or self.port
        brokers = Brokers(parts, self.host, port, self._superseded, self._fall)
        consumers, classic = ConsumerGroups(parts, brokers), ClassicGroups(parts, brokers)
        metrics, quotas = self.server.metrics, QuotaStore(parts.commits)
        return Services(
            parts=parts,
            topics=TopicDirectory(parts),
            brokers=brokers,
            transactions=Transactions(parts, brokers),
            consumers=consumers,
            classic=classic,
            committers=Committers(parts, brokers, consumers, classic),
            access=self._new_access(),
            credentials=self._credentials,
            quotas=quotas,
            throttle=Throttle(parts.settings, quotas, metrics, parts.loop.time),
            metrics=metrics,
            memory=self.server.connections.memory,
        )

    def _fall(self) -> None:
        """The others took this gateway for dead: its clients are theirs now."""
        self.server.connections.drop_all()
        if self._services is not None:
            self._services.classic.give_all_up()
            self._services.consumers.forget_all()

    def _new_sasl(self) -> SaslSession | None:
        """What a new client has to go through."""
        settings = self.parts.settings
        if not settings.sasl_mechanisms:
            return None
        return SaslSession(
            settings.sasl_mechanisms, self._identities, self.parts.runtime, settings.reauthentication_ms
        )

    def _new_access(self) -> Access:
        settings = self.parts.settings
        if not settings.authorize:
            return Access(None)
        return Access(
            Authorizer(
                self.parts.commits,
                settings.super_users,
                allowed_by_default=settings.allow_everyone_without_acl,
            )
        )


def _advertised_host(settings: GatewaySettings) -> str:
    """The host that clients are told."""
    if settings.advertised_host is not None:
        return settings.advertised_host
    return socket.getfqdn() if settings.host in _EVERYWHERE else settings.host
