"""What happens in one run, drawn from its seed: how many agents, on what store, with which faults."""

from __future__ import annotations

import random
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from streamhouse.assignors import ASSIGNORS
from streamhouse.commits.committer import CommitterOptions
from streamhouse.commits.engine import EngineGuards, EngineOptions
from streamhouse.testing.simulation.faults import LOCAL, REMOTE, Faults, Latency, draw_faults

Profile: TypeAlias = Literal["local", "remote", "pipelined", "deep"]
"""A directory; a bucket with one commit at a time; with 4; with 16."""

Weather: TypeAlias = Literal["mixed", "storm", "cleaning", "rebalancing", "rewriting"]
"""Some of everything; requests lost while hours pass; slots vanishing under their writers' hands; members of
groups that come and go; blocks replaced while others read, write and collect.
"""

PROFILES: Final[tuple[Profile, ...]] = get_args(Profile)
WEATHERS: Final[tuple[Weather, ...]] = get_args(Weather)
_NEVER: Final = 1e9
_CLIMATE: Final[tuple[Weather, ...]] = (
    *("mixed",) * 9,
    *("cleaning",) * 2,
    "storm",
    *("rebalancing",) * 2,
    *("rewriting",) * 2,
)
_STORMY: Final[Profile] = "deep"  # where there is most to lose
_DEPTHS: Final[dict[Profile, int]] = {"local": 1, "remote": 1, "pipelined": 4, "deep": 16}


class GroupPlan(msgspec.Struct, frozen=True):
    """One consumer group.

    Attributes:
        name: Its name.
        assignor: How partitions are dealt out.
        members: How many places for members there are.
        chain: They write what they consume, with transactions; else they only commit offsets.
        named: Their producers have names.
        static: They come back under the name of their place.
    """

    name: str
    assignor: str
    members: int
    chain: bool
    named: bool
    static: bool


