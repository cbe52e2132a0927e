"""The client's side of SCRAM, as others wrote it: kafka-python and aiokafka. And by the letter of the RFC."""

from __future__ import annotations

import base64
import hashlib
import hmac
import warnings
from collections.abc import Callable
from typing import Protocol

from aiokafka.conn import ScramAuthenticator

with warnings.catch_warnings():  # kafka-python reads its files in an old way
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.net.sasl.scram import ScramClient

Answer = Callable[[bytes], bytes]


class Client(Protocol):
    """Logs in, or raises."""

    def __call__(self, mechanism: str, user: str, password: str, answer: Answer) -> None: ...


def kafka_python(mechanism: str, user: str, password: str, answer: Answer) -> None:
    client = ScramClient(user, password, mechanism)
    client.process_server_first_message(answer(client.first_message()))
    client.process_server_final_message(answer(client.final_message()))


def aiokafka(mechanism: str, user: str, password: str, answer: Answer) -> None:
    client = ScramAuthenticator(
        loop=None, sasl_plain_password=password, sasl_plain_username=user, sasl_mechanism=mechanism
    )
    client.process_server_first_message(answer(client.first_message().encode()).decode())
    client.process_server_final_message(answer(client.final_message().encode()).decode())


def by_the_letter(mechanism: str, user: str, password: str, answer: Answer) -> None:
    """RFC 5802, section 3, as it stands there."""
    name = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[mechanism]
    bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r=fyko+d2lbbFgONRv9qkxdawL"
    server_first = answer(f"n,,{bare}".encode()).decode()
    fields = dict(field.split("=", 1) for field in server_first.split(","))
    salted = hi(name, password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    client_key = hmac.digest(salted, b"Client Key", name)
    without_proof = f"c=biws,r={fields['r']}"
    auth_message = f"{bare},{server_first},{without_proof}".encode()
    signature = hmac.digest(hashlib.new(name, client_key).digest(), auth_message, name)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True)))
    server_final = answer(f"{without_proof},p={proof.decode()}".encode())
    server_key = hmac.digest(salted, b"Server Key", name)
    if server_final != b"v=" + base64.b64encode(hmac.digest(server_key, auth_message, name)):
        raise ValueError("wrong signature")


def hi(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
    """The function of that name, without a library for it."""
    last = result = hmac.digest(password, salt + b"\0\0\0\1", name)
    for _ in range(iterations - 1):
        last = hmac.digest(password, last, name)
        result = bytes(a ^ b for a, b in zip(result, last, strict=True))
    return result


CLIENTS = [kafka_python, aiokafka, by_the_letter]
