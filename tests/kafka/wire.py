"""Requests of any version, sent as they are: what no client would send, and what only old ones do."""

from __future__ import annotations

import io
import socket
import struct
from types import TracebackType
from typing import Any, Self

from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader

from streamhouse.kafka import Gateway
from tests.kafka.protocol.frames import frame_of

_SIZE = struct.Struct(">i")


def ask(gateway: Gateway, key: int, version: int, /, **fields: Any) -> Any:
    """Send one request over a connection of its own; the response as kio's dataclass."""
    with Wire(gateway) as wire:
        return wire.ask(key, version, **fields)


class Wire:
    """A connection.

    Args:
        gateway: To whom.
        timeout: Seconds to wait for an answer.
    """

    def __init__(self, gateway: Gateway, timeout: float = 10.0) -> None:
        self.socket = socket.create_connection((gateway.host, gateway.port), timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def ask(self, key: int, version: int, /, **fields: Any) -> Any:
        """Send a request; the response as kio's dataclass."""
        self.send(key, version, **fields)
        return self.receive(key, version)

    def send(self, key: int, version: int, /, **fields: Any) -> None:
        """Send a request, and do not wait."""
        self.send_frame(frame_of(load_request_schema(key, version), fields))

    def send_frame(self, frame: bytes) -> None:
        """Send bytes with their size in front."""
        self.socket.sendall(_SIZE.pack(len(frame)) + frame)

    def receive(self, key: int, version: int) -> Any:
        """The next response, which is to be of that kind, as kio's dataclass."""
        data = memoryview(self.receive_frame())
        cls = load_response_schema(key, version)
        header, used = entity_reader(cls.__header_schema__)(data, 0)
        assert header.correlation_id == 42
        response, more = entity_reader(cls)(data, used)
        assert used + more == len(data)
        return response

    def receive_frame(self) -> bytes:
        """The bytes of the next response.

        Raises:
            ConnectionError: There is none: the gateway has closed the connection.
        """
        (size,) = _SIZE.unpack(self._exactly(_SIZE.size))
        return self._exactly(size)

    def _exactly(self, count: int) -> bytes:
        out = io.BytesIO()
        while out.tell() < count:
            piece = self.socket.recv(count - out.tell())
            if not piece:
                raise ConnectionResetError("the gateway closed the connection")
            out.write(piece)
        return out.getvalue()
