"""SCRAM credentials of users, kept in the log: any gateway knows them, and none has to be told.

A credential is an entry ``kafka/users/<name>/<mechanism>``. There are no users beside them: whoever has a
credential is one. Passwords are never stored; those that are sent in the clear (``PLAIN``) are checked by
deriving from them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from kio.schema.errors import ErrorCode

from streamhouse.commits.log import CommitLog
from streamhouse.commits.verdicts import Code
from streamhouse.errors import InvalidInputError
from streamhouse.kafka.security.entries import FULL_MESSAGE, EntryView, decoded
from streamhouse.kafka.security.passwords import (
    ITERATIONS_MIN,
    MECHANISMS,
    MECHANISMS_BY_NUMBER,
    SHA_256,
    Mechanism,
    ScramCredential,
    credential_of,
    decoy,
    derive,
    is_password,
    is_textual,
)
from streamhouse.records import is_unicode
from streamhouse.runtime import Runtime

USER_CHARS_MAX: Final = 255

_PREFIX: Final = "kafka/users/"
_SALT_BYTES: Final = 24
_DECOYS: Final = b"kafka decoys"


class Deletion(msgspec.Struct, frozen=True):
    """A credential that is to go.

    Attributes:
        user: Whose.
        mechanism: The number of its mechanism.
    """

    user: str
    mechanism: int


class Upsertion(msgspec.Struct, frozen=True):
    """A credential that is to be, instead of the one there may be.

    Attributes:
        user: Whose.
        mechanism: The number of its mechanism.
        iterations: How often the password was hashed.
        salt: What it was salted with.
        salted_password: What came of it.
    """

    user: str
    mechanism: int
    iterations: int
    salt: bytes
    salted_password: bytes

    def __repr__(self) -> str:
        return f"Upsertion({self.user!r}, {self.mechanism}, iterations={self.iterations})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("user", self.user), ("mechanism", self.mechanism)]


class Altered(msgspec.Struct, frozen=True):
    """What became of a user's credential.

    Attributes:
        user: Whose.
        error: ``none`` when it was done.
        message: Why not.
    """

    user: str
    error: ErrorCode = ErrorCode.none
    message: str | None = None


class Described(msgspec.Struct, frozen=True):
    """The credentials of a user, without what is secret.

    Attributes:
        user: Whose.
        credentials: Number of the mechanism, and iterations.
        error: Why there are none.
        message: The same in words.
    """

    user: str
    credentials: tuple[tuple[int, int], ...] = ()
    error: ErrorCode = ErrorCode.none
    message: str | None = None


class CredentialStore:
    """The credentials in a log. May be used from any thread.

    Args:
        commits: The log.
        runtime: For salts.
    """

    def __init__(self, commits: CommitLog, runtime: Runtime) -> None:
        self._view = EntryView(commits, _PREFIX, _Users)
        self._runtime = runtime
        # The same for all gateways, and told to no client.
        self._secret = hashlib.blake2b(commits.log_id.encode(), key=_DECOYS, digest_size=32).digest()

    # --- who somebody is ---------------------------------------------------------------------------

    def find(self, user: str, mechanism: Mechanism) -> ScramCredential | None:
        """A user's credential, if there is one."""
        return self._view.now.credentials[mechanism.name].get(user)

    def challenge(self, user: str, mechanism: Mechanism) -> ScramCredential:
        """A user's credential, or one that nobody can prove and that looks like those of others."""
        users = self._view.now
        made = decoy(mechanism, user, self._secret, users.typical[mechanism.name])  # always: it takes time
        return users.credentials[mechanism.name].get(user, made)

    def is_password(self, user: str, password: str) -> bool:
        """Whether a password is one of a user's. Takes milliseconds, no fewer if there is no such user."""
        users = self._view.now
        held = [
            (mechanism, users.credentials[mechanism.name][user])
            for mechanism in MECHANISMS.values()
            if user in users.credentials[mechanism.name]
        ]
        if not held:
            self.pretend(user, password)
        return any(is_password(mechanism, credential, password) for mechanism, credential in held)

    def pretend(self, user: str, password: str) -> None:
        """Take as long as :meth:`is_password` does."""
        mechanism = self._view.now.usual
        is_password(mechanism, self.challenge(user, mechanism), password)

    # --- changing ----------------------------------------------------------------------------------

    def set_password(
        self, user: str, password: str, mechanism: Mechanism = SHA_256, iterations: int = ITERATIONS_MIN
    ) -> None:
        """Give a user a credential, instead of the one there may be. Waits until that is durable.

        Raises:
            InvalidInputError: A name, password or number of iterations that cannot be, or the log is full.
            StreamhouseError: The store fails.
        """
        credential = derive(mechanism, password, self._runtime.random_bytes(_SALT_BYTES), iterations)
        wrong = _check(user, mechanism.number)
        altered = wrong or self._set({_name(user, mechanism): credential})[0]
        if altered.error is not ErrorCode.none:
            raise InvalidInputError(altered.message)

    def alter(self, deletions: Iterable[Deletion], upsertions: Iterable[Upsertion]) -> list[Altered]:
        """Change credentials; each user at most once. Waits until that is durable.

        Returns:
            What became of it, for each user.

        Raises:
            StreamhouseError: The store fails; some may have been changed.
        """
        self._view.refresh()
        results: dict[str, Altered] = {}
        wanted: dict[str, tuple[str, ScramCredential | None]] = {}  # by user
        asked: list[Deletion | Upsertion] = [*deletions, *upsertions]
        for change in asked:
            user = change.user
            if user in results:
                continue
            if wanted.pop(user, None) is not None:
                results[user] = Altered(
                    user,
                    ErrorCode.duplicate_resource,
                    "A user credential cannot be altered twice in the same request",
                )
                continue
            wrong = _check(user, change.mechanism)
            if wrong is not None:
                results[user] = wrong
                continue
            mechanism = MECHANISMS_BY_NUMBER[change.mechanism]
            try:
                wanted[user] = _name(user, mechanism), _wanted(change, mechanism)
            except InvalidInputError as error:
                results[user] = Altered(user, ErrorCode.unacceptable_credential, str(error))
        return [*results.values(), *self._set(dict(wanted.values()))]

    def describe(self, users: Sequence[str] = ()) -> list[Described]:
        """What credentials there are, of all users or of some. Waits for the store.

        Raises:
            StreamhouseError: The store fails.
        """
        self._view.refresh()
        credentials = self._view.now.credentials
        everybody = sorted({user for held in credentials.values() for user in held})
        return [
            self._describe(user, count, credentials) for user, count in Counter(users or everybody).items()
        ]

    def _describe(
        self, user: str, times: int, credentials: Mapping[str, Mapping[str, ScramCredential]]
    ) -> Described:
        if times > 1:
            return Described(
                user,
                error=ErrorCode.duplicate_resource,
                message="Cannot describe SCRAM credentials for the same user twice in a single request:"
                f" {user}",
            )
        held = tuple(
            (mechanism.number, credentials[mechanism.name][user].iterations)
            for mechanism in MECHANISMS.values()
            if user in credentials[mechanism.name]
        )
        if not held:
            return Described(
                user,
                error=ErrorCode.resource_not_found,
                message=f"Attempt to describe a user credential that does not exist: {user}",
            )
        return Described(user, held)

    def _set(self, wanted: Mapping[str, ScramCredential | None]) -> list[Altered]:
        values: dict[str, bytes | None] = {
            name: None if credential is None else msgspec.msgpack.encode(credential)
            for name, credential in wanted.items()
        }
        changes = self._view.change(values, lambda name, _: values[name])
        results = []
        for name, change in changes.items():
            user, _ = _user_of(name)
            if change.code is not Code.ACCEPTED:
                results.append(Altered(user, ErrorCode.policy_violation, FULL_MESSAGE))
            elif values[name] is None and change.before is None:
                results.append(
                    Altered(
                        user,
                        ErrorCode.resource_not_found,
                        "Attempt to delete a user credential that does not exist",
                    )
                )
            else:
                results.append(Altered(user))
        return results


