"""Requests as clients send them, made by kio."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from kio.serial import entity_writer

from streamhouse.kafka.protocol.codec import maker


def frame_of(cls: Any, fields: Mapping[str, Any], client_id: str | None = "client") -> bytes:
    """A request, without its size.

    Args:
        cls: kio's class of the request.
        fields: What is in it.
        client_id: What the client calls itself.
    """
    out = io.BytesIO()
    header = cls.__header_schema__
    values: dict[str, Any] = {
        "request_api_key": cls.__api_key__,
        "request_api_version": cls.__version__,
        "correlation_id": 42,
        "client_id": client_id,
    }
    entity_writer(header)(out, maker(header)(values))
    entity_writer(cls)(out, maker(cls)(fields))
    return out.getvalue()
