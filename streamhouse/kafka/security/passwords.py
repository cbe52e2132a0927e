"""What is kept of a password for SCRAM, and for users that do not exist (RFC 5802).

As in Kafka a password is its UTF-8 bytes, without SASLprep, and is hashed 4096 to 16384 times.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Final

import msgspec

from streamhouse.errors import InvalidInputError
from streamhouse.records import is_unicode

ITERATIONS_MIN: Final = 4096
ITERATIONS_MAX: Final = 16384
SALT_BYTES_MAX: Final = 1024

_TEXTUAL: Final = b"0123456789abcdefghijklmnopqrstuvwxyz"


class Mechanism(msgspec.Struct, frozen=True):
    """A variant of SCRAM.

    Attributes:
        name: As it stands in handshakes.
        number: As it stands in requests that change credentials.
        hash: Its hash function.
        digest_bytes: How long digests are.
    """

    name: str
    number: int
    hash: str
    digest_bytes: int

    def hmac(self, key: bytes, message: bytes) -> bytes:
        """HMAC with its hash function."""
        return hmac.digest(key, message, self.hash)

    def salted(self, password: str, salt: bytes, iterations: int) -> bytes:
        """The salted password. Takes milliseconds, in which other threads run."""
        return hashlib.pbkdf2_hmac(self.hash, password.encode(), salt, iterations)


SHA_256: Final = Mechanism("SCRAM-SHA-256", 1, "sha256", 32)
SHA_512: Final = Mechanism("SCRAM-SHA-512", 2, "sha512", 64)
MECHANISMS: Final = {mechanism.name: mechanism for mechanism in (SHA_256, SHA_512)}
"""By name."""
MECHANISMS_BY_NUMBER: Final = {mechanism.number: mechanism for mechanism in MECHANISMS.values()}


class ScramCredential(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of a password. Stored in the log: new fields go to the end and have a default.

    Attributes:
        salt: What it was salted with.
        stored_key: Checks proofs.
        server_key: Shows the client that it is us.
        iterations: How often it was hashed.
    """

    salt: bytes
    stored_key: bytes
    server_key: bytes
    iterations: int

    def __repr__(self) -> str:
        return f"ScramCredential(..., iterations={self.iterations})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # tracebacks by rich show variables
        return [("iterations", self.iterations)]


def credential_of(
    mechanism: Mechanism, salted_password: bytes, salt: bytes, iterations: int
) -> ScramCredential:
    """A credential, from the salted password as clients send it.

    Raises:
        InvalidInputError: Kafka would not take it, or nobody could ever log in with it.
    """
    if iterations < ITERATIONS_MIN:
        raise InvalidInputError("Too few iterations")
    if iterations > ITERATIONS_MAX:
        raise InvalidInputError("Too many iterations")
    if not 0 < len(salt) <= SALT_BYTES_MAX:
        raise InvalidInputError(f"Salt must have 1 to {SALT_BYTES_MAX} bytes, not {len(salt)}")
    if len(salted_password) != mechanism.digest_bytes:
        raise InvalidInputError(
            f"Salted password must have the {mechanism.digest_bytes} bytes of a digest of {mechanism.name},"
            f" not {len(salted_password)}"
        )
    client_key = mechanism.hmac(salted_password, b"Client Key")
    return ScramCredential(
        salt=salt,
        stored_key=hashlib.new(mechanism.hash, client_key).digest(),
        server_key=mechanism.hmac(salted_password, b"Server Key"),
        iterations=iterations,
    )


def derive(
    mechanism: Mechanism, password: str, salt: bytes, iterations: int = ITERATIONS_MIN
) -> ScramCredential:
    """A credential, from a password. Takes milliseconds.

    Raises:
        InvalidInputError: The password or the salt is empty, or the number of iterations out of bounds.
    """
    if not password or not is_unicode(password):
        raise InvalidInputError("Password must be text, and not empty")
    if not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
        raise InvalidInputError(f"iterations={iterations} is outside {ITERATIONS_MIN} to {ITERATIONS_MAX}")
    return credential_of(mechanism, mechanism.salted(password, salt, iterations), salt, iterations)


def is_password(mechanism: Mechanism, credential: ScramCredential, password: str) -> bool:
    """Whether a credential was derived from a password. Takes milliseconds."""
    salted = mechanism.salted(password, credential.salt, credential.iterations)
    client_key = mechanism.hmac(salted, b"Client Key")
    stored_key = hashlib.new(mechanism.hash, client_key).digest()
    return hmac.compare_digest(stored_key, credential.stored_key)


def decoy(mechanism: Mechanism, user: str, secret: bytes, like: ScramCredential | None) -> ScramCredential:
    """A credential for a user that does not exist: always the same for a name, and nobody can prove it.

    To do so would take a value whose hash is the stored key, which was made without one.

    Args:
        mechanism: Of the exchange.
        user: Its name.
        secret: What clients do not know, and all gateways of a log have in common.
        like: A credential that it is to resemble.
    """

    def drawn(label: str, size: int) -> bytes:
        seed = hmac.digest(secret, f"{label} {mechanism.name} {user}".encode(), "sha256")
        return hashlib.shake_256(seed).digest(size)

    size, textual = (24, False) if like is None else (len(like.salt), is_textual(like.salt))
    salt = drawn("salt", size)
    if textual:  # what Java's admin client draws looks like that
        salt = bytes(_TEXTUAL[byte % len(_TEXTUAL)] for byte in salt)
    return ScramCredential(
        salt=salt,
        stored_key=drawn("stored key", mechanism.digest_bytes),
        server_key=drawn("server key", mechanism.digest_bytes),
        iterations=ITERATIONS_MIN if like is None else like.iterations,
    )


def is_textual(salt: bytes) -> bool:
    """Whether a salt consists of digits and lower-case letters only."""
    return not salt.translate(None, _TEXTUAL)
