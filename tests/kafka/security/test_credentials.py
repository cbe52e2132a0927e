"""Users and their credentials in a log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from kio.schema.errors import ErrorCode

from streamhouse import Log, limits
from streamhouse.commits.log import CommitLog
from streamhouse.errors import InvalidInputError, UnsupportedFormatError
from streamhouse.format.operations import SetEntry
from streamhouse.kafka.security import credentials as module
from streamhouse.kafka.security.credentials import Altered, CredentialStore, Deletion, Described, Upsertion
from streamhouse.kafka.security.identities import Identities, Passwords
from streamhouse.kafka.security.passwords import SHA_256, SHA_512, Mechanism, is_password
from streamhouse.runtime import SystemRuntime


def store_of(commits: CommitLog) -> CredentialStore:
    return CredentialStore(commits, SystemRuntime())


@pytest.fixture
def store(commits: CommitLog) -> CredentialStore:
    return store_of(commits)


def upsertion(user: str, password: str, mechanism: Mechanism = SHA_256, iterations: int = 4096) -> Upsertion:
    """As admin clients make one."""
    salt = hashlib.sha256(user.encode()).digest()[:20]
    salted = mechanism.salted(password, salt, iterations)
    return Upsertion(user, mechanism.number, iterations, salt, salted)


@pytest.mark.parametrize("mechanism", [SHA_256, SHA_512])
@pytest.mark.parametrize("user", ["alice", "a/b", "SCRAM-SHA-256", "/", "Zoë,=", "u" * 255])
def test_what_was_set_is_found(store: CredentialStore, user: str, mechanism: Mechanism) -> None:
    store.set_password(user, "pencil", mechanism)
    credential = store.find(user, mechanism)
    assert credential is not None
    assert is_password(mechanism, credential, "pencil")
    assert store.challenge(user, mechanism) == credential
    assert store.find(user + "x", mechanism) is None
    other = SHA_512 if mechanism is SHA_256 else SHA_256
    assert store.find(user, other) is None


def test_a_new_password_takes_the_place_of_the_old_one(store: CredentialStore) -> None:
    store.set_password("alice", "pencil")
    first = store.find("alice", SHA_256)
    store.set_password("alice", "pencil")
    assert store.find("alice", SHA_256) != first  # another salt
    store.set_password("alice", "crayon")
    assert store.is_password("alice", "crayon")
    assert not store.is_password("alice", "pencil")


@pytest.mark.parametrize(
    ("user", "password", "iterations"),
    [
        ("", "pencil", 4096),
        ("u" * 256, "pencil", 4096),
        ("alice", "", 4096),
        ("alice", "pencil", 1),
        ("\udc80", "pencil", 4096),
        ("alice", "pencil\udc80", 4096),
    ],
)
def test_impossible_users(store: CredentialStore, user: str, password: str, iterations: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        store.set_password(user, password, iterations=iterations)
    assert "pencil" not in str(caught.value)
    assert store.describe() == []


# --- by requests -----------------------------------------------------------------------------------------


def test_altering(store: CredentialStore) -> None:
    assert store.alter([], [upsertion("alice", "pencil"), upsertion("bob", "crayon", SHA_512, 8192)]) == [
        Altered("alice"),
        Altered("bob"),
    ]
    assert store.is_password("alice", "pencil")
    assert store.is_password("bob", "crayon")
    assert store.describe() == [Described("alice", ((1, 4096),)), Described("bob", ((2, 8192),))]
    assert store.alter([Deletion("alice", 1)], [upsertion("bob", "crayon")]) == [
        Altered("alice"),
        Altered("bob"),
    ]
    assert store.describe() == [Described("bob", ((1, 4096), (2, 8192)))]


def test_altering_with_errors(store: CredentialStore) -> None:
    store.set_password("carol", "pencil")
    results = store.alter(
        [
            Deletion("nobody", 1),
            Deletion("carol", 2),
            Deletion("", 1),
            Deletion("dave", 3),
            Deletion("erin", 1),
            Deletion("erin", 2),
        ],
        [
            upsertion("frank", "pencil"),
            upsertion("frank", "pencil", SHA_512),
            upsertion("erin", "pencil"),
            Upsertion("grace", 1, 4095, b"salt", bytes(32)),
            Upsertion("heidi", 1, 16385, b"salt", bytes(32)),
            Upsertion("ivan", 0, 4096, b"salt", bytes(32)),
            Upsertion("judy", 2, 4096, b"salt", bytes(32)),
            Upsertion("k" * 256, 1, 4096, b"salt", bytes(32)),
            upsertion("mallory", "pencil"),
        ],
    )
    codes = {result.user: (result.error, result.message) for result in results}
    assert len(codes) == len(results)
    missing = (ErrorCode.resource_not_found, "Attempt to delete a user credential that does not exist")
    twice = (ErrorCode.duplicate_resource, "A user credential cannot be altered twice in the same request")
    unknown = (ErrorCode.unsupported_sasl_mechanism, "Unknown SCRAM mechanism")
    assert codes.pop("k" * 256)[0] is ErrorCode.unacceptable_credential
    assert codes.pop("judy")[0] is ErrorCode.unacceptable_credential
    assert codes == {
        "nobody": missing,
        "carol": missing,
        "": (ErrorCode.unacceptable_credential, "Username must not be empty"),
        "dave": unknown,
        "erin": twice,
        "frank": twice,
        "grace": (ErrorCode.unacceptable_credential, "Too few iterations"),
        "heidi": (ErrorCode.unacceptable_credential, "Too many iterations"),
        "ivan": unknown,
        "mallory": (ErrorCode.none, None),
    }
    assert [described.user for described in store.describe()] == ["carol", "mallory"]


def test_describing_with_errors(store: CredentialStore) -> None:
    store.set_password("alice", "pencil")
    described = store.describe(["nobody", "alice", "nobody", "bob"])
    assert [(each.user, each.error) for each in described] == [
        ("nobody", ErrorCode.duplicate_resource),
        ("alice", ErrorCode.none),
        ("bob", ErrorCode.resource_not_found),
    ]
    assert all(each.credentials == () for each in described if each.user != "alice")


def test_a_full_log(store: CredentialStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENTRIES_MAX", 1)
    store.set_password("alice", "pencil")
    assert store.alter([], [upsertion("bob", "pencil")])[0].error is ErrorCode.policy_violation
    with pytest.raises(InvalidInputError, match="remove some"):
        store.set_password("bob", "pencil")
    assert store.alter([], [upsertion("alice", "crayon")])[0].error is ErrorCode.none


def test_what_a_newer_version_wrote(commits: CommitLog, store: CredentialStore) -> None:
    commits.propose(SetEntry("kafka/users/alice/SCRAM-SHA-256", b"\xc0", 0))
    with pytest.raises(UnsupportedFormatError, match="alice"):
        store.challenge("alice", SHA_256)


# --- several gateways ------------------------------------------------------------------------------------


def test_two_gateways(two: tuple[CommitLog, CommitLog]) -> None:
    here, there = map(store_of, two)
    assert not there.is_password("alice", "pencil")
    here.set_password("alice", "pencil")
    two[1].refresh()
    assert there.is_password("alice", "pencil")
    assert there.alter([Deletion("alice", 1)], []) == [Altered("alice")]
    assert here.describe(["alice"])[0].error is ErrorCode.resource_not_found
    assert here.alter([Deletion("alice", 1)], [])[0].error is ErrorCode.resource_not_found


def test_what_was_set_elsewhere_is_deleted(two: tuple[CommitLog, CommitLog]) -> None:
    here, there = map(store_of, two)
    here.set_password("alice", "pencil")
    assert there.alter([Deletion("alice", 1)], []) == [Altered("alice")]


def test_one_of_two_deletes(two: tuple[CommitLog, CommitLog]) -> None:
    stores = [store_of(commits) for commits in two]
    for round_ in range(5):
        stores[0].set_password("alice", str(round_ + 1))
        with ThreadPoolExecutor(2) as threads:
            results = list(threads.map(lambda store: store.alter([Deletion("alice", 1)], [])[0], stores))
        assert sorted(result.error for result in results) == [ErrorCode.none, ErrorCode.resource_not_found]


def test_the_last_of_two_holds(two: tuple[CommitLog, CommitLog]) -> None:
    stores = [store_of(commits) for commits in two]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda pair: pair[0].set_password("alice", pair[1]), zip(stores, "ab", strict=True)))
    for commits in two:
        commits.refresh()
    held = {tuple(store.is_password("alice", password) for password in "ab") for store in stores}
    assert held in ({(True, False)}, {(False, True)})


def test_decoys_are_those_of_all_gateways_and_of_this_log_only(two: tuple[CommitLog, CommitLog]) -> None:
    here, there = map(store_of, two)
    assert here.challenge("nobody", SHA_256) == there.challenge("nobody", SHA_256)
    assert here.find("nobody", SHA_256) is None
    with Log("memory://") as log:
        elsewhere = store_of(log._inside.commits)
        assert here.challenge("nobody", SHA_256).salt != elsewhere.challenge("nobody", SHA_256).salt


def test_decoys_look_like_most(store: CredentialStore) -> None:
    assert store.challenge("nobody", SHA_512).iterations == 4096
    for user, iterations in [("a", 8192), ("b", 8192), ("c", 4096)]:
        store.alter([], [upsertion(user, "pencil", SHA_512, iterations)])
    made = store.challenge("nobody", SHA_512)
    assert (made.iterations, len(made.salt)) == (8192, 20)
    assert store.challenge("nobody", SHA_256).iterations == 4096


# --- passwords that are sent -----------------------------------------------------------------------------


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """How often passwords were hashed: what takes the time."""
    done: list[tuple[str, int]] = []

    def count(mechanism: Mechanism, credential: object, password: str) -> bool:
        done.append((mechanism.name, credential.iterations))
        return is_password(mechanism, credential, password)

    monkeypatch.setattr(module, "is_password", count)
    return done


TOLD: list[Passwords | None] = [
    None,
    {},
    {"admin": "secret"},
    lambda user, password: password == "secret" if user == "admin" else None,
]


@pytest.mark.parametrize("told", TOLD, ids=["nobody", "none", "mapping", "callable"])
def test_sent_passwords(
    store: CredentialStore, derivations: list[tuple[str, int]], told: Passwords | None
) -> None:
    store.set_password("alice", "pencil", SHA_256, 8192)
    store.set_password("bob", "crayon", SHA_512)
    store.set_password("admin", "of the log")
    identities = Identities(store, told)
    assert identities.is_password("alice", "pencil")
    assert identities.is_password("bob", "crayon")
    assert not identities.is_password("bob", "pencil")
    derivations.clear()
    knows_admin = bool(told)
    assert identities.is_password("admin", "secret") is knows_admin
    assert identities.is_password("admin", "of the log") is not knows_admin
    assert len(derivations) == (1 if knows_admin else 2)


def test_a_refusal_takes_time_whoever_it_is(
    store: CredentialStore, derivations: list[tuple[str, int]]
) -> None:
    store.set_password("alice", "pencil")
    identities = Identities(store, {"admin": "secret"})
    for user in ("alice", "admin", "nobody"):
        derivations.clear()
        assert not identities.is_password(user, "guess")
        assert derivations == [("SCRAM-SHA-256", 4096)]


def test_either_credential_will_do(store: CredentialStore) -> None:
    store.set_password("alice", "one", SHA_256)
    store.set_password("alice", "other", SHA_512)
    assert store.is_password("alice", "one")
    assert store.is_password("alice", "other")
    assert not store.is_password("alice", "neither")


def test_looking_up_derives_nothing(store: CredentialStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done on the loop, which has other things to do."""
    store.set_password("alice", "pencil")

    def hashed(*_args: object) -> bytes:
        raise AssertionError

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", hashed)
    for user in ("alice", "nobody"):
        store.challenge(user, SHA_256)


def test_nothing_secret_is_shown_or_stored(commits: CommitLog, store: CredentialStore) -> None:
    change = upsertion("alice", "pencil")
    store.alter([], [change])
    identities = Identities(store, {"admin": "top-secret"})
    for shown in (repr(change), str(change.__rich_repr__()), repr(store), repr(identities)):
        assert "pencil" not in shown
        assert "top-secret" not in shown
        assert repr(change.salted_password)[2:10] not in shown
    stored = b"".join(value for _, value in commits.state.entries.values())
    assert b"pencil" not in stored
    assert change.salted_password not in stored
