"""What is kept of a password."""

from __future__ import annotations

import hashlib

import pytest

from streamhouse.errors import InvalidInputError
from streamhouse.kafka.security.passwords import (
    ITERATIONS_MAX,
    ITERATIONS_MIN,
    MECHANISMS,
    SALT_BYTES_MAX,
    SHA_256,
    Mechanism,
    ScramCredential,
    credential_of,
    decoy,
    derive,
    is_password,
    is_textual,
)
from tests.kafka.security.clients import hi

mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=list(MECHANISMS))


@mechanisms
@pytest.mark.parametrize("password", ["pencil", "pass,word=", "Passwort mit Ümläuten ⚷", "\xa0IX", "x" * 300])
def test_a_password_is_recognized_and_no_other(mechanism: Mechanism, password: str) -> None:
    credential = derive(mechanism, password, b"salt")
    assert is_password(mechanism, credential, password)
    assert not is_password(mechanism, credential, password + " ")
    assert not is_password(mechanism, credential, "")


@mechanisms
def test_salted_passwords_are_those_of_the_rfc(mechanism: Mechanism) -> None:
    assert mechanism.salted("pencil", b"some salt", 100) == hi(mechanism.hash, b"pencil", b"some salt", 100)


@mechanisms
def test_from_the_password_and_from_what_clients_make_of_it(mechanism: Mechanism) -> None:
    salted = hashlib.pbkdf2_hmac(mechanism.hash, b"pencil", b"salt", 5000)
    assert credential_of(mechanism, salted, b"salt", 5000) == derive(mechanism, "pencil", b"salt", 5000)


@pytest.mark.parametrize(
    ("salted", "salt", "iterations", "why"),
    [
        (bytes(32), b"salt", ITERATIONS_MIN - 1, "Too few iterations"),
        (bytes(32), b"salt", ITERATIONS_MAX + 1, "Too many iterations"),
        (bytes(32), b"", ITERATIONS_MIN, "not 0"),
        (bytes(32), bytes(SALT_BYTES_MAX + 1), ITERATIONS_MIN, "not 1025"),
        (bytes(64), b"salt", ITERATIONS_MIN, "32 bytes"),
        (b"", b"salt", ITERATIONS_MIN, "32 bytes"),
    ],
)
def test_what_kafka_would_not_take_or_nobody_could_use(
    salted: bytes, salt: bytes, iterations: int, why: str
) -> None:
    with pytest.raises(InvalidInputError, match=why):
        credential_of(SHA_256, salted, salt, iterations)


@pytest.mark.parametrize(
    ("password", "salt", "iterations"),
    [("", b"salt", 4096), ("pencil", b"", 4096), ("pencil", b"s", 4095), ("pencil", b"s", 10**12)],
)
def test_impossible_passwords(password: str, salt: bytes, iterations: int) -> None:
    with pytest.raises(InvalidInputError):
        derive(SHA_256, password, salt, iterations)


def test_nothing_secret_is_shown() -> None:
    credential = derive(SHA_256, "pencil", b"some-salt")
    shown = f"{credential!r} {credential} {credential.__rich_repr__()}"
    assert "iterations" in shown
    for secret in (b"some-salt", credential.stored_key, credential.server_key):
        assert repr(secret)[2:10] not in shown
        assert secret.hex() not in shown


@mechanisms
def test_decoys_are_always_the_same_and_all_different(mechanism: Mechanism) -> None:
    made = decoy(mechanism, "nobody", b"secret", None)
    assert made == decoy(mechanism, "nobody", b"secret", None)
    others = [
        decoy(mechanism, "nobody else", b"secret", None),
        decoy(mechanism, "nobody", b"another secret", None),
        *(decoy(other, "nobody", b"secret", None) for other in MECHANISMS.values() if other != mechanism),
    ]
    values = [value for each in (made, *others) for value in (each.salt, each.stored_key, each.server_key)]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("salt", [bytes(range(0, 256, 4)), b"1x3kq0w9z8", b"upper Case"])
def test_decoys_look_like_others(salt: bytes) -> None:
    like = derive(SHA_256, "pencil", salt, 8192)
    made = decoy(SHA_256, "nobody", b"secret", like)
    assert (made.iterations, len(made.salt)) == (8192, len(salt))
    assert is_textual(made.salt) == is_textual(salt)
    assert len(made.stored_key) == len(like.stored_key)
    assert isinstance(made, ScramCredential)
    assert not is_password(SHA_256, made, "pencil")
