from pathlib import Path

import fsspec
import pytest

from streamhouse.config import Settings
from streamhouse.errors import StoreAccessError
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import ObjectStore
from streamhouse.store.generic import FsspecStore
from streamhouse.store.local import LocalStore
from streamhouse.store.memory import MemoryStore
from streamhouse.store.open import open_store
from streamhouse.store.probe import probe_atomic_create
from streamhouse.testing.s3server import FakeS3Server
from streamhouse.testing.stores import FaultyStore

RUNTIME = SystemRuntime()


def test_safe_stores_pass_and_are_left_clean(tmp_path: Path) -> None:
    stores: list[ObjectStore] = [
        LocalStore(str(tmp_path), durability="fsync", runtime=RUNTIME),
        MemoryStore(RUNTIME),
    ]
    for store in stores:
        assert probe_atomic_create(store, RUNTIME)
        assert store.list("") == []


def test_s3_passes(s3: FakeS3Server) -> None:
    store = open_store(s3.url, s3.storage_options, Settings(), RUNTIME)
    assert probe_atomic_create(store, RUNTIME)
    assert store.list("") == []
    store.close()


def test_a_server_that_ignores_conditions_is_found_out() -> None:
    with FakeS3Server(ignore_conditions=True) as server:
        store = open_store(server.url, server.storage_options, Settings(), RUNTIME)
        assert not probe_atomic_create(store, RUNTIME)
        assert store.list("") == []
        store.close()


@pytest.mark.parametrize("protocol", ["file", "memory"])
def test_looking_before_writing_is_found_out_every_time(tmp_path: Path, protocol: str) -> None:
    store = FsspecStore(
        lambda: fsspec.filesystem(protocol),
        str(tmp_path),
        url="x",
        protocol=protocol,
        runtime=RUNTIME,
    )
    assert not any(probe_atomic_create(store, RUNTIME) for _ in range(5))
    assert store.list("") == []


@pytest.mark.parametrize("skip", range(0, 20, 3))
def test_a_lost_answer_does_not_condemn_a_store(skip: int) -> None:
    store = FaultyStore(MemoryStore(RUNTIME))
    store.script("put_if_absent", "lost-answer", skip=skip, times=2)
    assert probe_atomic_create(store, RUNTIME)


def test_a_store_that_cannot_be_asked_raises() -> None:
    store = FaultyStore(MemoryStore(RUNTIME))
    store.script("put_if_absent", "denied")
    with pytest.raises(StoreAccessError):
        probe_atomic_create(store, RUNTIME)