class _Users:
    """What the entries amount to."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self.credentials: dict[str, dict[str, ScramCredential]] = {name: {} for name in MECHANISMS}
        for name, value in values.items():
            user, mechanism = _user_of(name)
            self.credentials.setdefault(mechanism, {})[user] = decoded(_PREFIX + name, value, ScramCredential)
        self.typical = {name: _most_common(held.values()) for name, held in self.credentials.items()}
        self.usual = max(MECHANISMS.values(), key=lambda mechanism: len(self.credentials[mechanism.name]))


def _most_common(credentials: Iterable[ScramCredential]) -> ScramCredential | None:
    """One of those that look alike, of which there are most."""
    shapes = Counter(map(_shape, credentials))
    return max(credentials, key=lambda held: (shapes[_shape(held)], _shape(held)), default=None)


def _shape(credential: ScramCredential) -> tuple[int, int, bool]:
    return credential.iterations, len(credential.salt), is_textual(credential.salt)


def _wanted(change: Deletion | Upsertion, mechanism: Mechanism) -> ScramCredential | None:
    if isinstance(change, Deletion):
        return None
    return credential_of(mechanism, change.salted_password, change.salt, change.iterations)


def _check(user: str, mechanism: int) -> Altered | None:
    if not user:
        return Altered(user, ErrorCode.unacceptable_credential, "Username must not be empty")
    if not is_unicode(user):
        return Altered(user, ErrorCode.unacceptable_credential, "Username must be text")
    if len(user) > USER_CHARS_MAX:
        return Altered(
            user,
            ErrorCode.unacceptable_credential,
            f"Username must have at most {USER_CHARS_MAX} characters, not {len(user)}",
        )
    if mechanism not in MECHANISMS_BY_NUMBER:
        return Altered(user, ErrorCode.unsupported_sasl_mechanism, "Unknown SCRAM mechanism")
    return None


def _name(user: str, mechanism: Mechanism) -> str:
    return f"{user}/{mechanism.name}"


def _user_of(name: str) -> tuple[str, str]:
    """User and mechanism; there may be slashes in the former."""
    user, _, mechanism = name.rpartition("/")
    return user, mechanism
