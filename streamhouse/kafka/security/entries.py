"""Named values of the log that belong together: what they amount to, and changing them.

Every gateway on a log reads them from its own state, so a look-up costs no request. There is one for every
topic of every request; so what is made of the entries is kept until one of them changes. There are three ways
to learn that: the commit thread says so, this process changed one itself (it has its answer before the commit
thread tells listeners), or the state was exchanged as a whole, which is told to nobody.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Final, Generic, TypeAlias, TypeVar

import msgspec

from streamhouse import limits
from streamhouse.commits.log import CommitLog
from streamhouse.commits.tail import Listener
from streamhouse.commits.verdicts import Applied, Code, Verdict
from streamhouse.errors import UnsupportedFormatError
from streamhouse.format.commit import Commit
from streamhouse.format.operations import SetEntry

T = TypeVar("T")

Alter: TypeAlias = Callable[[str, bytes | None], bytes | None]
"""From a name and its value (``None``: there is none) to the one that it shall have."""

FULL_MESSAGE: Final = f"the log holds {limits.ENTRIES_MAX} users, ACLs, quotas and the like; remove some"

_NOTHING: Final = (0, None)
_SLICE_SECONDS: Final = 0.1


class Change(msgspec.Struct, frozen=True):
    """What became of a value that was to be changed.

    Attributes:
        before: What it was; ``None``: there was none.
        code: ``ACCEPTED`` also when it was as wanted; ``FULL``, ``INVALID``.
    """

    before: bytes | None
    code: Code

    def __repr__(self) -> str:
        return f"Change({self.code.name})"  # values may be secrets


class EntryView(Generic[T]):
    """What the entries under a prefix amount to. May be used from any thread.

    Args:
        commits: The log.
        prefix: What their names begin with.
        make: From the values, by the rest of the name, to what they amount to. Called without any lock.
    """

    def __init__(self, commits: CommitLog, prefix: str, make: Callable[[Mapping[str, bytes]], T]) -> None:
        self._commits = commits
        self._prefix = prefix
        self._make = make
        self._changed = object()  # another one after each change
        self._made: tuple[object, object, T] | None = None  # after which change, of which state; what
        commits.listen(_weak(self._observe))

    @property
    def now(self) -> T:
        """What the entries amount to, as far as the log was read.

        Raises:
            UnsupportedFormatError: One of them was written by a newer StreamHouse.
        """
        made, changed = (
            self._made,
            self._changed,
        )  # this first: what changes from here on is noticed next time
        if made is not None and made[0] is changed and made[1] is self._commits.state.entries:
            return made[2]
        with self._commits.lock:
            entries = self._commits.state.entries
            found = {
                name[len(self._prefix) :]: value
                for name, (_, value) in entries.items()
                if name.startswith(self._prefix)
            }
        value = self._make(found)
        self._made = changed, entries, value
        return value

    def refresh(self) -> None:
        """Read the log up to its present end. Waits for the store."""
        self._commits.refresh()

    def change(self, names: Iterable[str], alter: Alter) -> dict[str, Change]:
        """Change values, each compared and set. Waits until that is durable, for all of them together.

        Args:
            names: The rest of the names, behind the prefix.
            alter: What becomes of each. Asked again when somebody else changed it meanwhile.

        Raises:
            StreamhouseError: The store fails; some may have been changed.
        """
        wanted = list(dict.fromkeys(names))
        waiting, changes = wanted, dict[str, Change]()
        while waiting:
            with self._commits.lock:
                entries = self._commits.state.entries
                held = {name: entries.get(self._prefix + name, _NOTHING) for name in waiting}
            operations: dict[str, SetEntry] = {}
            for name, (version, before) in held.items():
                after = alter(name, before)
                if after == before:
                    changes[name] = Change(before, Code.ACCEPTED)
                else:
                    operations[name] = SetEntry(self._prefix + name, after, version)
            verdicts = dict(zip(operations, self._propose(list(operations.values())), strict=True))
            waiting = [name for name, verdict in verdicts.items() if verdict.code is Code.STALE]
            for name in verdicts.keys() - waiting:
                changes[name] = Change(held[name][1], verdicts[name].code)
        return {name: changes[name] for name in wanted}

    def _propose(self, operations: Sequence[SetEntry]) -> list[Verdict]:
        if not operations:
            return []
        futures: list[Future[Verdict]] = [self._commits.submit(operation) for operation in operations]
        self._commits.urge()
        while wait(futures, _SLICE_SECONDS).not_done:
            pass  # in slices, so that Ctrl-C gets through on every platform
        self._changed = object()
        return [future.result() for future in futures]

    def _observe(self, _applied: Applied, commit: Commit) -> None:
        for flush in commit.flushes:
            for operation in flush.operations:
                if isinstance(operation, SetEntry) and operation.name.startswith(self._prefix):
                    self._changed = object()
                    return


def decoded(name: str, value: bytes, kind: type[T]) -> T:
    """The value of an entry.

    Raises:
        UnsupportedFormatError: It cannot be understood. To pass over it would be to pass over a prohibition.
    """
    try:
        return msgspec.msgpack.decode(value, type=kind)
    except msgspec.MsgspecError:
        raise UnsupportedFormatError(
            f"entry {name!r} of the log cannot be understood; a newer StreamHouse wrote it, so use that"
        ) from None


def _weak(observe: Listener) -> Listener:
    """The log outlives gateways and keeps its listeners for ever: what it calls must not keep us alive."""
    reference = weakref.WeakMethod(observe)

    def listener(applied: Applied, commit: Commit) -> None:
        method = reference()
        if method is not None:
            method(applied, commit)

    return listener
