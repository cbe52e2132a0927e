"""SCRAM, against the vectors of the RFCs and against clients that others wrote."""

from __future__ import annotations

import base64
import hashlib
import hmac
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.kafka.security.passwords import (
    MECHANISMS,
    SHA_256,
    Mechanism,
    ScramCredential,
    credential_of,
    decoy,
    derive,
)
from streamhouse.kafka.security.scram import ScramError, ScramServer
from tests.kafka.security.clients import CLIENTS, Client, kafka_python

mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=list(MECHANISMS))
clients = pytest.mark.parametrize("client", CLIENTS)

# RFC 7677, section 3
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
CLIENT_FIRST = f"n,,n=user,r={CLIENT_NONCE}".encode()
SERVER_FIRST = f"r={CLIENT_NONCE}{NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
PROOF = b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
CLIENT_FINAL = f"c=biws,r={CLIENT_NONCE}{NONCE},p=".encode() + PROOF
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def server_for(
    credential: ScramCredential, mechanism: Mechanism = SHA_256, nonce: str = "3rfcNHYJY1"
) -> ScramServer:
    return ScramServer(mechanism, lambda _user: credential, nonce)


@pytest.fixture(scope="module")
def pencil() -> ScramCredential:
    return derive(SHA_256, "pencil", SALT)


def test_the_example_of_rfc_7677(pencil: ScramCredential) -> None:
    asked: list[str] = []

    def lookup(user: str) -> ScramCredential:
        asked.append(user)
        return pencil

    server = ScramServer(SHA_256, lookup, NONCE)
    assert server.step(CLIENT_FIRST) == SERVER_FIRST
    assert not server.done
    assert server.step(CLIENT_FINAL) == SERVER_FINAL
    assert server.done
    assert (server.user, asked) == ("user", ["user"])


