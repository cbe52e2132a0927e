"""Encrypted connections: who the gateway is, who the client is, and who cannot agree upon it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

import streamhouse
import streamhouse.kafka
from streamhouse.errors import InvalidSettingError
from streamhouse.kafka import Gateway
from streamhouse.kafka.server import tls as tls_module
from tests.kafka.clients import confluent
from tests.kafka.clients.samples import until
from tests.kafka.secured.logins import (
    MECHANISMS,
    PASSWORD,
    ROUND_TRIPS,
    TOPIC,
    Login,
    RoundTrip,
    is_closed,
    log_in,
    sample,
    shake_hands,
    topics,
)
from tests.kafka.wire import Wire

Serve = Callable[..., Gateway]


class Papers:
    """An authority, and files with what it says."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self._folder = folder
        self.ca = str(folder / "ca")
        self.authority.cert_pem.write_to_path(self.ca)
        self.server = self.issue("server", "127.0.0.1")

    def issue(self, name: str, *identities: str, common: str | None = None, unit: str | None = None) -> str:
        """A file with a certificate and its key."""
        made = self.authority.issue_cert(
            *identities, common_name=common, organization_name="Example, Inc.", organization_unit_name=unit
        )
        path = self._folder / name
        made.private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)

    def context(self, *, strict: bool = False) -> ssl.SSLContext:
        """The gateway's."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.server)
        if strict:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture
def serve(log: streamhouse.Log, papers: Papers) -> Iterator[Serve]:
    gateways: list[Gateway] = []
    log.create_topic(TOPIC)

    def start(*, strict: bool = False, **settings: object) -> Gateway:
        context = papers.context(strict=strict)
        gateways.append(streamhouse.kafka.serve(log, port=0, tls=context, **settings))
        return gateways[-1]

    yield start
    for gateway in gateways:
        gateway.close()


def encrypted(wire: Wire, papers: Papers, certificate: str = "", host: str = "127.0.0.1") -> Wire:
    """The same connection, with TLS."""
    context = ssl.create_default_context(cafile=papers.ca)
    if certificate:
        context.load_cert_chain(certificate)
    wire.socket = context.wrap_socket(wire.socket, server_hostname=host)
    return wire


@pytest.mark.parametrize("round_trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_the_gateway_has_a_certificate(serve: Serve, papers: Papers, round_trip: RoundTrip) -> None:
    round_trip(serve(), Login(ca=papers.ca), b"v")


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("round_trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_logging_in_over_tls(
    log: streamhouse.Log, serve: Serve, papers: Papers, round_trip: RoundTrip, mechanism: str
) -> None:
    if mechanism != "PLAIN":
        streamhouse.kafka.set_password(log, "ann", PASSWORD, mechanism=mechanism)
    gateway = serve(sasl_mechanisms=[mechanism], plain_users={"ann": PASSWORD})
    round_trip(gateway, Login(mechanism, "ann", ca=papers.ca), b"v")


@pytest.mark.parametrize("round_trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_the_client_has_a_certificate(serve: Serve, papers: Papers, round_trip: RoundTrip) -> None:
    """Its subject is who it is, as Java writes it."""
    ann = papers.issue("ann", "ann@example.org", common="ann", unit='#1 <a+b="c"; \\größe> ')
    principal = r"User:CN=ann,OU=\#1 \<a\+b\=\"c\"\; \\größe\>\ ,O=Example\, Inc."
    gateway = serve(strict=True, authorize=True, allow_everyone_without_acl=False, super_users=[principal])
    with Wire(gateway) as wire:
        assert topics(encrypted(wire, papers, ann)) == {TOPIC}
    round_trip(gateway, Login(ca=papers.ca, certificate=ann), b"v")


def test_others_are_nobody(serve: Serve, papers: Papers) -> None:
    """A certificate lets in; what one may do is a question of ACLs."""
    bob = papers.issue("bob", "bob@example.org", common="bob")
    gateway = serve(
        strict=True, authorize=True, allow_everyone_without_acl=False, super_users=["User:CN=ann"]
    )
    with Wire(gateway) as wire:
        assert topics(encrypted(wire, papers, bob)) == set()
    producer = confluent.new_producer(
        gateway.bootstrap, **Login(ca=papers.ca, certificate=bob).confluent, **{"message.timeout.ms": 3000}
    )
    with pytest.raises(KafkaException) as refused:
        confluent.send(producer, TOPIC, [sample(b"v")])
    assert refused.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_who_logs_in_is_not_whom_its_certificate_is_about(serve: Serve, papers: Papers) -> None:
    ann = papers.issue("ann2", "ann@example.org", common="ann")
    gateway = serve(
        strict=True, sasl_mechanisms=["PLAIN"], plain_users={"bob": PASSWORD}, authorize=True,
        allow_everyone_without_acl=False, super_users=["User:bob"],
    )  # fmt: skip
    with Wire(gateway) as wire:
        encrypted(wire, papers, ann)
        assert log_in(wire, "bob").error_code == 0
        assert topics(wire) == {TOPIC}
    with Wire(gateway) as wire:
        encrypted(wire, papers, ann).send(3, 1, topics=None)
        assert is_closed(wire)


# --- who cannot agree --------------------------------------------------------------------------------------


def test_who_has_no_certificate_or_one_of_somebody_else(serve: Serve, papers: Papers, tmp_path: Path) -> None:
    gateway = serve(strict=True)
    (tmp_path / "other").mkdir()
    others = Papers(tmp_path / "other")
    for certificate in ("", others.issue("mallory", "ann@example.org", common="ann")):
        with Wire(gateway) as wire, pytest.raises((ssl.SSLError, ConnectionError)):
            topics(encrypted(wire, papers, certificate))  # with TLS 1.3 it learns of it when it reads
        admin = AdminClient(
            {
                "bootstrap.servers": gateway.bootstrap,
                "log_level": 0,
                **Login(ca=papers.ca, certificate=certificate).confluent,
            }
        )
        with pytest.raises(KafkaException):
            admin.list_topics(timeout=0.5)
    still_works(gateway, papers, papers.issue("good", "good@example.org", common="good"))


def test_who_does_not_trust_the_gateway(serve: Serve, papers: Papers, tmp_path: Path) -> None:
    gateway = serve()
    others = Papers(tmp_path)
    with Wire(gateway) as wire, pytest.raises(ssl.SSLCertVerificationError):
        encrypted(wire, others)
    with Wire(gateway) as wire, pytest.raises(ssl.SSLCertVerificationError):
        encrypted(wire, papers, host="elsewhere.example.org")
    still_works(gateway, papers)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x0a\0\x03\0\1\0\0\0\0\xff\xff", b"\x16\x03\x01\xff\xff" * 9000],
)
def test_who_does_not_encrypt(serve: Serve, papers: Papers, data: bytes) -> None:
    gateway = serve()
    with Wire(gateway) as wire:
        wire.socket.sendall(data)
        while wire.socket.recv(100):  # an alert, perhaps
            pass
    still_works(gateway, papers)


def test_who_encrypts_where_nobody_does(log: streamhouse.Log, papers: Papers) -> None:
    with (
        streamhouse.kafka.serve(log, port=0) as gateway,
        Wire(gateway) as wire,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        encrypted(wire, papers)


def test_old_versions_are_refused(serve: Serve, papers: Papers) -> None:
    gateway = serve()
    context = ssl.create_default_context(cafile=papers.ca)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Wire(gateway) as wire, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(wire.socket, server_hostname="127.0.0.1")
    still_works(gateway, papers)


def test_who_says_nothing_is_not_waited_for(
    serve: Serve, papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_module, "_HANDSHAKE_SECONDS_MAX", 0.5)
    gateway = serve()
    silent = [Wire(gateway) for _ in range(20)]
    silent[0].socket.sendall(b"\x16\x03\x01")
    until(lambda: gateway.connections == 20)  # they count
    still_works(gateway, papers)
    for wire in silent:
        assert is_closed(wire, 5.0)
        wire.close()
    until(lambda: gateway.connections == 0)


def test_a_gateway_that_ends_does_not_wait_for_them(serve: Serve) -> None:
    gateway = serve()
    with Wire(gateway) as wire:
        until(lambda: gateway.connections == 1)
        began = time.monotonic()
        gateway.close(timeout=20)
        assert time.monotonic() - began < 10
        assert is_closed(wire)


def test_many_at_once(serve: Serve, papers: Papers) -> None:
    gateway = serve(sasl_mechanisms=["PLAIN"], plain_users={"ann": PASSWORD})
    seen: list[set[str]] = []

    def come() -> None:
        with Wire(gateway) as wire:
            log_in(encrypted(wire, papers), "ann")
            seen.append(topics(wire))

    threads = [threading.Thread(target=come) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [{TOPIC}] * 30


def test_half_a_goodbye_and_cut_cables(serve: Serve, papers: Papers) -> None:
    gateway = serve(sasl_mechanisms=["PLAIN"], plain_users={"ann": PASSWORD})
    for how in (socket.SHUT_WR, socket.SHUT_RDWR, None):
        with Wire(gateway) as wire:
            encrypted(wire, papers)
            shake_hands(wire, "PLAIN")
            if how is None:
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            else:
                socket.socket.shutdown(wire.socket, how)
    until(lambda: gateway.connections == 0)


def test_what_is_no_context_of_a_server(log: streamhouse.Log) -> None:
    with pytest.raises(InvalidSettingError, match=r"tls='server\.pem'"):
        streamhouse.kafka.serve(log, port=0, tls="server.pem")  # type: ignore[arg-type]
    with pytest.raises(InvalidSettingError, match="client's"):
        streamhouse.kafka.serve(log, port=0, tls=ssl.create_default_context())


def still_works(gateway: Gateway, papers: Papers, certificate: str = "") -> None:
    with Wire(gateway) as wire:
        assert topics(encrypted(wire, papers, certificate)) == {TOPIC}
