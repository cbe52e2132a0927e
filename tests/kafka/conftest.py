"""A gateway on a fresh log, for tests with real clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import streamhouse
import streamhouse.kafka


@pytest.fixture
def log() -> Iterator[streamhouse.Log]:
    with streamhouse.Log("memory://") as log:
        yield log


@pytest.fixture
def gateway(log: streamhouse.Log) -> Iterator[streamhouse.kafka.Gateway]:
    with streamhouse.kafka.serve(log, port=0) as gateway:
        yield gateway
