"""SCRAM, the server's side: a client shows that it knows a password without sending it (RFC 5802, RFC 7677).

The client sends its name; the server answers with the salt and the number of iterations by which its
credential was derived; the client proves that it could derive it, the server proves that it has it. What is
kept of a password is enough to check a proof and too little to make one.

As in Kafka there is no channel binding (``n`` only; ``y`` and ``p=`` are refused). Its extension by which
clients show delegation tokens, ``tokenauth=true``, is refused, for there are no such tokens.

Kafka breaks off at once when a user does not exist. Here the exchange goes on to the end, with a credential
that nobody can prove (:func:`~streamhouse.kafka.security.passwords.decoy`), so that names cannot be probed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from streamhouse.kafka.security.passwords import Mechanism, ScramCredential

_EXTENSION: Final = re.compile(r"([A-Za-z]+)=([^\0,]+)")
_NONCE: Final = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
_ESCAPE: Final = re.compile("=(2C|3D)?")
_UNESCAPED: Final = {"2C": ",", "3D": "="}


class ScramError(Exception):
    """The exchange failed. The message may be shown to the client; empty: the proof is wrong."""


Lookup: TypeAlias = Callable[[str], ScramCredential]
"""From the name of a user to its credential, or to a decoy."""


class ScramServer:
    """One exchange: two messages of the client, and the answers to them. No I/O.

    Args:
        mechanism: Which variant.
        lookup: Finds credentials.
        nonce: Random, never used before; printable ASCII without commas.
    """

    def __init__(self, mechanism: Mechanism, lookup: Lookup, nonce: str) -> None:
        if not _NONCE.fullmatch(nonce):
            raise ValueError("a nonce is printable ASCII without commas")
        self.user = ""
        self.done = False
        self._mechanism = mechanism
        self._lookup = lookup
        self._nonce = nonce
        self._credential: ScramCredential | None = None  # once the first message is there
        self._header = b""
        self._conversation = b""
        self._over = False

    def step(self, message: bytes) -> bytes:
        """The answer to a message.

        Raises:
            ScramError: The exchange failed, and is over.
        """
        if self._over:
            raise ScramError("Authentication failed: the exchange is over")
        self._over = True  # if what follows raises
        text = _text(message)
        answer = self._first(text) if self._credential is None else self._final(text, self._credential)
        self._over = self.done
        return answer.encode()

    def _first(self, text: str) -> str:
        header, bare, authorized = _split_header(text)
        self.user, nonce = _split_first(bare)
        if authorized not in {"", self.user}:
            raise ScramError(
                "Authentication failed: Client requested an authorization id that is different from username"
            )
        self._credential = credential = self._lookup(self.user)
        self._header = header.encode()
        self._nonce = nonce + self._nonce
        salt = base64.b64encode(credential.salt).decode()
        answer = f"r={self._nonce},s={salt},i={credential.iterations}"
        self._conversation = f"{bare},{answer}".encode()
        return answer

    def _final(self, text: str, credential: ScramCredential) -> str:
        front, _, proof_text = text.rpartition(",p=")
        binding, nonce, *extensions = [*front.split(","), ""]
        if not binding.startswith("c=") or not nonce.startswith("r=") or not _are_extensions(extensions[:-1]):
            raise ScramError("Invalid SCRAM client final message format")
        proof = _from_base64(proof_text)
        if _from_base64(binding[2:]) != self._header:
            raise ScramError("Invalid channel binding in the final client message")
        if not hmac.compare_digest(nonce[2:].encode(), self._nonce.encode()):
            raise ScramError("Invalid client nonce in the final client message")
        conversation = self._conversation + b"," + front.encode()
        if not self._proven(credential, conversation, proof):
            raise ScramError
        self.done = True
        signature = self._mechanism.hmac(credential.server_key, conversation)
        return f"v={base64.b64encode(signature).decode()}"

    def _proven(self, credential: ScramCredential, conversation: bytes, proof: bytes) -> bool:
        if len(proof) != self._mechanism.digest_bytes:
            return False
        signature = self._mechanism.hmac(credential.stored_key, conversation)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        stored_key = hashlib.new(self._mechanism.hash, client_key).digest()
        return hmac.compare_digest(stored_key, credential.stored_key)


# --- messages --------------------------------------------------------------------------------------------


def _text(message: bytes) -> str:
    try:
        text = message.decode()
    except UnicodeDecodeError:
        raise ScramError("Invalid SCRAM message: it is not UTF-8") from None
    if "\0" in text:
        raise ScramError("Invalid SCRAM message: it has a NUL")
    return text


def _split_header(text: str) -> tuple[str, str, str]:
    """The header in front of the client's first message, the rest, and who the client wants to act as."""
    flag, _, rest = text.partition(",")
    if flag == "y" or flag.startswith("p="):
        raise ScramError("Channel binding is not supported")
    authorized, comma, bare = rest.partition(",")
    if flag != "n" or not comma or (authorized and not authorized.startswith("a=")):
        raise ScramError("Invalid SCRAM client first message format")
    return f"n,{authorized},", bare, _unescaped(authorized[2:])


def _split_first(bare: str) -> tuple[str, str]:
    """The name of the user and the nonce."""
    name, nonce, *extensions = [*bare.split(","), ""]
    if name.startswith("m="):
        raise ScramError("Mandatory SCRAM extensions are not supported")
    user = _unescaped(name[2:])
    if not name.startswith("n=") or not user or not nonce.startswith("r=") or not _NONCE.fullmatch(nonce[2:]):
        raise ScramError("Invalid SCRAM client first message format")
    if not _are_extensions(extensions[:-1]):
        raise ScramError("Invalid SCRAM client first message format")
    if any(extension.lower() == "tokenauth=true" for extension in extensions):
        raise ScramError("Authentication failed: delegation tokens are not supported")
    return user, nonce[2:]


def _are_extensions(extensions: list[str]) -> bool:
    return all(_EXTENSION.fullmatch(extension) for extension in extensions)


def _unescaped(name: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match[1] is None:
            raise ScramError("Invalid SCRAM client first message format: '=' in a name is sent as '=3D'")
        return _UNESCAPED[match[1]]

    return _ESCAPE.sub(character, name)


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode(), validate=True)
    except binascii.Error:
        raise ScramError("Invalid SCRAM client final message format: not base64") from None
