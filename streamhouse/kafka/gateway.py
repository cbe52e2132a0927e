"""The gateway: a Kafka broker in this process, on a thread of its own."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
import threading
import warnings
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from streamhouse.errors import ClosedError, ForkedError, InvalidSettingError, StreamhouseError
from streamhouse.kafka.broker import KafkaBroker
from streamhouse.kafka.events import Events
from streamhouse.kafka.outcomes import Outcomes
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.server.metrics import Metrics
from streamhouse.kafka.settings import GatewaySettings, make_gateway_settings
from streamhouse.log import Log
from streamhouse.runtime import process_id

T = TypeVar("T")

_THREADS: Final = 4
_CLOSE_SECONDS: Final = 5.0
_CLUSTER_ID_BYTES: Final = 16
_log: Final = logging.getLogger("streamhouse.kafka")


class Gateway:
    """A log, served to Kafka's clients.

    Made by :func:`streamhouse.kafka.serve`; leaving its ``with`` block closes it.
    What is acknowledged is in the log. A gateway keeps nothing else, so it may be killed at any moment, and
    several on one log, in whatever processes, form one cluster.

    Example:
        >>> import streamhouse, streamhouse.kafka
        >>> with streamhouse.Log("memory://") as log, streamhouse.kafka.serve(log, port=0) as gateway:
        ...     gateway.bootstrap.startswith("127.0.0.1:")
        True
    """

    def __init__(self, log: Log, settings: GatewaySettings, tls: ssl.SSLContext | None) -> None:
        self._closed = True  # until it runs
        self._process = process_id()
        self._log = log
        self._settings = settings
        self._failure: str | None = None
        self._loop = asyncio.new_event_loop()
        self._pool = ThreadPoolExecutor(_THREADS, "streamhouse-kafka-work")
        self._thread = threading.Thread(target=self._run, name="streamhouse-kafka", daemon=True)
        self._thread.start()
        try:
            self._broker = self._call(self._start(tls))
        except BaseException:
            self._stop()
            raise
        self._closed = False

    def __repr__(self) -> str:
        return f"<Gateway at {self.bootstrap}{', closed' if self._closed else ''}>"

    @property
    def bootstrap(self) -> str:
        """What clients are configured with: host and port."""
        return f"{self.host}:{self.port}"

    @property
    def host(self) -> str:
        """The host that clients are told."""
        return self._broker.host

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._broker.port

    @property
    def node_id(self) -> int:
        """Its number among the gateways of the log."""
        return self._broker.node_id

    @property
    def cluster_id(self) -> str:
        """What clients are told the log is called; the same for all gateways."""
        return self._broker.parts.cluster_id

    @property
    def settings(self) -> GatewaySettings:
        """The settings in force."""
        return self._settings

    @property
    def metrics(self) -> Metrics:
        """Requests by kind, and how long they took."""
        return self._broker.server.metrics

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._broker.server.connection_count

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the gateway ends; whether it did.

        Args:
            timeout: Seconds; for ever by default.

        Raises:
            InvalidSettingError: Another gateway took its number.
        """
        deadline = None if timeout is None else self._log_clock() + timeout
        while self._thread.is_alive():
            left = 0.1 if deadline is None else min(0.1, deadline - self._log_clock())
            if left <= 0:
                return False
            self._thread.join(left)  # in slices, so that Ctrl-C gets through
        if self._failure is not None:
            raise InvalidSettingError(self._failure)
        return True

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Answer what is being worked on, then close all connections. Closing twice is fine.

        Args:
            timeout: Seconds for that. Clients whose requests are cut short ask again.
        """
        if self._closed or self._process != process_id():
            return
        self._closed = True
        try:
            with suppress(StreamhouseError):  # its entry is removed by others then
                self._call(self._broker.close(timeout))
        finally:
            self._stop()

    def __enter__(self) -> Self:
        if self._process != process_id():
            raise ForkedError("this gateway was made before fork; serve the log again in this process")
        if self._closed:
            raise ClosedError("the gateway is closed; serve the log again")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and self._process == process_id():
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    # --- the thread --------------------------------------------------------------------------------

    async def _start(self, tls: ssl.SSLContext | None) -> KafkaBroker:
        broker = KafkaBroker(self._make_parts(), self._superseded)
        try:
            await broker.start(tls)
        except BaseException:
            await broker.close(0.0)
            raise
        return broker

    def _make_parts(self) -> Parts:
        inside = self._log._inside
        return Parts(
            log=self._log,
            commits=inside.commits,
            catalog=inside.catalog,
            reader=inside.reader,
            store=inside.store,
            agent=inside.agent,
            runtime=inside.runtime,
            log_settings=self._log.settings,
            settings=self._settings,
            cluster_id=_cluster_id(inside.commits.log_id),
            loop=self._loop,
            threads=self._pool,
            events=Events(self._loop, inside.commits),
            outcomes=Outcomes(self._loop),
        )

    def _superseded(self, why: str) -> None:
        """Another gateway has our number: clients would be sent there for what they began here."""
        _log.error("gateway at %s stops: %s", self.bootstrap, why)
        self._failure = why
        self._closed = True
        self._ending = self._loop.create_task(self._end())

    async def _end(self) -> None:
        await self._broker.close(0.0)
        self._loop.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            try:
                return future.result(timeout=0.1)  # in slices, so that Ctrl-C gets through
            except TimeoutError:
                if future.done():
                    return future.result()

    def _stop(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _log_clock(self) -> float:
        return self._log._inside.runtime.monotonic()


def serve(
    log: Log,
    *,
    port: int = 9092,
    tls: ssl.SSLContext | None = None,
    **settings: Any,
) -> Gateway:
    """Serve a log to Kafka's clients, until the gateway is closed.

    Args:
        log: The log. It has to stay open.
        port: Where to listen; 0: at any port that is free.
        tls: A server's context, for encrypted connections.
        **settings: See :class:`~streamhouse.kafka.GatewaySettings`.

    Raises:
        InvalidSettingError: An unknown setting or an impossible value, or an address that cannot be had.
        StreamhouseError: The log fails.
    """
    checked = make_gateway_settings({"port": port, **settings})
    _check_tls(tls)
    try:
        return Gateway(log, checked, tls)
    except OSError as error:
        if isinstance(error, StreamhouseError):
            raise
        raise InvalidSettingError(
            f"cannot listen at {checked.host}:{checked.port} ({error.strerror or error}); choose another"
            " port, or 0 for any"
        ) from error


def _check_tls(tls: object) -> None:
    """Anything else would refuse every client, later."""
    if tls is not None and not isinstance(tls, ssl.SSLContext):
        raise InvalidSettingError(
            f"tls={tls!r} is no ssl.SSLContext; make one with"
            " ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) and load_cert_chain"
        )
    if tls is not None and tls.protocol is ssl.PROTOCOL_TLS_CLIENT:
        raise InvalidSettingError(
            "tls is a client's context; a server's is made with"
            " ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)"
        )


def _cluster_id(log_id: str) -> str:
    """22 characters, as those that Kafka makes."""
    digest = blake2b(log_id.encode(), digest_size=_CLUSTER_ID_BYTES).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
