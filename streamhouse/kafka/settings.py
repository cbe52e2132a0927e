"""Settings of a gateway: one frozen struct, units in the names, every value checked."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from streamhouse import limits
from streamhouse.errors import InvalidSettingError, nearest


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a :class:`~streamhouse.kafka.Gateway` behaves.

    Those that Kafka has too have its name in brackets.

    Attributes:
        host: Address to listen at.
        port: Port to listen at; 0: any that is free.
        advertised_host: Address that clients are told to use (``advertised.listeners``). By default
            ``host``, and where that means all interfaces, the name of this machine.
        advertised_port: Port that clients are told to use; the one that is listened at by default.
        node_id: Number of this gateway among those of the log (``node.id``); by default the lowest one free.
        rack: Where it is, for clients that ask (``broker.rack``).
        broker_session_seconds: After so long without a sign of life the other gateways take it for dead.
        auto_create_topics: Whether a topic is made when a client asks for one that is not there
            (``auto.create.topics.enable``).
        default_partitions: How many partitions it gets (``num.partitions``).
        batch_bytes_max: Largest record batch as it is sent (``message.max.bytes``).
        batch_raw_bytes_max: ... and decompressed.
        request_bytes_max: Largest request (``socket.request.max.bytes``).
        request_memory_bytes_max: Memory for requests that are being worked on
            (``queued.max.request.bytes``); beyond, nothing is read from connections.
        response_memory_bytes_max: Memory for responses that clients have not taken; beyond, fetches are
            answered with little, and clients that take nothing are disconnected.
        requests_in_flight_max: Requests of one connection that are being worked on.
        connections_max: Connections at the same time (``max.connections``).
        connections_per_host_max: ... from one address (``max.connections.per.ip``).
        idle_seconds_max: A connection without requests for so long is closed (``connections.max.idle.ms``).
        fetch_bytes_max: Most that one fetch is answered with (``fetch.max.bytes``).
        cache_bytes_max: Memory for record batches that were made for consumers.
        group_initial_rebalance_delay_ms: How long the first member of a classic group waits for others
            (``group.initial.rebalance.delay.ms``).
        group_session_timeout_min_ms: Shortest session that a member may ask for
            (``group.min.session.timeout.ms``).
        group_session_timeout_max_ms: Longest (``group.max.session.timeout.ms``).
        group_members_max: Members of one group (``group.max.size``).
        consumer_session_timeout_ms: Session of members of the newer protocol
            (``group.consumer.session.timeout.ms``).
        consumer_heartbeat_interval_ms: How often those are to show that they live
            (``group.consumer.heartbeat.interval.ms``).
        transaction_timeout_max_ms: Longest that a producer may ask for (``transaction.max.timeout.ms``).
        sasl_mechanisms: How clients may say who they are: of ``PLAIN``, ``SCRAM-SHA-256`` and
            ``SCRAM-SHA-512``. None: they need not (``sasl.enabled.mechanisms``).
        reauthentication_ms: After so long they have to do so again (``connections.max.reauth.ms``);
            0: never.
        plain_users: Passwords by user, for ``PLAIN``; other users are looked up among those of SCRAM.
        authorize: Whether ACLs decide who may do what (``authorizer.class.name``).
        super_users: Users that may do everything, such as ``User:admin`` (``super.users``).
        allow_everyone_without_acl: Whether what no ACL speaks of is allowed
            (``allow.everyone.if.no.acl.found``).
        produce_bytes_per_second_max: What one client may produce (``producer_byte_rate``).
        fetch_bytes_per_second_max: What one client may fetch (``consumer_byte_rate``).
    """

    host: str = "127.0.0.1"
    port: int = 9092
    advertised_host: str | None = None
    advertised_port: int | None = None
    node_id: int | None = None
    rack: str | None = None
    broker_session_seconds: float = 6.0
    auto_create_topics: bool = True
    default_partitions: int = 1
    batch_bytes_max: int = 16 * limits.MIB
    batch_raw_bytes_max: int = 64 * limits.MIB
    request_bytes_max: int = 100 * limits.MIB
    request_memory_bytes_max: int = 256 * limits.MIB
    response_memory_bytes_max: int = 512 * limits.MIB
    requests_in_flight_max: int = 100
    connections_max: int = 10_000
    connections_per_host_max: int = 10_000
    idle_seconds_max: float = 600.0
    fetch_bytes_max: int = 55 * limits.MIB
    cache_bytes_max: int = 64 * limits.MIB
    group_initial_rebalance_delay_ms: int = 0
    group_session_timeout_min_ms: int = 100
    group_session_timeout_max_ms: int = 1_800_000
    group_members_max: int = 10_000
    consumer_session_timeout_ms: int = 45_000
    consumer_heartbeat_interval_ms: int = 2_000
    transaction_timeout_max_ms: int = 900_000
    sasl_mechanisms: tuple[str, ...] = ()
    reauthentication_ms: int = 0
    plain_users: dict[str, str] = {}
    authorize: bool = False
    super_users: tuple[str, ...] = ()
    allow_everyone_without_acl: bool = True
    produce_bytes_per_second_max: int | None = None
    fetch_bytes_per_second_max: int | None = None

    def __repr__(self) -> str:
        shown = (
            f"{name}={'...' if name == 'plain_users' else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"GatewaySettings({', '.join(shown)})"


_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "port": (0, 65_535),
    "advertised_port": (1, 65_535),
    "node_id": (0, 2**31 - 1),
    "broker_session_seconds": (0.5, 3_600),
    "default_partitions": (1, limits.PARTITIONS_PER_TOPIC_MAX),
    "batch_bytes_max": (limits.KIB, limits.GIB),
    "batch_raw_bytes_max": (limits.KIB, limits.GIB),
    "request_bytes_max": (limits.KIB, 2 * limits.GIB - 1),
    "request_memory_bytes_max": (limits.KIB, 1024 * limits.GIB),
    "response_memory_bytes_max": (limits.KIB, 1024 * limits.GIB),
    "requests_in_flight_max": (1, 100_000),
    "connections_max": (1, 1_000_000),
    "connections_per_host_max": (1, 1_000_000),
    "idle_seconds_max": (0.1, 86_400 * 30),
    "fetch_bytes_max": (limits.KIB, limits.GIB),
    "cache_bytes_max": (0, 1024 * limits.GIB),
    "group_initial_rebalance_delay_ms": (0, 600_000),
    "group_session_timeout_min_ms": (1, 86_400_000),
    "group_session_timeout_max_ms": (1, 86_400_000),
    "group_members_max": (1, 1_000_000),
    "consumer_session_timeout_ms": (100, 86_400_000),
    "consumer_heartbeat_interval_ms": (10, 86_400_000),
    "transaction_timeout_max_ms": (1, int(limits.TRANSACTION_SECONDS_MAX * 1000)),
    "reauthentication_ms": (0, 2**31 - 1),
    "produce_bytes_per_second_max": (1, 2**62),
    "fetch_bytes_per_second_max": (1, 2**62),
}
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def make_gateway_settings(values: dict[str, Any]) -> GatewaySettings:
    """Check keyword settings and freeze them.

    Raises:
        InvalidSettingError: For an unknown name (with the nearest known one), a value of a wrong type or one
            outside its bounds.
    """
    known = GatewaySettings.__struct_fields__
    for name in values:
        if name not in known:
            raise InvalidSettingError(
                f"unknown gateway setting {name!r}{nearest(name, known)}; known are {', '.join(known)}"
            )
    try:
        settings = msgspec.convert(values, GatewaySettings)
    except msgspec.ValidationError as error:
        raise InvalidSettingError(f"invalid gateway setting: {error}") from None
    for name, (low, high) in _BOUNDS.items():
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            raise InvalidSettingError(f"gateway setting {name}={value!r} is outside {low:g} to {high:g}")
    for mechanism in settings.sasl_mechanisms:
        if mechanism not in _MECHANISMS:
            raise InvalidSettingError(
                f"unknown SASL mechanism {mechanism!r}{nearest(mechanism, _MECHANISMS)}; there are"
                f" {', '.join(_MECHANISMS)}"
            )
    if settings.group_session_timeout_min_ms > settings.group_session_timeout_max_ms:
        raise InvalidSettingError("group_session_timeout_min_ms is above group_session_timeout_max_ms")
    return settings
