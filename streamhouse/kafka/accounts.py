"""Users who may log in with SCRAM, kept in the log: every gateway knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamhouse.errors import InvalidInputError, nearest
from streamhouse.kafka.security.credentials import CredentialStore, Deletion
from streamhouse.kafka.security.passwords import ITERATIONS_MIN, MECHANISMS, SHA_256

if TYPE_CHECKING:
    from streamhouse.log import Log


def set_password(
    log: Log,
    user: str,
    password: str,
    *,
    mechanism: str = SHA_256.name,
    iterations: int = ITERATIONS_MIN,
) -> None:
    """Let a user log in with a password, instead of the one there may be. Waits until that is durable.

    The password itself is not stored (RFC 5802). A user may have one per mechanism; ``PLAIN`` takes any of
    them.

    Args:
        log: The log.
        user: The name; ACLs call it ``User:<name>``.
        password: The password.
        mechanism: ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``.
        iterations: How often it is hashed: what a log-in costs, and what guessing costs who has the log.

    Raises:
        InvalidInputError: A name, password, mechanism or number of iterations that cannot be.
        StreamhouseError: The store fails.
    """
    found = MECHANISMS.get(mechanism)
    if found is None:
        known = ", ".join(MECHANISMS)
        raise InvalidInputError(
            f"unknown mechanism {mechanism!r}{nearest(mechanism, MECHANISMS)}; there are {known}"
        )
    inside = log._inside
    CredentialStore(inside.commits, inside.runtime).set_password(user, password, found, iterations)


def remove_user(log: Log, user: str) -> bool:
    """Let a user log in no more, with no mechanism; whether there was one. Waits until that is durable.

    Connections that are open stay open: set ``reauthentication_ms`` if that matters.

    Raises:
        StreamhouseError: The store fails.
    """
    inside = log._inside
    store = CredentialStore(inside.commits, inside.runtime)
    (described,) = store.describe([user])
    for mechanism, _ in described.credentials:
        store.alter([Deletion(user, mechanism)], [])
    return bool(described.credentials)


def users(log: Log) -> dict[str, tuple[str, ...]]:
    """Everybody who may log in with SCRAM, each with the mechanisms.

    Raises:
        StreamhouseError: The store fails.
    """
    names = {mechanism.number: mechanism.name for mechanism in MECHANISMS.values()}
    inside = log._inside
    described = CredentialStore(inside.commits, inside.runtime).describe()
    return {each.user: tuple(names[number] for number, _ in each.credentials) for each in described}
