"""Saying who one is: to real clients as settings, and by hand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition

from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol import apis
from tests.kafka.clients import confluent, kafka_python
from tests.kafka.clients.samples import NOW_MS, Sample
from tests.kafka.wire import Wire

MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
PASSWORD: Final = "correct horse = battery, staple ✓"
TOPIC: Final = "t"


class Login(NamedTuple):
    """What a client says of itself.

    Attributes:
        mechanism: Of SASL; empty: none.
        user: Its name.
        password: Its password.
        ca: File with the authority that it trusts; empty: it does not encrypt.
        certificate: File with its own certificate and key; empty: it has none.
    """

    mechanism: str = ""
    user: str = ""
    password: str = PASSWORD
    ca: str = ""
    certificate: str = ""

    @property
    def protocol(self) -> str:
        """Kafka's name for the combination."""
        return ("SASL_" if self.mechanism else "") + ("SSL" if self.ca else "PLAINTEXT")

    @property
    def confluent(self) -> dict[str, Any]:
        """Settings of librdkafka."""
        settings: dict[str, Any] = {"security.protocol": self.protocol, "reconnect.backoff.max.ms": 200}
        if self.mechanism:
            settings |= {
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.user,
                "sasl.password": self.password,
            }
        if self.ca:
            settings["ssl.ca.location"] = self.ca
        if self.certificate:
            settings |= {
                "ssl.certificate.location": self.certificate,
                "ssl.key.location": self.certificate,
            }
        return settings

    @property
    def python(self) -> dict[str, Any]:
        """Settings of kafka-python and aiokafka."""
        settings: dict[str, Any] = {"security_protocol": self.protocol}
        if self.mechanism:
            settings |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        if self.ca:
            settings["ssl_context"] = context = ssl.create_default_context(cafile=self.ca)
            if self.certificate:
                context.load_cert_chain(self.certificate)
        return settings


# --- real clients: one record in, and out again ----------------------------------------------------------


def confluent_round_trip(gateway: Gateway, login: Login, value: bytes) -> None:
    """confluent-kafka."""
    confluent.send(confluent.new_producer(gateway.bootstrap, **login.confluent), TOPIC, [sample(value)])
    assert confluent.read(gateway.bootstrap, TOPIC, 1, **login.confluent) == [sample(value)]


def kafka_python_round_trip(gateway: Gateway, login: Login, value: bytes) -> None:
    """kafka-python."""
    with kafka_python.new_producer(gateway.bootstrap, **login.python) as producer:
        kafka_python.send(producer, TOPIC, [sample(value)])
    assert kafka_python.read(gateway.bootstrap, TOPIC, 1, **login.python) == [sample(value)]


def aiokafka_round_trip(gateway: Gateway, login: Login, value: bytes) -> None:
    """aiokafka."""

    async def work() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=gateway.bootstrap, **login.python)
        await producer.start()
        try:
            await producer.send_and_wait(TOPIC, value, b"key", 0, NOW_MS)
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(bootstrap_servers=gateway.bootstrap, **login.python)
        await consumer.start()
        try:
            consumer.assign([AioPartition(TOPIC, 0)])
            await consumer.seek_to_beginning()
            record = await asyncio.wait_for(consumer.getone(), 20)
        finally:
            await consumer.stop()
        assert (record.key, record.value) == (b"key", value)

    asyncio.run(work())


RoundTrip: TypeAlias = Callable[[Gateway, Login, bytes], None]
ROUND_TRIPS: Final[Mapping[str, RoundTrip]] = {
    "confluent": confluent_round_trip,
    "kafka_python": kafka_python_round_trip,
    "aiokafka": aiokafka_round_trip,
}


def sample(value: bytes) -> Sample:
    """A record."""
    return Sample(b"key", value)


# --- by hand ---------------------------------------------------------------------------------------------


def plain(user: str, password: str = PASSWORD, authorized: str = "") -> bytes:
    """What PLAIN sends."""
    return f"{authorized}\0{user}\0{password}".encode()


def shake_hands(wire: Wire, mechanism: str, version: int = 1) -> Any:
    """Name a mechanism; the response."""
    return wire.ask(apis.SASL_HANDSHAKE.key, version, mechanism=mechanism)


def step(wire: Wire, token: bytes, version: int = 2) -> Any:
    """Send what the mechanism asks for; the response."""
    return wire.ask(apis.SASL_AUTHENTICATE.key, version, auth_bytes=token)


def log_in(wire: Wire, user: str, password: str = PASSWORD) -> Any:
    """With PLAIN; the response."""
    shaken = shake_hands(wire, "PLAIN")
    assert shaken.error_code == 0, shaken
    return step(wire, plain(user, password))


def topics(wire: Wire) -> set[str]:
    """The topics that one may see."""
    response = wire.ask(
        apis.METADATA.key,
        9,
        topics=None,
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=False,
        include_topic_authorized_operations=False,
    )
    return {topic.name for topic in response.topics}


def is_closed(wire: Wire, seconds: float = 2.0) -> bool:
    """Whether the gateway hangs up, and soon, without another word."""
    wire.socket.settimeout(seconds)
    try:
        return wire.socket.recv(1) == b""
    except ConnectionResetError:
        return True
