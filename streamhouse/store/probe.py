"""Does a store really refuse to create what exists?

Several servers that speak S3 ignore ``If-None-Match`` and answer 200, and most fsspec filesystems
look before they write. On such a store two writers overwrite each other's commits. The probe
creates names twice in a row and many times at once, and looks at what was kept. It can prove a
store unsafe; that it found nothing is evidence, not proof.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from streamhouse.errors import ObjectNotFoundError, StoreError
from streamhouse.format import names
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectStore, PutOutcome

_ROUNDS = 3
_WRITERS = 6


def probe_atomic_create(store: ObjectStore, runtime: Runtime) -> bool:
    """Whether ``put_if_absent`` held, one after the other and in parallel.

    Costs about 25 small writes; the objects are removed again.

    Raises:
        StoreError: The store could not be asked.
    """
    unique = runtime.random_bytes(8).hex()
    made = [names.probe(f"{unique}-{number}") for number in range(_ROUNDS + 1)]
    try:
        return _refuses_second(store, made[0]) and all(_has_one_winner(store, name) for name in made[1:])
    finally:
        with contextlib.suppress(StoreError):
            store.delete_many(made)


def _refuses_second(store: ObjectStore, name: str) -> bool:
    store.put_if_absent(name, [b"first"])
    second = store.put_if_absent(name, [b"second"])
    return second is not PutOutcome.CREATED and _content(store, name) == b"first"


def _has_one_winner(store: ObjectStore, name: str) -> bool:
    barrier = Barrier(_WRITERS)

    def write(number: int) -> PutOutcome:
        barrier.wait()
        return store.put_if_absent(name, [b"%d" % number])

    with ThreadPoolExecutor(_WRITERS) as threads:
        outcomes = list(threads.map(write, range(_WRITERS)))
    winners = [b"%d" % i for i, outcome in enumerate(outcomes) if outcome is PutOutcome.CREATED]
    if not winners:  # the answer to it got lost; that proves nothing against the store
        return True
    return winners == [_content(store, name)]


def _content(store: ObjectStore, name: str) -> bytes | None:
    try:
        return store.get(name)
    except ObjectNotFoundError:
        return None