def test_the_example_of_rfc_5802() -> None:
    """With SHA-1, which nobody is offered: the same code, other numbers."""
    sha1 = Mechanism("SCRAM-SHA-1", 0, "sha1", 20)
    salt = base64.b64decode("QSXCR+Q6sek8bf92")
    credential = credential_of(sha1, sha1.salted("pencil", salt, 4096), salt, 4096)
    server = server_for(credential, sha1, "3rfcNHYJY1ZVvWVs7j")
    first = server.step(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")
    assert first == b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    final = server.step(b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
    assert final == b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="


@mechanisms
@clients
@pytest.mark.parametrize(
    ("user", "password"),
    [("alice", "pencil"), ("Zoë", "schlüssel ⚷"), ("a b/c:d", "p,w=d'\"\\"), ("u" * 200, "p" * 200)],
)
def test_clients_log_in(mechanism: Mechanism, client: Client, user: str, password: str) -> None:
    server = server_for(derive(mechanism, password, b"\0\xff salt", 4096), mechanism)
    client(mechanism.name, user, password, server.step)
    assert server.done
    assert server.user == user


@mechanisms
@pytest.mark.parametrize("client", [client for client in CLIENTS if client is not kafka_python])
@pytest.mark.parametrize("user", ["a,b", "a=b", "=2C", "=3D,=", ",,=="])
def test_names_are_escaped(mechanism: Mechanism, client: Client, user: str) -> None:
    server = server_for(derive(mechanism, "pencil", b"salt"), mechanism)
    client(mechanism.name, user, "pencil", server.step)
    assert server.user == user


def test_kafka_python_does_not_escape_and_is_told_so(pencil: ScramCredential) -> None:
    with pytest.raises(ScramError, match="sent as '=3D'"):
        kafka_python("SCRAM-SHA-256", "a=b", "pencil", server_for(pencil).step)


@mechanisms
@clients
@pytest.mark.parametrize("password", ["pencil2", "Pencil", "penci"])
def test_a_wrong_password_is_refused(mechanism: Mechanism, client: Client, password: str) -> None:
    server = server_for(derive(mechanism, "pencil", b"salt"), mechanism)
    with pytest.raises(ScramError) as caught:
        client(mechanism.name, "alice", password, server.step)
    assert str(caught.value) == ""  # nothing is said but that
    assert not server.done


@mechanisms
@clients
def test_nobody_proves_a_decoy_and_it_fails_like_a_wrong_password(
    mechanism: Mechanism, client: Client
) -> None:
    server = server_for(decoy(mechanism, "nobody", b"secret", None), mechanism)
    with pytest.raises(ScramError) as caught:
        client(mechanism.name, "nobody", "pencil", server.step)
    assert str(caught.value) == ""


@clients
def test_the_client_notices_a_server_that_does_not_know_the_password(client: Client) -> None:
    """The other direction: the server's signature means something."""
    credential = derive(SHA_256, "pencil", b"salt")
    impostor = ScramCredential(credential.salt, credential.stored_key, bytes(32), credential.iterations)
    with pytest.raises(ValueError, match="wrong signature"):
        client("SCRAM-SHA-256", "alice", "pencil", server_for(impostor).step)


def test_a_proof_is_good_once(pencil: ScramCredential) -> None:
    """What was overheard is of no use: the server's nonce is another one."""
    server = server_for(pencil, nonce="another")
    server.step(CLIENT_FIRST)
    with pytest.raises(ScramError, match="nonce"):
        server.step(CLIENT_FINAL)


# --- messages that make no sense -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "format"),
        (b"n", "format"),
        (b"n,", "format"),
        (b"n,,", "format"),
        (b"n,,n=user", "format"),
        (b"n,,n=,r=nonce", "format"),
        (b"n,,n=user,r=", "format"),
        (b"n,,r=nonce,n=user", "format"),
        (b"n,,n=user,r=non ce", "format"),
        (b"n,,n=user,r=n\xc3\xb6nce", "format"),
        (b"n,,n=user,r=nonce,", "format"),
        (b"n,,n=user,r=nonce,x", "format"),
        (b"n,,n=user,r=nonce,x=", "format"),
        (b"n,,n=user,r=nonce,9=x", "format"),
        (b"n,b=user,n=user,r=nonce", "format"),
        (b"q,,n=user,r=nonce", "format"),
        (b"n=user,r=nonce", "format"),
        (b"n,,n=us=er,r=nonce", "=3D"),
        (b"n,,n=user=,r=nonce", "=3D"),
        (b"n,,n=us=2cer,r=nonce", "=3D"),
        (b"n,a=us=er,n=user,r=nonce", "=3D"),
        (b"n,,m=ext,n=user,r=nonce", "Mandatory"),
        (b"y,,n=user,r=nonce", "Channel binding"),
        (b"p=tls-unique,,n=user,r=nonce", "Channel binding"),
        (b"n,,n=us\0er,r=nonce", "NUL"),
        (b"n,,n=\xff\xfe,r=nonce", "UTF-8"),
        (b"n,a=root,n=user,r=nonce", "authorization id"),
        (b"n,,n=token,r=nonce,tokenauth=true", "delegation tokens"),
        (b"n,,n=token,r=nonce,x=y,tokenauth=TRUE", "delegation tokens"),
    ],
)
def test_first_messages_that_are_refused(message: bytes, why: str) -> None:
    def lookup(_user: str) -> ScramCredential:
        raise AssertionError("it should not come to that")

    server = ScramServer(SHA_256, lookup, "nonce")
    with pytest.raises(ScramError, match=why):
        server.step(message)
    with pytest.raises(ScramError, match="over"):
        server.step(CLIENT_FIRST)
    assert not server.done


@pytest.mark.parametrize(
    "message",
    [
        b"n,a=user,n=user,r=nonce",
        b"n,,n=user,r=nonce,tokenauth=false",
        b"n,,n=user,r=nonce,x=y,zz=a=b",
        b"n,,n=user,r=!#$%&'()*+-./~",
    ],
)
def test_first_messages_that_are_not(pencil: ScramCredential, message: bytes) -> None:
    assert server_for(pencil).step(message).startswith(b"r=")


def final(
    server: ScramServer, first: bytes, credential: ScramCredential, middle: str = "", binding: str = "n,,"
) -> bytes:
    """The final message of somebody who knows the password, with something in it."""
    answer = server.step(first).decode()
    nonce = answer.split(",")[0]
    front = f"c={base64.b64encode(binding.encode()).decode()},{nonce}{middle}"
    bare = first.split(b",", 2)[2]
    salted = SHA_256.salted("pencil", credential.salt, credential.iterations)
    client_key = SHA_256.hmac(salted, b"Client Key")
    signature = SHA_256.hmac(
        hashlib.sha256(client_key).digest(), b",".join([bare, answer.encode(), front.encode()])
    )
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return f"{front},p={base64.b64encode(proof).decode()}".encode()


