"""The rules of the fold that the simulator can switch off, to show that it would notice."""

from __future__ import annotations

import msgspec


class Guards(msgspec.Struct, frozen=True):
    """Which rules hold; outside the simulator all of them do.

    Attributes:
        flush_number: A flush counts only as the next one of its agent.
        producer_sequence: An append is checked against its producer's sequence.
        sealed_lane: Nothing of a sealed lane counts.
        segments_in_order: What refers to a segment that was passed over or sealed is refused.
        sources: Blocks are replaced only while they are those that were rewritten.
        owner: A member moves offsets only of partitions that it owns.
        atomic: Of a transaction nothing counts unless all of it can.
        fenced: A named producer is refused once a newer one has taken the name.
        abandoned: Who takes a name over gives up what is open under it.
        transaction_number: A piece of a transaction that lands after its end has no effect.
        coordinator: Only who coordinates a classic group now speaks for it.
        standing: What somebody proposes on the strength of an entry counts only while the entry is there.
    """

    flush_number: bool = True
    producer_sequence: bool = True
    sealed_lane: bool = True
    segments_in_order: bool = True
    sources: bool = True
    owner: bool = True
    atomic: bool = True
    fenced: bool = True
    abandoned: bool = True
    transaction_number: bool = True
    coordinator: bool = True
    standing: bool = True


ALL_GUARDS = Guards()
