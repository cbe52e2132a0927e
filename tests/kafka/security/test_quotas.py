"""Quotas: whose, how much, and who shares them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.schema.errors import ErrorCode

from streamhouse import limits
from streamhouse.commits.log import CommitLog
from streamhouse.errors import InvalidInputError
from streamhouse.kafka.security import quota_store
from streamhouse.kafka.security.quota_store import Alteration, Altered, QuotaStore
from streamhouse.kafka.security.quotas import (
    CLIENT_ID,
    CONSUMER_BYTE_RATE,
    DEFAULT,
    EXACT,
    PRODUCER_BYTE_RATE,
    REQUEST_PERCENTAGE,
    SPECIFIED,
    USER,
    Entity,
    Limit,
    check_changes,
    entity_of,
    filter_of,
    limit_of,
)

KEY = PRODUCER_BYTE_RATE

# KIP-55's list, the most specific first, each with who shares it: for the user alice with the client app.
ORDER: list[tuple[dict[str, str | None], tuple[str, str]]] = [
    ({USER: "alice", CLIENT_ID: "app"}, ("alice", "app")),
    ({USER: "alice", CLIENT_ID: None}, ("alice", "app")),
    ({USER: "alice"}, ("alice", "")),
    ({USER: None, CLIENT_ID: "app"}, ("alice", "app")),
    ({USER: None, CLIENT_ID: None}, ("alice", "app")),
    ({USER: None}, ("alice", "")),
    ({CLIENT_ID: "app"}, ("", "app")),
    ({CLIENT_ID: None}, ("", "app")),
]
OTHERS: list[dict[str, str | None]] = [
    {USER: "bob"},
    {CLIENT_ID: "other"},
    {USER: "alice", CLIENT_ID: "other"},
    {USER: "bob", CLIENT_ID: "app"},
    {USER: "bob", CLIENT_ID: None},
    {USER: None, CLIENT_ID: "other"},
]


def entity(parts: Mapping[str, str | None]) -> Entity:
    return entity_of(parts.items())


@pytest.mark.parametrize("first", range(len(ORDER) + 1))
def test_the_most_specific_one_decides(first: int) -> None:
    quotas = {entity(parts): {KEY: float(place)} for place, (parts, _) in enumerate(ORDER) if place >= first}
    quotas |= {entity(parts): {KEY: 1e9} for parts in OTHERS}
    quotas |= {entity(parts): {CONSUMER_BYTE_RATE: 1e9} for parts, _ in ORDER[:first]}  # is another quota
    expected = Limit(float(first), *ORDER[first][1]) if first < len(ORDER) else None
    assert limit_of(quotas, KEY, "alice", "app") == expected


@given(st.sets(st.sampled_from(range(len(ORDER)))), st.booleans(), st.booleans())
def test_clients_without_a_name(places: set[int], user: bool, client: bool) -> None:
    """No name is not the default name."""
    quotas = {entity(ORDER[place][0]): {KEY: float(place)} for place in places}
    possible = [
        place
        for place in sorted(places)
        if (user or USER not in ORDER[place][0]) and (client or CLIENT_ID not in ORDER[place][0])
    ]
    found = limit_of(quotas, KEY, "alice" if user else "", "app" if client else "")
    assert (found and found.value) == (float(possible[0]) if possible else None)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([], "empty"),
        ([("user", "a"), ("user", "b")], "duplicate"),
        ([("ip", "127.0.0.1")], "Unhandled client quota entity type: ip"),
        ([("user", "")], "Empty user not supported"),
        ([("client-id", "x" * 1001)], "1001"),
    ],
)
def test_entities_that_there_are_not(parts: list[tuple[str, str | None]], why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        entity_of(parts)


def test_an_entity_is_the_same_in_any_order() -> None:
    assert entity_of([("user", "a"), ("client-id", None)]) == entity_of([("client-id", None), ("user", "a")])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([(KEY, 1.0), (KEY, 2.0)], "Duplicate quota key"),
        ([("speed", 1.0)], "Invalid configuration key speed"),
        ([("controller_mutation_rate", 1.0)], "Invalid configuration key"),  # nothing would heed it
        ([(KEY, 0.0)], "greater than 0"),
        ([(KEY, -1.0)], "greater than 0"),
        ([(KEY, math.nan)], "greater than 0"),
        ([(KEY, math.inf)], "greater than 0"),
        ([(KEY, 1.5)], "fractional"),
        ([(KEY, 1e-7)], "fractional"),
        ([(KEY, 1e-320)], "fractional"),
        ([(KEY, 2.0**63)], "too large"),
    ],
)
def test_changes_that_cannot_be(changes: list[tuple[str, float | None]], why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        check_changes(changes)


def test_changes_that_can() -> None:
    wanted = {KEY: 1024.0, REQUEST_PERCENTAGE: 12.5, CONSUMER_BYTE_RATE: None, "whatever": None}
    assert check_changes(wanted.items()) == wanted


@pytest.mark.parametrize(
    ("components", "why"),
    [
        ([("", EXACT, "a")], "empty entity type"),
        ([("user", EXACT, "a"), ("user", SPECIFIED, None)], "more than once"),
        ([("ip", EXACT, "a")], "Unsupported entity type ip"),
        ([("user", EXACT, None)], "MATCH_TYPE_EXACT"),
        ([("user", DEFAULT, "a")], "MATCH_TYPE_DEFAULT"),
        ([("user", SPECIFIED, "a")], "MATCH_TYPE_SPECIFIED"),
        ([("user", 3, None)], "Unknown match type 3"),
    ],
)
def test_filters_that_make_no_sense(components: list[tuple[str, int, str | None]], why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        filter_of(components, strict=False)


@pytest.mark.parametrize(
    ("components", "strict", "found"),
    [
        ([], False, {0, 1, 2, 3, 4, 5, 6, 7}),
        ([], True, set()),
        ([(USER, EXACT, "alice")], False, {0, 1, 2}),
        ([(USER, EXACT, "alice")], True, {2}),
        ([(USER, DEFAULT, None)], False, {3, 4, 5}),
        ([(USER, SPECIFIED, None)], True, {2, 5}),
        ([(CLIENT_ID, SPECIFIED, None)], False, {0, 1, 3, 4, 6, 7}),
        ([(CLIENT_ID, DEFAULT, None), (USER, SPECIFIED, None)], True, {1, 4}),
        ([(CLIENT_ID, EXACT, "app"), (USER, EXACT, "bob")], False, set()),
    ],
)
def test_filters(components: list[tuple[str, int, str | None]], strict: bool, found: set[int]) -> None:
    wanted = filter_of(components, strict=strict)
    assert {place for place, (parts, _) in enumerate(ORDER) if wanted.matches(entity(parts))} == found


# --- in the log ------------------------------------------------------------------------------------------

EVERYTHING = filter_of([], strict=False)


def change(parts: Mapping[str, str | None], **changes: float | None) -> Alteration:
    return Alteration(tuple(parts.items()), tuple(changes.items()))


def test_altering(commits: CommitLog) -> None:
    store = QuotaStore(commits)
    assert store.limit(KEY, "alice", "app") is None
    assert store.alter([change({USER: "alice"}, producer_byte_rate=1024, request_percentage=50)]) == [
        Altered()
    ]
    assert store.limit(KEY, "alice", "app") == Limit(1024.0, "alice", "")
    assert store.limit(KEY, "bob", "app") is None
    store.alter(
        [change({USER: None}, producer_byte_rate=9), change({USER: "alice"}, request_percentage=None)]
    )
    assert store.limit(KEY, "bob", "app") == Limit(9.0, "bob", "")
    assert store.describe(EVERYTHING) == [
        ((("user", None),), {KEY: 9.0}),
        ((("user", "alice"),), {KEY: 1024.0}),
    ]
    store.alter([change({USER: "alice"}, producer_byte_rate=None, consumer_byte_rate=None)])
    assert store.limit(KEY, "alice", "app") == Limit(9.0, "alice", "")
    assert len(store.describe(EVERYTHING)) == len(commits.state.entries) == 1


def test_altering_with_errors(commits: CommitLog, monkeypatch: pytest.MonkeyPatch) -> None:
    store = QuotaStore(commits)
    alterations = [
        change({USER: "alice"}, producer_byte_rate=1),
        change({USER: "alice"}, producer_byte_rate=2),
        change({}, producer_byte_rate=1),
        change({USER: "bob"}, producer_byte_rate=-1),
    ]
    expected = [ErrorCode.none, *[ErrorCode.invalid_request] * 3]
    assert [each.error for each in store.alter(alterations, validate_only=True)] == expected
    assert store.describe(EVERYTHING) == []
    assert [each.error for each in store.alter(alterations)] == expected
    assert len(store.describe(EVERYTHING)) == 1
    monkeypatch.setattr(limits, "ENTRIES_MAX", 1)
    assert store.alter([change({USER: "bob"}, producer_byte_rate=1)])[0].error is ErrorCode.policy_violation


def test_two_gateways_change_the_same_entity(two: tuple[CommitLog, CommitLog]) -> None:
    stores = [QuotaStore(commits) for commits in two]
    alterations = [change({USER: "a"}, producer_byte_rate=1), change({USER: "a"}, consumer_byte_rate=2)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda store, alteration: store.alter([alteration]), stores, alterations))
    for store in stores:
        assert store.describe(EVERYTHING) == [((("user", "a"),), {KEY: 1.0, CONSUMER_BYTE_RATE: 2.0})]


def test_few_limits_are_remembered(commits: CommitLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota_store, "_LIMITS_MAX", 10)
    store = QuotaStore(commits)
    store.alter([change({CLIENT_ID: "7"}, producer_byte_rate=1)])
    for number in [*range(30), *range(30)]:
        assert (store.limit(KEY, "", str(number)) is not None) is (number == 7)
        assert len(store._view.now._limits) <= 10
    assert store.limit(KEY, "", "7" * 1000) is None
    assert max(len(client_id) for _, _, client_id in store._view.now._limits) < 10


def test_stored_as_documented(commits: CommitLog) -> None:
    QuotaStore(commits).alter([change({USER: "a", CLIENT_ID: None}, producer_byte_rate=1)])
    ((name, (_, value)),) = commits.state.entries.items()
    assert name.startswith("kafka/quotas/")
    assert msgspec.msgpack.decode(value) == [[["client-id", None], ["user", "a"]], {KEY: 1.0}]
