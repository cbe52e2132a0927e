"""How a connection says who it is (SASL): the steps of one client, without I/O.

A client names a mechanism (SaslHandshake), then sends what that mechanism asks for (SaslAuthenticate). After
a mistake the session is of no use any more, and the connection is to be closed: whoever guesses passwords
needs a connection for each. Where sessions have a lifetime, a client repeats all that in time (KIP-368), as
the same user.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import msgspec
from kio.schema.errors import ErrorCode

from streamhouse import limits
from streamhouse.kafka.security.passwords import MECHANISMS, Mechanism, ScramCredential
from streamhouse.kafka.security.scram import ScramError, ScramServer
from streamhouse.runtime import Runtime

PLAIN: Final = "PLAIN"
TOKEN_BYTES_MAX: Final = 16 * limits.KIB  # names and passwords are short
REAUTHENTICATION_SECONDS_MIN: Final = 1.0  # as in Kafka

_NONCE_BYTES: Final = 24


class Authority(Protocol):
    """Knows users; :class:`~streamhouse.kafka.security.identities.Identities` is one."""

    def challenge(self, user: str, mechanism: Mechanism) -> ScramCredential:
        """A user's credential, or one that nobody can prove."""

    def is_password(self, user: str, password: str) -> bool:
        """Whether a password is that of a user."""


class Continue(msgspec.Struct, frozen=True):
    """The exchange goes on.

    Attributes:
        data: For the client.
    """

    data: bytes

    def __repr__(self) -> str:
        return "Continue(...)"


class Done(msgspec.Struct, frozen=True):
    """The client is who it says.

    Attributes:
        principal: Such as ``User:alice``.
        data: For the client.
        session_lifetime_ms: It has to repeat this within that time; 0: it need not.
    """

    principal: str
    data: bytes
    session_lifetime_ms: int

    def __repr__(self) -> str:
        return f"Done({self.principal!r}, session_lifetime_ms={self.session_lifetime_ms})"


class Failed(msgspec.Struct, frozen=True):
    """The client is not who it says, or does not keep to the protocol.

    Attributes:
        message: For the client.
        error: What Kafka calls it.
    """

    message: str
    error: ErrorCode = ErrorCode.sasl_authentication_failed


Step: TypeAlias = Continue | Done | Failed


