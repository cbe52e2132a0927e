from collections.abc import Iterator

import pytest

from tests.read.minilog import MiniLog


@pytest.fixture
def log() -> Iterator[MiniLog]:
    log = MiniLog()
    yield log
    log.close()


@pytest.fixture
def remote_log() -> Iterator[MiniLog]:
    """Read as from a bucket: with several threads that fetch ahead."""
    log = MiniLog(remote=True, prefetch_blocks=4)
    yield log
    log.close()
