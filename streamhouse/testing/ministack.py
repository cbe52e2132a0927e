"""Somebody else's S3 server for tests: ministack, from PyPI, as a process of its own.

The fake server shares our reading of S3's manual; ministack does not, and its creation is atomic.
It is told to listen on loopback only, which is not its default.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec

from streamhouse.errors import MissingExtraError
from streamhouse.runtime import environment

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_BUCKET = "streamhouse"


class Ministack(msgspec.Struct, frozen=True):
    """A running server.

    Attributes:
        endpoint_url: Where it listens.
        process_id: The server's process.
    """

    endpoint_url: str
    process_id: int

    @property
    def url(self) -> str:
        """A place for a log, in a bucket that exists."""
        return f"s3://{_BUCKET}/log"

    @property
    def storage_options(self) -> dict[str, Any]:
        """Endpoint and credentials, as s3fs takes them."""
        return {
            "endpoint_url": self.endpoint_url,
            "key": "test",
            "secret": "test",
            "client_kwargs": {"region_name": "us-east-1"},
        }


@contextlib.contextmanager
def ministack_server() -> Iterator[Ministack]:
    """Run ministack on a free port of 127.0.0.1, with an empty bucket.

    Raises:
        MissingExtraError: It is not installed.
        TimeoutError: It did not come up.
    """
    import importlib.util

    if importlib.util.find_spec("ministack") is None:
        raise MissingExtraError("ministack is not installed: pip install ministack")
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "ministack"],
        env={**environment(), "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server = Ministack(f"http://127.0.0.1:{port}", process.pid)
        _make_bucket(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _make_bucket(server: Ministack, process: subprocess.Popen[bytes]) -> None:
    """Create the bucket, which succeeds as soon as the server is there."""
    place = f"{server.endpoint_url}/{_BUCKET}"
    request = urllib.request.Request(place, method="PUT")  # noqa: S310 - our own URL
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5):  # noqa: S310
                return
        except (urllib.error.URLError, OSError) as error:
            if process.poll() is not None:
                raise RuntimeError(f"ministack ended with status {process.returncode}") from None
            if time.monotonic() > deadline:
                raise TimeoutError(f"ministack did not come up: {error}") from None
        time.sleep(0.05)
