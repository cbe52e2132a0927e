"""Requests of any version, sent as they are: what no client would send, and what only old ones do."""

from __future__ import annotations

import io
import socket
import struct
from typing import Any

from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader

from streamhouse.kafka import Gateway
from tests.kafka.protocol.frames import frame_of

_SIZE = struct.Struct(">i")


def ask(gateway: Gateway, key: int, version: int, /, **fields: Any) -> Any:
    """Send one request; the response as kio's dataclass."""
    frame = frame_of(load_request_schema(key, version), fields)
    with socket.create_connection((gateway.host, gateway.port), timeout=10) as connection:
        connection.sendall(_SIZE.pack(len(frame)) + frame)
        (size,) = _SIZE.unpack(_exactly(connection, _SIZE.size))
        data = memoryview(_exactly(connection, size))
    cls = load_response_schema(key, version)
    header, used = entity_reader(cls.__header_schema__)(data, 0)
    assert header.correlation_id == 42
    response, end = entity_reader(cls)(data, used)
    assert used + end == size or end == size
    return response


def _exactly(connection: socket.socket, count: int) -> bytes:
    out = io.BytesIO()
    while out.tell() < count:
        piece = connection.recv(count - out.tell())
        assert piece, "the gateway closed the connection"
        out.write(piece)
    return out.getvalue()
