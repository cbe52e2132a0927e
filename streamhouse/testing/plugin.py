"""The pytest plugin: fixtures that give a test a log of its own.

It is loaded by the entry point ``pytest11`` into every test run of everybody who has StreamHouse
installed, so it imports nothing of the engine before a fixture is asked for, changes no setting and
has no autouse fixture. Nothing is shared between processes, so pytest-xdist may be used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from streamhouse.log import Log
    from streamhouse.testing.clock import ManualRuntime
    from streamhouse.testing.s3server import FakeS3Server


class S3Location(NamedTuple):
    """Where a log can be opened on S3: ``Log(s3.url, storage_options=s3.storage_options)``.

    Attributes:
        url: An ``s3://bucket/prefix`` that no other test uses.
        storage_options: Endpoint and credentials, in the form s3fs takes them.
        server: The server behind it, to script faults and count requests.
    """

    url: str
    storage_options: dict[str, Any]
    server: FakeS3Server


@pytest.fixture
def streamhouse_log() -> Iterator[Log]:
    """A fresh log in memory, closed after the test."""
    from streamhouse.log import Log

    with Log("memory://") as log:
        yield log


@pytest.fixture
def streamhouse_dir_log(tmp_path: Path) -> Iterator[Log]:
    """A fresh log in a temporary directory, closed after the test."""
    from streamhouse.log import Log

    with Log(str(tmp_path / "streamhouse")) as log:
        yield log


@pytest.fixture(scope="session")
def streamhouse_s3_server() -> Iterator[FakeS3Server]:
    """The S3 server that the tests of a session share; it listens on loopback only."""
    from streamhouse.testing.s3server import FakeS3Server

    with FakeS3Server() as server:
        yield server


@pytest.fixture
def streamhouse_s3(streamhouse_s3_server: FakeS3Server) -> S3Location:
    """An empty prefix on an S3 server that runs in this process."""
    from streamhouse.runtime import SystemRuntime

    unique = SystemRuntime().random_bytes(8).hex()
    server = streamhouse_s3_server
    return S3Location(f"s3://streamhouse/{unique}", dict(server.storage_options), server)


@pytest.fixture
def streamhouse_kafka(streamhouse_log: Log) -> Iterator[str]:
    """The address of a Kafka cluster, ``host:port`` for ``bootstrap.servers``; needs the extra ``kafka``.

    It serves the log of the fixture ``streamhouse_log``, which a test may use beside it.
    """
    from streamhouse.kafka import serve

    with serve(streamhouse_log, port=0, group_initial_rebalance_delay_ms=0) as gateway:
        yield gateway.bootstrap


@pytest.fixture
def streamhouse_clock() -> ManualRuntime:
    """Time that stands still until the test moves it, and dice with a fixed seed."""
    from streamhouse.testing.clock import ManualRuntime

    return ManualRuntime()
