"""How a connection says who it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.schema.errors import ErrorCode

from streamhouse.kafka.security.passwords import (
    MECHANISMS,
    SHA_256,
    SHA_512,
    Mechanism,
    ScramCredential,
    decoy,
    derive,
    is_password,
)
from streamhouse.kafka.security.sasl import (
    PLAIN,
    TOKEN_BYTES_MAX,
    Continue,
    Done,
    Failed,
    SaslSession,
    Step,
)
from streamhouse.runtime import SystemRuntime
from tests.kafka.security.clients import CLIENTS, Client, kafka_python

ALL = (PLAIN, *MECHANISMS)
PASSWORDS = {"alice": "pencil", "bob": "crayon", "a,b": "x"}
CREDENTIALS = {
    (user, mechanism.name): derive(mechanism, password, b"salt")
    for user, password in PASSWORDS.items()
    for mechanism in (SHA_256, SHA_512)
}


class Clock(SystemRuntime):
    """Time passes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


class Users:
    """Three of them, known without a log."""

    def challenge(self, user: str, mechanism: Mechanism) -> ScramCredential:
        made = decoy(mechanism, user, b"secret", None)
        return CREDENTIALS.get((user, mechanism.name), made)

    def is_password(self, user: str, password: str) -> bool:
        return is_password(SHA_256, self.challenge(user, SHA_256), password)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def session_of(clock: Clock, *mechanisms: str, lifetime_ms: int = 0) -> SaslSession:
    return SaslSession(mechanisms or ALL, Users(), clock, lifetime_ms)


def log_in(
    session: SaslSession, mechanism: str, user: str, password: str, client: Client = kafka_python
) -> Step:
    """All steps; the last answer."""
    assert session.handshake(mechanism) is ErrorCode.none
    if mechanism == PLAIN:
        return session.authenticate(f"\0{user}\0{password}".encode())
    steps: list[Step] = []

    def answer(message: bytes) -> bytes:
        steps.append(session.authenticate(message))
        assert isinstance(steps[-1], Continue | Done), steps[-1]
        return steps[-1].data

    with suppress(AssertionError):
        client(mechanism, user, password, answer)
    return steps[-1]


@pytest.mark.parametrize("mechanism", ALL)
@pytest.mark.parametrize("client", CLIENTS)
def test_logging_in(clock: Clock, mechanism: str, client: Client) -> None:
    session = session_of(clock)
    assert not session.done
    done = log_in(session, mechanism, "alice", "pencil", client)
    assert isinstance(done, Done)
    assert (done.principal, done.session_lifetime_ms) == ("User:alice", 0)
    assert session.principal == "User:alice"
    assert session.done
    assert not session.failed
    clock.seconds += 10**9
    assert session.done


@pytest.mark.parametrize("mechanism", ALL)
@pytest.mark.parametrize(
    ("user", "password"), [("alice", "crayon"), ("nobody", "pencil"), ("Alice", "pencil")]
)
def test_wrong_passwords_and_unknown_users_are_refused_alike(
    clock: Clock, mechanism: str, user: str, password: str
) -> None:
    session = session_of(clock)
    failed = log_in(session, mechanism, user, password)
    why = f"due to invalid credentials with SASL mechanism {mechanism}"
    scram = f"Authentication failed during authentication {why}"
    plain = "Authentication failed: Invalid username or password"
    assert failed == Failed(plain if mechanism == PLAIN else scram)
    assert failed.error is ErrorCode.sasl_authentication_failed
    assert session.failed
    assert not session.done
    assert session.principal is None


@pytest.mark.parametrize("mechanism", ALL)
def test_after_a_failure_it_is_over(clock: Clock, mechanism: str) -> None:
    session = session_of(clock)
    log_in(session, mechanism, "alice", "wrong")
    again = session.authenticate(b"\0alice\0pencil")
    assert isinstance(again, Failed)
    assert again.error is ErrorCode.illegal_sasl_state
    assert session.handshake(mechanism) is ErrorCode.illegal_sasl_state
    assert isinstance(session.authenticate(b"\0alice\0pencil"), Failed)
    assert session.failed
    assert not session.done


# --- handshakes ------------------------------------------------------------------------------------------


def test_a_mechanism_that_is_not_offered(clock: Clock) -> None:
    session = session_of(clock, "SCRAM-SHA-512", "SCRAM-SHA-256")
    assert session.mechanisms == ("SCRAM-SHA-512", "SCRAM-SHA-256")
    assert session.handshake(PLAIN) is ErrorCode.unsupported_sasl_mechanism
    assert session.failed
    assert isinstance(session.authenticate(b"\0alice\0pencil"), Failed)
    assert not session.done


@pytest.mark.parametrize("mechanism", ["", "GSSAPI", "plain", "SCRAM-SHA-1", "OAUTHBEARER", "x" * 30_000])
def test_a_mechanism_that_there_is_not(clock: Clock, mechanism: str) -> None:
    assert session_of(clock).handshake(mechanism) is ErrorCode.unsupported_sasl_mechanism


