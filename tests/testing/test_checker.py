"""The checker finds each planted anomaly, finds only that, and leaves a correct history alone."""

from __future__ import annotations

import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.testing.checker import Kind, check_history, summarize
from streamhouse.testing.history import Attempt, Looked, Moved, Observed, Operation, Polled, Sent


def sent(*offsets: int | None, producer: str = "p", outcome: str = "ok", of: str = "v") -> Sent:
    """Records whose values are named after their offsets."""
    records = tuple(Attempt("t", 0, f"{of}{o}", o) for o in offsets)
    return Sent(producer, records, outcome)


def polled(*offsets: int, consumer: str = "c") -> Polled:
    """The records that :func:`sent` sent."""
    return Polled(consumer, tuple(Observed("t", 0, o, f"v{o}") for o in offsets))


def value_at(offset: int, value: str, consumer: str = "c") -> Polled:
    return Polled(consumer, (Observed("t", 0, offset, value),))


PLANTED: dict[Kind, list[Operation]] = {
    "lost write": [sent(0), sent(1), sent(2), polled(0), Moved("c", (("t", 0, None),)), polled(2)],
    "unseen": [sent(0), sent(1), polled(0)],
    "duplicate": [sent(0), polled(0), value_at(1, "v0")],
    "inconsistent offset": [sent(0), polled(0), Sent("q", (Attempt("t", 0, "w", 5),), "unknown"),
                            value_at(0, "w", consumer="d")],
    "aborted read": [Sent("p", (Attempt("t", 0, "v0"),), "failed"), polled(0)],
    "phantom read": [sent(0), polled(0, 1)],
    "internal poll skip": [sent(0, 1, 2), polled(0, 2), polled(0, 1, 2, consumer="d")],
    "external poll skip": [sent(0, 1, 2), polled(0), polled(2), polled(0, 1, 2, consumer="d")],
    "internal non-monotonic poll": [sent(0, 1), polled(0, 1, 1)],
    "external non-monotonic poll": [sent(0, 1), polled(0, 1), polled(0, 1)],
    "internal non-monotonic send": [sent(1, 0), polled(0, 1)],
    "external non-monotonic send": [sent(1), sent(0), polled(0, 1)],
    "torn transaction": [Sent("p", (Attempt("t", 0, "v0"), Attempt("u", 0, "w")), "unknown", atomic=True),
                         polled(0)],
    "inconsistent ends": [Looked("c", (("t", 0, 1), ("u", 0, 0))), Looked("d", (("u", 0, 1),))],
}  # fmt: skip


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_anomaly_is_found(kind: Kind) -> None:
    assert summarize(check_history(PLANTED[kind])) == {kind: 1}


def test_every_kind_is_planted() -> None:
    assert set(PLANTED) == set(get_args(Kind))


def test_a_seek_that_is_not_honoured_is_a_skip() -> None:
    history = [sent(0, 1, 2), Moved("c", (("t", 0, 1),)), polled(2), polled(0, 1, consumer="d")]
    assert summarize(check_history(history)) == {"external poll skip": 1}


def test_a_seek_is_no_skip_and_going_back_is_allowed_by_it() -> None:
    history = [
        sent(0, 1, 2, 3),
        polled(0, 1, 2, 3),
        Moved("c", (("t", 0, 1),)),
        polled(1, 2),
        Moved("c", (("t", 0, None),)),
        polled(0),
    ]
    assert check_history(history) == []


def test_the_later_entry_about_a_send_counts() -> None:
    invoked = Sent("p", (Attempt("t", 0, "v0"),), "unknown")
    assert check_history([invoked]) == []
    assert summarize(check_history([invoked, sent(0)])) == {"unseen": 1}
    assert check_history([invoked, sent(0), polled(0)]) == []
    failed = Sent("p", (Attempt("t", 0, "v0"),), "failed")
    assert summarize(check_history([invoked, failed, polled(0)])) == {"aborted read": 1}


def test_an_unknown_send_that_lands_late_is_out_of_order() -> None:
    """The retry of the first record must not end up behind the second."""
    invoked = Sent("p", (Attempt("t", 0, "v1"),), "unknown")
    history = [invoked, sent(0), polled(0, 1)]
    assert summarize(check_history(history)) == {"external non-monotonic send": 1}


def test_the_end_need_not_have_been_read() -> None:
    assert check_history([sent(0), sent(1), polled(0)], read_to_end=False) == []
    lost = check_history([sent(0), sent(1), polled(1)], read_to_end=False)
    assert summarize(lost) == {"lost write": 1}


def test_gaps_between_offsets_are_no_skip() -> None:
    assert check_history([sent(0, 7, 9), polled(0), polled(7, 9)]) == []


def test_an_acknowledgement_of_one_place_and_a_read_at_another_is_a_duplicate() -> None:
    history = [sent(0), value_at(3, "v0")]
    assert "duplicate" in summarize(check_history(history))


def test_an_anomaly_says_where_and_who() -> None:
    (anomaly,) = check_history([sent(0), sent(1), polled(1)])
    assert str(anomaly) == "lost write in t/0 (p): offset 0, value 'v0', though offset 1 was read"


