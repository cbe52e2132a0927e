"""Named values: the part of the fold that remembers what others want to have remembered.

Whoever has to agree with other processes on something small (who is there, who may do what) keeps it here,
compared and set: a value changes only if it is still the one that the proposer has seen.
"""

from __future__ import annotations

from streamhouse import limits
from streamhouse.commits.guards import Guards
from streamhouse.commits.state import State
from streamhouse.commits.verdicts import Code, Verdict
from streamhouse.format.operations import SetEntry, Standing

ANY_VERSION = -1
_NEVER_SET = 0


def refuse_fallen(state: State, standing: Standing | None, guards: Guards) -> Verdict | None:
    """Why nothing counts that was proposed on the strength of an entry: it is another one now, or gone."""
    if standing is None or not guards.standing:
        return None
    version = state.entries[standing.name][0] if standing.name in state.entries else _NEVER_SET
    return None if version == standing.version else Verdict(Code.STALE)


def set_entry(state: State, seq: int, operation: SetEntry) -> Verdict:
    """Set, replace or remove a value."""
    name = operation.name
    version = state.entries[name][0] if name in state.entries else _NEVER_SET
    if operation.version not in {ANY_VERSION, version}:
        return Verdict(Code.STALE, (version,))
    if operation.value is None:
        state.entries.pop(name, None)
        return Verdict(Code.ACCEPTED, (_NEVER_SET,))
    if name not in state.entries and len(state.entries) >= limits.ENTRIES_MAX:
        return Verdict(Code.FULL)
    state.entries[name] = seq, operation.value
    return Verdict(Code.ACCEPTED, (seq,))