class SaslSession:
    """Who the client of one connection is.

    Args:
        mechanisms: Those that are offered.
        authority: Knows users.
        runtime: For nonces, and the clock.
        session_lifetime_ms: How long a client may go on before it has to say again who it is; 0: for ever.
    """

    def __init__(
        self,
        mechanisms: Sequence[str],
        authority: Authority,
        runtime: Runtime,
        session_lifetime_ms: int = 0,
    ) -> None:
        self.mechanisms = tuple(mechanisms)
        self.principal: str | None = None
        self.raw = False
        self._authority = authority
        self._runtime = runtime
        self._lifetime_ms = session_lifetime_ms
        self._mechanism = ""  # that by which the client has said who it is
        self._exchange: _Plain | _Scram | None = None  # under way
        self._failed = False
        self._done_at = 0.0
        self._busy = threading.Lock()  # no client sends the second step before the answer to the first

    def __repr__(self) -> str:
        return f"SaslSession({self.principal}, done={self.done}, failed={self.failed})"

    @property
    def done(self) -> bool:
        """Whether the client may ask for things: it said who it is, not too long ago, and is not at it."""
        known = self.principal is not None and self._exchange is None
        return known and not self._failed and not self._expired

    @property
    def failed(self) -> bool:
        """Whether the connection is to be closed, once the client has been told why."""
        return self._failed

    @property
    def _expired(self) -> bool:
        return self._lifetime_ms > 0 and self._age_seconds * 1000 > self._lifetime_ms

    @property
    def _age_seconds(self) -> float:
        return self._runtime.monotonic() - self._done_at

    # --- steps -------------------------------------------------------------------------------------

    def handshake(self, mechanism: str, version: int = 1) -> ErrorCode:
        """Begin, for the first time or once more.

        Args:
            mechanism: What the client wants to use.
            version: Of its request. After version 0 the client sends what is for :meth:`authenticate` without
                a request around it, only with its size in front, and wants the answers likewise; :attr:`raw`
                says so from then on.

        Returns:
            What went wrong, or ``none``. The client is told :attr:`mechanisms` in any case.
        """
        again = self.principal is not None
        if again and self._exchange is None and self._age_seconds < REAUTHENTICATION_SECONDS_MIN:
            return ErrorCode.illegal_sasl_state  # Kafka's limit on how often; no harm done
        if self._failed or self._exchange is not None or self._busy.locked():
            self._failed = True
            return ErrorCode.illegal_sasl_state
        if mechanism not in self.mechanisms:
            self._failed = True
            return ErrorCode.unsupported_sasl_mechanism
        self.raw = version == 0
        if mechanism == PLAIN:
            self._exchange = _Plain(self._authority)
        else:
            self._exchange = _Scram(MECHANISMS[mechanism], self._authority, self._nonce())
        return ErrorCode.none

    def authenticate(self, data: bytes) -> Step:
        """Take a step. Of ``PLAIN`` it takes milliseconds, so that it is better done on another thread.

        Raises:
            StreamhouseError: Users could not be looked up. The session has failed then.
        """
        if not self._busy.acquire(blocking=False):
            self._failed = True
            return _out_of_turn("a step before the answer to the last one")
        try:
            return self._authenticate(data)
        finally:
            self._busy.release()

    def _authenticate(self, data: bytes) -> Step:
        exchange = self._exchange
        if exchange is None:
            self._failed = self._failed or self.principal is None
            return _out_of_turn("a step without a handshake")
        failed_before, self._failed = self._failed, True  # unless what follows succeeds
        if failed_before:
            return _out_of_turn("a step after a failure")
        wrong = self._check(exchange, data)
        if wrong is not None:
            return wrong
        try:
            answer = exchange.step(data)
        except ScramError as error:
            return Failed(str(error) or self._refusal(exchange.mechanism))
        if exchange.user is None:
            self._failed = False
            return Continue(answer)
        return self._finish(exchange, answer)

    def _check(self, exchange: _Plain | _Scram, data: bytes) -> Failed | None:
        if len(data) > TOKEN_BYTES_MAX:
            return Failed(f"Authentication failed: more than {TOKEN_BYTES_MAX} bytes")
        if self._mechanism not in {"", exchange.mechanism}:
            return Failed(
                f"SASL mechanism '{exchange.mechanism}' requested by client is not supported for"
                f" re-authentication of mechanism '{self._mechanism}'"
            )
        return None

    def _finish(self, exchange: _Plain | _Scram, answer: bytes) -> Step:
        principal = f"User:{exchange.user}"
        if self.principal not in {None, principal}:
            return Failed(
                f"Cannot change principals during re-authentication from {self.principal}: {principal}"
            )
        self.principal = principal
        self._mechanism = exchange.mechanism
        self._done_at = self._runtime.monotonic()
        self._exchange = None
        self._failed = False
        return Done(principal, answer, self._lifetime_ms)

    def _refusal(self, mechanism: str) -> str:
        what = "authentication" if self.principal is None else "re-authentication"
        return (
            f"Authentication failed during {what} due to invalid credentials with SASL mechanism {mechanism}"
        )

    def _nonce(self) -> str:
        return base64.urlsafe_b64encode(self._runtime.random_bytes(_NONCE_BYTES)).decode()


class _Scram:
    """An exchange of two steps."""

    def __init__(self, mechanism: Mechanism, authority: Authority, nonce: str) -> None:
        self.mechanism = mechanism.name
        self._server = ScramServer(mechanism, lambda user: authority.challenge(user, mechanism), nonce)

    @property
    def user(self) -> str | None:
        """Who it is, at the end."""
        return self._server.user if self._server.done else None

    def step(self, data: bytes) -> bytes:
        return self._server.step(data)


class _Plain:
    """An exchange of one step: name and password (RFC 4616)."""

    mechanism: Final = PLAIN

    def __init__(self, authority: Authority) -> None:
        self.user: str | None = None
        self._authority = authority

    def step(self, data: bytes) -> bytes:
        try:
            tokens = data.decode().split("\0")
        except UnicodeDecodeError:
            raise ScramError("Invalid SASL/PLAIN response: it is not UTF-8") from None
        if len(tokens) != 3:
            raise ScramError(f"Invalid SASL/PLAIN response: expected 3 tokens, got {min(len(tokens), 4)}")
        authorized, user, password = tokens
        if not user:
            raise ScramError("Authentication failed: username not specified")
        if not password:
            raise ScramError("Authentication failed: password not specified")
        if not self._authority.is_password(user, password):
            raise ScramError("Authentication failed: Invalid username or password")
        if authorized not in {"", user}:
            raise ScramError(
                "Authentication failed: Client requested an authorization id that is different from username"
            )
        self.user = user
        return b""


def _out_of_turn(what: str) -> Failed:
    return Failed(f"Unexpected SaslAuthenticate request: {what}", ErrorCode.illegal_sasl_state)