def test_no_steps_without_a_handshake(clock: Clock) -> None:
    session = session_of(clock)
    failed = session.authenticate(b"\0alice\0pencil")
    assert isinstance(failed, Failed)
    assert failed.error is ErrorCode.illegal_sasl_state
    assert session.failed


def test_one_handshake_at_a_time(clock: Clock) -> None:
    session = session_of(clock)
    assert session.handshake(PLAIN) is ErrorCode.none
    assert session.handshake(PLAIN) is ErrorCode.illegal_sasl_state
    assert isinstance(session.authenticate(b"\0alice\0pencil"), Failed)


@pytest.mark.parametrize("version", [0, 1])
def test_old_handshakes_are_followed_by_bare_bytes(clock: Clock, version: int) -> None:
    session = session_of(clock)
    assert session.handshake(PLAIN, version) is ErrorCode.none
    assert session.raw is (version == 0)


# --- PLAIN -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "expected 3 tokens, got 1"),
        (b"alice\0pencil", "expected 3 tokens, got 2"),
        (b"\0alice\0pencil\0", "expected 3 tokens, got 4"),
        (b"\0" * 10_000, "expected 3 tokens, got 4"),
        (b"\0\0pencil", "username not specified"),
        (b"\0alice\0", "password not specified"),
        (b"bob\0alice\0pencil", "authorization id that is different from username"),
        (b"bob\0alice\0crayon", "Invalid username or password"),
        (b"\0alice\0\xff", "UTF-8"),
        (b"\0alice\0" + b"x" * TOKEN_BYTES_MAX, "more than 16384 bytes"),
    ],
)
def test_plain_messages_that_are_refused(clock: Clock, message: bytes, why: str) -> None:
    session = session_of(clock)
    session.handshake(PLAIN)
    failed = session.authenticate(message)
    assert isinstance(failed, Failed)
    assert why in failed.message
    assert "pencil" not in failed.message
    assert session.failed


def test_acting_as_oneself(clock: Clock) -> None:
    session = session_of(clock)
    session.handshake(PLAIN)
    assert session.authenticate(b"alice\0alice\0pencil") == Done("User:alice", b"", 0)


# --- once more (KIP-368) ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ALL)
def test_a_session_ends_unless_it_is_renewed(clock: Clock, mechanism: str) -> None:
    session = session_of(clock, lifetime_ms=60_000)
    done = log_in(session, mechanism, "alice", "pencil")
    assert isinstance(done, Done)
    assert done.session_lifetime_ms == 60_000
    clock.seconds += 59
    assert session.done
    assert isinstance(log_in(session, mechanism, "alice", "pencil"), Done)
    clock.seconds += 59
    assert session.done
    clock.seconds += 2
    assert not session.done
    assert not session.failed
    assert isinstance(log_in(session, mechanism, "alice", "pencil"), Done)  # better late than never
    assert session.done


def test_nothing_else_meanwhile(clock: Clock) -> None:
    session = session_of(clock, lifetime_ms=60_000)
    log_in(session, PLAIN, "alice", "pencil")
    clock.seconds += 30
    assert session.handshake(PLAIN) is ErrorCode.none
    assert not session.done
    assert session.principal == "User:alice"
    assert isinstance(session.authenticate(b"\0alice\0pencil"), Done)
    assert session.done


NOT_SUPPORTED = (
    "SASL mechanism '{}' requested by client is not supported for"
    " re-authentication of mechanism 'SCRAM-SHA-256'"
)
NOT_PROVEN = (
    "Authentication failed during re-authentication due to invalid credentials"
    " with SASL mechanism SCRAM-SHA-256"
)
SOMEBODY_ELSE = "Cannot change principals during re-authentication from User:alice: User:bob"


@pytest.mark.parametrize(
    ("mechanism", "user", "password", "why"),
    [
        ("SCRAM-SHA-256", "bob", "crayon", SOMEBODY_ELSE),
        ("SCRAM-SHA-256", "alice", "crayon", NOT_PROVEN),
        ("SCRAM-SHA-512", "alice", "pencil", NOT_SUPPORTED.format("SCRAM-SHA-512")),
        (PLAIN, "alice", "pencil", NOT_SUPPORTED.format(PLAIN)),
    ],
)
def test_only_as_the_same(clock: Clock, mechanism: str, user: str, password: str, why: str) -> None:
    session = session_of(clock)
    log_in(session, "SCRAM-SHA-256", "alice", "pencil")
    clock.seconds += 10
    assert log_in(session, mechanism, user, password) == Failed(why)
    assert session.failed
    assert not session.done
    assert session.principal == "User:alice"


def test_not_by_a_mechanism_that_is_not_offered(clock: Clock) -> None:
    session = session_of(clock, PLAIN)
    log_in(session, PLAIN, "alice", "pencil")
    clock.seconds += 10
    assert session.handshake("SCRAM-SHA-256") is ErrorCode.unsupported_sasl_mechanism
    assert session.failed
    assert not session.done