class Plan(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        seed: Repeats it.
        profile: The kind of store.
        faults: Chances of faults per request.
        latency: Of the store.
        locking: The store's commit lock works.
        store_skew_seconds: The store's clock, off by this.
        agents: Processes at the start.
        clients: Producers.
        consumers: Readers.
        rounds: Bursts of work; between them hours may pass.
        appends: Per client and round.
        thinking: Seconds between the appends of a client, in PUTs; each draws one of these.
        loyalty: Share of the clients that keep to the first agent as long as there is one.
        partitions: Of each topic.
        options: Of every engine.
        guards: Rules that hold; all of them unless the run is to show that one is needed.
        long_pauses: Chance, per agent and round, to sleep through the hours after it.
        hours: Chance of hours passing after a round.
        trouble: Seconds between two mishaps (crashes, outages, ...) while work goes on.
        collecting: Likewise, between two collections.
        rewriting: Likewise, between two compactions.
        trimming: Whether records are trimmed, and topics get more partitions.
        groups: Consumer groups.
        writers: Producers of transactions.
        piecewise: Producers whose transactions come bit by bit.
        classic: Classic groups.
        gateways: Entries on whose strength somebody speaks for clients.
    """

    seed: int
    profile: Profile
    faults: Faults
    latency: Latency
    locking: bool
    store_skew_seconds: float
    agents: int
    clients: int
    consumers: int
    rounds: int
    appends: int
    thinking: tuple[float, ...]
    loyalty: float
    partitions: int
    options: EngineOptions
    guards: EngineGuards
    long_pauses: float
    hours: float
    trouble: float
    collecting: float
    rewriting: float = _NEVER
    trimming: bool = False
    groups: tuple[GroupPlan, ...] = ()
    writers: int = 0
    piecewise: int = 0
    classic: int = 0
    gateways: int = 0


def draw_plan(
    seed: int, guards: EngineGuards, profile: Profile | None = None, weather: Weather | None = None
) -> tuple[Plan, random.Random]:
    """The plan of a seed, and the dice with which it goes on."""
    dice = random.Random(seed)
    drawn = dice.choice(PROFILES)
    weather = weather or dice.choice(_CLIMATE)
    profile = profile or (_STORMY if weather == "storm" else drawn)
    remote = profile != "local"
    hours = dice.choice((0.0, 0.0, 0.7, 1.0))
    plan = Plan(
        seed=seed,
        profile=profile,
        faults=draw_faults(dice),
        latency=REMOTE if remote else LOCAL,
        locking=dice.random() < 0.7,
        store_skew_seconds=dice.uniform(-5_000.0, 5_000.0),
        agents=dice.choice((1, 2, 2, 3, 3, 4)),
        clients=dice.choice((1, 2, 3, 4)),
        consumers=dice.choice((0, 1, 2)),
        rounds=dice.choice((2, 3, 4)) if hours else dice.choice((1, 2)),
        appends=dice.choice((2, 4, 6)),
        thinking=(3.0, 3.0, 30.0),
        loyalty=dice.choice((0.0, 0.0, 0.8)),
        partitions=dice.choice((1, 2, 3)),
        options=_draw_options(dice, profile, remote=remote),
        guards=guards,
        long_pauses=dice.choice((0.0, 0.3, 0.6)) if hours else 0.0,
        hours=hours,
        trouble=dice.choice((_NEVER, 5.0, 1.0)) * (1.0 if remote else 0.02),
        collecting=_NEVER,
    )
    if weather == "storm":
        plan = _storm(plan)
    elif weather == "cleaning":
        plan = _cleaning(plan, dice)
    elif weather == "rebalancing":
        plan = _rebalancing(plan, dice)
    elif weather == "rewriting":
        plan = _rewriting(_cleaning(plan, dice), dice)
    elif dice.random() < 0.4:
        plan = _guests(plan, dice)
    return plan, dice


def _guests(plan: Plan, dice: random.Random) -> Plan:
    """A little of all that is more than appending."""
    return msgspec.structs.replace(
        plan,
        rewriting=dice.choice((_NEVER, 10.0, 3.0)) * (1.0 if plan.profile != "local" else 0.02),
        trimming=dice.random() < 0.5,
        groups=tuple(_draw_group(dice, number) for number in range(dice.choice((0, 1, 1)))),
        writers=dice.choice((0, 0, 1)),
        piecewise=dice.choice((0, 0, 1)),
        classic=dice.choice((0, 0, 1)),
        gateways=dice.choice((0, 0, 1)),
    )


def _draw_group(dice: random.Random, number: int) -> GroupPlan:
    return GroupPlan(
        name=f"group-{number}",
        assignor=dice.choice((*ASSIGNORS, ASSIGNORS[0])),
        members=dice.choice((1, 2, 3)),
        chain=dice.random() < 0.6,
        named=dice.random() < 0.5,
        static=dice.random() < 0.3,
    )


def _rebalancing(plan: Plan, dice: random.Random) -> Plan:
    """Members that stall and die, so that others take over what they may come back to."""
    return msgspec.structs.replace(
        plan,
        agents=dice.choice((2, 3)),
        clients=1,
        consumers=0,
        faults=msgspec.structs.replace(plan.faults, pause=0.03, unavailable=0.0),
        rounds=2,
        appends=6,
        partitions=dice.choice((2, 3)),
        long_pauses=dice.choice((0.0, 0.3, 0.6)),
        trouble=dice.choice((5.0, 10.0)) * (1.0 if plan.profile != "local" else 0.02),
        groups=tuple(_draw_group(dice, number) for number in range(dice.choice((1, 1, 2)))),
        writers=1,
        piecewise=dice.choice((0, 1)),
        classic=dice.choice((0, 1)),
        gateways=dice.choice((0, 1)),
    )


def _rewriting(plan: Plan, dice: random.Random) -> Plan:
    """Compaction, trims and collections all the time, under readers that hold on to what they found."""
    return msgspec.structs.replace(
        plan,
        consumers=2,
        rewriting=dice.choice((1.0, 4.0)) * (1.0 if plan.profile != "local" else 0.02),
        trimming=dice.random() < 0.5,
        writers=dice.choice((0, 1, 2)),
        piecewise=dice.choice((0, 1)),
    )


def _storm(plan: Plan) -> Plan:
    """Many flushes under way, most of them through lanes, and requests lost until agents fall asleep.

    That is what leaves holes in the log behind which commits wait while the collector comes by.
    """
    committer = msgspec.structs.replace(
        plan.options.committer, linger_seconds=0.0, inline_bytes_max=0, pipeline_depth=_DEPTHS["deep"]
    )
    return msgspec.structs.replace(
        plan,
        faults=Faults(request_lost=0.4, unavailable=0.1, slow=0.1, pause=0.05),
        agents=3,
        clients=8,
        consumers=0,
        rounds=2,
        appends=10,
        thinking=(1.0, 3.0, 60.0),
        loyalty=0.8,
        options=msgspec.structs.replace(plan.options, committer=committer),
        long_pauses=0.6,
        hours=1.0,
        trouble=_NEVER,
    )


def _cleaning(plan: Plan, dice: random.Random) -> Plan:
    """Snapshots and collections all the time, while some agents sleep for seconds or for hours.

    That is what lets slots vanish under the hands of their writers.
    """
    committer = msgspec.structs.replace(plan.options.committer, linger_seconds=0.0, inline_bytes_max=0)
    options = msgspec.structs.replace(
        plan.options, committer=committer, snapshot_commits=3, boundary_step_commits=1
    )
    faults = msgspec.structs.replace(plan.faults, pause=0.02, unavailable=0.0, flipped=0.0)
    return msgspec.structs.replace(
        plan,
        agents=dice.choice((2, 3)),
        clients=dice.choice((2, 4)),
        faults=faults,
        rounds=3,
        appends=8,
        options=options,
        long_pauses=dice.choice((0.0, 0.5, 0.8)),
        hours=dice.choice((0.0, 1.0, 1.0)),
        collecting=dice.choice((1.0, 3.0)) * (1.0 if plan.profile != "local" else 0.02),
    )


def _draw_options(dice: random.Random, profile: Profile, *, remote: bool) -> EngineOptions:
    return EngineOptions(
        committer=CommitterOptions(
            linger_seconds=dice.choice((0.0, 0.05, 0.25)) if remote else 0.0,
            inline_bytes_max=dice.choice((0, 0, 40, 1 << 20)),
            pipeline_depth=_DEPTHS[profile],
            delivery_timeout_seconds=dice.choice((2.0, 20.0, 120.0)),
            lanes=remote,
        ),
        poll_seconds_min=0.05 if remote else 0.002,
        poll_seconds_max=1.0 if remote else 0.05,
        snapshot_commits=dice.choice((5, 10, 20, 1000)),
        boundary_step_commits=dice.choice((1, 5)),
    )
