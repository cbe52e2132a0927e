import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamhouse.config import Settings
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import ObjectStore
from streamhouse.store.open import open_store
from streamhouse.store.probe import probe_atomic_create
from streamhouse.testing.conformance import StoreConformance
from streamhouse.testing.ministack import Ministack, ministack_server

pytest.importorskip("ministack")


@pytest.fixture(scope="module")
def server() -> Iterator[Ministack]:
    with ministack_server() as running:
        yield running


@pytest.fixture
def store(server: Ministack, request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    runtime = SystemRuntime()
    url = f"{server.url}-{runtime.random_bytes(4).hex()}"
    opened = open_store(url, server.storage_options, Settings(), runtime)
    yield opened
    opened.close()


class TestContract(StoreConformance):
    rounds = 10

    @pytest.fixture
    def store(self, store: ObjectStore) -> ObjectStore:
        return store


def test_it_passes_the_probe(store: ObjectStore) -> None:
    assert probe_atomic_create(store, SystemRuntime())
    assert store.list("") == []


def test_of_many_processes_one_creates_each_object(server: Ministack, worker: Callable[..., Any]) -> None:
    options = json.dumps(server.storage_options)
    writers = [worker("race", server.url, options, number, 40) for number in range(3)]
    for process in writers:
        assert process.stdout.readline() == "ready\n"
    for process in writers:
        process.stdin.write("go\n")
        process.stdin.flush()
    won = [json.loads(process.stdout.readline()) for process in writers]
    assert sorted(number for numbers in won for number in numbers) == list(range(40))