def test_not_more_than_once_a_second(clock: Clock) -> None:
    session = session_of(clock)
    log_in(session, PLAIN, "alice", "pencil")
    clock.seconds += 0.9
    assert session.handshake(PLAIN) is ErrorCode.illegal_sasl_state
    assert session.done  # no harm done
    failed = session.authenticate(b"\0alice\0pencil")
    assert isinstance(failed, Failed)
    assert failed.error is ErrorCode.illegal_sasl_state
    assert session.done
    clock.seconds += 0.2
    assert isinstance(log_in(session, PLAIN, "alice", "pencil"), Done)


# --- mischief --------------------------------------------------------------------------------------------


def test_steps_at_the_same_time(clock: Clock) -> None:
    """They are taken on threads; a client that does not wait for the answer gets nowhere."""
    began, go_on = threading.Event(), threading.Event()

    class Slow(Users):
        def is_password(self, user: str, password: str) -> bool:
            began.set()
            assert go_on.wait(10)
            return super().is_password(user, password)

    session = SaslSession(ALL, Slow(), clock)
    session.handshake(PLAIN)
    first: list[Step] = []
    thread = threading.Thread(target=lambda: first.append(session.authenticate(b"\0alice\0guess")))
    thread.start()
    assert began.wait(10)
    assert not session.done
    second = session.authenticate(b"\0alice\0pencil")
    assert isinstance(second, Failed)
    assert second.error is ErrorCode.illegal_sasl_state
    assert session.handshake(PLAIN) is ErrorCode.illegal_sasl_state
    go_on.set()
    thread.join()
    assert isinstance(first[0], Failed)
    assert session.failed
    assert not session.done


def test_users_that_cannot_be_looked_up(clock: Clock) -> None:
    class Broken(Users):
        def challenge(self, user: str, mechanism: Mechanism) -> ScramCredential:
            raise LookupError("the log is closed")

    session = SaslSession(ALL, Broken(), clock)
    session.handshake("SCRAM-SHA-256")
    with pytest.raises(LookupError):
        session.authenticate(b"n,,n=alice,r=nonce")
    assert session.failed
    assert not session.done


def test_nonces_differ(clock: Clock) -> None:
    answers = set()
    for _ in range(20):
        session = session_of(clock)
        session.handshake("SCRAM-SHA-256")
        step = session.authenticate(b"n,,n=alice,r=same")
        assert isinstance(step, Continue)
        answers.add(step.data)
    assert len(answers) == 20


def test_nothing_secret_is_shown(clock: Clock) -> None:
    session = session_of(clock)
    session.handshake("SCRAM-SHA-256")
    step = session.authenticate(b"n,,n=alice,r=nonce")
    assert isinstance(step, Continue)
    assert repr(step.data)[2:10] not in repr(step)
    assert "nonce" not in f"{session!r}{step!r}"
    assert "alice" in repr(Done("User:alice", b"v=secret", 0))
    assert "secret" not in repr(Done("User:alice", b"v=secret", 0))


actions = st.one_of(
    st.tuples(st.just("handshake"), st.sampled_from([*ALL, "GSSAPI"])),
    st.tuples(
        st.just("step"),
        st.sampled_from([b"", b"\0alice\0guess", b"n,,n=alice,r=nonce", b"c=biws,r=x,p=eA=="]),
    ),
    st.tuples(st.just("bytes"), st.binary(max_size=20)),
    st.tuples(st.just("wait"), st.integers(0, 100)),
)


@given(st.lists(actions, max_size=12))
def test_nobody_gets_in_without_a_password(steps: list[tuple[str, object]]) -> None:
    clock = Clock()
    session = session_of(clock, lifetime_ms=1000)
    for what, value in steps:
        if what == "handshake":
            session.handshake(value)
        elif what == "wait":
            clock.seconds += value
        else:
            assert not isinstance(session.authenticate(value), Done)
        assert not session.done
        assert session.principal is None


@given(st.lists(st.sampled_from(["good", "bad", "handshake", "step", "wait"]), max_size=12))
def test_whoever_is_in_is_so_by_a_password(steps: list[str]) -> None:
    """``done`` says yes only after a Done, and never again after a failure."""
    clock = Clock()
    session = session_of(clock)
    expected = over = under_way = False
    age = 0.0
    do: dict[str, Callable[[], object]] = {
        "good": lambda: session.authenticate(b"\0alice\0pencil"),
        "bad": lambda: session.authenticate(b"\0alice\0guess"),
        "step": lambda: session.authenticate(b"\0"),
        "handshake": lambda: session.handshake(PLAIN),
    }
    for step in steps:
        if step == "wait":
            clock.seconds += 2
            age += 2
            continue
        result = do[step]()
        if step == "handshake":
            if result is ErrorCode.none:
                under_way = True
            elif not (expected and not under_way and age < 1):
                over = True
        elif isinstance(result, Done):
            assert step == "good"
            assert under_way
            expected, under_way, age = True, False, 0.0
        elif under_way or not expected:
            over = True
        assert session.done is (expected and not over and not under_way)
