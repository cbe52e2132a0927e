"""What can go wrong between an agent and the store, and how often: drawn once per run from its seed."""

from __future__ import annotations

import random

import msgspec


class Faults(msgspec.Struct, frozen=True):
    """Chances per request, and how slow things are.

    Attributes:
        request_lost: The request never arrives; the caller gives up on it.
        reply_lost: It has its effect; the caller gives up on it all the same.
        late: The caller gives up, and it has its effect afterwards: up to hours, or at the worst moment.
        repeated: A client library sends it twice and reports the second answer.
        echoed: It is answered well, and a copy of it arrives once more, much later.
        unavailable: The store says that it cannot serve now.
        refused: The store says no for good (full, access denied).
        not_durable: It was written, but perhaps not durably.
        flipped: One bit of what is read comes back wrong.
        listing_stale: A listing shows what was there some time ago.
        slow: The answer takes a hundred times as long.
        pause: The agent is stopped when this request is under way.
    """

    request_lost: float = 0.0
    reply_lost: float = 0.0
    late: float = 0.0
    repeated: float = 0.0
    echoed: float = 0.0
    unavailable: float = 0.0
    refused: float = 0.0
    not_durable: float = 0.0
    flipped: float = 0.0
    listing_stale: float = 0.0
    slow: float = 0.0
    pause: float = 0.0


class Latency(msgspec.Struct, frozen=True):
    """Seconds a request takes, from half to about twice of these."""

    put: float
    get: float


CALM = Faults()
LOCAL = Latency(put=0.0004, get=0.0001)
REMOTE = Latency(put=0.06, get=0.02)

_RATES: dict[str, tuple[float, ...]] = {
    "request_lost": (0.0, 0.02, 0.1, 0.3),
    "reply_lost": (0.0, 0.02, 0.1, 0.3),
    "late": (0.0, 0.02, 0.1),
    "repeated": (0.0, 0.02, 0.1),
    "echoed": (0.0, 0.0, 0.02, 0.1),
    "unavailable": (0.0, 0.02, 0.2),
    "refused": (0.0, 0.0, 0.0, 0.02),
    "not_durable": (0.0, 0.0, 0.0, 0.0, 0.02),
    "flipped": (0.0, 0.0, 0.0, 0.01),
    "listing_stale": (0.0, 0.3, 0.8),
    "slow": (0.0, 0.02, 0.1),
    "pause": (0.0, 0.005, 0.02),
}


def draw_faults(dice: random.Random) -> Faults:
    """A mix of faults: some runs have none of a kind, some many."""
    if dice.random() < 0.1:
        return Faults()
    return Faults(**{kind: dice.choice(rates) for kind, rates in _RATES.items()})


def draw_delay(dice: random.Random) -> float:
    """Seconds until something late happens: as often within a second as within hours."""
    return float(10.0 ** dice.uniform(-2.0, 4.2))