@pytest.mark.parametrize(
    ("first", "middle", "binding"),
    [
        (b"n,,n=user,r=nonce", "", "n,,"),
        (b"n,a=user,n=user,r=nonce", "", "n,a=user,"),
        (b"n,,n=user,r=nonce,x=y", ",z=1,zz=2", "n,,"),
    ],
)
def test_authorization_ids_and_extensions(
    pencil: ScramCredential, first: bytes, middle: str, binding: str
) -> None:
    server = server_for(pencil)
    assert server.step(final(server, first, pencil, middle, binding)).startswith(b"v=")


@pytest.mark.parametrize(
    ("first", "middle", "binding"),
    [
        (b"n,,n=user,r=nonce", "", "y,,"),
        (b"n,,n=user,r=nonce", "", ""),
        (b"n,a=user,n=user,r=nonce", "", "n,,"),
        (b"n,,n=user,r=nonce", "more", "n,,"),
        (b"n,,n=user,r=nonce", ",x", "n,,"),
    ],
)
def test_a_good_proof_of_something_else(
    pencil: ScramCredential, first: bytes, middle: str, binding: str
) -> None:
    server = server_for(pencil)
    message = final(server, first, pencil, middle, binding)
    with pytest.raises(ScramError):
        server.step(message)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"",
        lambda text: text[:-1],
        lambda text: text.replace(b",p=", b",q="),
        lambda text: text.replace(b"c=", b"d=", 1),
        lambda text: text.replace(b",r=", b",s=", 1),
        lambda text: text + b"=",
        lambda text: text.rpartition(b",p=")[0] + b",p=",
        lambda text: text.rpartition(b",p=")[0] + b",p=" + base64.b64encode(bytes(31)),
        lambda text: text.rpartition(b",p=")[0] + b",p=" + base64.b64encode(bytes(33)),
        lambda text: text.rpartition(b",p=")[0] + b",p=!!!!",
        lambda text: b"c=!," + text.partition(b",")[2],
        lambda text: text + b",p=" + base64.b64encode(bytes(32)),
        lambda text: text + b"\0",
        lambda text: text + b"\xff",
    ],
)
def test_final_messages_that_are_refused(pencil: ScramCredential, change: object) -> None:
    server = server_for(pencil)
    message = change(final(server, b"n,,n=user,r=nonce", pencil))
    with pytest.raises(ScramError):
        server.step(message)
    with pytest.raises(ScramError, match="over"):
        server.step(message)
    assert not server.done


@given(st.data())
def test_whatever_comes_is_refused_politely(data: st.DataObject) -> None:
    credential = decoy(SHA_256, "user", b"secret", None)
    server = server_for(credential)
    if data.draw(st.booleans()):
        server.step(b"n,,n=user,r=nonce")
    pieces = st.sampled_from(
        [
            b"n",
            b"y",
            b",",
            b"=",
            b"a=",
            b"n=",
            b"r=",
            b"c=",
            b"biws",
            b"p=",
            b"nonce",
            b"\0",
            b"\xff",
            b"=2C",
            b"v",
        ]
    )
    message = data.draw(st.one_of(st.binary(max_size=40), st.lists(pieces, max_size=12).map(b"".join)))
    with suppress(ScramError):
        server.step(message)
    assert not server.done


@pytest.mark.parametrize("nonce", ["", "a,b", "a b", "ä", "a\n"])
def test_nonces_are_printable(nonce: str) -> None:
    with pytest.raises(ValueError, match="nonce"):
        ScramServer(SHA_256, lambda _user: derive(SHA_256, "x", b"y"), nonce)


def test_proofs_are_compared_in_constant_time(
    pencil: ScramCredential, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    server = server_for(pencil, nonce=NONCE)
    server.step(CLIENT_FIRST)
    server.step(CLIENT_FINAL)
    assert (pencil.stored_key, pencil.stored_key) in compared
