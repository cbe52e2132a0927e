"""Users made without a Kafka client."""

from __future__ import annotations

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.errors import InvalidInputError
from streamhouse.kafka.security.credentials import CredentialStore


def test_a_password_is_set_changed_and_removed(log: streamhouse.Log) -> None:
    streamhouse.kafka.set_password(log, "alice", "one")
    streamhouse.kafka.set_password(log, "alice", "two")
    streamhouse.kafka.set_password(log, "alice", "three", mechanism="SCRAM-SHA-512")
    streamhouse.kafka.set_password(log, "bob", "four")
    store = CredentialStore(log._inside.commits, log._inside.runtime)
    assert [store.is_password("alice", word) for word in ("one", "two", "three")] == [False, True, True]
    assert streamhouse.kafka.users(log) == {
        "alice": ("SCRAM-SHA-256", "SCRAM-SHA-512"),
        "bob": ("SCRAM-SHA-256",),
    }
    assert streamhouse.kafka.remove_user(log, "alice")
    assert not streamhouse.kafka.remove_user(log, "alice")
    assert streamhouse.kafka.users(log) == {"bob": ("SCRAM-SHA-256",)}
    assert not store.is_password("alice", "two")


def test_what_cannot_be_is_refused(log: streamhouse.Log) -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'SCRAM-SHA-256'"):
        streamhouse.kafka.set_password(log, "alice", "one", mechanism="SCRAM-SHA-255")
    with pytest.raises(InvalidInputError, match="empty"):
        streamhouse.kafka.set_password(log, "", "one")
    assert streamhouse.kafka.users(log) == {}
