"""Who has not said who it is can do nothing but say it."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator

import pytest
from kio.index import load_request_schema

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol import apis
from streamhouse.kafka.server import connection as connection_module
from tests.kafka.clients.samples import until
from tests.kafka.hostile.corpus import kind_of, load
from tests.kafka.protocol.frames import frame_of
from tests.kafka.secured.logins import PASSWORD, is_closed, log_in, plain, shake_hands, step, topics
from tests.kafka.wire import Wire

HEADER = struct.Struct(">hhih")
STRANGERS_BYTES_MAX = 64 << 10
MECHANISMS = ("PLAIN", "SCRAM-SHA-256")


@pytest.fixture
def gateway(log: streamhouse.Log) -> Iterator[Gateway]:
    log.create_topic("t")
    with streamhouse.kafka.serve(
        log, port=0, sasl_mechanisms=MECHANISMS, plain_users={"ann": PASSWORD}
    ) as gateway:
        yield gateway


def done(gateway: Gateway) -> dict[str, int]:
    """Requests that were worked on."""
    return {
        name: counts.requests
        for name, counts in gateway.metrics.apis.items()
        if counts.requests and not name.startswith(("sasl", "api_versions"))
    }


LOCKED = sorted(apis.APIS.keys() - apis.WITHOUT_AUTHENTICATION)


@pytest.mark.parametrize(
    "before", ["nothing", "versions", "handshake", "raw", "first step", "wrong password"]
)
def test_every_api_ends_the_connection(gateway: Gateway, log: streamhouse.Log, before: str) -> None:
    """Real requests of real clients, wherever in the exchange they come."""
    began = log._inside.commits.state.seq
    frames = {kind_of(frame)[0]: frame for frame in load()}
    for key in LOCKED if before in {"nothing", "versions", "handshake"} else LOCKED[::6]:
        frame = frames.get(key, HEADER.pack(key, apis.APIS[key].last, 42, -1) + bytes(20))
        with Wire(gateway) as wire:
            if before == "versions":
                assert wire.ask(apis.API_VERSIONS.key, 0).error_code == 0
            elif before == "handshake":
                shake_hands(wire, "PLAIN")
            elif before == "raw":
                shake_hands(wire, "PLAIN", 0)
            elif before == "first step":
                shake_hands(wire, "SCRAM-SHA-256")
                assert step(wire, b"n,,n=ann,r=nonce").error_code == 0
            elif before == "wrong password":
                shake_hands(wire, "PLAIN")
                wire.send(apis.SASL_AUTHENTICATE.key, 1, auth_bytes=plain("ann", "wrong"))
            wire.send_frame(frame)
            if before == "wrong password":
                try:
                    wire.receive_frame()  # it is told so; or not even that, for it went on
                except ConnectionError:
                    continue
            assert is_closed(wire), apis.APIS[key].name
    assert done(gateway) == {}
    assert log._inside.commits.state.seq == began
    assert still_works(gateway)


def test_whoever_does_not_wait_for_the_answer_is_not_let_in(gateway: Gateway) -> None:
    """The right password does not help what comes with it in one piece."""
    frames = [
        frame_of(load_request_schema(apis.SASL_HANDSHAKE.key, 1), {"mechanism": "PLAIN"}),
        frame_of(load_request_schema(apis.SASL_AUTHENTICATE.key, 2), {"auth_bytes": plain("ann")}),
        frame_of(load_request_schema(apis.LIST_GROUPS.key, 0), {}),
    ]
    with Wire(gateway) as wire:
        wire.socket.sendall(b"".join(struct.pack(">i", len(frame)) + frame for frame in frames))
        with pytest.raises(ConnectionError):
            [wire.receive_frame() for _ in frames]
    assert done(gateway) == {}


@pytest.mark.parametrize("key", [*LOCKED[:3], 999, -1, 36])
def test_what_is_no_request_either(gateway: Gateway, key: int) -> None:
    with Wire(gateway) as wire:
        wire.send_frame(HEADER.pack(key, 32_000, 42, -1))
        assert is_closed(wire)
    assert still_works(gateway)


def test_versions_may_be_asked_for_in_any_version(gateway: Gateway) -> None:
    """A client has to learn how to speak before it can say who it is (KIP-43)."""
    with Wire(gateway) as wire:
        wire.send_frame(HEADER.pack(apis.API_VERSIONS.key, 99, 42, -1))
        assert wire.receive_frame()[4:6] == b"\0\x23"  # unsupported version
        for version in range(apis.API_VERSIONS.last + 1):
            names = {} if version < 3 else {"client_software_name": "c", "client_software_version": "1"}
            assert wire.ask(apis.API_VERSIONS.key, version, **names).error_code == 0
        assert log_in(wire, "ann").error_code == 0
        assert topics(wire) == {"t"}


# --- how much they may send --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", sorted(apis.WITHOUT_AUTHENTICATION))
@pytest.mark.parametrize("size", [STRANGERS_BYTES_MAX + 1, 1 << 20, 2**31 - 1])
def test_more_than_64_kib_at_once_is_refused_by_its_size(gateway: Gateway, key: int, size: int) -> None:
    with Wire(gateway) as wire:
        wire.socket.sendall(struct.pack(">i", size) + HEADER.pack(key, 0, 42, -1))  # and no more of it
        assert is_closed(wire)
    assert still_works(gateway)


def test_as_much_as_that_is_read(gateway: Gateway) -> None:
    with Wire(gateway) as wire:
        shake_hands(wire, "PLAIN")
        frame = frame_of(load_request_schema(apis.SASL_AUTHENTICATE.key, 0), {"auth_bytes": b""})
        fill = STRANGERS_BYTES_MAX - len(frame)
        frame = frame[:-4] + struct.pack(">i", fill) + bytes(fill)
        wire.send_frame(frame)
        said = wire.receive(apis.SASL_AUTHENTICATE.key, 0)
        assert said.error_code == 58
        assert "16384 bytes" in said.error_message
        assert is_closed(wire)


def test_raw_tokens_are_no_way_around(gateway: Gateway) -> None:
    for size in (20 << 10, STRANGERS_BYTES_MAX + 1):
        with Wire(gateway) as wire:
            shake_hands(wire, "PLAIN", 0)
            wire.socket.sendall(struct.pack(">i", size) + b"a" * min(size, 20 << 10))
            assert is_closed(wire)


def test_who_is_known_may_send_more(gateway: Gateway) -> None:
    names = [{"name": "x" * 1000} for _ in range(200)]
    with Wire(gateway) as wire:
        log_in(wire, "ann")
        response = wire.ask(apis.METADATA.key, 4, topics=names, allow_auto_topic_creation=False)
        assert len(response.topics) == 200


# --- how long they may take --------------------------------------------------------------------------------


def test_silence_is_ended(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far it has come, and however busy it looks."""
    monkeypatch.setattr(connection_module, "_STRANGERS_SECONDS_MAX", 0.5)
    wires = [Wire(gateway) for _ in range(5)]
    known, silent, halfway, begun, busy = wires
    log_in(known, "ann")
    shake_hands(halfway, "SCRAM-SHA-256")
    step(halfway, b"n,,n=ann,r=nonce")
    begun.socket.sendall(b"\0\0\xff")
    stop = threading.Event()

    def ask() -> None:
        try:
            while not stop.wait(0.05):
                busy.ask(apis.API_VERSIONS.key, 0)
        except ConnectionError:
            ended.append(time.monotonic())

    ended: list[float] = []
    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for wire in (silent, halfway, begun):
            assert is_closed(wire, 10.0)
        until(lambda: ended)
    finally:
        stop.set()
        asker.join()
    assert topics(known) == {"t"}
    for wire in wires:
        wire.close()


def still_works(gateway: Gateway) -> bool:
    with Wire(gateway) as wire:
        return log_in(wire, "ann").error_code == 0 and topics(wire) == {"t"}
