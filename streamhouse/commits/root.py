"""Finding or making the root object, which says that a place is a log and which one."""

from __future__ import annotations

from collections.abc import Callable

from streamhouse.errors import (
    CorruptionError,
    NotALogError,
    ObjectNotFoundError,
    StoreUnavailableError,
    StoreUnsafeError,
)
from streamhouse.format import names
from streamhouse.format.container import FORMAT_VERSION
from streamhouse.format.snapshot import Root, pack_root, unpack_root
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectStore

_LOG_ID_BYTES = 16
_LISTED = 1000
_CREATES = 5
_READS = 3  # a bit that flipped on the way is right at the next read


def open_root(
    store: ObjectStore,
    runtime: Runtime,
    *,
    create: bool,
    single_writer: bool,
    probe: Callable[[ObjectStore, Runtime], bool],
) -> Root:
    """The root of the log in a store; made when it is missing, the store is empty and that is wanted.

    Args:
        store: Where.
        runtime: Clock and ids.
        create: Make a log when there is none.
        single_writer: Accept a store on which two writers would overwrite each other.
        probe: Finds out whether create-if-absent is atomic, when the store does not know.

    Raises:
        NotALogError: Nothing is there and ``create`` is not set, or something else is.
        StoreUnsafeError: The store must not be shared, and ``single_writer`` is not set.
        UnsupportedFormatError: The log was written by a newer version.
    """
    root = _read(store)
    if root is None and (foreign := _holds_objects(store)):
        root = _read(store)  # somebody may have made it since we looked
    if root is None:
        if foreign:
            raise NotALogError(
                f"{store.url} holds something that is not a StreamHouse log (it has no "
                f"{names.ROOT}); choose an empty place"
            )
        if not create:
            raise NotALogError(f"there is no log at {store.url}")
        shared = store.capabilities.atomic_create or probe(store, runtime)
        if not shared and not single_writer:
            raise _unsafe(store)
        root = Root(FORMAT_VERSION, runtime.random_bytes(_LOG_ID_BYTES).hex(), runtime.time_ms(), shared)
        root = _create(store, root)
    if not root.shared and not single_writer:
        raise _unsafe(store)
    return root


def _create(store: ObjectStore, root: Root) -> Root:
    """Store the root, unless somebody else was first; what is there then."""
    for _ in range(_CREATES):
        store.put_if_absent(names.ROOT, [pack_root(root)])
        stored = _read(store)
        if stored is not None:
            return stored
    raise StoreUnavailableError(f"{store.url} does not keep what is written to it; try again later")


def _holds_objects(store: ObjectStore) -> bool:
    """Whether anything is there but the leftovers of a probe that was killed, or is still going on."""
    found = store.list("", limit=_LISTED)
    return any(not info.name.startswith(names.PROBES) for info in found)


def _read(store: ObjectStore) -> Root | None:
    where = f"{store.url}: {names.ROOT}"
    for reads_left in reversed(range(_READS)):
        try:
            return unpack_root(store.get(names.ROOT), where)
        except ObjectNotFoundError:
            return None
        except (CorruptionError, NotALogError):
            if not reads_left:
                raise
    raise AssertionError("not reached")


def _unsafe(store: ObjectStore) -> StoreUnsafeError:
    return StoreUnsafeError(
        f"{store.url} does not honour create-if-absent: two writers would overwrite each other's "
        "commits. Use another store, or pass single_writer=True and make sure that only one process "
        "at a time writes"
    )
