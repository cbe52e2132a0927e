"""Everybody who may log in: users whose passwords a gateway was told, and those that the log knows."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import TypeAlias

from streamhouse.kafka.security.credentials import CredentialStore
from streamhouse.kafka.security.passwords import Mechanism, ScramCredential

Passwords: TypeAlias = Mapping[str, str] | Callable[[str, str], bool | None]
"""Passwords by user, or what says of a user and a password whether it is the right one; ``None``: it does not
know the user."""


class Identities:
    """What SASL asks of a gateway.

    Args:
        credentials: Those in the log.
        passwords: Those that this gateway was told, for ``PLAIN``. They go before credentials in the log.
    """

    def __init__(self, credentials: CredentialStore, passwords: Passwords | None = None) -> None:
        self._credentials = credentials
        self._passwords: Passwords = {} if passwords is None else passwords

    def challenge(self, user: str, mechanism: Mechanism) -> ScramCredential:
        """A user's credential, or one that nobody can prove."""
        return self._credentials.challenge(user, mechanism)

    def is_password(self, user: str, password: str) -> bool:
        """Whether a password is that of a user. May take milliseconds; the less said, the longer."""
        told = self._told(user, password)
        if told is None:
            return self._credentials.is_password(user, password)
        if not told:  # who was told at once would know that there is such a user
            self._credentials.pretend(user, password)
        return told

    def _told(self, user: str, password: str) -> bool | None:
        if isinstance(self._passwords, Mapping):
            expected = self._passwords.get(user)
            return None if expected is None else hmac.compare_digest(expected.encode(), password.encode())
        return self._passwords(user, password)
