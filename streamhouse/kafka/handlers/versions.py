"""ApiVersions: what this gateway can do (KIP-35, KIP-511)."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from streamhouse.kafka.protocol.apis import API_VERSIONS, APIS
from streamhouse.kafka.protocol.codec import Fields, Header, encode_response
from streamhouse.kafka.protocol.errors import ErrorCode
from streamhouse.kafka.server.server import Request

_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
_SOFTWARE_FROM: Final = 3


async def api_versions(request: Request) -> Fields:
    """Answer with the list."""
    body = request.body()
    if request.version >= _SOFTWARE_FROM:
        name, version = body.client_software_name, body.client_software_version
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(version):
            return _versions(ErrorCode.invalid_request)
        request.peer.software = (name, version)
    return _versions(ErrorCode.none)


def unsupported_version(header: Header) -> bytes:
    """The answer to a client that is newer than we are: the list, as everybody understands it."""
    old = msgspec.structs.replace(header, version=API_VERSIONS.first)
    return encode_response(old, _versions(ErrorCode.unsupported_version))


def _versions(error: ErrorCode) -> Fields:
    return {
        "error_code": error,
        "api_keys": [
            {"api_key": api.key, "min_version": api.lowest_listed, "max_version": api.last}
            for api in APIS.values()
        ],
        "throttle_time": 0,
    }
