"""Saying who one is, with the mechanisms of SASL: real clients, and what only old or broken ones send."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import aiokafka.errors
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol import apis
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
    plain,
    sample,
    shake_hands,
    step,
    topics,
)
from tests.kafka.security.clients import CLIENTS, Client
from tests.kafka.wire import Wire

with warnings.catch_warnings():  # it reads its files in an old way
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka.errors
    from kafka import KafkaAdminClient, KafkaProducer
    from kafka.admin import UserScramCredentialUpsertion as KafkaPythonUpsertion

NONE, UNSUPPORTED_MECHANISM, ILLEGAL_STATE, FAILED = 0, 33, 34, 58
ANN = Login("PLAIN", "ann")


@pytest.fixture
def gateway(log: streamhouse.Log) -> Iterator[Gateway]:
    """It takes every mechanism, knows ann by itself, and carol, who has all of them, by the log."""
    log.create_topic(TOPIC)
    for mechanism in MECHANISMS[1:]:
        streamhouse.kafka.set_password(log, "carol", PASSWORD, mechanism=mechanism)
    with streamhouse.kafka.serve(
        log, port=0, sasl_mechanisms=MECHANISMS, plain_users={"ann": PASSWORD}
    ) as gateway:
        yield gateway


# --- who may come in -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("round_trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_every_client_by_every_mechanism(gateway: Gateway, round_trip: RoundTrip, mechanism: str) -> None:
    round_trip(gateway, Login(mechanism, "carol"), mechanism.encode())


@pytest.mark.parametrize("round_trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_users_of_the_gateway_alone(log: streamhouse.Log, gateway: Gateway, round_trip: RoundTrip) -> None:
    round_trip(gateway, ANN, b"v")
    assert "ann" not in streamhouse.kafka.users(log)
    with streamhouse.kafka.serve(log, port=0, sasl_mechanisms=["PLAIN"]) as other, Wire(other) as wire:
        assert log_in(wire, "ann").error_code == FAILED


@pytest.mark.parametrize("user", ["a,b=c", "größe", "User:x", 'o\'neill "q"', "x" * 200])
def test_names_that_are_hard_on_somebody(log: streamhouse.Log, gateway: Gateway, user: str) -> None:
    streamhouse.kafka.set_password(log, user, PASSWORD)
    for mechanism in ("PLAIN", "SCRAM-SHA-256"):
        producer = confluent.new_producer(gateway.bootstrap, **Login(mechanism, user).confluent)
        confluent.send(producer, TOPIC, [sample(b"v")])


def test_users_that_an_admin_client_makes_changes_and_removes(log: streamhouse.Log, gateway: Gateway) -> None:
    admin = AdminClient({"bootstrap.servers": gateway.bootstrap, "log_level": 0, **ANN.confluent})

    def alter(*changes: Any) -> None:
        for future in admin.alter_user_scram_credentials(list(changes)).values():
            future.result(20)

    def upsertion(user: str, mechanism: ScramMechanism, password: str) -> UserScramCredentialUpsertion:
        return UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())

    alter(
        upsertion("dave", ScramMechanism.SCRAM_SHA_256, "one"),
        upsertion("erin", ScramMechanism.SCRAM_SHA_512, "two"),
    )
    assert streamhouse.kafka.users(log)["dave"] == ("SCRAM-SHA-256",)
    assert is_let_in(gateway, Login("SCRAM-SHA-256", "dave", "one"))
    assert is_let_in(gateway, Login("PLAIN", "dave", "one"))
    assert is_let_in(gateway, Login("SCRAM-SHA-512", "erin", "two"))
    assert not is_let_in(gateway, Login("SCRAM-SHA-512", "dave", "one"))
    alter(upsertion("dave", ScramMechanism.SCRAM_SHA_256, "three"))
    assert not is_let_in(gateway, Login("SCRAM-SHA-256", "dave", "one"))
    assert is_let_in(gateway, Login("SCRAM-SHA-256", "dave", "three"))
    described = admin.describe_user_scram_credentials(["dave"])["dave"].result(20)
    assert [(each.mechanism, each.iterations) for each in described.scram_credential_infos] == [
        (ScramMechanism.SCRAM_SHA_256, 4096)
    ]
    alter(UserScramCredentialDeletion("dave", ScramMechanism.SCRAM_SHA_256))
    assert not is_let_in(gateway, Login("SCRAM-SHA-256", "dave", "three"))
    assert not is_let_in(gateway, Login("PLAIN", "dave", "three"))


def test_users_that_kafka_python_makes_hold_at_other_gateways(log: streamhouse.Log, gateway: Gateway) -> None:
    admin = KafkaAdminClient(bootstrap_servers=gateway.bootstrap, **Login("SCRAM-SHA-512", "carol").python)
    try:
        made = admin.alter_user_scram_credentials([KafkaPythonUpsertion("frank", "SCRAM-SHA-512", "four")])
        assert made == {"frank": None}
    finally:
        admin.close()
    with streamhouse.kafka.serve(log, port=0, sasl_mechanisms=MECHANISMS) as other:
        assert is_let_in(other, Login("SCRAM-SHA-512", "frank", "four"))
        assert streamhouse.kafka.remove_user(log, "frank")
        for each in (gateway, other):
            assert not is_let_in(each, Login("SCRAM-SHA-512", "frank", "four"))


def is_let_in(gateway: Gateway, login: Login) -> bool:
    """Whether librdkafka gets through; if not, for the reason that there is."""
    errors: list[KafkaError] = []
    settings = {"bootstrap.servers": gateway.bootstrap, "log_level": 0, "error_cb": errors.append}
    producer = Producer(settings | login.confluent)
    done: list[object] = []
    producer.produce(TOPIC, b"v", on_delivery=lambda error, _: done.append(error))
    until(lambda: producer.poll(0.01) or done or errors)
    producer.purge()
    producer.flush(5)
    if not errors:
        assert done == [None]
        return True
    assert errors[0].code() == KafkaError._AUTHENTICATION, errors
    return False


# --- by hand ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(apis.SASL_AUTHENTICATE.first, apis.SASL_AUTHENTICATE.last + 1))
def test_every_version_of_a_step(gateway: Gateway, version: int) -> None:
    with Wire(gateway) as wire:
        shaken = shake_hands(wire, "PLAIN")
        assert (shaken.error_code, tuple(shaken.mechanisms)) == (NONE, MECHANISMS)
        said = step(wire, plain("ann"), version)
        assert (said.error_code, said.error_message, said.auth_bytes) == (NONE, None, b"")
        assert topics(wire) == {TOPIC}


def raw_step(wire: Wire) -> Callable[[bytes], bytes]:
    """Tokens with nothing but their size, as old clients send them."""

    def answer(token: bytes) -> bytes:
        wire.send_frame(token)
        return wire.receive_frame()

    return answer


def test_old_clients_send_their_password_as_it_is(gateway: Gateway) -> None:
    with Wire(gateway) as wire:
        assert shake_hands(wire, "PLAIN", 0).error_code == NONE
        assert raw_step(wire)(plain("ann", authorized="ann")) == b""
        assert topics(wire) == {TOPIC}
        wire.send_frame(plain("ann"))  # that would be a request now
        assert is_closed(wire)


@pytest.mark.parametrize("mechanism", MECHANISMS[1:])
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_old_clients_prove_that_they_know_it(gateway: Gateway, client: Client, mechanism: str) -> None:
    with Wire(gateway) as wire:
        assert shake_hands(wire, mechanism, 0).error_code == NONE
        client(mechanism, "carol", PASSWORD, raw_step(wire))
        assert topics(wire) == {TOPIC}


@pytest.mark.parametrize(
    "token", [plain("ann", "wrong"), plain("nobody"), b"\xff", b"", b"ann", b"n,,n=a,r=b"]
)
def test_old_clients_that_are_wrong_hear_nothing_more(gateway: Gateway, token: bytes) -> None:
    with Wire(gateway) as wire:
        assert shake_hands(wire, "PLAIN", 0).error_code == NONE
        began = time.monotonic()
        wire.send_frame(token)
        assert is_closed(wire)
        assert time.monotonic() - began >= 0.1


# --- who may not -----------------------------------------------------------------------------------------

WRONG_PASSWORD = "Authentication failed: Invalid username or password"
WRONG_PROOF = "Authentication failed during authentication due to invalid credentials with SASL mechanism "


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (plain("ann", "wrong"), WRONG_PASSWORD),
        (plain("carol", "wrong"), WRONG_PASSWORD),
        (plain("nobody"), WRONG_PASSWORD),
        (plain("ann", ""), "Authentication failed: password not specified"),
        (plain("", PASSWORD), "Authentication failed: username not specified"),
        (
            plain("ann", authorized="carol"),
            "Authentication failed: Client requested an authorization id that is different from username",
        ),
        (b"ann", "Invalid SASL/PLAIN response: expected 3 tokens, got 1"),
    ],
)
def test_what_is_wrong_is_said_as_kafka_says_it(gateway: Gateway, token: bytes, message: str) -> None:
    with Wire(gateway) as wire:
        shake_hands(wire, "PLAIN")
        began = time.monotonic()
        said = step(wire, token)
        assert time.monotonic() - began >= 0.1  # whoever guesses has to wait
        assert (said.error_code, said.error_message, said.auth_bytes) == (FAILED, message, b"")
        assert is_closed(wire)


@pytest.mark.parametrize("user", ["carol", "nobody"])
@pytest.mark.parametrize("mechanism", MECHANISMS[1:])
def test_a_proof_that_is_wrong(gateway: Gateway, mechanism: str, user: str) -> None:
    with Wire(gateway) as wire:
        shake_hands(wire, mechanism)
        said: list[Any] = []

        def answer(token: bytes) -> bytes:
            said.append(step(wire, token))
            if said[-1].error_code != NONE:
                raise PermissionError
            data: bytes = said[-1].auth_bytes
            return data

        with pytest.raises(PermissionError):
            CLIENTS[0](mechanism, user, "wrong", answer)
        assert [each.error_code for each in said] == [NONE, FAILED]
        assert said[-1].error_message == WRONG_PROOF + mechanism
        assert is_closed(wire)


def test_a_mechanism_that_there_is_not(log: streamhouse.Log) -> None:
    with streamhouse.kafka.serve(log, port=0, sasl_mechanisms=["SCRAM-SHA-512"]) as gateway:
        for version in (0, 1):
            with Wire(gateway) as wire:
                shaken = shake_hands(wire, "PLAIN", version)
                assert shaken.error_code == UNSUPPORTED_MECHANISM
                assert tuple(shaken.mechanisms) == ("SCRAM-SHA-512",)
                assert is_closed(wire)
        assert not is_let_in(gateway, Login("SCRAM-SHA-256", "carol"))


def test_nobody_asks(log: streamhouse.Log) -> None:
    with streamhouse.kafka.serve(log, port=0) as gateway, Wire(gateway) as wire:
        assert shake_hands(wire, "PLAIN").error_code == ILLEGAL_STATE
        assert step(wire, plain("ann")).error_code == ILLEGAL_STATE
        assert topics(wire) == set()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_confluent_is_told(gateway: Gateway, mechanism: str) -> None:
    errors: list[KafkaError] = []
    settings = {"bootstrap.servers": gateway.bootstrap, "log_level": 0, "error_cb": errors.append}
    admin = AdminClient(settings | Login(mechanism, "carol", "wrong").confluent)
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=1)
    admin.poll(0)
    assert message_for(mechanism) in errors[0].str()
    confluent.send(confluent.new_producer(gateway.bootstrap, **ANN.confluent), TOPIC, [sample(b"good")])


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_aiokafka_is_told(gateway: Gateway, mechanism: str, caplog: pytest.LogCaptureFixture) -> None:
    async def start() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=gateway.bootstrap, **Login(mechanism, "carol", "wrong").python
        )
        try:
            await producer.start()
        finally:
            await producer.stop()

    with pytest.raises(aiokafka.errors.KafkaError):
        asyncio.run(start())
    assert message_for(mechanism) in caplog.text


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_kafka_python_is_told(gateway: Gateway, mechanism: str, caplog: pytest.LogCaptureFixture) -> None:
    clients: list[Any] = []

    def new_client(**settings: Any) -> Any:
        clients.append(KafkaProducer.DEFAULT_CONFIG["kafka_client"](**settings))
        return clients[-1]

    with pytest.raises(kafka.errors.KafkaTimeoutError):
        KafkaProducer(
            bootstrap_servers=gateway.bootstrap,
            bootstrap_timeout_ms=2_000,
            metrics_enabled=False,
            kafka_client=new_client,
            **Login(mechanism, "carol", "wrong").python,
        )
    clients[0].close()  # it does not do that itself
    assert f"SaslAuthenticationFailedError: {message_for(mechanism)}" in caplog.text


def message_for(mechanism: str) -> str:
    """What is said of a password that is wrong."""
    return WRONG_PASSWORD if mechanism == "PLAIN" else WRONG_PROOF + mechanism


def test_guessing_disturbs_nobody(gateway: Gateway) -> None:
    """Twenty that guess at once wait at once; who knows the password does not wait behind them."""

    def guess() -> None:
        with Wire(gateway) as wire:
            codes.append(log_in(wire, "carol", "wrong").error_code)

    codes: list[int] = []
    guessers = [threading.Thread(target=guess) for _ in range(20)]
    for each in guessers:
        each.start()
    with Wire(gateway) as wire:
        assert log_in(wire, "ann").error_code == NONE
        assert topics(wire) == {TOPIC}
    for each in guessers:
        each.join()
    assert codes == [FAILED] * 20


# --- once more -------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(log: streamhouse.Log) -> Iterator[Gateway]:
    """It wants to hear again who one is."""
    log.create_topic(TOPIC)
    streamhouse.kafka.set_password(log, "carol", PASSWORD)
    with streamhouse.kafka.serve(
        log, port=0, sasl_mechanisms=MECHANISMS, plain_users={"ann": PASSWORD, "bob": PASSWORD},
        reauthentication_ms=1_400,
    ) as gateway:  # fmt: skip
        yield gateway


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_librdkafka_says_it_again_in_time(impatient: Gateway, mechanism: str) -> None:
    errors: list[KafkaError] = []
    settings = Login(mechanism, "carol").confluent | {"error_cb": errors.append}
    producer = confluent.new_producer(impatient.bootstrap, **settings)
    confluent.send(producer, TOPIC, [sample(b"first")])
    connected = impatient.connections
    steps = impatient.metrics.apis["sasl_authenticate"].requests
    end = time.monotonic() + 3
    while time.monotonic() < end:
        confluent.send(producer, TOPIC, [sample(b"more")])
    assert impatient.metrics.apis["sasl_authenticate"].requests >= steps + 2
    assert (errors, impatient.connections) == ([], connected)


def test_aiokafka_connects_anew_instead(impatient: Gateway) -> None:
    async def work() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=impatient.bootstrap, **ANN.python)
        await producer.start()
        try:
            end = time.monotonic() + 2
            while time.monotonic() < end:
                await producer.send_and_wait(TOPIC, b"v", partition=0)
                await asyncio.sleep(0.05)
        finally:
            await producer.stop()

    asyncio.run(work())


def test_who_does_not_is_not_listened_to(impatient: Gateway) -> None:
    with Wire(impatient) as wire, Wire(impatient) as other:
        assert log_in(wire, "ann").session_lifetime == dt.timedelta(seconds=1.4)
        assert log_in(other, "bob").error_code == NONE
        assert topics(wire) == {TOPIC}
        time.sleep(1.5)
        assert log_in(other, "bob").error_code == NONE  # late, but before asking for anything
        assert topics(other) == {TOPIC}
        wire.send(apis.LIST_GROUPS.key, 0)
        assert is_closed(wire)


def test_one_stays_who_one_is(impatient: Gateway, log: streamhouse.Log) -> None:
    with Wire(impatient) as wire:
        assert log_in(wire, "ann").error_code == NONE
        assert shake_hands(wire, "PLAIN").error_code == ILLEGAL_STATE  # so soon
        assert topics(wire) == {TOPIC}
    wires = [Wire(impatient) for _ in range(4)]
    for wire, user in zip(wires, ("ann", "ann", "ann", "carol"), strict=True):
        assert log_in(wire, user).error_code == NONE
    streamhouse.kafka.set_password(log, "carol", "another one")
    time.sleep(1.05)
    as_bob, by_scram, early, changed = wires
    said = log_in(as_bob, "bob")
    assert said.error_code == FAILED
    assert "Cannot change principals during re-authentication" in said.error_message
    shake_hands(by_scram, "SCRAM-SHA-256")
    said = step(by_scram, b"n,,n=ann,r=nonce")
    assert said.error_code == FAILED
    assert "'SCRAM-SHA-256' requested by client is not supported for re-auth" in said.error_message
    assert shake_hands(early, "PLAIN").error_code == NONE
    early.send(apis.LIST_GROUPS.key, 0)  # in the middle of it
    assert log_in(changed, "carol").error_message == WRONG_PASSWORD
    for wire in wires:
        assert is_closed(wire)
        wire.close()
