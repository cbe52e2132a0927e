"""The rules that keep the log safe, each of which can be switched off to see what it is good for."""

from __future__ import annotations

from typing import Final

from streamhouse.commits.collector import CollectGuards
from streamhouse.commits.engine import EngineGuards
from streamhouse.commits.fold import Guards

GUARDS: Final[dict[str, str]] = {
    "flush_number": "a flush counts only as the next one of its agent",
    "producer_sequence": "an append is checked against its producer's sequence",
    "sealed_lane": "nothing of a sealed lane counts",
    "reread": "a slot that is taken is read: it may be ours",
    "boundary": "a commit counts only in a slot that cannot have been deleted before",
    "boundary_first": "the boundary is published before slots are deleted",
    "keep_slots": "slots outlive the boundary above them by an hour",
    "seal_first": "what a lane holds unclaimed goes only after the lane was sealed",
    "segments_in_order": "a segment that was passed over, or sealed, is not referred to any more",
    "sources": "blocks are replaced only while they are those that were rewritten",
    "owner": "a member moves offsets only of partitions that it owns",
    "atomic": "of a transaction nothing counts unless all of it can",
    "fenced": "a named producer is refused once a newer one has its name",
    "abandoned": "who takes a name over gives up what is open under it",
    "transaction_number": "a piece of a transaction that lands after its end has no effect",
    "coordinator": "only who coordinates a classic group now speaks for it",
    "standing": "what somebody proposes on the strength of an entry counts only while it is there",
    "grace": "what compaction took out of the log outlives it by an hour",
}
"""Names of the guards, and what each says."""


def guards_without(*names: str) -> EngineGuards:
    """All guards but these.

    Raises:
        KeyError: There is no such guard.
    """
    unknown = set(names) - set(GUARDS)
    if unknown:
        raise KeyError(f"no guard {sorted(unknown)}; there are {', '.join(GUARDS)}")
    off = dict.fromkeys(names, False)
    return EngineGuards(
        fold=Guards(**{name: value for name, value in off.items() if name in Guards.__struct_fields__}),
        collect=CollectGuards(
            **{name: value for name, value in off.items() if name in CollectGuards.__struct_fields__}
        ),
        **{name: value for name, value in off.items() if name in ("reread", "boundary")},
    )