def transaction(*places: tuple[str, int], outcome: str = "ok") -> Sent:
    records = tuple(Attempt(topic, 0, f"{topic}{offset}", offset) for topic, offset in places)
    return Sent("p", records, outcome, atomic=True)


def looked(**ends: int) -> Looked:
    return Looked("o", tuple((topic, 0, end) for topic, end in ends.items()))


def everything(*places: tuple[str, int]) -> Polled:
    return Polled("end", tuple(Observed(topic, 0, offset, f"{topic}{offset}") for topic, offset in places))


def test_a_look_that_shows_half_a_transaction() -> None:
    places = ("t", 0), ("u", 0), ("t", 1), ("u", 1)
    history = [transaction(*places[:2]), transaction(*places[2:]), everything(*sorted(places))]
    whole = [looked(), looked(t=1, u=1), looked(t=1, u=1), looked(t=2, u=2)]
    assert check_history([*history, *whole]) == []
    for half in (looked(t=1), looked(t=1, u=2), looked(u=1, t=0)):
        (anomaly,) = check_history([*history, half])
        assert anomaly.kind == "torn transaction"
        assert "which belongs to it, did not" in anomaly.detail
    apart = [sent(0), sent(1), everything(), polled(0, 1), Looked("o", (("t", 0, 1),))]
    assert check_history(apart) == []


def test_a_transaction_of_unknown_outcome_is_there_or_not() -> None:
    for there in ([], [("t", 0), ("u", 0)]):
        assert check_history([transaction(("t", 0), ("u", 0)), everything(("t", 0), ("u", 0))]) == []
        invoked = Sent("p", (Attempt("t", 0, "t0"), Attempt("u", 0, "u0")), "unknown", atomic=True)
        assert check_history([invoked, everything(*there)]) == []
    assert summarize(check_history([invoked, everything(("u", 0))])) == {"torn transaction": 1}
    assert check_history([invoked, everything(("u", 0))], read_to_end=False) == []


def make_history(seed: int) -> list[Operation]:
    """A random history of a log that works: several producers, consumers, partitions, outcomes."""
    rng = random.Random(seed)
    logs: dict[tuple[str, int], list[tuple[int, str]]] = {
        (topic, partition): [] for topic in "tu" for partition in range(2)
    }
    history: list[Operation] = []
    positions: dict[tuple[str, tuple[str, int]], int] = {}
    value = 0

    def poll(consumer: str, most: int) -> None:
        got = []
        for place, log in logs.items():
            at = positions.get((consumer, place), 0)
            new = log[at : at + rng.randint(0, most)]
            positions[consumer, place] = at + len(new)
            got += [Observed(*place, offset, v) for offset, v in new]
        history.append(Polled(consumer, tuple(got)))

    for _ in range(rng.randint(1, 40)):
        match rng.choice(["send", "send", "poll", "move"]):
            case "send":
                producer = rng.choice("pqr")
                place = rng.choice(list(logs))
                outcome = rng.choice(["ok", "ok", "failed", "unknown", "late"])
                attempts = []
                for _ in range(rng.randint(1, 3)):
                    value += 1
                    attempt = Attempt(*place, f"{producer}-{value}")
                    if outcome != "failed" and (outcome != "unknown" or rng.random() < 0.5):
                        log = logs[place]
                        offset = log[-1][0] + rng.choice([1, 1, 4]) if log else 0
                        log.append((offset, attempt.value))
                        if outcome in {"ok", "late"}:
                            attempt = attempt._replace(offset=offset)
                    attempts.append(attempt)
                if outcome == "late":  # invoked, then acknowledged
                    invoked = tuple(a._replace(offset=None) for a in attempts)
                    history.append(Sent(producer, invoked, "unknown"))
                    outcome = "ok"
                history.append(Sent(producer, tuple(attempts), outcome))
            case "poll":
                poll(rng.choice("cd"), 4)
            case "move":
                consumer, place = rng.choice("cd"), rng.choice(list(logs))
                index = rng.randint(0, len(logs[place]))
                positions[consumer, place] = index
                known = index < len(logs[place]) and rng.random() < 0.7
                offset = logs[place][index][0] if known else None
                history.append(Moved(consumer, ((*place, offset),)))
    history.append(Moved("end", tuple((*place, 0) for place in logs)))
    poll("end", 10**6)
    while any(positions["end", place] < len(log) for place, log in logs.items()):
        poll("end", 10**6)
    return history


@given(st.integers(0, 2**32))
def test_a_correct_history_is_clean(seed: int) -> None:
    assert check_history(make_history(seed)) == []


@given(st.integers(0, 2**32), st.data())
def test_a_correct_history_that_lost_a_read_record_is_not_clean(seed: int, data: st.DataObject) -> None:
    """Removing an acknowledged value from every poll is found, whatever surrounds it."""
    history = make_history(seed)
    acked = [(op.records[0], op.producer) for op in history if isinstance(op, Sent) and op.outcome == "ok"]
    if not acked:
        return
    attempt, _ = data.draw(st.sampled_from(acked))
    broken = [
        Polled(op.consumer, tuple(r for r in op.records if r.value != attempt.value))
        if isinstance(op, Polled)
        else op
        for op in history
    ]
    assert {"lost write", "unseen"} & set(summarize(check_history(broken)))
